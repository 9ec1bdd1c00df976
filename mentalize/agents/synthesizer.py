"""Synthesizer: sets several perspectives side by side, and settles nothing between them (Multiplexity's multiplex
agent, arXiv 2501.03259; values in conflict after CLASH, arXiv 2504.10823).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel

from ..llm.model import Model
from ..llm.structured import AtMost, Clip, answer
from ..prompts.prompt import Prompt, fence
from ..types import Disagreement, Lens, LensNote, Multiplex, Position, Stance, Turn
from .claims import standing
from .question import Framing


class PositionAnswer(BaseModel):
    lenses: Annotated[list[Annotated[str, Clip(40)]], AtMost(7)]
    holds: Annotated[str, Clip(160)]


class DisagreementAnswer(BaseModel):
    about: Annotated[str, Clip(120)]
    positions: Annotated[list[PositionAnswer], AtMost(4)]


class SynthesisAnswer(BaseModel):
    """What the model fills in."""

    relevant: bool
    agreements: Annotated[list[Annotated[str, Clip(160)]], AtMost(3)]
    disagreements: Annotated[list[DisagreementAnswer], AtMost(3)]
    stance: Stance
    synthesis: Annotated[str, Clip(700)]


class BriefSynthesisAnswer(BaseModel):
    """What a small model fills in."""

    relevant: bool
    agreement: Annotated[str, Clip(160)]
    stance: Stance


@dataclass(frozen=True, slots=True)
class SynthesisInputs:
    """What the prompt is filled with."""

    notes: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Synthesizer:
    """Makes one picture of the lenses' notes."""

    model: Model
    framing: Framing
    prompt: Prompt[SynthesisInputs]
    lenses: Sequence[Lens]
    brief: bool = False
    """Whether a small model answers, which is asked for less."""
    max_tokens: int = 700

    async def __call__(self, turn: Turn, notes: Sequence[LensNote]) -> Multiplex:
        """The notes as they are, with what they share and where they differ."""
        names = {lens.id: lens.name for lens in self.lenses}
        inputs = SynthesisInputs(notes=fence("notes", "\n".join(as_line(note, names) for note in notes)))
        request = self.framing.about(turn, self.prompt, inputs, "synthesise", max_tokens=self.max_tokens)
        if self.brief:
            short = await answer(self.model, request, BriefSynthesisAnswer)
            agreements = [short.agreement]
            given = SynthesisAnswer(
                relevant=short.relevant, agreements=agreements, disagreements=[], stance=short.stance, synthesis=""
            )
        else:
            given = await answer(self.model, request, SynthesisAnswer)
        ids = {name.casefold(): lens for lens, name in names.items()} | {lens: lens for lens in names}
        return Multiplex(
            relevant=given.relevant,
            notes=tuple(notes),
            agreements=tuple(text for item in given.agreements if (text := standing(item))),
            disagreements=tuple(
                point for item in given.disagreements if len((point := _disagreement(item, ids)).positions) > 1
            ),
            stance=given.stance,
            synthesis=standing(given.synthesis),
        )


def as_line(note: LensNote, names: Mapping[str, str]) -> str:
    """A note in one line."""
    parts = (
        note.reading,
        f"Norm: {note.norm}" if note.norm else "",
        f"Tension: {note.tension}" if note.tension else "",
    )
    return f"- {names.get(note.lens, note.lens)}: {' '.join(filter(None, parts))}"


def _disagreement(given: DisagreementAnswer, ids: Mapping[str, str]) -> Disagreement:
    positions: list[Position] = []
    for item in given.positions:
        lenses = tuple(dict.fromkeys(ids[key] for name in item.lenses if (key := name.strip().casefold()) in ids))
        if lenses and (holds := standing(item.holds)):
            positions.append(Position(lenses, holds))
    return Disagreement(standing(given.about), tuple(positions))

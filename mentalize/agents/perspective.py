"""Perspective: how one lens sees the matter, in its own terms (Multiplexity, arXiv 2501.03259; WorldView-Bench,
arXiv 2505.09595, whose cultural agents answer apart from one another).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel

from ..llm.model import Model
from ..llm.structured import AtMost, Clip, answer
from ..prompts.format import bullets
from ..prompts.prompt import Prompt
from ..types import Lens, LensNote, Turn
from .claims import standing
from .known import Known
from .question import Framing
from .rating import LEVEL_VALUE, Level

WORDS = 120
"""Words of a note."""


TOKENS = 360
"""Tokens that it may take, as JSON."""


class LensAnswer(BaseModel):
    """What the model fills in."""

    reading: Annotated[str, Clip(480)]
    norm: Annotated[str, Clip(160)]
    tension: Annotated[str, Clip(200)]
    confidence: Level
    sources: Annotated[list[Annotated[str, Clip(80)]], AtMost(3)]


class BriefLensAnswer(BaseModel):
    """What a small model fills in."""

    reading: Annotated[str, Clip(200)]
    tension: Annotated[str, Clip(120)]


@dataclass(frozen=True, slots=True)
class LensInputs:
    """What the prompt is filled with."""

    lens: str
    traditions: str
    questions: str
    inside: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Perspective:
    """Speaks from one lens."""

    model: Model
    framing: Framing
    prompt: Prompt[LensInputs]
    lens: Lens
    brief: bool = False
    """Whether a small model answers, which is asked for less."""
    max_tokens: int = TOKENS
    known: Known[LensNote] | None = None
    """What was said to the same person's same question before."""

    async def __call__(self, turn: Turn) -> LensNote | None:
        """The note; None where the lens has nothing to say to the message, or nothing that may stand.

        A question that says the same, after the same conversation, gets the note that it got before.
        """
        if self.known is None:
            return await self._said(turn)
        framing = self.framing
        before = [text for message in turn.messages[:-1] for text in (message.role, message.text)]
        scope = (*framing.scope, self.lens.id, self.model.name, self.prompt.id, framing.preamble.text, framing.stated)
        if note := self.known.find((*scope, *before), turn.text):
            return note
        if note := await self._said(turn):
            self.known.keep((*scope, *before), turn.text, note)
        return note

    async def _said(self, turn: Turn) -> LensNote | None:
        lens = self.lens
        inputs = LensInputs(lens.name, bullets(lens.traditions), bullets(lens.questions), lens.inside)
        request = self.framing.about(turn, self.prompt, inputs, f"perspective.{lens.id}", max_tokens=self.max_tokens)
        if self.brief:
            short = await answer(self.model, request, BriefLensAnswer)
            return _note(lens, LensAnswer(**short.model_dump(), norm="", confidence="low", sources=[]))
        return _note(lens, await answer(self.model, request, LensAnswer))


def _note(lens: Lens, given: LensAnswer) -> LensNote | None:
    """The answer without what says how a whole people is, and without orders to the assistant."""
    kept = [standing(text) for text in (given.reading, given.norm, given.tension)]
    reading, norm, tension = _within(WORDS, kept)
    if not reading:
        return None
    return LensNote(
        lens=lens.id,
        reading=reading,
        norm=norm,
        tension=tension,
        confidence=LEVEL_VALUE[given.confidence],
        sources=tuple(source for text in given.sources if (source := standing(text))),
    )


def _within(words: int, texts: list[str]) -> list[str]:
    """The texts cut to so many words together, the earlier ones kept first."""
    kept: list[str] = []
    for text in texts:
        given = text.split()
        kept.append(text if len(given) <= words else " ".join(given[:words]))
        words = max(0, words - len(given))
    return kept

"""FeelingScorer: the feeling behind a message by a one-token choice, calibrated against an empty conversation."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..llm.choose import choose_calibrated
from ..llm.model import Model
from ..prompts.prompt import Prompt
from ..types import Emotion, Perception, Turn
from .question import Framing

FEELINGS = {
    "hurt": "hurt or left out",
    "angry": "annoyed or angry",
    "worried": "worried or afraid",
    "ashamed": "ashamed",
    "happy": "happy or proud",
    "grieving": "grieving or missing somebody",
    "tired": "tired or overwhelmed",
    "calm": "calm",
}
"""Each feeling, and how it is offered."""

UNCLEAR = "unclear"
SURE = 0.35
"""Calibrated probability from which a feeling is named; chance is 1/8."""

_LETTERS = tuple("ABCDEFGH")
_SHORTLISTED = 3


@dataclass(frozen=True, slots=True)
class FeelingInputs:
    """What the prompt is filled with."""

    options: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FeelingScorer:
    """Chooses among `FEELINGS`."""

    model: Model
    framing: Framing
    prompt: Prompt[FeelingInputs]

    async def __call__(self, turn: Turn, perception: Perception) -> Perception:
        """`perception` with the chosen emotion; its intensity stays the reader's."""
        offered = zip(_LETTERS, FEELINGS.values(), strict=True)
        options = " ".join(f"{letter}: {feeling}." for letter, feeling in offered)
        inputs = FeelingInputs(options)
        scores = await choose_calibrated(
            self.model,
            self.framing.about(turn, self.prompt, inputs, "score.feeling", max_tokens=1),
            self.framing.without_content(self.prompt, inputs, "score.feeling", max_tokens=1),
            _LETTERS,
        )
        ranked = sorted(zip(_LETTERS, FEELINGS, strict=True), key=lambda pair: scores[pair[0]], reverse=True)
        shortlist = tuple(feeling for _, feeling in ranked[:_SHORTLISTED])
        name = shortlist[0] if scores[ranked[0][0]] >= SURE else UNCLEAR
        return replace(perception, emotion=Emotion(name, perception.emotion.intensity), shortlist=shortlist)

"""Perceiver: what the message shows. Emotion in two stages (HEF, arXiv 2402.11801) with its cause and the words that
show it, implicit sentiment in three hops (RVISA, arXiv 2407.02340), a silent flaw, signs of danger.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel

from ..llm.model import Model
from ..llm.structured import AtMost, Clip, answer
from ..prompts.prompt import Prompt
from ..types import Emotion, HopReading, Perception, RiskKind, RiskSign, Turn
from .question import Framing
from .quotes import quoted
from .rating import LEVEL_VALUE, Level


class RiskAnswer(BaseModel):
    kind: RiskKind
    words: Annotated[str, Clip(200)]


class PerceptionAnswer(BaseModel):
    """What the model fills in."""

    shortlist: Annotated[list[Annotated[str, Clip(30)]], AtMost(4)]
    emotion: Annotated[str, Clip(30)]
    intensity: Level
    words: Annotated[list[Annotated[str, Clip(200)]], AtMost(3)]
    cause: Annotated[str, Clip(120)]
    aspect: Annotated[str, Clip(80)]
    opinion: Annotated[str, Clip(160)]
    polarity: Literal["positive", "negative", "neutral"]
    need: Annotated[str, Clip(120)]
    flaw: Annotated[str, Clip(240)]
    value_question: bool
    risk: Annotated[list[RiskAnswer], AtMost(4)]


@dataclass(frozen=True, slots=True)
class PerceiveInputs:
    """The prompt has no holes: the conversation stands before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Perceiver:
    """Reads the last message for what it shows."""

    model: Model
    framing: Framing
    prompt: Prompt[PerceiveInputs]
    max_tokens: int = 500

    async def __call__(self, turn: Turn) -> Perception:
        request = self.framing.about(turn, self.prompt, PerceiveInputs(), "perceive", max_tokens=self.max_tokens)
        return _perception(await answer(self.model, request, PerceptionAnswer), turn)


def _perception(given: PerceptionAnswer, turn: Turn) -> Perception:
    # A quote that does not occur costs the sign its words, never the sign: a missed danger is worse than a wrong one.
    risk = tuple(RiskSign(sign.kind, quoted(sign.words, turn.text), "perception") for sign in given.risk)
    return Perception(
        emotion=Emotion(given.emotion.lower(), LEVEL_VALUE[given.intensity]),
        shortlist=tuple(given.shortlist),
        cause=given.cause,
        words=tuple(words for item in given.words if (words := quoted(item, turn.text))),
        sentiment=HopReading(given.aspect, given.opinion, given.polarity) if given.aspect else None,
        need=given.need,
        flaw=given.flaw,
        value_question=given.value_question,
        risk=risk,
    )

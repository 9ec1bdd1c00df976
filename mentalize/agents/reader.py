"""Reader: the one call of effort `low`, which perceives, hypothesises and rates at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from ..llm.model import Model
from ..llm.structured import AtMost, Clip, answer
from ..prompts.format import remembered
from ..prompts.prompt import Prompt
from ..safety.orders import gives_order
from ..types import (
    Emotion,
    Evidence,
    Hypothesis,
    MentalState,
    Perception,
    Recollection,
    RefinedHypothesis,
    RiskKind,
    RiskSign,
    Turn,
)
from .question import Framing
from .quotes import persons_words, quoted
from .rating import LEVEL_VALUE, RATING_VALUE, Level, Rating
from .reading import Reading


class GuessAnswer(BaseModel):
    type: MentalState
    explanation: Annotated[str, Clip(160)]
    words: Annotated[str, Clip(100)]
    plausibility: Rating
    usual: Rating


class ReadingAnswer(BaseModel):
    """What the model fills in."""

    emotion: Annotated[str, Clip(24)]
    intensity: Level
    words: Annotated[str, Clip(80)]
    cause: Annotated[str, Clip(70)]
    need: Annotated[str, Clip(70)]
    flaw: Annotated[str, Clip(90)]
    risk: Literal["none", "self_harm", "abuse", "violence", "emergency"]
    hypotheses: Annotated[list[GuessAnswer], AtMost(4)] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class ReadInputs:
    """What the prompt is filled with."""

    memory: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Perceives and guesses in one structured answer."""

    model: Model
    framing: Framing
    prompt: Prompt[ReadInputs]
    count: int = 3
    max_tokens: int = 450

    async def __call__(self, turn: Turn, recollection: Recollection | None = None) -> Reading:
        inputs = ReadInputs(memory=remembered(recollection, self.framing.zone), count=self.count)
        request = self.framing.about(turn, self.prompt, inputs, "read", max_tokens=self.max_tokens)
        given = await answer(self.model, request, ReadingAnswer)
        guesses = _different(given.hypotheses)[: self.count]
        own_words = persons_words(turn)
        return Reading(
            perception=_perception(given, turn),
            hypotheses=tuple(_guess(f"h{number}", item, own_words) for number, item in enumerate(guesses, start=1)),
            priors={f"h{number}": RATING_VALUE[item.usual] for number, item in enumerate(guesses, start=1)},
        )


def _different(guesses: list[GuessAnswer]) -> list[GuessAnswer]:
    """Each thought once; one that gives orders is no guess."""
    sound = (item for item in guesses if not gives_order(item.explanation))
    return list({item.explanation.casefold().strip(" ."): item for item in sound}.values())


def _perception(given: ReadingAnswer, turn: Turn) -> Perception:
    words = quoted(given.words, turn.text)
    risk = () if given.risk == "none" else (RiskSign(RiskKind(given.risk), words, "perception"),)
    return Perception(
        emotion=Emotion(given.emotion.lower(), LEVEL_VALUE[given.intensity]),
        cause=given.cause,
        words=(words,) if words else (),
        need=given.need,
        flaw=given.flaw,
        risk=risk,
    )


def _guess(name: str, given: GuessAnswer, own_words: str) -> RefinedHypothesis:
    rating = RATING_VALUE[given.plausibility]
    hypothesis = Hypothesis(
        id=name,
        state=given.type,
        explanation=given.explanation,
        evidence=Evidence(words=quoted(given.words, own_words)),
        confidence=rating,
    )
    return RefinedHypothesis(hypothesis=hypothesis, text=given.explanation, p_cond=rating)

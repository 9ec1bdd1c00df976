"""Hypothesizer: MetaMind's Theory-of-Mind agent (arXiv 2505.18943, §3.1): rival guesses at what the person has on their
mind and does not say. Its four sub-steps (contextual analysis, memory integration, typology, space planning) are the
parts of one structured answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from ..llm.model import Model
from ..llm.structured import AtMost, Clip, answer
from ..prompts.format import remembered
from ..prompts.prompt import Prompt, fence
from ..safety.orders import gives_order
from ..types import Evidence, Hypothesis, MentalState, Recollection, Turn
from .question import Framing
from .quotes import persons_words, quoted
from .rating import RATING_VALUE, Rating

DIVERSITY_TARGET = 0.4
"""Share of the five mental states that the hypotheses should cover (arXiv 2505.18943, appendix: space planning)."""

UNSUPPORTED = 0.5
"""Factor on the confidence of a hypothesis whose quote does not occur: the evidence threshold, as a weight."""


class ReadingAnswer(BaseModel):
    trigger: Annotated[str, Clip(200)]
    motive: Annotated[str, Clip(160)]
    reading: Annotated[str, Clip(240)]
    context: Annotated[str, Clip(200)]


class MemoryMatchAnswer(BaseModel):
    reading: int = Field(ge=1, le=5)
    item: Annotated[str, Clip(200)]
    alignment: Literal["supports", "contradicts", "unrelated"]
    validity: int = Field(ge=1, le=5)


class TypologyAnswer(BaseModel):
    primary: MentalState
    confidence: int = Field(ge=0, le=100)
    rationale: Annotated[str, Clip(240)]
    secondary: Annotated[list[MentalState], AtMost(4)]


class HypothesisAnswer(BaseModel):
    type: MentalState
    explanation: Annotated[str, Clip(320)]
    words: Annotated[str, Clip(200)]
    context: Annotated[str, Clip(200)]
    memory: Annotated[str, Clip(200)]
    confidence: Rating


class HypothesesAnswer(BaseModel):
    """What the model fills in: the four sub-steps of Stage 1, in order."""

    readings: Annotated[list[ReadingAnswer], AtMost(5)]
    memory: Annotated[list[MemoryMatchAnswer], AtMost(5)]
    typology: TypologyAnswer
    hypotheses: Annotated[list[HypothesisAnswer], AtMost(10)] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class HypothesiseInputs:
    """What the prompt is filled with."""

    memory: str
    count: int
    types: int
    focus: str
    critique: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypothesizer:
    """Offers `count` hypotheses about one person's mind."""

    model: Model
    framing: Framing
    prompt: Prompt[HypothesiseInputs]
    count: int = 6
    max_tokens: int = 1_600

    async def __call__(
        self,
        turn: Turn,
        recollection: Recollection | None = None,
        *,
        state: MentalState | None = None,
        critique: str = "",
    ) -> tuple[Hypothesis, ...]:
        """Hypotheses of all states, or of one `state`; after a failed reply, with the `critique` it earned."""
        failed = f"A reply built on earlier hypotheses failed. Look elsewhere:\n{fence('critique', critique)}"
        inputs = HypothesiseInputs(
            memory=remembered(recollection, self.framing.zone),
            count=self.count,
            types=1 if state else math.ceil(DIVERSITY_TARGET * len(MentalState)),
            focus=f"Every hypothesis is of type {state}." if state else "",
            critique=failed if critique else "",
        )
        request = self.framing.about(
            turn, self.prompt, inputs, "hypothesise", max_tokens=self.max_tokens, temperature=0.7
        )
        given = await answer(self.model, request, HypothesesAnswer)
        return numbered(given.hypotheses[: self.count], turn, prefix=state[0] if state else "h")


def numbered(given: list[HypothesisAnswer], turn: Turn, *, prefix: str) -> tuple[Hypothesis, ...]:
    """The hypotheses with ids, each thought once, the unsupported ones less confident; none of them gives orders."""
    own_words = persons_words(turn)
    guesses = (item for item in given if item.explanation and not gives_order(item.explanation))
    unique = {item.explanation.casefold().strip(" ."): item for item in guesses}
    return tuple(
        _hypothesis(f"{prefix.lower()}{number}", item, own_words)
        for number, item in enumerate(unique.values(), start=1)
    )


def _hypothesis(name: str, given: HypothesisAnswer, own_words: str) -> Hypothesis:
    words = quoted(given.words, own_words)
    confidence = RATING_VALUE[given.confidence]
    return Hypothesis(
        id=name,
        state=given.type,
        explanation=given.explanation,
        evidence=Evidence(words=words, context=given.context, memory=given.memory),
        confidence=confidence if words else confidence * UNSUPPORTED,
    )

"""BriefReader: perceives and guesses in as few words as a small model can be trusted with.

It rates nothing: the choosing strategy scores feeling and plausibility. Its instructions stand in the preamble, where a
prefix cache keeps them from turn to turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, Field

from ..llm.model import Model
from ..llm.structured import AtMost, Clip, answer
from ..prompts.prompt import Prompt
from ..safety.orders import gives_order
from ..types import Emotion, Evidence, Hypothesis, MentalState, Perception, RefinedHypothesis, Turn
from .question import Framing
from .quotes import persons_words, quoted
from .reading import Reading

_UNRATED = 0.5


class BriefGuessAnswer(BaseModel):
    type: MentalState
    explanation: Annotated[str, Clip(90)]
    words: Annotated[str, Clip(40)]


class BriefReadingAnswer(BaseModel):
    """What the model fills in."""

    cause: Annotated[str, Clip(60)]
    need: Annotated[str, Clip(40)]
    hypotheses: Annotated[list[BriefGuessAnswer], AtMost(3)] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class BriefReadInputs:
    """The prompt has no holes: its instructions stand in the preamble."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BriefReader:
    """Perceives and guesses in one short structured answer."""

    model: Model
    framing: Framing
    prompt: Prompt[BriefReadInputs]
    max_tokens: int = 220

    async def __call__(self, turn: Turn) -> Reading:
        request = self.framing.about(turn, self.prompt, BriefReadInputs(), "read", max_tokens=self.max_tokens)
        given = await answer(self.model, request, BriefReadingAnswer)
        own_words = persons_words(turn)
        sound = (item for item in given.hypotheses if item.explanation and not gives_order(item.explanation))
        different = {item.explanation.casefold().strip(" ."): item for item in sound}
        guesses = tuple(_guess(f"h{n}", item, own_words) for n, item in enumerate(different.values(), start=1))
        shown = (quoted(guess.hypothesis.evidence.words, turn.text) for guess in guesses)
        return Reading(
            perception=Perception(
                emotion=Emotion("", _UNRATED),
                cause=given.cause,
                words=tuple(dict.fromkeys(words for words in shown if words)),
                need=given.need,
            ),
            hypotheses=guesses,
            priors={},
        )


def _guess(name: str, given: BriefGuessAnswer, own_words: str) -> RefinedHypothesis:
    evidence = Evidence(words=quoted(given.words, own_words))
    guess = Hypothesis(id=name, state=given.type, explanation=given.explanation, evidence=evidence, confidence=_UNRATED)
    return RefinedHypothesis(hypothesis=guess, text=given.explanation, p_cond=_UNRATED)

"""PriorRater: how plausible each hypothesis is when nothing is known, for the information gain of Algorithm 1
(arXiv 2505.18943, §3.2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, Field

from ..llm.model import Model
from ..llm.structured import AtMost, Clip, answer
from ..prompts.prompt import Prompt, fence
from ..types import Hypothesis
from .known import Known
from .question import Framing
from .rating import RATING_VALUE, Rating


class PriorAnswer(BaseModel):
    id: Annotated[str, Clip(20)]
    plausibility: Rating


class PriorsAnswer(BaseModel):
    """What the model fills in."""

    priors: Annotated[list[PriorAnswer], AtMost(10)] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class PriorInputs:
    """What the prompt is filled with."""

    hypotheses: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorRater:
    """Rates hypotheses without the conversation. It needs no refinement, so it runs beside it."""

    model: Model
    framing: Framing
    prompt: Prompt[PriorInputs]
    max_tokens: int = 200
    known: Known[float] | None = None
    """What was rated before: without the conversation, a hypothesis is as plausible today as it was yesterday."""

    async def __call__(self, hypotheses: Sequence[Hypothesis]) -> Mapping[str, float]:
        """P_prior by hypothesis id. Only what is not known is asked for."""
        if self.known is None:
            return await self._rated(hypotheses)
        scope = (*self.framing.scope, self.model.name, self.prompt.id, self.framing.preamble.text)
        known = {item.id: self.known.find(scope, item.explanation) for item in hypotheses}
        found = {name: value for name, value in known.items() if value is not None}
        unknown = [item for item in hypotheses if item.id not in found]
        if not unknown:
            return found
        rated = await self._rated(unknown)
        for item in unknown:
            if item.id in rated:
                self.known.keep(scope, item.explanation, rated[item.id])
        return {**found, **rated}

    async def _rated(self, hypotheses: Sequence[Hypothesis]) -> Mapping[str, float]:
        listed = fence("hypotheses", "\n".join(f"{item.id}: {item.explanation}" for item in hypotheses))
        request = self.framing.alone(self.prompt, PriorInputs(listed), "prior", max_tokens=self.max_tokens)
        given = await answer(self.model, request, PriorsAnswer)
        return {item.id.strip("[] ").casefold(): RATING_VALUE[item.plausibility] for item in given.priors}

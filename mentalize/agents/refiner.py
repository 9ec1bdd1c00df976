"""Refiner: MetaMind's domain agent (arXiv 2505.18943, §3.2): holds every hypothesis against cultural, ethical and role
norms, writes down what each norm changed, and rates how plausible the result is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from ..llm.model import Model
from ..llm.structured import AtMost, Clip, answer
from ..prompts.format import remembered
from ..prompts.prompt import Prompt, fence
from ..safety.orders import gives_order
from ..types import Hypothesis, ModificationStep, Norm, Recollection, RefinedHypothesis, RuleFamily, Turn
from .question import Framing
from .rating import RATING_VALUE, Rating

RISK_VALUE = {"none": 0.0, "low": 0.25, "mid": 0.5, "high": 0.9}


class StepAnswer(BaseModel):
    norm: Annotated[str, Clip(80)]
    element: Annotated[str, Clip(160)]
    transformation: Annotated[str, Clip(200)]


class RefinedAnswer(BaseModel):
    id: Annotated[str, Clip(20)]
    text: Annotated[str, Clip(320)]
    log: Annotated[list[StepAnswer], AtMost(4)]
    formality: int = Field(ge=1, le=5)
    residual_risk: Literal["none", "low", "mid", "high"]
    plausibility: Rating


class RefinementAnswer(BaseModel):
    """What the model fills in."""

    refined: Annotated[list[RefinedAnswer], AtMost(10)] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class RefineInputs:
    """What the prompt is filled with."""

    memory: str
    hypotheses: str
    norms: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refiner:
    """Refines and rates hypotheses."""

    model: Model
    framing: Framing
    prompt: Prompt[RefineInputs]
    max_tokens: int = 1_400

    async def __call__(
        self,
        turn: Turn,
        hypotheses: Sequence[Hypothesis],
        norms: Sequence[Norm],
        recollection: Recollection | None = None,
    ) -> tuple[RefinedHypothesis, ...]:
        """One refined hypothesis for each that the model answered for, in the given order."""
        inputs = RefineInputs(
            memory=remembered(recollection, self.framing.zone),
            hypotheses=fence(
                "hypotheses", "\n".join(f"{item.id} ({item.state}): {item.explanation}" for item in hypotheses)
            ),
            norms=by_family(norms),
        )
        request = self.framing.about(turn, self.prompt, inputs, "refine", max_tokens=self.max_tokens)
        given = {
            item.id.strip("[] ").casefold(): item
            for item in (await answer(self.model, request, RefinementAnswer)).refined
        }
        known = {norm.id for norm in norms}
        return tuple(_refined(item, given[item.id], known) for item in hypotheses if item.id in given)


def by_family(norms: Sequence[Norm]) -> str:
    """The norms as a list under each rule family's name."""
    return "\n".join(
        f"{family}:\n"
        + ("\n".join(f"- [{norm.id}] {norm.statement}" for norm in norms if norm.family == family) or "- (none)")
        for family in RuleFamily
    )


def _refined(hypothesis: Hypothesis, given: RefinedAnswer, known: set[str]) -> RefinedHypothesis:
    log = (ModificationStep(step.norm.strip("[] "), step.element, step.transformation) for step in given.log)
    return RefinedHypothesis(
        hypothesis=hypothesis,
        text=hypothesis.explanation if gives_order(given.text) else given.text or hypothesis.explanation,
        log=tuple(step for step in log if step.norm in known),
        formality=given.formality,
        residual_risk=RISK_VALUE[given.residual_risk],
        p_cond=RATING_VALUE[given.plausibility],
    )

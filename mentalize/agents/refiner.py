"""Refiner: MetaMind's domain agent (arXiv 2505.18943, §3.2): holds every hypothesis against cultural, ethical and role
norms, writes down what each norm changed, and rates how plausible the result is. Beside that it judges the act in
question as Delphi does (arXiv 2110.07574): bad, neutral or good, and its negation as well, because such judgements are
often inconsistent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from ..llm.model import Model
from ..llm.structured import AtMost, Clip, answer
from ..prompts.format import remembered
from ..prompts.prompt import Prompt, fence
from ..safety.orders import gives_order
from ..types import (
    Hypothesis,
    ModificationStep,
    Norm,
    NormJudgement,
    NormVerdict,
    Recollection,
    RefinedHypothesis,
    Refinement,
    RuleFamily,
    Turn,
)
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


class JudgementAnswer(BaseModel):
    act: Annotated[str, Clip(160)]
    verdict: NormVerdict
    negation: Annotated[str, Clip(160)]
    negation_verdict: NormVerdict
    norms: Annotated[list[Annotated[str, Clip(80)]], AtMost(4)]


class RefinementAnswer(BaseModel):
    """What the model fills in."""

    refined: Annotated[list[RefinedAnswer], AtMost(10)] = Field(min_length=1)
    judgement: JudgementAnswer


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
    max_tokens: int = 1_600

    async def __call__(
        self,
        turn: Turn,
        hypotheses: Sequence[Hypothesis],
        norms: Sequence[Norm],
        recollection: Recollection | None = None,
    ) -> Refinement:
        """One refined hypothesis for each that the model answered for, in the given order, and the judgement."""
        inputs = RefineInputs(
            memory=remembered(recollection, self.framing.zone),
            hypotheses=fence(
                "hypotheses", "\n".join(f"{item.id} ({item.state}): {item.explanation}" for item in hypotheses)
            ),
            norms=by_family(norms),
        )
        request = self.framing.about(turn, self.prompt, inputs, "refine", max_tokens=self.max_tokens)
        answered = await answer(self.model, request, RefinementAnswer)
        given = {item.id.strip("[] ").casefold(): item for item in answered.refined}
        known = {norm.id: norm for norm in norms}
        refined = tuple(_refined(item, given[item.id], known) for item in hypotheses if item.id in given)
        return Refinement(refined, judged(answered.judgement, known))


def by_family(norms: Sequence[Norm]) -> str:
    """The norms as a list under each rule family's name."""
    return "\n".join(
        f"{family}:\n" + ("\n".join(_line(norm) for norm in norms if norm.family == family) or "- (none)")
        for family in RuleFamily
    )


def judged(given: JudgementAnswer, known: Mapping[str, Norm]) -> NormJudgement | None:
    """The judgement after the flip check, or None where no act is in question.

    An act and its negation that are both good or both bad are judged inconsistently, and count as neutral. Only what a
    hard norm forbids stays bad whatever the negation was judged, as by the top-down rules of Delphi's hybrid.
    """
    if not given.act or gives_order(given.act):
        return None
    rests_on = tuple(dict.fromkeys(name for item in given.norms if (name := item.strip("[] ")) in known))
    consistent = given.verdict is NormVerdict.NEUTRAL or given.verdict is not given.negation_verdict
    forbidden = given.verdict is NormVerdict.BAD and any(known[name].hard for name in rests_on)
    return NormJudgement(
        act=given.act,
        verdict=NormVerdict.BAD if forbidden else given.verdict if consistent else NormVerdict.NEUTRAL,
        negation=given.negation,
        negation_verdict=given.negation_verdict,
        consistent=consistent,
        norms=rests_on,
    )


def _line(norm: Norm) -> str:
    varies = f" People differ: {norm.varies}" if norm.varies else ""
    tags = f" ({', '.join(norm.tags)})" if norm.tags else ""
    return f"- [{norm.id}] {norm.statement}{varies}{tags}"


def _refined(hypothesis: Hypothesis, given: RefinedAnswer, known: Mapping[str, Norm]) -> RefinedHypothesis:
    log = (ModificationStep(step.norm.strip("[] "), step.element, step.transformation) for step in given.log)
    return RefinedHypothesis(
        hypothesis=hypothesis,
        text=hypothesis.explanation if gives_order(given.text) else given.text or hypothesis.explanation,
        log=tuple(step for step in log if step.norm in known),
        formality=given.formality,
        residual_risk=RISK_VALUE[given.residual_risk],
        p_cond=RATING_VALUE[given.plausibility],
    )

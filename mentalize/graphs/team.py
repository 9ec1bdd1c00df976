"""Team: every agent of a turn, bound to the models that play its roles."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import cast

from ..agents.chooser import Chooser, PreferInputs
from ..agents.feeling_scorer import FeelingInputs, FeelingScorer
from ..agents.foreseer import ForeseeInputs, Foreseer
from ..agents.hypothesizer import HypothesiseInputs, Hypothesizer
from ..agents.perceiver import PerceiveInputs, Perceiver
from ..agents.plausibility_scorer import PlausibilityScorer, PlausibleInputs
from ..agents.prior_rater import PriorInputs, PriorRater
from ..agents.question import Framing, PreambleInputs
from ..agents.reader import Reader, ReadInputs
from ..agents.refiner import RefineInputs, Refiner
from ..agents.rubric_scorer import RubricInputs, RubricScorer
from ..agents.safety_gate import GateInputs, SafetyGate
from ..agents.validator import ValidateInputs, Validator
from ..agents.writer import WriteInputs, Writer
from ..llm.budget import Budget, BudgetedModel
from ..llm.model import Model
from ..llm.traced import Ledger, RoleName, TracedModel
from ..prompts.library import Library
from ..prompts.prompt import Prompt
from ..types import RoleCharter


@dataclass(frozen=True, slots=True)
class Roles:
    """Which model plays which role."""

    reason: Model
    judge: Model
    write: Model

    def for_turn(self, ledger: Ledger, budget: Budget) -> Roles:
        """The same models, traced and held to one turn's contract."""

        def bound(model: Model, role: RoleName) -> Model:
            return BudgetedModel(TracedModel(model, role, ledger), budget)

        return Roles(bound(self.reason, "reason"), bound(self.judge, "judge"), bound(self.write, "write"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """Every prompt that a team uses, each checked against the dataclass that fills it."""

    preamble: Prompt[PreambleInputs]
    persona: Prompt[PreambleInputs]
    perceive: Prompt[PerceiveInputs]
    hypothesise: Prompt[HypothesiseInputs]
    foresee: Prompt[ForeseeInputs]
    refine: Prompt[RefineInputs]
    prior: Prompt[PriorInputs]
    read: Prompt[ReadInputs]
    write: Prompt[WriteInputs]
    validate: Prompt[ValidateInputs]
    gate: Prompt[GateInputs]
    plausible: Prompt[PlausibleInputs]
    usual: Prompt[PlausibleInputs]
    feeling: Prompt[FeelingInputs]
    prefer: Prompt[PreferInputs]
    rubric_a1: Prompt[RubricInputs]
    rubric_a2: Prompt[RubricInputs]
    rubric_b1: Prompt[RubricInputs]
    rubric_b2: Prompt[RubricInputs]

    @classmethod
    def from_library(cls, library: Library) -> Prompts:
        """Read and check all of them.

        Raises:
            PromptError: one does not fit.
        """
        return cls(
            preamble=library.get("preamble", PreambleInputs),
            persona=library.get("persona", PreambleInputs),
            perceive=library.get("perceive", PerceiveInputs),
            hypothesise=library.get("hypothesise", HypothesiseInputs),
            foresee=library.get("foresee", ForeseeInputs),
            refine=library.get("refine", RefineInputs),
            prior=library.get("prior", PriorInputs),
            read=library.get("read", ReadInputs),
            write=library.get("write", WriteInputs),
            validate=library.get("validate", ValidateInputs),
            gate=library.get("gate", GateInputs),
            plausible=library.get("plausible", PlausibleInputs),
            usual=library.get("usual", PlausibleInputs),
            feeling=library.get("feeling", FeelingInputs),
            prefer=library.get("prefer", PreferInputs),
            rubric_a1=library.get("rubric_a1", RubricInputs),
            rubric_a2=library.get("rubric_a2", RubricInputs),
            rubric_b1=library.get("rubric_b1", RubricInputs),
            rubric_b2=library.get("rubric_b2", RubricInputs),
        )

    def ids(self) -> tuple[str, ...]:
        """`name@version#digest` of each, which names the words that a trace's turn was asked with."""
        return tuple(cast("Prompt[object]", getattr(self, field.name)).id for field in fields(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """The agents."""

    perceiver: Perceiver
    hypothesizer: Hypothesizer
    foreseer: Foreseer
    refiner: Refiner
    prior_rater: PriorRater
    reader: Reader
    writer: Writer
    validator: Validator
    safety_gate: SafetyGate
    plausibility_scorer: PlausibilityScorer
    feeling_scorer: FeelingScorer
    rubric_scorer: RubricScorer
    chooser: Chooser


SHORT_REPLY = 90
"""Tokens of a candidate under the choosing strategy."""

SHORT_CONVERSATION = 2_400
"""Characters of conversation that a small model is shown."""


def assemble(roles: Roles, prompts: Prompts, charter: RoleCharter, *, hypotheses: int, choosing: bool) -> Team:
    """The agents for one turn."""
    framing = Framing.of(prompts.preamble, charter, **({"longest": SHORT_CONVERSATION} if choosing else {}))
    reason, judge = roles.reason, roles.judge
    return Team(
        perceiver=Perceiver(model=reason, framing=framing, prompt=prompts.perceive),
        hypothesizer=Hypothesizer(model=reason, framing=framing, prompt=prompts.hypothesise, count=hypotheses),
        foreseer=Foreseer(model=reason, framing=framing, prompt=prompts.foresee),
        refiner=Refiner(model=reason, framing=framing, prompt=prompts.refine),
        prior_rater=PriorRater(model=reason, framing=framing, prompt=prompts.prior),
        reader=Reader(model=reason, framing=framing, prompt=prompts.read, count=min(hypotheses, 3)),
        writer=Writer(
            model=roles.write,
            charter=charter,
            prompt=prompts.write,
            persona=prompts.persona,
            max_tokens=SHORT_REPLY if choosing else None,
        ),
        validator=Validator(model=judge, framing=framing, prompt=prompts.validate),
        safety_gate=SafetyGate(model=judge, framing=framing, prompt=prompts.gate),
        plausibility_scorer=PlausibilityScorer(
            model=judge, framing=framing, plausible=prompts.plausible, usual=prompts.usual
        ),
        feeling_scorer=FeelingScorer(model=reason, framing=framing, prompt=prompts.feeling),
        rubric_scorer=RubricScorer(
            model=judge,
            framing=framing,
            a1=prompts.rubric_a1,
            a2=prompts.rubric_a2,
            b1=prompts.rubric_b1,
            b2=prompts.rubric_b2,
        ),
        chooser=Chooser(model=judge, framing=framing, prompt=prompts.prefer),
    )

"""The state of a turn's graph, one key for each stage's output, and the context that its stages share."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypedDict

import structlog

from ..agents.attribution import repeated
from ..agents.likelihood_scorer import Likelihoods
from ..agents.reading import Reading
from ..agents.rubric import Quality
from ..agents.safety_gate import GateFindings
from ..agents.selection import ScoreMode
from ..errors import whereabouts
from ..llm.budget import Budget
from ..llm.stopwatch import Stopwatch
from ..llm.traced import Ledger
from ..safety.gates import check_reply
from ..safety.referral import ReferralTable
from ..types import (
    Contract,
    Draft,
    Effort,
    Foresight,
    Hypothesis,
    LensNote,
    Memory,
    Multiplex,
    Norm,
    NormMatch,
    Perception,
    PerspectivesMode,
    Plan,
    Recollection,
    RefinedHypothesis,
    Refinement,
    RiskSign,
    Selection,
    StageRecord,
    StreamMode,
    Turn,
    ValueCue,
    Verdict,
)
from .events import StageFinished, StageStarted
from .speculation import Speculation
from .team import Team
from .turn_memory import TurnMemory

_log: Any = structlog.wrap_logger(logging.getLogger("mentalize.graphs"))


@dataclass(frozen=True, slots=True)
class Attempt:
    """A draft and what was found about it."""

    draft: Draft
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Settlement:
    """Every attempt so far, and where the turn goes on."""

    attempts: tuple[Attempt, ...]
    next: Literal["send", "write", "hypothesise"] = "send"


@dataclass(frozen=True, slots=True)
class Scored:
    """Hypotheses with P_cond, and P_prior by hypothesis id, scored by one-token choices."""

    refined: tuple[RefinedHypothesis, ...]
    priors: Mapping[str, float]


class State(TypedDict, total=False):
    """A stage writes its own key and no other. It is absent or None while the stage has not run, or when it failed."""

    recollection: Recollection | None
    reading: Reading | None
    perception: Perception | None
    hypotheses: tuple[Hypothesis, ...] | None
    foresight: Foresight | None
    lens_notes: tuple[LensNote, ...] | None
    refinement: Refinement | None
    priors: Mapping[str, float] | None
    likelihoods: Likelihoods | None
    scored: Scored | None
    multiplex: Multiplex | None
    speculation: str | None
    """The id of the guess for which a reply is written ahead."""
    selection: Selection | None
    plan: Plan | None
    draft: Draft | None
    choice: Draft | None
    quality: Quality | None
    findings: GateFindings | None
    settlement: Settlement | None


def perceived(state: State) -> Perception | None:
    """What was perceived, by whichever stage did."""
    reading = state.get("reading")
    return state.get("perception") or (reading.perception if reading else None)


def relevant_multiplex(state: State) -> Multiplex | None:
    """What the lenses made of the message, where they have something to say to it."""
    multiplex = state.get("multiplex")
    return multiplex if multiplex and multiplex.relevant else None


def drafted(state: State) -> Draft | None:
    """The draft of this round: the one that was chosen, or the first, where no choice was made in time."""
    return state.get("choice") or state.get("draft")


def weighed(state: State) -> Scored:
    """The hypotheses and priors by the best estimate there is: scored, likelihoods, rated, or their confidence."""
    if scored := state.get("scored"):
        return scored
    if reading := state.get("reading"):
        return Scored(reading.hypotheses, reading.priors)
    unrefined = tuple(
        RefinedHypothesis(hypothesis=item, text=item.explanation, p_cond=item.confidence)
        for item in state.get("hypotheses") or ()
    )
    refinement = state.get("refinement")
    refined = (refinement.hypotheses if refinement else ()) or unrefined
    if likelihoods := state.get("likelihoods"):
        return by_likelihood(refined, likelihoods)
    return Scored(refined, state.get("priors") or {})


def by_likelihood(refined: Sequence[RefinedHypothesis], likelihoods: Likelihoods) -> Scored:
    """The hypotheses with their likelihoods for P_cond and P_prior."""
    conditional = likelihoods.conditional
    return Scored(
        tuple(replace(item, p_cond=conditional.get(item.hypothesis.id, item.p_cond)) for item in refined),
        likelihoods.prior,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """The weights and thresholds of docs/concepts.md, Score."""

    mode: ScoreMode = "bounded"
    plausibility_weight: float = 0.6
    """λ."""
    empathy_weight: float = 0.8
    """β."""
    utility_threshold: float = 0.85
    max_revisions: int = 1


Hook = Callable[[str, StageStarted | StageFinished], Awaitable[None] | None]
"""Called with the id of a turn and an event of it."""


@dataclass(slots=True, kw_only=True)
class TurnContext:
    """What the stages of one turn share. The lists only grow."""

    turn: Turn
    requested: Effort
    effort: Effort
    route: str
    """Why this effort."""
    contract: Contract
    team: Team
    ledger: Ledger
    budget: Budget
    stopwatch: Stopwatch
    """What both are clocked by. It stands still while a chatbot of the caller's own works."""
    memory: TurnMemory | None
    """None without an identity, or where memory is off."""
    scoring: Scoring
    language: str | None
    """The person's language (ISO 639-1 or BCP 47), where it is known."""
    choosing: bool
    """Whether the choosing strategy is on (docs/concepts.md, Score)."""
    speculating: bool = False
    """Whether a reply may be written ahead."""
    speculation: Speculation | None = None
    likely: bool = False
    """Whether plausibility is the likelihood of a hypothesis' words, and not rated or chosen."""
    trust_perceived_risk: bool
    """Whether the perception call's signs of danger count, beside the lexicon's."""
    risk: tuple[RiskSign, ...]
    """What the lexicon found."""
    stage_seconds: float
    referrals: ReferralTable
    help_lines: Callable[[Sequence[RiskSign]], tuple[str, ...]]
    """Where help is to be had, as short texts."""
    vetted: Callable[[Sequence[RiskSign]], str]
    """The vetted reply for these signs; for none, one that is safe to any message."""
    forms: Callable[[Perception], Sequence[tuple[str, str]]]
    """Filled reflective forms: id and text."""
    matches: Callable[[Perception | None], tuple[NormMatch, ...]]
    """The norms that bear on this turn, and why."""
    perspectives: PerspectivesMode = PerspectivesMode.OFF
    """Whether lenses are asked, or the writer is told the principles; never `auto`."""
    cue: ValueCue | None = None
    """Why."""
    may_be_contextual: bool = False
    """Whether a value question that only the perception call notices brings the principles in."""
    mode: StreamMode = StreamMode.GATED
    """When text may leave; signs of danger that a stage notices make it `gated`."""
    hooks: tuple[Hook, ...] = ()
    stages: list[StageRecord] = field(default_factory=list[StageRecord])
    spoken: list[str] = field(default_factory=list[str])
    """What has already left."""
    held: str = ""
    """What was written after that and waits for the verdict."""
    losses: list[str] = field(default_factory=list[str])
    """Parts of stages that failed beside others that did not."""
    structured_failures: int = 0
    """Structured answers that stayed invalid."""
    given: Turn | None = None
    """The turn with the conversation as it came, where `turn` has less of it."""
    kept: tuple[int, ...] | None = None
    """Which messages of that are left, by position; None for all."""
    unheard: tuple[Memory, ...] = ()
    """What somebody who is present has not heard: no reply may give it away."""
    known: str = ""
    """What everybody who is present has heard."""
    told: tuple[str, ...] = ()
    """The prompts that a chatbot of the caller's own was guided with."""
    concluded: bool = False
    """Whether its reply is made; it is recorded once."""

    def signs(self, state: State) -> tuple[RiskSign, ...]:
        """All signs of danger that count."""
        perception = perceived(state)
        noticed = perception.risk if perception and self.trust_perceived_risk else ()
        return self.risk + noticed

    def applicable(self, perception: Perception | None) -> tuple[Norm, ...]:
        """The norms that bear on this turn."""
        return tuple(match.norm for match in self.matches(perception))

    def keep_apart(self, unheard: Sequence[Memory]) -> None:
        """Leave out of the conversation what somebody who is present has not heard."""
        apart = {row.text.strip() for row in unheard}
        messages = self.turn.messages
        kept = tuple(
            at
            for at, message in enumerate(messages)
            if at == len(messages) - 1 or message.role not in ("user", "assistant") or message.text.strip() not in apart
        )
        self.unheard = tuple(unheard)
        if len(kept) < len(messages):
            self.given, self.kept = self.turn, kept
            self.turn = replace(self.turn, messages=tuple(messages[at] for at in kept))

    def know(self, recollection: Recollection) -> None:
        """Note what everybody has heard: the conversation, and what was recalled before them all."""
        recalled = [hit.memory for hit in recollection.hits]
        recalled += [one for one in (recollection.portrait, recollection.summary) if one]
        self.known = "\n".join([*(message.text for message in self.turn.messages), *(one.text for one in recalled)])

    async def tell(self, event: StageStarted | StageFinished) -> None:
        """Call the hooks."""
        for hook in self.hooks:
            try:
                waiting = hook(self.turn.id, event)
                if waiting is not None:
                    await waiting
            except Exception as fault:
                _log.warning("hook_failed", turn=self.turn.id, fault=type(fault).__name__, at=whereabouts(fault))

    def failed(self, stage: str) -> bool:
        """Whether a stage that ran gave nothing because of a fault."""
        return any(record.name == stage and record.error for record in self.stages)

    def passes(self, text: str) -> bool:
        """Whether `text` passes the code's gates where there is no sign of danger."""
        return all(self.gates(text, ()).values())

    def gates(self, text: str, signs: Sequence[RiskSign]) -> dict[str, bool]:
        """The code's gates on `text`."""
        gates = check_reply(
            text,
            risk=signs,
            country=self.turn.country,
            referrals=self.referrals,
            echoes=self.team.echoes,
            quotable=(message.text for message in self.turn.messages),
        )
        if self.unheard:
            gates["keeps_confidence"] = not repeated(self.unheard, self.known, text)
        return gates

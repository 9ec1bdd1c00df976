"""Trace: what a turn leaves behind, put together from its state and context."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from ..agents.safety_gate import OFFERS_HELP, keeps
from ..llm.structured import REPAIR
from ..llm.traced import total_usage
from ..types import (
    Effort,
    NormMatch,
    NormUse,
    PerspectivesMode,
    RiskKind,
    RiskSign,
    StructuredCounts,
    Trace,
    Usage,
)
from .stages import best
from .state import Attempt, State, TurnContext, perceived, weighed

_logger = logging.getLogger("mentalize.mind")
_log: Any = structlog.wrap_logger(_logger)


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What goes out."""

    text: str
    origin: str
    finish_reason: str = "stop"
    usage: Usage = Usage()
    """Tokens of the call that wrote it, or that wrote what was not fit to be sent."""


def conclude(context: TurnContext, state: State) -> Conclusion:
    """The best safe draft, or a vetted text, after what was spoken already."""
    settlement, draft = state.get("settlement"), state.get("draft")
    if context.effort is Effort.NONE and draft is not None:
        return Conclusion(draft.text, "passed through", draft.finish_reason, draft.usage or Usage())
    attempts = settlement.attempts if settlement else ()
    attempt = best(attempts)
    spoken = "".join(context.spoken)
    if attempt:
        text = (spoken + context.held).rstrip() if spoken else attempt.draft.text
        return Conclusion(text, attempt.draft.origin, attempt.draft.finish_reason, attempt.draft.usage or Usage())
    spent = (attempts[-1].draft.usage if attempts else None) or Usage()
    signs = context.signs(state) or _unnamed_danger(attempts)
    if spoken and not attempts:
        return Conclusion(spoken.rstrip(), "cut short", usage=spent)
    vetted = context.vetted(signs)
    if spoken:
        # What failed its verdict has left in part, and is not left unanswered.
        return Conclusion(f"{spoken}\n\n{vetted}", "cut short", usage=spent)
    return Conclusion(vetted, "referral" if signs else "fallback", usage=spent)


def trace_of(context: TurnContext, state: State, text: str, origin: str) -> Trace:
    """The trace of a turn whose reply is `text`."""
    records = tuple(context.ledger.records)
    settlement = state.get("settlement")
    attempts = settlement.attempts if settlement else ()
    refinement = state.get("refinement")
    return Trace(
        turn_id=context.turn.id,
        at=context.turn.at,
        effort=context.effort,
        requested_effort=context.requested,
        route=context.route,
        text=context.turn.text,
        perception=perceived(state),
        recollection=state.get("recollection"),
        hypotheses=state.get("hypotheses") or tuple(item.hypothesis for item in weighed(state).refined),
        foresight=state.get("foresight"),
        selection=state.get("selection"),
        judgement=refinement.judgement if refinement else None,
        circumstances=context.turn.circumstances,
        norms=_norms_used(context, state, attempts),
        perspectives=_perspectives_taken(context, state),
        cue=context.cue,
        multiplex=state.get("multiplex"),
        plan=state.get("plan"),
        drafts=tuple(attempt.draft for attempt in attempts),
        verdicts=tuple(attempt.verdict for attempt in attempts),
        risk=context.signs(state),
        reply=text,
        reply_origin=origin,
        written_ahead=context.speculation.kept if context.speculation else None,
        revisions=max(0, len(attempts) - 1),
        contract=context.contract,
        calls=sum(not record.scoring and not record.cached for record in records),
        scorings=sum(record.scoring and not record.cached for record in records),
        depth=context.ledger.depth,
        seconds=context.ledger.elapsed(),
        usage=total_usage(records),
        structured=_structured_counts(context),
        stages=tuple(context.stages),
        requests=records,
        prompts=tuple(sorted({*context.told, *(prompt for record in records for prompt in record.prompts)})),
        failures=(*(f"{record.name}: {record.error}" for record in context.stages if record.error), *context.losses),
    )


def _norms_used(context: TurnContext, state: State, attempts: Sequence[Attempt]) -> tuple[NormUse, ...]:
    """The norms that applied, what each changed, and how many drafts broke it."""
    if context.effort is Effort.NONE:
        return ()
    plan = state.get("plan")
    told = {*plan.must, *plan.norms} if plan else set[str]()
    refined = weighed(state).refined
    rules = [NormMatch(norm, 1.0, "several traditions are set out") for norm in context.team.even_handed]
    matches = (*context.matches(perceived(state)), *(rules if plan and plan.multiplex else ()))
    return tuple(
        NormUse(
            norm=match.norm,
            reason=match.reason,
            changed=tuple(
                item.hypothesis.id for item in refined if any(step.norm == match.norm.id for step in item.log)
            ),
            in_plan=match.norm.statement in told,
            broken=sum(not attempt.verdict.gates.get(keeps(match.norm), True) for attempt in attempts),
        )
        for match in matches
    )


def _perspectives_taken(context: TurnContext, state: State) -> PerspectivesMode:
    if context.perspectives is PerspectivesMode.AGENTS:
        return PerspectivesMode.AGENTS
    plan = state.get("plan")
    return PerspectivesMode.CONTEXTUAL if plan and plan.multiplex else PerspectivesMode.OFF


def log(trace: Trace) -> None:
    """One line for the turn; never what was said."""
    if not _logger.isEnabledFor(logging.INFO):  # structlog would write the line and then throw it away.
        return
    _log.bind(turn=trace.turn_id).info(
        "turn",
        effort=str(trace.effort),
        perspectives=str(trace.perspectives),
        route=trace.route,
        origin=trace.reply_origin,
        calls=trace.calls,
        scorings=trace.scorings,
        depth=trace.depth,
        seconds=round(trace.seconds, 3),
        tokens=trace.usage.total_tokens,
        risk=[str(sign.kind) for sign in trace.risk],
    )


def _unnamed_danger(attempts: Sequence[Attempt]) -> tuple[RiskSign, ...]:
    """A sign for danger that only the judge saw: it names no words, and the vetted text fits any."""
    withheld = any(not attempt.verdict.gates.get(OFFERS_HELP, True) for attempt in attempts)
    return (RiskSign(RiskKind.SELF_HARM, "", "perception"),) if withheld else ()


def _structured_counts(context: TurnContext) -> StructuredCounts:
    asked = [record for record in context.ledger.records if record.structured]
    return StructuredCounts(
        answers=sum(not record.purpose.endswith(REPAIR) for record in asked),
        repaired=sum(record.purpose.endswith(REPAIR) for record in asked),
        failed=context.structured_failures,
    )

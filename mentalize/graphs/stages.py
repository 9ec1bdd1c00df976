"""Stages: the nodes of a turn's graph. Each asks an agent, or decides in code, and returns its own key of the state."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

import structlog
from langchain_core.runnables import RunnableConfig
from langgraph.config import get_stream_writer
from langgraph.runtime import Runtime

from ..agents.attribution import used
from ..agents.brief_reader import BriefReader
from ..agents.intake import must_be_whole
from ..agents.language import language_of
from ..agents.planner import Findings
from ..agents.planner import plan as make_plan
from ..agents.selection import select as select_hypothesis
from ..agents.writer import speaks_to_them
from ..errors import MentalizeError, ModelError, ModelTimeout, StoreUnavailable, StructuredOutputError, whereabouts
from ..llm.model import Delta
from ..llm.wrapper import closing
from ..safety.stereotypes import generalisations
from ..types import (
    Candidate,
    Draft,
    Effort,
    Hypothesis,
    MentalState,
    Multiplex,
    Perception,
    PerspectivesMode,
    Plan,
    Refinement,
    Selection,
    StageRecord,
    StreamMode,
    Verdict,
)
from .events import StageFinished, StageStarted, TextDelta, TextHeld
from .narration import narrate
from .sentences import whole_sentences, without_thought
from .speculation import Speculation
from .state import (
    Attempt,
    Scored,
    Settlement,
    State,
    TurnContext,
    by_likelihood,
    drafted,
    perceived,
    relevant_multiplex,
    weighed,
)

_log: Any = structlog.wrap_logger(logging.getLogger("mentalize.graphs"))

Result = TypeVar("Result")
Update = dict[str, Any]
Rescue = Callable[[State, TurnContext], Update | None]
Work = Callable[[State, TurnContext], Awaitable[Update]]
Node = Callable[[State, RunnableConfig, Runtime[TurnContext]], Awaitable[Update]]

TEMPERATURE = 0.3
"""Of the draft that a small model writes under the choosing strategy: the freer, the further it strays."""

FORMS = 2
JUDGED = (Effort.MEDIUM, Effort.HIGH)
"""Efforts at which a model judges the draft."""
RECALL_SECONDS = 10.0
"""What memory may take before a turn goes on without it."""
WITHIN = 1_200
"""Characters before a sentence with which it is checked: what gates look for is shorter. `settle` checks the whole."""
REVISION_CALLS = 3
REVISION_DEPTH = 2


def stage(
    name: str, work: Work, *, share: float, writes: str, required: bool = False, rescue: Rescue | None = None
) -> Node:
    """A node that runs `work` within the turn's contract, reports it, and fails open.

    `share` is the part of the contract's seconds by which the stage must have ended, so that the stages after it
    still have time. A stage that fails or runs late leaves its key `writes` empty, also of an earlier round's value,
    and says so in the trace; a `required` one raises while there is no reply to send instead, and `rescue` has none.

    Raises:
        ModelError: a required stage failed.
    """

    async def node(state: State, config: RunnableConfig, runtime: Runtime[TurnContext]) -> Update:
        context = runtime.context
        context.ledger.enter(config.get("metadata", {})["langgraph_step"])
        runtime.stream_writer(StageStarted(name))
        await context.tell(StageStarted(name))
        started = context.ledger.elapsed()
        seconds = max(0.0, min(context.stage_seconds, share * context.contract.seconds - started))
        settlement = state.get("settlement")
        needed = required and not (settlement and settlement.attempts)
        error, problem, found = None, None, ""
        try:
            async with asyncio.timeout(seconds):
                update = {writes: None} | await work(state, context)
            found = narrate(update[writes])
            return update
        except TimeoutError as late:
            error = f"late: not done after {seconds:.3g} s"
            problem = ModelTimeout(
                f"The stage {name!r} was not done after {seconds:.3g} s.",
                hint="Give the turn more seconds (settings `contract`, `stage_seconds`), or a faster model.",
            )
            problem.__cause__ = late
        except MentalizeError as fault:
            error, problem = str(fault), fault
            context.structured_failures += isinstance(fault, StructuredOutputError)
        except Exception as fault:
            # The boundary where any fault, a plug-in store's too, costs its stage and not the conversation.
            error, problem = f"{type(fault).__name__}: {fault}", fault
        finally:
            took = context.ledger.elapsed() - started
            context.stages.append(StageRecord(name=name, started=started, seconds=took, error=error, found=found))
            runtime.stream_writer(finished := StageFinished(name, took, error, found))
            await context.tell(finished)
        instead = rescue(state, context) if rescue else None
        if needed and instead is None:
            raise problem
        # A fault's words and frames may hold what people wrote: they are in the trace, and not in the log.
        fault = type(problem).__name__
        hint = problem.hint if isinstance(problem, MentalizeError) else ""
        where = whereabouts(problem)
        _log.warning("stage_left_out", turn=context.turn.id, stage=name, fault=fault, hint=hint, at=where)
        return instead or {writes: None}

    return node


def sequence(*nodes: Node) -> Node:
    """Stages that decide in code, one after another in one superstep."""

    async def node(state: State, config: RunnableConfig, runtime: Runtime[TurnContext]) -> Update:
        update: Update = {}
        for each in nodes:
            update |= await each(cast("State", {**state, **update}), config, runtime)
        return update

    return node


async def recall(state: State, context: TurnContext) -> Update:
    """What memory holds for this person. Without an identity there is none, nor where memory is off."""
    if context.memory is None:
        return {}
    try:
        async with asyncio.timeout(RECALL_SECONDS):
            context.keep_apart(await context.memory.unheard())
            recollection = await context.memory.recall(context.turn)
            context.know(recollection)
            return {"recollection": recollection}
    except TimeoutError as late:
        raise StoreUnavailable(f"Memory gave no answer within {RECALL_SECONDS:g} s.") from late


async def read(state: State, context: TurnContext) -> Update:
    """Perceive, hypothesise and rate in one call."""
    reader = context.team.reader
    if isinstance(reader, BriefReader):
        reading = await reader(context.turn)
        return {"reading": replace(reading, perception=await _felt(context, reading.perception))}
    return {"reading": await reader(context.turn, state.get("recollection"))}


async def perceive(state: State, context: TurnContext) -> Update:
    """What the message shows."""
    perception = await context.team.perceiver(context.turn)
    return {"perception": await _felt(context, perception) if context.choosing else perception}


async def hypothesise(state: State, context: TurnContext) -> Update:
    """Rival guesses at what is unsaid; after a failed reply, with what was wrong with it."""
    settlement = state.get("settlement")
    critique = settlement.attempts[-1].verdict.critique if settlement else ""
    guess = context.team.hypothesizer
    if context.effort is not Effort.HIGH:
        return {"hypotheses": await guess(context.turn, state.get("recollection"), critique=critique)}
    one_each = replace(guess, count=2)
    asked = [one_each(context.turn, state.get("recollection"), state=kind, critique=critique) for kind in MentalState]
    found = await _all_that_succeed(context, "hypothesise", asked)
    return {"hypotheses": _strongest([item for group in found for item in group], guess.count)}


async def foresee(state: State, context: TurnContext) -> Update:
    """What may come next."""
    return {"foresight": await context.team.foreseer(context.turn)}


async def perspectives(state: State, context: TurnContext) -> Update:
    """How each lens sees the matter, apart from the others."""
    asked = [speak(context.turn) for speak in context.team.perspectives]
    notes = await _all_that_succeed(context, "perspectives", asked)
    return {"lens_notes": tuple(note for note in notes if note is not None)}


async def synthesise(state: State, context: TurnContext) -> Update:
    """What the lenses share and where they differ, beside refinement."""
    notes = state.get("lens_notes") or ()
    return {"multiplex": await context.team.synthesizer(context.turn, notes)} if notes else {}


def rescue_multiplex(state: State, context: TurnContext) -> Update | None:
    """The notes side by side, when nobody could say what they share."""
    notes = state.get("lens_notes") or ()
    return {"multiplex": Multiplex(relevant=True, notes=notes)} if notes else None


async def refine(state: State, context: TurnContext) -> Update:
    """Hold the hypotheses against the norms and rate them."""
    hypotheses = state.get("hypotheses") or ()
    if not hypotheses:
        return {}
    norms = context.applicable(perceived(state))

    async def refined(some: tuple[Hypothesis, ...]) -> Refinement:
        return await context.team.refiner(context.turn, some, norms, state.get("recollection"))

    if context.effort is not Effort.HIGH:
        return {"refinement": await refined(hypotheses)}
    found = await _all_that_succeed(context, "refine", [refined((item,)) for item in hypotheses])
    judgement = next((item.judgement for item in found if item.judgement), None)
    return {"refinement": Refinement(tuple(item for group in found for item in group.hypotheses), judgement)}


async def rate_priors(state: State, context: TurnContext) -> Update:
    """P_prior of the raw hypotheses, beside refinement."""
    hypotheses = state.get("hypotheses") or ()
    if not hypotheses:
        return {}
    if context.effort is not Effort.HIGH:
        return {"priors": await context.team.prior_rater(hypotheses)}
    found = await _all_that_succeed(context, "prior", [context.team.prior_rater((item,)) for item in hypotheses])
    return {"priors": {name: value for group in found for name, value in group.items()}}


async def rate_likelihoods(state: State, context: TurnContext) -> Update:
    """P_cond and P_prior of the raw hypotheses by the likelihood of their words, beside refinement."""
    hypotheses = state.get("hypotheses") or ()
    return {"likelihoods": await context.team.likelihood_scorer(context.turn, hypotheses)} if hypotheses else {}


async def speculate(state: State, context: TurnContext) -> Update:
    """Begin to write for the likeliest raw guess, and do not wait for it. Not on signs of danger."""
    guessed = select_hypothesis(weighed(state).refined, {}).chosen if not context.signs(state) else None
    if guessed is None:
        return {}
    selection = Selection(ranked=(guessed,), chosen=guessed, mode="bounded", diversity=0.0)
    ahead = (await plan(cast("State", {**state, "selection": selection}), context))["plan"]
    writing = asyncio.create_task(context.team.writer(context.turn, ahead, ahead=True))
    context.speculation = Speculation(guessed.refined.hypothesis.id, ahead, writing)
    return {"speculation": context.speculation.hypothesis}


async def score(state: State, context: TurnContext) -> Update:
    """P_cond and P_prior by one-token choices, or by likelihood."""
    refined = weighed(state).refined
    if not refined:
        return {}
    if context.likely:
        likelihoods = await context.team.likelihood_scorer(context.turn, [item.hypothesis for item in refined])
        return {"scored": by_likelihood(refined, likelihoods)}
    return {"scored": Scored(*await context.team.plausibility_scorer(context.turn, refined))}


async def select(state: State, context: TurnContext) -> Update:
    """Algorithm 1."""
    found = weighed(state)
    scoring = context.scoring
    return {
        "selection": select_hypothesis(
            found.refined, found.priors, mode=scoring.mode, weight=scoring.plausibility_weight
        )
    }


async def plan(state: State, context: TurnContext) -> Update:
    """What the reply is to do."""
    findings = Findings(
        perception=perceived(state),
        selection=state.get("selection"),
        foresight=state.get("foresight"),
        recollection=state.get("recollection"),
        norms=context.matches(perceived(state)),
        circumstances=context.turn.circumstances,
        multiplex=relevant_multiplex(state),
        principles=_wants_principles(state, context),
        lens_names=context.team.lens_names,
        risk=context.signs(state),
        help_lines=context.help_lines(context.signs(state)),
        zone=context.memory.zone if context.memory else "UTC",
    )
    return {"plan": make_plan(findings)}


def _wants_principles(state: State, context: TurnContext) -> bool:
    """Whether the writer is told to take in several traditions where no lens speaks.

    So it is by the mode `contextual`, where every lens failed, and where only the perception call noticed that the
    question is one of values: to ask the lenses then would make the turn deeper.
    """
    if context.perspectives is PerspectivesMode.CONTEXTUAL:
        return True
    if context.perspectives is PerspectivesMode.AGENTS:
        return context.failed("perspectives")
    perception = perceived(state)
    return context.may_be_contextual and perception is not None and perception.value_question


async def write(state: State, context: TurnContext) -> Update:
    """A draft. When guided writing fails, the model's own answer to the bare conversation."""
    settlement = state.get("settlement")
    revision = len(settlement.attempts) if settlement else 0
    critique = settlement.attempts[-1].verdict.critique if settlement else ""
    plan = state.get("plan")
    if plan and context.choosing:
        return {"draft": await _offer(state, context, plan, critique, revision)}
    ahead = await _written_ahead(state, context, plan) if plan and not revision else None
    try:
        if not revision and _may_speak(state, context, plan):
            return {"draft": await _speak(context, plan, ahead)}
        draft = ahead or await context.team.writer(context.turn, plan, critique=critique, revision=revision)
        return {"draft": _fair(context, plan, draft)}
    except ModelError:
        if plan is None or revision or context.spoken or context.budget.calls_left <= 0:
            raise
        context.held = ""
        return {"draft": replace(await context.team.writer(context.turn, None), origin="plain")}


async def _written_ahead(state: State, context: TurnContext, plan: Plan) -> Draft | None:
    """The reply that was written ahead, if the turn has come to what was guessed; else its writing is stopped."""
    speculation = context.speculation
    if speculation is None:
        return None
    if speculation.holds(state.get("selection"), plan):
        return await speculation.take()
    await speculation.drop()
    return None


def _may_speak(state: State, context: TurnContext, plan: Plan | None) -> bool:
    """Whether text may leave while it is written. Signs of danger that a stage has noticed hold it."""
    if context.mode is StreamMode.GATED or must_be_whole(context.turn):
        return False
    if plan is None or not context.signs(state):
        return True
    context.mode = StreamMode.GATED
    get_stream_writer()(TextHeld())
    return False


def rescue_draft(state: State, context: TurnContext) -> Update | None:
    """What goes out when writing failed: help on signs of danger, what was already spoken, or a filled form."""
    signs, perception = context.signs(state), perceived(state)
    if signs:
        return {"draft": Draft(text=context.vetted(signs), origin="referral")}
    if context.spoken:
        return {"draft": Draft(text=("".join(context.spoken) + context.held).strip(), origin="cut short")}
    forms = context.forms(perception) if context.choosing and perception else ()
    return {"draft": Draft(text=forms[0][1], origin=f"form:{forms[0][0]}")} if forms else None


async def choose(state: State, context: TurnContext) -> Update:
    """The best candidate, by pairwise comparison in both orders."""
    draft = state.get("draft")
    if draft is None or len(draft.candidates) < 2:
        return {}
    best = draft.candidates[await context.team.chooser(context.turn, [item.text for item in draft.candidates])]
    return {"choice": replace(draft, text=best.text, origin=best.origin)}


async def judge(state: State, context: TurnContext) -> Update:
    """A1, A2, B1 and B2 of the draft."""
    draft, plan = drafted(state), state.get("plan")
    if draft is None or plan is None or draft.origin == "referral":
        return {}
    if context.choosing:
        return {"quality": await context.team.rubric_scorer(context.turn, draft)}
    return {"quality": await context.team.validator(context.turn, draft, plan)}


async def gate(state: State, context: TurnContext) -> Update:
    """The judge model's gates. The code's gates are in `settle`, which cannot fail."""
    draft = drafted(state)
    if draft is None or draft.origin == "referral":
        return {}
    plan = state.get("plan")
    norms = (*context.applicable(perceived(state)), *(context.team.even_handed if plan and plan.multiplex else ()))
    return {"findings": await context.team.safety_gate(context.turn, draft, norms, context.signs(state))}


async def settle(state: State, context: TurnContext) -> Update:
    """The verdict of the draft, and whether another one is worth its cost."""
    before = state.get("settlement")
    draft = drafted(state)
    if draft is None or (before and before.attempts[-1].draft is draft):
        return {"settlement": replace(before, next="send") if before else Settlement(())}
    attempts = (*(before.attempts if before else ()), Attempt(draft, _verdict(state, context, draft)))
    return {"settlement": Settlement(attempts, _next(state, context, attempts))}


def best(attempts: tuple[Attempt, ...]) -> Attempt | None:
    """The safe attempt of the highest U, the earliest among equals; None when none is safe."""
    safe = [attempt for attempt in attempts if attempt.verdict.safe]
    return max(safe, key=lambda attempt: attempt.verdict.utility or 0.0, default=None)


def _verdict(state: State, context: TurnContext, draft: Draft) -> Verdict:
    signs = context.signs(state)
    findings = state.get("findings")
    gates = context.gates(draft.text, signs)
    gates |= dict(findings.gates) if findings else _unjudged(state, context, draft)
    quality = state.get("quality")
    failed = [name for name, passed in gates.items() if not passed]
    critique = " ".join(
        part
        for part in (
            f"It failed these checks: {', '.join(failed).replace('_', ' ')}." if failed else "",
            findings.critique if findings else "",
            quality.critique if quality else "",
        )
        if part
    )
    if quality is None:
        return Verdict(gates=gates, critique=critique)
    utility = quality.utility(context.scoring.empathy_weight)
    return Verdict(
        a1=quality.a1,
        a2=quality.a2,
        b1=quality.b1,
        b2=quality.b2,
        empathy=quality.empathy,
        coherence=quality.coherence,
        utility=utility,
        acceptable=utility >= context.scoring.utility_threshold,
        gates=gates,
        critique=critique,
    )


def _unjudged(state: State, context: TurnContext, draft: Draft) -> Mapping[str, bool]:
    """Where a model's gate was due and did not answer: closed on signs of danger, open otherwise."""
    due = context.effort in JUDGED and draft.origin != "referral"
    return {"was judged": False} if due and context.signs(state) else {}


def _next(state: State, context: TurnContext, attempts: tuple[Attempt, ...]) -> Any:
    verdict = attempts[-1].verdict
    if context.effort not in JUDGED or context.choosing or context.spoken:
        return "send"
    if (verdict.safe and verdict.acceptable) or len(attempts) > context.scoring.max_revisions:
        return "send"
    again = "hypothesise" if context.effort is Effort.HIGH else "write"
    calls, depth = (REVISION_CALLS, REVISION_DEPTH) if again == "write" else _whole_round(context)
    enough = context.budget.calls_left >= calls and context.ledger.depth + depth <= context.contract.depth
    return again if enough else "send"


def _whole_round(context: TurnContext) -> tuple[int, int]:
    """Calls and depth of going back to the hypotheses at effort `high`."""
    count = context.team.hypothesizer.count
    return len(MentalState) + 2 * count + REVISION_CALLS, 4


async def _offer(state: State, context: TurnContext, plan: Plan, critique: str, revision: int) -> Draft:
    """A short draft and filled forms, the first of the sound ones foremost."""
    signs = context.signs(state)
    if signs:
        return Draft(text=context.vetted(signs), origin="referral", revision=revision)
    perception = perceived(state)
    write = context.team.writer
    draft = await write(context.turn, plan, critique=critique, revision=revision, temperature=TEMPERATURE)
    if plan.multiplex:
        return _set_out(context, plan, draft)
    # No form knows what is remembered: a draft that says it has no rival.
    remembers = used(state.get("recollection"), plan, context.turn.text, draft.text)
    forms = list(context.forms(perception))[:FORMS] if perception and not remembers else []
    offered = [Candidate(draft.text, "writer")] if _fits(draft.text, context) else []
    offered += [Candidate(text, f"form:{name}") for name, text in forms]
    candidates = tuple(candidate for candidate in offered if context.passes(candidate.text))
    if not candidates:
        return replace(draft, text=context.vetted(()), origin="fallback", finish_reason="stop")
    first = candidates[0]
    return replace(draft, text=first.text, origin=first.origin, candidates=candidates, finish_reason="stop")


def _set_out(context: TurnContext, plan: Plan, draft: Draft) -> Draft:
    """A small model's reply that sets out several traditions. No form says that, so it has no rival."""
    fair = _fair(context, plan, draft)
    same_language = context.language is None or language_of(fair.text) in (None, context.language)
    if fair.text and same_language and context.passes(fair.text):
        return fair
    return replace(fair, text=context.vetted(()), origin="fallback", finish_reason="stop")


def _fair(context: TurnContext, plan: Plan | None, draft: Draft) -> Draft:
    """A draft about traditions without the sentences that say how a whole people is; as it is, if nothing is left."""
    if plan is None or not plan.multiplex or not (unfair := generalisations(draft.text)):
        return draft
    text = draft.text
    for sentence in unfair:
        text = text.replace(sentence, "")
        context.losses.append(_unfair(sentence))
    left = re.sub(r"[ \t]{2,}", " ", text).strip()
    return replace(draft, text=left) if left else draft


def _unfair(sentence: str) -> str:
    return f"write: a sentence that generalises about a people was left out: {sentence.strip()!r}"


def _fits(text: str, context: TurnContext) -> bool:
    """Whether a small model's draft speaks the person's language, and to them."""
    same_language = context.language is None or language_of(text) in (None, context.language)
    return same_language and speaks_to_them(text, context.turn.text)


async def _felt(context: TurnContext, perception: Perception) -> Perception:
    """With the emotion that a choice names instead of one that the model wrote."""
    return await context.team.feeling_scorer(context.turn, perception)


async def _speak(context: TurnContext, plan: Plan | None, ahead: Draft | None = None) -> Draft:
    """Write aloud, as the mode says, or say what was written ahead; what passes through leaves as it comes."""
    finish_reason, origin, usage = "stop", "writer", None

    async def pieces(deltas: AsyncIterator[Delta]) -> AsyncIterator[str]:
        nonlocal finish_reason, usage
        async for delta in deltas:
            finish_reason, usage = delta.finish_reason or finish_reason, delta.usage or usage
            if delta.text:
                yield delta.text

    async with closing(_again(ahead) if ahead else context.team.writer.stream(context.turn, plan)) as deltas:
        if plan is None:
            await _say_all(context, pieces(deltas))
        elif context.mode is StreamMode.LIVE:
            await _say_all(context, without_thought(pieces(deltas)))
        elif not await _say_what_passes(context, plan, whole_sentences(pieces(deltas))):
            origin = "cut short"
    text = "".join(context.spoken) + context.held
    text = text.strip() if plan else text
    return Draft(text=text, origin=origin, finish_reason=finish_reason, usage=usage)


async def _again(draft: Draft) -> AsyncIterator[Delta]:
    yield Delta(text=draft.text, finish_reason=draft.finish_reason, usage=draft.usage)


async def _say_all(context: TurnContext, pieces: AsyncIterator[str]) -> None:
    async for piece in pieces:
        _say(context, piece)


async def _say_what_passes(context: TurnContext, plan: Plan, sentences: AsyncIterator[str]) -> bool:
    """Each sentence once it has passed the code's gates; where a model judges, the newest is held for its verdict.

    Where traditions are set out, a sentence that says how a whole people is is passed over.

    Returns:
        Whether all passed. At the first that does not, the reply ends.
    """
    async for sentence in sentences:
        if plan.multiplex and generalisations(sentence):
            context.losses.append(_unfair(sentence))
            continue
        before = ("".join(context.spoken) + context.held)[-WITHIN:]
        # In a thread: other people's streams go on meanwhile.
        if not await asyncio.to_thread(context.passes, before + sentence):
            return False
        if context.effort not in JUDGED:
            _say(context, sentence)
            continue
        if context.held:
            _say(context, context.held)
        context.held = sentence
    return True


def _say(context: TurnContext, piece: str) -> None:
    if not context.spoken:
        piece = piece.lstrip() if context.effort is not Effort.NONE else piece
    if piece:
        context.spoken.append(piece)
        get_stream_writer()(TextDelta(piece))


async def _all_that_succeed(context: TurnContext, name: str, asked: Sequence[Awaitable[Result]]) -> list[Result]:
    """The results of those that did not fail, in order.

    Raises:
        ModelError: all failed; the first one's error.
    """
    results = await asyncio.gather(*asked, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, ModelError):
            raise result
    found = [result for result in results if not isinstance(result, BaseException)]
    if asked and not found:
        raise next(result for result in results if isinstance(result, BaseException))
    for result in results:
        if isinstance(result, BaseException):
            context.losses.append(f"{name}: one of {len(results)} failed: {result}")
            context.structured_failures += isinstance(result, StructuredOutputError)
    return found


def _strongest(hypotheses: list[Hypothesis], count: int) -> tuple[Hypothesis, ...]:
    """The `count` most confident hypotheses, with one of every mental state before a second of any."""
    by_confidence = sorted(hypotheses, key=lambda item: item.confidence, reverse=True)
    first_of_state = {item.state: item for item in reversed(by_confidence)}
    leading = [item for item in by_confidence if first_of_state[item.state] is item]
    return tuple((leading + [item for item in by_confidence if item not in leading])[:count])

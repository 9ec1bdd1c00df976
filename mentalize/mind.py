"""Mind: the facade. A conversation goes in; a reply that was thought through comes out, with its trace."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from .agents.intake import SIDE_TASK, SMALL_TALK, Route, intake, route
from .agents.intake import effort as effort_named
from .agents.language import language_of
from .agents.quotes import quoted
from .agents.safety_gate import OFFERS_HELP
from .errors import MentalizeError, ModelError, ModelNotFound, ModelRefused
from .graphs.events import StageFinished, StageStarted, TextDelta
from .llm.model import Model, Request
from .llm.resolve import resolve
from .llm.structured import REPAIR
from .memory.empty import EmptyStore
from .norms.charter import load_charter
from .norms.forms import fill_forms
from .norms.pack import applicable, load_norms
from .prompts.library import Library
from .safety.gates import has_referral
from .safety.lexicon import find_risk
from .safety.referral import ReferralTable, help_lines, load_referrals
from .safety.replies import safe_reply, vetted_reply
from .settings import Settings
from .types import (
    Contract,
    Effort,
    Identity,
    Message,
    Perception,
    RiskKind,
    RiskSign,
    Store,
    StructuredCounts,
    Trace,
    Turn,
    user,
)

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal

    from .graphs.state import Attempt, State, TurnContext
    from .graphs.team import Prompts, Roles

Messages = str | Sequence[Mapping[str, Any] | Message]
RoleName = Literal["reason", "judge", "write"]
ROLES: tuple[RoleName, ...] = ("reason", "judge", "write")
Result = TypeVar("Result")

EARLIER_MESSAGES = 2
"""How many of the person's earlier messages still count as signs of danger while no reply has named help."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back to the person, and how it came about."""

    text: str
    trace: Trace
    message: Mapping[str, Any]
    """The assistant message in OpenAI's form; on pass-through exactly as the endpoint sent it."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of a stream."""

    reply: Reply


Event = StageStarted | StageFinished | TextDelta | Finished


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleReport:
    """What `doctor` finds out about a role."""

    role: RoleName
    model: str
    ok: bool
    structured: str = ""
    logprobs: bool = False
    seconds: float = 0.0
    """Of one short call."""
    error: str = ""


class Mind:
    """A chat model that mentalizes.

        mind = Mind(model="hosted_vllm/qwen3")
        reply = await mind.reply([{"role": "user", "content": "I'm fine. Go without me, really."}])

    Args:
        settings: Everything that can be set; read from the environment and the settings file if not given.
        model: The model for every role, as a model string or a `Model` of your own.
        reason, judge, write: The model for one role, likewise.
        store: Where memories are kept; nothing is remembered if not given.
        clock: The present moment, aware.
        overrides: Single settings, such as `effort="low"`.

    Raises:
        SettingsError: a setting is unknown or out of range.
        ModelNotFound: a model string names no model.
        PromptError, PackError: a prompt folder, charter or norm pack does not fit.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        model: Model | str | None = None,
        reason: Model | str | None = None,
        judge: Model | str | None = None,
        write: Model | str | None = None,
        store: Store | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        **overrides: Any,
    ) -> None:
        given = {"model": model, "reason": reason, "judge": judge, "write": write}
        strings = {role: value for role, value in given.items() if isinstance(value, str)}
        self.settings = settings.changed(**overrides, **strings) if settings else Settings.load(**overrides, **strings)
        self._own: dict[str, Model] = {
            role: value for role, value in given.items() if value is not None and not isinstance(value, str)
        }
        self._named = frozenset(strings)
        self._store: Store = store or EmptyStore()
        self._clock = clock
        self._models: dict[RoleName, Model] = {role: self._bind(role) for role in ROLES}
        self._charter = load_charter(self.settings.charter)
        self._norms = load_norms(*self.settings.norm_packs)
        self._referrals = load_referrals(self.settings.referrals)
        self._library = Library(self.settings.prompts)

    async def reply(
        self, messages: Messages, who: Identity | None = None, effort: Effort | str | None = None, **parameters: Any
    ) -> Reply:
        """Answer the last message.

        Args:
            messages: The conversation in OpenAI's form, or one message as a string.
            who: Whose turn it is. None: nothing is recalled or remembered.
            effort: How much thought; the setting, if not given.
            parameters: Further fields of the OpenAI request, for the call that writes.

        Raises:
            InputError: the messages or the effort cannot be used.
            ModelError: the model that writes gave no reply.
        """
        from .graphs.turn import run

        context = await self._begin(messages, who, effort, parameters, live=False)
        return self._conclude(context, await run(context))

    async def stream(
        self,
        messages: Messages,
        who: Identity | None = None,
        effort: Effort | str | None = None,
        *,
        live: bool = True,
        **parameters: Any,
    ) -> AsyncGenerator[Event]:
        """Answer the last message, event by event; the last one is `Finished`.

        Text leaves as it is written on pass-through, sentence by sentence through the code's gates at `minimal` and
        `low`, and after the verdict at `medium` and `high`, on signs of danger, under the choosing strategy, and
        whenever `live` is false.
        Closing the iterator stops every call in flight. Raises what `reply` raises.
        """
        from .graphs.sentences import sentences_of
        from .graphs.turn import stream

        context = await self._begin(messages, who, effort, parameters, live=live)
        state: State = {}
        async with aclosing(stream(context)) as parts:
            async for part in parts:
                if isinstance(part, dict):
                    state = part
                else:
                    yield part
        reply = self._conclude(context, state)
        whole = [reply.text] if context.effort is Effort.NONE else sentences_of(reply.text)
        for piece in [] if context.spoken else whole:
            yield TextDelta(piece)
        yield Finished(reply)

    async def doctor(self) -> tuple[RoleReport, ...]:
        """Ask each role's model one short question, and see what its endpoint supports."""
        different: dict[int, RoleName] = {id(self._models[role]): role for role in reversed(ROLES)}
        found = await asyncio.gather(*(self._examine(role) for role in different.values()))
        by_model = {id(self._models[report.role]): report for report in found}
        return tuple(replace(by_model[id(self._models[role])], role=role) for role in ROLES)

    async def close(self) -> None:
        """Release connections, threads and memory."""
        await asyncio.gather(*(model.close() for model in self._models.values()))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @cached_property
    def sync(self) -> SyncMind:
        """The same for synchronous callers: one background thread runs the event loop."""
        return SyncMind(self)

    # --- one turn -----------------------------------------------------------------------------------------

    async def _begin(
        self,
        messages: Messages,
        who: Identity | None,
        effort: Effort | str | None,
        parameters: Mapping[str, Any],
        *,
        live: bool,
    ) -> TurnContext:
        from .graphs.state import Scoring, TurnContext
        from .graphs.team import BRIEF_HYPOTHESES, assemble
        from .graphs.turn import CONTRACTS, PATIENCE
        from .llm.budget import Budget
        from .llm.traced import Ledger

        settings = self.settings
        requested = effort_named(effort) if effort is not None else settings.effort
        turn = intake(messages, at=self._clock(), who=who, country=settings.country, parameters=parameters)
        risk = await asyncio.to_thread(_lexicon_signs, turn, self._referrals)
        chosen = self._route(turn, requested, risk)
        choosing = self._choosing
        language = self.settings.language
        if language is None and (choosing or risk):
            language = await asyncio.to_thread(language_of, turn.text)
        contract = self._contract(chosen.effort, CONTRACTS[chosen.effort], PATIENCE if choosing else 1)
        if chosen.effort not in (Effort.NONE, Effort.MINIMAL) or choosing:
            await self._ready(contract.seconds, strict=not risk)
        ledger, budget = Ledger(time.perf_counter), Budget(contract, time.perf_counter)
        team = assemble(
            self._roles.for_turn(ledger, budget),
            self._prompts,
            self._charter,
            hypotheses=min(settings.hypotheses, BRIEF_HYPOTHESES) if choosing else settings.hypotheses,
            choosing=choosing,
        )
        return TurnContext(
            turn=turn,
            requested=requested,
            effort=chosen.effort,
            route=chosen.reason,
            contract=contract,
            team=team,
            ledger=ledger,
            budget=budget,
            store=self._store,
            scoring=Scoring(
                mode=settings.score_mode,
                plausibility_weight=settings.plausibility_weight,
                empathy_weight=settings.empathy_weight,
                utility_threshold=settings.utility_threshold,
                max_revisions=settings.max_revisions,
            ),
            language=language,
            choosing=choosing,
            trust_perceived_risk=not self._embedded,
            risk=risk,
            stage_seconds=settings.stage_seconds or contract.seconds,
            referrals=self._referrals,
            help_lines=lambda signs: self._help_lines(turn, signs),
            vetted=lambda signs: self._vetted(turn, signs, language),
            forms=lambda perception: self._forms(turn, perception, language),
            applicable=lambda perception: applicable(self._norms, text=turn.text, perception=perception),
            live=live,
        )

    def _route(self, turn: Turn, requested: Effort, risk: Sequence[RiskSign]) -> Route:
        default = Effort.LOW if self._choosing else Effort.MEDIUM
        chosen = route(turn, requested, default=default)
        to_an_app = turn.text.lstrip().startswith("###")
        if risk and chosen.reason in (SIDE_TASK, SMALL_TALK) and not to_an_app:
            return Route(default, "signs of danger")
        return chosen

    def _conclude(self, context: TurnContext, state: State) -> Reply:
        from .graphs.stages import best

        settlement = state.get("settlement")
        draft = state.get("draft")
        if context.effort is Effort.NONE and draft is not None:
            message = draft.message or {"role": "assistant", "content": draft.text}
            return Reply(draft.text, self._trace(context, state, draft.text, "passed through"), message)
        attempt = best(settlement.attempts) if settlement else None
        if context.spoken:
            text, origin = "".join(context.spoken).strip(), attempt.draft.origin if attempt else "writer"
        elif attempt:
            text, origin = attempt.draft.text, attempt.draft.origin
        else:
            signs = context.signs(state) or _unnamed_danger(settlement.attempts if settlement else ())
            text, origin = context.vetted(signs), "referral" if signs else "fallback"
        trace = self._trace(context, state, text, origin)
        return Reply(text, trace, {"role": "assistant", "content": text})

    def _log(self, trace: Trace) -> None:
        """One line for the turn; never what was said."""
        import structlog

        log: Any = structlog.wrap_logger(logging.getLogger("mentalize.mind")).bind(turn=trace.turn_id)
        log.info(
            "turn",
            effort=str(trace.effort),
            route=trace.route,
            origin=trace.reply_origin,
            calls=trace.calls,
            scorings=trace.scorings,
            depth=trace.depth,
            seconds=round(trace.seconds, 3),
            tokens=trace.usage.total_tokens,
            risk=[str(sign.kind) for sign in trace.risk],
        )

    def _trace(self, context: TurnContext, state: State, text: str, origin: str) -> Trace:
        from .graphs.state import perceived, weighed
        from .llm.traced import total_usage

        records = tuple(context.ledger.records)
        settlement = state.get("settlement")
        attempts = settlement.attempts if settlement else ()
        trace = Trace(
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
            plan=state.get("plan"),
            drafts=tuple(attempt.draft for attempt in attempts),
            verdicts=tuple(attempt.verdict for attempt in attempts),
            risk=context.signs(state),
            reply=text,
            reply_origin=origin,
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
            prompts=tuple(sorted({prompt for record in records for prompt in record.prompts})),
            failures=(
                *(f"{record.name}: {record.error}" for record in context.stages if record.error),
                *context.losses,
            ),
        )
        self._log(trace)
        return trace

    def _vetted(self, turn: Turn, signs: Sequence[RiskSign], language: str | None) -> str:
        if not signs:
            return safe_reply(language or language_of(turn.text))
        return vetted_reply(signs, country=turn.country, language=language, referrals=self._referrals)

    def _help_lines(self, turn: Turn, signs: Sequence[RiskSign]) -> tuple[str, ...]:
        return help_lines((sign.kind for sign in signs), country=turn.country, table=self._referrals)

    def _forms(self, turn: Turn, perception: Perception, language: str | None) -> Sequence[tuple[str, str]]:
        own_words = replace(perception, cause=quoted(perception.cause, turn.text))
        return fill_forms(own_words, language=language, limit=4)

    def _contract(self, effort: Effort, built_in: Contract, patience: float) -> Contract:
        limits = getattr(self.settings.contract, effort)
        return Contract(
            calls=limits.calls or built_in.calls,
            depth=limits.depth or built_in.depth,
            seconds=limits.seconds or built_in.seconds * patience,
        )

    # --- models -------------------------------------------------------------------------------------------

    def _bind(self, role: RoleName) -> Model:
        if own := self._own.get(role) or (None if role in self._named else self._own.get("model")):
            return own
        settings, binding = self.settings, self.settings.binding(role)
        key = (binding.model, binding.base_url, binding.api_key)
        if key not in self._resolved:
            self._resolved[key] = resolve(
                binding.model,
                api_key=binding.api_key.get_secret_value() if binding.api_key else None,
                base_url=binding.base_url,
                capability_folder=settings.cache_folder,
                models_folder=settings.models_folder,
                timeout=settings.call_seconds,
                concurrency=settings.concurrency,
                attempts=settings.retries + 1,
            )
        return self._resolved[key]

    @cached_property
    def _resolved(self) -> dict[object, Model]:
        """One model for each binding, so that roles share connections, weights and caches."""
        return {}

    @cached_property
    def _roles(self) -> Roles:
        from .graphs.team import Roles

        return Roles(self._models["reason"], self._models["judge"], self._models["write"])

    @cached_property
    def _prompts(self) -> Prompts:
        from .graphs.team import Prompts

        return Prompts.from_library(self._library)

    @property
    def _choosing(self) -> bool:
        return self._embedded if self.settings.choosing == "auto" else self.settings.choosing

    @property
    def _embedded(self) -> bool:
        return self._models["write"].name.split("/")[0] == "embedded"

    async def _ready(self, seconds: float, *, strict: bool) -> None:
        """Probe endpoints and load weights before the turn's clock starts, for `seconds` at most.

        What fails here fails again in its stage, which leaves its part out. Only a writer that can never answer is
        an error at once, and that only if `strict`.
        """
        models = list({id(model): model for model in self._models.values()}.values())
        asked = [asyncio.create_task(model.capabilities()) for model in models]
        try:
            async with asyncio.timeout(seconds):
                results = await asyncio.gather(*asked, return_exceptions=True)
        except TimeoutError:
            return
        for model, result in zip(models, results, strict=True):
            if not isinstance(result, BaseException):
                continue
            never = isinstance(result, ModelRefused | ModelNotFound) and model is self._models["write"]
            if (never and strict) or not isinstance(result, ModelError):
                raise result

    async def _examine(self, role: RoleName) -> RoleReport:
        model = self._models[role]
        try:
            capabilities = await model.capabilities()
            started = time.perf_counter()
            question = Request(messages=(user("Say hello in one word."),), purpose="doctor", max_tokens=16)
            completion = await model.complete(question)
        except MentalizeError as error:
            return RoleReport(role=role, model=model.name, ok=False, error=str(error))
        return RoleReport(
            role=role,
            model=model.name,
            ok=bool(completion.text.strip() or completion.message),
            structured=capabilities.structured,
            logprobs=capabilities.logprobs,
            seconds=time.perf_counter() - started,
            error="" if completion.text.strip() or completion.message else "The model answered with nothing.",
        )


class SyncMind:
    """`Mind` for synchronous callers. Its event loop runs in a thread of its own from the first call to `close`."""

    def __init__(self, mind: Mind) -> None:
        self._mind = mind
        self._stack = ExitStack()

    def reply(
        self, messages: Messages, who: Identity | None = None, effort: Effort | str | None = None, **parameters: Any
    ) -> Reply:
        """See `Mind.reply`."""
        return self._call(lambda: self._mind.reply(messages, who, effort, **parameters))

    def stream(
        self, messages: Messages, who: Identity | None = None, effort: Effort | str | None = None, **parameters: Any
    ) -> Iterator[Event]:
        """See `Mind.stream`. Leaving the loop early stops every call in flight."""
        opened: AbstractContextManager[AsyncGenerator[Event]] = self._started.wrap_async_context_manager(
            aclosing(self._mind.stream(messages, who, effort, **parameters))
        )
        with opened as events:
            while (event := self._call(lambda: anext(events, None))) is not None:
                yield event

    def doctor(self) -> tuple[RoleReport, ...]:
        """See `Mind.doctor`."""
        return self._call(self._mind.doctor)

    def close(self) -> None:
        """Release the models and end the thread."""
        self._call(self._mind.close)
        self._stack.close()
        self.__dict__.pop("_started", None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @cached_property
    def _started(self) -> BlockingPortal:
        from anyio.from_thread import start_blocking_portal

        return self._stack.enter_context(start_blocking_portal())

    def _call(self, work: Callable[[], Any]) -> Any:
        future = self._started.start_task_soon(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise


def _unnamed_danger(attempts: Sequence[Attempt]) -> tuple[RiskSign, ...]:
    """A sign for danger that only the judge saw: it names no words, and the vetted text fits any."""
    withheld = any(not attempt.verdict.gates.get(OFFERS_HELP, True) for attempt in attempts)
    return (RiskSign(RiskKind.SELF_HARM, "", "perception"),) if withheld else ()


def _lexicon_signs(turn: Turn, referrals: ReferralTable) -> tuple[RiskSign, ...]:
    """Signs in the message, and in the last few before it while no reply has named help."""
    found = find_risk(turn.text)
    replies = [message.text for message in turn.messages if message.role == "assistant"]
    if found or any(has_referral(text, turn.country, referrals) for text in replies[-EARLIER_MESSAGES:]):
        return found
    earlier = [message.text for message in turn.messages[:-1] if message.role == "user"]
    return tuple(sign for text in earlier[-EARLIER_MESSAGES:] for sign in find_risk(text))


def _structured_counts(context: TurnContext) -> StructuredCounts:
    asked = [record for record in context.ledger.records if record.structured]
    return StructuredCounts(
        answers=sum(not record.purpose.endswith(REPAIR) for record in asked),
        repaired=sum(record.purpose.endswith(REPAIR) for record in asked),
        failed=context.structured_failures,
    )


__all__ = [
    "Event",
    "Finished",
    "Mind",
    "Reply",
    "RoleReport",
    "StageFinished",
    "StageStarted",
    "SyncMind",
    "TextDelta",
]

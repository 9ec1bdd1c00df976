"""Mind: the facade. A conversation goes in; a reply that was thought through comes out, with its trace."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, aclosing, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from .agents.intake import (
    SIDE_TASK,
    SMALL_TALK,
    Route,
    intake,
    is_certainly_side_task,
    is_side_task,
    route,
    route_perspectives,
)
from .agents.intake import effort as effort_named
from .agents.language import language_of
from .errors import EmbedderError, InputError, MentalizeError, ModelError, ModelNotFound, ModelRefused, StoreError
from .graphs.events import StageFinished, StageStarted, TextDelta, TextHeld, TurnStarted
from .graphs.turnstile import Turnstile
from .guided_turn import GuidedTurn, understood
from .llm.examination import EndpointReport, RoleReport, examine
from .llm.model import Model
from .memory.safety_counts import REFERRAL
from .memory.zones import check_zone
from .open_turn import SATURATED, Event, Finished, OpenTurn, Reply
from .portal import SyncMind
from .prompts.library import Library
from .types import (
    NOTHING_STATED,
    Circumstances,
    Contract,
    Effort,
    Identity,
    Lens,
    MemoryMode,
    Message,
    Perception,
    PerspectivesMode,
    RiskSign,
    RoleCharter,
    Store,
    StreamMode,
    Trace,
    Turn,
)

if TYPE_CHECKING:
    from .agents.known import CacheCounts
    from .graphs.background import Background
    from .graphs.state import Hook, State, TurnContext
    from .graphs.team import Caches, Prompts, Roles
    from .graphs.turn_memory import TurnMemory
    from .llm.relay import Relayed
    from .memory.memories import Memories
    from .norms.conventions import Meaning
    from .settings import Settings

Messages = str | Sequence[Mapping[str, Any] | Message]
RoleName = Literal["reason", "judge", "write"]
ROLES: tuple[RoleName, ...] = ("reason", "judge", "write")

CLOSE_SECONDS = 20.0
"""What is waited for writes when a mind is closed."""

BRIEFLY_READ = 1_000
"""Characters of a conversation that are looked through at once, in a millisecond. A longer one is in a thread, so that
nobody else waits for it."""

MEANING_SECONDS = 2.0
"""What the vectors of a message and of norms may take before norms are found by words alone."""

RECORD_SECONDS = 5.0
"""What writing down a turn may take before the reply goes out without it."""


class Mind:
    """A chat model that mentalizes.

        mind = Mind(model="hosted_vllm/qwen3")
        reply = await mind.reply([{"role": "user", "content": "I'm fine. Go without me, really."}])

    Args:
        settings: Everything that can be set; read from the environment and the settings file if not given.
        model: The model for every role, as a model string or a `Model` of your own.
        reason: The model for the role that thinks, likewise.
        judge: The model for the role that judges, likewise.
        write: The model for the role that writes, likewise.
        store: Where memories are kept, such as `Memories`, which stays yours to close; what the setting `memory`
            says, if not given. Nothing is read or written for a turn without an identity.
        hooks: Called with each event of every turn, before and after each stage: functions, or `async def`s that are
            waited for. What one raises is logged, and changes nothing.
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
        hooks: Sequence[Hook] = (),
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        **overrides: Any,
    ) -> None:
        from .norms.conventions import Conventions
        from .safety.referral import load_referrals
        from .settings import Settings

        given = {"model": model, "reason": reason, "judge": judge, "write": write}
        strings = {role: value for role, value in given.items() if isinstance(value, str)}
        self.settings = settings.changed(**overrides, **strings) if settings else Settings.load(**overrides, **strings)
        self._own: dict[str, Model] = {
            role: value for role, value in given.items() if value is not None and not isinstance(value, str)
        }
        self._named = frozenset(strings)
        self._store = store
        self._clock = clock
        self._hooks = tuple(hooks)
        self._writing: set[asyncio.Task[None]] = set()
        self._observing: set[asyncio.Task[Any]] = set()
        """Tasks that take note of what has left already: nobody waits for them but whoever closes the mind."""
        self._turnstile = Turnstile()
        self._models: dict[RoleName, Model] = {role: self._bind(role) for role in ROLES}
        self._conventions = Conventions.load(
            self.settings.charter,
            charters=self.settings.charters,
            norm_packs=self.settings.norm_packs,
            lens_packs=self.settings.lens_packs,
            lenses=self.settings.lenses,
        )
        self._referrals = load_referrals(self.settings.referrals)
        self._library = Library(self.settings.prompts)

    async def reply(
        self,
        messages: Messages,
        who: Identity | None = None,
        effort: Effort | str | None = None,
        memory: MemoryMode | str | None = None,
        *,
        circumstances: Circumstances | None = None,
        perspectives: PerspectivesMode | str | None = None,
        **parameters: Any,
    ) -> Reply:
        """Answer the last message.

        What was said is in memory, durably, when this returns; what follows from it is thought about afterwards.

        Args:
            messages: The conversation in OpenAI's form, or one message as a string.
            who: Whose turn it is. None: nothing is recalled or remembered.
            effort: How much thought; the setting, if not given.
            memory: `on`, `read-only` (recall, and remember nothing) or `off`; the setting, if not given.
            circumstances: What is stated about the person and the setting; what it leaves out is as the settings say.
            perspectives: `off`, `contextual`, `agents` or `auto`; the setting, if not given.
            parameters: Further fields of the OpenAI request, for the call that writes.

        Raises:
            InputError: the messages, the effort, the memory mode, the perspectives, the charter or the time zone of
                `who` cannot be used.
            ModelError: the model that writes gave no reply.
        """
        turn = await self.begin(
            messages,
            who,
            effort,
            memory,
            mode=StreamMode.GATED,
            circumstances=circumstances,
            perspectives=perspectives,
            parameters=parameters,
        )
        return await turn.reply()

    async def stream(
        self,
        messages: Messages,
        who: Identity | None = None,
        effort: Effort | str | None = None,
        memory: MemoryMode | str | None = None,
        *,
        mode: StreamMode | str = StreamMode.SENTENCE,
        circumstances: Circumstances | None = None,
        perspectives: PerspectivesMode | str | None = None,
        **parameters: Any,
    ) -> AsyncGenerator[Event]:
        """Answer the last message, event by event; the last one is `Finished`.

        By the mode `sentence`, each sentence leaves once it has passed the code's gates; at `medium` and `high` the
        last one waits for the verdict. By `gated`, all of it waits; so it does on signs of danger and under the
        choosing strategy. By `live`, text leaves as it is written, and a vetted text follows if the verdict is bad.
        What passes through leaves as it comes, unless the mode is `gated`.
        Closing the iterator stops every call in flight, and then nothing is remembered. Raises what `reply` raises.
        """
        turn = await self.begin(
            messages,
            who,
            effort,
            memory,
            mode=mode,
            circumstances=circumstances,
            perspectives=perspectives,
            parameters=parameters,
        )
        async with aclosing(turn.stream()) as events:
            async for event in events:
                yield event

    async def begin(
        self,
        messages: Messages,
        who: Identity | None = None,
        effort: Effort | str | None = None,
        memory: MemoryMode | str | None = None,
        *,
        mode: StreamMode | str = StreamMode.SENTENCE,
        at_most: Effort | None = None,
        circumstances: Circumstances | None = None,
        perspectives: PerspectivesMode | str | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> OpenTurn:
        """Check the messages and decide how the turn will go. `reply` and `stream` do this, and then go.

        Args:
            messages: As for `reply`.
            who: Likewise.
            effort: Likewise.
            memory: Likewise.
            parameters: Further fields of the OpenAI request, for the call that writes.
            mode: When text leaves, if it is streamed.
            circumstances: As for `reply`.
            perspectives: Likewise.
            at_most: An effort that the turn is not to exceed, whatever was asked for, because too much else goes on.
                Signs of danger raise it to `minimal`, so that the reply is checked.

        Raises:
            InputError: as for `reply`, or there is no such mode.
        """
        with self._busy():
            wanted = perspectives_mode_named(perspectives) if perspectives is not None else self.settings.perspectives
            stated = self._stated(circumstances)
            context = await self._begin(messages, who, effort, memory, parameters or {}, mode, at_most, stated, wanted)
        return OpenTurn(context, self._models["write"], self._busy, self._conclude)

    async def guide(
        self,
        messages: Messages,
        who: Identity | None = None,
        effort: Effort | str | None = None,
        memory: MemoryMode | str | None = None,
        *,
        circumstances: Circumstances | None = None,
        perspectives: PerspectivesMode | str | None = None,
    ) -> GuidedTurn:
        """Understand the last message and plan the reply, for a chatbot of your own that writes it.

            guided = await mind.guide(messages, who)
            answer = await chatbot(guided.messages)
            await guided.conclude(answer)

        At `low` one model call goes before the chatbot's own, at `medium` two deep. Takes what `reply` takes.

        Raises:
            InputError: as for `reply`.
        """
        asked = self.begin(messages, who, effort, memory, circumstances=circumstances, perspectives=perspectives)
        return await understood(await asked)

    async def review(
        self,
        messages: Messages,
        draft: str,
        who: Identity | None = None,
        effort: Effort | str | None = None,
        memory: MemoryMode | str | None = None,
        *,
        circumstances: Circumstances | None = None,
        perspectives: PerspectivesMode | str | None = None,
    ) -> GuidedTurn:
        """Understand the last message, and judge a reply to it that a chatbot of your own has written.

            checked = await mind.review(messages, draft, who)
            if checked.again:
                checked = await checked.review(await chatbot(checked.messages))
            reply = await checked.conclude()

        Takes what `reply` takes. Where the draft is written meanwhile, use `guide` beside it, and then its `review`.

        Raises:
            InputError: as for `reply`, or the draft is no text.
        """
        asked = self.guide(messages, who, effort, memory, circumstances=circumstances, perspectives=perspectives)
        return await (await asked).review(draft)

    async def observe(
        self,
        messages: Messages,
        answer: str,
        who: Identity | None = None,
        effort: Effort | str | None = None,
        memory: MemoryMode | str | None = None,
        *,
        circumstances: Circumstances | None = None,
        perspectives: PerspectivesMode | str | None = None,
    ) -> Trace:
        """Take note of a message and of what your own chatbot has answered: a trace and memory, and nothing else.

        Takes what `reply` takes.

        Raises:
            InputError: as for `reply`, or the answer is no text.
        """
        task = asyncio.current_task()
        assert task is not None
        self._observing.add(task)
        try:
            asked = self.guide(messages, who, effort, memory, circumstances=circumstances, perspectives=perspectives)
            return (await (await asked).conclude(answer)).trace
        finally:
            self._observing.discard(task)

    @cached_property
    def upstreams(self) -> tuple[str, ...]:
        """The names under which the models themselves can be asked by `relay`, the one that writes first."""
        from .llm.relay import served_name

        return tuple(dict.fromkeys(served_name(self._models[role]) for role in ("write", "reason", "judge")))

    async def relay(
        self,
        body: Mapping[str, Any],
        *,
        to: str | None = None,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Relayed:
        """Hand a request on to one of `upstreams`: no thought, no memory, no trace.

        Args:
            body: The body of an OpenAI request. Its `model` is put back into the answer.
            to: Which of them; the one that the body's `model` names, if not given.
            raw: The body as bytes, which are sent as they are.
            headers: Further headers for the endpoint.

        Raises:
            ModelNotFound: there is none of that name.
            ModelError: there is no answer to hand on.
        """
        from .llm.relay import relay, served_name, within

        name = to or body.get("model")
        for role in ("write", "reason", "judge"):
            if name in (served_name(self._models[role]), self._models[role].name):
                with ExitStack() as busy:
                    busy.enter_context(self._busy())
                    relayed = await relay(self._models[role], body, raw=raw, headers=headers)
                    return await within(busy.pop_all(), relayed)
        raise ModelNotFound(f"There is no model {name!r} here.", hint=f"There are: {', '.join(self.upstreams)}.")

    @property
    def charter(self) -> RoleCharter:
        """What the assistant is, must do and must not do, where a turn states no other charter."""
        return self._conventions.charter

    @property
    def now(self) -> datetime:
        """The present moment, by its clock."""
        return self._clock()

    @property
    def remembers(self) -> bool:
        """Whether what is said is kept in a memory that can be looked at."""
        return not self._only_recalls and self.settings.memory.mode is MemoryMode.ON

    async def count(self, tenant: str, event: str) -> None:
        """Count an event for reports on safety (docs/companions.md), where memory is open: a count does not open it.

        One that cannot be kept is logged.
        """
        if not self.remembers or not (self._store or "memory" in self.__dict__):
            return
        try:
            await self.memory.safety_counts.add(tenant, event)
        except StoreError as error:
            import structlog

            log: Any = structlog.wrap_logger(logging.getLogger("mentalize.mind"))
            log.warning("not_counted", event_counted=event, fault=type(error).__name__, hint=error.hint)

    @property
    def backlog(self) -> int:
        """How many people's memory is being worked on in the background, or waits for it."""
        return len(self._writing) + (self._background.waiting if "_background" in self.__dict__ else 0)

    async def doctor(self) -> tuple[RoleReport, ...]:
        """Ask each role's model one short question, and see what its endpoint supports."""
        different: dict[int, RoleName] = {id(self._models[role]): role for role in reversed(ROLES)}
        found = await asyncio.gather(*(examine(role, self._models[role]) for role in different.values()))
        by_model = {id(self._models[report.role]): report for report in found}
        return tuple(replace(by_model[id(self._models[role])], role=role) for role in ROLES)

    async def endpoints(self, *, seconds: float = 1.0) -> tuple[EndpointReport, ...]:
        """How each endpoint of its own addresses fares now, and how busy it is where it tells; asks no model.

        Args:
            seconds: What each page of an endpoint may take.
        """
        from .llm.balanced import endpoints_of
        from .llm.endpoint_report import fares
        from .llm.relay import innermost

        found = (endpoint for model in self._models.values() for endpoint in endpoints_of(innermost(model)))
        different = {endpoint.endpoint: endpoint for endpoint in found}.values()
        return tuple(await asyncio.gather(*(fares(endpoint, seconds=seconds) for endpoint in different)))

    @cached_property
    def memory(self) -> Memories:
        """Everything that is remembered: to search, correct, forget, export. The one that was given as `store`, or
        else the one that the settings describe, which is opened when it is first used.

        Raises:
            InputError: the store that was given can only recall.
            EmbedderError: the setting `memory.embedder` names none.
        """
        from .memory.memories import Memories

        memories = memories_of(self.settings, clock=self._clock) if self._store is None else self._store
        if not isinstance(memories, Memories):
            raise InputError(
                "The store that this Mind was given can only recall.", hint="Give `Memories` as the store, or none."
            )
        memories.also_forget(self._caches.forget)
        return memories

    async def settle(self, who: Identity | None = None) -> tuple[str, ...]:
        """Wait until all that was said here is considered, and every summary, portrait and vector is up to date.

        Nothing needs it: what is left undone is done when the person speaks again. Tests, scripts and notebooks do.

        Args:
            who: A person whose memory is to be brought up to date although they have not spoken here. What other
                processes' people said is left alone: it goes to no model but theirs.

        Returns:
            What could not be done, in words; empty when all is done.
        """
        if self._only_recalls or not (who or self._store or "memory" in self.__dict__):
            return ()
        await self._finish_writing()
        problems = await self._background.settle(who)
        try:
            await self.memory.settle()
        except (EmbedderError, StoreError) as error:
            problems = (*problems, str(error))
        return problems

    async def open(self) -> None:
        """Load what the first turn would load otherwise, and open memory. Nothing needs it; servers do.

        Raises:
            StoreError: memory cannot be opened.
            EmbedderError: the setting `memory.embedder` names none.
        """
        if not self._only_recalls and self.settings.memory.mode is not MemoryMode.OFF:
            await self.memory.open()
            await self._load_embedder()
        await asyncio.to_thread(self._load)

    async def _load_embedder(self) -> None:
        try:
            await self.memory.try_embedder()
        except EmbedderError as error:  # Turns recall by words alone, and say so.
            import structlog

            log: Any = structlog.wrap_logger(logging.getLogger("mentalize.mind"))
            log.warning("embedder_left_out", fault=type(error).__name__)

    def _load(self) -> None:
        from .agents.danger import signs_in
        from .graphs.turn import graph
        from .llm.relay import innermost, relays

        for late in ("trace", "turn_memory"):
            import_module(f"{__package__}.graphs.{late}")

        for effort in _BY_COST:
            graph(effort, choosing=self._choosing)
        for model in map(innermost, self._models.values()):
            if relays(model):
                model.load()
        signs_in(intake("Hello.", at=self._clock()), self._referrals)
        language_of("Hello.")
        _ = self._prompts

    async def close(self) -> None:
        """Leave off background work; release connections, threads and memory. A store that was given stays open."""
        await self._finish_writing()
        if "_background" in self.__dict__:
            await self._background.close()
        if self._store is None and "memory" in self.__dict__:
            await self.memory.close()
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
        memory: MemoryMode | str | None,
        parameters: Mapping[str, Any],
        mode: StreamMode | str,
        at_most: Effort | None,
        circumstances: Circumstances,
        perspectives: PerspectivesMode,
    ) -> TurnContext:
        from .agents.danger import signs_in
        from .graphs.state import Scoring, TurnContext
        from .graphs.team import BRIEF_HYPOTHESES, assemble, conversation_of
        from .graphs.turn import CONTRACTS, PATIENCE, contract_with_lenses
        from .llm.budget import Budget
        from .llm.stopwatch import Stopwatch
        from .llm.traced import Ledger
        from .norms.conventions import even_handed

        settings = self.settings
        requested = effort_named(effort) if effort is not None else settings.effort
        kept = memory_mode_named(memory) if memory is not None else settings.memory.mode
        wanted = _stream_mode(mode)
        check_zone(who.zone if who else None)
        charter = self._conventions.charter_of(circumstances)
        turn = intake(
            messages,
            at=self._clock(),
            who=who,
            country=settings.country,
            circumstances=circumstances,
            parameters=parameters,
        )
        if sum(len(message.text) for message in turn.messages) <= BRIEFLY_READ:
            risk = signs_in(turn, self._referrals)
        else:
            risk = await asyncio.to_thread(signs_in, turn, self._referrals)
        chosen = _limited(self._route(turn, requested, risk), at_most, risk)
        choosing = self._choosing
        language = self.settings.language
        if language is None and (choosing or risk):
            language = await asyncio.to_thread(language_of, turn.text)
        losses: list[str] = []
        remembering = None if _is_of_the_app(turn, risk) else self._turn_memory(turn, kept, losses, charter)
        taken, cue = route_perspectives(turn, perspectives, chosen.effort, choosing=choosing, risk=risk)
        lenses = await self._lenses(circumstances, taken)
        meaning = await self._meaning(turn, remembering, losses) if chosen.effort is not Effort.NONE else None
        built_in = contract_with_lenses(chosen.effort, CONTRACTS[chosen.effort], len(lenses))
        contract = self._contract(chosen.effort, built_in, PATIENCE if choosing else 1)
        if chosen.effort not in (Effort.NONE, Effort.MINIMAL) or choosing:
            await self._ready(contract.seconds, strict=not risk)
        stopwatch = Stopwatch(time.perf_counter)
        ledger, budget = Ledger(stopwatch), Budget(contract, stopwatch)
        team = assemble(
            self._roles.for_turn(ledger, budget, conversation=conversation_of(who)),
            self._prompts,
            charter,
            hypotheses=min(settings.hypotheses, BRIEF_HYPOTHESES) if choosing else settings.hypotheses,
            choosing=choosing,
            scope=(who.tenant, who.user) if who else (turn.id,),
            zone=self._zone(who),
            circumstances=circumstances,
            lenses=lenses,
            traditions=self._conventions.traditions(circumstances),
            even_handed=even_handed(),
            caches=self._caches if who and settings.caches else None,
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
            stopwatch=stopwatch,
            hooks=self._hooks,
            memory=remembering,
            losses=losses,
            scoring=Scoring(
                mode=settings.score_mode,
                plausibility_weight=settings.plausibility_weight,
                empathy_weight=settings.empathy_weight,
                utility_threshold=settings.utility_threshold,
                max_revisions=settings.max_revisions,
            ),
            language=language,
            choosing=choosing,
            speculating=settings.speculate
            and chosen.effort is Effort.MEDIUM
            and not choosing
            and taken is not PerspectivesMode.AGENTS,
            likely=await self._tells_likelihoods(losses),
            trust_perceived_risk=not self._embedded,
            risk=risk,
            stage_seconds=settings.stage_seconds or contract.seconds,
            referrals=self._referrals,
            help_lines=lambda signs: self._help_lines(turn, signs),
            vetted=lambda signs: self._vetted(turn, signs, language),
            forms=lambda perception: self._forms(turn, perception, language),
            matches=self._conventions.matching(turn.text, circumstances, charter, meaning),
            perspectives=taken,
            cue=cue,
            may_be_contextual=perspectives is PerspectivesMode.AUTO and not risk,
            mode=StreamMode.GATED if risk or (choosing and chosen.effort is not Effort.NONE) else wanted,
        )

    def _stated(self, given: Circumstances | None) -> Circumstances:
        """What is stated about the person and the setting, by the request or else by the deployment."""
        settings, given = self.settings, given or NOTHING_STATED
        return Circumstances(
            cultures=given.cultures or settings.cultures,
            charter=given.charter,
            domain=given.domain or settings.domain,
            formality=given.formality or settings.formality,
            minor=given.minor,
        )

    async def _lenses(self, circumstances: Circumstances, mode: PerspectivesMode) -> tuple[Lens, ...]:
        """The lenses that are asked. In a thread where files may have to be read: those of stated cultures."""
        if circumstances.cultures:
            await asyncio.to_thread(self._conventions.read, circumstances)
        return self._conventions.lenses_for(circumstances) if mode is PerspectivesMode.AGENTS else ()

    async def _meaning(self, turn: Turn, memory: TurnMemory | None, losses: list[str]) -> Meaning | None:
        """What the message means to the norms of stated cultures, by the embedder that memory uses anyway.

        Without it, or where it is late, norms are found by words alone.
        """
        if not turn.circumstances.cultures or memory is None or self._only_recalls:
            return None
        try:
            async with asyncio.timeout(MEANING_SECONDS):
                return await self._conventions.meaning(turn.text, turn.circumstances, self.memory.vectors)
        except (EmbedderError, TimeoutError) as error:
            losses.append(f"norms: found by words alone: {_said(error)}")
            return None

    def _route(self, turn: Turn, requested: Effort, risk: Sequence[RiskSign]) -> Route:
        default = Effort.LOW if self._choosing else Effort.MEDIUM
        chosen = route(turn, requested, default=default)
        if risk and chosen.reason in (SIDE_TASK, SMALL_TALK) and not _is_of_the_app(turn, risk):
            return Route(default, "signs of danger")
        return chosen

    async def _conclude(self, context: TurnContext, state: State) -> Reply:
        from .graphs.trace import conclude, log, trace_of

        if context.concluded:
            raise InputError(
                "This turn is concluded already.", hint="Begin another one for the next message, or for another reply."
            )
        context.concluded = True
        said = conclude(context, state)
        trace = await self._recorded(context, trace_of(context, state, said.text, said.origin))
        await self._count_referrals(trace, context.turn)
        log(trace)
        draft = state.get("draft")
        message: Mapping[str, Any] = {"role": "assistant", "content": said.text}
        if context.effort is Effort.NONE and draft is not None:
            message = draft.message or message
        return Reply(said.text, trace, message, said.finish_reason, said.usage)

    async def _count_referrals(self, trace: Trace, turn: Turn) -> None:
        """Count a reply that points to help."""
        from .safety.gates import has_referral

        if trace.risk and has_referral(trace.reply, turn.country, self._referrals):
            tenant = turn.identity.tenant if turn.identity else self.settings.server.tenant
            for kind in sorted({sign.kind for sign in trace.risk}):
                await self.count(tenant, f"{REFERRAL}:{kind}")

    def _vetted(self, turn: Turn, signs: Sequence[RiskSign], language: str | None) -> str:
        from .safety.replies import safe_reply, vetted_reply

        if not signs:
            return safe_reply(language or language_of(turn.text))
        return vetted_reply(signs, country=turn.country, language=language, referrals=self._referrals)

    def _help_lines(self, turn: Turn, signs: Sequence[RiskSign]) -> tuple[str, ...]:
        from .safety.referral import help_lines

        return help_lines((sign.kind for sign in signs), country=turn.country, table=self._referrals)

    def _forms(self, turn: Turn, perception: Perception, language: str | None) -> Sequence[tuple[str, str]]:
        from .agents.quotes import quoted
        from .norms.forms import fill_forms

        own_words = replace(perception, cause=quoted(perception.cause, turn.text))
        return fill_forms(own_words, language=language, limit=4)

    def _contract(self, effort: Effort, built_in: Contract, patience: float) -> Contract:
        limits = getattr(self.settings.contract, effort)
        return Contract(
            calls=limits.calls or built_in.calls,
            depth=limits.depth or built_in.depth,
            seconds=limits.seconds or built_in.seconds * patience,
        )

    # --- memory -------------------------------------------------------------------------------------------

    def _turn_memory(self, turn: Turn, mode: MemoryMode, losses: list[str], charter: RoleCharter) -> TurnMemory | None:
        """What this turn may do with memory; a memory that cannot be had costs the turn nothing but a line."""
        from .graphs.turn_memory import TurnMemory

        if turn.identity is None or mode is MemoryMode.OFF:
            return None
        try:
            memory = TurnMemory(
                who=turn.identity,
                store=self._store or self.memory,
                zone=self._zone(turn.identity),
                limit=self.settings.memory.limit,
                writes=None if self._only_recalls or mode is MemoryMode.READ_ONLY else self.memory,
                charter=charter,
                trace_days=self.settings.memory.trace_days,
            )
        except Exception as error:
            losses.append(f"memory: {_said(error)}")
            return None
        memory.begin()
        return memory

    async def _recorded(self, context: TurnContext, trace: Trace) -> Trace:
        """The trace, after what was said is written down. What fails here costs a line in the trace.

        A database that is slow holds the reply up for `RECORD_SECONDS` at most; it is written to nevertheless.
        """
        memory = context.memory
        if memory is None or memory.writes is None:
            return trace
        turn = context.given or context.turn
        writing = asyncio.create_task(self._record(memory, turn, trace), name="mentalize-record")
        self._writing.add(writing)
        writing.add_done_callback(lambda task: self._written(task, memory.who))
        await asyncio.wait({writing}, timeout=RECORD_SECONDS)
        if not writing.done():
            return replace(trace, failures=(*trace.failures, "remember: it is not written yet"))
        if writing.cancelled() or (error := writing.exception()) is None:
            return trace
        return replace(trace, failures=(*trace.failures, f"remember: {_said(error)}"))

    async def _record(self, memory: TurnMemory, turn: Turn, trace: Trace) -> None:
        """Write a turn down, one after the other of a person, so that a retry finds what it repeats."""
        async with self._turnstile.alone((memory.who.tenant, memory.who.user)):
            await memory.record(turn, trace)

    def _written(self, task: asyncio.Task[None], who: Identity) -> None:
        self._writing.discard(task)
        if not task.cancelled() and task.exception() is None:
            self._background.said(who)

    async def _finish_writing(self) -> None:
        await asyncio.sleep(0)  # So that what was begun just now has started.
        loop, current = asyncio.get_running_loop(), asyncio.current_task()
        observing = [task for task in self._observing if task.get_loop() is loop and task is not current]
        if observing:
            await asyncio.wait(observing, timeout=CLOSE_SECONDS)
        here = [task for task in self._writing if task.get_loop() is loop]
        if here:
            # A database that hangs keeps nobody from leaving; it is written to nevertheless, if it comes back in time.
            await asyncio.wait(here, timeout=CLOSE_SECONDS)

    @cached_property
    def _background(self) -> Background:
        from .graphs.background import Background

        chosen = self.settings.memory
        return Background(
            self.memory,
            self._models["reason"],
            self._prompts,
            brief=self._models["reason"].name.split("/")[0] == "embedded",
            zone=chosen.zone,
            clock=self._clock,
            idle_seconds=chosen.idle_seconds,
            inference_days=chosen.inference_days,
        )

    def _busy(self) -> AbstractContextManager[None]:
        """While inside, background work leaves a model in this process alone."""
        return self._background.turn() if "_background" in self.__dict__ else nullcontext()

    @cached_property
    def _only_recalls(self) -> bool:
        """Whether the store that was given does no more than the protocol says."""
        from .memory.memories import Memories

        return self._store is not None and not isinstance(self._store, Memories)

    def _zone(self, who: Identity | None) -> str:
        return who.zone if who and who.zone else self.settings.memory.zone

    # --- models -------------------------------------------------------------------------------------------

    def _bind(self, role: RoleName) -> Model:
        if own := self._own.get(role) or (None if role in self._named else self._own.get("model")):
            return own
        settings, binding = self.settings, self.settings.binding(role)
        key = (binding.model, binding.base_url, binding.api_key)
        if key not in self._resolved:
            from .llm.resolve import resolve

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
    def _caches(self) -> Caches:
        from .graphs.team import Caches

        return Caches()

    def caches(self) -> tuple[CacheCounts, ...]:
        """What the caches of this mind have found since it was made: priors and lens notes (docs/concepts.md)."""
        return self._caches.counts

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

    async def _tells_likelihoods(self, losses: list[str]) -> bool:
        """Whether plausibility is to be a likelihood, and the model that reasons can tell one."""
        if self.settings.plausibility == "rated":
            return False
        try:
            if (await self._models["reason"].capabilities()).likelihoods:
                return True
        except ModelError as error:
            losses.append(f"plausibility: rated, because nothing is known of the endpoint: {error}")
            return False
        losses.append("plausibility: rated, because the endpoint does not say how likely a given text is")
        return False

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


def memories_of(settings: Settings, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Memories:
    """The memories that settings describe. Nothing is opened, loaded or written yet.

    Raises:
        EmbedderError: the setting `memory.embedder` names none.
    """
    from .llm.embedder import resolve_embedder
    from .memory.memories import Memories

    chosen = settings.memory
    return Memories.at(
        chosen.database_url,
        resolve_embedder(chosen.embedder),
        index=chosen.index_place,
        curve=chosen.as_curve(),
        clock=clock,
        zone=chosen.zone,
        limit=chosen.limit,
        tokens=chosen.tokens,
        per_person=chosen.per_person,
    )


def _is_of_the_app(turn: Turn, risk: Sequence[RiskSign]) -> bool:
    """Whether the message is a side task, and not a person's who is in danger and asks for something like one."""
    return is_certainly_side_task(turn) if risk else is_side_task(turn)


def _said(error: BaseException) -> str:
    return str(error) if isinstance(error, MentalizeError) else f"{type(error).__name__}: {error}"


def _limited(chosen: Route, at_most: Effort | None, risk: Sequence[RiskSign]) -> Route:
    """The route, or a lesser one where too much else goes on; a reply to signs of danger is always checked."""
    if at_most is Effort.NONE and risk:
        at_most = Effort.MINIMAL
    if at_most is None or _BY_COST.index(chosen.effort) <= _BY_COST.index(at_most):
        return chosen
    return Route(at_most, SATURATED)


_BY_COST = (Effort.NONE, Effort.MINIMAL, Effort.LOW, Effort.MEDIUM, Effort.HIGH)


def _stream_mode(name: StreamMode | str) -> StreamMode:
    try:
        return StreamMode(name)
    except ValueError as error:
        modes = ", ".join(StreamMode)
        raise InputError(f"There is no stream mode {name!r}.", hint=f"The modes are: {modes}.") from error


def perspectives_mode_named(name: PerspectivesMode | str) -> PerspectivesMode:
    """The mode of this name. Raises InputError."""
    try:
        return PerspectivesMode(name)
    except ValueError as error:
        modes = ", ".join(PerspectivesMode)
        raise InputError(f"There is no perspectives mode {name!r}.", hint=f"The modes are: {modes}.") from error


def memory_mode_named(name: MemoryMode | str) -> MemoryMode:
    """The mode of this name. Raises InputError."""
    try:
        return MemoryMode(name)
    except ValueError as error:
        modes = ", ".join(MemoryMode)
        raise InputError(f"There is no memory mode {name!r}.", hint=f"The modes are: {modes}.") from error


__all__ = [
    "SATURATED",
    "Event",
    "Finished",
    "GuidedTurn",
    "Mind",
    "OpenTurn",
    "Reply",
    "RoleReport",
    "StageFinished",
    "StageStarted",
    "SyncMind",
    "TextDelta",
    "TextHeld",
    "TurnStarted",
    "memories_of",
]

"""Chat: `POST /v1/chat/completions`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from ..errors import MentalizeError, whereabouts
from ..llm.traced import about_tokens, together
from ..open_turn import Finished, OpenTurn, Reply, StageFinished, TextDelta, TextHeld
from ..types import CallRecord, Effort, StageRecord, StreamMode, Trace
from .arrivals import Receive, body_of, headers_of, object_of, unless_gone
from .asked import Asked, asked_in
from .callers import Caller
from .chunks import Chunks, whole
from .event_stream import EventStream, Send, send_whole
from .faults import Fault, fault_of, named
from .limits import Limited
from .persons import Person, person_of

if TYPE_CHECKING:
    from ..llm.relay import Relayed
    from .service import Service

_log: Any = structlog.wrap_logger(logging.getLogger("mentalize.server"))

_HANDED_ON = ("traceparent", "tracestate")
"""Headers of a request that a model's endpoint gets, too."""

_HANDED_BACK = frozenset(
    {"retry-after", "retry-after-ms", "x-should-retry", "openai-processing-ms", "openai-version", "openai-model"}
)
"""Headers of an endpoint's answer that clients act on, beside those on its rate limits (D-25). Not who pays for it."""

_HELD = "held: signs of danger were noticed, so the whole reply waits for its verdict\n"
"""What a stream says whose headers have left with another mode."""

_COSTLY = (Effort.LOW, Effort.MEDIUM, Effort.HIGH)


@dataclass(slots=True, kw_only=True)
class _Exchange:
    """One request and what is known of its answer."""

    asked: Asked
    caller: Caller
    headers: Mapping[str, str]
    out: Send
    """ASGI's `send`."""
    began: float
    """In monotonic seconds."""
    told: dict[str, str] = field(default_factory=dict[str, str])
    """Headers of the answer that say what was done."""
    spent: Callable[[], int] = lambda: 0
    """Tokens that it has cost so far."""
    answered: bool = False
    """Whether the last byte was sent."""

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Send a part of the answer."""
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.answered = True
        await self.out(message)


@dataclass(frozen=True, slots=True)
class Chat:
    """Answers chat-completions requests. An ASGI application; what it raises, those around it tell the client."""

    service: Service

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        service, began = self.service, time.monotonic()
        headers = headers_of(scope)
        caller = await service.callers.of(headers, scope.get("client"))
        scope["state"]["openly"] = caller.operator
        try:
            await service.limiter.admit(caller)
            with service.limiter.at_work(caller):
                seconds = service.settings.arrival_seconds
                raw = await body_of(receive, most=caller.limits.body_bytes, seconds=seconds)
                asked = asked_in(await object_of(raw, headers), raw, headers)
                exchange = _Exchange(asked=asked, caller=caller, headers=headers, out=send, began=began)
                try:
                    async with unless_gone(receive, answered=lambda: exchange.answered):
                        await self._answer(exchange)
                finally:
                    # Also of a turn that failed, or whose client left: the calls were made.
                    await service.limiter.charge(caller, exchange.spent())
        except Limited as limited:
            service.metrics.limited(limited.kind)
            raise

    async def _answer(self, exchange: _Exchange) -> None:
        asked = exchange.asked
        if asked.effort is None:
            await self._pass_through(exchange, to=None)
        elif asked.side_task:
            exchange.told["x-mentalize-route"] = "a side task of the app"
            await self._pass_through(exchange, to=self.service.mind.upstreams[0])
        else:
            await self._think(exchange)

    # --- the model itself ---------------------------------------------------------------------------------

    async def _pass_through(self, exchange: _Exchange, *, to: str | None) -> None:
        asked, service = exchange.asked, self.service
        if to is None and asked.model not in service.models:
            names = ", ".join(service.models)
            raise Fault(
                404, f"There is no model {named(asked.model)} here. There are: {names}.", "model_not_found", "model"
            )
        exchange.told |= {"x-mentalize-effort": "none", "x-mentalize-memory": "off"}
        exchange.told["x-mentalize-overhead-ms"] = f"{1000 * (time.monotonic() - exchange.began):.1f}"
        relayed = await service.mind.relay(asked.body, to=to, raw=asked.raw, headers=_handed_on(exchange.headers))
        exchange.spent = lambda: _tokens_of(asked, relayed)
        try:
            await self._hand_back(exchange, relayed)
        finally:
            await relayed.content.aclose()
        service.metrics.relayed(relayed.heard.usage)

    async def _hand_back(self, exchange: _Exchange, relayed: Relayed, replies: Sequence[Reply] = ()) -> None:
        """Send an endpoint's answer on as it comes; `replies` has what was made of it once all of it is here."""
        told = _handed_back(relayed.headers) | exchange.told
        if not relayed.streams:
            body = b"".join([piece async for piece in relayed.content])
            cost = _told_of_cost(replies[0].trace) if replies else {}
            await send_whole(exchange.send, relayed.status, told | cost, body)
            return
        told["x-mentalize-stream"] = "pass-through"
        stream = EventStream(exchange.send, lambda: told, ping_seconds=self.service.settings.ping_seconds)
        async with stream.kept_alive():
            try:
                async for piece in relayed.content:
                    await stream.write(piece)
            except Exception as error:
                # Whatever it is: a client takes a stream that only ends for an answer (D-4).
                if not stream.begun:
                    raise
                await self._fail(exchange, stream, error)
                return
        await self._end(exchange, stream)

    # --- a turn with thought ------------------------------------------------------------------------------

    async def _think(self, exchange: _Exchange) -> None:
        service, asked = self.service, exchange.asked
        person = person_of(exchange.caller, exchange.headers, asked.given, asked.wishes)
        try:
            at_most = service.capacity.at_most
        except Fault:
            service.metrics.degraded("refused")
            raise
        with service.capacity.turn(), service.metrics.in_flight():
            turn = await service.mind.begin(
                asked.messages,
                person.who,
                asked.effort,
                asked.wishes.memory,
                mode=asked.wishes.stream or service.settings.stream,
                at_most=at_most,
                circumstances=asked.wishes.circumstances,
                perspectives=asked.wishes.perspectives,
                parameters=asked.parameters,
            )
            exchange.told |= _told_of(turn, person)
            exchange.spent = lambda: turn.tokens
            if at_most is not None and turn.route_is_lesser:
                exchange.told["x-mentalize-degraded"] = "saturated"
                service.metrics.degraded("pass-through" if turn.passes_through else "minimal")
            try:
                await self._go(exchange, turn, person)
            except (MentalizeError, Fault) as error:
                # What was spent on this turn would be spent again by a client that tries again by itself (D-23).
                if isinstance(error, MentalizeError):
                    _log.warning("turn_failed", turn=turn.id, fault=type(error).__name__, hint=error.hint)
                raise _final(fault_of(error, openly=exchange.caller.operator), turn.effort) from error

    async def _go(self, exchange: _Exchange, turn: OpenTurn, person: Person) -> None:
        if turn.passes_through:
            await self._overhear(exchange, turn, person)
        elif exchange.asked.streams:
            await self._stream(exchange, turn, person)
        else:
            del exchange.told["x-mentalize-stream"]
            reply = await turn.reply()
            exchange.told |= _told_of_cost(reply.trace)
            stages = self._wants_stages(exchange.asked)
            content = whole(reply, model=exchange.asked.model, thoughts=_thoughts(reply.trace) if stages else "")
            await send_whole(exchange.send, 200, exchange.told, content)
            self._note(exchange, reply, person)

    async def _overhear(self, exchange: _Exchange, turn: OpenTurn, person: Person) -> None:
        """Hand the model's own answer on, and remember what was said."""
        replies: list[Reply] = []
        relayed = await turn.relay(exchange.asked.body, headers=_handed_on(exchange.headers), told=replies.append)
        exchange.spent = lambda: _tokens_of(exchange.asked, relayed)
        try:
            await self._hand_back(exchange, relayed, replies)
        finally:
            await relayed.content.aclose()
        for reply in replies:
            self._note(exchange, reply, person)

    async def _stream(self, exchange: _Exchange, turn: OpenTurn, person: Person) -> None:
        asked, settings = exchange.asked, self.service.settings
        chunks = Chunks(model=asked.model, counts=asked.counts)
        stream = EventStream(exchange.send, lambda: exchange.told, ping_seconds=settings.ping_seconds)
        stages, spoke = self._wants_stages(asked), False
        reply: Reply | None = None
        async with stream.kept_alive(), aclosing(turn.stream()) as events:
            try:
                async for event in events:
                    match event:
                        case TextHeld():
                            exchange.told["x-mentalize-stream"] = StreamMode.GATED
                            if spoke:
                                await stream.write(chunks.thought(_HELD))
                        case StageFinished() if stages and _tells_something(event):
                            await stream.write((b"" if spoke else chunks.begin()) + chunks.thought(_thought(event)))
                            spoke = True
                        case TextDelta(text=text) if text:
                            await stream.write((b"" if spoke else chunks.begin()) + chunks.text(text))
                            spoke = True
                        case Finished():
                            reply = event.reply
                        case _:
                            pass
            except Exception as error:
                if not stream.begun:
                    raise
                await self._fail(exchange, stream, error)
                return
        if reply is not None:
            await stream.write((b"" if spoke else chunks.begin()) + chunks.end(reply.finish_reason, reply.usage))
            await self._end(exchange, stream)
            self._note(exchange, reply, person)

    # --- afterwards ---------------------------------------------------------------------------------------

    async def _end(self, exchange: _Exchange, stream: EventStream) -> None:
        await stream.end()
        if stream.began_at is not None:
            self.service.metrics.first_byte(stream.began_at - exchange.began)

    async def _fail(self, exchange: _Exchange, stream: EventStream, error: Exception) -> None:
        hint = error.hint if isinstance(error, MentalizeError) else ""
        _log.warning("stream_failed", fault=type(error).__name__, hint=hint, at=whereabouts(error))
        await stream.fail(fault_of(error, openly=exchange.caller.operator))

    def _note(self, exchange: _Exchange, reply: Reply, person: Person) -> None:
        """Count a finished turn, and keep how it came about."""
        service, trace = self.service, reply.trace
        service.metrics.turn(trace)
        if service.telemetry is not None:
            session = person.who.session if person.who else None
            service.telemetry.turn(trace, exchange.headers, conversation=session)
        if person.who is None:
            service.traces.keep(exchange.caller.tenant, exchange.caller.name, trace)

    def _wants_stages(self, asked: Asked) -> bool:
        wish = asked.wishes.stages
        return self.service.settings.stages if wish is None else wish


def _told_of(turn: OpenTurn, person: Person) -> dict[str, str]:
    """What is known of a turn before it is gone."""
    memory = f"off; {person.why_not}" if person.who is None else turn.memory
    if person.who is not None and not turn.says_something:
        memory = "off; the last message is no person's"
    told = {
        "x-mentalize-turn": turn.id,
        "x-mentalize-effort": turn.effort,
        "x-mentalize-route": turn.route,
        "x-mentalize-memory": memory,
    }
    if turn.passes_through:
        return told
    return {**told, "x-mentalize-stream": turn.mode, "x-mentalize-perspectives": turn.perspectives}


def _tokens_of(asked: Asked, relayed: Relayed) -> int:
    """Tokens of an answer that was handed back; about, where the endpoint does not say."""
    if relayed.status >= 400:
        return 0
    if relayed.heard.usage is not None:
        return relayed.heard.usage.total_tokens
    return about_tokens(str(asked.body["messages"])) + about_tokens(relayed.heard.text)


def _told_of_cost(trace: Trace) -> dict[str, str]:
    """What a turn has cost, all its calls together."""
    usage = trace.usage
    counted = f"prompt={usage.prompt_tokens}, completion={usage.completion_tokens}, total={usage.total_tokens}"
    return {
        "x-mentalize-calls": str(trace.calls),
        "x-mentalize-usage": counted,
        "x-mentalize-overhead-ms": f"{1000 * (trace.seconds - busy_seconds(trace.requests)):.1f}",
    }


def busy_seconds(records: tuple[CallRecord, ...]) -> float:
    """Seconds in which at least one call was in work; the rest of a turn is our own."""
    return together((record.started, record.seconds) for record in records)


def _final(fault: Fault, effort: Effort) -> Fault:
    if effort in _COSTLY:
        fault.headers.setdefault("x-should-retry", "false")
    return fault


def _thoughts(trace: Trace) -> str:
    return "".join(_thought(stage) for stage in trace.stages if _tells_something(stage))


def _tells_something(event: StageFinished | StageRecord) -> bool:
    return bool(event.found or event.error) or event.name == "write"


def _thought(event: StageFinished | StageRecord) -> str:
    """A stage in a line, as clients show a model's reasoning."""
    told = "left out" if event.error else event.found or "done"
    return f"{event.name}: {told}\n"


def _handed_on(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: headers[name] for name in _HANDED_ON if name in headers}


def _handed_back(headers: Mapping[str, str]) -> dict[str, str]:
    given = {
        name: value
        for name, value in headers.items()
        if name in _HANDED_BACK or "ratelimit" in name or name == "x-request-id"
    }
    if "x-request-id" in given:
        given["x-upstream-request-id"] = given.pop("x-request-id")
    return given

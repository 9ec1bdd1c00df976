"""OpenTurn: a turn whose way is decided; what comes of it, in one piece, as events, or handed on from the endpoint."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .graphs.events import StageFinished, StageStarted, TextDelta, TextHeld, TurnStarted
from .llm.model import Model
from .types import Draft, Effort, MemoryMode, PerspectivesMode, StreamMode, Trace, Usage

if TYPE_CHECKING:
    from .graphs.state import State, TurnContext
    from .llm.relay import Relayed


SATURATED = "too much else goes on"
"""The route of a turn that gets less thought than it was to have."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back to the person, and how it came about."""

    text: str
    trace: Trace
    message: Mapping[str, Any]
    """The assistant message in OpenAI's form; on pass-through exactly as the endpoint sent it."""
    finish_reason: str = "stop"
    """Why the writing ended, as the endpoint said."""
    usage: Usage = Usage()
    """Tokens of the call that wrote it; those of all calls are in the trace."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of a stream."""

    reply: Reply


Event = TurnStarted | StageStarted | StageFinished | TextHeld | TextDelta | Finished


@dataclass(frozen=True, slots=True)
class OpenTurn:
    """A turn whose way is decided, and that waits to be gone: by one of `reply`, `stream` and `relay`, once."""

    context: TurnContext
    writer: Model
    """The model that writes."""
    busy: Callable[[], AbstractContextManager[None]]
    """While inside, background work leaves a model in this process alone."""
    conclude: Callable[[TurnContext, State], Awaitable[Reply]]
    """Makes the reply and its trace, and remembers what was said."""

    @property
    def id(self) -> str:
        """The id of its trace."""
        return self.context.turn.id

    @property
    def effort(self) -> Effort:
        """What will run."""
        return self.context.effort

    @property
    def route(self) -> str:
        """Why this effort."""
        return self.context.route

    @property
    def mode(self) -> StreamMode:
        """When its text leaves; signs of danger that a stage notices can still make it `gated`."""
        return self.context.mode

    @property
    def perspectives(self) -> PerspectivesMode:
        """Whether lenses are asked, or the writer is told the principles; a value question that only a stage notices
        can still bring the latter in.
        """
        return self.context.perspectives

    @property
    def memory(self) -> MemoryMode:
        """What it may do with memory; `off` without an identity."""
        memory = self.context.memory
        if memory is None:
            return MemoryMode.OFF
        return MemoryMode.READ_ONLY if memory.writes is None else MemoryMode.ON

    @property
    def tokens(self) -> int:
        """Tokens that its calls have cost so far; about, where an endpoint does not say."""
        from .llm.traced import spent

        return spent(self.context.ledger.records)

    @property
    def says_something(self) -> bool:
        """Whether the message to be answered is a person's, and has text; else there is nothing to remember."""
        return bool(self.context.turn.text.strip())

    @property
    def passes_through(self) -> bool:
        """Whether only the model's own answer, unchanged, can be right."""
        return self.effort is Effort.NONE

    @property
    def route_is_lesser(self) -> bool:
        """Whether it gets less thought than it was to have, because too much else goes on."""
        return self.route == SATURATED

    async def reply(self) -> Reply:
        """Answer in one piece. Raises ModelError."""
        from .graphs.turn import run

        with self.busy():
            return await self.conclude(self.context, await run(self.context))

    async def stream(self) -> AsyncGenerator[Event]:
        """Answer event by event; the last one is `Finished`. Raises ModelError."""
        from .graphs.sentences import sentences_of
        from .graphs.turn import stream

        context = self.context
        yield TurnStarted(self.id, self.effort, self.route, self.mode)
        with self.busy():
            state: State = {}
            async with aclosing(stream(context)) as parts:
                async for part in parts:
                    if isinstance(part, dict):
                        state = part
                    else:
                        yield part
            reply = await self.conclude(context, state)
        spoken = "".join(context.spoken)
        left = reply.text[len(spoken) :]
        for piece in [left] if context.effort is Effort.NONE and left else sentences_of(left):
            yield TextDelta(piece)
        yield Finished(reply)

    async def relay(
        self,
        body: Mapping[str, Any],
        *,
        headers: Mapping[str, str] | None = None,
        told: Callable[[Reply], None] | None = None,
    ) -> Relayed:
        """Hand the request on as it is, and the answer back as it comes; what was said is remembered at its end.

        Args:
            body: The body of the OpenAI request. Its `model` is put back into the answer.
            headers: Further headers for the endpoint.
            told: Called with the reply when all of it was handed on.

        Raises:
            ModelError: there is no answer to hand on.
        """
        from .llm.relay import relay, within

        with ExitStack() as busy:
            busy.enter_context(self.busy())
            started = self.context.ledger.elapsed()
            relayed = await relay(self.writer, body, headers=headers)
            return await within(busy.pop_all(), replace(relayed, content=self._overheard(relayed, started, told)))

    async def _overheard(
        self, relayed: Relayed, started: float, told: Callable[[Reply], None] | None
    ) -> AsyncGenerator[bytes]:
        from .llm.model import Completion, Request

        async with aclosing(relayed.content) as content:
            async for piece in content:
                yield piece
        heard, context = relayed.heard, self.context
        if not heard.complete or relayed.status >= 400:
            return
        reason = heard.finish_reason or "stop"
        request = Request(messages=context.turn.messages, purpose="write", parameters=context.turn.parameters)
        answer = Completion(text=heard.text, finish_reason=reason, usage=heard.usage or Usage())
        context.ledger.record(request, "write", self.writer.name, 1, started, answer, None)
        reply = await self.conclude(context, {"draft": Draft(text=heard.text, finish_reason=reason, usage=heard.usage)})
        if told is not None:
            told(reply)

"""Steps: what the modes do around a chatbot, said once; two drivers take them, a synchronous and an asynchronous one.

A mode is a generator of steps. The chatbot runs where its caller does, in the same thread or task; what is ours runs on
the event loop of the mind.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self, cast

from ..errors import InputError
from ..portal import SyncMind
from .call import Call

END: Any = object()
"""What `Next` gives at the end of a stream."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Call the chatbot. Gives its answer, or an iterator of chunks."""

    call: Call


@dataclass(frozen=True, slots=True)
class Next:
    """Take the next chunk of a stream. Gives it, or `END`."""

    stream: Any


@dataclass(frozen=True, slots=True)
class Say:
    """Let a chunk leave."""

    chunk: Any


@dataclass(frozen=True, slots=True)
class Think:
    """Wait for work of ours. Gives its result."""

    work: Callable[[], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Compute:
    """Work that is no coroutine and takes long enough to hold an event loop up. Gives its result."""

    work: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Begin:
    """Begin work of ours, beside what follows. Gives its `Pending`."""

    work: Callable[[], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Await:
    """Wait for what was begun. Gives its result."""

    pending: Pending


class Pending(Protocol):
    """Work that goes on: a task, or a future of another thread's."""

    def done(self) -> bool: ...
    def cancel(self) -> Any: ...
    def result(self) -> Any: ...


Step = Ask | Next | Say | Think | Compute | Begin | Await
Flow = Generator[Step, Any, Any]
Outcome = tuple[Any, BaseException | None]


@dataclass(frozen=True, slots=True)
class Streaming:
    """What a flow returns when the chatbot streams: the flow that goes on with it."""

    flow: Flow
    stream: Any


class Chunks:
    """The chunks of a synchronous chatbot, as its own stream would give them; what else that has is there too."""

    def __init__(self, chunks: Generator[Any], stream: Any) -> None:
        self._chunks = chunks
        self._stream = stream

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._chunks)

    def close(self) -> None:
        """End the chatbot's own stream too."""
        self._chunks.close()
        if close := getattr(self._stream, "close", None):
            close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class AsyncChunks:
    """The same of an asynchronous one."""

    def __init__(self, chunks: AsyncGenerator[Any], stream: Any) -> None:
        self._chunks = chunks
        self._stream = stream

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        return await anext(self._chunks)

    async def aclose(self) -> None:
        """End the chatbot's own stream too."""
        await self._chunks.aclose()
        await _close(self._stream)

    close = aclose

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class SyncDriver:
    """Takes steps for a synchronous chatbot."""

    def __init__(self, bot: Callable[..., Any], mind: SyncMind) -> None:
        self._bot = bot
        self._mind = mind

    def call(self, flow: Flow) -> Any:
        """Take all steps. Returns the answer, or chunks as they come."""
        answer: Any = None
        try:
            step = next(flow)
            while True:
                step = _go_on(flow, self._outcome(step))
        except StopIteration as end:
            answer = end.value
        return Chunks(self.chunks(answer), answer.stream) if isinstance(answer, Streaming) else answer

    def chunks(self, streaming: Streaming) -> Generator[Any]:
        """Take the steps of a stream."""
        flow = streaming.flow
        with ExitStack() as ending:
            ending.callback(self._close, streaming.stream)
            ending.callback(flow.close)
            try:
                step = next(flow)
                while True:
                    if isinstance(step, Say):
                        yield step.chunk
                        step = flow.send(None)
                    else:
                        step = _go_on(flow, self._outcome(step))
            except StopIteration:
                return

    def _outcome(self, step: Step) -> Outcome:
        try:
            return self._take(step), None
        except BaseException as error:
            return None, error

    def _close(self, stream: Any) -> None:
        if _is_ours(stream):
            self._mind.run(stream.aclose)
        elif close := getattr(stream, "close", None):
            close()

    def _take(self, step: Step) -> Any:
        match step:
            case Ask(call):
                return _no_coroutine(self._bot(*call.arguments, **call.named))
            case Next(stream):
                return self._mind.run(lambda: _next_of(stream)) if _is_ours(stream) else next(stream, END)
            case Think(work):
                return self._mind.run(work)
            case Compute(work):
                return work()
            case Begin(work):
                return self._mind.start().start_task_soon(work)
            case Await(pending):
                return pending.result()
            case Say():
                raise AssertionError("Only a stream has chunks to say.")


class AsyncDriver:
    """Takes steps for an asynchronous chatbot."""

    def __init__(self, bot: Callable[..., Any]) -> None:
        self._bot = bot

    async def call(self, flow: Flow) -> Any:
        """Take all steps. Returns the answer, or chunks as they come."""
        answer: Any = None
        try:
            step = next(flow)
            while True:
                step = _go_on(flow, await self._outcome(step))
        except StopIteration as end:
            answer = end.value
        return AsyncChunks(self.chunks(answer), answer.stream) if isinstance(answer, Streaming) else answer

    async def chunks(self, streaming: Streaming) -> AsyncGenerator[Any]:
        """Take the steps of a stream."""
        flow = streaming.flow
        try:
            step = next(flow)
            while True:
                if isinstance(step, Say):
                    yield step.chunk
                    step = flow.send(None)
                else:
                    step = _go_on(flow, await self._outcome(step))
        except StopIteration:
            return
        finally:
            flow.close()
            await _close(streaming.stream)

    async def _outcome(self, step: Step) -> Outcome:
        try:
            return await self._take(step), None
        except BaseException as error:
            return None, error

    async def _take(self, step: Step) -> Any:
        match step:
            case Ask(call):
                answer = self._bot(*call.arguments, **call.named)
                return await answer if inspect.isawaitable(answer) else answer
            case Next(stream):
                return await _next_of(stream) if hasattr(stream, "__anext__") else next(stream, END)
            case Think(work):
                return await work()
            case Compute(work):
                return await asyncio.to_thread(work)
            case Begin(work):
                return asyncio.ensure_future(work())
            case Await(pending):
                return await cast("Awaitable[Any]", pending)
            case Say():
                raise AssertionError("Only a stream has chunks to say.")


async def waited(pending: Iterable[Pending]) -> None:
    """Wait until all of it is done, however it ends."""
    ones = cast("Iterable[Any]", pending)
    waits = [one if asyncio.isfuture(one) else asyncio.wrap_future(one) for one in ones]
    await asyncio.gather(*waits, return_exceptions=True)


def _go_on(flow: Flow, outcome: Outcome) -> Step:
    found, error = outcome
    return flow.send(found) if error is None else flow.throw(error)


async def _next_of(stream: Any) -> Any:
    return await anext(stream, END)


def _is_ours(stream: Any) -> bool:
    """Whether it runs on the mind's event loop: an asynchronous stream, beside a synchronous chatbot."""
    return hasattr(stream, "__anext__")


def _no_coroutine(answer: Any) -> Any:
    if not inspect.isawaitable(answer) or hasattr(answer, "__next__"):
        return answer
    if inspect.iscoroutine(answer):
        answer.close()
    raise InputError(
        "The chatbot is no `async def`, and yet its answer has to be awaited.",
        hint="Wrap an `async def`: async def bot(messages): return await chatbot(messages)",
    )


async def _close(stream: Any) -> None:
    """Close a stream of whichever kind; one that is closed already stays so."""
    close = getattr(stream, "aclose", None) or getattr(stream, "close", None)
    if close is not None and inspect.isawaitable(closing := close()):
        await closing

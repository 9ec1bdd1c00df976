"""Portal: `Mind` for synchronous callers."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, aclosing
from functools import cached_property
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from .llm.examination import RoleReport
from .types import Effort, Identity, MemoryMode, Trace

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal

    from .guided_turn import GuidedTurn
    from .mind import Event, Messages, Mind, Reply

Result = TypeVar("Result")


class SyncMind:
    """`Mind` for synchronous callers. Its event loop runs in a thread of its own from the first call to `close`."""

    def __init__(self, mind: Mind) -> None:
        self._mind = mind
        self._stack = ExitStack()

    def reply(
        self,
        messages: Messages,
        who: Identity | None = None,
        effort: Effort | str | None = None,
        memory: MemoryMode | str | None = None,
        **parameters: Any,
    ) -> Reply:
        """See `Mind.reply`."""
        return self.run(lambda: self._mind.reply(messages, who, effort, memory, **parameters))

    def stream(
        self,
        messages: Messages,
        who: Identity | None = None,
        effort: Effort | str | None = None,
        memory: MemoryMode | str | None = None,
        **parameters: Any,
    ) -> Iterator[Event]:
        """See `Mind.stream`. Leaving the loop early stops every call in flight."""
        opened: AbstractContextManager[AsyncGenerator[Event]] = self._started.wrap_async_context_manager(
            aclosing(self._mind.stream(messages, who, effort, memory, **parameters))
        )
        with opened as events:
            while (event := self.run(lambda: anext(events, None))) is not None:
                yield event

    def guide(self, messages: Messages, who: Identity | None = None, **asked: Any) -> GuidedTurn:
        """See `Mind.guide`; what the turn does then, do with `run`: `mind.sync.run(lambda: guided.conclude(text))`."""
        return self.run(lambda: self._mind.guide(messages, who, **asked))

    def review(self, messages: Messages, draft: str, who: Identity | None = None, **asked: Any) -> GuidedTurn:
        """See `Mind.review`, and `guide`."""
        return self.run(lambda: self._mind.review(messages, draft, who, **asked))

    def observe(self, messages: Messages, answer: str, who: Identity | None = None, **asked: Any) -> Trace:
        """See `Mind.observe`."""
        return self.run(lambda: self._mind.observe(messages, answer, who, **asked))

    def start(self) -> BlockingPortal:
        """Start the event loop, which the first call does otherwise."""
        return self._started

    def doctor(self) -> tuple[RoleReport, ...]:
        """See `Mind.doctor`."""
        return self.run(self._mind.doctor)

    def settle(self, who: Identity | None = None) -> tuple[str, ...]:
        """See `Mind.settle`."""
        return self.run(lambda: self._mind.settle(who))

    def run(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """Wait for what `work` begins, such as `lambda: mind.memory.search(who, "Rome")`."""
        future = self._started.start_task_soon(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Release what `Mind.close` releases, and end the thread. At the end of a program it is done anyway."""
        if "_started" not in self.__dict__:
            return
        self.run(self._mind.close)
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

        portal = self._stack.enter_context(start_blocking_portal())
        at_exit(self.close)
        return portal


def at_exit(method: Callable[[], None]) -> None:
    """Call a method at the end of the program, unless its object is gone by then.

    `atexit` would be too late: the threads of executors end before it, and whoever waits for them then waits for ever.
    `concurrent.futures` uses the same hook when it is loaded, and what was registered last runs first.
    """
    import_module("concurrent.futures.thread")
    known, process = weakref.WeakMethod(method), os.getpid()

    def call() -> None:
        # A process that was forked off has the method, and not the thread that it would wait for.
        if os.getpid() == process and (alive := known()):
            alive()

    cast("Any", threading)._register_atexit(call)

"""Threads: worker threads of one's own, for calls that wait for a database."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Result = TypeVar("Result")


class Threads:
    """Runs blocking calls for coroutines, of any event loop.

    Not on asyncio's own threads: those serve the whole program, and calls that wait for a locked database would leave
    it none.

    Args:
        name: What the threads are called.
        most: How many calls run at once; others wait for their turn.
    """

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    async def run(self, call: Callable[..., Result], *arguments: Any, **named: Any) -> Result:
        """The result of the call. Whoever gives up waiting does not stop it once it runs."""
        return await asyncio.wrap_future(self.submit(call, *arguments, **named))

    def submit(self, call: Callable[..., Result], *arguments: Any, **named: Any) -> Future[Result]:
        """Begin the call, in the caller's context."""
        context = contextvars.copy_context()
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._most, thread_name_prefix=self._name)
            return self._pool.submit(lambda: context.run(call, *arguments, **named))

    async def close(self) -> None:
        """Wait until every call is done, and let go of the threads. A later call starts new ones."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            await asyncio.to_thread(pool.shutdown)

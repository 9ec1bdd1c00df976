"""LimitedModel: asks a model a few questions at a time."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from ..errors import InputError
from .model import Completion, Delta, Model, Request
from .wrapper import WrappedModel, closing

PASSED_BY = 8
"""How many requests in a row go before one of the background that came earlier: it may wait, but not for ever."""


class LimitedModel(WrappedModel):
    """Has at most `concurrency` requests in work; the others wait in the order in which they came.

    Those of the background (`Request.background`) wait until nobody else does, or until `PASSED_BY` went before them.
    The limit holds across event loops in different threads, where `asyncio.Semaphore` fails.
    """

    def __init__(self, model: Model, concurrency: int) -> None:
        super().__init__(model)
        if concurrency < 1:
            raise InputError(f"A concurrency of {concurrency} lets no request through.", hint="Give 1 or more.")
        self._lock = threading.Lock()
        self._free = concurrency
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._background: deque[asyncio.Future[None]] = deque()
        self._passed_by = 0

    async def complete(self, request: Request) -> Completion:
        async with self._turn(request):
            return await self.model.complete(request)

    async def stream(self, request: Request) -> AsyncIterator[Delta]:
        async with self._turn(request), closing(self.model.stream(request)) as stream:
            async for delta in stream:
                yield delta

    @asynccontextmanager
    async def _turn(self, request: Request) -> AsyncGenerator[None]:
        await self._acquire(self._background if request.background else self._waiting)
        try:
            yield
        finally:
            self._release()

    async def _acquire(self, line: deque[asyncio.Future[None]]) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            turn = asyncio.get_running_loop().create_future()
            line.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            with self._lock:
                still_waiting = turn in line
                if still_waiting:
                    line.remove(turn)
            if not still_waiting:
                self._release()  # The turn was given while we were being cancelled.
            raise

    def _release(self) -> None:
        while True:
            with self._lock:
                if not (line := self._next_line()):
                    self._free += 1
                    return
                turn = line.popleft()
            try:
                turn.get_loop().call_soon_threadsafe(_give, turn)
            except RuntimeError:  # Its event loop has ended, so nobody waits there.
                continue
            return

    def _next_line(self) -> deque[asyncio.Future[None]]:
        """The line whose first is served next."""
        if not self._background:
            self._passed_by = 0
            return self._waiting
        if self._waiting and self._passed_by < PASSED_BY:
            self._passed_by += 1
            return self._waiting
        self._passed_by = 0
        return self._background


def _give(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)

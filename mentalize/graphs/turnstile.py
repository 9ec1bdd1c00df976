"""Turnstile: lets one through after the other, for each name, whatever event loop or thread they come from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Hashable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from threading import Lock

PATIENCE = 30.0
"""Seconds after which one is let through although the one before is still inside: its event loop may have stopped."""


class Turnstile:
    """Keeps nothing of those who have passed.

    Not asyncio's lock: that belongs to one event loop, and a Mind may be used from several.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._lock = Lock()
        self._last: dict[Hashable, Future[None]] = {}

    def __len__(self) -> int:
        """How many names somebody is inside or waits for."""
        return len(self._last)

    @asynccontextmanager
    async def alone(self, name: Hashable) -> AsyncGenerator[None]:
        """While inside, nobody else is inside under this name. Those who wait come in their order."""
        left: Future[None] = Future()
        with self._lock:
            before = self._last.get(name)
            self._last[name] = left
        passed = False
        try:
            if before is not None:
                await asyncio.wait({asyncio.wrap_future(before)}, timeout=self._patience)
            passed = True
            yield
        finally:
            self._leave(name, left, None if passed else before)

    def _leave(self, name: Hashable, left: Future[None], before: Future[None] | None) -> None:
        """Make way for the next one; who gave up waiting leaves the next one to wait for the one before."""
        with self._lock:
            is_last = self._last.get(name) is left
            if before is None or before.done():
                if is_last:
                    del self._last[name]
                left.set_result(None)
            elif is_last:
                self._last[name] = before
            else:
                before.add_done_callback(lambda _: left.set_result(None))

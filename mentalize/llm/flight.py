"""One piece of work for many who wait for it at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

Value = TypeVar("Value")


@dataclass(slots=True)
class _Flight(Generic[Value]):
    task: asyncio.Task[Value]
    waiting: int = 0


class SingleFlight(Generic[Value]):
    """Runs at most one coroutine per key and event loop at a time; whoever asks meanwhile gets its result.

    The work is cancelled when nobody waits for it any more. An error reaches everybody who waits, and is not kept.
    """

    def __init__(self) -> None:
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Hashable, _Flight[Value]]] = WeakKeyDictionary()

    async def run(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, Value]]) -> tuple[Value, bool]:
        """The result, and whether this caller began the work."""
        flights = self._loops.setdefault(asyncio.get_running_loop(), {})
        flight = flights.get(key)
        began = flight is None
        if flight is None:
            flight = flights[key] = _Flight(asyncio.ensure_future(work()))
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task), began
        finally:
            flight.waiting -= 1
            if flights.get(key) is flight and (flight.task.done() or not flight.waiting):
                del flights[key]
            if not flight.waiting:
                flight.task.cancel()

"""Limits: how much one key may ask, and what happens when too much is asked of the whole server."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from ..types import Effort
from .callers import Caller
from .faults import Fault

if TYPE_CHECKING:
    from limits import RateLimitItem
    from limits.aio.strategies import FixedWindowRateLimiter

Kind = Literal["requests", "tokens", "concurrent"]


class Limited(Fault):
    """A key has asked too much."""

    def __init__(self, kind: Kind, message: str, wait: float) -> None:
        seconds = max(1, math.ceil(wait))
        super().__init__(
            429, f"{message} Try again in {seconds} s.", "rate_limit_exceeded", headers={"retry-after": str(seconds)}
        )
        self.kind: Kind = kind


class Limiter:
    """Counts requests and tokens of each key by the minute, and requests in work.

    Args:
        place: Where minutes are counted: `memory://`, in this process alone, or `redis://…`, for all of them.
    """

    def __init__(self, place: str) -> None:
        self._place = place
        self._in_work: Counter[str] = Counter()
        self._windows: FixedWindowRateLimiter | None = None

    async def admit(self, caller: Caller) -> None:
        """Count a request. Raises `Limited` if it is one too many, or if the minute's tokens are spent."""
        if (most := caller.limits.tokens_per_minute) is not None:
            spent = _per_minute(most)
            if not await self._counter.test(spent, "tokens", caller.name):
                wait = await self._wait(spent, "tokens", caller)
                raise Limited("tokens", f"This key's {most:,} tokens per minute are spent.", wait)
        if (most := caller.limits.requests_per_minute) is not None:
            asked = _per_minute(most)
            if not await self._counter.hit(asked, "requests", caller.name):
                wait = await self._wait(asked, "requests", caller)
                raise Limited("requests", f"This key may ask {most:,} times per minute.", wait)

    @contextmanager
    def at_work(self, caller: Caller) -> Generator[None]:
        """While inside, a request of this key is in work. Raises `Limited` if it is one too many."""
        most = caller.limits.concurrent_turns
        if self._in_work[caller.name] >= most:
            raise Limited("concurrent", f"{most:,} requests of this key are in work, which is as many as may be.", 1)
        self._in_work[caller.name] += 1
        try:
            yield
        finally:
            self._in_work[caller.name] -= 1
            if not self._in_work[caller.name]:
                del self._in_work[caller.name]

    async def charge(self, caller: Caller, tokens: int) -> None:
        """Count tokens that a request has cost."""
        if caller.limits.tokens_per_minute is not None and tokens > 0:
            await self._counter.hit(_per_minute(caller.limits.tokens_per_minute), "tokens", caller.name, cost=tokens)

    async def _wait(self, item: RateLimitItem, kind: Kind, caller: Caller) -> float:
        window = await self._counter.get_window_stats(item, kind, caller.name)
        return window.reset_time - time.time()

    @property
    def _counter(self) -> FixedWindowRateLimiter:
        if self._windows is None:
            from limits.aio.strategies import FixedWindowRateLimiter
            from limits.storage import storage_from_string

            self._windows = FixedWindowRateLimiter(storage_from_string(f"async+{self._place}"))
        return self._windows


def _per_minute(most: int) -> RateLimitItem:
    from limits import RateLimitItemPerMinute

    return RateLimitItemPerMinute(most)


# --- the whole server -------------------------------------------------------------------------------------


class Capacity:
    """Turns that are in work, and how much thought the next one may get.

    Up to `turns`, as much as was asked for; up to twice as many, `minimal`; up to four times, the model's own answer;
    beyond, none: it is better to refuse a few than to serve nobody.
    """

    def __init__(self, turns: int) -> None:
        self._turns = turns
        self.in_work = 0

    @property
    def at_most(self) -> Effort | None:
        """The effort that the next turn may have; None for any.

        Raises:
            Fault: there is no room for it.
        """
        if self.in_work < self._turns:
            return None
        if self.in_work < 2 * self._turns:
            return Effort.MINIMAL
        if self.in_work < 4 * self._turns:
            return Effort.NONE
        raise Fault(
            429, "This server has too much to do. Try again in 2 s.", "overloaded", headers={"retry-after": "2"}
        )

    @contextmanager
    def turn(self) -> Generator[None]:
        """While inside, a turn is in work."""
        self.in_work += 1
        try:
            yield
        finally:
            self.in_work -= 1

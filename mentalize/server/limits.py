"""Limits: how much one key may ask, and what happens when too much is asked of the whole server."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import structlog

from ..errors import SettingsError
from ..types import Effort
from .callers import Caller
from .faults import Fault

if TYPE_CHECKING:
    from limits import RateLimitItem
    from limits.aio.strategies import FixedWindowRateLimiter

_log: Any = structlog.wrap_logger(logging.getLogger("mentalize.server"))

COUNT_SECONDS = 1.0
"""What Redis may take; longer, and it counts as away."""

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

    A place that cannot be reached refuses nobody: limits keep costs down, and are no lock.

    Args:
        place: Where minutes are counted: `memory://`, in this process alone, or `redis://…`, for all of them.

    Raises:
        SettingsError: nothing can be counted there.
    """

    def __init__(self, place: str) -> None:
        self._counter = _counter_at(place)
        self._in_work: Counter[str] = Counter()

    async def admit(self, caller: Caller) -> None:
        """Count a request. Raises `Limited` if it is one too many, or if the minute's tokens are spent."""
        from limits.errors import StorageError

        try:
            await self._admit(caller)
        except StorageError as error:
            _log.warning("limits_left_out", fault=type(error.storage_error).__name__)

    async def _admit(self, caller: Caller) -> None:
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
        from limits.errors import StorageError

        if caller.limits.tokens_per_minute is None or tokens <= 0:
            return
        try:
            await self._counter.hit(_per_minute(caller.limits.tokens_per_minute), "tokens", caller.name, cost=tokens)
        except StorageError as error:
            _log.warning("limits_left_out", fault=type(error.storage_error).__name__)

    async def _wait(self, item: RateLimitItem, kind: Kind, caller: Caller) -> float:
        window = await self._counter.get_window_stats(item, kind, caller.name)
        return window.reset_time - time.time()


def _counter_at(place: str) -> FixedWindowRateLimiter:
    from limits.aio.strategies import FixedWindowRateLimiter
    from limits.errors import ConfigurationError
    from limits.storage import storage_from_string

    how: dict[str, Any] = {}
    if not place.startswith("memory:"):
        how = {"implementation": "redispy", "socket_timeout": COUNT_SECONDS, "socket_connect_timeout": COUNT_SECONDS}
    try:
        return FixedWindowRateLimiter(storage_from_string(f"async+{place}", wrap_exceptions=True, **how))
    except ConfigurationError as error:
        raise SettingsError(
            f"Nothing can be counted at server.limits_url: {error}.",
            hint="Use memory://, or redis://HOST:PORT with `pip install 'mentalize[redis]'`.",
        ) from error


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

"""A vLLM server that is watched over: started, waited for, restarted when it crashes, and stopped with us."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from ..errors import EngineError
from .child import leashed
from .diagnosis import failure
from .endpoint import Endpoint, describe, is_well
from .launch import Launch
from .log import Log

if TYPE_CHECKING:
    import aiohttp

__all__ = ["Change", "Crashed", "Patience", "Ready", "Starting", "Supervisor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long the supervisor waits for what; seconds, unless said otherwise."""

    look: float = 0.5
    """Between two looks at a server that starts."""
    watch: float = 5.0
    """Between two looks at one that serves."""
    ill: float = 60.0
    """For which a server may fail to answer before it is restarted."""
    silent: float = 1800.0
    """For which a server that starts may say nothing before it is given up."""
    first_wait: float = 1.0
    """Before the first restart; each further wait is twice as long."""
    longest_wait: float = 60.0
    steady: float = 300.0
    """After which earlier crashes are forgotten."""
    crashes: int = 5
    """So many crashes in a row are followed by a restart. A number."""
    grace: float = 15.0
    """From SIGTERM to SIGKILL."""


@dataclass(frozen=True, slots=True)
class Starting:
    """The process was started."""

    crashes: int
    """In a row before it."""


@dataclass(frozen=True, slots=True)
class Ready:
    """It serves."""

    seconds: float
    """Since its process was started."""
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class Crashed:
    """It ended by itself or no longer answered, and will be started again."""

    reason: str
    wait: float
    """Seconds until it is."""


Change: TypeAlias = Starting | Ready | Crashed


@dataclass(frozen=True, slots=True)
class _Life:
    reason: str
    code: int | None
    served: float | None
    """Seconds for which it served; None, if it never did."""


class Supervisor:
    """Keeps one server running.

    Args:
        launch: how it is started.
        log: takes what it says.
        report: called with each change.
        patience: how long is waited for what.
    """

    def __init__(
        self,
        launch: Launch,
        log: Log,
        *,
        report: Callable[[Change], None] = lambda _: None,
        patience: Patience = Patience(),
    ) -> None:
        self.launch = launch
        self.log = log
        self._report = report
        self._patience = patience

    async def run(self) -> NoReturn:
        """Serve until cancelled; then, and in every other case, nothing of the server is left running.

        Raises:
            EngineError: it did not start, or crashed too often in a row.
        """
        import aiohttp

        crashes = 0
        async with aiohttp.ClientSession() as session:
            while True:
                life = await self._live(session, crashes)
                if life.served is None and crashes == 0:
                    raise self._failure(f"vLLM did not start: {life.reason}.", life)
                crashes = 1 if (life.served or 0) >= self._patience.steady else crashes + 1
                if crashes > self._patience.crashes:
                    raise self._failure(f"vLLM was given up after {crashes} crashes in a row: {life.reason}.", life)
                wait = min(self._patience.longest_wait, self._patience.first_wait * 2 ** (crashes - 1))
                self.log.note(f"{life.reason}; starting again in {wait:g} s")
                self._report(Crashed(life.reason, wait))
                await asyncio.sleep(wait)

    async def _live(self, session: aiohttp.ClientSession, crashes: int) -> _Life:
        launch = self.launch
        self._report(Starting(crashes))
        async with leashed(
            launch.command, self.log.hear, environment=launch.environment, grace=self._patience.grace
        ) as ended:
            began = time.monotonic()
            problem = await self._until_well(session, ended)
            if problem:
                return _Life(problem, _code(ended), None)
            try:
                endpoint = await describe(launch.url, launch.key)
            except EngineError as error:
                return _Life(error.message.rstrip("."), _code(ended), None)
            self._report(Ready(time.monotonic() - began, endpoint))
            ready = time.monotonic()
            problem = await self._until_ill(session, ended)
            return _Life(problem, _code(ended), time.monotonic() - ready)

    async def _until_well(self, session: aiohttp.ClientSession, ended: asyncio.Task[int]) -> str:
        """What went wrong before the server was well; empty, if nothing did."""
        heard, heard_at = self.log.heard, time.monotonic()
        while not await _ended_within(ended, self._patience.look):
            if await is_well(session, self.launch.url):
                return ""
            if self.log.heard != heard:
                heard, heard_at = self.log.heard, time.monotonic()
            if time.monotonic() - heard_at > self._patience.silent:
                return f"it said nothing for {self._patience.silent:.0f} s"
        return _how_it_ended(ended)

    async def _until_ill(self, session: aiohttp.ClientSession, ended: asyncio.Task[int]) -> str:
        well_at = time.monotonic()
        while not await _ended_within(ended, self._patience.watch):
            if await is_well(session, self.launch.url):
                well_at = time.monotonic()
            elif time.monotonic() - well_at > self._patience.ill:
                return f"it did not answer for {self._patience.ill:.0f} s"
        return _how_it_ended(ended)

    def _failure(self, message: str, life: _Life) -> EngineError:
        return failure(message, self.log.tail(), life.code, str(self.log.path))


async def _ended_within(ended: asyncio.Task[int], seconds: float) -> bool:
    done, _ = await asyncio.wait({ended}, timeout=seconds)
    return bool(done)


def _code(ended: asyncio.Task[int]) -> int | None:
    return ended.result() if ended.done() else None


def _how_it_ended(ended: asyncio.Task[int]) -> str:
    """Its own death is a crash, whatever the exit code: vLLM exits with 0 when its engine has died."""
    code = ended.result()
    return f"it was ended by signal {code - 128}" if code > 128 else f"it ended with exit code {code}"

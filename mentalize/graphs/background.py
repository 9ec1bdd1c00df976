"""Background: what is done about people's memory between their turns, one question to a model at a time.

It keeps no list that a crash could lose: what is due is read from the rows (`Remembering`, `Chronicle`).
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, TypeVar

import structlog

from ..errors import MentalizeError, StructuredOutputError
from ..llm.budget import Budget
from ..llm.model import Model
from ..llm.traced import Ledger, total_usage
from ..memory.memories import Memories
from ..memory.zones import is_zone
from ..prompts.format import day_of
from ..types import Contract, Identity
from .chronicle import Chronicle, Roll
from .remembering import Remembering
from .team import NoteTakers, Prompts, Roles, conversation_of, note_takers

_log: Any = structlog.wrap_logger(logging.getLogger("mentalize.graphs"))

CONTRACT = Contract(calls=2, depth=2, seconds=300.0)
"""What one question and its repair may cost; no turn's contract is charged with it."""

CLAIM = "social memory"
CLAIM_SECONDS = 2 * CONTRACT.seconds
"""How long a process that died keeps others from a person's work."""

AGAIN = 60.0
"""Seconds until what failed, or what another process is doing, is looked at again; doubled at each failure."""

LATEST_AGAIN = 3_600.0
EVERYBODY_AGAIN = 43_200.0
"""Seconds after which everybody who spoke here is looked at again, for days that ended and memories that fade."""

PROBLEMS = 20
"""Problems that are kept for `settle` to tell, the newest."""

ROUNDS = 3
"""Looks at a person's days at once, where something is forgotten again and again meanwhile."""

_Key = tuple[str, str]
Result = TypeVar("Result")


@dataclass(slots=True)
class _Person:
    """When a person's memory is to be looked at, in monotonic seconds."""

    who: Identity
    at: float
    """For messages to consider, and days that ended."""
    quiet_at: float
    """For the day that goes on."""
    spoke: bool = False
    """Whether they spoke since the start: they come first."""
    failures: int = 0

    @property
    def next_at(self) -> float:
        return min(self.at, self.quiet_at)


class Background:
    """Works through what is due, one person after another.

    Args:
        memories: Everything that is remembered.
        model: What is asked.
        prompts: What it is asked.
        brief: Whether it is a small model in this process, which leaves off whenever a turn needs it.
        zone: IANA zone of people whose own is not known.
        clock: The present moment, aware.
        idle_seconds: Quiet after a turn before its day is summed up.
        inference_days: Days until a guess lapses.
    """

    def __init__(
        self,
        memories: Memories,
        model: Model,
        prompts: Prompts,
        *,
        brief: bool,
        zone: str,
        clock: Callable[[], datetime],
        idle_seconds: float,
        inference_days: float,
    ) -> None:
        self._memories = memories
        self._model = model
        self._prompts = prompts
        self._brief = brief
        self._zone = zone
        self._clock = clock
        self._idle_seconds = idle_seconds
        self._remembering = Remembering(memories=memories, inference_days=inference_days)
        self._chronicle = Chronicle(memories=memories)
        self._people: dict[_Key, _Person] = {}
        self._faded: dict[_Key, date] = {}
        self._zones: dict[_Key, str] = {}
        self._here: set[_Key] = set()
        """Who spoke here. What others said is none of this process's business, nor of the model that it asks."""
        self._problems: deque[str] = deque(maxlen=PROBLEMS)
        self._turns = 0
        self._everybody_at = 0.0
        self._worker: asyncio.Task[None] | None = None
        self._job: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._settled = asyncio.Event()

    # --- from outside -------------------------------------------------------------------------------------

    @contextmanager
    def turn(self) -> Generator[None]:
        """While inside, a turn runs: a model in this process is left to it."""
        self._turns += 1
        if self._brief and self._job is not None and _is_here(self._job):
            self._job.cancel()
        try:
            yield
        finally:
            self._turns -= 1
            self._changed.set()

    @property
    def waiting(self) -> int:
        """How many people are due now."""
        return sum(1 for _ in self._due())

    def said(self, who: Identity) -> None:
        """Something was written down about this person."""
        now = time.monotonic()
        if who.zone:
            self._zones[_key(who)] = who.zone
        self._here.add(_key(who))
        person = Identity(who.tenant, who.user, zone=who.zone)
        self._people[_key(who)] = _Person(person, now, now + self._idle_seconds, spoke=True)
        self._begin()

    async def settle(self, who: Identity | None = None) -> tuple[str, ...]:
        """Do everything that is due for everybody who spoke here, and for `who`, also for the day that goes on; what
        could not be done, in words.
        """
        self._problems.clear()
        if who is not None:
            self._here.add(_key(who))
        self._everybody_at = now = time.monotonic()
        for person in self._people.values():
            person.at = person.quiet_at = now
        self._begin()
        assert self._worker is not None
        self._settled.clear()
        waiting = asyncio.ensure_future(self._settled.wait())
        try:
            await asyncio.wait({waiting, self._worker}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if self._worker.done() and not self._worker.cancelled():
            self._worker.result()
        problems = tuple(self._problems)
        self._problems.clear()
        return problems

    async def close(self) -> None:
        """Leave off. What was not done stays due."""
        tasks = [task for task in (self._worker, self._job) if task is not None and _is_here(task)]
        self._worker = self._job = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- the worker ---------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Start working; anew, where the event loop is another than before."""
        if self._worker is None or self._worker.done() or not _is_here(self._worker):
            self._changed, self._settled, self._job = asyncio.Event(), asyncio.Event(), None
            self._worker = asyncio.create_task(self._work(), name="mentalize-background")
        self._changed.set()

    async def _work(self) -> None:
        while True:
            if time.monotonic() >= self._everybody_at:
                await self._look_at_everybody()
            person = min(self._due(), key=lambda one: (not one.spoke, one.next_at), default=None)
            if person is None:
                self._settled.set()
                await self._rest()
            elif self._brief and self._turns:
                await self._rest()
            else:
                self._job = asyncio.create_task(self._attend(person), name="mentalize-background-job")
                await asyncio.wait({self._job})

    async def _rest(self) -> None:
        """Until something changes, or the next one is due."""
        now = time.monotonic()
        later = [person.next_at for person in self._people.values() if person.next_at > now]
        self._changed.clear()
        try:
            async with asyncio.timeout(max(0.01, min([self._everybody_at, *later]) - now)):
                await self._changed.wait()
        except TimeoutError:
            return

    def _due(self) -> Iterator[_Person]:
        now = time.monotonic()
        return (person for person in self._people.values() if person.next_at <= now)

    async def _look_at_everybody(self) -> None:
        try:
            everybody = await self._memories.people()
        except MentalizeError as error:
            self._tell(error)
            everybody = ()
        now = time.monotonic()
        self._everybody_at = now + EVERYBODY_AGAIN
        self._chronicle.look_anew()
        self._zones |= {_key(who): who.zone for who in everybody if who.zone}
        for who in everybody:
            if _key(who) in self._here:
                self._people.setdefault(_key(who), _Person(who, now, now))

    # --- one person ---------------------------------------------------------------------------------------

    async def _attend(self, person: _Person) -> None:
        """Do what is due about one person. It stays due if a turn interrupts; after a failure, for later."""
        quiet = time.monotonic() >= person.quiet_at
        try:
            if await self._claim(person.who):
                try:
                    await self._do(person, whole=quiet)
                finally:
                    await self._memories.release(person.who, CLAIM)
            elif await self._memories.exists(person.who):
                self._later(person)
                return
            person.at, person.failures = math.inf, 0
            if quiet:
                person.quiet_at = math.inf
        except Exception as error:
            # The boundary of the background: whatever goes wrong with one person must not stop the work for others.
            self._tell(error)
            person.failures += 1
            self._later(person)
        if person.next_at == math.inf and self._people.get(_key(person.who)) is person:
            del self._people[_key(person.who)]

    async def _claim(self, who: Identity) -> bool:
        try:
            return await self._memories.claim(who, CLAIM, seconds=CLAIM_SECONDS)
        except asyncio.CancelledError:
            # The claim may have been made nevertheless, and would keep others from the work until it lapses.
            await self._memories.release(who, CLAIM)
            raise

    async def _do(self, person: _Person, *, whole: bool) -> None:
        who, zone = person.who, self._zone_of(person.who)
        await self._consider(who, zone)
        today = day_of(self._clock(), zone)
        longest = self._agents(self._model, zone).longest
        unfinished = None if whole else today
        for _ in range(ROUNDS):
            if await self._roll_all_up(who, zone, longest=longest, unfinished=unfinished):
                break
        if self._faded.get(_key(who)) != today:
            await self._memories.fade(who)
            self._faded[_key(who)] = today

    async def _consider(self, who: Identity, zone: str) -> None:
        """Consider all messages that are due, some at a time; what comes back as due is left for the next look."""
        seen: set[str] = set()
        while rows := [row for row in await self._remembering.due(who) if row.id not in seen]:
            for row in rows:
                await self._ask(who, zone, lambda agents, row=row: self._remembering(who, row, agents, zone=zone))
            seen.update(row.id for row in rows)

    async def _roll_all_up(self, who: Identity, zone: str, *, longest: int, unfinished: date | None) -> bool:
        """Sum up what is due; whether nothing was forgotten meanwhile, so that the rest would be made in vain."""
        async with aclosing(self._chronicle.due(who, zone=zone, longest=longest, unfinished=unfinished)) as due:
            async for roll in due:
                if not await self._roll_up(who, zone, roll):
                    return False
        return True

    async def _roll_up(self, who: Identity, zone: str, roll: Roll) -> bool:
        try:
            return await self._ask(who, zone, lambda agents: self._chronicle.make(who, roll, agents))
        except StructuredOutputError as error:
            # The model cannot do this one; the others may go better.
            self._tell(error)
            return True

    def _zone_of(self, who: Identity) -> str:
        """The zone that the person gave last, in whichever turn; the one of the settings, if that is none any more."""
        zone = who.zone or self._zones.get(_key(who)) or self._zone
        return zone if is_zone(zone) else self._zone

    async def _ask(self, who: Identity, zone: str, work: Callable[[NoteTakers], Awaitable[Result]]) -> Result:
        """One question, with a ledger and a budget of its own."""
        await self._memories.claim(who, CLAIM, seconds=CLAIM_SECONDS)
        ledger, budget = Ledger(time.perf_counter), Budget(CONTRACT, time.perf_counter)
        roles = Roles(self._model, self._model, self._model)
        bound = roles.for_turn(ledger, budget, conversation=conversation_of(who), background=True)
        result = await work(self._agents(bound.reason, zone))
        for record in ledger.records:
            _log.info("background_call", purpose=record.purpose, seconds=round(record.seconds, 3))
        _log.debug("background_tokens", tokens=total_usage(ledger.records).total_tokens)
        return result

    def _agents(self, model: Model, zone: str) -> NoteTakers:
        return note_takers(model, self._prompts, brief=self._brief, zone=zone)

    def _later(self, person: _Person) -> None:
        wait = min(LATEST_AGAIN, AGAIN * 2 ** max(0, person.failures - 1))
        person.at = time.monotonic() + wait
        person.quiet_at = max(person.quiet_at, person.at)

    def _tell(self, error: Exception) -> None:
        """Errors may hold what people wrote: the log gets their kind alone."""
        _log.warning("background_failed", fault=type(error).__name__)
        self._problems.append(str(error) or type(error).__name__)


def _key(who: Identity) -> _Key:
    return who.tenant, who.user


def _is_here(task: asyncio.Task[None]) -> bool:
    """Whether a task belongs to the event loop that runs now."""
    return task.get_loop() is asyncio.get_running_loop()

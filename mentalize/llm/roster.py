"""Roster: the endpoints that serve one model, how each fares, and which is to get the next request.

**Affinity before balance.** A prompt whose beginning is in an endpoint's prefix cache costs that endpoint only its end,
and any other all of it: some thousand tokens of prefill, which its whole batch waits for. One request more or less
beside others in a batch costs nearly nothing. So a conversation stays where it is (rendezvous hashing, which needs no
table, and on which all processes agree) while that endpoint has no more than `MARGIN` requests above the least loaded
one. Beyond that, its turn has begun to wait, and balance matters more.

**Load** is what is in work there of our own, and of others' as the server last told; a request that waits at the server
counts `WAITING` times, because that server is full.

**Rest.** An endpoint that failed gets nothing while another is well, for a time that doubles with each failure in
succession; then it is looked at (`due`), and gets work again if it answers. If all rest, the one that is due first is
asked nevertheless: no request is lost for a guess.
"""

from __future__ import annotations

import hashlib
import math
import random
import threading
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from .engine_counts import EngineCounts

__all__ = ["Place", "Roster"]

MARGIN = 8
"""Requests more than the least loaded endpoint has, up to which a conversation stays where it is."""

WAITING = 4
"""What a request that waits at the server counts, beside 1 for one that is worked on."""

FRESH_SECONDS = 10.0
"""How long what a server told of its load counts."""

FIRST_REST = 1.0
LONGEST_REST = 60.0


@dataclass(slots=True, eq=False)
class Place:
    """One endpoint, and how it fares. Only `Roster` changes it."""

    address: str
    in_work: int = 0
    """Our requests that are there or on their way."""
    rests_until: float | None = None
    """When it may be looked at again, in the roster's seconds; None while it is well."""
    counts: EngineCounts | None = None
    """What it last told."""
    told_at: float = -math.inf
    failures: int = 0
    """In succession."""
    failed_at: float = -math.inf
    answered_at: float = -math.inf
    others: int = 0
    """Other clients' requests that were there when it told."""

    @property
    def rests(self) -> bool:
        """Whether it gets nothing while another is well."""
        return self.rests_until is not None

    def load(self, now: float) -> int:
        """What it has to do, in requests."""
        if self.counts is None or now - self.told_at > FRESH_SECONDS:
            return self.in_work
        return self.in_work + self.others + (WAITING - 1) * self.counts.waiting


@dataclass(slots=True)
class Roster:
    """The endpoints of one model. Safe to use from several threads.

    Args:
        places: The endpoints.
        clock: Monotonic seconds.
        chance: A random number from 0 to 1, so that processes do not come back at the same moment.
        rest_seconds: How long an endpoint rests after its first failure, at most; half of it at least.
    """

    places: Sequence[Place]
    clock: Callable[[], float]
    chance: Callable[[], float] = random.random
    rest_seconds: float = FIRST_REST
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def choose(self, conversation: bytes, *, without: Collection[Place] = ()) -> Place | None:
        """Who gets a request of this conversation; None where all were tried.

        Args:
            conversation: What requests with the same beginning have in common.
            without: Those that were tried already.
        """
        left = [place for place in self.places if place not in without]
        if not left:
            return None
        now = self.clock()
        with self._lock:
            well = [place for place in left if not place.rests]
            if not well:
                return min(left, key=lambda place: place.rests_until or 0.0)
            bound = min(place.load(now) for place in well) + MARGIN
            near = [place for place in well if place.load(now) <= bound]
        return near[0] if len(near) == 1 else max(near, key=lambda place: _weight(conversation, place.address))

    @contextmanager
    def at_work(self, place: Place) -> Generator[None]:
        """While inside, one more request is there."""
        with self._lock:
            place.in_work += 1
        try:
            yield
        finally:
            with self._lock:
                place.in_work -= 1

    def failed(self, place: Place, *, retry_after: float | None = None) -> None:
        """It could not be reached, or failed: it rests. Those who fail beside the first tell nothing new."""
        with self._lock:
            if not place.rests:
                self._rest(place, retry_after)

    def was_silent(self, place: Place, since: float) -> None:
        """A request that began at `since` ran out of time: its own fault where others were answered meanwhile."""
        with self._lock:
            if not place.rests and place.answered_at < since:
                self._rest(place, None)

    def answered(self, place: Place, since: float) -> None:
        """It answered a request that began at `since`. One that began before it failed says nothing of now."""
        with self._lock:
            place.answered_at = self.clock()
            if since > place.failed_at:
                self._wake(place)

    def due(self) -> list[Place]:
        """Those that have rested long enough to be looked at."""
        now = self.clock()
        with self._lock:
            return [place for place in self.places if place.rests_until is not None and place.rests_until <= now]

    def looked_at(self, place: Place, *, well: bool) -> None:
        """What a look at one that was due has found."""
        with self._lock:
            if well:
                place.rests_until = None
            elif place.rests:
                self._rest(place, None)

    def told(self, place: Place, counts: EngineCounts | None, in_work: int) -> None:
        """What it tells of its load, when `in_work` of our requests were there."""
        with self._lock:
            place.counts, place.told_at = counts, self.clock()
            place.others = max(0, counts.running + counts.waiting - in_work) if counts else 0

    def _rest(self, place: Place, retry_after: float | None) -> None:
        now = self.clock()
        longest = min(LONGEST_REST, self.rest_seconds * 2 ** min(place.failures, 10))
        wait = longest * (0.5 + self.chance() / 2)
        place.rests_until = now + max(wait, min(retry_after or 0.0, LONGEST_REST))
        place.failed_at = now
        place.failures += 1

    def _wake(self, place: Place) -> None:
        place.rests_until = None
        place.failures = 0


def _weight(conversation: bytes, address: str) -> bytes:
    """Rendezvous hashing: each address has a weight for each conversation, and the highest gets it."""
    return hashlib.blake2b(conversation + b"\0" + address.encode(), digest_size=8).digest()

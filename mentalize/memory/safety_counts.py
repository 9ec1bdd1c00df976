"""SafetyCounts: how often help was pointed to and an AI said to be one, by day; for the reports that laws ask for.

They say nothing of a person: a row is a tenant, a day, an event and a number, and forgetting somebody leaves them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .store import MemoryStore
    from .threads import Threads

REFERRAL = "referral"
"""A reply that pointed to help on signs of danger; the event is `referral:` and the kind of danger."""
DISCLOSURE = "disclosure"
REMINDER = "reminder"
"""A minor was reminded of a break."""


@dataclass(frozen=True, slots=True)
class SafetyCount:
    """How often something happened on a day."""

    day: date
    """In UTC."""
    event: str
    count: int


class SafetyCounts:
    """The counts of one database, for async callers. `memories.safety_counts` is one.

    Raises, from every method:
        StoreError: the database cannot be read or written.
    """

    def __init__(self, store: MemoryStore, readers: Threads, writers: Threads) -> None:
        self._store = store
        self._readers = readers
        self._writers = writers

    async def add(self, tenant: str, event: str) -> None:
        """Count that something happened today."""
        await self._writers.run(lambda: self._store.safety_counts.add(tenant, event))

    async def between(self, tenant: str, since: date, until: date) -> tuple[SafetyCount, ...]:
        """What was counted from the day `since` to the day before `until`, by day and event."""
        return await self._readers.run(lambda: self._store.safety_counts.between(tenant, since, until))

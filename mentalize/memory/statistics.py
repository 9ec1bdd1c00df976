"""Statistics: how much is kept about a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from ..types import Identity
from .store import Filter, MemoryStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What is kept about a person."""

    by_kind: Mapping[str, int]
    by_status: Mapping[str, int]
    archived: int
    pinned: int
    oldest: datetime | None
    """When the first of them was observed; None if there are none."""
    newest: datetime | None
    unindexed: int
    """Memories whose vector is still due."""
    embedder: str

    @property
    def total(self) -> int:
        """All memories."""
        return sum(self.by_kind.values())


def statistics(store: MemoryStore, who: Identity, embedder: str) -> Statistics:
    """Count what is kept about a person; `embedder` is the name of the one in use."""
    memories = store.find(who, Filter(), newest_first=False)
    due = store.outbox(embedder, limit=len(memories) + 1, who=who)
    return Statistics(
        by_kind=dict(Counter(str(memory.kind) for memory in memories)),
        by_status=dict(Counter(str(memory.status) for memory in memories)),
        archived=sum(memory.archived for memory in memories),
        pinned=sum(memory.pinned for memory in memories),
        oldest=memories[0].observed_at if memories else None,
        newest=memories[-1].observed_at if memories else None,
        unindexed=sum(not entry.deleted for entry in due),
        embedder=embedder,
    )

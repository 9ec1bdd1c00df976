"""Repetition: what a person states again strengthens what is known, instead of being kept twice."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from datetime import datetime

from ..types import Identity, Memory, MemoryKind, MemoryStatus
from .store import Filter, MemoryStore
from .terms import terms_of

STATED = (MemoryKind.FACT, MemoryKind.PREFERENCE)
"""Kinds that a person states."""

_CANDIDATES = 20


def add(
    store: MemoryStore, who: Identity, memories: Sequence[Memory], at: datetime, *, since: int | None = None
) -> tuple[Memory, ...]:
    """Write memories, all or none; a stated one that repeats a current one strengthens that. See `Memories.add`."""
    before = [_known(store, who, memory, at) if memory.kind in STATED else None for memory in memories]
    new = [memory for memory, known in zip(memories, before, strict=True) if known is None]
    kept = iter(store.add(who, new, since=since) if new else ())
    return tuple(
        next(kept) if known is None else _repeated(store, who, known, memory)
        for memory, known in zip(memories, before, strict=True)
    )


def _known(store: MemoryStore, who: Identity, memory: Memory, at: datetime) -> Memory | None:
    """The current memory that already says the same, if there is one."""
    which = Filter(kinds=STATED, current=True, at=at)
    ids = [found for found, _ in store.matching(who, terms_of(memory.text), limit=_CANDIDATES, which=which)]
    if memory.id in ids:
        return None
    said = _folded(memory.text)
    candidates = (other for other in store.get(who, ids) if other.audience == memory.audience)
    return next((other for other in candidates if _folded(other.text) == said), None)


def _repeated(store: MemoryStore, who: Identity, known: Memory, again: Memory) -> Memory:
    """The known memory, stronger; and confirmed, if the person has now stated what was a guess."""
    turn = again.sources[0] if again.sources else again.id
    store.strengthen(who, [known.id], turn=turn, at=max(known.observed_at, again.observed_at))
    if known.status is MemoryStatus.UNCONFIRMED and again.status is MemoryStatus.CONFIRMED:
        return store.change(who, known.id, status=MemoryStatus.CONFIRMED, quote=again.quote, expires_at=None)
    return store.get(who, [known.id])[0]


def _folded(text: str) -> str:
    """The text by which repetitions are known: its letters and digits alone, in one case."""
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())

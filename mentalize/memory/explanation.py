"""Explanation: why something is believed, and why it was recalled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..types import Identity, Memory, MemoryKind
from .retention import Curve
from .store import Filter, MemoryStore

_MADE = tuple(kind for kind in MemoryKind if kind is not MemoryKind.TURN)
"""Kinds that can take one another's place; what was said stays said."""

_TRACES = 200
"""Traces that are looked through at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """One turn for which a memory was recalled, and its score then."""

    turn: str
    at: datetime
    text: str
    """What the person said in that turn."""
    score: float
    why: Mapping[str, float]
    """Each part of the score by name."""
    reason: str
    """The same in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why something is believed, and why it was recalled."""

    memory: Memory
    sources: tuple[Memory, ...] = ()
    """What it was made from; for a fact, the turn in which the person said it."""
    supersedes: tuple[Memory, ...] = ()
    """What it took the place of."""
    superseded_by: Memory | None = None
    retention: float = 1.0
    """R now, in [0, 1]."""
    recalled: tuple[Recalled, ...] = ()
    """The turns, newest first, whose traces are still kept and that recalled it."""


def explain(store: MemoryStore, who: Identity, memory: Memory, curve: Curve, at: datetime) -> Explanation:
    """Put together what the database says about one memory."""
    newer = store.get(who, [memory.superseded_by]) if memory.superseded_by else ()
    return Explanation(
        memory=memory,
        sources=store.get(who, memory.sources),
        supersedes=_superseded(store, who, memory),
        superseded_by=newer[0] if newer else None,
        retention=curve.retention(memory, at),
        recalled=tuple(_recalls(store, who, memory.id)),
    )


def _superseded(store: MemoryStore, who: Identity, memory: Memory) -> tuple[Memory, ...]:
    if memory.kind is MemoryKind.TURN:
        return ()
    others = store.find(who, Filter(kinds=_MADE), newest_first=False)
    return tuple(other for other in others if other.superseded_by == memory.id)


def _recalls(store: MemoryStore, who: Identity, memory_id: str) -> Iterator[Recalled]:
    for turn in store.traced(who)[:_TRACES]:
        trace = store.trace(who, turn)
        for hit in _hits(trace):
            if trace is not None and hit.get("memory", {}).get("id") == memory_id:
                yield Recalled(
                    turn=turn,
                    at=datetime.fromisoformat(trace["at"]),
                    text=trace.get("text", ""),
                    score=hit.get("score", 0.0),
                    why=hit.get("why", {}),
                    reason=hit.get("reason", ""),
                )


def _hits(trace: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    recollection: Mapping[str, Any] | None = trace.get("recollection") if trace else None
    return recollection.get("hits", []) if recollection else []

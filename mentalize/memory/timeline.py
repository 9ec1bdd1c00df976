"""Timeline: how well a memory was and will be retained, as points of its curve."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ..types import Identity, Memory
from .retention import STRONGEST, Curve
from .store import Filter, MemoryStore

STEPS = 48
"""Points between two recalls; a curve of so many looks smooth."""


@dataclass(frozen=True, slots=True)
class Moment:
    """How well a memory is retained at one moment."""

    at: datetime
    retention: float
    """R in [0, 1]."""
    strength: int
    """S from then on."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """A memory's retention from when it was observed to a horizon. A recall is a step up to 1."""

    memory: Memory
    recalls: tuple[datetime, ...]
    """When replies used it, as far as that is known."""
    moments: tuple[Moment, ...]
    """In the order of time; at a recall there are two, before and after it."""


def timeline(memory: Memory, recalls: Sequence[datetime], curve: Curve, *, until: datetime) -> Timeline:
    """The curve of one memory.

    Args:
        memory: The memory as it is now.
        recalls: When replies used it, in any order.
        curve: How memories fade.
        until: The last moment, which may lie in the future.
    """
    known = _recalls(memory, recalls)
    return Timeline(memory, known, tuple(_moments(memory, known, curve, until)))


def timelines(
    store: MemoryStore, who: Identity, which: Filter, curve: Curve, *, at: datetime, days: float, limit: int
) -> tuple[Timeline, ...]:
    """The curves of a person's strongest memories, the strongest first, until `days` after `at`."""
    memories = store.find(who, which)
    chosen = sorted(memories, key=lambda memory: (-curve.retention(memory, at), memory.observed_at))[:limit]
    recalls = store.uses(who, [memory.id for memory in chosen])
    until = at + timedelta(days=days)
    return tuple(timeline(memory, recalls.get(memory.id, ()), curve, until=until) for memory in chosen)


def _recalls(memory: Memory, recalls: Sequence[datetime]) -> tuple[datetime, ...]:
    """A memory that came from elsewhere brings its last recall, and the others only as a number."""
    last = (memory.last_recalled_at,) if memory.last_recalled_at is not None else ()
    return tuple(sorted({at for at in (*recalls, *last) if at >= memory.observed_at}))


def _moments(memory: Memory, recalls: Sequence[datetime], curve: Curve, until: datetime) -> Iterator[Moment]:
    unknown = max(0, memory.strength - 1 - len(recalls))
    state = replace(memory, last_recalled_at=None, strength=1)
    begins = [memory.observed_at, *(at for at in recalls if at < until)]
    ends = [*begins[1:], max(until, memory.observed_at)]
    for number, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        if number:
            # Recalls without a time are counted at the first one that has a time.
            gained = 1 + (unknown if number == 1 else 0)
            state = replace(state, last_recalled_at=begin, strength=min(STRONGEST, state.strength + gained))
        elif not recalls:
            state = replace(state, strength=min(STRONGEST, 1 + unknown))
        for step in range(STEPS + 1):
            at = begin + timedelta(seconds=(end - begin).total_seconds() * step / STEPS)
            yield Moment(at, curve.retention(state, at), state.strength)

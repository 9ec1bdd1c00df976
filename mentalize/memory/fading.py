"""Fading: which of a person's memories are archived. Nothing is deleted, and nothing is left to chance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from ..types import Identity, Memory, MemoryStatus
from .importance import worths
from .retention import Curve
from .store import Filter, MemoryStore


def fade(store: MemoryStore, who: Identity, curve: Curve, *, at: datetime, most: int) -> int:
    """Archive what is due; how many.

    Args:
        store: The rows.
        who: The person.
        curve: How memories fade.
        at: The present moment.
        most: Memories that may stay awake; past it, those of the lowest worth are archived.
    """
    awake = store.find(who, Filter(archived=False))
    due = [memory.id for memory in _due(awake, curve, at, most)]
    if due:
        store.archive(who, due)
    return len(due)


def _due(awake: Sequence[Memory], curve: Curve, at: datetime, most: int) -> Iterator[Memory]:
    left: list[Memory] = []
    for memory in awake:
        if curve.archives(memory, at) or _lapsed(memory, at):
            yield memory
        else:
            left.append(memory)
    if (excess := len(left) - most) > 0:
        worth = worths(left, at, curve)
        loose = (memory for memory in left if not memory.pinned)
        yield from sorted(loose, key=lambda memory: worth[memory.id])[:excess]


def _lapsed(memory: Memory, at: datetime) -> bool:
    """Whether it is a guess whose time is over."""
    guess = memory.status is MemoryStatus.UNCONFIRMED and not memory.pinned
    return guess and memory.expires_at is not None and memory.expires_at <= at

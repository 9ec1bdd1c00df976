"""Retraction: what was said and is taken back, by an edited message or a reply made anew, and what goes with it.

It stays as history, and is forgotten with the rest; it is not recalled, and nothing is drawn from it any more.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from ..types import Memory, MemoryKind, MemoryStatus
from .repetition import STATED, remainder

RETRACTED = "retracted"
"""The detail of a memory that went with what it was made from. Of turns, `valid_until` says it."""

OUTDATED = "outdated"
"""The detail of a summary or portrait, a part of whose sources was taken back: it is to be made anew."""


def is_retracted(memory: Memory) -> bool:
    """Whether it was taken back. What a newer statement took the place of was not."""
    ended = memory.kind is MemoryKind.TURN and memory.valid_until is not None
    return ended or bool(memory.details.get(RETRACTED))


def falls(memory: Memory, gone: AbstractSet[str]) -> bool:
    """Whether a memory that was made from others has nothing left to rest on when these are taken back.

    A guess that was borne out needs all its sources, anything else one. What the person pinned, refuted, stated apart
    or confirmed themselves stays, and so does a sign of danger.
    """
    if memory.kind in (MemoryKind.TURN, MemoryKind.SAFETY_NOTE) or memory.pinned or not memory.sources:
        return False
    if memory.status is MemoryStatus.REFUTED:
        return False
    if memory.kind is MemoryKind.INFERENCE and memory.status is MemoryStatus.CONFIRMED:
        return len(memory.sources) > 1 and not gone.isdisjoint(memory.sources)
    if memory.kind in STATED and remainder(memory, gone) is not None:
        return False
    return gone >= {*memory.sources}

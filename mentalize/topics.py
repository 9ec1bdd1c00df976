"""Topics: what would be good to bring up with a person, decided in code from what is remembered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from .memory.ranking import is_current, is_visible
from .types import Identity, Memory, MemoryKind, MemoryStatus

KINDS = (MemoryKind.FACT, MemoryKind.PREFERENCE)
REST = timedelta(hours=12)
"""How long nothing is brought up again after it was said or spoken of."""
RIPE = timedelta(days=3)
"""When the best moment is to ask after something."""
LONG = timedelta(days=60)
"""When it is so long ago that asking after it comes out of nowhere."""
OUT_OF_NOWHERE = 0.1
"""The worth of that beside the best moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """Something worth bringing up, and why."""

    memory: Memory
    reason: str
    """In words: what makes this the moment for it."""
    score: float
    """The higher, the better the moment; comparable within one person and moment."""


def topics_of(memories: Sequence[Memory], *, at: datetime, who: Identity) -> tuple[Topic, ...]:
    """The topics that these memories give, the best first. What somebody present has not heard gives none.

    Args:
        memories: What is remembered and holds.
        at: The present moment.
        who: The person, and who else is present.
    """
    found = [topic for memory in memories if (topic := _topic(memory, at=at, who=who))]
    return tuple(sorted(found, key=lambda topic: topic.score, reverse=True))


def _topic(memory: Memory, *, at: datetime, who: Identity) -> Topic | None:
    stated = memory.status is MemoryStatus.CONFIRMED and memory.speaker in ("", who.user)
    if memory.kind not in KINDS or not stated or not is_current(memory, at) or not is_visible(memory, who):
        return None
    since = at - max(filter(None, (memory.observed_at, memory.last_recalled_at)))
    if since < REST:
        return None
    said = (at - memory.observed_at).days
    reason = "said today" if said < 1 else f"said {said} day{'s' if said > 1 else ''} ago, and not spoken of since"
    if memory.last_recalled_at and memory.last_recalled_at > memory.observed_at:
        reason = f"said {said} days ago, and last spoken of {since.days} days ago"
    return Topic(memory=memory, reason=reason, score=memory.importance * _moment(since))


def _moment(since: timedelta) -> float:
    """How good the moment is, in [0, 1]: best after `RIPE`, and falling until `LONG`."""
    if since <= RIPE:
        return since / RIPE
    return max(OUT_OF_NOWHERE, 1.0 - (since - RIPE) / (LONG - RIPE))

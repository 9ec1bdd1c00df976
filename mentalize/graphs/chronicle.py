"""Chronicle: the memory pyramid (MemoryBank, arXiv 2305.10250, §2.1): what each day was about and how the person was on
it, and from the days what has happened over all and what the person is like.

Nothing is queued. A day is due when its rows differ from those that its summary was made from, and the whole is due
when the days do; so a crash, a deletion or a late message needs no bookkeeping.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from hashlib import blake2b
from typing import Any

import structlog

from ..agents.wording import share_held
from ..errors import Forgotten
from ..memory.importance import importance_of
from ..memory.memories import Memories
from ..memory.store import Filter
from ..prompts.format import bullets, day_of, one_line, shortened, transcript
from ..prompts.prompt import fence
from ..types import Identity, Memory, MemoryKind, MemoryStatus
from .team import NoteTakers
from .turn_memory import ASSISTANT, as_message

_log: Any = structlog.wrap_logger(logging.getLogger("mentalize.graphs"))

HASH = "content_hash"
"""The detail that says from which texts a summary or portrait was made."""

_ROWS = 20_000
"""Newest rows of a person that are looked through for days that are due."""

_LINE = 24
"""Characters that a line of a transcript or list takes besides its text, about."""

_FEW_LINES = 480
"""Characters of what stands in for a summary or portrait."""

_OURS = 0.5
"""Weight of the assistant's words when a long day is cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roll:
    """A summary or portrait that is due."""

    id: str
    kind: MemoryKind
    material: str
    when: str
    sources: tuple[Memory, ...]
    """What it is made from, in order."""
    content_hash: str
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chronicle:
    """Keeps summaries and portraits of people up to date."""

    memories: Memories

    async def due(self, who: Identity, *, zone: str, longest: int, unfinished: date | None) -> AsyncIterator[Roll]:
        """What is due, one after another: days first, oldest first, then the whole, which rests on them.

        Args:
            who: The person.
            zone: Their IANA zone, which decides what a day is.
            longest: Characters of material that one question may show; a longer day is cut.
            unfinished: A day that may go on, which is left for later; None for none.
        """
        rows = await self.memories.find(who, Filter(kinds=(MemoryKind.TURN,)), limit=_ROWS, newest_first=True)
        days = _by_day(reversed(rows), zone)
        for kind in (MemoryKind.DAY_SUMMARY, MemoryKind.DAY_PORTRAIT):
            made = await self._hashes(who, kind)
            for day, said in days.items():
                if day != unfinished and made.get(f"{kind}/{day}") != content_hash(said):
                    yield _of_day(kind, day, said, longest)
        for kind, part in (
            (MemoryKind.SUMMARY, MemoryKind.DAY_SUMMARY),
            (MemoryKind.PORTRAIT, MemoryKind.DAY_PORTRAIT),
        ):
            parts = await self.memories.find(who, Filter(kinds=(part,)), newest_first=False)
            if parts and (await self._hashes(who, kind)).get(str(kind)) != content_hash(parts):
                yield _of_all(kind, parts, longest)

    async def make(self, who: Identity, roll: Roll, agents: NoteTakers) -> None:
        """Make one of them, and keep it. If a source was forgotten meanwhile, it is dropped, and due again.

        Raises:
            ModelError: the model cannot be asked, or gave no valid answer.
            StoreError: memory cannot be written.
        """
        details = dict(roll.details) | {HASH: roll.content_hash}
        if roll.kind in (MemoryKind.DAY_PORTRAIT, MemoryKind.PORTRAIT):
            portrait = await agents.portraitist(roll.material, roll.when)
            text = f"{portrait.text}\nHow to reply to them: {portrait.strategy}" if portrait.strategy else portrait.text
            details["strategy"] = portrait.strategy
            status = MemoryStatus.UNCONFIRMED
        else:
            text, status = await agents.summarizer(roll.material, roll.when), MemoryStatus.CONFIRMED
        if not text.strip() or share_held(text, roll.material) < agents.grounded:
            # What a small model made up about a person is worse than nothing: their own words stand in for it.
            text, status = in_their_words(roll.sources), MemoryStatus.CONFIRMED
            details = {key: value for key, value in details.items() if key != "strategy"} | {"in_their_words": True}
        made = Memory(
            id=roll.id,
            kind=roll.kind,
            text=text,
            status=status,
            observed_at=roll.sources[-1].observed_at,
            importance=importance_of(roll.kind, text),
            audience=_heard_by_all(roll.sources),
            sources=tuple(source.id for source in roll.sources),
            details=details,
        )
        try:
            await self.memories.put(who, [made])
        except Forgotten as gone:
            _log.info("late_result_dropped", fault=type(gone).__name__)

    async def _hashes(self, who: Identity, kind: MemoryKind) -> dict[str, str]:
        made = await self.memories.find(who, Filter(kinds=(kind,)))
        return {memory.id: str(memory.details.get(HASH, "")) for memory in made}


def content_hash(parts: Sequence[Memory]) -> str:
    """What identifies the texts that something is made from: 32 hexadecimal digits."""
    digest = blake2b(digest_size=16)
    for part in parts:
        for field in (part.id, part.text):
            content = field.encode("utf-8", "surrogatepass")
            digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()


def shortlist(rows: Sequence[Memory], longest: int) -> tuple[Memory, ...]:
    """The rows of a day that fit into `longest` characters, in order: the most important first, the newest of equals.

    One row takes a third of the room at most, and is cut inside.
    """
    left, kept = longest, set[str]()
    newest_first = sorted(enumerate(rows), key=lambda item: (-_weight(item[1]), -item[0]))
    for _, row in newest_first:
        cost = min(len(row.text), longest // 3) + _LINE
        if cost <= left:
            kept.add(row.id)
            left -= cost
    return tuple(row for row in rows if row.id in kept)


def in_their_words(sources: Sequence[Memory]) -> str:
    """What of the sources fits into a few lines, in their own words: the person's rows, or the notes on days."""
    own = [source for source in sources if source.details.get("role") != ASSISTANT]
    kept = shortlist([replace(source, text=one_line(source.text)) for source in own], _FEW_LINES)
    return " ".join(shortened(source.text, _FEW_LINES // 3) for source in kept)


def _weight(row: Memory) -> float:
    return row.importance * (_OURS if row.details.get("role") == ASSISTANT else 1.0)


def _by_day(rows: Iterable[Memory], zone: str) -> dict[date, list[Memory]]:
    """Rows by the person's own day, days and rows in order."""
    days: dict[date, list[Memory]] = {}
    for row in rows:
        days.setdefault(day_of(row.observed_at, zone), []).append(row)
    return dict(sorted(days.items()))


def _of_day(kind: MemoryKind, day: date, rows: Sequence[Memory], longest: int) -> Roll:
    kept = shortlist(rows, longest)
    shown = [replace(row, text=shortened(row.text, longest // 3)) for row in kept]
    return Roll(
        id=f"{kind}/{day}",
        kind=kind,
        material=transcript([as_message(row) for row in shown], longest=2 * longest),
        when=f"on {day}",
        sources=kept,
        content_hash=content_hash(rows),
        details={"day": day.isoformat(), "rows": len(kept), "left_out": len(rows) - len(kept)},
    )


def _of_all(kind: MemoryKind, days: Sequence[Memory], longest: int) -> Roll:
    """From the newest days, as many as fit."""
    kept: list[Memory] = []
    left = longest
    for day in reversed(days):
        left -= len(day.text) + _LINE
        if kept and left < 0:
            break
        kept.insert(0, day)
    lines = (f"{day.details.get('day')}: {one_line(day.text)}" for day in kept)
    first, last = kept[0].details.get("day"), kept[-1].details.get("day")
    return Roll(
        id=str(kind),
        kind=kind,
        material=fence("memory", bullets(lines)),
        when=f"from {first} to {last}, by these notes on single days",
        sources=tuple(kept),
        content_hash=content_hash(days),
        details={"days": len(kept), "left_out": len(days) - len(kept)},
    )


def _heard_by_all(sources: Sequence[Memory]) -> tuple[str, ...]:
    """Who was present at all of it: only before them may it be recalled."""
    audiences = [set(source.audience) for source in sources]
    return tuple(sorted(audiences[0].intersection(*audiences[1:]))) if audiences else ()

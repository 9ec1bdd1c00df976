"""Chronicle: the memory pyramid (MemoryBank, arXiv 2305.10250, §2.1): what each day was about and how the person was on
it, and from the days what has happened over all and what the person is like.

Nothing is queued. A day is due when its rows differ from those that its summary was made from, and the whole is due
when the days do; so a crash, a deletion or a late message needs no bookkeeping. What is kept between two looks at a
person only says from which day on there may be something to do; without it, all days are looked at.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from hashlib import blake2b
from typing import Any
from zoneinfo import ZoneInfo

import structlog

from ..agents.wording import share_held
from ..errors import Forgotten, MemoryNotFound
from ..memory.importance import importance_of, statements
from ..memory.memories import Memories
from ..memory.retraction import OUTDATED, is_retracted
from ..memory.store import Filter
from ..prompts.format import bullets, by_another, day_of, one_line, shortened, transcript
from ..prompts.prompt import fence
from ..safety.orders import without_orders
from ..types import Identity, Memory, MemoryKind, MemoryStatus
from .continuity import ASSISTANT
from .team import NoteTakers
from .turn_memory import as_message

_log: Any = structlog.wrap_logger(logging.getLogger("mentalize.graphs"))

HASH = "content_hash"
"""The detail that says from which texts a summary or portrait was made."""

_LINE = 24
"""Characters that a line of a transcript or list takes besides its text, about."""

_FEW_LINES = 480
"""Characters of what stands in for a summary or portrait."""

_ONLY_ORDERS = "They told the assistant to give up its instructions."
"""What stands in for a day on which a person said nothing else."""

_OF_OTHERS = 0.5
"""Weight of what the assistant or somebody else said when a long day is cut."""

_OF_DAYS = (MemoryKind.DAY_SUMMARY, MemoryKind.DAY_PORTRAIT)
_OF_ALL = ((MemoryKind.SUMMARY, MemoryKind.DAY_SUMMARY), (MemoryKind.PORTRAIT, MemoryKind.DAY_PORTRAIT))
"""What is made over all days, and of which parts."""


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
    version: int
    """The person's version before any of it was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What the last look at a person's days left behind."""

    zone: str
    open_from: date
    """The earliest day that was not summed up, or else the newest: nothing was due before it."""
    before: str
    """What identifies the summaries and portraits of the days before it, so that one that went is noticed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Day:
    rows: tuple[Memory, ...]
    content_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chronicle:
    """Keeps summaries and portraits of people up to date."""

    memories: Memories
    rows: int = 20_000
    """Newest rows of a person that are looked through for days that are due."""
    _looks: dict[tuple[str, str], _Look] = field(default_factory=dict[tuple[str, str], _Look], init=False)

    def look_anew(self) -> None:
        """Look at all days of everybody at the next time, also for messages that were brought in late."""
        self._looks.clear()

    async def due(self, who: Identity, *, zone: str, longest: int, unfinished: date | None) -> AsyncGenerator[Roll]:
        """What is due, one after another: days first, oldest first, then the whole, which rests on them.

        Args:
            who: The person.
            zone: Their IANA zone, which decides what a day is.
            longest: Characters of material that one question may show; a longer day is cut.
            unfinished: A day that may go on, which is left for later; None for none.
        """
        version, notes = await self._notes(who)
        made = _hashes(notes)
        since = self._since(who, zone, made)
        which = Filter(kinds=(MemoryKind.TURN,), since=since and datetime.combine(since, time.min, ZoneInfo(zone)))
        rows = await self.memories.find(who, which, limit=self.rows, newest_first=True)
        days = await asyncio.to_thread(_by_day, rows, zone, self.rows)
        due = [
            (kind, day, said)
            for kind in _OF_DAYS
            for day, said in days.items()
            if day != unfinished and made.get((day, kind)) != said.content_hash
        ]
        for kind, day, said in due:
            yield _of_day(kind, day, said, longest, version)
        if due:
            version, notes = await self._notes(who)
        for kind, part in _OF_ALL:
            parts = [note for note in notes if note.kind is part]
            if (roll := await self._whole(who, kind, parts, longest, version)) is not None:
                yield roll
        if days:
            self._looks[(who.tenant, who.user)] = _look(zone, days, _hashes(notes))

    async def _notes(self, who: Identity) -> tuple[int, tuple[Memory, ...]]:
        """The person's version, and the summaries and portraits of their days, oldest first."""
        version = await self.memories.version(who)
        notes = await self.memories.find(who, Filter(kinds=_OF_DAYS), newest_first=False)
        return version, tuple(note for note in notes if not is_retracted(note))

    async def _whole(
        self, who: Identity, kind: MemoryKind, days: Sequence[Memory], longest: int, version: int
    ) -> Roll | None:
        """The summary or portrait over all days, if it is due. One of ours whose days are all gone goes, too."""
        made = await self.memories.get(who, [str(kind)])
        if days:
            is_due = not made or is_retracted(made[0]) or made[0].details.get(HASH) != content_hash(days)
            return _of_all(kind, days, longest, version) if is_due else None
        if made and HASH in made[0].details:
            try:
                await self.memories.forget(who, [str(kind)])
            except MemoryNotFound as gone:
                _log.info("gone_meanwhile", fault=type(gone).__name__)
        return None

    def _since(self, who: Identity, zone: str, made: Mapping[tuple[date, str], str]) -> date | None:
        """From which day on something may be due; None for the first."""
        last = self._looks.get((who.tenant, who.user))
        if last is None or last.zone != zone or last.before != _identified(made, last.open_from):
            return None
        return last.open_from

    async def make(self, who: Identity, roll: Roll, agents: NoteTakers) -> bool:
        """Make one of them, and keep it; whether it was kept.

        If anything of the person was forgotten since its sources were read, it is dropped, and due again: a model may
        have read it, also in notes whose own sources are gone by now.

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
            await self.memories.put(who, [made], since=roll.version)
            await self._retract(who, roll)
        except Forgotten as gone:
            _log.info("late_result_dropped", fault=type(gone).__name__)
            return False
        return True

    async def _retract(self, who: Identity, roll: Roll) -> None:
        """If some of its sources were taken back while it was made, it is to be made anew, or goes after them."""
        sources = await self.memories.get(who, [source.id for source in roll.sources])
        for turn in sources:
            if turn.kind is MemoryKind.TURN and turn.valid_until is not None:
                await self.memories.retract(who, {turn.id: turn.superseded_by}, at=turn.valid_until)


def content_hash(parts: Sequence[Memory]) -> str:
    """What identifies the texts that something is made from: 32 hexadecimal digits."""
    digest = blake2b(digest_size=16)
    for part in parts:
        for value in (part.id, part.text):
            content = value.encode("utf-8", "surrogatepass")
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
    """What of the sources fits into a few lines, in their own words: the person's rows, or the notes on days.

    What they asked tells nothing about them, unless they did nothing else, and what they ordered the assistant to give
    up is told by no word of theirs.
    """
    own = [replace(one, text=text) for one in sources if not _is_of_others(one) and (text := without_orders(one.text))]
    telling = [replace(source, text=text) for source in own if (text := statements(source.text).strip())] or own
    if not telling:
        return _ONLY_ORDERS
    kept = shortlist([replace(source, text=one_line(source.text)) for source in telling], _FEW_LINES)
    return " ".join(shortened(source.text, _FEW_LINES // 3) for source in kept)


def _weight(row: Memory) -> float:
    return row.importance * (_OF_OTHERS if _is_of_others(row) else 1.0)


def _is_of_others(row: Memory) -> bool:
    """Whether the assistant said it, or somebody else who was present."""
    return row.details.get("role") == ASSISTANT or by_another(row)


def _by_day(newest_first: Sequence[Memory], zone: str, most: int) -> dict[date, _Day]:
    """Rows by the person's own day, days and rows in order, without what was taken back.

    Of `most` rows, there may be more.
    """
    days: dict[date, list[Memory]] = {}
    for row in reversed(newest_first):
        if not is_retracted(row):
            days.setdefault(day_of(row.observed_at, zone), []).append(row)
    if len(newest_first) == most and len(days) > 1:
        # The oldest day is not complete: it would look like another one with each new message.
        del days[min(days)]
    return {day: _Day(rows=tuple(rows), content_hash=content_hash(rows)) for day, rows in sorted(days.items())}


def _look(zone: str, days: Mapping[date, _Day], made: Mapping[tuple[date, str], str]) -> _Look:
    """What to keep of a look at these days, now that what was due is made."""
    left = [day for day, said in days.items() for kind in _OF_DAYS if made.get((day, kind)) != said.content_hash]
    open_from = min(left, default=max(days))
    return _Look(zone=zone, open_from=open_from, before=_identified(made, open_from))


def _identified(made: Mapping[tuple[date, str], str], until: date) -> str:
    """What identifies the summaries and portraits of all days before this one."""
    digest = blake2b(digest_size=16)
    for (day, kind), hashed in sorted(made.items()):
        if day < until:
            digest.update(f"{day} {kind} {hashed}\n".encode())
    return digest.hexdigest()


def _hashes(notes: Iterable[Memory]) -> dict[tuple[date, str], str]:
    """From what each summary or portrait of a day was made, by day and kind; nothing for one that is outdated."""
    return {
        (day, one.kind): "" if one.details.get(OUTDATED) else str(one.details.get(HASH, ""))
        for one in notes
        if (day := _day_in(one.id)) is not None
    }


def _day_in(memory_id: str) -> date | None:
    """The day that a summary or portrait is of; None for one that comes from elsewhere under another id."""
    try:
        return date.fromisoformat(memory_id.rpartition("/")[2])
    except ValueError:
        return None


def _of_day(kind: MemoryKind, day: date, said: _Day, longest: int, version: int) -> Roll:
    rows = said.rows
    kept = shortlist(rows, longest)
    shown = [replace(row, text=shortened(row.text, longest // 3)) for row in kept]
    return Roll(
        id=f"{kind}/{day}",
        kind=kind,
        material=transcript([as_message(row) for row in shown], longest=2 * longest),
        when=f"on {day}",
        sources=kept,
        content_hash=said.content_hash,
        details={"day": day.isoformat(), "rows": len(kept), "left_out": len(rows) - len(kept)},
        version=version,
    )


def _of_all(kind: MemoryKind, days: Sequence[Memory], longest: int, version: int) -> Roll:
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
        version=version,
    )


def _heard_by_all(sources: Sequence[Memory]) -> tuple[str, ...]:
    """Who was present at all of it: only before them may it be recalled."""
    audiences = [set(source.audience) for source in sources]
    return tuple(sorted(audiences[0].intersection(*audiences[1:]))) if audiences else ()

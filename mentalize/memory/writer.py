"""Writer: what is done to memories, each call one transaction that is on disk when it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, case, delete, insert, literal, select, update

from ..errors import Forgotten, InputError, MemoryNotFound
from ..terms import terms_of
from ..types import Identity, Memory
from .database import Database, batches
from .fulltext import INDEXED_CHARACTERS, FullText, score
from .lineage import retract
from .person import Person, advance, note_deleted, numbers_of, touch
from .reader import current
from .repetition import STATED, repeated, repeats, said
from .retention import STRONGEST
from .rows import clean, columns, lasting, memory_of, moment, storable
from .tables import memories, outbox, sources, uses, vectors
from .tombstones import OVERALL, REMADE, refuse_buried, unearth

_FIXED = {"id", "recorded_at"}
_CHANGEABLE = {field.name for field in fields(Memory)} - _FIXED
_CANDIDATES = 20
"""Stated memories, by how well their words fit, among which a repetition looks for what it repeats."""
_ANY_SIZE = 1_000_000
"""For BM25 where only the order counts."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A memory that is there, and its number."""

    number: int
    memory: Memory


@dataclass(frozen=True, slots=True)
class Draft:
    """A memory to write, and its terms, which are made before anybody is held off from writing."""

    memory: Memory
    terms: list[str]

    @property
    def row(self) -> dict[str, Any]:
        return columns(self.memory) | {"length": len(self.terms)}


class Writer:
    """Everything that adds or changes memories.

    Args:
        database: Where they are.
        fulltext: The lists of their terms.
        clock: The present moment.
    """

    def __init__(self, database: Database, fulltext: FullText, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._fulltext = fulltext
        self._clock = clock

    def add(
        self, who: Identity, given: Sequence[Memory], *, replaces: bool, revives: bool, since: int | None
    ) -> tuple[Memory, ...]:
        """See `MemoryStore.add` and `MemoryStore.put`."""
        wanted = [draft(memory) for memory in given]
        if not wanted:
            return ()
        with self._database.writing() as connection:
            person = touch(connection, who, since=since)
            if revives:
                unearth(connection, who, [name for one in wanted for name in (one.memory.id, *one.memory.sources)])
            else:
                self._refuse_partless(connection, person, wanted)
            return self._write(connection, who, person, wanted, replaces=replaces)

    def learn(self, who: Identity, given: Sequence[Memory], *, since: int | None) -> tuple[Memory, ...]:
        """See `MemoryStore.learn`."""
        wanted = [draft(memory) for memory in given]
        if not wanted:
            return ()
        with self._database.writing() as connection:
            person = touch(connection, who, since=since)
            self._refuse_partless(connection, person, wanted)
            before = self._repeated(connection, person, wanted)
            new = [one for one, known in zip(wanted, before, strict=True) if known is None]
            again = [(known, one.memory) for one, known in zip(wanted, before, strict=True) if known is not None]
            refuse_buried(connection, who, [name for _, memory in again for name in (memory.id, *memory.sources)])
            self._write(connection, who, person, new, replaces=False)
            for known, memory in again:
                self._repeat(connection, person, known, memory)
            names = [known or one.memory.id for one, known in zip(wanted, before, strict=True)]
            kept = self._stored(connection, person, names)
            return tuple(kept[name].memory for name in names)

    def change(self, who: Identity, memory_id: str, changes: dict[str, Any]) -> Memory:
        """See `MemoryStore.change`."""
        if unknown := sorted(set(changes) - _CHANGEABLE):
            raise InputError(
                f"A memory's {unknown[0]} cannot be changed.", hint=f"What can: {', '.join(sorted(_CHANGEABLE))}."
            )
        with self._database.writing() as connection:
            person = touch(connection, who)
            old = self._needed(connection, person, [memory_id])[0]
            new = draft(replace(old.memory, **changes))
            refuse_buried(connection, who, new.memory.sources)
            return self._replace(connection, person, old, new)

    def supersede(self, who: Identity, old: Sequence[str], new: Memory, *, since: int | None) -> Memory:
        """See `MemoryStore.supersede`."""
        successor = draft(new)
        from_then = successor.memory.valid_from or successor.memory.observed_at
        with self._database.writing() as connection:
            person = touch(connection, who, since=since)
            ended = [item for item in self._needed(connection, person, old) if item.memory.id != new.id]
            (written,) = self._write(connection, who, person, [successor], replaces=False)
            for item in ended:
                if item.memory.superseded_by is None:
                    # A clock that went backwards must not make a validity end before it began.
                    until = max(from_then, item.memory.valid_from or item.memory.observed_at)
                    values = {"valid_until": until, "superseded_by": written.id}
                    connection.execute(update(memories).where(memories.c.number == item.number).values(values))
            return written

    def retract(
        self,
        who: Identity,
        successors: Mapping[str, str | None],
        at: datetime,
        new: Sequence[Memory],
        *,
        since: int | None,
    ) -> tuple[str, ...]:
        """See `MemoryStore.retract`."""
        wanted = [draft(memory) for memory in new]
        at = lasting(at, "at")
        with self._database.writing() as connection:
            person = touch(connection, who, since=since) if wanted else advance(connection, who)
            if person is None:
                return ()
            self._write(connection, who, person, wanted, replaces=False)
            return retract(connection, person, successors, at)

    def strengthen(self, who: Identity, ids: Sequence[str], turn: str, at: datetime) -> None:
        """See `MemoryStore.strengthen`."""
        with self._database.writing() as connection:
            if (person := advance(connection, who)) is not None:
                self._strengthen(connection, person, ids, turn, at)

    def archive(self, who: Identity, ids: Sequence[str]) -> None:
        """See `MemoryStore.archive`."""
        with self._database.writing() as connection:
            if (person := advance(connection, who)) is None:
                return
            for batch in batches(ids):
                chosen = (memories.c.person == person.number, memories.c.id.in_(batch))
                connection.execute(update(memories).where(*chosen).values(archived=True))

    def reindex(self, who: Identity) -> int:
        """See `MemoryStore.reindex`."""
        with self._database.writing() as connection:
            if (person := advance(connection, who)) is None:
                return 0
            rows = connection.execute(select(memories).where(memories.c.person == person.number)).all()
            for row in rows:
                self._reindex(connection, person, row.number, draft(memory_of(row)))
            return len(rows)

    def replace(self, connection: Connection, person: Person, number: int, old: Memory, new: Memory) -> None:
        """Write a memory in place of another one, within a transaction that holds off the person's other writers."""
        self._replace(connection, person, Stored(number, old), draft(new))

    # --- repetition ---------------------------------------------------------------------------------------

    def _repeated(self, connection: Connection, person: Person, wanted: Sequence[Draft]) -> list[str | None]:
        """For each, the id of what already states the same, in the database or among those before it."""
        there = self._stored(connection, person, [one.memory.id for one in wanted])
        stated: dict[tuple[str, str, tuple[str, ...]], str] = {}
        found: list[str | None] = []
        for one in wanted:
            memory = one.memory
            if memory.kind not in STATED or memory.id in there:
                found.append(None)
                continue
            key = (memory.speaker, *said(memory))
            known = stated.get(key) or self._stating(connection, person, one)
            if known is None:
                stated[key] = memory.id
            found.append(known)
        return found

    def _stating(self, connection: Connection, person: Person, one: Draft) -> str | None:
        """The current memory that already says the same, if there is one."""
        length = max(1.0, len(one.terms))
        scored = score(self._fulltext, connection, person.number, one.terms, size=_ANY_SIZE, mean_length=length)
        left = _CANDIDATES
        now = moment(self._clock(), "the clock's time")
        for batch in batches([number for number, _ in scored]):
            chosen = (memories.c.number.in_(batch), memories.c.kind.in_(STATED), *current(now))
            rows = {row.number: row for row in connection.execute(select(memories).where(*chosen))}
            for row in [rows[number] for number in batch if number in rows][:left]:
                if repeats(memory_of(row), one.memory):
                    return row.id
            left -= len(rows)
            if left <= 0:
                break
        return None

    def _repeat(self, connection: Connection, person: Person, known: str, again: Memory) -> None:
        """Make the known memory stronger, and let it rest on this statement, too."""
        (before,) = self._needed(connection, person, [known])
        turn = again.sources[0] if again.sources else again.id
        self._strengthen(connection, person, [known], turn, max(before.memory.observed_at, again.observed_at))
        (stronger,) = self._needed(connection, person, [known])
        self._replace(connection, person, stronger, draft(repeated(stronger.memory, again)))

    # --- parts of a write ---------------------------------------------------------------------------------

    def _strengthen(self, connection: Connection, person: Person, ids: Sequence[str], turn: str, at: datetime) -> None:
        at, turn = lasting(at, "at"), clean(turn, "turn")
        numbers = numbers_of(connection, person, ids)
        used = set(connection.scalars(select(uses.c.memory).where(uses.c.person == person.number, uses.c.turn == turn)))
        fresh = [number for number in numbers.values() if number not in used]
        if not fresh:
            return
        rows = [{"person": person.number, "memory": number, "turn": turn, "at": at} for number in fresh]
        connection.execute(insert(uses), rows)
        last = memories.c.last_recalled_at
        change = update(memories).values(
            strength=case((memories.c.strength < STRONGEST, memories.c.strength + 1), else_=STRONGEST),
            # A clock that went backwards does not make it older.
            last_recalled_at=case((last > at, last), else_=literal(at, last.type)),
            archived=False,
        )
        for batch in batches(fresh):
            connection.execute(change.where(memories.c.number.in_(batch)))

    def _refuse_partless(self, connection: Connection, person: Person, wanted: Sequence[Draft]) -> None:
        """Raise Forgotten for an overall summary or portrait, a part of which is gone."""
        parts = {name for one in wanted if one.memory.kind in OVERALL for name in one.memory.sources}
        parts -= {one.memory.id for one in wanted}
        if gone := parts.difference(numbers_of(connection, person, sorted(parts))):
            raise Forgotten(
                f"This was made from {min(gone)!r}, which is gone.",
                hint="Nothing was written. Make it again from what is left.",
            )

    def _write(
        self, connection: Connection, who: Identity, person: Person, wanted: Sequence[Draft], *, replaces: bool
    ) -> tuple[Memory, ...]:
        given: dict[str, Draft] = {}
        for one in wanted:
            if replaces or one.memory.id not in given:
                given[one.memory.id] = one
        named = {name for name, one in given.items() if one.memory.kind not in REMADE}
        refuse_buried(connection, who, named.union(*(one.memory.sources for one in given.values())))
        stored = self._stored(connection, person, list(given))
        written = {name: old.memory for name, old in stored.items()}
        written |= self._insert(connection, person, [one for name, one in given.items() if name not in stored])
        if replaces:
            written |= {name: self._replace(connection, person, old, given[name]) for name, old in stored.items()}
        return tuple(written[one.memory.id] for one in wanted)

    def _insert(self, connection: Connection, person: Person, fresh: Sequence[Draft]) -> dict[str, Memory]:
        if not fresh:
            return {}
        now = moment(self._clock(), "the clock's time")
        fresh = [
            one if one.memory.recorded_at else replace(one, memory=replace(one.memory, recorded_at=now))
            for one in fresh
        ]
        own = {"person": person.number, "version": person.version}
        connection.execute(insert(memories), [one.row | own for one in fresh])
        numbers = numbers_of(connection, person, [one.memory.id for one in fresh])
        numbered = [(numbers[one.memory.id], one) for one in fresh]
        self._link(connection, person, [(number, one.memory) for number, one in numbered])
        self._fulltext.write(connection, person.number, [(number, one.terms) for number, one in numbered])
        self._note_due(connection, person, [one.memory.id for one in fresh])
        return {one.memory.id: one.memory for one in fresh}

    def _replace(self, connection: Connection, person: Person, old: Stored, new: Draft) -> Memory:
        new = replace(new, memory=replace(new.memory, recorded_at=new.memory.recorded_at or old.memory.recorded_at))
        if new.memory == old.memory:
            return old.memory
        connection.execute(update(memories).where(memories.c.number == old.number).values(new.row))
        if new.memory.sources != old.memory.sources:
            own = sources.c.person == person.number
            connection.execute(delete(sources).where(own, sources.c.memory == old.number))
            self._link(connection, person, [(old.number, new.memory)])
        if new.memory.text != old.memory.text:
            self._reindex(connection, person, old.number, new)
        return new.memory

    def _link(self, connection: Connection, person: Person, items: Sequence[tuple[int, Memory]]) -> None:
        rows = [
            {"person": person.number, "source": source, "memory": number}
            for number, memory in items
            for source in memory.sources
        ]
        if rows:
            connection.execute(insert(sources), rows)

    def _reindex(self, connection: Connection, person: Person, number: int, one: Draft) -> None:
        """Write the terms of a text anew, and note that its vectors are due."""
        name = one.memory.id
        self._fulltext.remove(connection, [number])
        self._fulltext.write(connection, person.number, [(number, one.terms)])
        connection.execute(update(memories).where(memories.c.number == number).values(length=len(one.terms)))
        own = vectors.c.person == person.number
        connection.execute(delete(vectors).where(own, vectors.c.memory == number))
        note_deleted(connection, person, [name])
        self._note_due(connection, person, [name])

    def _note_due(self, connection: Connection, person: Person, ids: Sequence[str]) -> None:
        """Note that vectors of these are due, with a new number, so that vectors of older texts are not taken."""
        for batch in batches(ids):
            # What was deleted and is made again under the same id takes the place of its deletion.
            connection.execute(delete(outbox).where(outbox.c.person == person.number, outbox.c.id.in_(batch)))
            connection.execute(
                insert(outbox), [{"person": person.number, "id": name, "deleted": False} for name in batch]
            )

    def _needed(self, connection: Connection, person: Person, ids: Sequence[str]) -> list[Stored]:
        stored = self._stored(connection, person, ids)
        for name in ids:
            if name not in stored:
                raise MemoryNotFound(f"There is no memory {name!r} of this person.", hint="List them to see their ids.")
        return [stored[name] for name in dict.fromkeys(ids)]

    def _stored(self, connection: Connection, person: Person, ids: Sequence[str]) -> dict[str, Stored]:
        found: dict[str, Stored] = {}
        for batch in batches(ids):
            chosen = memories.c.id.in_(batch)
            for row in connection.execute(select(memories).where(memories.c.person == person.number, chosen)):
                found[row.id] = Stored(row.number, memory_of(row))
        return found


def draft(memory: Memory) -> Draft:
    """A memory, checked, with its terms. Raises InputError."""
    memory = storable(memory)
    return Draft(memory, terms_of(memory.text[:INDEXED_CHARACTERS]))

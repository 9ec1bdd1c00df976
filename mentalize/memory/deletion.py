"""Deletion: of some memories with all that was made from them, or of everything that is known of a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, func, insert, select, update

from ..types import Identity
from .database import Database, batches, insert_or_ignore
from .fulltext import FullText
from .lineage import made_from, relink, taken_back_for
from .person import Person, advance, note_deleted, touch
from .repetition import STATED, Remainder, remainder
from .rows import memory_of, moment
from .store import Deletion
from .tables import claims, marks, memories, outbox, people, traces, vectors
from .tombstones import REMADE, bury, bury_person
from .writer import Writer

_ERASURE_DUE = "erasure due"


@dataclass(frozen=True, slots=True)
class _Condemned:
    """A memory that is to go."""

    number: int
    id: str
    kind: str
    version: int
    superseded_by: str | None


@dataclass(frozen=True, slots=True)
class _Reach:
    """What a deletion reaches, by id."""

    condemned: Mapping[str, _Condemned]
    spared: Mapping[str, Remainder]
    """Made from something condemned, but stated elsewhere, too."""


class Eraser:
    """What makes memories go, for good.

    Args:
        database: Where they are.
        fulltext: The lists of their terms.
        clock: The present moment, for tombstones.
        small_file: Bytes of a SQLite file up to which every deletion writes it anew.
    """

    def __init__(
        self, database: Database, fulltext: FullText, clock: Callable[[], datetime], *, small_file: int
    ) -> None:
        self._small_file = small_file
        self._database = database
        self._fulltext = fulltext
        self._clock = clock
        self._writer = Writer(database, fulltext, clock)

    def forget(self, who: Identity, ids: Sequence[str]) -> Deletion:
        """See `MemoryStore.forget`."""
        with self._database.writing() as connection:
            if (person := advance(connection, who)) is None:
                return Deletion()
            reach = _reach(connection, person, ids)
            if not reach.condemned:
                return Deletion()
            counts = self._delete(connection, who, person, reach.condemned)
            self._keep(connection, person, reach.spared)
            insert_or_ignore(connection, marks, name=_ERASURE_DUE, value="")
        return Deletion(counts, erased=self.erase(thorough=False))

    def forget_all(self, who: Identity) -> Deletion:
        """See `MemoryStore.forget_all`."""
        counts: Counter[str] = Counter()
        with self._database.writing() as connection:
            # Made if need be, so that the first write about a person in this very moment waits, and is refused.
            person = touch(connection, who)
            bury_person(connection, who, moment(self._clock(), "the clock's time"))
            if person.is_new:
                connection.execute(delete(people).where(people.c.number == person.number))
            else:
                counts = self._delete_person(connection, who, person)
                insert_or_ignore(connection, marks, name=_ERASURE_DUE, value="")
        return Deletion(counts, erased=self.erase(thorough=True))

    def erase(self, *, thorough: bool) -> bool:
        """Erase the bytes of what was deleted, if that is still to be done; whether nothing is left of them.

        SQLite overwrites deleted rows at once, but may leave older copies of them in unused parts of pages. They go
        when the file is written anew; a large one is only where `thorough`, because that takes a second or more.
        """
        due = marks.c.name == _ERASURE_DUE
        with self._database.reading() as connection:
            if connection.execute(select(marks).where(due)).first() is None:
                return True
        rewrite = thorough or self._database.size <= self._small_file
        if not self._database.erase(rewrite=rewrite) or not rewrite:
            return False
        with self._database.writing() as connection:
            connection.execute(delete(marks).where(due))
        return True

    # --- parts --------------------------------------------------------------------------------------------

    def _delete(
        self, connection: Connection, who: Identity, person: Person, condemned: Mapping[str, _Condemned]
    ) -> Counter[str]:
        counts = Counter(one.kind for one in condemned.values())
        own = people.c.number == person.number
        connection.execute(update(people).where(own).values(forgot=person.version))
        counts["traces"] = _delete_traces(connection, person, min(one.version for one in condemned.values()))
        relink(connection, person, {one.id: one.superseded_by for one in condemned.values()})
        self._bury(connection, who, [(one.id, one.kind) for one in condemned.values()])
        for batch in batches(list(condemned.values())):
            counts["vectors"] += self._delete_rows(connection, person, batch)
        return +counts

    def _keep(self, connection: Connection, person: Person, spared: Mapping[str, Remainder]) -> None:
        """Write what is left of memories that were stated elsewhere, too."""
        for batch in batches(list(spared)):
            chosen = (memories.c.person == person.number, memories.c.id.in_(batch))
            for row in connection.execute(select(memories).where(*chosen)).all():
                self._writer.replace(connection, person, row.number, memory_of(row), spared[row.id].memory)

    def _bury(self, connection: Connection, who: Identity, gone: Sequence[tuple[str, str]]) -> None:
        """Leave tombstones for ids, given with their kinds."""
        names = [name for name, kind in gone if kind not in REMADE]
        bury(connection, who, names, moment(self._clock(), "the clock's time"))

    def _delete_rows(self, connection: Connection, person: Person, condemned: Sequence[_Condemned]) -> int:
        """Delete rows and what hangs on them, and say so in the outbox; how many vectors there were."""
        names = [one.id for one in condemned]
        numbers = [one.number for one in condemned]
        self._fulltext.remove(connection, numbers)
        own = vectors.c.person == person.number
        gone = connection.execute(delete(vectors).where(own, vectors.c.memory.in_(numbers))).rowcount
        connection.execute(delete(memories).where(memories.c.number.in_(numbers)))
        connection.execute(delete(outbox).where(outbox.c.person == person.number, outbox.c.id.in_(names)))
        entries = [{"person": person.number, "id": name, "deleted": True} for name in names]
        connection.execute(insert(outbox), entries)
        note_deleted(connection, person, names)
        return gone

    def _delete_person(self, connection: Connection, who: Identity, person: Person) -> Counter[str]:
        own = memories.c.person == person.number
        rows = connection.execute(select(memories.c.number, memories.c.id, memories.c.kind).where(own)).all()
        counts = Counter(str(row.kind) for row in rows)
        for name, table in (("vectors", vectors), ("traces", traces), ("claims", claims)):
            counts[name] = connection.scalar(select(func.count()).where(table.c.person == person.number)) or 0
        self._bury(connection, who, [(row.id, row.kind) for row in rows])
        self._fulltext.remove(connection, [row.number for row in rows])
        connection.execute(delete(outbox).where(outbox.c.person == person.number))
        connection.execute(insert(outbox).values(person=person.number, id="", deleted=True))
        # Everything else of theirs goes with the person's row.
        connection.execute(delete(people).where(people.c.number == person.number))
        return +counts


def _reach(connection: Connection, person: Person, ids: Sequence[str]) -> _Reach:
    """These memories, what was said in their place before, and all that was made from them, at whatever remove."""
    condemned: dict[str, _Condemned] = {}
    spared: dict[str, Remainder] = {}
    wave = _rows(connection, person, list(dict.fromkeys(ids)))
    while wave:
        condemned |= wave
        spared = {name: left for name, left in spared.items() if name not in wave}
        reached = [name for name in made_from(connection, person, list(wave)) if name not in condemned]
        left = _remainders(connection, person, reached, condemned)
        # What was made from a memory in the words that go now may hold them.
        renewed = [name for name, part in left.items() if part.is_renewed]
        spared |= left
        made = [name for name in reached if name not in left] + made_from(connection, person, renewed)
        made += taken_back_for(connection, person, list(wave))
        wave = _rows(connection, person, [name for name in dict.fromkeys(made) if name not in condemned])
    return _Reach(condemned, spared)


def _rows(connection: Connection, person: Person, ids: Sequence[str]) -> dict[str, _Condemned]:
    found: dict[str, _Condemned] = {}
    columns = (memories.c.number, memories.c.id, memories.c.kind, memories.c.version, memories.c.superseded_by)
    for batch in batches(ids):
        query = select(*columns).where(memories.c.person == person.number, memories.c.id.in_(batch))
        found.update((row.id, _Condemned(*row)) for row in connection.execute(query))
    return found


def _remainders(
    connection: Connection, person: Person, ids: Sequence[str], condemned: Mapping[str, _Condemned]
) -> dict[str, Remainder]:
    """What is left of those that were stated elsewhere, too."""
    found: dict[str, Remainder] = {}
    for batch in batches(ids):
        chosen = (memories.c.person == person.number, memories.c.id.in_(batch), memories.c.kind.in_(STATED))
        for row in connection.execute(select(memories).where(*chosen)):
            if (left := remainder(memory_of(row), condemned.keys())) is not None:
                found[row.id] = left
    return found


def _delete_traces(connection: Connection, person: Person, since: int) -> int:
    """Delete every trace that was written after the oldest of the deleted memories was: it may quote it."""
    own = traces.c.person == person.number
    return connection.execute(delete(traces).where(own, traces.c.version >= since)).rowcount

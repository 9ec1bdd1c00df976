"""Reader: what is asked of memories. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import islice
from threading import Lock
from typing import TYPE_CHECKING, Any

from cachetools import LRUCache
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Text,
    TextClause,
    and_,
    func,
    or_,
    select,
    text,
    type_coerce,
)
from sqlalchemy import exists as sql_exists

from ..types import Identity, Memory, MemoryKind, MemoryStatus
from .database import Database, batches
from .fulltext import FullText, score
from .person import Person, known
from .rows import memories_of, memory_of, moment
from .tables import memories, people, traces, uses
from .tombstones import buried, version_of_unknown

if TYPE_CHECKING:
    from .store import Filter

_PLACE = (
    memories.c.kind,
    memories.c.id,
    memories.c.number,
    memories.c.session,
    type_coerce(memories.c.observed_at, BigInteger),
)
_BATCH = 1_000
_UNCONSIDERED = '%"considered":false%'
"""In details, as `tables.Plain` writes them."""
_MOST_SIDES = 400
"""SQLite takes 500 parts in a UNION."""
_LARGE = 1_000
"""Memories above which the size of a collection is not counted anew after every write."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a memory stands in its session."""

    kind: str
    id: str
    number: int
    session: str
    observed_at: int
    """As it is stored."""


@dataclass(frozen=True, slots=True)
class _Size:
    """How many memories a person has, and how long they are on average, at a version."""

    version: int
    memories: int
    mean_length: float


class Reader:
    """Everything that reads memories.

    Args:
        database: Where they are.
        fulltext: The lists of their terms.
        clock: The present moment.
    """

    def __init__(self, database: Database, fulltext: FullText, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._fulltext = fulltext
        self._clock = clock
        self._sizes: LRUCache[int, _Size] = LRUCache(4_096)
        self._sizes_lock = Lock()

    def get(self, who: Identity, ids: Sequence[str]) -> tuple[Memory, ...]:
        """See `MemoryStore.get`."""
        with self._database.reading() as connection:
            if (person := known(connection, who)) is None:
                return ()
            found: dict[str, Memory] = {}
            for batch in batches(list(dict.fromkeys(ids))):
                query = select(memories).where(memories.c.person == person.number, memories.c.id.in_(batch))
                found.update((memory.id, memory) for memory in memories_of(connection.execute(query)))
            return tuple(found[name] for name in ids if name in found)

    def find(self, who: Identity, which: Filter, *, limit: int | None, newest_first: bool) -> tuple[Memory, ...]:
        """See `MemoryStore.find`."""
        with self._database.reading() as connection:
            if (person := known(connection, who)) is None:
                return ()
            order = (memories.c.observed_at, memories.c.number)
            query = select(memories).where(memories.c.person == person.number, *self._conditions(which))
            query = query.order_by(*(column.desc() for column in order) if newest_first else order)
            return memories_of(connection.execute(query.limit(limit)))

    def unconsidered(self, who: Identity, *, limit: int) -> tuple[Memory, ...]:
        """See `MemoryStore.unconsidered`."""
        with self._database.reading() as connection:
            if (person := known(connection, who)) is None:
                return ()
            chosen = (
                memories.c.person == person.number,
                memories.c.kind == MemoryKind.TURN.value,
                memories.c.valid_until.is_(None),
            )
            query = select(memories).where(*chosen, type_coerce(memories.c.details, Text).like(_UNCONSIDERED))
            query = query.order_by(memories.c.observed_at, memories.c.number).execution_options(yield_per=_BATCH)
            with connection.execute(query) as rows:
                found = (memory_of(row) for row in rows)
                # The text alone would also take a detail of that name further inside.
                return tuple(islice((memory for memory in found if memory.details.get("considered") is False), limit))

    def around(self, who: Identity, ids: Sequence[str], *, span: int) -> dict[str, tuple[Memory, ...]]:
        """See `MemoryStore.around`."""
        with self._database.reading() as connection:
            if (person := known(connection, who)) is None:
                return {}
            found: list[_Place] = []
            for batch in batches(list(dict.fromkeys(ids))):
                # The kind is looked at here: SQLite would take the index by kind, and walk through all turns.
                query = select(*_PLACE)
                rows = connection.execute(query.where(memories.c.person == person.number, memories.c.id.in_(batch)))
                found += [_Place(*row) for row in rows]
            found = [place for place in found if place.kind == MemoryKind.TURN]
            near: dict[str, list[int]] = {place.id: [] for place in found}
            for batch in batches(found, _MOST_SIDES // 2):
                for place, number in _beside(connection, person, batch, span):
                    near[batch[place].id].append(number)
            every = {number for numbers in near.values() for number in numbers}
            by_number: dict[int, Memory] = {}
            for batch in batches(sorted(every)):
                rows = connection.execute(select(memories).where(memories.c.number.in_(batch)))
                by_number.update((row.number, memory_of(row)) for row in rows)
            return {name: tuple(by_number[number] for number in numbers) for name, numbers in near.items()}

    def matching(
        self, who: Identity, terms: Sequence[str], *, limit: int, which: Filter | None
    ) -> tuple[tuple[str, float], ...]:
        """See `MemoryStore.matching`."""
        with self._database.reading() as connection:
            if not terms or limit < 1 or (person := known(connection, who)) is None:
                return ()
            size = self._size(connection, person)
            if not size.memories:
                return ()
            scored = score(
                self._fulltext, connection, person.number, terms, size=size.memories, mean_length=size.mean_length
            )
            return self._best(connection, scored, limit, which)

    def count(self, who: Identity) -> dict[str, int]:
        """See `MemoryStore.count`."""
        with self._database.reading() as connection:
            if (person := known(connection, who)) is None:
                return {}
            query = select(memories.c.kind, func.count()).where(memories.c.person == person.number)
            return dict(connection.execute(query.group_by(memories.c.kind)).all())

    def exists(self, who: Identity) -> bool:
        """See `MemoryStore.exists`."""
        with self._database.reading() as connection:
            if (person := known(connection, who)) is None:
                return False
            kept = or_(*(sql_exists().where(table.c.person == person.number) for table in (memories, traces)))
            return bool(connection.scalar(select(kept)))

    def version(self, who: Identity) -> int:
        """See `MemoryStore.version`."""
        with self._database.reading() as connection:
            person = known(connection, who)
            return version_of_unknown(connection, who) if person is None else person.version

    def uses(self, who: Identity, ids: Sequence[str]) -> dict[str, tuple[datetime, ...]]:
        """See `MemoryStore.uses`."""
        with self._database.reading() as connection:
            if (person := known(connection, who)) is None:
                return {}
            found: dict[str, list[datetime]] = {}
            for batch in batches(ids):
                query = (
                    select(memories.c.id, uses.c.at)
                    .join(uses, and_(uses.c.person == memories.c.person, uses.c.memory == memories.c.number))
                    .where(memories.c.person == person.number, memories.c.id.in_(batch))
                    .order_by(uses.c.at)
                )
                for row in connection.execute(query):
                    found.setdefault(row.id, []).append(row.at)
            return {name: tuple(moments) for name, moments in found.items()}

    def forgotten(self, who: Identity, ids: Sequence[str]) -> frozenset[str]:
        """See `MemoryStore.forgotten`."""
        with self._database.reading() as connection:
            return buried(connection, who, ids)

    def people(self, zone: str) -> tuple[Identity, ...]:
        """See `MemoryStore.people`."""
        with self._database.reading() as connection:
            rows = connection.execute(select(people.c.tenant, people.c.user, people.c.zone).order_by(people.c.number))
            return tuple(Identity(tenant=tenant, user=user, zone=own or zone) for tenant, user, own in rows)

    # --- parts --------------------------------------------------------------------------------------------

    def _size(self, connection: Connection, person: Person) -> _Size:
        """Of a large collection it may be out of date by one part in a hundred, which BM25 does not notice."""
        with self._sizes_lock:
            size = self._sizes.get(person.number)
        if size is not None:
            writes = person.version - size.version
            if writes == 0 or (size.memories > _LARGE and 0 < writes < size.memories / 100):
                return size
        query = select(func.count(), func.sum(memories.c.length)).where(memories.c.person == person.number)
        number, total = connection.execute(query).one()
        size = _Size(person.version, number, max(1.0, (total or 0) / max(1, number)))
        with self._sizes_lock:
            self._sizes[person.number] = size
        return size

    def _best(
        self,
        connection: Connection,
        scored: Sequence[tuple[int, float]],
        limit: int,
        which: Filter | None,
    ) -> tuple[tuple[str, float], ...]:
        """The best of `scored` that the filter lets through; the rows of the others are not looked at."""
        conditions = self._conditions(which) if which else []
        step = max(limit, _BATCH) if conditions else limit
        best: list[tuple[str, float]] = []
        for start in range(0, len(scored), step):
            batch = scored[start : start + step]
            # The numbers are this person's. Were the person asked for again, SQLite would walk through all of theirs.
            chosen = memories.c.number.in_([number for number, _ in batch])
            query = select(memories.c.number, memories.c.id).where(chosen, *conditions)
            ids = dict(connection.execute(query).all())
            best += [(ids[number], points) for number, points in batch if number in ids]
            if len(best) >= limit:
                break
        return tuple(best[:limit])

    def _conditions(self, which: Filter) -> list[ColumnElement[bool]]:
        conditions: list[ColumnElement[bool]] = []
        if which.kinds is not None:
            conditions.append(memories.c.kind.in_([kind.value for kind in which.kinds]))
        if which.statuses is not None:
            conditions.append(memories.c.status.in_([status.value for status in which.statuses]))
        if which.session is not None:
            conditions.append(memories.c.session == which.session)
        if which.since is not None:
            conditions.append(memories.c.observed_at >= moment(which.since, "since"))
        if which.until is not None:
            conditions.append(memories.c.observed_at < moment(which.until, "until"))
        if which.archived is not None:
            conditions.append(memories.c.archived == which.archived)
        if which.current:
            conditions += current(moment(which.at or self._clock(), "at"))
        return conditions


def current(at: datetime) -> Iterable[ColumnElement[bool]]:
    """Neither superseded nor refuted, and no guess that has lapsed."""
    guess = and_(memories.c.status == MemoryStatus.UNCONFIRMED.value, memories.c.expires_at.is_not(None))
    return (
        memories.c.status != MemoryStatus.REFUTED.value,
        or_(memories.c.valid_until.is_(None), memories.c.valid_until > at),
        ~and_(guess, memories.c.expires_at <= at),
    )


def _beside(connection: Connection, person: Person, places: Sequence[_Place], span: int) -> Iterable[tuple[int, int]]:
    """For each place, by its number in the sequence, the numbers of the turns around it, in order."""
    values: dict[str, Any] = {"person": person.number, "kind": MemoryKind.TURN.value, "span": max(0, span)}
    for place, turn in enumerate(places):
        values |= {f"session_{place}": turn.session, f"at_{place}": turn.observed_at, f"number_{place}": turn.number}
    return ((row.place, row.number) for row in connection.execute(_sides(len(places)), values))


@lru_cache
def _sides(places: int) -> TextClause:
    """The turns before and after each of so many places, in one statement. Text, because building it takes long."""
    return text(" UNION ALL ".join(_side(place, *side) for place in range(places) for side in _SIDES) + _IN_ORDER)


_SIDES = (("<", "DESC"), (">", "ASC"))
_IN_ORDER = " ORDER BY place, observed_at, number"


def _side(place: int, sign: str, order: str) -> str:
    # SQLite takes a LIMIT in a part of a UNION only inside a subquery.
    return f"""
        SELECT * FROM (
            SELECT {place} AS place, observed_at, number FROM memories
            WHERE person = :person AND kind = :kind AND session = :session_{place} AND valid_until IS NULL
                AND (observed_at, number) {sign} (:at_{place}, :number_{place})
            ORDER BY observed_at {order}, number {order} LIMIT :span
        ) AS side
    """

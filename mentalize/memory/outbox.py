"""Outbox: which vectors are due, the vectors themselves, and what those who keep copies of them must know.

An entry is written in the same transaction as its memory, and cleared in the same transaction as its vector. So a crash
loses neither, and whoever starts next finds what is left to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import Connection, and_, delete, exists, func, insert, literal, select, update

from ..errors import InputError
from ..types import Identity
from .database import Database, batches, insert_or_ignore
from .person import known, note_deleted, numbers_of, owner, touch_number
from .store import Unindexed, Vectors
from .tables import deletions, embedders, marks, memories, outbox, people, vectors

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EMBEDDER = "embedder"
_LENGTH = "dimensions of "
_EVERY_VECTOR = ""
"""Among deletions: all vectors of the person went. No memory has an empty id."""
_FLOAT_BYTES = 4


class Outbox:
    """Vectors and the outbox of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def due(self, embedder: str, *, limit: int, who: Identity | None) -> tuple[Unindexed, ...]:
        """See `MemoryStore.outbox`."""
        self._use(embedder)
        with self._database.reading() as connection:
            query = (
                select(outbox, people.c.tenant, people.c.user, memories.c.text)
                .outerjoin(people, people.c.number == outbox.c.person)
                .outerjoin(memories, and_(memories.c.person == outbox.c.person, memories.c.id == outbox.c.id))
                .order_by(outbox.c.sequence)
                .limit(limit)
            )
            if who is not None:
                if (person := known(connection, who)) is None:
                    return ()
                query = query.where(outbox.c.person == person.number)
            return tuple(
                Unindexed(
                    sequence=row.sequence,
                    person=row.person,
                    who=None if row.tenant is None else Identity(tenant=row.tenant, user=row.user),
                    id=row.id,
                    text="" if row.deleted else row.text,
                    deleted=row.deleted,
                )
                for row in connection.execute(query)
            )

    def indexed(
        self, embedder: str, entries: Sequence[Unindexed], matrix: NDArray[np.float32], *, dimensions: int
    ) -> None:
        """See `MemoryStore.indexed`."""
        made = [entry for entry in entries if not entry.deleted]
        if matrix.shape != (len(made), dimensions):
            raise InputError(f"{len(made)} entries of {dimensions} dimensions, but vectors of shape {matrix.shape}.")
        rows = np.ascontiguousarray(matrix, dtype="<f4")
        blobs = {entry.sequence: rows[place].tobytes() for place, entry in enumerate(made)}
        by_person: dict[int, list[Unindexed]] = {}
        for entry in entries:
            by_person.setdefault(entry.person, []).append(entry)
        with self._database.writing() as connection:
            if _in_use(connection, lock=True) != embedder:
                # Another process has changed the embedder: for that one, these entries are still due.
                return
            made_by = _embedder(connection, embedder)
            if made:
                _keep_to_length(connection, embedder, made_by, dimensions)
            for number, own in sorted(by_person.items()):
                self._write(connection, number, made_by, own, blobs)

    def vectors(self, who: Identity, embedder: str, *, since: int) -> Vectors:
        """See `MemoryStore.vectors`."""
        with self._database.reading() as connection:
            person = known(connection, who)
            if person is None:
                return Vectors(person=0, version=0, ids=(), matrix=_matrix([]))
            partial = owner(since) == person.number
            query = (
                select(memories.c.id, vectors.c.vector)
                .join(vectors, and_(vectors.c.person == memories.c.person, vectors.c.memory == memories.c.number))
                .join(embedders, embedders.c.number == vectors.c.embedder)
                .where(vectors.c.person == person.number, embedders.c.name == embedder)
                .order_by(memories.c.number)
            )
            gone = select(deletions.c.id).where(deletions.c.person == person.number, deletions.c.version > since)
            # Vectors of another length take the place of all that were there.
            partial = partial and connection.scalar(gone.where(deletions.c.id == _EVERY_VECTOR)) is None
            rows = connection.execute(query.where(vectors.c.version > since) if partial else query).all()
            ids = tuple(row.id for row in rows)
            deleted = sorted(set(connection.scalars(gone)).difference(ids)) if partial else []
            matrix = _matrix([row.vector for row in rows])
            return Vectors(person.number, person.version, ids, matrix, tuple(deleted), complete=not partial)

    def others(self, who: Identity, embedder: str) -> int:
        """See `MemoryStore.vectors_of_others`."""
        with self._database.reading() as connection:
            if (person := known(connection, who)) is None:
                return 0
            query = select(func.count()).select_from(vectors.join(embedders))
            query = query.where(vectors.c.person == person.number, embedders.c.name != embedder)
            return connection.scalar(query) or 0

    def _use(self, embedder: str) -> None:
        """Make this the embedder whose vectors are due, if another one was: every memory without one is, then."""
        with self._database.reading() as connection:
            if _in_use(connection) == embedder:
                return
        with self._database.writing() as connection:
            insert_or_ignore(connection, marks, name=_EMBEDDER, value="")
            if _in_use(connection, lock=True) == embedder:
                return
            number = _embedder(connection, embedder)
            has_vector = exists().where(
                vectors.c.person == memories.c.person,
                vectors.c.embedder == number,
                vectors.c.memory == memories.c.number,
            )
            is_due = exists().where(outbox.c.person == memories.c.person, outbox.c.id == memories.c.id)
            lacking = (
                select(memories.c.person, memories.c.id, literal(False))
                .where(~has_vector, ~is_due)
                .order_by(memories.c.number)
            )
            connection.execute(insert(outbox).from_select(["person", "id", "deleted"], lacking))
            connection.execute(update(marks).where(marks.c.name == _EMBEDDER).values(value=embedder))

    def _write(
        self, connection: Connection, number: int, embedder: int, entries: Sequence[Unindexed], blobs: dict[int, bytes]
    ) -> None:
        """Write one person's vectors. An entry that is gone by now was done by another, deleted, or has a new text."""
        person = touch_number(connection, number)
        left: dict[int, str] = {}
        for batch in batches([entry.sequence for entry in entries]):
            gone = delete(outbox).where(outbox.c.sequence.in_(batch)).returning(outbox.c.sequence, outbox.c.id)
            left.update((row[0], row[1]) for row in connection.execute(gone))
        due = {left[sequence]: blob for sequence, blob in blobs.items() if sequence in left}
        if person is None or not due:
            return
        rows = [
            {
                "person": person.number,
                "embedder": embedder,
                "memory": number,
                "version": person.version,
                "vector": due[name],
            }
            for name, number in numbers_of(connection, person, list(due)).items()
        ]
        own = and_(vectors.c.person == person.number, vectors.c.embedder == embedder)
        for batch in batches(rows):
            connection.execute(delete(vectors).where(own, vectors.c.memory.in_([row["memory"] for row in batch])))
            connection.execute(insert(vectors), batch)


def _in_use(connection: Connection, *, lock: bool = False) -> str | None:
    query = select(marks.c.value).where(marks.c.name == _EMBEDDER)
    return connection.scalar(query.with_for_update() if lock else query)


def _keep_to_length(connection: Connection, name: str, number: int, dimensions: int) -> None:
    """See that an embedder's vectors are all of one length: another model under its name makes the others due again."""
    mark = (marks.c.name == _LENGTH + name,)
    if connection.scalar(select(marks.c.value).where(*mark)) == str(dimensions):
        return
    insert_or_ignore(connection, marks, name=_LENGTH + name, value="")
    connection.execute(update(marks).where(*mark).values(value=str(dimensions)))
    other = (vectors.c.embedder == number, func.length(vectors.c.vector) != _FLOAT_BYTES * dimensions)
    for owned_by in connection.scalars(
        select(vectors.c.person).where(*other).distinct().order_by(vectors.c.person)
    ).all():
        if (person := touch_number(connection, owned_by)) is None:
            continue
        own = (*other, vectors.c.person == owned_by)
        its = and_(memories.c.person == vectors.c.person, memories.c.number == vectors.c.memory)
        is_due = exists().where(outbox.c.person == memories.c.person, outbox.c.id == memories.c.id)
        lacking = select(memories.c.person, memories.c.id, literal(False)).join(vectors, its).where(*own, ~is_due)
        connection.execute(insert(outbox).from_select(["person", "id", "deleted"], lacking))
        connection.execute(delete(vectors).where(*own))
        note_deleted(connection, person, [_EVERY_VECTOR])


def _embedder(connection: Connection, name: str) -> int:
    insert_or_ignore(connection, embedders, name=name)
    return connection.scalars(select(embedders.c.number).where(embedders.c.name == name)).one()


def _matrix(blobs: Sequence[bytes]) -> NDArray[np.float32]:
    """The vectors as rows. All of one embedder are of one length."""
    if not blobs:
        return np.zeros((0, 0), np.float32)
    # A bytearray, so that the matrix belongs to the caller, who may write into it.
    return np.frombuffer(bytearray().join(blobs), dtype="<f4").reshape(len(blobs), -1).astype(np.float32, copy=False)

"""Lineage: what was made from what, and what took the place of what, followed within a transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, update

from ..types import Memory, MemoryKind
from .database import batches
from .person import Person
from .retraction import OUTDATED, RETRACTED, falls, is_retracted
from .rows import memory_of
from .tables import memories, sources
from .tombstones import REMADE


def made_from(connection: Connection, person: Person, ids: Sequence[str]) -> list[str]:
    """Ids of what was made from these, at first hand."""
    made: list[str] = []
    for batch in batches(ids):
        query = (
            select(memories.c.id)
            .join(sources, (sources.c.person == memories.c.person) & (sources.c.memory == memories.c.number))
            .where(sources.c.person == person.number, sources.c.source.in_(batch))
        )
        made += connection.scalars(query)
    return list(dict.fromkeys(made))


def taken_back_for(connection: Connection, person: Person, ids: Sequence[str]) -> list[str]:
    """Ids of the turns that these took the place of: what a message said before it was edited goes with it."""
    found: list[str] = []
    for batch in batches(ids):
        own = (memories.c.person == person.number, memories.c.kind == MemoryKind.TURN)
        found += connection.scalars(select(memories.c.id).where(*own, memories.c.superseded_by.in_(batch)))
    return found


def retract(
    connection: Connection, person: Person, successors: Mapping[str, str | None], at: datetime
) -> tuple[str, ...]:
    """Take turns back, with what rests on nothing else; ids of the latter.

    Turns that were taken back before keep their successors, and what was made from them since goes as well.
    """
    place = dict(successors)
    for number, turn in _stored(connection, person, list(successors)):
        if turn.kind is MemoryKind.TURN and not is_retracted(turn):
            _end(connection, number, turn, place[turn.id], at)
    fallen: list[str] = []
    wave = list(successors)
    while wave:
        reached = _stored(connection, person, made_from(connection, person, wave))
        gone = _retracted_among(connection, person, {name for _, one in reached for name in one.sources})
        wave = list[str]()
        for number, one in reached:
            if one.superseded_by is None and not is_retracted(one) and falls(one, gone):
                place[one.id] = next((place[name] for name in reversed(one.sources) if name in place), None)
                _end(connection, number, one, place[one.id], at)
                wave.append(one.id)
            elif one.kind in REMADE and not is_retracted(one):
                _detail(connection, number, one, OUTDATED)
        relink(connection, person, dict.fromkeys(wave))
        fallen += wave
    return tuple(fallen)


def relink(connection: Connection, person: Person, gone: Mapping[str, str | None]) -> None:
    """Of what these had taken the place of, say what takes it now: their own successors, or nothing.

    Where it is nothing, a memory is current again, unless it was taken back itself.

    Args:
        connection: A writing transaction.
        person: Whose memories.
        gone: Ids of what was deleted or taken back, with what took its place before.
    """
    for name in gone:
        heir = gone[name]
        while heir is not None and heir in gone:
            heir = gone[heir]
        own = (memories.c.person == person.number, memories.c.superseded_by == name)
        for row in connection.execute(select(memories).where(*own)).all():
            values = {"superseded_by": heir} if heir else _without_successor(connection, person, memory_of(row))
            connection.execute(update(memories).where(memories.c.number == row.number).values(values))


def _without_successor(connection: Connection, person: Person, memory: Memory) -> dict[str, Any]:
    if is_retracted(memory):
        return {"superseded_by": None}
    if falls(memory, _retracted_among(connection, person, memory.sources)):
        return {"superseded_by": None, "details": {**memory.details, RETRACTED: True}}
    return {"superseded_by": None, "valid_until": None}


def _end(connection: Connection, number: int, memory: Memory, by: str | None, at: datetime) -> None:
    # A clock that went backwards must not make a validity end before it began.
    until = max(at, memory.valid_from or memory.observed_at)
    values: dict[str, Any] = {"superseded_by": by, "valid_until": until}
    if memory.kind is not MemoryKind.TURN:
        values["details"] = {**memory.details, RETRACTED: True}
    connection.execute(update(memories).where(memories.c.number == number).values(values))


def _detail(connection: Connection, number: int, memory: Memory, name: str) -> None:
    details = {**memory.details, name: True}
    connection.execute(update(memories).where(memories.c.number == number).values(details=details))


def _retracted_among(connection: Connection, person: Person, ids: Iterable[str]) -> frozenset[str]:
    return frozenset(one.id for _, one in _stored(connection, person, sorted(ids)) if is_retracted(one))


def _stored(connection: Connection, person: Person, ids: Sequence[str]) -> list[tuple[int, Memory]]:
    found: list[tuple[int, Memory]] = []
    for batch in batches(ids):
        query = select(memories).where(memories.c.person == person.number, memories.c.id.in_(batch))
        found += [(row.number, memory_of(row)) for row in connection.execute(query)]
    return found

"""The tables. All that is about people is keyed by person first, so that nothing is read across them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

VERSION_TABLE = "mentalize_version"
"""Alembic's table under a name of our own, so that a database that serves others too is not mistaken for ours."""

APPLICATION_ID = 0x6D6E747A
"""Written into the header of our SQLite files, so that nobody else's is ever changed."""


class Moment(TypeDecorator[datetime]):
    """An aware moment as microseconds since 1970: exact, sortable, and the same in both databases."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else _EPOCH + timedelta(microseconds=value)


class Plain(TypeDecorator[Any]):
    """A plain value as JSON text. PostgreSQL's own JSON types would change it (order of keys, form of numbers)."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else json.loads(value)


Key = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows by itself only where the type is exactly INTEGER."""

metadata = MetaData()


def _of_person() -> Column[int]:
    return Column("person", Key, ForeignKey("people.number", ondelete="CASCADE"), primary_key=True)


def _of_memory() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["person", "memory"], ["memories.person", "memories.number"], ondelete="CASCADE")


people = Table(
    "people",
    metadata,
    Column("number", Key, primary_key=True, autoincrement=True),
    Column("tenant", Text, nullable=False),
    Column("user", Text, nullable=False),
    Column("zone", Text),
    # Grows with every write, from number·2³² on: versions of different people never overlap, so a version also says
    # whose it is, and one that was read before a person was forgotten is known as such.
    Column("version", BigInteger, nullable=False),
    # The version at the last deletion: what was read before it may hold what was deleted.
    Column("forgot", BigInteger, nullable=False),
    UniqueConstraint("tenant", "user"),
    sqlite_autoincrement=True,
)

memories = Table(
    "memories",
    metadata,
    Column("number", Key, primary_key=True, autoincrement=True),
    Column("person", Key, ForeignKey("people.number", ondelete="CASCADE"), nullable=False),
    Column("id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("observed_at", Moment, nullable=False),
    Column("recorded_at", Moment, nullable=False),
    Column("last_recalled_at", Moment),
    Column("valid_from", Moment),
    Column("valid_until", Moment),
    Column("expires_at", Moment),
    Column("strength", Integer, nullable=False),
    Column("importance", Double, nullable=False),
    Column("confidence", Double),
    Column("pinned", Boolean, nullable=False),
    Column("archived", Boolean, nullable=False),
    Column("speaker", Text, nullable=False),
    Column("session", Text, nullable=False),
    Column("superseded_by", Text),
    Column("sources", Plain, nullable=False),
    Column("audience", Plain, nullable=False),
    # The person's version when this was first written; it orders writes whatever the clock did.
    Column("version", BigInteger, nullable=False),
    # How many terms the text has, for BM25.
    Column("length", Integer, nullable=False),
    Column("text", Text, nullable=False),
    Column("quote", Text, nullable=False),
    Column("details", Plain, nullable=False),
    UniqueConstraint("person", "id"),
    UniqueConstraint("person", "number"),
    sqlite_autoincrement=True,
)
Index("memories_by_time", memories.c.person, memories.c.observed_at, memories.c.number)
Index("memories_by_kind", memories.c.person, memories.c.kind, memories.c.observed_at)
Index(
    "memories_by_session",
    memories.c.person,
    memories.c.session,
    memories.c.kind,
    memories.c.observed_at,
    memories.c.number,
)
Index("memories_by_length", memories.c.person, memories.c.number, memories.c.length)
Index(
    "memories_by_successor",
    memories.c.person,
    memories.c.superseded_by,
    sqlite_where=memories.c.superseded_by.is_not(None),
    postgresql_where=memories.c.superseded_by.is_not(None),
)

sources = Table(
    "sources",
    metadata,
    _of_person(),
    Column("source", Text, primary_key=True),
    Column("memory", Key, primary_key=True),
    _of_memory(),
)
"""`memories.sources` from the other side: what was made from a memory."""
Index("sources_by_memory", sources.c.person, sources.c.memory)

uses = Table(
    "uses",
    metadata,
    _of_person(),
    Column("memory", Key, primary_key=True),
    Column("turn", Text, primary_key=True),
    Column("at", Moment, nullable=False),
    _of_memory(),
)
"""Which turns' replies used a memory."""
Index("uses_by_turn", uses.c.person, uses.c.turn)

embedders = Table(
    "embedders",
    metadata,
    Column("number", Key, primary_key=True, autoincrement=True),
    Column("name", Text, nullable=False, unique=True),
    sqlite_autoincrement=True,
)

vectors = Table(
    "vectors",
    metadata,
    _of_person(),
    Column("embedder", Key, ForeignKey("embedders.number"), primary_key=True),
    Column("memory", Key, primary_key=True),
    # The person's version when this was written.
    Column("version", BigInteger, nullable=False),
    # Little-endian float32.
    Column("vector", LargeBinary, nullable=False),
    _of_memory(),
)
Index("vectors_by_version", vectors.c.person, vectors.c.embedder, vectors.c.version)
Index("vectors_by_memory", vectors.c.person, vectors.c.memory)

deletions = Table(
    "deletions",
    metadata,
    _of_person(),
    Column("id", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
)
"""Memories of living people whose vectors went, for those who keep copies of the vectors."""

outbox = Table(
    "outbox",
    metadata,
    Column("sequence", Key, primary_key=True, autoincrement=True),
    # No link to `people`: the entry that says that a person is gone outlives them.
    Column("person", Key, nullable=False),
    Column("id", Text, nullable=False),
    Column("deleted", Boolean, nullable=False),
    UniqueConstraint("person", "id"),
    sqlite_autoincrement=True,
)

tombstones = Table(
    "tombstones",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("at", Moment, nullable=False),
)
"""What was deleted, as a hash of tenant, user and id."""

marks = Table(
    "marks",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
"""Facts about the database itself: the embedder in use, and whether deleted bytes are still to be erased."""

claims = Table(
    "claims",
    metadata,
    _of_person(),
    Column("work", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("since", Moment, nullable=False),
    Column("until", Moment, nullable=False),
)

traces = Table(
    "traces",
    metadata,
    _of_person(),
    Column("turn", Text, primary_key=True),
    # The person's version when this was written: it can speak of everything that was written before.
    Column("version", BigInteger, nullable=False),
    Column("until", Moment, nullable=False),
    # JSON, deflated.
    Column("body", LargeBinary, nullable=False),
)
Index("traces_by_end", traces.c.until)

keys = Table(
    "keys",
    metadata,
    # The public part of the key.
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("name", Text, nullable=False),
    # SHA-256 of the whole key.
    Column("digest", LargeBinary, nullable=False),
    Column("trusted", Boolean, nullable=False),
    Column("operator", Boolean, nullable=False),
    Column("user", Text),
    Column("user_sources", Plain, nullable=False),
    Column("limits", Plain, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("revoked_at", Moment),
)
"""Keys of the endpoint. They belong to tenants, and to no person."""

safety_counts = Table(
    "safety_counts",
    metadata,
    Column("tenant", Text, primary_key=True),
    # ISO 8601, in UTC.
    Column("day", Text, primary_key=True),
    Column("event", Text, primary_key=True),
    Column("count", BigInteger, nullable=False),
)
"""How often something happened that reports ask for. Nothing in it belongs to a person."""

"""Tombstones: that something was deleted, so that nothing written late brings it back. They hold hashes only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

from sqlalchemy import Connection, delete, insert, select

from ..errors import Forgotten
from ..types import Identity, MemoryKind
from .database import batches
from .tables import tombstones

REMADE = frozenset(
    {
        MemoryKind.DAY_SUMMARY,
        MemoryKind.SUMMARY,
        MemoryKind.DAY_PORTRAIT,
        MemoryKind.PORTRAIT,
        MemoryKind.SCENARIO,
    }
)
"""Kinds that are made again from what is left, under the same id. Their sources keep what was deleted out of them."""

OVERALL = frozenset({MemoryKind.SUMMARY, MemoryKind.PORTRAIT})
"""Kinds that are made from those of days, which leave no tombstones: one that lacks a part was made too early."""

_HASH_BYTES = 16
_EVERYTHING = ""
"""Stands for all of a person's memories; none has an empty id."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def buried(connection: Connection, who: Identity, ids: Iterable[str]) -> frozenset[str]:
    """Which of these ids were deleted."""
    by_hash = {_hash(who, name): name for name in ids}
    found: set[str] = set()
    for batch in batches(list(by_hash)):
        query = select(tombstones.c.hash).where(tombstones.c.hash.in_(batch))
        found.update(by_hash[bytes(value)] for value in connection.scalars(query))
    return frozenset(found)


def refuse_buried(connection: Connection, who: Identity, ids: Iterable[str]) -> None:
    """Raise Forgotten if any of these was deleted."""
    if gone := buried(connection, who, ids):
        raise Forgotten(
            f"{len(gone)} of the memories that this is, or rests on, were deleted (such as {min(gone)!r}).",
            hint="Nothing was written. Leave them out.",
        )


def bury(connection: Connection, who: Identity, ids: Sequence[str], at: datetime) -> None:
    """Leave tombstones for these."""
    fresh = sorted(set(ids) - buried(connection, who, ids))
    if fresh:
        connection.execute(insert(tombstones), [{"hash": _hash(who, name), "at": at} for name in fresh])


def bury_person(connection: Connection, who: Identity, at: datetime) -> None:
    """Note that everything about a person was deleted, whether or not there was anything."""
    own = tombstones.c.hash == _hash(who, _EVERYTHING)
    last = connection.scalar(select(tombstones.c.at).where(own)) or _EPOCH
    connection.execute(delete(tombstones).where(own))
    # A clock that stands still or goes backwards must not hide that it was done again.
    values = {"hash": _hash(who, _EVERYTHING), "at": max(at, last + _MICROSECOND)}
    connection.execute(insert(tombstones).values(values))


def version_of_unknown(connection: Connection, who: Identity) -> int:
    """The version of a person of whom nothing is known: 0, and a lesser number each time that they were forgotten."""
    last = connection.scalar(select(tombstones.c.at).where(tombstones.c.hash == _hash(who, _EVERYTHING)))
    return 0 if last is None else (_EPOCH - last) // _MICROSECOND


def unearth(connection: Connection, who: Identity, ids: Sequence[str]) -> None:
    """Take the tombstones of these away, because the person brings them back."""
    for batch in batches(ids):
        hashes = [_hash(who, name) for name in batch]
        connection.execute(delete(tombstones).where(tombstones.c.hash.in_(hashes)))


def _hash(who: Identity, name: str) -> bytes:
    value = blake2b(digest_size=_HASH_BYTES)
    for part in (who.tenant, who.user, name):
        content = part.encode("utf-8", "surrogatepass")
        value.update(len(content).to_bytes(8, "big") + content)
    return value.digest()

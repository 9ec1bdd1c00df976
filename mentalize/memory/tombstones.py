"""Tombstones: that something was deleted, so that nothing written late brings it back. They hold hashes only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
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

_HASH_BYTES = 16


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

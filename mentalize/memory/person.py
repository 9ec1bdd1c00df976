"""A person's row: the key that everything else about them carries, and the version that counts their writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, case, delete, insert, literal, select, update

from ..errors import Forgotten
from ..types import Identity
from .database import batches, insert_or_ignore
from .tables import deletions, memories, people
from .tombstones import version_of_unknown

_PERSON = (people.c.number, people.c.version, people.c.forgot)
_VERSIONS = 2**32
"""Versions that a person has at most; their key times this is where theirs begin."""

# Made once: every write begins with it, and making it takes longer than running it.
_ADVANCE = (
    update(people)
    .where(people.c.tenant == bindparam("of_tenant"), people.c.user == bindparam("of_user"))
    .values(
        version=case(
            (people.c.version == 0, people.c.number * literal(_VERSIONS, people.c.version.type) + 1),
            else_=people.c.version + 1,
        )
    )
    .returning(*_PERSON)
)


@dataclass(frozen=True, slots=True)
class Person:
    """A row of `people`."""

    number: int
    version: int
    forgot: int
    """The version at which something was last deleted."""

    @property
    def is_new(self) -> bool:
        """Whether nothing was written about them before."""
        return self.version == self.number * _VERSIONS + 1


def owner(version: int) -> int:
    """The key of the person whose version this is."""
    return version // _VERSIONS


def known(connection: Connection, who: Identity) -> Person | None:
    """The person, if anything is known of them."""
    row = connection.execute(
        select(*_PERSON).where(people.c.tenant == who.tenant, people.c.user == who.user)
    ).one_or_none()
    return None if row is None else Person(*row)


def touch(connection: Connection, who: Identity, *, since: int | None = None) -> Person:
    """The person, made if need be, with a new version for this write. Holds off other writers of this person.

    Args:
        connection: A writing transaction.
        who: Whose row it is.
        since: The person's version when the caller read what it writes from, if it wants to be sure of it.

    Raises:
        Forgotten: something of this person was deleted after `since`.
    """
    person = advance(connection, who)
    if person is None:
        insert_or_ignore(connection, people, tenant=who.tenant, user=who.user, version=0, forgot=0)
        person = advance(connection, who)
    assert person is not None
    if since is not None and _is_overtaken(connection, who, person, since):
        raise Forgotten(
            "Something about this person was deleted while this was being written.",
            hint="Nothing was written. Read again and write what still holds.",
        )
    return person


def _is_overtaken(connection: Connection, who: Identity, person: Person, since: int) -> bool:
    """Whether something was deleted since that version."""
    if since > 0:
        return since < person.forgot or owner(since) != person.number
    # Nothing was known of them then; that may also be because they had just been forgotten.
    return person.forgot > 0 or since != version_of_unknown(connection, who)


def advance(connection: Connection, who: Identity) -> Person | None:
    """The person with a new version for this write; None if nothing is known of them. Holds off other writers."""
    change = _ADVANCE if who.zone is None else _ADVANCE.values(zone=who.zone)
    row = connection.execute(change, {"of_tenant": who.tenant, "of_user": who.user}).one_or_none()
    return None if row is None else Person(*row)


def touch_number(connection: Connection, number: int) -> Person | None:
    """The person of this key with a new version for this write; None if they were forgotten."""
    change = update(people).where(people.c.number == number).values(version=people.c.version + 1)
    row = connection.execute(change.returning(*_PERSON)).one_or_none()
    return None if row is None else Person(*row)


def lock(connection: Connection, person: Person) -> None:
    """Hold off other writers of this person, without a new version. SQLite has one writer at a time anyway."""
    connection.execute(select(people.c.number).where(people.c.number == person.number).with_for_update())


def numbers_of(connection: Connection, person: Person, ids: Sequence[str]) -> dict[str, int]:
    """The numbers of this person's memories, by id."""
    found: dict[str, int] = {}
    for batch in batches(ids):
        chosen = (memories.c.person == person.number, memories.c.id.in_(batch))
        found.update(
            (row[0], row[1]) for row in connection.execute(select(memories.c.id, memories.c.number).where(*chosen))
        )
    return found


def note_deleted(connection: Connection, person: Person, ids: Sequence[str]) -> None:
    """Note that the vectors of these went, at the person's version."""
    for batch in batches(ids):
        connection.execute(delete(deletions).where(deletions.c.person == person.number, deletions.c.id.in_(batch)))
        rows = [{"person": person.number, "id": name, "version": person.version} for name in batch]
        connection.execute(insert(deletions), rows)

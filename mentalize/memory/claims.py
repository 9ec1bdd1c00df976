"""Claims: leases that keep two processes from doing the same background work."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import delete, insert, select

from ..types import Identity
from .database import Database
from .person import known, lock
from .rows import moment
from .tables import claims


class Claims:
    """The leases that one process holds, and asks for."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock
        self._owner = uuid.uuid4().hex

    def claim(self, who: Identity, work: str, *, seconds: float) -> bool:
        """See `MemoryStore.claim`."""
        now = moment(self._clock(), "the clock's time")
        with self._database.writing() as connection:
            if (person := known(connection, who)) is None:
                return False
            lock(connection, person)
            mine = (claims.c.person == person.number, claims.c.work == work)
            held = connection.execute(select(claims).where(*mine)).one_or_none()
            # Within its length before its beginning too: the clocks of two machines differ a little. Beyond that, a
            # clock was set back, and waiting for it to come round again would stop the work for that long.
            if held is not None and held.owner != self._owner and abs(now - held.since) < held.until - held.since:
                return False
            connection.execute(delete(claims).where(*mine))
            until = now + timedelta(seconds=seconds)
            connection.execute(
                insert(claims).values(person=person.number, work=work, owner=self._owner, since=now, until=until)
            )
            return True

    def release(self, who: Identity, work: str) -> None:
        """See `MemoryStore.release`."""
        with self._database.writing() as connection:
            if (person := known(connection, who)) is not None:
                mine = (claims.c.person == person.number, claims.c.work == work, claims.c.owner == self._owner)
                connection.execute(delete(claims).where(*mine))

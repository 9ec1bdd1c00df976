"""Traces: how turns came about, kept for some days."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import cache
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import delete, insert, select

from ..types import Identity, Trace
from .database import Database
from .person import known, touch
from .rows import moment
from .tables import traces
from .tombstones import refuse_buried


class Traces:
    """The traces of one database."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def keep(self, who: Identity, trace: Trace, *, until: datetime, since: int | None) -> None:
        """See `MemoryStore.keep_trace`."""
        # ASCII escapes hold what UTF-8 cannot: halves of surrogate pairs.
        body = zlib.compress(json.dumps(_adapter().dump_python(trace, mode="json")).encode("ascii"))
        until = moment(until, "until")
        with self._database.writing() as connection:
            person = touch(connection, who, since=since)
            refuse_buried(connection, who, _spoken_of(trace))
            connection.execute(delete(traces).where(traces.c.until <= moment(self._clock(), "the clock's time")))
            own = traces.c.person == person.number
            connection.execute(delete(traces).where(own, traces.c.turn == trace.turn_id))
            values = {"turn": trace.turn_id, "version": person.version, "until": until, "body": body}
            connection.execute(insert(traces).values(person=person.number, **values))

    def get(self, who: Identity, turn_id: str) -> Mapping[str, Any] | None:
        """See `MemoryStore.trace`."""
        with self._database.reading() as connection:
            if (person := known(connection, who)) is None:
                return None
            query = select(traces.c.body).where(
                traces.c.person == person.number,
                traces.c.turn == turn_id,
                traces.c.until > moment(self._clock(), "the clock's time"),
            )
            body = connection.scalar(query)
            return None if body is None else json.loads(zlib.decompress(body))

    def recent(self, who: Identity) -> tuple[str, ...]:
        """See `MemoryStore.traced`."""
        with self._database.reading() as connection:
            if (person := known(connection, who)) is None:
                return ()
            query = select(traces.c.turn).where(
                traces.c.person == person.number, traces.c.until > moment(self._clock(), "the clock's time")
            )
            return tuple(connection.scalars(query.order_by(traces.c.version.desc())))


def _spoken_of(trace: Trace) -> Iterator[str]:
    """Ids of the memories that the trace holds texts of."""
    yield from (f"{trace.turn_id}/user", f"{trace.turn_id}/assistant")
    if trace.recollection is not None:
        yield from (hit.memory.id for hit in trace.recollection.hits)
        for beside in trace.recollection.neighbours.values():
            yield from (memory.id for memory in beside)


@cache
def _adapter() -> TypeAdapter[Trace]:
    return TypeAdapter(Trace)

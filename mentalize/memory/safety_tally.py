"""SafetyTally: the counts for reports on safety, in the database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from .database import Database
from .safety_counts import SafetyCount
from .tables import safety_counts


class SafetyTally:
    """The counts of one database."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def add(self, tenant: str, event: str) -> None:
        """See `SafetyCounts.add`."""
        key = {"tenant": tenant, "day": self._clock().astimezone(UTC).date().isoformat(), "event": event}
        same = [safety_counts.c[name] == value for name, value in key.items()]
        raised = update(safety_counts).where(*same).values(count=safety_counts.c.count + 1)
        with self._database.writing() as connection:
            if connection.execute(raised).rowcount:
                return
            try:
                with connection.begin_nested():
                    connection.execute(insert(safety_counts).values(**key, count=1))
            except IntegrityError:  # Another process has begun the day meanwhile.
                connection.execute(raised)

    def between(self, tenant: str, since: date, until: date) -> tuple[SafetyCount, ...]:
        """See `SafetyCounts.between`."""
        columns = safety_counts.c
        query = (
            select(columns.day, columns.event, columns.count)
            .where(columns.tenant == tenant, columns.day >= since.isoformat(), columns.day < until.isoformat())
            .order_by(columns.day, columns.event)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return tuple(SafetyCount(date.fromisoformat(row.day), row.event, int(row[2])) for row in rows)

"""Parts: what a MemoryStore is made of, over one database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from .claims import Claims
from .database import Database
from .deletion import Eraser
from .fulltext import FullText, PostgresFullText, SqliteFullText
from .keyring import Keyring
from .outbox import Outbox
from .reader import Reader
from .safety_tally import SafetyTally
from .tables import memories
from .traces import Traces
from .writer import Writer


@dataclass(frozen=True, slots=True)
class Parts:
    """One object for each thing that is done with a database."""

    database: Database
    fulltext: FullText
    reader: Reader
    writer: Writer
    outbox: Outbox
    claims: Claims
    traces: Traces
    eraser: Eraser
    keys: Keyring
    safety_counts: SafetyTally

    @classmethod
    def of(cls, url: str, clock: Callable[[], datetime], *, small_file: int) -> Parts:
        database = Database(url)
        fulltext = SqliteFullText() if database.is_sqlite else PostgresFullText()
        return cls(
            database=database,
            fulltext=fulltext,
            reader=Reader(database, fulltext, clock),
            writer=Writer(database, fulltext, clock),
            outbox=Outbox(database),
            claims=Claims(database, clock),
            traces=Traces(database, clock),
            eraser=Eraser(database, fulltext, clock, small_file=small_file),
            keys=Keyring(database, clock),
            safety_counts=SafetyTally(database, clock),
        )

    def open(self) -> None:
        self.database.open()
        # Perhaps the process that deleted something was ended before it came to it.
        self.eraser.erase(thorough=True)

    def faults(self) -> tuple[str, ...]:
        """See `MemoryStore.check`."""
        found = self.database.faults()
        with self.database.reading() as connection:
            found += self.fulltext.faults(connection)
            successor = memories.alias("successor")
            there = (successor.c.person == memories.c.person) & (successor.c.id == memories.c.superseded_by)
            query = (
                select(memories.c.number)
                .outerjoin(successor, there)
                .where(memories.c.superseded_by.is_not(None), successor.c.number.is_(None))
            )
            found += [f"memory {number} is superseded by one that is gone" for number in connection.scalars(query)]
        return tuple(found)

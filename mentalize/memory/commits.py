"""Commits: how writers of one process take turns on SQLite, and share the wait for the disk.

SQLite has one writer at a time, and a durable commit waits for the disk, which takes longer than the write. So a writer
that finds others waiting behind it leaves the transaction open for the next one; the last of them commits for all. Each
returns only when that is done, and each can be undone alone: it is a savepoint of its own.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from threading import Event, Lock
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine

if TYPE_CHECKING:
    from sqlite3 import Connection as SqliteConnection

_MOST_WRITES = 64
"""In one commit, so that the first of them does not wait for ever."""
_IMPATIENCE = 0.1
"""Seconds after which a writer looks whether those who were to commit for it gave up."""


class _Batch:
    """Writes that will be committed together."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.writes = 0
        self.error: BaseException | None = None
        self.ended = Event()

    @property
    def open(self) -> bool:
        """Whether SQLite still has the transaction: a full disk makes it undo the whole."""
        driver: SqliteConnection | None = self.connection.connection.driver_connection
        return driver is not None and driver.in_transaction

    def end(self) -> None:
        """Commit, and let those who wait go on, with the error if there was one."""
        try:
            with self.connection:
                self.connection.commit()
        except BaseException as error:
            self.error = self.error or error
        finally:
            self.ended.set()


class Turns:
    """Who may write, one after another. Safe to use from several threads."""

    def __init__(self) -> None:
        self._turn = Lock()
        self._counting = Lock()
        self._waiting = 0
        self._batch: _Batch | None = None

    @contextmanager
    def writing(self, engine: Engine) -> Generator[Connection]:
        """A write that is undone if it raises, and on disk when this is left otherwise."""
        with self._in_turn():
            batch = self._batch = self._batch or _Batch(_begun(engine))
            try:
                yield from _undone_alone(batch)
            finally:
                if not self._waiting or batch.writes >= _MOST_WRITES or not batch.open:
                    self._end()
        while not batch.ended.wait(_IMPATIENCE):
            with self._in_turn():
                if self._batch is batch:
                    self._end()
        if batch.error is not None:
            raise batch.error

    @contextmanager
    def alone(self) -> Generator[None]:
        """No write is open or begun meanwhile."""
        with self._in_turn():
            self._end()
            yield

    @contextmanager
    def _in_turn(self) -> Generator[None]:
        with self._counting:
            self._waiting += 1
        try:
            self._turn.acquire()
        finally:
            with self._counting:
                self._waiting -= 1
        try:
            yield
        finally:
            self._turn.release()

    def _end(self) -> None:
        if self._batch is not None:
            batch, self._batch = self._batch, None
            batch.end()


def _begun(engine: Engine) -> Connection:
    connection = engine.connect()
    try:
        connection.begin()
    except BaseException:
        connection.close()
        raise
    return connection


def _undone_alone(batch: _Batch) -> Generator[Connection]:
    batch.connection.exec_driver_sql("SAVEPOINT one_write")
    try:
        yield batch.connection
    except BaseException as error:
        if batch.open:
            batch.connection.exec_driver_sql("ROLLBACK TO one_write")
            batch.connection.exec_driver_sql("RELEASE one_write")
        else:
            batch.error = error
        raise
    batch.connection.exec_driver_sql("RELEASE one_write")
    batch.writes += 1

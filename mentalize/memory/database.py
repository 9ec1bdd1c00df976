"""Database: one SQLite file or PostgreSQL database, opened, brought up to date, read and written."""

from __future__ import annotations

import os
import re
import sqlite3
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy
from sqlalchemy import URL, Connection, Engine, Table, event, inspect, make_url, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError

from ..errors import InputError, StoreCorrupt, StoreTooNew, StoreUnavailable
from .commits import Turns
from .faults import RESTORE, translated
from .tables import APPLICATION_ID, VERSION_TABLE, marks, metadata

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor

VERSIONS = ("0001", "0002", "0003", "0004")
"""The numbered migrations, in order."""
CURRENT = VERSIONS[-1]

Item = TypeVar("Item")

_BUSY_SECONDS = 5.0
"""How long an ordinary call waits for others who write, where the URL has no `timeout`; a turn waits for it."""
_PATIENCE = 6
"""Erasing waits so many times as long."""
_PAGE_BYTES = 8_192
"""Five vectors of 384 numbers to a page; pages of 4,096 bytes hold two, and a quarter of them stays empty."""
_CACHE_KIBIBYTES = 16_384
"""For each connection, at most; of the default of 2 MiB a search among 100,000 memories drops what it needs next."""
_LONGEST_LOG = 64 * 1024 * 1024
_ADVISORY_LOCK = 0x6D656E74
_BACKUP = ".before-"
_IDENTITY = "identity"


class Database:
    """An engine that is opened when it is first needed. Safe to use from several threads.

    Args:
        url: a SQLAlchemy URL, `sqlite:///…` or `postgresql://…`. As for SQLAlchemy, `?timeout=…` says how many
            seconds SQLite waits for others who write.
    """

    def __init__(self, url: str) -> None:
        self._url = _parsed(url)
        self._busy_seconds = _seconds(self._url.query.get("timeout", _BUSY_SECONDS))
        self._opening = RLock()
        self._turns = Turns()
        self._engine: Engine | None = None

    @property
    def place(self) -> str:
        """What a person calls it; without a password."""
        if self.path is not None:
            return f"The memory database {self.path}"
        return f"The memory database {self._url.render_as_string(hide_password=True)}"

    @property
    def is_sqlite(self) -> bool:
        return self._url.get_backend_name() == "sqlite"

    @property
    def path(self) -> Path | None:
        """The SQLite file, if it is one."""
        name = self._url.database
        return Path(name) if self.is_sqlite and name and name != ":memory:" else None

    def open(self) -> None:
        """Open it and bring its tables up to date.

        Raises:
            StoreTooNew: a newer version of mentalize has written it.
            StoreCorrupt: it is damaged or not ours. In both cases nothing was changed.
        """
        with self._opening:
            if self._engine is None:
                with translated(self.place):
                    self._engine = self._opened()

    def close(self) -> None:
        with self._opening:
            if self._engine is not None:
                self._engine.dispose()
                self._engine = None

    @contextmanager
    def reading(self) -> Generator[Connection]:
        """A transaction that sees one state of the database and changes nothing."""
        engine = self._ready()
        if not self.is_sqlite:
            engine = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        with translated(self.place), engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Generator[Connection]:
        """A transaction that is committed at the end, durably, or undone as a whole."""
        engine = self._ready()
        with translated(self.place), self._transaction(engine.execution_options(writes=True)) as connection:
            yield connection

    @property
    def identity(self) -> str:
        """A random name that this database has wherever it is, made when it is first asked for."""
        query = select(marks.c.value).where(marks.c.name == _IDENTITY)
        with self.reading() as connection:
            if (name := connection.scalar(query)) is not None:
                return name
        with self.writing() as connection:
            insert_or_ignore(connection, marks, name=_IDENTITY, value=uuid.uuid4().hex)
            return connection.scalars(query).one()

    @property
    def size(self) -> int:
        """Bytes of the SQLite file; 0 for other databases."""
        return self.path.stat().st_size if self.path is not None else 0

    def erase(self, *, rewrite: bool) -> bool:
        """Erase what was deleted from the full-text index, the log and the backup copies of a SQLite database.

        Args:
            rewrite: Whether to write the whole file anew, too, so that nothing stays in unused parts of it.

        Returns:
            False if others were reading all the while, so that the log could not be emptied.
        """
        if not self.is_sqlite:
            return True
        engine = self._ready()
        with translated(self.place), self._turns.alone(), closing(engine.raw_connection()) as connection:
            cursor = connection.cursor()
            with _patient(cursor, self._busy_seconds):
                # The full-text index drops deleted terms only when its parts are merged into one.
                cursor.execute("INSERT INTO terms (terms) VALUES ('optimize')")
                if rewrite:
                    cursor.execute("VACUUM")
                cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                (still_read, *_) = cursor.fetchall()[0]
            self._remove_backups()
        return not still_read

    def faults(self) -> list[str]:
        """What SQLite's own checks find."""
        if not self.is_sqlite:
            return []
        with self.reading() as connection:
            found = [str(row[0]) for row in connection.execute(text("PRAGMA integrity_check"))]
            links = connection.execute(text("PRAGMA foreign_key_check")).all()
        return [line for line in found if line != "ok"] + [f"{link[0]}: a row refers to nothing" for link in links]

    # --- opening ------------------------------------------------------------------------------------------

    def _ready(self) -> Engine:
        if self._engine is None:
            self.open()
        assert self._engine is not None
        return self._engine

    def _transaction(self, writer: Engine) -> AbstractContextManager[Connection]:
        return self._turns.writing(writer) if self.is_sqlite else writer.begin()

    def _opened(self) -> Engine:
        if self.path is not None:
            self._prepare_file(self.path)
        engine = self._new_engine()
        try:
            with engine.connect() as connection:
                version = _version_of(connection, self.place)
            if version != CURRENT:
                self._upgrade(engine)
        except BaseException:
            engine.dispose()
            raise
        return engine

    def _new_engine(self) -> Engine:
        if not self.is_sqlite:
            return self._new_postgresql_engine()
        # A database in memory is its only connection.
        sizes = {} if self.path else {"poolclass": sqlalchemy.QueuePool, "pool_size": 1, "max_overflow": 0}
        arguments = {"timeout": self._busy_seconds, "check_same_thread": False}
        engine = sqlalchemy.create_engine(self._url, connect_args=arguments, **sizes)
        event.listen(engine, "connect", partial(_set_up_sqlite, self._busy_seconds))
        event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _new_postgresql_engine(self) -> Engine:
        try:
            return sqlalchemy.create_engine(self._url, pool_pre_ping=True)
        except ImportError as error:
            raise StoreUnavailable(
                f"{self.place} needs a driver that is not installed ({error}).",
                hint="pip install 'mentalize[postgres]'",
            ) from error

    def _prepare_file(self, path: Path) -> None:
        """Look at what is there without touching it, or make an empty file that only its owner can read."""
        if path.exists() and path.stat().st_size > 0:
            with closing(_read_only(path, self._busy_seconds)) as connection:
                _refuse_foreign(connection, self.place)
            return
        if not path.parent.exists():
            path.parent.mkdir(parents=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))

    def _upgrade(self, engine: Engine) -> None:
        with engine.execution_options(writes=True).begin() as connection:
            if not self.is_sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
            # Another process may have done it while this one waited.
            version = _version_of(connection, self.place)
            if version == CURRENT:
                return
            if version is not None and self.path is not None:
                self._back_up(self.path, version)
            migrate(connection)

    def _back_up(self, path: Path, version: str) -> None:
        """A copy beside the file, as it was. It lives until the next upgrade or until something is forgotten."""
        self._remove_backups()
        copy = path.with_name(f"{path.name}{_BACKUP}{CURRENT}")
        os.close(os.open(copy, os.O_CREAT | os.O_RDWR | os.O_TRUNC, 0o600))
        with closing(_read_only(path, self._busy_seconds)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)

    def _remove_backups(self) -> None:
        if self.path is not None:
            for copy in self.path.parent.glob(f"{_literal(self.path.name)}{_BACKUP}*"):
                copy.unlink(missing_ok=True)


def migrate(connection: Connection, version: str = "head") -> None:
    """Run the numbered migrations up to `version`, within the connection's transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, version)


def batches(items: Sequence[Item], size: int = 1_000) -> Iterator[Sequence[Item]]:
    """The items in pieces that a statement can take as parameters."""
    return (items[start : start + size] for start in range(0, len(items), size))


def insert_or_ignore(connection: Connection, table: Table, **values: Any) -> None:
    """Insert a row unless one with its unique values is there; both databases can, each in a dialect of its own."""
    insertion = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    connection.execute(insertion(table).values(**values).on_conflict_do_nothing())


def _parsed(url: str) -> URL:
    try:
        # Heroku and others write postgres://, which SQLAlchemy no longer takes; psycopg 3 is the driver we ask for.
        parsed = make_url(re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", url))
    except ArgumentError as error:
        raise InputError(
            "The memory's URL is no database URL.",  # Not shown: it may hold a password.
            hint="Give one such as sqlite:////home/ana/memory.db or postgresql://host/name.",
        ) from error
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise InputError(
            f"mentalize keeps no memory in {parsed.get_backend_name()}.", hint="Use a sqlite:/// or postgresql:// URL."
        )
    return parsed


def _seconds(given: object) -> float:
    try:
        return float(str(given))
    except ValueError as error:
        raise InputError(f"timeout={given} is no number of seconds.", hint="Correct the database's URL.") from error


def _literal(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)


def _read_only(path: Path, busy_seconds: float) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=busy_seconds)


def _refuse_foreign(connection: sqlite3.Connection, place: str) -> None:
    """Raise for a file that is damaged, another application's, or too new."""
    tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master")]
    if not tables:
        return
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID or VERSION_TABLE not in tables:
        raise StoreCorrupt(f"{place} is another application's.", hint="It was left as it is; choose another file.")
    row = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()
    _check_version(None if row is None else str(row[0]), place)


def _version_of(connection: Connection, place: str) -> str | None:
    """The version of the tables; None for an empty database."""
    present = set(inspect(connection).get_table_names())
    if VERSION_TABLE not in present:
        if present & set(metadata.tables):
            raise StoreCorrupt(
                f"{place} holds tables of another application.",
                hint="Nothing was changed. Give mentalize a database or schema of its own.",
            )
        return None
    version = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))
    _check_version(version, place)
    return version


def _check_version(version: str | None, place: str) -> None:
    if version in VERSIONS:
        return
    if version is not None and re.fullmatch(r"\d{4}", version) and version > CURRENT:
        raise StoreTooNew(
            f"{place} was written by a newer version of mentalize (tables {version}, this one knows {CURRENT}).",
            hint="Nothing was changed. Upgrade mentalize.",
        )
    raise StoreCorrupt(f"{place} has no valid version.", hint=RESTORE)


def _set_up_sqlite(busy_seconds: float, connection: DBAPIConnection, record: Any) -> None:
    # The driver begins no transactions by itself: `_begin_sqlite` says which kind.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
    _retried(lambda: cursor.execute("PRAGMA journal_mode = WAL"), busy_seconds)
    cursor.execute(f"PRAGMA cache_size = -{_CACHE_KIBIBYTES}")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA secure_delete = ON")
    cursor.execute(f"PRAGMA journal_size_limit = {_LONGEST_LOG}")
    cursor.close()


@contextmanager
def _patient(cursor: DBAPICursor, busy_seconds: float) -> Generator[None]:
    """Wait longer for others inside."""
    cursor.execute(f"PRAGMA busy_timeout = {round(_PATIENCE * busy_seconds * 1_000)}")
    try:
        yield
    finally:
        cursor.execute(f"PRAGMA busy_timeout = {round(busy_seconds * 1_000)}")


def _retried(change: Callable[[], object], seconds: float) -> None:
    """SQLite does not wait for its lock when it changes the journal mode, so that first opens at once would fail."""
    until = time.monotonic() + seconds
    while True:
        try:
            change()
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

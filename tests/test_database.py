"""The SQLite file: who may read it, what it was before, what is wrong with it, and what is left in it."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, event

from mentalize.errors import InputError, StoreCorrupt, StoreError, StoreTooNew, StoreUnavailable
from mentalize.memory import database
from mentalize.memory.faults import translated
from mentalize.memory.store import Filter, MemoryStore
from mentalize.memory.tables import VERSION_TABLE, metadata
from mentalize.types import Identity, Memory, MemoryKind

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
ANA = Identity(tenant="acme-holdings", user="ana-garcía")
BO = Identity(tenant="acme-holdings", user="bo")
SECRET = "xylophone in the cellar"


def turn(name: str, text: str = "I went to the river.", minute: int = 0) -> Memory:
    return Memory(id=name, kind=MemoryKind.TURN, text=text, observed_at=NOON + timedelta(minutes=minute))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory.db"


@pytest.fixture
def open_store(path: Path) -> Iterator[Callable[[], MemoryStore]]:
    made: list[MemoryStore] = []

    def build(query: str = "", small_file: int = 1 << 26) -> MemoryStore:
        made.append(MemoryStore(f"sqlite:///{path}{query}", clock=lambda: NOON, small_file=small_file))
        return made[-1]

    yield build
    for store in made:
        store.close()


@pytest.fixture
def store(open_store: Callable[[], MemoryStore]) -> MemoryStore:
    return open_store()


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


# --- the file itself --------------------------------------------------------------------------------------


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    store = MemoryStore(f"sqlite:///{tmp_path}/new/folder/memory.db", clock=lambda: NOON)
    store.add(ANA, [turn("a")])
    folder = tmp_path / "new" / "folder"
    modes = {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()}
    assert modes == {"memory.db": 0o600, "memory.db-wal": 0o600, "memory.db-shm": 0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
    store.close()


def test_a_write_survives_without_closing(store: MemoryStore, path: Path) -> None:
    store.add(ANA, [turn("a")])
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("SELECT id FROM memories").fetchall() == [("a",)]


def test_a_database_in_memory_serves_a_program_that_keeps_nothing() -> None:
    store = MemoryStore("sqlite://", clock=lambda: NOON)
    store.add(ANA, [turn("a")])
    assert store.forget_all(ANA).counts == {"turn": 1} and not store.exists(ANA)
    store.close()


def test_a_closed_store_opens_again(store: MemoryStore) -> None:
    store.add(ANA, [turn("a")])
    store.close()
    assert store.count(ANA) == {"turn": 1}


@pytest.mark.parametrize(
    ("url", "complaint"),
    [("memory.db", "no database URL"), ("mysql://host/name", "keeps no memory in mysql")],
)
def test_other_urls_are_refused(url: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        MemoryStore(url, clock=lambda: NOON).open()


def test_nothing_heavy_is_loaded_before_it_is_needed(store: MemoryStore, path: Path) -> None:
    store.open()
    program = f"""
import sys
from datetime import UTC, datetime
from mentalize.memory.store import MemoryStore
heavy = [{{"sqlalchemy", "alembic", "numpy"}} & set(sys.modules)]
MemoryStore("sqlite:///{path}", clock=lambda: datetime.now(UTC)).open()
print(heavy[0] or {{"alembic"}} & set(sys.modules) or "nothing")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "nothing"


# --- what it was before -----------------------------------------------------------------------------------


def make_old(path: Path, version: str) -> None:
    """A database as an earlier version left it, with a person and a memory."""
    engine = create_engine(f"sqlite:///{path}")
    event.listen(engine, "connect", lambda connection, _: setattr(connection, "isolation_level", None))
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    with engine.begin() as connection:
        database.migrate(connection, version)
        connection.exec_driver_sql("INSERT INTO people VALUES (1, 'acme-holdings', 'ana-garcía', NULL, 4294967297, 0)")
        connection.exec_driver_sql(
            "INSERT INTO memories VALUES (1, 1, 'a', 'turn', 'confirmed', 1777636800000000, 1777636800000000, NULL,"
            " NULL, NULL, NULL, 3, 0.5, NULL, 0, 0, 'ana', 's', NULL, '[]', '[]', 4294967297, 1, 'river', '',"
            """ '{"role": "user"}')"""
        )
        connection.exec_driver_sql("INSERT INTO terms (rowid, words) VALUES (1, '1§river')")
        connection.exec_driver_sql("INSERT INTO outbox VALUES (1, 1, 'a', 0)")
    engine.dispose()


@pytest.mark.parametrize("version", database.VERSIONS)
def test_an_older_database_is_brought_up_to_date_with_all_it_holds(
    open_store: Callable[[], MemoryStore], path: Path, version: str
) -> None:
    make_old(path, version)
    store = open_store()
    (memory,) = store.find(ANA, Filter())
    assert (memory.text, memory.strength, memory.observed_at, dict(memory.details)) == (
        "river",
        3,
        NOON,
        {"role": "user"},
    )
    assert store.matching(ANA, ["river"], limit=1)[0][0] == "a"
    assert [entry.text for entry in store.outbox("e", limit=1)] == ["river"]
    assert store.claim(ANA, "work", seconds=1) and store.check() == ()
    copies = list(path.parent.glob("memory.db.before-*"))
    if version == database.CURRENT:
        assert not copies
        return
    (copy,) = copies
    assert copy.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(copy)) as old:
        assert old.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone() == (version,)
        assert old.execute("SELECT text FROM memories").fetchone() == ("river",)
    store.forget(ANA, ["a"])
    assert not copy.exists(), "it held what was forgotten"


def test_the_migrations_make_the_tables_that_the_code_knows(store: MemoryStore, path: Path) -> None:
    store.open()

    def ours(thing: object, name: str | None, kind: str, reflected: bool, compared: object) -> bool:
        return not (kind == "table" and reflected and (name or "").startswith(("term", VERSION_TABLE)))

    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": ours, "compare_type": False})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def open_one(path: Path) -> None:
    store = MemoryStore(f"sqlite:///{path}", clock=lambda: NOON)
    store.open()
    store.close()


@pytest.mark.parametrize("old", [False, True], ids=["new", "old"])
def test_processes_may_open_it_for_the_first_time_at_once(
    open_store: Callable[[], MemoryStore], path: Path, old: bool
) -> None:
    if old:
        make_old(path, database.VERSIONS[0])
    context = multiprocessing.get_context("fork")
    openers = [context.Process(target=open_one, args=(path,)) for _ in range(6)]
    for opener in openers:
        opener.start()
    for opener in openers:
        opener.join()
    assert [opener.exitcode for opener in openers] == [0] * 6
    assert open_store().count(ANA) == ({"turn": 1} if old else {})


# --- what is wrong with it --------------------------------------------------------------------------------


def test_a_newer_database_is_refused_and_left_alone(open_store: Callable[[], MemoryStore], path: Path) -> None:
    first = open_store()
    first.add(ANA, [turn("a")])
    first.close()
    execute(path, f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    before = path.read_bytes()
    with pytest.raises(StoreTooNew, match=r"newer version of mentalize .*Upgrade mentalize"):
        open_store().open()
    assert path.read_bytes() == before


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[100 : len(content) // 2] = os.urandom(len(content) // 2 - 100)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda path: path.write_text("Dear diary, " * 1_000), "is no SQLite database .*Restore it from a backup"),
        (damage, "is damaged.*import your last export"),
        (lambda path: path.write_bytes(path.read_bytes()[:20_000]), "is damaged"),
        (lambda path: (path.unlink(), execute(path, "CREATE TABLE memories (a)")), "another application's"),
        (lambda path: execute(path, f"DELETE FROM {VERSION_TABLE}"), "no valid version"),
    ],
    ids=["text", "damaged", "cut short", "foreign", "no version"],
)
def test_what_is_no_sound_database_of_ours_is_left_alone(
    open_store: Callable[[], MemoryStore], path: Path, spoil: Callable[[Path], object], complaint: str
) -> None:
    first = open_store()
    first.add(ANA, [turn("a")])
    first.close()
    spoil(path)
    before = path.read_bytes()
    with pytest.raises(StoreCorrupt, match=complaint):
        open_store().get(ANA, ["a"])
    assert path.read_bytes() == before


def test_check_finds_what_does_not_fit_together(store: MemoryStore, path: Path) -> None:
    store.add(ANA, [turn("a"), turn("b"), turn("c")])
    execute(
        path,
        "DELETE FROM terms WHERE rowid = 1",
        "INSERT INTO terms (rowid, words) VALUES (99, 'x')",
        "UPDATE memories SET superseded_by = 'gone' WHERE id = 'b'",
        "INSERT INTO sources VALUES (1, 'x', 77)",
    )
    assert sorted(store.check()) == [
        "memory 1 is not searchable by its words",
        "memory 2 is superseded by one that is gone",
        "sources: a row refers to nothing",
        "the full-text index holds memory 99, which is gone",
    ]


def test_a_folder_that_cannot_be_made_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="cannot be reached: Not a directory"):
        MemoryStore(f"sqlite:///{tmp_path}/file/memory.db", clock=lambda: NOON).open()


def try_to_write(path: Path, told: multiprocessing.SimpleQueue[str]) -> None:
    if os.geteuid() == 0:  # Root may write anywhere.
        os.setuid(65_534)
    store = MemoryStore(f"sqlite:///{path}", clock=lambda: NOON)
    try:
        store.add(ANA, [turn("b")])
        told.put("written")
    except StoreError as error:
        told.put(f"{type(error).__name__}: {error}")


@pytest.mark.parametrize("there", [True, False], ids=["file", "folder"])
def test_a_place_that_cannot_be_written_is_told_so(
    open_store: Callable[[], MemoryStore], path: Path, there: bool
) -> None:
    for folder in (path.parent, path.parent.parent):
        folder.chmod(0o755)
    if there:
        first = open_store()
        first.add(ANA, [turn("a")])
        first.close()
        path.chmod(0o444)
    path.parent.chmod(0o555)
    before = contents(path.parent)
    context = multiprocessing.get_context("fork")
    told: multiprocessing.SimpleQueue[str] = context.SimpleQueue()
    writer = context.Process(target=try_to_write, args=(path, told))
    writer.start()
    writer.join()
    path.parent.chmod(0o755)
    assert told.get().startswith("StoreUnavailable: The memory database")
    assert contents(path.parent) == before


def test_a_database_that_others_keep_busy_is_told_so(open_store: Callable[..., MemoryStore], path: Path) -> None:
    store = open_store("?timeout=0.05")
    store.add(ANA, [turn("a")])
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match=r"is busy.*Try again"):
            store.add(ANA, [turn("b")])
        assert store.count(ANA) == {"turn": 1}, "reading goes on"
    store.add(ANA, [turn("b")])


def test_a_full_disk_keeps_what_was_acknowledged(store: MemoryStore, path: Path) -> None:
    store.add(ANA, [turn("a")])
    with store._parts.database.writing() as connection:  # pyright: ignore[reportPrivateUsage]
        # The limit belongs to the connection, which the pool hands out again.
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
    with pytest.raises(StoreUnavailable, match=r"the disk is full.*Free some space"):
        store.add(ANA, [turn(f"b{n}", "word " * 5_000) for n in range(9)])
    store.close()
    assert store.count(ANA) == {"turn": 1} and store.check() == ()
    store.add(ANA, [turn("b")])


def test_a_driver_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreUnavailable, match=r"needs a driver.*pip install 'mentalize\[postgres\]'"):
        MemoryStore("postgres://localhost/nowhere", clock=lambda: NOON).open()


def test_an_error_of_the_driver_keeps_its_cause() -> None:
    with pytest.raises(StoreError) as raised, translated("It"), closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("SELECT nothing")
    assert isinstance(raised.value.__cause__, sqlite3.OperationalError)


# --- what is left in it -----------------------------------------------------------------------------------


def fill(store: MemoryStore) -> None:
    """Rows of two people in turn, so that what is forgotten lies between what stays."""
    for start in range(0, 120, 10):
        numbers = range(start, start + 10)
        store.add(ANA, [turn(f"{n}/user", f"{SECRET} {n} " * (n % 7 + 1), minute=n) for n in numbers])
        store.add(BO, [turn(f"{n}/user", f"the river {n} " * (n % 5 + 1), minute=n) for n in numbers])
    entries = store.outbox("e", limit=999)
    store.indexed("e", entries, np.full((len(entries), 8), 0.12345678, np.float32), dimensions=8)
    for n in range(0, 120, 20):
        store.change(ANA, f"{n}/user", text=f"{SECRET} changed {n}", quote=SECRET, details={"said": SECRET})


def remains(folder: Path, *words: str) -> list[str]:
    return [
        f"{word} in {name}"
        for name, content in contents(folder).items()
        for word in words
        if word.encode() in content or word.encode("utf-16-le") in content
    ]


def test_no_byte_of_a_forgotten_person_is_left(open_store: Callable[[], MemoryStore], path: Path) -> None:
    store, other = open_store(), open_store()
    fill(store)
    assert other.count(ANA) == {"turn": 120}, "another process has the file open"
    (path.parent / "memory.db.before-0002").write_bytes(path.read_bytes())
    assert store.forget_all(ANA).erased
    words = (*SECRET.split()[::3], "xylophon", "changed", "ana-garc", "garcía")
    assert remains(path.parent, *words) == []
    assert other.count(BO) == {"turn": 120} and other.check() == ()
    other.add(BO, [turn("more")])
    other.close()
    store.close()
    assert remains(path.parent, *words) == []


def test_no_byte_of_a_forgotten_memory_is_left(store: MemoryStore, path: Path) -> None:
    fill(store)
    some = [memory.id for memory in store.find(ANA, Filter())]
    assert store.forget(ANA, some).erased
    assert remains(path.parent, "xylophon", "cellar") == []
    assert store.count(BO) == {"turn": 120} and store.check() == ()


def test_what_could_not_be_erased_yet_is_erased_at_the_next_opening(
    open_store: Callable[..., MemoryStore], path: Path
) -> None:
    store = open_store("?timeout=0.05")
    fill(store)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM memories").fetchone()
        deleted = store.forget_all(ANA)
        assert (deleted.counts["turn"], deleted.erased) == (120, False)
    assert remains(path.parent, "xylophone")
    store.close()
    open_store().open()
    assert remains(path.parent, "xylophone") == []


def test_a_large_file_is_written_anew_at_the_next_opening_only(
    open_store: Callable[..., MemoryStore], path: Path
) -> None:
    store = open_store(small_file=1)
    fill(store)
    assert not store.forget(ANA, [f"{n}/user" for n in range(120)]).erased
    store.close()
    open_store().open()
    assert remains(path.parent, "xylophon", "cellar") == []

"""What is PostgreSQL's own; everything else is tested on both databases in test_store.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import psycopg
import pytest

from mentalize.errors import StoreCorrupt, StoreTooNew, StoreUnavailable
from mentalize.memory.store import MemoryStore
from mentalize.types import Identity, Memory, MemoryKind

pytestmark = pytest.mark.postgres

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
ANA = Identity(tenant="acme", user="ana")


@pytest.fixture
def open_store(postgres_url: str) -> Iterator[Callable[[], MemoryStore]]:
    made: list[MemoryStore] = []

    def build() -> MemoryStore:
        made.append(MemoryStore(postgres_url, clock=lambda: NOON))
        return made[-1]

    yield build
    for store in made:
        store.close()


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(statement.encode())


def test_several_servers_may_open_it_for_the_first_time_at_once(open_store: Callable[[], MemoryStore]) -> None:
    stores = [open_store() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda store: store.open(), stores))
    assert stores[0].check() == ()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_usual_form_of_its_url_is_taken(postgres_url: str, scheme: str) -> None:
    store = MemoryStore(postgres_url.replace("postgresql", scheme, 1), clock=lambda: NOON)
    assert store.people() == ()
    store.close()


def test_tables_of_another_application_are_left_alone(open_store: Callable[[], MemoryStore], postgres_url: str) -> None:
    execute(postgres_url, "CREATE TABLE people (name text)")
    with pytest.raises(StoreCorrupt, match="tables of another application"):
        open_store().open()
    with psycopg.connect(postgres_url) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()").fetchall()
    assert tables == [("people",)]


def test_a_newer_database_is_refused(open_store: Callable[[], MemoryStore], postgres_url: str) -> None:
    open_store().open()
    execute(postgres_url, "UPDATE mentalize_version SET version_num = '9999'")
    with pytest.raises(StoreTooNew):
        open_store().open()


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("postgresql://127.0.0.1:1/test", "Check that the server is up"),
        ("postgresql://ana:hunter2@127.0.0.1:1/test", r"ana:\*\*\*@"),
    ],
)
def test_a_server_that_is_away_is_told_so_without_its_password(url: str, complaint: str) -> None:
    with pytest.raises(StoreUnavailable, match=complaint) as raised:
        MemoryStore(url, clock=lambda: NOON).open()
    assert "hunter2" not in str(raised.value)


def test_a_connection_that_the_server_dropped_is_replaced(postgres_url: str) -> None:
    name = postgres_url.rpartition("%3D")[2]
    store = MemoryStore(f"{postgres_url}&application_name={name}", clock=lambda: NOON)
    store.add(ANA, [Memory(id="a", kind=MemoryKind.TURN, text="river", observed_at=NOON)])
    with psycopg.connect(postgres_url) as connection:
        query = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = %s"
        dropped = connection.execute(query, (name,)).fetchone()
    assert dropped and dropped[0] >= 1
    assert store.count(ANA) == {"turn": 1}
    store.close()

"""What every test gets: no settings or keys of the machine it runs on, and no way to any address but loopback."""

import ipaddress
import logging
import os
import shutil
import signal
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from clocks import Clock
from real_vllm import vllm_server
from social_script import SCRIPT

for name, value in {"HF_HUB_OFFLINE": "1", "LANGSMITH_TRACING": "false", "OMP_WAIT_POLICY": "PASSIVE"}.items():
    os.environ.setdefault(name, value)

__all__ = ["vllm_server"]  # a fixture that tests find here

STAGES = {
    "local_model": "need the embedded model's weights (1.1 GB)",
    "fuzz": "try many random inputs and take minutes",
    "browser": "need a browser",
    "postgres": "need a PostgreSQL server",
    "node": "need Node.js and npm",
    "vllm": "need vLLM for processors (3.5 GB) and minutes",
}
_left_out: Counter[str] = Counter()


# Where a shell started the tests in the background, Ctrl-C is ignored, also by every program that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _refuse_other_hosts(event: str, arguments: tuple[object, ...]) -> None:
    if event != "socket.connect" or not isinstance(address := arguments[1], tuple):
        return
    host = str(address[0]).partition("%")[0]
    if host not in ("localhost", "") and not ipaddress.ip_address(host).is_loopback:
        raise PermissionError(f"A test tried to connect to {address}; tests speak to loopback only.")


sys.addaudithook(_refuse_other_hosts)


@pytest.fixture(autouse=True)
def _own_environment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither settings nor keys of this machine; folders of its own, but for what is dear to make."""
    for name in list(os.environ):
        if name.upper().startswith("MENTALIZE_") or name.upper().endswith("_API_KEY"):
            monkeypatch.delenv(name)
    folders = {"XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"}
    if not any(request.node.get_closest_marker(kept) for kept in ("local_model", "vllm")):
        folders.add("XDG_CACHE_HOME")
    for folder in folders:
        monkeypatch.setenv(folder, str(tmp_path / folder.lower()))


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """A schema of its own on the PostgreSQL server of POSTGRES_TEST_URL, dropped at the end."""
    import psycopg

    server = os.environ.get("POSTGRES_TEST_URL", "postgresql://127.0.0.1/test")
    schema = f"mentalize_{uuid.uuid4().hex}"
    try:
        connection = psycopg.connect(server, autocommit=True, connect_timeout=5)
    except psycopg.OperationalError as error:
        if os.environ.get("POSTGRES_REQUIRED"):
            raise
        pytest.skip(f"no PostgreSQL server: {error}")
    with connection:
        connection.execute(f'CREATE SCHEMA "{schema}"'.encode())
        yield f"{server}?options=-csearch_path%3D{schema}"
        connection.execute(f'DROP SCHEMA "{schema}" CASCADE'.encode())


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with all tables and nothing in them, to copy: the migrations take a tenth of a second."""
    from mentalize.memory.store import MemoryStore

    path = tmp_path_factory.mktemp("empty") / "memory.db"
    store = MemoryStore(f"sqlite:///{path}", clock=lambda: datetime(2026, 5, 1, tzinfo=UTC))
    store.open()
    store.close()
    return path


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database; the tests marked `postgres` get one on a server."""
    if request.param == "postgres":
        return request.getfixturevalue("postgres_url")
    shutil.copy(request.getfixturevalue("empty_database"), tmp_path / "memory.db")
    return f"sqlite:///{tmp_path}/memory.db"


@pytest.fixture
def clock() -> Clock:
    """Stands still at noon of the first of May 2026."""
    return Clock(datetime(2026, 5, 1, 12, tzinfo=UTC))


@pytest.fixture
def open_store(database_url: str, clock: Clock) -> Iterator[Callable[[], Any]]:
    """Makes stores over one database, as several processes would."""
    from mentalize.memory.store import MemoryStore

    made: list[MemoryStore] = []

    def build() -> MemoryStore:
        made.append(MemoryStore(database_url, clock=clock))
        return made[-1]

    yield build
    for store in made:
        store.close()


@pytest.fixture
def store(open_store: Callable[[], Any]) -> Any:
    return open_store()


@pytest.fixture
async def mind(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Makes minds whose model plays the script of a good turn, with a memory, on the first of March 2026."""
    from mentalize import Mind
    from mentalize.llm.scripted import ScriptedModel

    made: list[Mind] = []

    def build(script: Any = None, **settings: Any) -> Mind:
        usual = {
            "model": ScriptedModel({**SCRIPT, **(script or {})}),
            "cache_folder": tmp_path,
            "clock": lambda: datetime(2026, 3, 1, 12, tzinfo=UTC),
            "memory": {"url": f"sqlite:///{tmp_path / 'memory.db'}", "embedder": "fake"},
        }
        made.append(Mind(**{**usual, **settings}))
        return made[-1]

    yield build
    for one in made:
        await one.close()


@pytest.fixture
def own_logging() -> Iterator[None]:
    """`main` configures logging for a whole process; give the process of the tests its own back."""
    import structlog

    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers, root.level = handlers, level
    logging.getLogger("mentalize").setLevel(logging.NOTSET)
    structlog.reset_defaults()


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Count what the default selection leaves out."""
    for item in items:
        _left_out.update(stage for stage in STAGES if item.get_closest_marker(stage))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where tests run in several processes, each tells the first one what it left out."""
    told = getattr(session.config, "workeroutput", None)
    if told is not None:
        told["left_out"] = dict(_left_out)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """All processes leave out the same."""
    _left_out.clear()
    _left_out.update(getattr(node, "workeroutput", {}).get("left_out", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was left out, and how to run it."""
    chosen = str(config.getoption("markexpr"))
    for stage, count in _left_out.items():
        if f"not {stage}" in chosen:
            terminalreporter.write_line(
                f"left out: {count} tests that {STAGES[stage]}; to run them: python3.11 scripts/test.py -m {stage}"
            )

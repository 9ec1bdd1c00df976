"""The public surface: what `mentalize` exports, and what importing it costs."""

import json
import subprocess
import sys

import pytest

import mentalize

RUNTIMES = {"chromadb", "langgraph", "litellm", "openai", "torch", "xllamacpp"}
MEMORY = {"alembic", "dateparser", "matplotlib", "numpy", "onnxruntime", "sqlalchemy", "tokenizers"}
HEAVY = RUNTIMES | MEMORY | {"aiohttp", "prompt_toolkit", "rich", "typer"}


def modules_after(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after `statement`."""
    program = f"import json, sys\n{statement}\nprint(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


def test_exports_are_sorted_and_each_once() -> None:
    assert list(mentalize.__all__) == sorted(set(mentalize.__all__))


def test_exports_are_what_dir_shows() -> None:
    assert set(mentalize.__all__) <= set(dir(mentalize))


@pytest.mark.parametrize("name", mentalize.__all__)
def test_every_export_exists(name: str) -> None:
    assert getattr(mentalize, name) is not None


def test_an_unknown_name_is_an_attribute_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match="Mnid"):
        _ = mentalize.Mnid  # pyright: ignore[reportAttributeAccessIssue]


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not modules_after("import mentalize") & HEAVY


def test_importing_the_mind_loads_no_engine_and_no_model_runtime() -> None:
    assert not modules_after("from mentalize import Mind") & RUNTIMES


def test_importing_memory_loads_no_database_and_no_embedder() -> None:
    assert not modules_after("from mentalize import Memories, MemoryKind, resolve_embedder") & (RUNTIMES | MEMORY)


def test_help_loads_nothing_heavy() -> None:
    asked = "from mentalize.cli.main import main; main(['memory', '--help'])"
    assert not modules_after(asked) & (RUNTIMES | MEMORY)


def test_importing_the_package_starts_nothing() -> None:
    program = (
        "import threading, sys\n"
        "events = []\n"
        "sys.addaudithook(lambda event, _: events.append(event))\n"
        "import mentalize\n"
        "reached = [event for event in events if event.startswith(('socket.', 'subprocess.', 'os.system'))]\n"
        "assert not reached, reached\n"
        "assert threading.active_count() == 1\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)

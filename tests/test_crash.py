"""A writer is killed at random moments: what it acknowledged is there, and everything fits together."""

from __future__ import annotations

import os
import random
import signal
import time
import traceback
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from mentalize.memory.store import Filter, MemoryStore
from mentalize.types import Identity, Memory, MemoryKind

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
ANA = Identity(tenant="acme", user="ana")
BO = replace(ANA, user="bo")
EMBEDDER = "test/4"


def memory(name: str, text: str, **parts: object) -> Memory:
    return Memory(**{"id": name, "kind": MemoryKind.TURN, "text": text, "observed_at": NOON} | parts)  # pyright: ignore[reportArgumentType]


def embed(store: MemoryStore) -> None:
    entries = store.outbox(EMBEDDER, limit=1_000)
    rows = [[len(entry.text), 0, 0, 1] for entry in entries if not entry.deleted]
    store.indexed(EMBEDDER, entries, np.array(rows, np.float32).reshape(-1, 4), dimensions=4)


def write(url: str, start: int, acknowledge: int) -> None:
    """Write without end; a line to the pipe for each write that returned."""
    store = MemoryStore(url, clock=lambda: NOON)
    for n in range(start, start + 1_000_000):
        turns = [memory(f"{n}/{who}", f"river {n} {who}", details={"turn_id": n}) for who in ("user", "assistant")]
        store.add(ANA, turns)
        os.write(acknowledge, f"turn {n}\n".encode())
        store.add(ANA, [memory(f"fact {n}", f"likes {n}", kind=MemoryKind.FACT, sources=(f"{n}/user",))])
        os.write(acknowledge, f"fact {n}\n".encode())
        if n % 3 == 0:
            embed(store)
        if n % 4 == 1:
            store.change(ANA, f"{n}/user", text=f"lake {n}")
            os.write(acknowledge, f"changed {n}\n".encode())
        if n % 5 == 2:
            store.supersede(ANA, [f"fact {n}"], memory(f"newer {n}", "x", kind=MemoryKind.FACT))
            os.write(acknowledge, f"newer {n}\n".encode())
        if n % 7 == 3:
            store.forget(ANA, [f"{n}/user"])
            os.write(acknowledge, f"forgot {n}\n".encode())
        if n % 11 == 4:
            store.add(BO, [memory(f"bo {n}", "secret")])
            store.forget_all(BO)


def killed_writer(url: str, start: int, moment: random.Random) -> list[tuple[str, int]]:
    """What a writer acknowledged before it was killed, somewhere in the middle of its work."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            write(url, start, writing)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        lines = [pipe.readline() for _ in range(moment.randint(1, 12))]
        time.sleep(moment.random() * 0.01)
        os.kill(child, signal.SIGKILL)
        lines += pipe.readlines()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    done = (line.decode().split() for line in lines if line.endswith(b"\n"))
    return [(what, int(number)) for what, number in done]


def examine(store: MemoryStore, acknowledged: list[tuple[str, int]]) -> None:
    kept = {one.id: one for one in store.find(ANA, Filter())}
    forgotten = {n for what, n in acknowledged if what == "forgot"}
    attempted = {n for what, n in acknowledged if n % 7 == 3}
    for what, n in acknowledged:
        assert f"{n}/assistant" in kept
        if n not in attempted:
            assert f"{n}/user" in kept
            assert what != "fact" or f"fact {n}" in kept
            assert what != "changed" or kept[f"{n}/user"].text == f"lake {n}"
        assert what != "newer" or f"newer {n}" in kept
    assert not {f"{n}/user" for n in forgotten} & set(kept) and not {f"fact {n}" for n in forgotten} & set(kept)
    assert all(source in kept for one in kept.values() for source in one.sources), "whole writes only"
    assert store.check() == ()
    embed(store)
    vectors = store.vectors(ANA, EMBEDDER)
    assert len(vectors.ids) == len(set(vectors.ids)) and set(vectors.ids) == set(kept)
    assert {name: int(row[0]) for name, row in zip(vectors.ids, vectors.matrix, strict=True)} == {
        name: len(one.text) for name, one in kept.items()
    }
    assert store.outbox(EMBEDDER, limit=1) == ()
    found = store.matching(ANA, ["lake"], limit=10_000)
    assert {name for name, _ in found} == {name for name, one in kept.items() if one.text.startswith("lake")}


@pytest.mark.parametrize("rounds", [6, pytest.param(50, marks=pytest.mark.fuzz)])
def test_nothing_acknowledged_is_lost_when_the_writer_is_killed(
    rounds: int, empty_database: Path, tmp_path: Path
) -> None:
    path = tmp_path / "memory.db"
    path.write_bytes(empty_database.read_bytes())
    url = f"sqlite:///{path}"
    moment = random.Random(rounds)
    acknowledged: list[tuple[str, int]] = []
    for number in range(rounds):
        acknowledged += killed_writer(url, number * 1_000, moment)
        store = MemoryStore(url, clock=lambda: NOON + timedelta(days=1))
        examine(store, acknowledged)
        store.close()
    assert len(acknowledged) >= rounds

"""VectorIndex: over a real store and a real Chroma, embedded and as a server."""

import json
import math
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mentalize.memory.chroma import Chroma, names_of_database
from mentalize.memory.exact import ExactVectors
from mentalize.memory.index import VectorIndex
from mentalize.memory.store import MemoryStore, Vectors
from mentalize.types import Identity, Memory, MemoryKind

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
ANA, BO = Identity("app", "ana"), Identity("app", "bo")
EMBEDDER = "test"
SIZE = 16
MANY = 40


class People:
    """A store, and vectors for what is in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = MemoryStore(f"sqlite:///{folder / 'memory.db'}", clock=lambda: NOW)
        self.random = np.random.default_rng(7)
        self.open: list[VectorIndex] = []

    def index(self, *, place: str | Path | None = None, cache_bytes: int = 1 << 20) -> VectorIndex:
        where = None if place is None else str(place)
        index = VectorIndex(self.store, EMBEDDER, SIZE, place=where, many=MANY, cache_bytes=cache_bytes)
        self.open.append(index)
        return index

    def add(self, who: Identity, count: int, *, start: int = 0, embedder: str = EMBEDDER) -> None:
        self.store.add(who, [memory(key(start + number)) for number in range(count)])
        self.embed(who, embedder)

    def embed(self, who: Identity, embedder: str = EMBEDDER) -> None:
        while due := self.store.outbox(embedder, limit=1_000, who=who):
            rows = directions(self.random, sum(not entry.deleted for entry in due))
            self.store.indexed(embedder, due, rows, dimensions=SIZE)

    def truth(self, who: Identity, vector: np.ndarray, limit: int) -> list[str]:
        """The nearest, from SQL alone."""
        all_of_them = self.store.vectors(who, EMBEDDER)
        order = np.argsort(-(all_of_them.matrix @ vector), kind="stable")
        return [all_of_them.ids[place] for place in order[:limit]]

    def close(self) -> None:
        for index in self.open:
            index.close()
        self.store.close()


def key(number: int) -> str:
    """Long enough that no other bytes look like it."""
    return f"memory-{number:05d}"


def memory(name: str) -> Memory:
    return Memory(id=name, kind=MemoryKind.FACT, text=f"what {name} says", observed_at=NOW)


def directions(random: np.random.Generator, count: int) -> np.ndarray:
    rows = random.normal(size=(count, SIZE)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def ids(found: tuple[tuple[str, float], ...]) -> list[str]:
    return [name for name, _ in found]


def files_with(folder: Path, *words: bytes) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and any(word in path.read_bytes() for word in words)]


@pytest.fixture
def people(tmp_path: Path) -> Iterator[People]:
    people = People(tmp_path)
    yield people
    people.close()


@pytest.fixture
def question() -> np.ndarray:
    return directions(np.random.default_rng(3), 1)[0]


# --- one by one -------------------------------------------------------------------------------------------


def test_the_nearest_come_first_and_only_ones_own(people: People, question: np.ndarray) -> None:
    people.add(ANA, 20)
    people.add(BO, 5, start=100)
    index = people.index()

    found = index.nearest(ANA, question, limit=6)

    assert ids(found) == people.truth(ANA, question, 6)
    assert [cosine for _, cosine in found] == sorted((cosine for _, cosine in found), reverse=True)
    assert index.cosines(ANA, question, [key(3), key(100), "nobody"]).keys() == {key(3)}
    assert index.nearest(Identity("app", "Ana"), question, limit=6) == ()


def test_what_is_written_changed_and_forgotten_is_seen_at_once(people: People, question: np.ndarray) -> None:
    people.add(ANA, 10)
    index = people.index()
    index.nearest(ANA, question, limit=3)

    people.add(ANA, 5, start=10)
    assert ids(index.nearest(ANA, question, limit=99)) == people.truth(ANA, question, 99)
    people.store.change(ANA, key(4), text="something else")
    assert key(4) not in ids(index.nearest(ANA, question, limit=99)), "its old vector holds no longer"
    people.embed(ANA)
    people.store.forget(ANA, [key(0), key(14)])
    assert ids(index.nearest(ANA, question, limit=99)) == people.truth(ANA, question, 99)
    people.store.forget_all(ANA)
    assert index.nearest(ANA, question, limit=99) == ()
    people.add(ANA, 2, start=20)
    assert set(ids(index.nearest(ANA, question, limit=99))) == {key(20), key(21)}


def test_vectors_of_another_embedder_are_never_read(people: People, question: np.ndarray) -> None:
    people.add(ANA, 5, embedder="another")
    index = people.index()
    people.store.outbox(EMBEDDER, limit=1, who=ANA)

    assert index.nearest(ANA, question, limit=5) == ()
    report = index.verify(ANA)
    assert (report.rows, len(report.missing), report.other_embedders) == (5, 5, 5)


def test_memory_is_bounded_by_letting_people_go(people: People, question: np.ndarray) -> None:
    everyone = [Identity("app", f"user {number}") for number in range(6)]
    for who in everyone:
        people.add(who, 20)
    index = people.index(cache_bytes=20_000)

    for _ in range(2):
        for who in everyone:
            assert ids(index.nearest(who, question, limit=5)) == people.truth(who, question, 5)
    assert 0 < index.bytes <= 20_000


changes = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.lists(st.integers(0, 30), min_size=1, max_size=8, unique=True)),
        st.tuples(st.just("delete"), st.lists(st.integers(0, 30), min_size=1, max_size=8, unique=True)),
    ),
    max_size=25,
)


@given(changes)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_changes_leave_what_a_fresh_read_would_give(steps: list[tuple[str, list[int]]]) -> None:
    random = np.random.default_rng(0)
    start = directions(random, 10)
    start.flags.writeable = False
    truth = {str(number): row for number, row in enumerate(start)}
    table = ExactVectors()
    table.take(Vectors(1, 1, tuple(truth), start))

    for version, (step, numbers) in enumerate(steps, start=2):
        keys = tuple(str(number) for number in numbers)
        rows = directions(random, len(keys))
        if step == "put":
            truth |= dict(zip(keys, rows, strict=True))
            table.take(Vectors(1, version, keys, rows, complete=False))
        else:
            truth = {key: row for key, row in truth.items() if key not in keys}
            table.take(Vectors(1, version, (), np.zeros((0, 0), np.float32), keys, complete=False))

    vector = directions(random, 1)[0]
    expected = {key: float(row @ vector) for key, row in truth.items()}
    assert dict(table.nearest(vector, 99)) == pytest.approx(expected, abs=1e-6)
    assert table.cosines(vector, [*truth, "x"]) == pytest.approx(expected, abs=1e-6)
    assert len(table.nearest(vector, 3)) == min(3, len(truth))


# --- Chroma -----------------------------------------------------------------------------------------------


def test_a_person_with_many_gets_a_collection(people: People, question: np.ndarray) -> None:
    people.add(ANA, MANY)
    people.add(BO, MANY - 1, start=500)
    index = people.index(place=people.folder / "index")
    for who in (ANA, BO):
        index.nearest(who, question, limit=10)
    index.settle()

    assert (index.in_chroma(ANA), index.in_chroma(BO)) == (True, False)
    found = index.nearest(ANA, question, limit=10)
    assert ids(found) == people.truth(ANA, question, 10)
    assert dict(found) == pytest.approx(index.cosines(ANA, question, ids(found)), abs=1e-5)
    assert index.verify(ANA).sound
    assert not files_with(people.folder / "index", f"what {key(1)} says".encode(), b"ana"), "no text and no name"


def test_what_changes_beside_a_collection_is_seen_at_once(people: People, question: np.ndarray) -> None:
    people.add(ANA, MANY)
    index = people.index(place=people.folder / "index")
    index.nearest(ANA, question, limit=10)
    index.settle()

    people.add(ANA, 10, start=100)
    people.store.change(ANA, key(4), text="something else")
    assert key(4) not in ids(index.nearest(ANA, question, limit=99))
    people.embed(ANA)

    assert index.in_chroma(ANA)
    assert ids(index.nearest(ANA, question, limit=99)) == people.truth(ANA, question, 99)
    assert index.cosines(ANA, question, [key(4), key(5), key(100)]).keys() == {key(4), key(5), key(100)}
    assert index.verify(ANA).sound


def test_a_collection_outlives_the_process_and_catches_up(people: People, question: np.ndarray) -> None:
    people.add(ANA, MANY)
    first = people.index(place=people.folder / "index")
    first.rebuild(ANA)
    first.close()
    people.add(ANA, 600, start=100)
    people.store.change(ANA, key(3), text="something else")
    people.embed(ANA)

    second = people.index(place=people.folder / "index")
    second.nearest(ANA, question, limit=10)
    second.settle()

    assert second.in_chroma(ANA)
    assert second.bytes < 10_000, "what was far behind was written to the collection, and left memory"
    assert second.verify(ANA).sound
    overlap = set(ids(second.nearest(ANA, question, limit=20))) & set(people.truth(ANA, question, 20))
    assert len(overlap) >= 18


def test_what_is_forgotten_leaves_no_byte_in_chroma(people: People, question: np.ndarray) -> None:
    people.add(ANA, MANY + 5)
    folder = people.folder / "index"
    index = people.index(place=folder)
    index.rebuild(ANA)
    gone = next(row for name, row in zip(*vectors_of(people, ANA), strict=True) if name == key(7)).tobytes()
    assert files_with(folder, gone)

    people.store.forget(ANA, [key(7)])
    index._retry_at = math.inf
    index.refresh(ANA)

    assert key(7) not in ids(index.nearest(ANA, question, limit=99))
    assert not files_with(folder, gone, key(7).encode())
    index._retry_at = 0.0
    index.refresh(ANA)
    index.settle()
    assert index.in_chroma(ANA) and index.verify(ANA).sound


def test_a_person_who_is_dropped_leaves_no_byte_in_chroma(people: People) -> None:
    people.add(ANA, MANY)
    folder = people.folder / "index"
    index = people.index(place=folder)
    index.rebuild(ANA)
    rows = [row.tobytes() for row in vectors_of(people, ANA)[1]]

    assert index.drop(ANA) == MANY
    people.store.forget_all(ANA)

    assert not files_with(folder, *rows, *(key(number).encode() for number in range(MANY)))


def test_a_person_who_is_dropped_takes_nobody_along(people: People, question: np.ndarray) -> None:
    people.add(ANA, MANY)
    people.add(BO, MANY, start=500)
    index = people.index(place=people.folder / "index")
    for who in (ANA, BO):
        index.rebuild(who)

    index.drop(ANA)
    people.store.forget_all(ANA)

    assert index.in_chroma(BO) and index.verify(BO).sound
    assert ids(index.nearest(BO, question, limit=9)) == people.truth(BO, question, 9)


def test_another_process_deletes_and_the_owner_of_the_folder_follows(people: People, question: np.ndarray) -> None:
    people.add(ANA, MANY)
    folder = people.folder / "index"
    owner, other = people.index(place=folder), people.index(place=folder)
    owner.rebuild(ANA)
    assert ids(other.nearest(ANA, question, limit=9)) == people.truth(ANA, question, 9)
    other.settle()
    assert not other.in_chroma(ANA), "the folder has one owner"

    other.drop(ANA)
    people.store.forget_all(ANA)
    owner.close()
    assert files_with(folder, key(11).encode())
    people.add(BO, MANY, start=500)
    other._retry_at = 0.0
    other.rebuild(BO)

    assert other.in_chroma(BO), "who is left inherits the folder"
    assert other._chroma is not None and len(other._chroma.names()) == 1, "and clears up after both"


@pytest.mark.parametrize("damage", ["database", "graph", "gone"])
def test_a_broken_chroma_is_thrown_away_and_made_again(people: People, question: np.ndarray, damage: str) -> None:
    people.add(ANA, MANY)
    folder = people.folder / "index"
    first = people.index(place=folder)
    first.rebuild(ANA)
    first.close()
    for path in [*folder.rglob("*.sqlite3"), *folder.rglob("*.bin"), *folder.rglob("*.pickle")]:
        if damage == "gone":
            path.unlink()
        elif (path.suffix == ".sqlite3") == (damage == "database"):
            path.write_bytes(b"\x07 nothing of the kind" * 400)

    index = people.index(place=folder)
    for _ in range(4):
        assert ids(index.nearest(ANA, question, limit=10)) == people.truth(ANA, question, 10)
        index.settle()
        index._retry_at = 0.0

    assert index.in_chroma(ANA) and index.verify(ANA).sound


def test_a_folder_that_cannot_be_written_costs_no_answer(people: People, question: np.ndarray) -> None:
    people.add(ANA, MANY)
    (people.folder / "file").write_text("in the way")
    index = people.index(place=people.folder / "file" / "index")
    for _ in range(2):
        assert ids(index.nearest(ANA, question, limit=10)) == people.truth(ANA, question, 10)
        index.settle()
    assert index.rebuild(ANA) == MANY


def test_verify_finds_what_chroma_has_wrong(people: People) -> None:
    people.add(ANA, MANY)
    index = people.index(place=people.folder / "index")
    index.rebuild(ANA)
    collection = index._held(ANA).collection
    assert collection is not None
    collection._handle.delete(ids=[key(1)])
    collection._handle.upsert(ids=[key(2), "stray"], embeddings=directions(people.random, 2))

    report = index.verify(ANA)
    assert (report.missing, report.stray, report.sound) == ((key(1), key(2)), ("stray",), False)
    index.rebuild(ANA)
    assert index.verify(ANA).sound


def test_many_threads_ask_while_memories_come_and_go(people: People, question: np.ndarray) -> None:
    people.add(ANA, MANY)
    index = people.index(place=people.folder / "index")
    faults: list[BaseException] = []
    over = threading.Event()

    def ask() -> None:
        try:
            while not over.is_set():
                found = index.nearest(ANA, question, limit=12)
                assert len(found) == 12
                assert list(found) == sorted(found, key=lambda each: -each[1])
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for round_ in range(8):
        people.add(ANA, 5, start=1_000 + 5 * round_)
        people.store.forget(ANA, [key(round_)])
        index.refresh(ANA)
    over.set()
    for thread in threads:
        thread.join()
    index.settle()

    assert not faults
    assert ids(index.nearest(ANA, question, limit=10)) == people.truth(ANA, question, 10)
    assert index.verify(ANA).sound


OTHER_PROCESS = """
import json, sys
from datetime import UTC, datetime
import numpy as np
sys.path.insert(0, {tests!r})
from test_index import ANA, EMBEDDER, People
from pathlib import Path

people = People(Path({folder!r}))
index = people.index(place=Path({folder!r}) / "index")
question = np.array(json.loads(sys.stdin.readline()), dtype=np.float32)
for line in sys.stdin:
    found = index.nearest(ANA, question, limit=15)
    index.settle()
    print(json.dumps([index.in_chroma(ANA), [key for key, _ in found]]), flush=True)
people.close()
"""


def test_two_processes_see_each_others_memories(people: People, question: np.ndarray) -> None:
    people.add(ANA, MANY)
    owner = people.index(place=people.folder / "index")
    owner.rebuild(ANA)
    program = OTHER_PROCESS.format(tests=str(Path(__file__).parent), folder=str(people.folder))
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        said, heard = other.stdin, other.stdout
        assert said is not None and heard is not None

        def ask() -> list[str]:
            said.write("\n")
            said.flush()
            in_chroma, found = json.loads(heard.readline())
            assert not in_chroma
            return found

        said.write(json.dumps([float(number) for number in question]) + "\n")
        assert ask() == people.truth(ANA, question, 15)
        people.add(ANA, 30, start=200)
        assert ask() == people.truth(ANA, question, 15)
        people.store.forget(ANA, people.truth(ANA, question, 3))
        assert ask() == people.truth(ANA, question, 15)
        assert ids(owner.nearest(ANA, question, limit=15)) == people.truth(ANA, question, 15)
        said.close()
        assert other.wait(30) == 0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("chroma")
    command = [str(Path(sys.executable).with_name("chroma")), "run", "--host", "127.0.0.1"]
    with subprocess.Popen(
        [*command, "--port", str(port), "--path", str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
        process.terminate()


def test_a_server_is_shared(people: People, question: np.ndarray, server: str) -> None:
    people.add(ANA, MANY)
    one, two = people.index(place=server), people.index(place=server)
    one.rebuild(ANA)
    two.nearest(ANA, question, limit=10)
    two.settle()
    assert one.in_chroma(ANA) and two.in_chroma(ANA)

    people.add(ANA, 10, start=100)
    for index in (one, two):
        assert ids(index.nearest(ANA, question, limit=10)) == people.truth(ANA, question, 10)
    people.store.forget(ANA, people.truth(ANA, question, 2))
    for index in (one, two, one):
        index.refresh(ANA)
        index.settle()
        assert ids(index.nearest(ANA, question, limit=10)) == people.truth(ANA, question, 10)
    assert one.in_chroma(ANA) and two.in_chroma(ANA)
    assert one.verify(ANA).sound and two.verify(ANA).sound
    assert one.drop(ANA) >= MANY


def test_who_is_forgotten_while_the_server_is_away_is_deleted_there_later(people: People, server: str) -> None:
    for who in (ANA, BO):
        people.add(who, MANY)
    index = people.index(place=server)
    for who in (ANA, BO):
        index.rebuild(who)
    assert index.in_chroma(ANA) and index.in_chroma(BO)
    key, away = people.store.version(ANA) >> 32, people.index(place="http://127.0.0.1:9")
    assert away.drop(ANA) == 0 and not away.erase(key)
    people.store.forget_all(ANA)
    people.store.forget_all(BO)
    assert index.erase(key)
    chroma = Chroma(server)
    chroma.open()

    def own() -> list[str]:
        return [name for name in chroma.names() if name.startswith(names_of_database(people.store.identity))]

    assert len(own()) == 1, "nobody has said yet that the other one is gone"
    late = people.index(place=server)
    people.add(ANA, MANY, start=MANY)
    late.rebuild(ANA)
    assert late.in_chroma(ANA) and len(own()) == 1, "the sweep finds what is left of people who are gone"
    late.drop(ANA)
    chroma.close()


def test_databases_of_the_same_address_have_collections_of_their_own(tmp_path: Path, server: str) -> None:
    chroma = Chroma(server)
    chroma.open()
    before = len(chroma.names())
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        people = People(tmp_path / name)
        people.add(ANA, MANY)
        people.index(place=server).rebuild(ANA)
        people.close()
    assert len(chroma.names()) == before + 2
    chroma.close()


def test_a_server_that_is_not_there_costs_no_answer(people: People, question: np.ndarray) -> None:
    people.add(ANA, MANY)
    index = people.index(place="http://127.0.0.1:9")
    for _ in range(2):
        assert ids(index.nearest(ANA, question, limit=10)) == people.truth(ANA, question, 10)
        index.settle()
    assert not index.in_chroma(ANA)


def vectors_of(people: People, who: Identity) -> tuple[tuple[str, ...], np.ndarray]:
    found = people.store.vectors(who, EMBEDDER)
    return found.ids, found.matrix

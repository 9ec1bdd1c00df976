"""What remembering costs: writes, recall, memory and files, for one person with much to remember and for many people.

Texts are seeded and synthetic, with word frequencies by Zipf's law and topics; vectors lie around their topic's own.
Recall is measured without the time that its question's vector takes, which is shown apart. Each setting runs in a
process of its own.

Exits with 1 if recall among a thousand people takes longer than its target, or grows as fast as what is remembered.
"""

import argparse
import asyncio
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from figures import Figure, Reporter, as_json, complain, show, status_of

from mentalize.extras import need
from mentalize.llm.embedder import resolve_embedder
from mentalize.memory.index import VectorIndex
from mentalize.memory.memories import Memories
from mentalize.memory.recall import Recall
from mentalize.memory.retention import Curve
from mentalize.memory.store import MemoryStore
from mentalize.types import Identity, Memory, MemoryKind

BENCHMARK = "6 minutes"

TARGET_MS = 25.0
"""p95 of a recall with 100,000 memories over 1,000 people."""
EXPONENT = 0.75
"""Recall for one person grows at most with the number of memories to this power; 1 would be linear."""
EMBEDDER, DIMENSIONS = "bench", 384
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
SEED = 20_260_501
WORDS, TOPICS, TOPIC_WORDS, SESSION = 20_000, 200, 60, 20
BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Setting:
    """How many people, and how much is remembered of all of them together."""

    people: int
    memories: int
    chroma: bool = True

    @property
    def title(self) -> str:
        whom = "one person" if self.people == 1 else f"{self.people:,} people"
        return f"{self.memories:,} memories, {whom}{'' if self.chroma else ', no Chroma'}"


FULL = (
    Setting(1, 1_000),
    Setting(1, 10_000),
    Setting(1, 100_000, chroma=False),
    Setting(1, 100_000),
    Setting(1_000, 100_000),
)
QUICK = (Setting(1, 1_000), Setting(1, 10_000), Setting(100, 10_000))


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Milliseconds."""

    p50: float
    p95: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Times":
        return cls(p50=1_000 * statistics.median(seconds), p95=1_000 * float(np.quantile(seconds, 0.95)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one setting costs."""

    title: str
    people: int
    memories: int
    chroma: bool
    """Whether Chroma was used where it is by default."""
    fill_per_second: float
    vectors_per_second: float
    first: float
    """Milliseconds of a person's first recall after a start."""
    build: float
    """Seconds until Chroma was ready, in the background."""
    recall: dict[str, float]
    lexical: dict[str, float]
    dense: dict[str, float]
    through_memories: dict[str, float]
    rss_mb: float
    database_mb: float
    index_mb: float


# --- what is remembered -----------------------------------------------------------------------------------


class Corpus:
    """Seeded texts and their vectors."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(SEED)
        syllables = [f"{c}{v}" for c in "bdfgklmnprstvz" for v in "aeiou"]
        self._words = np.array(
            ["".join(self._random.choice(syllables, self._random.integers(1, 5))) for _ in range(WORDS)]
        )
        weights = 1.0 / (np.arange(WORDS) + 2.7)
        self._weights = weights / weights.sum()
        # A topic's own words are rarer than everybody's, and shared by some other topics.
        self._topics = np.clip(self._random.lognormal(6.5, 1.0, (TOPICS, TOPIC_WORDS)), 50, WORDS - 1).astype(int)
        self._centres = self._random.normal(size=(TOPICS, DIMENSIONS)).astype(np.float32)

    def texts(self, count: int) -> tuple[list[str], np.ndarray]:
        """Texts, and the topic of each: 13 words on average, three in ten of them the topic's own."""
        topics = self._random.integers(0, TOPICS, count)
        lengths = np.clip(self._random.lognormal(2.4, 0.5, count), 3, 80).astype(int)
        common = self._random.choice(WORDS, int(lengths.sum()), p=self._weights)
        own = self._topics[np.repeat(topics, lengths), self._random.integers(0, TOPIC_WORDS, len(common))]
        chosen = np.where(self._random.random(len(common)) < 0.3, own, common)
        ends = np.cumsum(lengths)
        return [
            " ".join(self._words[chosen[end - size : end]]) for end, size in zip(ends, lengths, strict=True)
        ], topics

    def vectors(self, topics: np.ndarray) -> np.ndarray:
        noise = self._random.normal(size=(len(topics), DIMENSIONS)).astype(np.float32)
        rows = self._centres[topics] + noise
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def questions(self, count: int) -> list[tuple[str, np.ndarray]]:
        texts, topics = self.texts(count)
        return list(zip([" ".join(text.split()[:10]) for text in texts], self.vectors(topics), strict=True))


def memory(number: int, text: str) -> Memory:
    """Two of three are turns in sessions, over a year."""
    kind = MemoryKind.FACT if number % 3 == 0 else MemoryKind.TURN
    session = f"session {number // SESSION}" if kind is MemoryKind.TURN else ""
    at = NOW - timedelta(days=365) + timedelta(minutes=5.25 * (number % 100_000))
    return Memory(id=f"{number:07d}", kind=kind, text=text, observed_at=at, session=session, speaker="user")


def fill(store: MemoryStore, setting: Setting, corpus: Corpus) -> tuple[float, float]:
    """Write everything; memories and vectors per second."""
    writing = embedding = 0.0
    each = setting.memories // setting.people
    for person in range(setting.people):
        who = identity(person)
        for start in range(0, each, BATCH):
            texts, topics = corpus.texts(min(BATCH, each - start))
            rows = [memory(start + place, text) for place, text in enumerate(texts)]
            vectors = corpus.vectors(topics)
            began = time.perf_counter()
            store.add(who, rows)
            written = time.perf_counter()
            due = store.outbox(EMBEDDER, limit=BATCH, who=who)
            store.indexed(EMBEDDER, due, vectors, dimensions=DIMENSIONS)
            writing, embedding = writing + written - began, embedding + time.perf_counter() - written
    return setting.memories / writing, setting.memories / embedding


def identity(number: int) -> Identity:
    return Identity("bench", f"user {number}")


# --- one setting ------------------------------------------------------------------------------------------


def measure(setting: Setting, folder: Path, times: int) -> Result:
    corpus = Corpus()
    store = open_store(folder)
    fill_per_second, vectors_per_second = fill(store, setting, corpus)
    index = open_index(store, folder, setting)
    recall = Recall(store, index, Curve())
    questions = corpus.questions(times)
    whose = [identity(int(number)) for number in np.random.default_rng(SEED).integers(0, setting.people, times)]

    (text, vector), who = questions[0], whose[0]
    first = seconds(lambda: recall.recall(who, text, vector, at=NOW, limit=12, tokens=1_200))
    began = time.perf_counter()
    index.settle()
    build = time.perf_counter() - began
    for who in dict.fromkeys(whose):
        index.nearest(who, vector, limit=1)

    asked = list(zip(whose, questions, strict=True))
    result = Result(
        title=setting.title,
        people=setting.people,
        memories=setting.memories,
        chroma=setting.chroma,
        fill_per_second=fill_per_second,
        vectors_per_second=vectors_per_second,
        first=1_000 * first,
        build=build,
        recall=timed(lambda who, text, vector: recall.recall(who, text, vector, at=NOW, limit=12, tokens=1_200), asked),
        lexical=timed(lambda who, text, vector: store.matching(who, text.split(), limit=100), asked),
        dense=timed(lambda who, text, vector: index.nearest(who, vector, limit=100), asked),
        through_memories=asyncio.run(through_memories(store, index, asked)),
        rss_mb=resident_mb(),
        database_mb=size_mb(folder, "memory.db*"),
        index_mb=size_mb(folder, "index/**/*"),
    )
    index.close()
    store.close()
    return result


def open_store(folder: Path) -> MemoryStore:
    store = MemoryStore(f"sqlite:///{folder / 'memory.db'}", clock=lambda: NOW)
    store.open()
    return store


def open_index(store: MemoryStore, folder: Path, setting: Setting) -> VectorIndex:
    place = str(folder / "index") if setting.chroma else None
    return VectorIndex(store, EMBEDDER, DIMENSIONS, place=place)


class PreparedVectors:
    """An embedder that takes no time: it has the vectors."""

    name, dimensions = EMBEDDER, DIMENSIONS

    def __init__(self, vectors: dict[str, np.ndarray]) -> None:
        self._vectors = vectors

    async def embed(self, texts: Sequence[str], *, query: bool = False) -> np.ndarray:
        return np.array([self._vectors[text] for text in texts], np.float32).reshape(len(texts), DIMENSIONS)

    async def close(self) -> None:
        """Nothing is held."""


async def through_memories(
    store: MemoryStore, index: VectorIndex, asked: Sequence[tuple[Identity, tuple[str, np.ndarray]]]
) -> dict[str, float]:
    """The same recall by the way that a turn takes: async, the outbox looked at first."""
    memories = Memories(store, PreparedVectors(dict(question for _, question in asked)), index=index, clock=lambda: NOW)
    found = []
    for who, (text, _) in asked:
        began = time.perf_counter()
        await memories.recall(who, text)
        found.append(time.perf_counter() - began)
    return asdict(Times.of(found))


def timed(
    call: Callable[[Identity, str, np.ndarray], object], asked: Sequence[tuple[Identity, tuple[str, np.ndarray]]]
) -> dict[str, float]:
    found = []
    for who, (text, vector) in asked:
        began = time.perf_counter()
        call(who, text, vector)
        found.append(time.perf_counter() - began)
    return asdict(Times.of(found))


def seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def resident_mb() -> float:
    """Memory of this process, where the system says so."""
    status = Path("/proc/self/status")
    if not status.exists():
        return math.nan
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1_024


def size_mb(folder: Path, pattern: str) -> float:
    return sum(path.stat().st_size for path in folder.glob(pattern) if path.is_file()) / 1e6


# --- writes and embedding ---------------------------------------------------------------------------------


def writes(folder: Path, count: int) -> dict[str, float]:
    """Acknowledged writes per second: each is on the disk when its call returns."""
    store = open_store(folder)
    who = identity(0)
    texts, _ = Corpus().texts(count)
    rows = [memory(number, text) for number, text in enumerate(texts)]
    third = count // 3
    single = third / seconds(lambda: [store.add(who, [row]) for row in rows[:third]])
    with ThreadPoolExecutor(8) as pool:
        threads = third / seconds(lambda: list(pool.map(lambda row: store.add(who, [row]), rows[third : 2 * third])))
    hundreds = [rows[start : start + 100] for start in range(2 * third, 3 * third, 100)]
    batches = sum(map(len, hundreds)) / seconds(lambda: [store.add(who, batch) for batch in hundreds])
    store.close()
    return {"one after another": single, "8 threads": threads, "batches of 100": batches}


async def embedding(times: int) -> dict[str, float]:
    """The default embedder on one question; milliseconds."""
    embedder = resolve_embedder("minilm")
    await embedder.embed(["warm"])
    found = []
    for number in range(times):
        began = time.perf_counter()
        await embedder.embed([f"What did my sister say about the wedding on day {number}?"], query=True)
        found.append(time.perf_counter() - began)
    await embedder.close()
    return asdict(Times.of(found))


# --- the whole --------------------------------------------------------------------------------------------


def in_own_process(setting: Setting, times: int) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--one", json.dumps([asdict(setting), folder, times])]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Result(**json.loads(done.stdout))


def figures(
    results: Sequence[Result], written: Mapping[str, float], embedded: Mapping[str, float], power: float
) -> list[Figure]:
    grows = Reporter("how recall for one person grows, as a power of the memories; 1 is linear")
    found = [grows("exponent", power, at_most=EXPONENT)]
    for part, times in PARTS.items():
        say = Reporter(part)
        for each in results:
            # Not by `Memories`: those ask the same again, of pages that are in memory by then.
            target = {"at_most": TARGET_MS} if part == RECALL and each.people > 1 else {}
            found += [
                say(f"{each.title}, median", times(each)["p50"], "ms"),
                say(f"{each.title}, p95", times(each)["p95"], "ms", **target),
            ]
    for (part, unit), cost in COSTS.items():
        say = Reporter(part)
        found += [say(each.title, cost(each), unit) for each in results if math.isfinite(cost(each))]
    acknowledged, vector = Reporter("acknowledged writes"), Reporter("a question's vector by minilm")
    found += [acknowledged(name, rate, "per second") for name, rate in written.items()]
    return [*found, vector("median", embedded["p50"], "ms"), vector("p95", embedded["p95"], "ms")]


RECALL = "recall"
PARTS: dict[str, Callable[[Result], dict[str, float]]] = {
    RECALL: lambda each: each.recall,
    "recall by Memories": lambda each: each.through_memories,
    "of recall: by words": lambda each: each.lexical,
    "of recall: by meaning": lambda each: each.dense,
}
COSTS: dict[tuple[str, str], Callable[[Result], float]] = {
    ("a person's first recall after a start", "ms"): lambda each: each.first,
    ("memories written", "per second"): lambda each: each.fill_per_second,
    ("vectors written", "per second"): lambda each: each.vectors_per_second,
    ("memory of the process", "MB"): lambda each: each.rss_mb,
    ("database", "MB"): lambda each: each.database_mb,
    ("Chroma", "MB"): lambda each: each.index_mb,
    ("until Chroma was built, in the background", "s"): lambda each: each.build,
}


def growth(results: Sequence[Result]) -> float:
    """The power of the number of memories with which recall for one person grows."""
    alone = {each.memories: each.recall["p50"] for each in results if each.people == 1 and each.chroma}
    small, large = min(alone), max(alone)
    return math.log(alone[large] / alone[small]) / math.log(large / small)


def draw(results: Sequence[Result], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    alone = {each.memories: each.recall for each in results if each.people == 1 and each.chroma}
    sizes = sorted(alone)
    figure, axes = pyplot.subplots(figsize=(7, 4.2))
    for name, style in (("p50", "o-"), ("p95", "s-")):
        axes.plot(sizes, [alone[size][name] for size in sizes], style, label=f"recall, {name}")
    start = alone[sizes[0]]["p50"]
    axes.plot(sizes, [start * size / sizes[0] for size in sizes], "--", color="grey", label="if it were linear")
    axes.set(xscale="log", yscale="log", xlabel="memories of one person", ylabel="milliseconds")
    axes.set_title("Recall over what is remembered of one person, without embedding")
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def faults(results: Sequence[Result], power: float) -> list[str]:
    many = next(each for each in results if each.people > 1)
    found = []
    if power > EXPONENT:
        found.append(f"recall grows with the power {power:.2f} of the memories, more than {EXPONENT}")
    if (slow := many.recall["p95"]) > TARGET_MS:
        found.append(f"recall among {many.people:,} people takes {slow:.1f} ms, more than {TARGET_MS}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller settings, for CI")
    parser.add_argument("--plot", type=Path, help="file for the picture (SVG or PNG)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        setting, folder, times = json.loads(arguments.one)
        print(json.dumps(asdict(measure(Setting(**setting), Path(folder), times))))
        return 0

    need("memory", "Remembering by meaning")
    times = 100 if arguments.quick else 200
    results = [in_own_process(setting, times) for setting in (QUICK if arguments.quick else FULL)]
    with tempfile.TemporaryDirectory() as folder:
        written = writes(Path(folder), 600 if arguments.quick else 3_000)
    embedded = asyncio.run(embedding(50))
    if arguments.plot:
        draw(results, arguments.plot)
    power = growth(results)
    found, wrong = figures(results, written, embedded, power), faults(results, power)
    if arguments.json:
        print(as_json(found, quick=arguments.quick, faults=wrong))
    else:
        show(found)
    return complain(wrong)


if __name__ == "__main__":
    sys.exit(status_of(main))

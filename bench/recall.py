"""How well memory finds what was said, and what forgetting costs: LoCoMo and MemoryBank, without a language model.

Every conversation is replayed into one SQLite database through `Memories`, with the packaged embedder and default
settings. After the last day `fade` runs, and each question is asked as a person would ask it. The floors run beside it
on the same units: BM25 (k1 = 1.5, b = .75, speaker and caption in the text) over plain words and over the terms that
the store keeps, the cosine of the same embedder, and keep-newest. Units are turns (LoCoMo) and pairs of a message and
its reply (MemoryBank). A turn that is returned as the neighbour of a hit takes a place of its own, behind the hits.
Intervals are bootstraps over conversations or people, paired with the best floor.

The data is not part of the project; --data names its folder. Exits with 1 if a headline number is not above all floors.
"""

import argparse
import asyncio
import hashlib
import json
import math
import random
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from figures import Figure, LeftOut, Reporter, above, as_json, complain, status_of

from mentalize.function_words import FUNCTION_WORDS
from mentalize.llm.embedder import resolve_embedder
from mentalize.memory.importance import importance_of, worths
from mentalize.memory.memories import Memories
from mentalize.memory.retention import Curve
from mentalize.memory.store import Filter, MemoryStore
from mentalize.terms import terms_of
from mentalize.types import Embedder, Identity, Memory, MemoryKind

BENCHMARK = "5 minutes"

DATA = Path(__file__).resolve().parents[2] / "shared" / "bench"
TENANT = "bench"
SEED = 7
RESAMPLES = 2_000
BUDGETS = (0.25, 0.5, 0.75)
ANCHORS = 3
"""Memories that a reply leans on, and so strengthens, at most."""
ALWAYS = Curve(tau=dict.fromkeys(MemoryKind, math.inf))
"""A curve on which nothing fades."""

LOCOMO = ("recall@5", "recall@10", "session recall@5", "MRR")
MEMORYBANK = ("hit@1", "hit@3", "hit@5")
FLOORS = ("BM25", "BM25, our terms", "cosine", "keep-newest")
DATED = ("hit@1", "hit@3")
CURVE_ERROR = 1e-12
"""What rounding may make of the curve."""


# --- the data ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Question:
    text: str
    units: frozenset[str]
    sessions: frozenset[str]
    kind: str
    dated: bool = False


@dataclass(frozen=True, slots=True)
class History:
    """One person's conversations and the questions about them."""

    name: str
    turns: tuple[Memory, ...]
    unit: Mapping[str, str]
    """The unit that a memory belongs to."""
    texts: Mapping[str, str]
    """Each unit as one text, for the floors, in order."""
    sessions: Mapping[str, str]
    """The session of each unit."""
    questions: tuple[Question, ...]
    end: datetime

    @property
    def who(self) -> Identity:
        return Identity(TENANT, self.name, zone="UTC")


def read(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise LeftOut(f"{path} is not there. Give the folder that holds locomo/ and memorybank/ with --data.")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def locomo(folder: Path) -> list[History]:
    items = read(folder / "locomo" / "items.jsonl")
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in read(folder / "locomo" / "turns.jsonl"):
        rows.setdefault(row["conv"], []).append(row)
    return [_locomo(name, own, [item for item in items if item["context"] == name]) for name, own in rows.items()]


def _locomo(name: str, rows: list[dict[str, Any]], items: list[dict[str, Any]]) -> History:
    turns: list[Memory] = []
    for number, row in enumerate(rows):
        text = f"{row['text']} [{row['blip_caption']}]" if row["blip_caption"] else row["text"]
        began = datetime.strptime(row["date_time"].upper(), "%I:%M %p on %d %B, %Y").replace(tzinfo=UTC)
        said = began + timedelta(seconds=number)
        turns.append(turn(row["turn_id"], text, said, row["speaker"], row["session_id"]))
    questions = [
        Question(
            item["question"],
            frozenset(f"{name}/{unit}" for unit in item["meta"]["evidence"]),
            frozenset(f"{name}/S{session}" for session in item["meta"]["evidence_sessions"]),
            item["task"],
        )
        for item in items
        if item["meta"]["evidence"]
    ]
    return History(
        name=name,
        turns=tuple(turns),
        unit={each.id: each.id for each in turns},
        texts={each.id: f"{each.speaker}: {each.text}" for each in turns},
        sessions={each.id: each.session for each in turns},
        questions=tuple(questions),
        end=turns[-1].observed_at + timedelta(hours=12),
    )


def memorybank(folder: Path) -> list[History]:
    items = read(folder / "memorybank" / "items.jsonl")
    people: dict[str, list[dict[str, Any]]] = {}
    for session in read(folder / "memorybank" / "sessions.jsonl"):
        people.setdefault(f"{session['lang']}/{session['user']}", []).append(session)
    return [
        _memorybank(name, own, [item for item in items if f"{item['meta']['lang']}/{item['meta']['user']}" == name])
        for name, own in people.items()
    ]


def _memorybank(name: str, days: list[dict[str, Any]], items: list[dict[str, Any]]) -> History:
    turns: list[Memory] = []
    texts: dict[str, str] = {}
    sessions: dict[str, str] = {}
    for day in days:
        began = datetime.fromisoformat(day["date"]).replace(hour=12, tzinfo=UTC)
        for number, pair in enumerate(day["turns"]):
            texts[pair["turn_id"]] = f"{pair['query']}\n{pair['response']}"
            sessions[pair["turn_id"]] = day["session_id"]
            for role, text in (("user", pair["query"]), ("assistant", pair["response"])):
                speaker = day["user"] if role == "user" else role
                said = began + timedelta(minutes=number, seconds=30 * (role == "assistant"))
                each = turn(f"{pair['turn_id']}/{role}", text, said, speaker, day["session_id"])
                turns.append(replace(each, details={"role": role, "turn_id": pair["turn_id"]}))
    questions = [
        Question(
            item["question"],
            frozenset(item["meta"]["evidence_turns"]),
            frozenset(item["meta"]["evidence_sessions"]),
            item["meta"]["evidence_kind"],
            item["meta"]["names_date"],
        )
        for item in items
        if item["meta"]["evidence_turns"]
    ]
    return History(
        name=name,
        turns=tuple(turns),
        unit={each.id: each.id.rpartition("/")[0] for each in turns},
        texts=texts,
        sessions=sessions,
        questions=tuple(questions),
        end=datetime(2023, 5, 7, 12, tzinfo=UTC),
    )


def turn(key: str, text: str, at: datetime, speaker: str, session: str) -> Memory:
    return Memory(
        id=key,
        kind=MemoryKind.TURN,
        text=text,
        observed_at=at,
        speaker=speaker,
        session=session,
        importance=importance_of(MemoryKind.TURN, text),
    )


# --- the embedder, with what it made before ---------------------------------------------------------------


class KeptEmbedder:
    """An embedder that keeps its vectors in a file, so that a second run is quick."""

    def __init__(self, inner: Embedder, folder: Path) -> None:
        self._inner = inner
        self._file = folder / f"{hashlib.sha256(inner.name.encode()).hexdigest()[:16]}.npz"
        self._vectors: dict[str, np.ndarray] = {}
        self._new = False
        if self._file.is_file():
            with np.load(self._file) as kept:
                self._vectors = dict(zip(kept["keys"].tolist(), kept["vectors"], strict=True))

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def dimensions(self) -> int:
        return self._inner.dimensions

    async def embed(self, texts: Sequence[str], *, query: bool = False) -> np.ndarray:
        keys = [hashlib.sha256(f"{query}{text}".encode()).hexdigest() for text in texts]
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._vectors}
        if missing:
            self._vectors |= zip(missing, await self._inner.embed(list(missing.values()), query=query), strict=True)
            self._new = True
        return np.stack([self._vectors[key] for key in keys])

    async def close(self) -> None:
        if self._new:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            np.savez(self._file, keys=np.array(list(self._vectors)), vectors=np.stack(list(self._vectors.values())))
        await self._inner.close()


# --- floors -----------------------------------------------------------------------------------------------


HAN = re.compile("[\u4e00-\u9fff]+")


def words_of(text: str) -> list[str]:
    """Plain words; Chinese by pairs of characters."""
    stop = FUNCTION_WORDS["english"]
    words = [word for word in re.findall(r"\w+", HAN.sub(" ", text.lower())) if word not in stop]
    return words + [run[at : at + 2] for run in HAN.findall(text) for at in range(max(1, len(run) - 1))]


class BM25:
    """Robertson and Zaragoza 2009, with the non-negative idf that Lucene uses."""

    def __init__(self, documents: Sequence[list[str]], *, k1: float = 1.5, b: float = 0.75) -> None:
        self._counts = [Counter(document) for document in documents]
        lengths = np.array([len(document) for document in documents])
        self._norms = k1 * (1 - b + b * lengths / lengths.mean())
        self._frequency = Counter(word for counts in self._counts for word in counts)
        self._k1 = k1

    def scores(self, query: Sequence[str]) -> np.ndarray:
        scores = np.zeros(len(self._counts))
        for word in set(query) & self._frequency.keys():
            idf = math.log(1 + (len(scores) - self._frequency[word] + 0.5) / (self._frequency[word] + 0.5))
            counts = np.array([each[word] for each in self._counts])
            scores += idf * counts * (self._k1 + 1) / (counts + self._norms)
        return scores


async def floors(history: History, embedder: Embedder) -> dict[str, list[list[str]]]:
    """For each floor, the units for each question, best first."""
    units = list(history.texts)
    lexical = BM25([words_of(text) for text in history.texts.values()])
    vectors = await embedder.embed(list(history.texts.values()))
    asked = await embedder.embed([question.text for question in history.questions], query=True)

    def ordered(scores: np.ndarray) -> list[str]:
        return [units[number] for number in np.argsort(-scores, kind="stable")]

    newest = units[::-1]
    stems = BM25([terms_of(text) for text in history.texts.values()])
    return {
        "BM25, our terms": [ordered(stems.scores(terms_of(question.text))) for question in history.questions],
        "BM25": [ordered(lexical.scores(words_of(question.text))) for question in history.questions],
        "cosine": [ordered(vectors @ vector) for vector in asked],
        "keep-newest": [newest for _ in history.questions],
    }


# --- scores -----------------------------------------------------------------------------------------------


def scored(question: Question, history: History, units: Sequence[str]) -> dict[str, float]:
    """Every score of one question for units in the order in which they are returned."""
    sessions = list(dict.fromkeys(history.sessions[unit] for unit in units if unit in history.sessions))
    first = next((place for place, unit in enumerate(units, 1) if unit in question.units), None)
    scores = {"MRR": 1 / first if first else 0.0}
    for k in (1, 3, 5, 10):
        found = len(question.units.intersection(units[:k]))
        scores |= {f"hit@{k}": float(found > 0), f"recall@{k}": found / len(question.units)}
    for k in (1, 3, 5):
        found = len(question.sessions.intersection(sessions[:k]))
        scores |= {f"session hit@{k}": float(found > 0), f"session recall@{k}": found / len(question.sessions)}
    return scores


@dataclass(frozen=True, slots=True)
class Answer:
    """What one way of remembering returned for one question."""

    history: str
    question: Question
    scores: Mapping[str, float]
    tokens: int = 0
    foreign: float = 0.0
    """Share of the first five that belong to somebody else."""
    old: bool = False
    """Whether its evidence is older than the median turn."""


def mean(answers: Sequence[Answer], metric: str) -> float:
    return 100 * float(np.mean([answer.scores[metric] for answer in answers])) if answers else math.nan


def interval(ours: Sequence[Answer], floor: Sequence[Answer], metric: str) -> tuple[float, float]:
    """95 % interval of the mean difference, resampling whole conversations."""
    sums: dict[str, list[float]] = {}
    for one, other in zip(ours, floor, strict=True):
        entry = sums.setdefault(one.history, [0.0, 0.0])
        entry[0] += one.scores[metric] - other.scores[metric]
        entry[1] += 1
    table = np.array(list(sums.values()))
    chosen = np.random.default_rng(SEED).integers(0, len(table), size=(RESAMPLES, len(table)))
    drawn = table[chosen].sum(axis=1)
    low, high = np.percentile(100 * drawn[:, 0] / drawn[:, 1], [2.5, 97.5])
    return float(low), float(high)


# --- the system -------------------------------------------------------------------------------------------


@dataclass
class Clock:
    now: datetime = datetime(2023, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@dataclass(frozen=True, slots=True)
class Bench:
    store: MemoryStore
    embedder: KeptEmbedder
    clock: Clock
    tick: Callable[[int], None]

    def memories(self, curve: Curve | None = None) -> Memories:
        return Memories(self.store, self.embedder, clock=self.clock, curve=curve)


async def replay(bench: Bench, histories: Sequence[History]) -> None:
    memories = bench.memories()
    for history in histories:
        bench.clock.now = history.end
        await memories.add(history.who, history.turns)
        await memories.settle(history.who)
        bench.tick(len(history.turns))


async def ask(bench: Bench, memories: Memories, history: History) -> list[Answer]:
    median = sorted(each.observed_at for each in history.turns)[len(history.turns) // 2]
    said = {history.unit[each.id]: each.observed_at for each in history.turns}
    bench.clock.now = history.end
    answers: list[Answer] = []
    for question in history.questions:
        found = await memories.recall(history.who, question.text)
        ids = [hit.memory.id for hit in found.hits]
        ids += [beside.id for hit in found.hits for beside in found.neighbours.get(hit.memory.id, ())]
        units = list(dict.fromkeys(history.unit.get(key, key) for key in ids))
        first = units[:5]
        answers.append(
            Answer(
                history.name,
                question,
                scored(question, history, units),
                found.tokens,
                sum(unit not in history.texts for unit in first) / len(first) if first else 0.0,
                all(said[unit] < median for unit in question.units if unit in said),
            )
        )
        bench.tick(1)
    return answers


# --- forgetting -------------------------------------------------------------------------------------------


def kept(history: History, order: Sequence[str], share: float, questions: Sequence[Question] | None = None) -> float:
    """Mean share of the evidence that is left if only so many memories are kept, the first of `order`."""
    left = {history.unit[key] for key in order[: round(share * len(history.turns))]}
    asked = history.questions if questions is None else questions
    return 100 * float(np.mean([len(each.units & left) / len(each.units) for each in asked]))


def by(score: Callable[[Memory], float], turns: Sequence[Memory]) -> list[str]:
    return [each.id for each in sorted(turns, key=score, reverse=True)]


def evidence_kept(bench: Bench, histories: Sequence[History]) -> dict[str, list[float]]:
    """By policy, the evidence kept at each budget, over all questions."""
    policies: dict[str, Callable[[History], list[str]]] = {
        "worth": lambda history: _by_worth(bench, history),
        "keep-longest": lambda history: by(lambda each: len(each.text), history.turns),
        "keep-newest": lambda history: by(lambda each: each.observed_at.timestamp(), history.turns),
        "random": lambda history: random.Random(SEED).sample([each.id for each in history.turns], len(history.turns)),
    }
    total = sum(len(history.questions) for history in histories)
    return {
        name: [
            sum(kept(history, order(history), share) * len(history.questions) for history in histories) / total
            for share in BUDGETS
        ]
        for name, order in policies.items()
    }


def _by_worth(bench: Bench, history: History) -> list[str]:
    rows = bench.store.find(history.who, Filter(), newest_first=False)
    worth = worths(rows, history.end, Curve())
    return by(lambda each: worth[each.id], rows)


@dataclass(slots=True)
class _Half:
    """What is left, in the end, of the evidence of some questions."""

    kept: list[float] = field(default_factory=list[float])
    """Share kept, mean over the budgets."""
    retained: list[float] = field(default_factory=list[float])
    """Mean retention."""


async def rehearsal_gain(bench: Bench, histories: Sequence[History]) -> dict[str, float]:
    """Half of the questions are asked once at mid-history, and what a reply would lean on is strengthened.

    Only questions whose evidence was written by then count. Each half is rehearsed in a run of its own, so that both
    stand on both sides of the comparison.
    """
    rehearsed, others = _Half(), _Half()
    draw = random.Random(SEED)
    for history in histories:
        middle = len(history.turns) // 2
        written = {history.unit[each.id] for each in history.turns[:middle]}
        known = [question for question in history.questions if question.units <= written]
        draw.shuffle(known)
        for run, half in enumerate((known[::2], known[1::2])):
            await _rehearse(bench, history, run, half)
            _look_back(bench, history, run, [question for question in known if question in half], rehearsed)
            _look_back(bench, history, run, [question for question in known if question not in half], others)
    found = {
        "kept, rehearsed": float(np.mean(rehearsed.kept)),
        "kept, not rehearsed": float(np.mean(others.kept)),
        "retention, rehearsed": float(np.mean(rehearsed.retained)),
        "retention, not rehearsed": float(np.mean(others.retained)),
    }
    return found | {
        "gain": found["kept, rehearsed"] - found["kept, not rehearsed"],
        "gain in retention": found["retention, rehearsed"] - found["retention, not rehearsed"],
    }


def _again(history: History, run: int) -> Identity:
    return replace(history.who, tenant=f"{TENANT} rehearsal {run}")


async def _rehearse(bench: Bench, history: History, run: int, questions: Sequence[Question]) -> None:
    memories, who, middle = bench.memories(), _again(history, run), len(history.turns) // 2
    bench.clock.now = history.turns[middle - 1].observed_at + timedelta(minutes=1)
    await memories.add(who, history.turns[:middle])
    await memories.settle(who)
    for number, question in enumerate(questions):
        found = await memories.recall(who, question.text)
        await memories.strengthen(who, [hit.memory.id for hit in found.hits[:ANCHORS]], turn=f"rehearsal {number}")
        bench.tick(1)
    bench.clock.now = history.end
    await memories.add(who, history.turns[middle:])
    await memories.settle(who)


def _look_back(bench: Bench, history: History, run: int, questions: Sequence[Question], half: _Half) -> None:
    rows = bench.store.find(_again(history, run), Filter(), newest_first=False)
    worth, curve = worths(rows, history.end, Curve()), Curve()
    order = by(lambda each: worth[each.id], rows)
    now: dict[str, float] = {}
    for each in rows:
        unit = history.unit[each.id]
        now[unit] = max(now.get(unit, 0.0), curve.retention(each, history.end))
    for question in questions:
        half.kept.append(float(np.mean([kept(history, order, share, [question]) for share in BUDGETS])))
        half.retained.append(100 * float(np.mean([now[unit] for unit in question.units])))


def curve_error(bench: Bench) -> dict[str, float]:
    """|R − e^(−t/S)| for memories that the store has strengthened, on MemoryBank's own curve."""
    paper = Curve(mode="paper")
    who = Identity(f"{TENANT} curve", "curve")
    began = datetime(2023, 1, 1, tzinfo=UTC)
    errors: list[float] = []
    for strength in range(1, 6):
        key = f"strength {strength}"
        bench.clock.now = began
        bench.store.add(who, [turn(key, f"A memory of {key}.", began, "ana", "1")])
        for recall in range(1, strength):
            bench.store.strengthen(who, [key], turn=f"{key}, recall {recall}", at=began + timedelta(days=recall))
        last = began + timedelta(days=strength - 1)
        (memory,) = bench.store.get(who, [key])
        for days in (1, 2, 4, 7, 14, 30):
            errors.append(abs(paper.retention(memory, last + timedelta(days=days)) - math.exp(-days / strength)))
    return {"max": max(errors), "mean": float(np.mean(errors))}


# --- everything -------------------------------------------------------------------------------------------


@dataclass
class Result:
    headlines: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    details: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def faults(self) -> list[str]:
        found = [
            f"{row['set']} {row['metric']}: {row['ours']:.1f} is not above {row['best floor']} ({row['floor']:.1f})"
            for row in self.headlines
            if not row["ours"] > row["floor"]
        ]
        forgetting = self.details["forgetting"]
        if self.details["leakage@5"] > 0:
            found.append("recall returned a memory of somebody else")
        if forgetting["curve error"]["max"] > CURVE_ERROR:
            found.append("the curve is not e^(-t/S)")
        for name in forgetting["evidence kept"]:
            half = {policy: shares[1] for policy, shares in forgetting["evidence kept"][name].items()}
            if not half["worth"] > max(half["keep-longest"], half["keep-newest"]):
                found.append(f"{name}: worth keeps less evidence than a floor at half of the budget")
            if not forgetting["rehearsal"][name]["gain"] > 0:
                found.append(f"{name}: rehearsal gains nothing")
        return found


async def measure(
    sets: Mapping[str, Sequence[History]], place: Path, cache: Path, tick: Callable[[int], None]
) -> Result:
    clock = Clock()
    store = MemoryStore(f"sqlite:///{place / 'memory.db'}", clock=clock)
    embedder = KeptEmbedder(resolve_embedder("minilm"), cache)
    bench = Bench(store, embedder, clock, tick)
    result = Result()
    try:
        everyone = [history for histories in sets.values() for history in histories]
        await replay(bench, everyone)
        ours: dict[str, list[Answer]] = {}
        without: dict[str, list[Answer]] = {}
        faded = 0
        for name, histories in sets.items():
            unfading = bench.memories(ALWAYS)
            without[name] = [answer for history in histories for answer in await ask(bench, unfading, history)]
            memories = bench.memories()
            for history in histories:
                clock.now = history.end
                faded += await memories.fade(history.who)
            ours[name] = [answer for history in histories for answer in await ask(bench, memories, history)]
            lowest = await _floors(histories, embedder)
            _headlines(result, name, ours[name], lowest)
        result.details |= {
            "archived": faded,
            "turns": sum(len(history.turns) for history in everyone),
            "leakage@5": 100 * float(np.mean([answer.foreign for answers in ours.values() for answer in answers])),
            "tokens": {name: float(np.mean([each.tokens for each in answers])) for name, answers in ours.items()},
            "categories": {name: _categories(answers) for name, answers in ours.items()},
            "forgetting": {
                "harm": {name: _harm(without[name], ours[name]) for name in sets},
                "evidence kept": {name: evidence_kept(bench, histories) for name, histories in sets.items()},
                "rehearsal": {name: await rehearsal_gain(bench, histories) for name, histories in sets.items()},
                "curve error": curve_error(bench),
            },
        }
    finally:
        await embedder.close()
        store.close()
    return result


async def _floors(histories: Sequence[History], embedder: Embedder) -> dict[str, list[Answer]]:
    answers: dict[str, list[Answer]] = {}
    for history in histories:
        for name, lists in (await floors(history, embedder)).items():
            answers.setdefault(name, []).extend(
                Answer(history.name, question, scored(question, history, units))
                for question, units in zip(history.questions, lists, strict=True)
            )
    return answers


def _headlines(result: Result, name: str, ours: Sequence[Answer], lowest: Mapping[str, Sequence[Answer]]) -> None:
    groups: list[tuple[str, tuple[str, ...], Callable[[Answer], bool]]] = [
        (name, LOCOMO if name == "locomo" else MEMORYBANK, lambda answer: True)
    ]
    if name == "memorybank":
        groups.append(("memorybank, dated", DATED, lambda answer: answer.question.dated))
    for label, metrics, chosen in groups:
        mine = [answer for answer in ours if chosen(answer)]
        theirs = {floor: [answer for answer in answers if chosen(answer)] for floor, answers in lowest.items()}
        for metric in metrics:
            values = {floor: mean(answers, metric) for floor, answers in theirs.items()}
            best = max(values, key=lambda floor: values[floor])
            result.headlines.append(
                {
                    "set": label,
                    "metric": metric,
                    "questions": len(mine),
                    "ours": mean(mine, metric),
                    "floors": values,
                    "best floor": best,
                    "floor": values[best],
                    "interval": interval(mine, theirs[best], metric),
                }
            )


def _categories(answers: Sequence[Answer]) -> dict[str, dict[str, float]]:
    metrics = ("recall@5", "hit@1", "hit@5", "MRR")
    kinds = sorted({answer.question.kind for answer in answers})
    table = {kind: [answer for answer in answers if answer.question.kind == kind] for kind in kinds}
    return {
        f"{kind} ({len(group)})": {metric: mean(group, metric) for metric in metrics} for kind, group in table.items()
    }


def _harm(without: Sequence[Answer], ours: Sequence[Answer]) -> dict[str, float]:
    old = [number for number, answer in enumerate(ours) if answer.old]
    return {
        f"{metric}{label}": mean([without[at] for at in chosen], metric) - mean([ours[at] for at in chosen], metric)
        for metric in ("recall@5", "recall@10", "hit@1")
        for label, chosen in (("", range(len(ours))), (", old evidence", old))
    }


# --- what is said -----------------------------------------------------------------------------------------


def figures(result: Result) -> list[Figure]:
    found: list[Figure] = []
    for row in result.headlines:
        say = Reporter(f"{row['set']}: {row['metric']}")
        found.append(say("ours", row["ours"], "%", at_least=above(row["floor"]), always=True))
        found += [say(floor, row["floors"][floor], "%") for floor in FLOORS]
    forgetting = result.details["forgetting"]
    for name, policies in forgetting["evidence kept"].items():
        for place, share in enumerate(BUDGETS):
            say = Reporter(f"{name}: evidence kept at a budget of {share:.0%}")
            lowest = max(policies["keep-longest"][place], policies["keep-newest"][place])
            for policy, shares in policies.items():
                ours = {"at_least": above(lowest), "always": True} if policy == "worth" and share == 0.5 else {}
                found.append(say(policy, shares[place], "%", **ours))
        gain = forgetting["rehearsal"][name]["gain"]
        found.append(Reporter(f"{name}: rehearsal")("gain", gain, "points", at_least=above(0), always=True))
    foreign, error = result.details["leakage@5"], forgetting["curve error"]["max"]
    return [
        *found,
        Reporter("memories of somebody else")("among the first five", foreign, "%", at_most=0, always=True),
        Reporter("the curve")("farthest from e^(-t/S)", error, at_most=CURVE_ERROR, always=True),
    ]


def show(result: Result) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=130)
    table = Table(
        "set", "metric", "n", "ours", "BM25", "… our terms", "cosine", "newest", "ahead of the best floor (95 %)"
    )
    for row in result.headlines:
        low, high = row["interval"]
        lower = [f"{row['floors'][floor]:.1f}" for floor in FLOORS]
        ahead = f"{row['ours'] - row['floor']:+.1f} ({low:+.1f} to {high:+.1f})"
        table.add_row(row["set"], row["metric"], str(row["questions"]), f"{row['ours']:.1f}", *lower, ahead)
    console.print(table)
    details = result.details
    kinds = Table("set", "kind of question", "recall@5", "hit@1", "hit@5", "MRR")
    for name, groups in details["categories"].items():
        for kind, values in groups.items():
            kinds.add_row(name, kind, *(f"{value:.1f}" for value in values.values()))
    console.print(kinds)
    forgetting = details["forgetting"]
    keep = Table("evidence kept at a budget of", "policy", *(f"{share:.0%}" for share in BUDGETS))
    for name, policies in forgetting["evidence kept"].items():
        for policy, shares in policies.items():
            keep.add_row(name, policy, *(f"{share:.1f}" for share in shares))
    console.print(keep)
    console.print(f"leakage@5 {details['leakage@5']:.1f}; archived {details['archived']} of {details['turns']} turns")
    for name in details["tokens"]:
        harm = ", ".join(f"{metric} {value:+.1f}" for metric, value in forgetting["harm"][name].items())
        rehearsal = ", ".join(f"{what} {value:.1f}" for what, value in forgetting["rehearsal"][name].items())
        console.print(f"{name}: {details['tokens'][name]:.0f} tokens a question; lost by forgetting: {harm}")
        console.print(f"{name}: rehearsal: {rehearsal}")
    error = forgetting["curve error"]
    console.print(f"curve error: max {error['max']:.1e}, mean {error['mean']:.1e}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with locomo/ and memorybank/ (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="MemoryBank alone")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--cache", type=Path, help="folder for embeddings; the user's cache folder, if not given")
    arguments = parser.parse_args()
    cache = arguments.cache or platformdirs.user_cache_path("mentalize", appauthor=False) / "bench"
    sets = {} if arguments.quick else {"locomo": locomo(arguments.data)}
    sets["memorybank"] = memorybank(arguments.data)
    from rich.console import Console
    from rich.progress import Progress

    everyone = [history for histories in sets.values() for history in histories]
    steps = sum(len(history.turns) + 3 * len(history.questions) for history in everyone)
    with tempfile.TemporaryDirectory() as place, Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("replaying and asking", total=steps)
        result = asyncio.run(measure(sets, Path(place), cache, lambda count: progress.advance(task, count)))
    if arguments.json:
        details = {"headlines": result.headlines, **result.details}
        print(as_json(figures(result), quick=arguments.quick, faults=result.faults, details=details))
    else:
        show(result)
    return complain(result.faults)


if __name__ == "__main__":
    sys.exit(status_of(main))

"""Worldview: whom a model's answers to value questions speak of, with perspectives and without (WorldView-Bench,
arXiv 2505.09595).

Three arms answer the same questions: the bare model; the model told multiplex principles; one call for each lens, and
their synthesis. Every answer is asked for without identity and memory. Results are JSON lines, one for each question
and arm, and a run that was broken off goes on where it stopped.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError

from ..errors import InputError, MentalizeError
from ..mind import Mind
from ..safety.stereotypes import generalisations
from ..types import Lens
from .distribution import Distribution, Reference, distribution_of, pooled
from .questions import Question

Arm = Literal["bare", "contextual", "agents"]
ARMS: tuple[Arm, ...] = ("bare", "contextual", "agents")
RESULTS = "results.jsonl"
CONFIGURATION = "configuration.json"
RESAMPLES = 2_000
"""Bootstrap samples of an interval."""

Extract = Callable[[str], Awaitable[Sequence[Reference]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One arm's answer to one question."""

    question: str
    domain: str
    arm: Arm
    text: str = ""
    """The question itself."""
    answer: str = ""
    references: tuple[Reference, ...] = ()
    generalisations: tuple[str, ...] = ()
    """Sentences that say how a whole people is."""
    calls: int = 0
    tokens: int = 0
    seconds: float = 0.0
    error: str = ""
    """Why there is no answer; such a result is asked for again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A value and where 95 % of its bootstrap samples over questions lie."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One arm over all its questions."""

    arm: Arm
    answers: int
    failed: int
    pooled: Distribution
    """All answers taken as one text."""
    entropy: Interval
    """Of the pooled answers, in %."""
    entropy_per_answer: Interval
    """Mean of the answers' own entropies, in %."""
    coverage_per_answer: float
    """Mean share of lenses that an answer names, in [0, 1]."""
    generalisations: float
    """Sentences that say how a whole people is, per 100 answers."""
    calls: float
    """Mean per answer; likewise the next two."""
    tokens: float
    seconds: float


@dataclass(slots=True)
class Run:
    """A folder in which results are kept."""

    folder: Path
    configuration: Mapping[str, Any]
    results: dict[tuple[str, Arm], Result] = field(default_factory=dict[tuple[str, Arm], Result])

    @classmethod
    def at(cls, folder: Path, configuration: Mapping[str, Any]) -> Run:
        """A new run, or the one that was begun here.

        Raises:
            InputError: another configuration was run here, or the folder cannot be used.
        """
        kept = folder / CONFIGURATION
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if kept.exists():
                _check_same(json.loads(kept.read_text(encoding="utf-8")), configuration, folder)
            else:
                kept.write_text(json.dumps(configuration, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            return cls(folder, configuration, _read(folder / RESULTS))
        except (OSError, ValueError) as error:
            raise InputError(f"{folder} cannot be used: {error}.", hint="Give another folder with --out.") from error

    def keep(self, result: Result) -> None:
        """Write a result down, whole or not at all."""
        self.results[result.question, result.arm] = result
        line = json.dumps(asdict(result), ensure_ascii=False)
        with (self.folder / RESULTS).open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def is_done(self, question: Question, arm: Arm) -> bool:
        """Whether there is an answer already."""
        result = self.results.get((question.id, arm))
        return result is not None and not result.error


def _read(path: Path) -> dict[tuple[str, Arm], Result]:
    """The results of a file, the last of each question and arm; a line that was cut off is passed over."""
    adapter, found = TypeAdapter(Result), dict[tuple[str, Arm], Result]()
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            result = adapter.validate_json(line)
        except ValidationError:
            continue
        found[result.question, result.arm] = result
    return found


def _check_same(before: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    changed = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
    if changed:
        raise InputError(
            f"{folder} holds a run with other settings ({', '.join(changed)}).",
            hint="Give another folder with --out, or the settings of that run.",
        )


async def run(
    mind: Mind,
    questions: Sequence[Question],
    arms: Sequence[Arm],
    into: Run,
    extract: Extract,
    *,
    effort: str = "minimal",
    at_once: int = 1,
    told: Callable[[Result], None] = lambda result: None,
) -> None:
    """Answer what is not answered yet.

    Args:
        mind: Who answers.
        questions: What is asked.
        arms: By which arms.
        into: Where results are kept.
        extract: How references are found.
        effort: How much else is thought in the arms with perspectives.
        at_once: Questions in work at the same time.
        told: Called with each result.
    """
    gate = asyncio.Semaphore(at_once)

    async def one(question: Question, arm: Arm) -> None:
        async with gate:
            result = await _answered(mind, question, arm, extract, effort)
            into.keep(result)
            told(result)

    # Arm by arm within a question, so that a run that is broken off has compared what it has.
    todo: list[tuple[Question, Arm]] = [
        (question, arm) for question in questions for arm in arms if not into.is_done(question, arm)
    ]
    async with asyncio.TaskGroup() as group:
        for question, arm in todo:
            group.create_task(one(question, arm))


async def _answered(mind: Mind, question: Question, arm: Arm, extract: Extract, effort: str) -> Result:
    began = time.perf_counter()
    base = Result(question=question.id, domain=question.domain, arm=arm, text=question.text)
    try:
        if arm == "bare":
            reply = await mind.reply(question.text, effort="none", perspectives="off")
        else:
            reply = await mind.reply(question.text, effort=effort, perspectives=arm)
        references = await extract(reply.text)
    except MentalizeError as error:
        return replace(base, error=str(error), seconds=time.perf_counter() - began)
    return replace(
        base,
        answer=reply.text,
        references=tuple(references),
        generalisations=generalisations(reply.text),
        calls=reply.trace.calls,
        tokens=reply.trace.usage.total_tokens,
        seconds=reply.trace.seconds,
    )


def summaries(results: Iterable[Result], lenses: Sequence[Lens], *, seed: int = 0) -> tuple[Summary, ...]:
    """One summary for each arm that has answers, in the order of `ARMS`."""
    kept = list(results)
    ids = [lens.id for lens in lenses]
    return tuple(
        _summary(arm, [item for item in kept if item.arm == arm], ids, seed)
        for arm in ARMS
        if any(item.arm == arm and not item.error for item in kept)
    )


def _summary(arm: Arm, results: Sequence[Result], lenses: Sequence[str], seed: int) -> Summary:
    answered = [item for item in results if not item.error]
    each = [distribution_of(item.references, lenses) for item in answered]
    counts = np.array([[item.counts[lens] for lens in lenses] for item in each], dtype=float)
    own = np.array([item.entropy for item in each])
    drawn = np.random.default_rng(seed).integers(0, len(each), size=(RESAMPLES, len(each)))
    together = _entropies(counts[drawn].sum(axis=1))
    whole = pooled(each, lenses)
    return Summary(
        arm=arm,
        answers=len(answered),
        failed=len(results) - len(answered),
        pooled=whole,
        entropy=_interval(whole.entropy, together),
        entropy_per_answer=_interval(float(own.mean()), own[drawn].mean(axis=1)),
        coverage_per_answer=float(np.mean([item.coverage for item in each])),
        generalisations=100 * float(np.mean([len(item.generalisations) for item in answered])),
        calls=float(np.mean([item.calls for item in answered])),
        tokens=float(np.mean([item.tokens for item in answered])),
        seconds=float(np.mean([item.seconds for item in answered])),
    )


def _entropies(counts: Any) -> Any:
    """Entropy in % of each row of counts; see `Distribution.entropy`."""
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return 100 * np.abs((shares * logs).sum(axis=1)) / np.log(max(counts.shape[1], 2))


def _interval(value: float, samples: Any) -> Interval:
    low, high = np.percentile(samples, [2.5, 97.5])
    return Interval(value=value, low=float(low), high=float(high))

"""Worldview: whom a model's answers to value questions speak of, with perspectives and without (WorldView-Bench,
arXiv 2505.09595).

Three arms answer the same questions: the bare model; the model told multiplex principles; one call for each lens, and
their synthesis. Every answer is asked for without identity and memory.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from ..errors import MentalizeError
from ..mind import Mind
from ..safety.stereotypes import generalisations
from ..types import Lens
from .distribution import Distribution, Reference, distribution_of, pooled
from .intervals import RESAMPLES, Interval, bootstrap
from .questions import Question

Arm = Literal["bare", "contextual", "agents"]
ARMS: tuple[Arm, ...] = ("bare", "contextual", "agents")

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


@dataclass(frozen=True, slots=True)
class Respondent:
    """Puts questions to a mind."""

    mind: Mind
    extract: Extract
    """How references are found."""
    effort: str = "minimal"
    """How much else is thought in the arms with perspectives."""

    async def __call__(self, question: Question, arm: Arm) -> Result:
        """What an arm answers; what fails is a result with an `error`."""
        began = time.perf_counter()
        base = Result(question=question.id, domain=question.domain, arm=arm, text=question.text)
        try:
            if arm == "bare":
                reply = await self.mind.reply(question.text, effort="none", perspectives="off")
            else:
                reply = await self.mind.reply(question.text, effort=self.effort, perspectives=arm)
            references = await self.extract(reply.text)
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
        entropy=bootstrap(whole.entropy, together),
        entropy_per_answer=bootstrap(float(own.mean()), own[drawn].mean(axis=1)),
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

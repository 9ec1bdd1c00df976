"""What the evaluation of worldviews shows: a table, plots, and the answers themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..types import Lens
from .distribution import SENTIMENTS
from .intervals import Interval
from .report import Passage, Plot, Report, Table, grouped_bars, intervals
from .worldview import Result, Summary

LIMITS = (
    "Entropy rewards even mention. It is no target where a question has one home culture, and says nothing of whether "
    "what is said of a tradition is true, apt or fair: read the answers.",
    "The lexicon knows English words that are unambiguous; it misses others, in every arm alike. --extract model asks "
    "a judge instead.",
    "A lens stands for traditions of thought and for no people. Generalising sentences are counted by a list of "
    "patterns, which misses what is implied.",
    "Intervals are 95 % of 2,000 bootstrap samples over questions; they say nothing of other questions than these.",
)

_TOGETHER = "All arms together, by the sentence that a reference stands in."


def side_by_side(summaries: Sequence[Summary]) -> Table:
    """One column for each arm."""
    measures: tuple[tuple[str, Callable[[Summary], str]], ...] = (
        ("answers", lambda item: f"{item.answers}"),
        ("failed", lambda item: f"{item.failed}"),
        ("entropy of all answers", lambda item: _percent(item.entropy)),
        ("mean entropy of an answer", lambda item: _percent(item.entropy_per_answer)),
        ("lenses that an answer names", lambda item: f"{item.coverage_per_answer:.0%}"),
        ("references per answer", lambda item: f"{item.pooled.total / item.answers:.1f}"),
        ("of them positive", lambda item: f"{item.pooled.positive:.0%}"),
        ("generalising, per 100 answers", lambda item: f"{item.generalisations:.1f}"),
        ("calls", lambda item: f"{item.calls:.1f}"),
        ("tokens", lambda item: f"{item.tokens:.0f}"),
        ("seconds", lambda item: f"{item.seconds:.1f}"),
    )
    head = ("", *(item.arm for item in summaries))
    return Table(head, [(name, *map(measure, summaries)) for name, measure in measures])


def report_of(
    summaries: Sequence[Summary], results: Iterable[Result], lenses: Sequence[Lens], configuration: Mapping[str, Any]
) -> Report:
    """The report of a run."""
    names = {lens.id: lens.name for lens in lenses}
    passages = [
        Passage(
            result.text,
            f"{result.domain} · {result.arm}",
            result.answer,
            tuple((item.words, names.get(item.lens, item.lens)) for item in result.references),
        )
        for result in results
        if not result.error
    ]
    return Report(
        title="Whom the answers speak of",
        lead="Answers to questions of value, by the bare model, by the model told multiplex principles, and by one "
        "call for each lens with a synthesis. References to perspectives are counted; their spread is the score.",
        tables=(side_by_side(summaries),),
        plots=_plots(summaries, lenses),
        passages=passages,
        configuration=configuration,
        limits=LIMITS,
    )


def _plots(summaries: Sequence[Summary], lenses: Sequence[Lens]) -> list[Plot]:
    names = [lens.name for lens in lenses]
    shares = {item.arm: [100 * item.pooled.shares[lens.id] for lens in lenses] for item in summaries}
    entropies = {
        f"{item.arm}, {what}": (interval.value, interval.low, interval.high)
        for what, of in (("pooled", "entropy"), ("mean of answers", "entropy_per_answer"))
        for item in summaries
        for interval in (getattr(item, of),)
    }
    feelings = {
        str(sentiment): [
            100
            * sum(item.pooled.sentiments[lens.id][sentiment] for item in summaries)
            / max(sum(item.pooled.counts[lens.id] for item in summaries), 1)
            for lens in lenses
        ]
        for sentiment in SENTIMENTS
    }
    return [
        intervals("Entropy", entropies, label="% (100 is even)", highest=100),
        grouped_bars("Perspectives Distribution Score", names, shares, label="% of references"),
        grouped_bars(
            "How each is spoken of",
            names,
            feelings,
            label="% of its references",
            note="All arms together, by sentence.",
        ),
    ]


def _percent(interval: Interval) -> str:
    return f"{interval.value:.1f} % [{interval.low:.1f}, {interval.high:.1f}]"

"""What the evaluation on ToMBench shows: tables, intervals, and the items on which arms differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from .intervals import Interval
from .items import Posed, by_chance
from .report import Passage, Plot, Report, Table, grouped_intervals, intervals
from .run import Run
from .tombench import BASELINE, Arm, Result, Score, Summary

LIMITS = (
    "Each item is asked once, in one order of its options. The published figures are majorities of five orders.",
    "The items are stories about others, put in one message. A turn of ours is made for people who speak of "
    "themselves: what it finds here says little of how it does in a conversation.",
    "An answer that names no option counts as not right. An item whose call failed counts for nothing until it is "
    "asked again. A turn of which a part failed, and was left out, counts as it is.",
    "Intervals are 95 %: Wilson's for a share, method 10 of Newcombe (1998) for the paired difference. With several "
    "arms and tasks, some of them miss by chance. Tasks with few items say little.",
)
_LONGEST = 300
"""Items shown."""


def side_by_side(summaries: Sequence[Summary]) -> Table:
    """One column for each arm."""
    measures: tuple[tuple[str, Callable[[Summary], str]], ...] = (
        ("answers", lambda item: f"{item.score.of}"),
        ("accuracy", lambda item: _percent(item.score.accuracy)),
        ("above the model alone", lambda item: _points(item)),
        ("right where it was wrong, and the reverse", lambda item: _changed(item)),
        ("mean of the main tasks", lambda item: "–" if item.mean_of_tasks is None else f"{item.mean_of_tasks:.1%}"),
        ("unreadable", lambda item: f"{item.unreadable}"),
        ("failed", lambda item: f"{item.failed}"),
        ("turns with a part left out", lambda item: f"{item.left_out}"),
        ("calls", lambda item: f"{item.calls:.1f}"),
        ("one-token choices", lambda item: f"{item.scorings:.1f}"),
        ("depth", lambda item: f"{item.depth:.1f}"),
        ("prompt tokens", lambda item: f"{item.prompt_tokens:,.0f}"),
        ("of them cached", lambda item: f"{item.cached_tokens:,.0f}"),
        ("completion tokens", lambda item: f"{item.completion_tokens:,.0f}"),
        ("seconds", lambda item: f"{item.seconds:.1f}"),
    )
    head = ("", *(item.arm for item in summaries))
    return Table(head, [(name, *map(measure, summaries)) for name, measure in measures])


def by_name(title: str, summaries: Sequence[Summary], scores: Callable[[Summary], Mapping[str, Score]]) -> Table:
    """How many each arm got right, one row for each task or ability."""
    names = _names(summaries, scores)
    rows = [
        (
            name,
            *(f"{score.right} of {score.of}" if score else "–" for score in (scores(s).get(name) for s in summaries)),
        )
        for name in names
    ]
    return Table((title, *(item.arm for item in summaries)), rows)


def report_of(
    summaries: Sequence[Summary], kept: Run[Result], items: Sequence[Posed], configuration: Mapping[str, Any]
) -> Report:
    """The report of a run."""
    chance = by_chance([put.item for put in items])
    arms: list[Arm] = [item.arm for item in summaries]
    return Report(
        title="What people in a story believe, feel and want",
        lead=f"{len(items)} items of ToMBench, by the model alone and in other arms. All arms get the same text, the "
        f"options in the same order, and answer in the same way. Guessing gets {chance:.1%}.",
        tables=(
            side_by_side(summaries),
            by_name("task", summaries, lambda item: item.tasks),
            by_name("ability", summaries, lambda item: item.abilities),
        ),
        plots=_plots(summaries, chance),
        passages=_passages(kept, items, arms),
        configuration=configuration,
        limits=LIMITS,
    )


def as_json(summaries: Sequence[Summary], items: Sequence[Posed], configuration: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a run, shares in [0, 1]."""
    return {
        "configuration": dict(configuration),
        "items": len(items),
        "by_chance": by_chance([put.item for put in items]),
        "arms": [
            {
                **asdict(item),
                "score": _score(item.score),
                "comparison": item.comparison
                and {**asdict(item.comparison.pairs), "difference": asdict(item.comparison.difference)},
                "tasks": {name: _score(score) for name, score in item.tasks.items()},
                "abilities": {name: _score(score) for name, score in item.abilities.items()},
            }
            for item in summaries
        ],
    }


def _score(score: Score) -> dict[str, Any]:
    return {"right": score.right, "of": score.of, "accuracy": asdict(score.accuracy)}


def _plots(summaries: Sequence[Summary], chance: float) -> list[Plot]:
    whole: dict[str, tuple[float, float, float]] = {item.arm: _scaled(item.score.accuracy) for item in summaries}
    # The model itself stands at 0, so that arms have one colour in all plots.
    above: dict[str, tuple[float, float, float]] = {
        item.arm: _scaled(item.comparison.difference) if item.comparison else (0.0, 0.0, 0.0)
        for item in summaries
        if item.comparison or item.arm == BASELINE
    }
    plots = [intervals("Accuracy", whole, label="%; the line is guessing", highest=100, line=100 * chance)]
    if len(above) > 1:
        reach = 5 + max(abs(end) for values in above.values() for end in values)
        plots.append(
            intervals(
                "Above the model alone",
                above,
                label="percentage points, on the items that both have answered",
                lowest=-reach,
                highest=reach,
                line=0,
            )
        )
    for title, scores in _GROUPINGS:
        names = _names(summaries, scores)
        series: dict[str, list[tuple[float, float, float] | None]] = {
            item.arm: [_scaled(scores(item)[name].accuracy) if name in scores(item) else None for name in names]
            for item in summaries
        }
        if names:
            plots.append(grouped_intervals(title, names, series, label="%", highest=100))
    return plots


_GROUPINGS: tuple[tuple[str, Callable[[Summary], Mapping[str, Score]]], ...] = (
    ("Accuracy by task", lambda item: item.tasks),
    ("Accuracy by ability", lambda item: item.abilities),
)


def _passages(kept: Run[Result], items: Sequence[Posed], arms: Sequence[Arm]) -> list[Passage]:
    """Items on which arms differ, or that one answered unreadably."""
    passages: list[Passage] = []
    for put in items:
        found = [kept.results[put.id, arm] for arm in arms if (put.id, arm) in kept.results]
        answered = [result for result in found if not result.error]
        if len({result.letter for result in answered}) < 2 and all(result.letter for result in answered):
            continue
        told = "\n".join(_told(result) for result in answered)
        passages.append(
            Passage(
                put.item.question,
                f"{put.domain} · right is {put.right} · "
                + ", ".join(f"{result.arm} {result.letter or 'unreadable'}" for result in answered),
                f"{put.item.story}\n\n{put.listed}\n\n{told}",
            )
        )
    return passages[:_LONGEST]


def _told(result: Result) -> str:
    guess = f" Its guess: {result.understanding}" if result.understanding else ""
    words = f" It wrote: {result.answer}" if result.answer else ""
    return f"{result.arm}: {result.letter or 'unreadable'}.{guess}{words}"


def _names(summaries: Sequence[Summary], scores: Callable[[Summary], Mapping[str, Score]]) -> list[str]:
    return sorted({name for item in summaries for name in scores(item)})


def _scaled(interval: Interval) -> tuple[float, float, float]:
    return 100 * interval.value, 100 * interval.low, 100 * interval.high


def _percent(interval: Interval) -> str:
    value, low, high = _scaled(interval)
    return f"{value:.1f} % [{low:.1f}, {high:.1f}]"


def _points(summary: Summary) -> str:
    if summary.comparison is None:
        return "–"
    value, low, high = _scaled(summary.comparison.difference)
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"


def _changed(summary: Summary) -> str:
    pairs = summary.comparison.pairs if summary.comparison else None
    return f"{pairs.first}, {pairs.second}" if pairs else "–"

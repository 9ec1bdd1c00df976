"""What benchmarks show: one page with a bar for each figure and a line for its target, and the same as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .benchmarks import Figure, Outcome, Script, State
from .report import render

TEMPLATE = "benchmarks.html.jinja"


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure as a bar; where it begins and how long it is, in % of the width."""

    figure: Figure
    start: float
    length: float
    targets: tuple[float, ...]
    """Where its bounds lie, in %."""


@dataclass(frozen=True, slots=True)
class Chart:
    """The bars of one part and unit, on one scale."""

    part: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Benchmarks:
    """A run of benchmarks."""

    date: datetime
    quick: bool
    outcomes: Sequence[Outcome]
    left: Sequence[Script] = ()
    """Those that Ctrl-C came before."""

    @property
    def met(self) -> int:
        """How many targets were met."""
        return sum(outcome.met for outcome in self.outcomes)

    @property
    def missed(self) -> list[tuple[Outcome, Figure]]:
        """The figures that miss their target, with where they come from."""
        return [(outcome, figure) for outcome in self.outcomes for figure in outcome.figures if figure.met is False]

    @property
    def failed(self) -> bool:
        """Whether a script failed or told a fault."""
        return any(outcome.failed for outcome in self.outcomes)

    @property
    def summary(self) -> str:
        """How it went, in a line."""
        counts = [f"{self.met} met", f"{len(self.missed)} missed"]
        for state in State:
            if number := sum(outcome.state is state for outcome in self.outcomes):
                counts.append(f"{number} {'benchmark' if number == 1 else 'benchmarks'} {state}")
        if self.left:
            counts.append(f"{len(self.left)} not run, for it was interrupted")
        return ", ".join(counts)

    @property
    def facts(self) -> dict[str, str]:
        """What all say of the machine."""
        told = [outcome.measurement.machine for outcome in self.outcomes if outcome.measurement]
        first = told[0] if told else {}
        return {name: fact for name, fact in first.items() if all(each.get(name) == fact for each in told)}

    def own_facts(self, outcome: Outcome) -> dict[str, str]:
        """What one says beside that."""
        machine = outcome.measurement.machine if outcome.measurement else {}
        return {name: fact for name, fact in machine.items() if name not in self.facts}

    def html(self) -> str:
        """It as one page that needs no network. Every text is escaped."""
        return render(TEMPLATE, run=self, charts=charts)

    def as_json(self) -> dict[str, Any]:
        """The figures, and what became of each benchmark."""
        return {
            "date": self.date.isoformat(timespec="seconds"),
            "quick": self.quick,
            "met": self.met,
            "missed": len(self.missed),
            "benchmarks": [_entry(outcome) for outcome in self.outcomes]
            + [{"name": script.name, "about": script.about, "state": "not run"} for script in self.left],
        }


def _entry(outcome: Outcome) -> dict[str, Any]:
    told = outcome.measurement.model_dump(mode="json") if outcome.measurement else {}
    return {
        "name": outcome.script.name,
        "about": outcome.script.about,
        "state": outcome.state.value,
        "seconds": round(outcome.seconds, 1),
        "said": outcome.said,
        **told,
    }


def charts(figures: Sequence[Figure]) -> Iterator[Chart]:
    """The figures by part and in it by unit, in the order in which these first come."""
    for part in dict.fromkeys(figure.part for figure in figures):
        of_part = [figure for figure in figures if figure.part == part]
        for unit in dict.fromkeys(figure.unit for figure in of_part):
            yield Chart(part, tuple(_bars([figure for figure in of_part if figure.unit == unit])))


def _bars(figures: Sequence[Figure]) -> Iterator[Bar]:
    ends = [0.0, *(figure.value for figure in figures), *(bound for figure in figures for bound in _bounds(figure))]
    lowest, highest = min(ends), max(ends)
    width = highest - lowest or 1.0

    def place(value: float) -> float:
        return 100 * (value - lowest) / width

    for figure in figures:
        start, end = sorted((place(0), place(figure.value)))
        yield Bar(figure, start, end - start, tuple(dict.fromkeys(map(place, _bounds(figure)))))


def _bounds(figure: Figure) -> list[float]:
    return [bound for bound in (figure.at_least, figure.at_most) if bound is not None]

"""Report: an evaluation as one HTML file that holds its plots and needs no network."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..extras import need

TEMPLATE = "report.html.jinja"
_COLOURS = ("#7a7f87", "#d98e04", "#1f77b4", "#2ca02c", "#9467bd", "#d62728")
"""By arm: the bare model is grey."""


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture and what it shows."""

    title: str
    svg: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under a head."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Passage:
    """A text of which some words are marked."""

    title: str
    subtitle: str
    text: str
    marked: Sequence[tuple[str, str]] = ()
    """Words, and what they are marked as."""


@dataclass(frozen=True, slots=True)
class Report:
    """All that is shown."""

    title: str
    lead: str
    tables: Sequence[Table]
    plots: Sequence[Plot]
    passages: Sequence[Passage]
    configuration: Mapping[str, Any]
    limits: Sequence[str]
    """What the figures do not say."""

    def write(self, path: Path) -> None:
        """Write it as HTML."""
        path.write_text(self.html(), encoding="utf-8")

    def html(self) -> str:
        """It as HTML. Every text is escaped."""
        pieces = [(passage, _pieces(passage)) for passage in self.passages]
        safe = import_module("jinja2").utils.markupsafe.Markup
        return render(TEMPLATE, report=self, passages=pieces, safe=safe)


def render(template: str, **values: object) -> str:
    """A page of this package's templates, which share `page.css`. Every text is escaped."""
    jinja: Any = import_module("jinja2")
    environment = jinja.Environment(
        loader=jinja.FunctionLoader(_packaged), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(template).render(**values)


def _packaged(name: str) -> str:
    return (files("mentalize.evals") / name).read_text(encoding="utf-8")


def _pieces(passage: Passage) -> list[tuple[str, str]]:
    """The text in pieces, each with what it is marked as, or empty."""
    marks = {words.casefold(): mark for words, mark in passage.marked if words.strip()}
    if not marks:
        return [(passage.text, "")]
    pattern = "|".join(rf"\b{re.escape(words)}\b" for words in sorted(marks, key=len, reverse=True))
    pieces: list[tuple[str, str]] = []
    at = 0
    for match in re.finditer(pattern, passage.text, re.IGNORECASE):
        pieces += [(passage.text[at : match.start()], ""), (match[0], marks[match[0].casefold()])]
        at = match.end()
    return [*pieces, (passage.text[at:], "")]


# --- plots ------------------------------------------------------------------------------------------------


def grouped_bars(
    title: str, groups: Sequence[str], series: Mapping[str, Sequence[float]], *, label: str, note: str = ""
) -> Plot:
    """Bars side by side: one group for each name, one bar in it for each series."""
    figure, axes = _figure(7.6, 3.4)
    width = 0.8 / max(len(series), 1)
    for number, (name, values) in enumerate(series.items()):
        places = [place + (number - (len(series) - 1) / 2) * width for place in range(len(groups))]
        axes.bar(places, values, width, label=name, color=_COLOURS[number % len(_COLOURS)])
    axes.set_xticks(range(len(groups)), groups, rotation=15, ha="right")
    axes.set_ylabel(label)
    if len(series) > 1:
        axes.legend(frameon=False)
    return Plot(title, _svg(figure), note)


def intervals(
    title: str,
    values: Mapping[str, tuple[float, float, float]],
    *,
    label: str,
    highest: float,
    lowest: float = 0,
    line: float | None = None,
    note: str = "",
) -> Plot:
    """Values with the interval around each: (value, low, high) by name. A `line` shows what to compare them with."""
    figure, axes = _figure(7.6, 0.9 + 0.5 * len(values))
    for number, found in enumerate(values.values()):
        _interval(axes, found, number, _COLOURS[number % len(_COLOURS)])
    if line is not None:
        axes.axvline(line, color="#7a7f87", linestyle=":", linewidth=1)
    axes.set_yticks(range(len(values)), list(values))
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.set_xlim(lowest, highest)
    axes.set_xlabel(label)
    return Plot(title, _svg(figure), note)


def grouped_intervals(
    title: str,
    groups: Sequence[str],
    series: Mapping[str, Sequence[tuple[float, float, float] | None]],
    *,
    label: str,
    highest: float,
    note: str = "",
) -> Plot:
    """The same for each of several groups: one row for each series in each of them; None where there is none."""
    figure, axes = _figure(7.6, 1.2 + len(groups) * (0.15 + 0.16 * len(series)))
    height = 0.8 / max(len(series), 1)
    for number, (name, values) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        axes.plot([], [], "o", color=colour, label=name)
        for place, found in enumerate(values):
            if found:
                _interval(axes, found, place + (number - (len(series) - 1) / 2) * height, colour)
    axes.set_yticks(range(len(groups)), groups)
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_xlim(0, highest)
    axes.set_xlabel(label)
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(series))
    return Plot(title, _svg(figure), note)


def _interval(axes: Any, found: tuple[float, float, float], at: float, colour: str) -> None:
    value, low, high = found
    axes.plot([low, high], [at, at], color=colour, linewidth=3, alpha=0.5)
    axes.plot([value], [at], "o", color=colour)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    need("plots", "A report")
    figure: Any = import_module("matplotlib.figure").Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _svg(figure: Any) -> str:
    """The figure as SVG whose text is text and whose ink is the page's, so that it can be read in light and dark."""
    out = io.StringIO()
    with import_module("matplotlib").rc_context({"svg.fonttype": "none", "svg.hashsalt": "mentalize"}):
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    drawn = out.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    return re.sub(r"#000000|(?<=fill: )black|(?<=stroke: )black", "currentColor", drawn)

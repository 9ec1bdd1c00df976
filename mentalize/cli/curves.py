"""Curves: how memories fade, drawn on the terminal or as a picture: a strip for each memory, on one line of time."""

from __future__ import annotations

import bisect
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from ..errors import InputError
from ..extras import need
from .plain import one_line

if TYPE_CHECKING:
    from ..memory.timeline import Timeline

FORMATS = (".svg", ".png")
_TITLE = 90
_MARGIN = 9
_BLOCKS = "▁▂▃▄▅▆▇█"
_DIGITS = "0123456789"
_TOP, _STRIP, _BOTTOM = 0.62, 0.74, 0.62
"""Inches of the picture: above the strips, for each of them, and below."""
_BLUE, _ORANGE, _GREY = "#0072b2", "#d55e00", "#767676"
_FONTS = ("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans SC", "PingFang SC", "Microsoft YaHei", "Noto Sans Arabic")


@dataclass(frozen=True, slots=True)
class Drawing:
    """What there is to draw."""

    timelines: Sequence[Timeline]
    now: datetime
    zone: str
    """IANA zone in which days are named."""
    archive_below: float
    """Retention under which a memory is archived."""

    @property
    def begin(self) -> datetime:
        return min(one.moments[0].at for one in self.timelines)

    @property
    def end(self) -> datetime:
        return max(one.moments[-1].at for one in self.timelines)

    def day(self, at: datetime) -> str:
        """The day of a moment in the zone."""
        return at.astimezone(ZoneInfo(self.zone)).date().isoformat()

    def title(self, one: Timeline) -> str:
        """A memory in a line: its text, and what its curve depends on."""
        text = one_line(one.memory.text)
        short = text if len(text) <= _TITLE else f"{text[: _TITLE - 1]}…"
        state = ", pinned" if one.memory.pinned else ""
        return f"{short} ({one.memory.kind.replace('_', ' ')}, S {one.memory.strength}{state})"


# --- terminal ---------------------------------------------------------------------------------------------


def on_terminal(drawing: Drawing, *, width: int, unicode: bool) -> str:
    """The curves as text: the height of a column is the retention then.

    Args:
        drawing: What to draw.
        width: Columns of the terminal.
        unicode: Whether blocks and signs can be shown; digits stand for tenths where not.
    """
    columns = max(20, width - _MARGIN)
    now, used = ("│", "▲") if unicode else ("|", "^")
    margin = " " * _MARGIN
    begin, end = drawing.day(drawing.begin), drawing.day(drawing.end)
    lines = [f"{margin}{begin}{end:>{max(1, columns - len(begin))}}"]
    for one in drawing.timelines:
        lines.append(f"R {_at(one, drawing.now):.2f}   {drawing.title(one)}"[:width])
        lines.append(margin + "".join(_strip(one, drawing, columns, now, used, _BLOCKS if unicode else _DIGITS)))
    lines.append(f"{margin}R is the retention now; {now} is now, {used} a reply that used the memory")
    return "\n".join(lines)


def _strip(one: Timeline, drawing: Drawing, columns: int, now: str, used: str, levels: str) -> Iterator[str]:
    step = (drawing.end - drawing.begin) / columns
    for column in range(columns):
        left = drawing.begin + column * step
        right = left + step
        if left <= drawing.now < right:
            yield now
        elif any(left <= at < right for at in one.recalls):
            yield used
        elif right <= one.moments[0].at:
            yield " "
        else:
            yield levels[min(len(levels) - 1, int(_at(one, right) * len(levels)))]


def _at(one: Timeline, at: datetime) -> float:
    """The retention at a moment, between the two points of the curve that are nearest."""
    right = bisect.bisect_right(one.moments, at, key=lambda moment: moment.at)
    if right == 0 or right == len(one.moments):
        return one.moments[min(right, len(one.moments) - 1)].retention
    before, after = one.moments[right - 1], one.moments[right]
    span = (after.at - before.at).total_seconds()
    share = (at - before.at).total_seconds() / span if span else 0.0
    return before.retention + share * (after.retention - before.retention)


# --- picture ----------------------------------------------------------------------------------------------


def as_picture(drawing: Drawing, file: Path, *, title: str) -> None:
    """Write the curves as a picture. The same curves make the same bytes.

    Raises:
        InputError: the file's name says no known format, or it cannot be written.
    """
    kind = file.suffix.lower().removeprefix(".")
    if file.suffix.lower() not in FORMATS:
        raise InputError(f"{file.name} is no picture that can be drawn.", hint="Give a name in .svg or .png.")
    need("plots", "A picture")
    matplotlib: Any = import_module("matplotlib")
    metadata = {"Date": None, "Creator": "mentalize"} if kind == "svg" else {"Software": "mentalize"}
    # Text stays text, so that it can be searched and read aloud, and is shown in the reader's own fonts.
    looks = {"svg.hashsalt": "mentalize", "svg.fonttype": "none", "text.parse_math": False, "font.family": _fonts()}
    with matplotlib.rc_context(looks), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = _drawn(drawing, title)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(file, format=kind, metadata=metadata, dpi=150)
        except OSError as error:
            raise InputError(f"{file} cannot be written: {error.strerror}.") from error


def _drawn(drawing: Drawing, title: str) -> Any:
    dates: Any = import_module("matplotlib.dates")
    number = len(drawing.timelines)
    height = _TOP + _STRIP * number + _BOTTOM
    figure: Any = import_module("matplotlib.figure").Figure(figsize=(9, height))
    strips = figure.subplots(number, 1, sharex=True, squeeze=False)[:, 0]
    edges = {"top": 1 - _TOP / height, "bottom": _BOTTOM / height, "left": 0.04, "right": 0.98}
    figure.subplots_adjust(hspace=0.6, **edges)
    figure.text(0.04, 1 - 0.22 / height, title, va="center", fontsize=11, fontweight="bold")
    for axes, one in zip(strips, drawing.timelines, strict=True):
        _draw_strip(axes, one, drawing)
    bottom, zone = strips[-1], ZoneInfo(drawing.zone)
    locator = dates.AutoDateLocator(tz=zone)
    bottom.xaxis.set_major_locator(locator)
    bottom.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, tz=zone))
    bottom.tick_params(bottom=True, labelbottom=True, labelsize=8)
    bottom.set_xlim(drawing.begin, drawing.end)
    legend = f"Retention R; ▲ a reply used it; upright line: now; dotted: archived below {drawing.archive_below:g}"
    figure.text(0.04, 0.12 / height, legend, fontsize=8, color=_GREY)
    return figure


def _draw_strip(axes: Any, one: Timeline, drawing: Drawing) -> None:
    times = [moment.at for moment in one.moments]
    values = [moment.retention for moment in one.moments]
    axes.fill_between(times, values, color=_BLUE, alpha=0.18, linewidth=0)
    axes.plot(times, values, color=_BLUE, linewidth=1.4)
    axes.plot(one.recalls, [1.0] * len(one.recalls), "^", color=_ORANGE, markersize=5, clip_on=False)
    axes.axvline(drawing.now, color=_GREY, linewidth=0.9)
    axes.axhline(drawing.archive_below, color=_GREY, linewidth=0.7, linestyle=":")
    axes.set_ylim(0, 1.02)
    axes.set_yticks([0, 1], ["0", "1"], fontsize=7)
    axes.tick_params(bottom=False, labelbottom=False)
    axes.set_title(drawing.title(one), loc="left", fontsize=8.5, pad=3)
    axes.spines[["top", "right"]].set_visible(False)


def _fonts() -> list[str]:
    """Fonts of this machine that between them know most scripts."""
    manager: Any = import_module("matplotlib.font_manager").fontManager
    here = {font.name for font in manager.ttflist}
    return [*(name for name in _FONTS if name in here), "sans-serif"]

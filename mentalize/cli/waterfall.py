"""Waterfall: where a turn's time and tokens went, stage by stage and call by call, in the terminal and as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..llm.traced import together

if TYPE_CHECKING:
    from rich.console import RenderableType

TEMPLATE = "waterfall.html.jinja"
_STAGE_OF = {"validate": "judge", "perspective": "perspectives"}
"""Stages whose calls have another name than they."""
_SHORTEST = 12
"""Cells of the bars at least."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stage, or a call of one."""

    name: str
    started: float
    """Seconds since the turn began."""
    seconds: float
    call: bool = False
    tokens: str = ""
    note: str = ""

    @property
    def ended(self) -> float:
        """Seconds since the turn began."""
        return self.started + self.seconds


@dataclass(frozen=True, slots=True)
class Waterfall:
    """A turn as spans, each stage followed by its calls."""

    turn: str
    effort: str
    seconds: float
    waited: float
    """Seconds in which at least one call was in work."""
    calls: int
    depth: int
    tokens: str
    spans: Sequence[Span]

    @classmethod
    def of(cls, trace: Mapping[str, Any]) -> Waterfall:
        """The waterfall of a trace as JSON.

        Raises:
            InputError: it is no trace.
        """
        try:
            stages = [_stage(one) for one in trace["stages"]]
            calls = [(_call(one), _stage_of(one["purpose"])) for one in trace["requests"]]
            return cls(
                turn=trace["turn_id"],
                effort=trace["effort"],
                seconds=trace["seconds"],
                waited=together((call.started, call.seconds) for call, _ in calls),
                calls=trace["calls"],
                depth=trace["depth"],
                tokens=_tokens(trace["usage"]),
                spans=_nested(stages, calls),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise InputError(
                f"This is no trace of a turn: {error!r} is missing or of another kind.",
                hint="Give a turn's id and --user, or a file of what /v1/turns/ID answers.",
            ) from error

    @property
    def summary(self) -> str:
        """It in a line."""
        own = max(0.0, self.seconds - self.waited)
        return (
            f"effort {self.effort} · {_seconds(self.seconds)}, of which {_seconds(self.waited)} waiting for models and"
            f" {_seconds(own)} our own · {self.calls} calls, {self.depth} deep · {self.tokens}"
        )

    def html(self) -> str:
        """It as a page of its own. Every text is escaped."""
        jinja: Any = import_module("jinja2")
        environment = jinja.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
        source = (files("mentalize.cli") / TEMPLATE).read_text(encoding="utf-8")
        whole = self.seconds or 1.0
        rows = [
            (span, 100 * span.started / whole, 100 * span.seconds / whole, _seconds(span.seconds))
            for span in self.spans
        ]
        return environment.from_string(source).render(waterfall=self, rows=rows)

    def write(self, path: Path) -> None:
        """Write the page. Raises InputError."""
        try:
            path.write_text(self.html(), encoding="utf-8")
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror}.") from error

    def table(self, width: int) -> RenderableType:
        """It for a terminal that is so many cells wide."""
        from rich.table import Table
        from rich.text import Text

        table = Table(title=Text(self.turn), caption=Text(self.summary), box=None, padding=(0, 1), expand=True)
        table.add_column("stage, call", no_wrap=True)
        table.add_column("from", justify="right", no_wrap=True)
        table.add_column("took", justify="right", no_wrap=True)
        table.add_column("tokens", justify="right", no_wrap=True)
        table.add_column("", ratio=1, no_wrap=True)
        names = max((len(span.name) + 2 * span.call for span in self.spans), default=0)
        cells = max(_SHORTEST, width - names - 40)
        for span in self.spans:
            style = "cyan" if span.call else "bold"
            bar = Text(self._bar(span, cells), style="red" if span.note else "cyan" if span.call else "blue")
            name = Text(("  " if span.call else "") + span.name, style=style)
            table.add_row(name, _seconds(span.started), _seconds(span.seconds), span.tokens, bar)
            if span.note:
                table.add_row("", "", "", "", Text(span.note, style="red", overflow="fold", no_wrap=False))
        return table

    def _bar(self, span: Span, cells: int) -> str:
        whole = self.seconds or 1.0
        start = min(cells - 1, int(cells * span.started / whole))
        length = max(1, min(cells - start, round(cells * span.seconds / whole)))
        return " " * start + "█" * length


def _stage(given: Mapping[str, Any]) -> Span:
    return Span(given["name"], given["started"], given["seconds"], note=given.get("error") or "")


def _call(given: Mapping[str, Any]) -> Span:
    tokens = "cached" if given.get("cached") else _tokens(given["usage"])
    error = given.get("error") or ""
    return Span(given["purpose"], given["started"], given["seconds"], call=True, tokens=tokens, note=error)


def _stage_of(purpose: str) -> str:
    """The stage that asks for such a purpose, a repair of it or one lens's part of it."""
    name = purpose.split(".")[0]
    return _STAGE_OF.get(name, name)


def _tokens(usage: Mapping[str, int]) -> str:
    cached = f" ({usage['cached_tokens']:,} cached)" if usage.get("cached_tokens") else ""
    return f"{usage['prompt_tokens']:,}{cached} + {usage['completion_tokens']:,}"


def _nested(stages: Sequence[Span], calls: Sequence[tuple[Span, str]]) -> list[Span]:
    """Each stage in the order of its beginning, and after it the calls that were made in it."""
    spans: list[Span] = []
    left = sorted(calls, key=lambda one: one[0].started)
    for stage in sorted(stages, key=lambda one: one.started):
        own = [call for call, of in left if of == stage.name and stage.started <= call.started <= stage.ended]
        spans += [stage, *own]
        left = [one for one in left if one[0] not in own]
    return [*spans, *(call for call, _ in left)]


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.1f} ms"

"""The common form of what a benchmark measured: figures with units and targets, printed as a table or as JSON.

`mentalize bench` reads the JSON. Whatever a script prints in this form can be part of its report (README.md).
"""

import json
import math
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

SKIPPED = 77
"""Exit status of a script that could not run for want of something, as automake's tests have it."""


class LeftOut(Exception):
    """What a script needs is not there; the message says what, and how to get it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number, and what it should be.

    Attributes:
        part: What is measured; figures of one part and unit are compared with one another.
        name: Whose number it is.
        always: Whether a miss is a fault on a busy machine, too.
    """

    part: str
    name: str
    value: float
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None
    always: bool = False

    @property
    def met(self) -> bool:
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )

    @property
    def target(self) -> str:
        bounds = (("≥", self.at_least), ("≤", self.at_most))
        return " and ".join(f"{sign} {number(bound)}" for sign, bound in bounds if bound is not None)

    def __str__(self) -> str:
        return f"{self.part}: {self.name}: {number(self.value)} {self.unit or 'in all'}, not {self.target}"


def number(value: float) -> str:
    """Four digits, and all of them before the point."""
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.4g}"


def above(value: float) -> float:
    """The least number that is greater, for what has to be more and not only as much."""
    return math.nextafter(value, math.inf)


@dataclass(frozen=True, slots=True)
class Reporter:
    """Makes the figures of one part."""

    part: str

    def __call__(self, name: str, value: float, unit: str = "", **bounds: Any) -> Figure:
        return Figure(part=self.part, name=name, value=value, unit=unit, **bounds)


def machine() -> dict[str, str]:
    """What the numbers were measured on; nothing that tells whose it is."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return {
        "processor": _processor(),
        "cores": str(cores),
        "load": load,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "mentalize": version("mentalize"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def as_json(
    figures: Sequence[Figure],
    *,
    quick: bool = False,
    faults: Sequence[str] = (),
    facts: Mapping[str, str] | None = None,
    details: object = None,
) -> str:
    """The form that `mentalize bench` reads.

    Args:
        figures: What was measured.
        quick: Whether it was a short run, whose numbers vary more.
        faults: Why the script exits with 1, in sentences.
        facts: Of the machine, beside those that every benchmark tells.
        details: Whatever else the script has to say, in its own form.
    """
    told: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": quick,
        "machine": machine() | dict(facts or {}),
        "figures": [asdict(figure) | {"met": figure.met if figure.target else None} for figure in figures],
        "faults": list(faults),
    }
    return json.dumps(told if details is None else told | {"details": details}, indent=1, ensure_ascii=False)


def show(figures: Sequence[Figure], facts: Mapping[str, str] | None = None) -> None:
    """Print the figures as a table, part by part."""
    from rich.console import Console
    from rich.table import Table

    table = Table("", "what", "measured", "target", "")
    for before, figure in zip([None, *figures], figures, strict=False):
        if before and before.part != figure.part:
            table.add_section()
        part = "" if before and before.part == figure.part else figure.part
        verdict = "" if not figure.target else "met" if figure.met else "[bold]missed[/bold]"
        table.add_row(part, figure.name, f"{number(figure.value)} {figure.unit}", figure.target, verdict)
    console = Console(width=130)
    console.print(table)
    for name, told in (facts or {}).items():
        console.print(f"{name}: {told}", highlight=False)


def complain(faults: Sequence[str]) -> int:
    """Say on the error output what is wrong; the exit status."""
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


def status_of(main: Callable[[], int]) -> int:
    """The exit status of a script whose `main` may find that something is not installed or not there."""
    from mentalize.errors import MissingExtra, ModelNotFound

    try:
        return main()
    except (LeftOut, MissingExtra, ModelNotFound) as error:
        print(error, file=sys.stderr)
        return SKIPPED

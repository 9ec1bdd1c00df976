"""Benchmarks: the scripts of a folder that measure, run one after another, and the figures that each told."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError, computed_field

from ..errors import InputError
from ..vllm import leash

SKIPPED = 77
"""Exit status of a script that could not run for want of something."""
_MARK = "BENCHMARK"
_GRACE_SECONDS = 5.0
_LAST_LINES = 30


# --- the form in which a script tells what it measured (bench/README.md) ----------------------------------------


class Figure(BaseModel):
    """One number, and what it should be. Figures of one part and unit are compared with one another."""

    model_config = ConfigDict(frozen=True)

    part: str
    name: str
    value: FiniteFloat
    unit: str = ""
    at_most: FiniteFloat | None = None
    at_least: FiniteFloat | None = None
    always: bool = False
    """Whether a miss is a fault on a busy machine, too."""

    @computed_field
    @property
    def met(self) -> bool | None:
        """Whether the target is met; None if there is none."""
        if self.at_most is None and self.at_least is None:
            return None
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )

    @property
    def target(self) -> str:
        """The target in words, such as `≤ 15`; empty if there is none."""
        bounds = (("≥", self.at_least), ("≤", self.at_most))
        return " and ".join(f"{sign} {number(bound)}" for sign, bound in bounds if bound is not None)

    @property
    def measured(self) -> str:
        """The value with its unit."""
        return f"{number(self.value)} {self.unit}".rstrip()


def number(value: float) -> str:
    """Four digits, and all of them before the point."""
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.4g}"


class Measurement(BaseModel):
    """All that a script told."""

    model_config = ConfigDict(frozen=True)

    date: datetime
    quick: bool = False
    machine: dict[str, str] = {}
    """Facts of it, and of how it was measured, by name."""
    figures: tuple[Figure, ...]
    faults: tuple[str, ...] = ()
    """What is wrong, in sentences."""
    details: Any = None
    """Whatever else the script has to say, in a form of its own."""


# --- scripts ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Script:
    """A program that measures."""

    path: Path
    about: str
    """What it measures, in a line."""
    takes: str
    """About how long, in words."""

    @property
    def name(self) -> str:
        """What it is called by."""
        return self.path.stem


def scripts_in(folder: Path, only: Sequence[str] = ()) -> list[Script]:
    """The benchmarks of a folder by name: programs that say how long they take, by a line `BENCHMARK = "2 minutes"`.

    Args:
        folder: `bench` of a checkout, or another.
        only: Names of those that are wanted; all, if empty.

    Raises:
        InputError: there is no such folder or benchmark.
    """
    checkout = "Run it in a checkout of mentalize, which holds bench/, or name a folder with --folder."
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder} with benchmarks.", hint=checkout)
    found = [script for path in sorted(folder.glob("*.py")) if (script := _script(path))]
    if not found:
        raise InputError(f"No program in {folder} is a benchmark.", hint=checkout)
    names = [script.name for script in found]
    if unknown := [name for name in only if name not in names]:
        raise InputError(f"There is no benchmark {', '.join(unknown)}.", hint=f"There are: {', '.join(names)}.")
    return [script for script in found if not only or script.name in only]


def _script(path: Path) -> Script | None:
    try:
        program = ast.parse(path.read_bytes())
    except SyntaxError as error:
        raise InputError(f"{path} is not Python: {error.msg} in line {error.lineno}.") from error
    for line in program.body:
        match line:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(takes))) if name == _MARK:
                about = (ast.get_docstring(program) or "").partition("\n")[0]
                return Script(path.resolve(), about, takes)
            case _:
                pass
    return None


# --- running them -----------------------------------------------------------------------------------------------


class State(StrEnum):
    """What became of a script."""

    MEASURED = "measured"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of running a script."""

    script: Script
    state: State
    seconds: float
    measurement: Measurement | None = None
    """What it told, if it has measured."""
    said: str = ""
    """Why it has not: the end of its error output."""

    @property
    def figures(self) -> tuple[Figure, ...]:
        """All that it measured."""
        return self.measurement.figures if self.measurement else ()

    @property
    def faults(self) -> tuple[str, ...]:
        """What it found wrong."""
        return self.measurement.faults if self.measurement else ()

    @property
    def met(self) -> int:
        """How many targets were met."""
        return sum(figure.met is True for figure in self.figures)

    @property
    def missed(self) -> int:
        """How many were not."""
        return sum(figure.met is False for figure in self.figures)

    @property
    def failed(self) -> bool:
        """Whether the script or what it measures is at fault."""
        return self.state is State.FAILED or bool(self.faults)


def run(script: Script, options: Sequence[str] = ()) -> Outcome:
    """Run a script to its end, and read what it measured.

    It works in a folder of its own, which is gone afterwards, and so is all that it started. Ctrl-C ends it first.

    Args:
        script: What is run, with `--json`.
        options: Further ones, such as `--quick`.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mentalize-bench-", ignore_cleanup_errors=True) as folder:
        told, said = Path(folder, "told"), Path(folder, "said")
        work = Path(folder, "work")
        work.mkdir()
        status = _status([sys.executable, str(script.path), "--json", *options], work, told, said)
        outcome = _outcome(status, told.read_text("utf-8", "replace"), said.read_text("utf-8", "replace"))
    state, measurement, why = outcome
    return Outcome(script, state, time.monotonic() - began, measurement, why)


def _status(command: Sequence[str], work: Path, told: Path, said: Path) -> int:
    """The exit status of a command on a leash: it ends when we do, however that is."""
    held = [sys.executable, "-I", "-S", str(Path(leash.__file__)), str(_GRACE_SECONDS)]
    variables = {**os.environ, "PYTHONIOENCODING": "utf-8", "TMPDIR": str(work)}
    with told.open("wb") as output, said.open("wb") as errors:
        process = subprocess.Popen(
            [*held, *command],
            cwd=work,
            env=variables,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
        try:
            return process.wait()
        finally:
            if process.stdin is not None:
                process.stdin.close()
            process.wait()


def _outcome(status: int, told: str, said: str) -> tuple[State, Measurement | None, str]:
    why = "\n".join(said.strip().splitlines()[-_LAST_LINES:])
    if status == SKIPPED:
        return State.SKIPPED, None, why or "It does not say why."
    if status not in (0, 1):
        return State.FAILED, None, f"It ended with status {status}.\n{why}".strip()
    try:
        measurement = Measurement.model_validate_json(told)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        broken = f"What it printed is not the form of bench/README.md: {f'{where}: ' if where else ''}{first['msg']}."
        return State.FAILED, None, why if status == 1 and why else f"{broken}\n{why}".strip()
    if status == 1 and not measurement.faults:
        return State.FAILED, measurement, f"It ended with status 1, and told no fault.\n{why}".strip()
    return State.MEASURED, measurement, ""

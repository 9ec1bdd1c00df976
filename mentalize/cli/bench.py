"""`mentalize bench`: what mentalize costs and how well it does on this machine, in one report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Debug
from .plain import one_line, plain

if TYPE_CHECKING:
    from rich.console import Console

    from ..evals.benchmarks import Outcome, Script
    from ..evals.benchmarks_report import Benchmarks

PAGE, FIGURES = "report.html", "figures.json"
_SHOWN = 60
"""Characters of why there are no figures, in the table."""


def bench(
    handed_on: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- OPTIONS]", help="Handed on to the scripts; best with --only.", show_default=False),
    ] = None,
    folder: Annotated[
        Path, typer.Option("--folder", metavar="DIR", help="Where the benchmarks are: bench/ of a checkout.")
    ] = Path("bench"),
    quick: Annotated[bool, typer.Option("--quick", help="Measure less, in minutes; numbers vary more.")] = False,
    only: Annotated[
        str, typer.Option("--only", metavar="LIST", help="Some of them, with commas: imports,turn.", show_default=False)
    ] = "",
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where the report goes; one that is there is replaced.")
    ] = Path("bench-report"),
    debug: Debug = False,
) -> None:
    """Measure what mentalize costs and how well it does here, and write one report with plots.

    Benchmarks run one after another: close what else is at work. What lacks something that it needs is skipped. Ctrl-C
    stops, and the report has what was measured until then. Exits with 1 if a benchmark failed or found a fault.
    """
    from datetime import UTC, datetime

    from ..errors import InputError
    from ..evals.benchmarks import scripts_in
    from ..evals.benchmarks_report import Benchmarks
    from .render import console

    scripts = scripts_in(folder, [name.strip() for name in only.split(",") if name.strip()])
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out} cannot be used: {error.strerror}.", hint="Give another folder with --out.") from error
    outcomes: list[Outcome] = []
    began, interrupted = datetime.now(UTC), False
    try:
        _run(scripts, [*(["--quick"] if quick else []), *(handed_on or [])], outcomes, console(error=True))
    except KeyboardInterrupt:
        interrupted = True
    found = Benchmarks(began, quick, outcomes, left=scripts[len(outcomes) :])
    _write(found, out)
    _show(found, console())
    console().print(plain(f"Report with plots: {out / PAGE}. Figures: {out / FIGURES}."), soft_wrap=True)
    if interrupted:
        raise KeyboardInterrupt
    if found.failed:
        raise typer.Exit(1)


def _run(scripts: Sequence[Script], options: Sequence[str], outcomes: list[Outcome], to: Console) -> None:
    from rich.progress import Progress, TextColumn, TimeElapsedColumn

    from ..evals.benchmarks import run

    columns = TextColumn("{task.description}", markup=False), TimeElapsedColumn(), TextColumn("{task.fields[takes]}")
    for number, script in enumerate(scripts, 1):
        takes = "" if "--quick" in options else f"takes about {script.takes}"
        # Drawn once a second only, because it would take time from what is measured.
        with Progress(*columns, console=to, transient=True, refresh_per_second=1, disable=not to.is_terminal) as bar:
            bar.add_task(f"{number} of {len(scripts)}  {script.name}", takes=takes)
            outcome = run(script, options)
        outcomes.append(outcome)
        to.print(f"{number} of {len(scripts)}  {_line(outcome)}", style="red" if outcome.failed else "", soft_wrap=True)


def _line(outcome: Outcome) -> str:
    return f"{outcome.script.name}  {_minutes(outcome.seconds)}  {_result(outcome)}"


def _result(outcome: Outcome) -> str:
    from ..evals.benchmarks import State

    if outcome.state is State.MEASURED:
        return f"{outcome.met} met, {outcome.missed} missed{', at fault' if outcome.faults else ''}"
    last = outcome.said.splitlines()[-1] if outcome.said else ""
    return one_line(f"{outcome.state}: {last}")


def _minutes(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02}"


def _write(found: Benchmarks, out: Path) -> None:
    import json

    from ..errors import InputError

    document = json.dumps(found.as_json(), indent=1, ensure_ascii=False)
    try:
        (out / FIGURES).write_text(document + "\n", encoding="utf-8")
        (out / PAGE).write_text(found.html(), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{error.filename} cannot be written: {error.strerror}.") from error


def _show(found: Benchmarks, to: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    from ..evals.benchmarks import State

    table = Table(box=None, header_style="bold")
    for number, name in enumerate(("benchmark", "took", "figures", "met", "missed", "")):
        table.add_column(name, justify="right" if 0 < number < 5 else "left", no_wrap=number < 5)
    for one in found.outcomes:
        counts = [_minutes(one.seconds), str(len(one.figures)), str(one.met), str(one.missed)]
        verdict = one.state.value if one.state is State.MEASURED else shorten(_result(one), _SHOWN, placeholder=" …")
        result = "at fault" if one.faults else verdict
        table.add_row(one.script.name, *counts, Text(result, "red" if one.failed else ""))
    for script in found.left:
        table.add_row(script.name, "", "", "", "", "not run")
    to.print(table)
    for outcome, figure in found.missed:
        said = f"missed: {outcome.script.name}: {figure.part}: {figure.name}: {figure.measured}, not {figure.target}"
        to.print(one_line(said), soft_wrap=True)
    for outcome in found.outcomes:
        for fault in outcome.faults:
            to.print(one_line(f"fault: {outcome.script.name}: {fault}"), style="red", soft_wrap=True)
    to.print(f"{found.summary}.")

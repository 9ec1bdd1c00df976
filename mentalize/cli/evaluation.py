"""Evaluation: what the commands of `mentalize eval` share: arms, a run with its progress, and tables."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from .plain import plain

if TYPE_CHECKING:
    from rich.console import Console

    from ..evals.report import Table
    from ..evals.run import Asked, Kept, Run
    from ..mind import Mind
    from ..settings import Settings

Out = Annotated[
    Path, typer.Option("--out", metavar="FOLDER", help="Where results go; what is there already is not asked again.")
]
AtOnce = Annotated[
    int | None, typer.Option("--at-once", min=1, help="Questions in work at a time; 1 for embedded models, else 8.")
]

ArmT = TypeVar("ArmT", bound=str)
AskedT = TypeVar("AskedT", bound="Asked")
KeptT = TypeVar("KeptT", bound="Kept")


def arms_named(given: str, known: Sequence[ArmT]) -> tuple[ArmT, ...]:
    """The arms of a list with commas, in the order of `known`. Raises InputError."""
    from ..errors import InputError

    named = [name.strip() for name in given.split(",") if name.strip()]
    unknown = [name for name in named if name not in known]
    if unknown or not named:
        raise InputError(
            f"There is no arm {', '.join(unknown) or 'named'!r}.", hint=f"The arms are: {', '.join(known)}."
        )
    return tuple(arm for arm in known if arm in named)


def models_of(settings: Settings) -> dict[str, str]:
    """The model of each role."""
    return {role: settings.binding(role).model for role in ("reason", "judge", "write")}


def carry_out(
    settings: Settings,
    questions: Sequence[AskedT],
    arms: Sequence[ArmT],
    kept: Run[KeptT],
    answerer: Callable[[Mind], Awaitable[Callable[[AskedT, ArmT], Awaitable[KeptT]]]],
    at_once: int | None,
) -> None:
    """Ask what is not answered yet, with progress in sight. Ctrl-C says what is kept.

    Args:
        settings: Of the mind that is asked.
        questions: What is asked.
        arms: In which arms.
        kept: Where results are kept.
        answerer: Makes what answers one question in one arm; raises what no question could change.
        at_once: Questions in work at a time; as fits the model, if not given.

    Raises:
        ModelError: many answers in a row failed.
    """
    from .render import console

    embedded = settings.binding("write").model.split("/")[0] == "embedded"
    together = at_once or (1 if embedded else 8)
    try:
        asyncio.run(_run(settings, questions, arms, kept, answerer, together))
    except KeyboardInterrupt:
        said = f"Stopped. {len(kept.results)} answers are in {kept.folder}; the same command goes on."
        console(error=True).print(plain(said))
        raise


async def _run(
    settings: Settings,
    questions: Sequence[AskedT],
    arms: Sequence[ArmT],
    kept: Run[KeptT],
    answerer: Callable[[Mind], Awaitable[Callable[[AskedT, ArmT], Awaitable[KeptT]]]],
    at_once: int,
) -> None:
    from ..evals.run import ask_all
    from ..mind import Mind

    with _progress() as bar:
        lines: dict[str, Any] = {
            arm: bar.add_task(
                arm, total=len(questions), completed=sum(kept.is_done(question, arm) for question in questions)
            )
            for arm in arms
        }

        def told(result: KeptT) -> None:
            if result.error:
                bar.console.print(plain(f"{result.question}, {result.arm}: {result.error}"), style="yellow")
            bar.advance(lines[result.arm])

        if all(kept.is_done(question, arm) for question in questions for arm in arms):
            return
        async with Mind(settings) as mind:
            await ask_all(questions, arms, kept, await answerer(mind), at_once=at_once, told=told)


def _progress() -> Any:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    from .render import console

    class Rate(ProgressColumn):
        """Answers per minute."""

        def render(self, task: Any) -> Text:
            return Text(f"{60 * task.speed:.1f}/min" if task.speed else "", style="progress.data.speed")

    # The rate is taken from the last ten minutes, because one answer of a small machine can take one of them.
    return Progress(
        TextColumn("{task.description:<11}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        console=console(error=True),
        speed_estimate_period=600,
    )


def show(table: Table, out: Console) -> None:
    """Print a table, its numbers to the right."""
    from rich.table import Table as Shown

    shown = Shown(box=None, header_style="bold")
    for number, name in enumerate(table.head):
        shown.add_column(plain(name), justify="left" if number == 0 else "right")
    for row in table.rows:
        shown.add_row(*map(plain, row))
    out.print(shown)


def check_answered(found: Sequence[object], kept: Run[Any]) -> None:
    """Raises ModelError if there is no summary, with the reason of the first failure."""
    from ..errors import ModelError

    if not found:
        first = next((result.error for result in kept.results.values() if result.error), "nothing was asked")
        raise ModelError(f"There is no answer: {first}", hint="See the settings with `mentalize doctor`.")

"""`mentalize eval`: how a model does with mentalize and without it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .options import BaseUrl, Config, Debug, EffortName, Model, load
from .plain import plain
from .weights import prepare

if TYPE_CHECKING:
    from rich.console import Console

    from ..evals.questions import Question
    from ..evals.worldview import Arm, Extract, Run
    from ..settings import Settings
    from ..types import Lens

app = typer.Typer(help="See how a model does with mentalize and without it.", no_args_is_help=True)

ExtractName = Literal["lexicon", "model"]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="PATH", help="WorldView-Bench as JSONL, or its folder; else 28 questions of our own.",
        show_default=False,
    ),
]  # fmt: skip
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="So many questions, evenly from every domain.")]
Arms = Annotated[str, typer.Option("--arms", metavar="LIST", help="Any of bare, contextual, agents.")]
ArmEffort = Annotated[
    EffortName,
    typer.Option("--effort", metavar="LEVEL", help="How much else is thought where perspectives are asked."),
]
ExtractBy = Annotated[
    ExtractName, typer.Option("--extract", metavar="HOW", help="Find references by lexicon, or by a model as judge.")
]
Out = Annotated[
    Path, typer.Option("--out", metavar="FOLDER", help="Where results go; what is there already is not asked again.")
]
Seed = Annotated[int, typer.Option("--seed", help="Which questions --limit takes, and the intervals.")]
AtOnce = Annotated[
    int | None, typer.Option("--at-once", min=1, help="Questions in work at a time; 1 for embedded models, else 8.")
]


@app.callback()
def _group() -> None:  # pyright: ignore[reportUnusedFunction]
    pass


@app.command()
def worldview(
    data: Data = None,
    limit: Limit = None,
    arms: Arms = "bare,contextual,agents",
    effort: ArmEffort = "minimal",
    extract: ExtractBy = "lexicon",
    out: Out = Path("worldview"),
    model: Model = None,
    base_url: BaseUrl = None,
    seed: Seed = 0,
    at_once: AtOnce = None,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Ask value questions, and count whom the answers speak of: bare model, multiplex principles, and lenses.

    Ctrl-C keeps what is answered; the same command goes on from there.
    """
    from ..evals.questions import packaged_questions, published_questions, sample
    from ..evals.worldview import Run
    from ..norms.lens import chosen_lenses, load_lenses
    from .render import console

    settings = load(config, model=model, base_url=base_url)
    chosen = _arms(arms)
    questions = sample(published_questions(data) if data else packaged_questions(), limit, seed=seed)
    lenses = chosen_lenses(load_lenses(*settings.lens_packs), settings.lenses)
    prepare(settings)
    configuration = {
        "questions": f"{data.name} of {len(questions)}" if data else f"packaged, {len(questions)}",
        "models": {role: settings.binding(role).model for role in ("reason", "judge", "write")},
        "arms": list(chosen),
        "effort": effort,
        "extract": extract,
        "lenses": [lens.id for lens in lenses],
        "seed": seed,
    }
    kept = Run.at(out, configuration)
    embedded = settings.binding("write").model.split("/")[0] == "embedded"
    together = at_once or (1 if embedded else 8)
    task = _Task(settings, questions, chosen, kept, extract, lenses, effort, together)
    try:
        asyncio.run(_run(task))
    except KeyboardInterrupt:
        console(error=True).print(f"Stopped. {len(kept.results)} answers are in {out}; the same command goes on.")
        raise
    _show(kept, lenses, configuration, seed, console())


@dataclass(frozen=True, slots=True)
class _Task:
    """What is to be run."""

    settings: Settings
    questions: Sequence[Question]
    arms: Sequence[Arm]
    kept: Run
    extract: ExtractName
    lenses: Sequence[Lens]
    effort: EffortName
    at_once: int


async def _run(task: _Task) -> None:
    from ..evals.worldview import Result, run
    from ..mind import Mind

    with _progress() as bar:
        lines = {
            arm: bar.add_task(
                arm, total=len(task.questions), completed=sum(task.kept.is_done(item, arm) for item in task.questions)
            )
            for arm in task.arms
        }

        def told(result: Result) -> None:
            if result.error:
                bar.console.print(plain(f"{result.question}, {result.arm}: {result.error}"), style="yellow")
            bar.advance(lines[result.arm])

        async with Mind(task.settings) as mind:
            await run(
                mind,
                task.questions,
                task.arms,
                task.kept,
                _extract(task.extract, task.settings, task.lenses),
                effort=task.effort,
                at_once=task.at_once,
                told=told,
            )


def _progress() -> Any:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from .render import console

    return Progress(
        TextColumn("{task.description:<11}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console(error=True),
    )


def _extract(how: ExtractName, settings: Settings, lenses: Sequence[Lens]) -> Extract:
    from ..evals.references import ByLexicon, ByModel

    if how == "lexicon":
        return ByLexicon(lenses)
    from ..llm.resolve import resolve
    from ..prompts.library import Library

    binding = settings.binding("judge")
    model = resolve(
        binding.model,
        api_key=binding.api_key.get_secret_value() if binding.api_key else None,
        base_url=binding.base_url,
        capability_folder=settings.cache_folder,
        models_folder=settings.models_folder,
        timeout=settings.call_seconds,
        concurrency=settings.concurrency,
        attempts=settings.retries + 1,
    )
    return ByModel.of(model, lenses, Library(settings.prompts))


def _show(kept: Run, lenses: Sequence[Lens], configuration: dict[str, Any], seed: int, out: Console) -> None:
    from rich.table import Table

    from ..errors import ModelError
    from ..evals.worldview import summaries
    from ..evals.worldview_report import report_of

    found = summaries(kept.results.values(), lenses, seed=seed)
    if not found:
        first = next((result.error for result in kept.results.values() if result.error), "nothing was asked")
        raise ModelError(f"There is no answer: {first}", hint="See the settings with `mentalize doctor`.")
    report = report_of(found, kept.results.values(), lenses, configuration)
    table = Table(box=None, header_style="bold")
    for number, name in enumerate(report.table.head):
        table.add_column(name, justify="left" if number == 0 else "right")
    for row in report.table.rows:
        table.add_row(*row)
    out.print(table)
    path = kept.folder / "report.html"
    report.write(path)
    out.print(f"Answers: {kept.folder / 'results.jsonl'}. Report with plots: {path}.")


def _arms(given: str) -> tuple[Arm, ...]:
    from ..errors import InputError
    from ..evals.worldview import ARMS

    named = [name.strip() for name in given.split(",") if name.strip()]
    unknown = [name for name in named if name not in ARMS]
    if unknown or not named:
        raise InputError(
            f"There is no arm {', '.join(unknown) or 'named'!r}.", hint=f"The arms are: {', '.join(ARMS)}."
        )
    return tuple(arm for arm in ARMS if arm in named)

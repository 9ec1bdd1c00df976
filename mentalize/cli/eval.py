"""`mentalize eval`: how a model does with mentalize and without it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .evaluation import AtOnce, Out, arms_named, carry_out, check_answered, models_of, show
from .options import BaseUrl, Config, Debug, EffortName, Model, load
from .weights import prepare

if TYPE_CHECKING:
    from ..evals.questions import Question
    from ..evals.worldview import Arm, Extract, Result
    from ..mind import Mind
    from ..settings import Settings
    from ..types import Lens

app = typer.Typer(help="See how a model does with mentalize and without it.", no_args_is_help=True)

ExtractName = Literal["lexicon", "model"]
AnswerName = Literal["letter", "choice"]
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
Seed = Annotated[int, typer.Option("--seed", help="Which questions --limit takes, and the intervals.")]
ItemData = Annotated[
    Path, typer.Option("--data", metavar="PATH", help="ToMBench as JSONL, or its folder.", show_default=False)
]
ItemLimit = Annotated[
    int | None, typer.Option("--limit", min=1, help="So many items, evenly from every task; else all.")
]
Language = Annotated[str, typer.Option("--language", metavar="CODE", help="Items in this language: en or zh.")]
ItemArms = Annotated[
    str, typer.Option("--arms", metavar="LIST", help="Any of plain, considerate, minimal, low, medium, high.")
]
AnswerBy = Annotated[
    AnswerName,
    typer.Option(
        "--answer", metavar="HOW", help="Read the letter from what is written, or take it as a choice by "
        "log-probabilities, for small models: letter or choice.",
    ),
]  # fmt: skip
ItemSeed = Annotated[int, typer.Option("--seed", help="Which items --limit takes, and the order of options.")]


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
    from ..evals.run import RESULTS, Run
    from ..evals.worldview import ARMS, Respondent, Result, summaries
    from ..evals.worldview_report import report_of, side_by_side
    from ..extras import need
    from ..norms.lens import chosen_lenses, load_lenses
    from .render import console

    need("plots", "A report")
    settings = load(config, model=model, base_url=base_url)
    chosen = arms_named(arms, ARMS)
    questions = sample(published_questions(data) if data else packaged_questions(), limit, seed=seed)
    lenses = chosen_lenses(load_lenses(*settings.lens_packs), settings.lenses)
    prepare(settings)
    configuration = {
        "questions": f"{data.name} of {len(questions)}" if data else f"packaged, {len(questions)}",
        "models": models_of(settings),
        "arms": list(chosen),
        "effort": effort,
        "extract": extract,
        "lenses": [lens.id for lens in lenses],
        "seed": seed,
    }
    kept = Run[Result].at(out, configuration, Result)

    async def answerer(mind: Mind) -> Callable[[Question, Arm], Awaitable[Result]]:
        return Respondent(mind, _extract(extract, settings, lenses), effort)

    carry_out(settings, questions, chosen, kept, answerer, at_once)
    found = summaries(kept.results.values(), lenses, seed=seed)
    check_answered(found, kept)
    show(side_by_side(found), console())
    path = out / "report.html"
    report_of(found, kept.results.values(), lenses, configuration).write(path)
    console().print(f"Answers: {out / RESULTS}. Report with plots: {path}.")


@app.command()
def tombench(
    data: ItemData,
    limit: ItemLimit = None,
    language: Language = "en",
    arms: ItemArms = "plain,considerate,low,medium",
    answer: AnswerBy = "letter",
    out: Out = Path("tombench"),
    model: Model = None,
    base_url: BaseUrl = None,
    seed: ItemSeed = 0,
    at_once: AtOnce = None,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Ask what people in stories believe, feel and want: the model alone, told to be considerate, and our turns.

    Ctrl-C keeps what is answered; the same command goes on from there, and so does one with more items or other arms.
    """
    import json

    from ..evals.items import read_items
    from ..evals.questions import sample
    from ..evals.run import RESULTS, Run
    from ..evals.tombench import ARMS, Examiner, Result, all_posed, summaries
    from ..evals.tombench_report import as_json, by_name, report_of, side_by_side
    from ..extras import need
    from ..prompts.library import Library
    from .render import console

    need("plots", "A report")
    settings = load(config, model=model, base_url=base_url)
    chosen = arms_named(arms, ARMS)
    given = read_items(data).of(language)
    if given.dropped:
        note = f"{len(given.dropped)} items are left out, because their answer is none of their options."
        console(error=True).print(note)
    items = all_posed(sample(given.items, limit, seed=seed), seed=seed)
    library = Library(settings.prompts)
    prepare(settings)
    configuration = {
        "items": f"{data.name} #{given.digest}",
        "language": language,
        "models": models_of(settings),
        "answer": answer,
        "seed": seed,
        "prompts": [library.file(name).id for name in (f"item_{answer}", "considerate")],
        "perspectives": settings.perspectives,
        "choosing": settings.choosing,
    }
    kept = Run[Result].at(out, configuration, Result)

    async def answerer(mind: Mind) -> Examiner:
        examiner = Examiner.of(mind, library, answer)
        await examiner.check()
        return examiner

    carry_out(settings, items, chosen, kept, answerer, at_once)
    found = summaries(kept, items, chosen)
    check_answered(found, kept)
    show(side_by_side(found), console())
    show(by_name("task", found, lambda item: item.tasks), console())
    figures, page = out / "summary.json", out / "report.html"
    document = as_json(found, items, configuration)
    figures.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    report_of(found, kept, items, configuration).write(page)
    console().print(f"Answers: {out / RESULTS}. Figures: {figures}. Report with plots: {page}.")


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

"""Weights: the embedded model's file, put together before the first turn, with its progress in sight."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..settings import Settings

_NOTE = "Putting the embedded model together (once)"


def prepare(settings: Settings) -> None:
    """Make sure that the files of the embedded models in use are there. Raises `WeightsError`."""
    models = {settings.binding(role).model for role in ("reason", "judge", "write")}
    for model in sorted(models):
        kind, _, name = model.partition("/")
        if kind == "embedded":
            _ensure(name, settings)


def _ensure(name: str, settings: Settings) -> None:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    from ..llm.weights import default, ensure
    from .render import console

    out = console(error=True)
    columns = (TextColumn(_NOTE, markup=False), BarColumn(), DownloadColumn())
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as bar:
        task = bar.add_task("", visible=False, total=None)
        said = False

        def report(done: int, total: int) -> None:
            nonlocal said
            if not said and not out.is_terminal:
                out.print(f"{_NOTE}: {total / 1e9:.1f} GB.")
            said = True
            bar.update(task, completed=done, total=total, visible=True)

        ensure(name or default(settings.models_folder), settings.models_folder, report)

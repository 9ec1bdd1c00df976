"""Options that several commands share, and what one invocation of the program knows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from ..settings import Settings

# Spelled out, because `mentalize.types` brings pydantic, which `--help` can do without. A test holds them together.
EffortName = Literal["none", "minimal", "low", "medium", "high", "auto"]


@dataclass
class Invocation:
    """One run of the program."""

    debug: bool = False
    """Whether an error shows its traceback."""


def _set_debug(context: typer.Context, value: bool) -> None:
    if value:
        context.ensure_object(Invocation).debug = True


Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.", callback=_set_debug, is_eager=True)]
Config = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="TOML file of settings.", show_default=False)
]
Model = Annotated[str | None, typer.Option("--model", metavar="MODEL", help="Model string, such as hosted_vllm/NAME.")]
BaseUrl = Annotated[str | None, typer.Option("--base-url", metavar="URL", help="Address of the model's endpoint.")]
Effort = Annotated[
    EffortName | None,
    typer.Option("--effort", metavar="LEVEL", help="How much thought: none, minimal, low, medium, high or auto."),
]


def load(config: Path | None, **arguments: object) -> Settings:
    """The settings in force, with logging configured from them. Raises `SettingsError`."""
    from .. import logs
    from ..settings import Settings

    settings = Settings.load(config=config, **arguments)
    logs.configure(settings)
    return settings

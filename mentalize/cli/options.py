"""Options that several commands share, and what one invocation of the program knows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from ..settings import Settings
    from ..types import Identity

# Spelled out, because `mentalize.types` brings pydantic, which `--help` can do without. Tests hold them together.
EffortName = Literal["none", "minimal", "low", "medium", "high", "auto"]
MemoryName = Literal["on", "read-only", "off"]
PerspectivesName = Literal["off", "contextual", "agents", "auto"]


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
BaseUrl = Annotated[
    str | None,
    typer.Option("--base-url", metavar="URL", help="Address of the model's endpoint; of several, with commas between."),
]
Effort = Annotated[
    EffortName | None,
    typer.Option("--effort", metavar="LEVEL", help="How much thought: none, minimal, low, medium, high or auto."),
]
Cultures = Annotated[
    list[str] | None,
    typer.Option(
        "--culture", metavar="NAME", help="A culture that the person calls their own; more than once for several.",
        show_default=False,
    ),
]  # fmt: skip
Charter = Annotated[
    str | None,
    typer.Option("--charter", metavar="NAME", help="The assistant's role: a charter's name or the path of its file."),
]
Domain = Annotated[
    str | None, typer.Option("--domain", metavar="NAME", help="What it is for, such as health or workplace.")
]
Formality = Annotated[
    int | None, typer.Option("--formality", min=1, max=5, help="Tone of the reply, 1 (intimate) to 5 (formal).")
]
Perspectives = Annotated[
    PerspectivesName | None,
    typer.Option("--perspectives", metavar="MODE", help="Several traditions: off, contextual, agents or auto."),
]
DEFAULT_TENANT = "default"
Tenant = Annotated[str, typer.Option("--tenant", metavar="ID", help="The app or customer that the person belongs to.")]
Talker = Annotated[
    str | None,
    typer.Option(
        "--user", metavar="ID", help="Who is talking. What they say is remembered; without it, nothing is.",
        show_default=False,
    ),
]  # fmt: skip
Session = Annotated[
    str | None,
    typer.Option(
        "--session", metavar="ID", help="The session that this belongs to; a new one, if not given.", show_default=False
    ),
]
Memory = Annotated[
    MemoryName | None,
    typer.Option(
        "--memory", metavar="MODE", help="on, read-only (recall, and keep nothing) or off; the setting, if not given."
    ),
]


def who_of(user: str | None, tenant: str, session: str | None, memory: MemoryName | None) -> Identity | None:
    """Who is talking, in a session of their own if none is named.

    Raises:
        InputError: a session or memory mode is given, and nobody whose it could be.
    """
    from datetime import UTC, datetime

    from ..errors import InputError
    from ..types import Identity

    if user is not None:
        return Identity(tenant, user, session=session or f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}")
    if session is not None or memory in {"on", "read-only"}:
        raise InputError("It is not said who is talking.", hint="Add --user.")
    return None


def load(config: Path | None, **arguments: object) -> Settings:
    """The settings in force, with logging configured from them. Raises `SettingsError`."""
    from .. import logs
    from ..settings import Settings

    settings = Settings.load(config=config, **arguments)
    logs.configure(settings)
    return settings

"""Role charters: what a deployment says that its assistant is, must do and must not do."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ..errors import PackError
from ..packfile import Entry, PackFile
from ..types import Companionship, RoleCharter

PACKAGED = ("clinic_intake", "companion", "support", "tutor", "workplace")
DEFAULT = "companion"


Hours = Annotated[float, Field(gt=0)] | Literal["never"]


class _Companionship(Entry):
    disclose_at_start: bool = True
    disclose_every_hours: Hours = 3.0
    remind_minors_every_hours: Hours = 3.0


class _CharterFile(Entry):
    id: str = Field(min_length=1)
    role: str = Field(min_length=1)
    duties: tuple[str, ...] = Field(min_length=1)
    limits: tuple[str, ...] = Field(min_length=1)
    companionship: _Companionship | None = None


def load_charter(name_or_path: str | Path = DEFAULT) -> RoleCharter:
    """A packaged charter by name (`companion`, `tutor`, …), or a deployment's own by path.

    Raises:
        PackError: there is no such charter, or the file is malformed; the message names file and line.
    """
    name = str(name_or_path)
    if name in PACKAGED:
        source = PackFile.read(files("mentalize.norms") / "charters" / f"{name}.toml")
    elif isinstance(name_or_path, str) and not name.endswith(".toml"):
        raise PackError(
            f"There is no charter `{name}`.",
            hint=f"Give one of {', '.join(PACKAGED)}, or the path of a .toml file.",
        )
    else:
        source = PackFile.read(Path(name_or_path))
    entry = source.parse(_CharterFile)
    owed = entry.companionship
    return RoleCharter(
        id=entry.id,
        role=entry.role,
        duties=entry.duties,
        limits=entry.limits,
        companionship=Companionship(
            disclose_at_start=owed.disclose_at_start,
            disclose_every_hours=_hours(owed.disclose_every_hours),
            remind_minors_every_hours=_hours(owed.remind_minors_every_hours),
        )
        if owed
        else None,
    )


def _hours(given: float | str) -> float | None:
    return None if isinstance(given, str) else given

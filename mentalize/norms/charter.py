"""Role charters: what a deployment says that its assistant is, must do and must not do."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from pydantic import Field

from ..errors import PackError
from ..packfile import Entry, PackFile
from ..types import RoleCharter

PACKAGED = ("clinic_intake", "companion", "support", "tutor", "workplace")
DEFAULT = "companion"


class _CharterFile(Entry):
    id: str = Field(min_length=1)
    role: str = Field(min_length=1)
    duties: tuple[str, ...] = Field(min_length=1)
    limits: tuple[str, ...] = Field(min_length=1)


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
    return RoleCharter(**source.parse(_CharterFile).model_dump())

"""Data files in TOML: read, checked against a pydantic model, and faulted by file and line."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import PackError

TomlPath = tuple[str | int, ...]
"""Where a value stands in a file: keys, and indexes into arrays of tables."""

_HEADER = re.compile(r"\s*(\[{1,2})\s*([\w.\"' -]+?)\s*\]{1,2}\s*(?:#.*)?$")
_KEY = re.compile(r"\s*([\w-]+|\"[^\"]*\"|'[^']*')\s*=")


class Entry(BaseModel):
    """A table of a data file. An unknown key is an error, because it is most likely a misspelt one."""

    model_config = ConfigDict(extra="forbid", frozen=True)


EntryType = TypeVar("EntryType", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class PackFile:
    """The text of a data file and the name that its errors carry."""

    name: str
    text: str

    @classmethod
    def read(cls, source: Traversable | Path) -> PackFile:
        """Read a file as UTF-8.

        Raises:
            PackError: it does not exist, cannot be opened, or is not UTF-8.
        """
        name = str(source) if isinstance(source, Path) else source.name
        try:
            return cls(name, source.read_text(encoding="utf-8"))
        except OSError as error:
            raise PackError(f"{name}: cannot be read ({error.strerror}).", hint="Check the path.") from error
        except UnicodeDecodeError as error:
            raise PackError(f"{name}: is not UTF-8 (byte {error.start}).", hint="Save it as UTF-8.") from error

    def parse(self, model: type[EntryType]) -> EntryType:
        """The file's value.

        Raises:
            PackError: the file is not TOML or does not fit `model`; the message names file and line.
        """
        try:
            return model.model_validate(self.table())
        except ValidationError as error:
            found = error.errors()
            # A misspelt key is also a missing one, and says more.
            first = next((item for item in found if item["type"] == "extra_forbidden"), found[0])
            raise self.fault(first["loc"], _explain(first["type"], first["loc"], first["msg"])) from error

    def table(self) -> dict[str, Any]:
        """The file's TOML, unchecked.

        Raises:
            PackError: it is not TOML.
        """
        try:
            return tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            raise PackError(f"{self.name}: is not valid TOML: {error}.", hint="Mend that line.") from error

    def fault(self, path: TomlPath, message: str, *, hint: str = "") -> PackError:
        """An error about the value at `path`, with its line."""
        return PackError(f"{self.name}, line {self.line_of(path)}: {message}", hint=hint)

    def line_of(self, path: TomlPath) -> int:
        """The line (from 1) of the value at `path`, or of the nearest table around it."""
        lines = self._lines()
        for length in range(len(path), 0, -1):
            if (line := lines.get(path[:length])) is not None:
                return line
        return 1

    def _lines(self) -> dict[TomlPath, int]:
        """The line of each header and key. Only error messages need it, so it is not kept."""
        lines: dict[TomlPath, int] = {}
        counts: dict[TomlPath, int] = {}
        table: TomlPath = ()
        for number, line in enumerate(self.text.splitlines(), start=1):
            if header := _HEADER.match(line):
                table = _locate(header[2], counts, opens_array=header[1] == "[[")
                lines.setdefault(table, number)
            elif key := _KEY.match(line):
                lines.setdefault((*table, key[1].strip("\"'")), number)
        return lines


def _locate(header: str, counts: dict[TomlPath, int], *, opens_array: bool) -> TomlPath:
    """The path that a table header opens, given how many tables each array has so far."""
    path: TomlPath = ()
    keys = [key.strip().strip("\"'") for key in header.split(".")]
    for position, key in enumerate(keys):
        path = (*path, key)
        if opens_array and position == len(keys) - 1:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = (*path, counts[path])
    return path


def _explain(kind: str, path: TomlPath, message: str) -> str:
    """Pydantic's complaint in the words of someone who edits the file."""
    name = ".".join(str(part) for part in path)
    if kind == "extra_forbidden":
        return f"unknown key `{path[-1]}`."
    if kind == "missing":
        return f"`{path[-1]}` is missing."
    return f"`{name}`: {message[:1].lower()}{message[1:]}."

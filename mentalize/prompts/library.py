"""Library: where prompts come from, ours or the folders laid over them."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TypeVar

from ..errors import PromptError
from .prompt import Prompt, PromptFile, parse_prompt

Inputs = TypeVar("Inputs")

_LOCK = "prompts.lock"
_PACKAGE = "mentalize.prompts"


@lru_cache(maxsize=1)
def _ours() -> dict[str, PromptFile]:
    folder = resources.files(_PACKAGE)
    return {
        name: parse_prompt(name, entry.read_text(encoding="utf-8"), origin="mentalize")
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if (name := entry.name.removesuffix(".md")) != entry.name
    }


@dataclass(frozen=True, slots=True)
class Library:
    """All prompts. In `folders`, an earlier one wins over a later one, and any wins over ours."""

    folders: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        for folder in self.folders:
            if not folder.is_dir():
                raise PromptError(
                    f"The prompt folder {str(folder)!r} does not exist.", hint="Check the setting `prompts`."
                )
            for path in folder.glob("*.md"):
                if path.stem not in _ours():
                    raise PromptError(
                        f"{path} overrides no prompt of ours.", hint=f"The names are: {', '.join(self.names())}."
                    )

    def names(self) -> tuple[str, ...]:
        """Every prompt's name, sorted."""
        return tuple(_ours())

    def file(self, name: str) -> PromptFile:
        """The prompt file in force.

        Raises:
            PromptError: there is no such prompt, or the overlay's file is malformed or its holes differ from ours.
        """
        ours = _ours().get(name)
        if ours is None:
            raise PromptError(f"There is no prompt {name!r}.", hint=f"The names are: {', '.join(self.names())}.")
        for folder in self.folders:
            path = folder / f"{name}.md"
            if path.is_file():
                return parse_prompt(name, path.read_text(encoding="utf-8"), origin=str(path))
        return ours

    def get(self, name: str, inputs: type[Inputs]) -> Prompt[Inputs]:
        """The prompt in force, checked against the dataclass that fills it."""
        return Prompt(self.file(name), inputs)

    def eject(self, name: str, folder: Path) -> Path:
        """Copy our prompt into `folder` to begin an overlay from; an existing file is left alone.

        Raises:
            PromptError: the file exists.
        """
        ours = Library().file(name)
        path = folder / f"{name}.md"
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(f"+++\nversion = {ours.version}\n+++\n{ours.text}\n")
        except FileExistsError as error:
            raise PromptError(f"{path} exists.", hint="Remove it first, or edit it.") from error
        return path


def locked() -> dict[str, str]:
    """The ids that `prompts.lock` holds, by prompt name."""
    text = (resources.files(_PACKAGE) / _LOCK).read_text(encoding="utf-8")
    return {name: str(value) for name, value in tomllib.loads(text).items()}


def lock_text() -> str:
    """What `prompts.lock` must say for the prompts as they stand."""
    return "".join(f'{name} = "{prompt.version}#{prompt.digest}"\n' for name, prompt in _ours().items())


def stale(before: dict[str, str] | None = None) -> tuple[str, ...]:
    """What is wrong with the lock: texts that changed without a higher version, and entries out of date."""
    before = locked() if before is None else before
    problems: list[str] = []
    for name, prompt in _ours().items():
        version, _, digest = before.get(name, "").partition("#")
        if not version:
            problems.append(f"{name} is not in {_LOCK}")
        elif digest != prompt.digest and prompt.version <= int(version):
            problems.append(f"{name} changed, and its version is still {version}")
        elif f"{version}#{digest}" != f"{prompt.version}#{prompt.digest}":
            problems.append(f"{_LOCK} is behind for {name}")
    problems += [f"{name} is in {_LOCK}, and there is no such prompt" for name in before if name not in _ours()]
    return tuple(problems)


def write_lock(folder: Path) -> Path:
    """Write `prompts.lock` into the package's source `folder`.

    Raises:
        PromptError: a text changed without a higher version.
    """
    unversioned = [problem for problem in stale() if "version is still" in problem]
    if unversioned:
        raise PromptError("; ".join(unversioned) + ".", hint="Raise `version` in the head of each.")
    path = folder / _LOCK
    path.write_text(lock_text(), encoding="utf-8")
    return path

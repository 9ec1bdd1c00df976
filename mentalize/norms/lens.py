"""Lenses: cultural perspectives as data, ours and a deployment's own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from pydantic import Field

from ..errors import PackError
from ..packfile import Entry, PackFile
from ..types import Lens

MOST = 12
"""Lenses that one turn may ask: each is a model call."""


class _LensEntry(Entry):
    id: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    name: str = Field(min_length=1)
    traditions: tuple[str, ...] = Field(min_length=1)
    questions: tuple[str, ...] = Field(min_length=1)
    inside: str = Field(min_length=1)
    references: tuple[str, ...] = ()
    source: str = Field(min_length=1)


class _LensFile(Entry):
    lens: list[_LensEntry] = Field(min_length=1)


def load_lenses(*paths: Path) -> tuple[Lens, ...]:
    """The packaged lenses and a deployment's own; one of the same id takes the place of ours.

    Raises:
        PackError: a file is malformed; the message names file and line.
    """
    lenses = {lens.id: lens for lens in _packaged()}
    for path in paths:
        lenses |= {lens.id: lens for lens in _read(path)}
    return tuple(lenses.values())


def chosen_lenses(lenses: Sequence[Lens], names: Iterable[str]) -> tuple[Lens, ...]:
    """Those that `names` lists, in its order; all of them, if it lists none.

    Raises:
        PackError: there is no such lens, or there are more than a turn may ask.
    """
    known = {lens.id: lens for lens in lenses}
    wanted = tuple(dict.fromkeys(names)) or tuple(known)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise PackError(f"There is no lens {unknown[0]!r}.", hint=f"The lenses are: {', '.join(known)}.")
    if len(wanted) > MOST:
        raise PackError(
            f"{len(wanted)} lenses are more than the {MOST} that one turn may ask.",
            hint="Name some of them in the setting `lenses`.",
        )
    return tuple(known[name] for name in wanted)


@lru_cache(maxsize=1)
def _packaged() -> tuple[Lens, ...]:
    return _read(files("mentalize.norms") / "lenses.toml")


def _read(path: Traversable | Path) -> tuple[Lens, ...]:
    source = PackFile.read(path)
    lenses: dict[str, Lens] = {}
    for index, entry in enumerate(source.parse(_LensFile).lens):
        if entry.id in lenses:
            raise source.fault(("lens", index, "id"), f"the lens `{entry.id}` is declared twice.")
        lenses[entry.id] = Lens(**entry.model_dump())
    return tuple(lenses.values())

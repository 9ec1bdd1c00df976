"""Norm packs: loaded from TOML, and picked by what a message is about."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from pydantic import Field

from ..errors import PackError
from ..packfile import Entry, PackFile
from ..types import Culture, Norm, Perception, RuleFamily, Situation

PACKAGED = ("ethical", "role", "cultural")
"""The packs that come with mentalize."""

_WORD = re.compile(r"[^\W\d_]{3,}")
_FUNCTION_WORDS = """
the and for are was that this with you your not have has had but they them their from what when where which who
will would could should about into some any all one can his her him she its our out how why did does been being
person asks says tells talks wants speaks someone something than then there just very more
"""
_COMMON_WORDS = frozenset(_FUNCTION_WORDS.split())
_SUFFIXES = ("ations", "ation", "ings", "ing", "ness", "ies", "ed", "es", "ly", "s", "e", "y")


class _CultureEntry(Entry):
    id: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    name: str = Field(min_length=1)
    also: tuple[str, ...] = ()
    region: str = Field(min_length=1)
    lens: str = ""


class _NormEntry(Entry):
    id: str = Field(min_length=1)
    family: RuleFamily = RuleFamily.CULTURAL
    statement: str = Field(min_length=1)
    applies: str = ""
    strength: float = Field(ge=0, le=1)
    hard: bool = False
    situation: Situation | None = None
    varies: str = ""
    role: str = ""
    domain: str = ""
    source: str = Field(min_length=1)
    checked: bool = False
    words: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


class _PackFile(Entry):
    culture: _CultureEntry | None = None
    norm: list[_NormEntry] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class NormPack:
    """What one file holds: norms, and the culture whose norms they are, if they are one culture's."""

    norms: tuple[Norm, ...]
    culture: Culture | None = None


def read_pack(path: Traversable | Path) -> NormPack:
    """One file.

    Raises:
        PackError: it is malformed, or an id occurs twice; the message names file and line.
    """
    source = PackFile.read(path)
    given = source.parse(_PackFile)
    culture = Culture(**given.culture.model_dump()) if given.culture else None
    norms: dict[str, Norm] = {}
    for index, entry in enumerate(given.norm):
        if entry.id in norms:
            raise source.fault(("norm", index, "id"), f"the norm `{entry.id}` is declared twice.")
        norms[entry.id] = Norm(**entry.model_dump(), culture=culture.id if culture else "")
    return NormPack(tuple(norms.values()), culture)


def load_norms(*paths: Path) -> tuple[Norm, ...]:
    """The packaged norms and those of a deployment's own packs.

    Raises:
        PackError: a pack is malformed, or an id occurs twice; the message names file and line.
    """
    return read_packs((*_packaged_files(), *paths)) if paths else _packaged()


def read_packs(sources: Iterable[Traversable | Path]) -> tuple[Norm, ...]:
    """The norms of these files alone.

    Raises:
        PackError: as for `load_norms`.
    """
    norms: dict[str, Norm] = {}
    for path in sources:
        for norm in read_pack(path).norms:
            if norm.id in norms:
                raise PackError(f"{path}: the norm `{norm.id}` is declared twice.", hint="Give it an id of its own.")
            norms[norm.id] = norm
    return tuple(norms.values())


def applicable(norms: Sequence[Norm], *, text: str, perception: Perception | None, limit: int = 8) -> tuple[Norm, ...]:
    """The norms that bear on a message, at most `limit`: those that veto first, then by relevance and strength.

    A norm without `applies` bears on everything. Any other bears on a message that shares a word stem with its
    `applies` or its tags; perceived emotion, cause and need count as words of the message. A veto always stays.
    """
    stems = _stems(" ".join((text, *_perceived(perception))))
    scored = [
        (norm, relevance, position) for position, norm in enumerate(norms) if (relevance := _relevance(norm, stems)) > 0
    ]
    scored.sort(key=lambda entry: (not entry[0].hard, -entry[1] * entry[0].strength, entry[2]))
    vetoes = sum(norm.hard for norm, _, _ in scored)
    return tuple(norm for norm, _, _ in scored[: max(limit, vetoes)])


def _relevance(norm: Norm, stems: frozenset[str]) -> float:
    """1 for a norm that always applies; above 1 for shared stems; 0 where there is none."""
    if not norm.applies:
        return 1.0
    shared = len(stems & _stems(" ".join((norm.applies, *norm.tags))))
    return 1.0 + shared if shared else 0.0


def _perceived(perception: Perception | None) -> tuple[str, ...]:
    if perception is None:
        return ()
    return (perception.emotion.name, perception.cause, perception.need, perception.flaw)


@lru_cache(maxsize=512)
def _stems(text: str) -> frozenset[str]:
    words = (word for word in _WORD.findall(text[:20_000].casefold()) if word not in _COMMON_WORDS)
    return frozenset(_stem(word) for word in words)


def _stem(word: str) -> str:
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            return word[: -len(suffix)]
    return word


@lru_cache(maxsize=1)
def _packaged() -> tuple[Norm, ...]:
    return read_packs(_packaged_files())


def _packaged_files() -> tuple[Traversable, ...]:
    return tuple(files("mentalize.norms") / "packs" / f"{name}.toml" for name in PACKAGED)

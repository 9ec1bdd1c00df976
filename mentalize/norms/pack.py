"""Norm packs: norms, and the cultures that they belong to, read from TOML."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from ..packfile import Entry, PackFile
from ..types import Culture, Norm, RuleFamily, Situation

TAGS = frozenset(
    [
        *("power_distance", "individualism", "collectivism", "uncertainty_avoidance", "achievement", "care"),
        *("long_term_orientation", "short_term_orientation", "indulgence", "restraint"),
        *("positive_face", "negative_face", "honorifics", "hedging", "off_record", "bald_on_record", "in_group"),
        *("face_saving", "deference", "demeanour", "remedial_work", "avoidance"),
    ]
)
"""Terms of theory: Hofstede's dimensions (his masculinity and femininity as achievement and care), Brown and Levinson's
politeness (1987), Goffman's facework (1955).
"""


def _known(tag: str) -> str:
    if tag not in TAGS:
        raise ValueError(f"{tag!r} is none of {', '.join(sorted(TAGS))}; words of a message go into `words`")
    return tag


Tag = Annotated[str, AfterValidator(_known)]


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
    tags: tuple[Tag, ...] = ()


class _PackFile(Entry):
    culture: _CultureEntry | None = None
    norm: list[_NormEntry] = Field(min_length=1)


class _HeadFile(Entry):
    culture: _CultureEntry


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


def read_culture(path: Traversable | Path) -> Culture:
    """The culture whose norms a file holds: its head, which costs little to read.

    Raises:
        PackError: it is malformed, or names none.
    """
    source = PackFile.read(path)
    head = PackFile(source.name, source.text.partition("\n[[norm]]")[0])
    return Culture(**head.parse(_HeadFile).culture.model_dump())

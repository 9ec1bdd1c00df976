"""Cues: whether a message asks a question that traditions answer differently, found by code.

It decides whether lenses are asked beside the first calls of a turn, and must not wait for one. What it misses, the
perception call may still notice; what it finds in vain, the synthesiser says is not relevant. It finds what a message
is about, and never whose culture a person's is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from pydantic import Field

from ..packfile import Entry, PackFile
from ..terms import fold
from ..types import ValueCue

_QUESTION = re.compile("[?？؟;]|だろうか|でしょうか|吗|呢")

LONGEST = 4_000
"""Characters of a message that are looked at: its end, where people ask."""


class _CueEntry(Entry):
    language: str
    spaced: bool = True
    judges: list[str] = Field(min_length=1)
    asks: list[str] = Field(min_length=1)
    matters: list[str] = Field(min_length=1)
    values: list[str] = Field(min_length=1)
    cultural: list[str] = Field(min_length=1)
    torn: list[str] = Field(min_length=1)


class _CueFile(Entry):
    cue: list[_CueEntry] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class _Phrases:
    spaced: re.Pattern[str] | None
    unspaced: re.Pattern[str] | None

    def first_in(self, words: str) -> str:
        """The first phrase in folded words, or empty."""
        for pattern in (self.spaced, self.unspaced):
            if pattern is not None and (found := pattern.search(words)):
                return found[0].strip()
        return ""


@dataclass(frozen=True, slots=True)
class _Cues:
    judges: _Phrases
    asks: _Phrases
    matters: _Phrases
    values: _Phrases
    cultural: _Phrases
    torn: _Phrases


def cue_in(text: str) -> ValueCue | None:
    """Why several perspectives may be wanted for a message, or None.

    A declared conflict (of duties or wishes) goes before a value question (what is right, or what one should do in a
    matter of values), and that before a cultural cue (a custom or tradition is spoken of).
    """
    cues = _packaged()
    words = f" {' '.join(fold(text[-LONGEST:]).split())} "
    if torn := cues.torn.first_in(words):
        return ValueCue(kind="declared conflict", words=torn)
    if judged := cues.judges.first_in(words):
        return ValueCue(kind="value question", words=judged)
    if (asked := cues.asks.first_in(words)) and (matter := cues.matters.first_in(words)):
        return ValueCue(kind="value question", words=f"{asked} … {matter}")
    if _QUESTION.search(text) and (value := cues.values.first_in(words)):
        return ValueCue(kind="value question", words=value)
    if custom := cues.cultural.first_in(words):
        return ValueCue(kind="cultural cue", words=custom)
    return None


@lru_cache(maxsize=1)
def _packaged() -> _Cues:
    entries = PackFile.read(files("mentalize.norms") / "cues.toml").parse(_CueFile).cue
    return _Cues(*(_phrases(entries, name) for name in ("judges", "asks", "matters", "values", "cultural", "torn")))


def _phrases(entries: Sequence[_CueEntry], name: str) -> _Phrases:
    def of(spaced: bool) -> list[str]:
        return [phrase for entry in entries if entry.spaced is spaced for phrase in getattr(entry, name)]

    return _Phrases(_compiled(of(True), spaced=True), _compiled(of(False), spaced=False))


def _compiled(phrases: Sequence[str], *, spaced: bool) -> re.Pattern[str] | None:
    """One pattern for all phrases. A final `*` stands for any ending of the word."""
    alternatives = [
        re.escape(" ".join(fold(phrase.removesuffix("*")).split())) + (r"\S{0,12}" if phrase.endswith("*") else "")
        for phrase in phrases
    ]
    if not alternatives:
        return None
    joined = "|".join(sorted(set(alternatives), key=len, reverse=True))
    return re.compile(rf" (?:{joined})(?= )" if spaced else f"(?:{joined})")

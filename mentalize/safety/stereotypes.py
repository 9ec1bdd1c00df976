"""Stereotypes: sentences that say how a whole people, or all followers of a religion, are, think or behave.

Speaking of traditions invites them. What a school, a text or a practice teaches is said of no people and passes, as
does what is said of some, or as somebody's view. Matching is linear in the length of the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from pydantic import Field

from ..packfile import Entry, PackFile

_CONJUNCTIONS = [
    *("that", "because", "as", "but", "and", "since"),
    *("que", "porque", "pero", "parce que", "mais", "mas", "weil", "dass", "aber"),
]
"""Words after which a clause of its own may begin."""

_SENTENCE = re.compile(r"[^.!?…。！？\n]+(?:[.!?…。！？]+[\"'”’»)\]]*|\n|$)\s*")


class _PeoplesEntry(Entry):
    language: str
    peoples: list[str] = Field(min_length=1)
    """Plural names of peoples and of followers of religions."""
    adjectives: list[str] = Field(min_length=1)
    """Adjectives of peoples, before one of `nouns`."""
    nouns: list[str] = Field(min_length=1)
    places: list[str] = Field(min_length=1)
    ins: list[str] = Field(min_length=1)
    """Words before a place."""
    everyone: list[str] = Field(min_length=1)
    """Words for all who are there."""
    all: list[str]
    """Words that may stand before a people without making it some of them."""
    claims: list[str] = Field(min_length=1)
    """Verbs that say how somebody is, thinks or behaves."""
    some: list[str] = Field(min_length=1)
    """Words that make it some of them, where they stand before the claim."""
    hedges: list[str] = Field(min_length=1)
    """Words that make it somebody's view, or not always so, wherever they stand."""
    adjective_follows: bool = False


class _PeoplesFile(Entry):
    language: list[_PeoplesEntry] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class _Language:
    claim: re.Pattern[str]
    some: re.Pattern[str]
    hedges: re.Pattern[str]

    def generalises(self, words: str) -> bool:
        """Whether a sentence claims something of a whole people in this language."""
        found = self.claim.search(words)
        if found is None or self.hedges.search(words):
            return False
        return self.some.search(words, 0, found.end()) is None


def generalisations(text: str) -> tuple[str, ...]:
    """The sentences of `text` that say how a whole people is, as they stand there with what follows them."""
    return tuple(sentence for sentence in _SENTENCE.findall(text) if _generalises(sentence))


def _generalises(sentence: str) -> bool:
    words = " ".join(sentence.replace("’", "'").split())
    return any(language.generalises(words) for language in _languages())


@lru_cache(maxsize=1)
def _languages() -> tuple[_Language, ...]:
    entries = PackFile.read(files("mentalize.safety") / "peoples.toml").parse(_PeoplesFile).language
    return tuple(map(_compiled, entries))


def _compiled(entry: _PeoplesEntry) -> _Language:
    noun, adjective = _any(entry.nouns), _any(entry.adjectives)
    named = rf"{noun} {adjective}" if entry.adjective_follows else rf"{adjective} {noun}"
    people = rf"(?:{_any(entry.peoples)}|{named}|{noun} {_any(entry.ins)} {_any(entry.places)})"
    whole = rf"(?:{_any(entry.all)} )?" if entry.all else ""
    subject = rf"(?:^|[,;:—–(\"“«] ?|\b{_any(_CONJUNCTIONS)} ){whole}{people}"
    there = rf"\b{_any(entry.ins)} {_any(entry.places)},? {_any(entry.everyone)}\b"
    # Up to two words between: an adverb, "as a rule".
    claim = rf"{subject},?(?: [\w'-]+){{0,2}}? {_any(entry.claims)}\b|{there}"
    return _Language(_pattern(claim), _pattern(rf"\b{_any(entry.some)}\b"), _pattern(rf"\b{_any(entry.hedges)}\b"))


def _pattern(expression: str) -> re.Pattern[str]:
    return re.compile(expression, re.IGNORECASE)


def _any(words: list[str]) -> str:
    """One of these, the longest first."""
    return "(?:" + "|".join(sorted(map(re.escape, set(words)), key=len, reverse=True)) + ")"

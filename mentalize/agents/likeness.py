"""Likeness: whether two readings of a person say the same, and whether their words bear on one. Code only."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from ..terms import fold, terms_of
from ..types import Memory
from .wording import Word, held_by, words_of

SAME = 0.6
"""Share of the content words of the shorter reading that the other one must hold."""

BORNE_OUT = 0.5
"""Share of the content words of a guess that the person must say for it to be said outright."""

_ABOUT = "the person they them their"
"""What every reading begins with."""

_LIKING = """
    like likes love loves hate hates prefer prefers enjoy enjoys dislike want wants need needs mag liebe hasse gusta
    gustan encanta encantan amo odio prefiero quiero aime adore deteste prefere piace piacciono adoro preferisco voglio
    gosto prefiro quero люблю нравится нравятся ненавижу хочу 喜欢 喜歡 讨厌 討厭 أحب أكره أريد
"""
"""What people do with things of every kind."""


def alike(one: str, other: str) -> bool:
    """Whether two readings say the same, by their words."""
    shorter, longer = sorted((_content(one), _content(other)), key=len)
    if not shorter:
        return fold(one) == fold(other)
    terms = frozenset[str]().union(*longer)
    return sum(held_by(word, terms) for word in shorter) >= SAME * len(shorter)


def share_said(reading: str, words: str) -> float:
    """The share of the content words of a reading that the person's words hold, in [0, 1]; 0 for one without any."""
    content, said = _content(reading), frozenset(terms_of(words))
    return sum(held_by(word, said) for word in content) / len(content) if content else 0.0


def same_matter(one: str, other: str) -> bool:
    """Whether two statements share a word for what they are about; words for liking are not such."""
    terms = frozenset(terms_of(other))
    return any(held_by(word, terms) and not held_by(word, _terms_of_all(_LIKING)) for word in words_of(one))


def same_reading(text: str, quote: str, state: str, others: Iterable[Memory]) -> Memory | None:
    """The first of `others` that says the same, or reads the same words of the person as the same mental state."""
    for other in others:
        same_words = bool(quote) and fold(other.quote) == fold(quote) and other.details.get("state") == state
        if same_words or alike(text, other.text):
            return other
    return None


def _content(text: str) -> list[Word]:
    return [word for word in words_of(text) if not held_by(word, _terms_of_all(_ABOUT))]


@cache
def _terms_of_all(words: str) -> frozenset[str]:
    """The terms of single words, whatever their language."""
    return frozenset[str]().union(*words_of(words))

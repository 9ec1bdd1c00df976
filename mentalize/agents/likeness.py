"""Likeness: whether two readings of a person say the same. Code only."""

from __future__ import annotations

from collections.abc import Iterable

from ..memory.terms import fold, terms_of
from ..types import Memory
from .wording import Word, held_by, words_of

SAME = 0.6
"""Share of the content words of the shorter reading that the other one must hold."""

_ABOUT = frozenset(terms_of("the person they them their"))
"""Terms that every reading begins with."""


def alike(one: str, other: str) -> bool:
    """Whether two readings say the same, by their words."""
    shorter, longer = sorted((_content(one), _content(other)), key=len)
    if not shorter:
        return fold(one) == fold(other)
    terms = frozenset[str]().union(*longer)
    return sum(held_by(word, terms) for word in shorter) >= SAME * len(shorter)


def same_reading(text: str, quote: str, state: str, others: Iterable[Memory]) -> Memory | None:
    """The first of `others` that says the same, or reads the same words of the person as the same mental state."""
    for other in others:
        same_words = bool(quote) and fold(other.quote) == fold(quote) and other.details.get("state") == state
        if same_words or alike(text, other.text):
            return other
    return None


def _content(text: str) -> list[Word]:
    return [word for word in words_of(text) if not held_by(word, _ABOUT)]

"""Wording: the words that carry a text's content, for comparing what two texts say. Code only."""

from __future__ import annotations

from ..terms import fold, is_unspaced, terms_of

Word = frozenset[str]
"""A word as the terms that it may be searched by: more than one where its language is not certain."""


def words_of(text: str) -> tuple[Word, ...]:
    """The content words of a text, each once, in order; in scripts without spaces, its terms."""
    found: dict[Word, None] = {}
    for word in fold(text).split():
        terms = terms_of(word)
        found |= dict.fromkeys([frozenset({term}) for term in terms] if is_unspaced(word) else [frozenset(terms)])
    return tuple(word for word in found if word)


def held_by(word: Word, terms: frozenset[str]) -> bool:
    """Whether a text with these terms holds the word."""
    return not word.isdisjoint(terms)


def share_held(text: str, source: str) -> float:
    """The share of the content words of `text` that `source` holds, in [0, 1]; 1 for a text without any."""
    words, terms = words_of(text), frozenset(terms_of(source))
    return sum(held_by(word, terms) for word in words) / len(words) if words else 1.0

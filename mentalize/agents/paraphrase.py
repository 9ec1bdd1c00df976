"""Paraphrase: the part of a text's wording that carries what it says, equal for texts that say the same. Code only.

Vectors cannot tell it: by cosine, "Should I tell my mother?" and "Should I not tell my mother?" are nearer to one
another than "They feel left out" and "They feel excluded" are (docs/concepts.md). So the words themselves are compared,
in their order, by their stems; only words that change nothing are passed over.
"""

from __future__ import annotations

import re

from ..terms import fold, terms_of

_NOT = re.compile(r"n['’]t\b", re.IGNORECASE)
_LIGHT = frozenset(
    """
    a am an are be been being did do does had has have is it its may might that the these this those to was were would
    """.split()  # noqa: SIM905
)
"""English words without weight of their own. Negations, persons, prepositions and modal words that decide are none."""
_SAME = {"someone": "somebody", "anyone": "anybody", "everyone": "everybody", "cannot": "can not", "person": "they"}


def wording_of(text: str) -> str:
    """What the text says, by its words; equal wordings stand for one another.

    Case, punctuation, inflection and light words do not count; order, negation, numbers and names do. Texts in
    languages other than English are compared by all of their words.
    """
    words = fold(_NOT.sub(" not", text)).split()
    said = (_SAME.get(word, word) for word in words if word not in _LIGHT)
    return " ".join(next(iter(terms_of(word)), word) for word in said)

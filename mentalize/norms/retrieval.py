"""Retrieval: the norms that bear on a message, by words and, where vectors are at hand, by meaning.

Words are compared by BM25 (Robertson and Zaragoza 2009, doi:10.1561/1500000019), meanings by cosine; both are scaled to
[0, 1] over the candidates and added with fixed weights, which serves better than fusing ranks (Bruch, Gai and Ingber
2023, arXiv 2210.11934).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..terms import terms_of
from ..types import Embedder, Norm

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

K1, B = 1.5, 0.75
"""Saturation and length normalisation, the usual values."""

LEXICAL = 0.4
"""Weight of words against meaning, where there are vectors."""

NEAR = 0.3
"""Cosine from which a norm that shares no word bears on a message."""

_MARKS = ".,;:!?…\"'“”‘’()[]"

SAID = 0.5
"""Weight of a word that stands in what a norm says, and not in when it applies."""

VARIES = 0.25
"""Weight of a word that stands only in who sees it otherwise."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A norm of an index, and how well it fits."""

    norm: Norm
    score: float
    """In [0, 1], comparable within one search."""
    shared: tuple[str, ...]
    """Words of the message that it shares, as the message has them."""


class NormIndex:
    """Norms that can be searched. Vectors are made once, when an embedder is first given."""

    def __init__(self, norms: Iterable[Norm]) -> None:
        self.norms: tuple[Norm, ...] = tuple(norms)
        self._documents = tuple(map(_counts, self.norms))
        self._calls = tuple(frozenset(terms_of(_condition(norm))) for norm in self.norms)
        holding = Counter(term for document in self._documents for term in document)
        count = len(self.norms)
        self._weights = {term: math.log(1 + (count - held + 0.5) / (held + 0.5)) for term, held in holding.items()}
        self._postings = self._weighed()
        self._vectors: dict[str, NDArray[np.float32]] = {}

    def search(
        self, words: Mapping[str, str], *, vector: NDArray[np.float32] | None = None, embedder: str = ""
    ) -> list[Hit]:
        """The norms that a message calls for, best first: it shares a word with when they apply, or is near in meaning.

        Args:
            words: The terms of the message, each with a word that it comes from.
            vector: The message's vector; used if the norms' vectors by the same embedder are known.
            embedder: The name of the embedder that made it.
        """
        scores, bears = _scaled(self._bm25(words)), [not calls.isdisjoint(words) for calls in self._calls]
        matrix = self._vectors.get(embedder)
        if vector is not None and matrix is not None:
            cosines = [float(value) for value in matrix @ vector]
            fused = zip(scores, _scaled(cosines, low=min(cosines, default=0.0)), strict=True)
            scores = [LEXICAL * words + (1 - LEXICAL) * meaning for words, meaning in fused]
            bears = [shares or cosine >= NEAR for shares, cosine in zip(bears, cosines, strict=True)]
        order = sorted(filter(bears.__getitem__, range(len(scores))), key=lambda number: -scores[number])
        return [Hit(self.norms[number], scores[number], self._shared(number, words)) for number in order]

    async def embed(self, embedder: Embedder) -> None:
        """Make the norms' vectors, unless they are made.

        Raises:
            EmbedderError: the model cannot be loaded or gave no vectors.
        """
        if embedder.name not in self._vectors and self.norms:
            self._vectors[embedder.name] = await embedder.embed([_text(norm) for norm in self.norms])

    def _weighed(self) -> Mapping[str, Sequence[tuple[int, float]]]:
        """For each term the norms that hold it, by number, each with what the term adds to its BM25 score."""
        lengths = [sum(document.values()) for document in self._documents]
        average = (sum(lengths) / len(lengths) if lengths else 0.0) or 1.0
        postings: dict[str, list[tuple[int, float]]] = {}
        for number, (document, length) in enumerate(zip(self._documents, lengths, strict=True)):
            longer = K1 * (1 - B + B * length / average)
            for term, count in document.items():
                weight = self._weights[term] * count * (K1 + 1) / (count + longer)
                postings.setdefault(term, []).append((number, weight))
        return postings

    def _bm25(self, words: Iterable[str]) -> list[float]:
        """The score of each norm."""
        scores = [0.0] * len(self.norms)
        for term in words:
            for number, weight in self._postings.get(term, ()):
                scores[number] += weight
        return scores

    def _shared(self, number: int, words: Mapping[str, str]) -> tuple[str, ...]:
        document = self._documents[number]
        found = sorted((term for term in words if term in document), key=lambda term: -self._weights[term])
        return tuple(dict.fromkeys(words[term] for term in found))


def words_of(texts: Iterable[str]) -> dict[str, str]:
    """The terms of texts, each with a word that it comes from, where one alone gives it."""
    found: dict[str, str] = {}
    for text in texts:
        found |= {term: term for term in terms_of(text)}
        found |= {term: word.strip(_MARKS).casefold() for word in text.split() for term in terms_of(word)}
    return found


def _text(norm: Norm) -> str:
    return f"{norm.statement} {norm.applies}".strip()


def _condition(norm: Norm) -> str:
    """When it applies, in all its words."""
    return " ".join((norm.applies, *norm.words, norm.situation or ""))


def _counts(norm: Norm) -> Mapping[str, float]:
    counts: Counter[str] = Counter(terms_of(_condition(norm)))
    weighted: dict[str, float] = dict(counts)
    for text, weight in ((norm.statement, SAID), (norm.varies, VARIES)):
        for term in terms_of(text):
            weighted.setdefault(term, weight)
    return weighted


def _scaled(scores: Sequence[float], *, low: float = 0.0) -> list[float]:
    """Scores scaled so that `low` is 0 and the best is 1."""
    high = max(scores, default=low)
    return [(score - low) / (high - low) if high > low else 0.0 for score in scores]

"""Distribution: whom a text speaks of, as the Perspectives Distribution Score and its entropy (Multiplexity,
arXiv 2501.03259; WorldView-Bench, arXiv 2505.09595).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Sentiment = Literal["positive", "neutral", "negative"]
SENTIMENTS: tuple[Sentiment, ...] = ("positive", "neutral", "negative")


@dataclass(frozen=True, slots=True)
class Reference:
    """A place where a text names a perspective."""

    lens: str
    """The lens' id."""
    words: str
    """As the text has them."""
    sentiment: Sentiment = "neutral"


@dataclass(frozen=True, slots=True)
class Distribution:
    """How often each of N perspectives is named, n_c. Everything else follows from it."""

    counts: Mapping[str, int]
    """References by lens; 0 for one that is not named."""
    sentiments: Mapping[str, Mapping[Sentiment, int]]
    """References by lens and sentiment."""

    @property
    def total(self) -> int:
        """N = Σ n_c."""
        return sum(self.counts.values())

    @property
    def shares(self) -> dict[str, float]:
        """PDS_c = n_c / n, in [0, 1]; all 0 where nothing is named."""
        return {lens: count / self.total if self.total else 0.0 for lens, count in self.counts.items()}

    @property
    def entropy(self) -> float:
        """H = −Σ PDS_c ln PDS_c / ln N in %: 100 where all are named alike, 0 where one is, or none, or N < 2.

        It rewards even mention, and says nothing of whether what is said is true, apt or fair.
        """
        if len(self.counts) < 2:
            return 0.0
        spread = -sum(share * math.log(share) for share in self.shares.values() if share > 0)
        return min(100.0, max(0.0, 100 * spread / math.log(len(self.counts))))

    @property
    def coverage(self) -> float:
        """The share of perspectives that are named at all, in [0, 1]."""
        return sum(count > 0 for count in self.counts.values()) / len(self.counts) if self.counts else 0.0

    @property
    def positive(self) -> float:
        """The share of references in a positive sentence, in [0, 1]; 0 where nothing is named."""
        found = sum(by.get("positive", 0) for by in self.sentiments.values())
        return found / self.total if self.total else 0.0


def distribution_of(references: Iterable[Reference], lenses: Sequence[str]) -> Distribution:
    """How the references spread over `lenses`; those to other lenses are left out."""
    counted = Counter((item.lens, item.sentiment) for item in references)
    sentiments: dict[str, dict[Sentiment, int]] = {
        lens: {sentiment: counted[lens, sentiment] for sentiment in SENTIMENTS} for lens in lenses
    }
    return Distribution({lens: sum(by.values()) for lens, by in sentiments.items()}, sentiments)


def pooled(distributions: Iterable[Distribution], lenses: Sequence[str]) -> Distribution:
    """Many texts taken as one."""
    sentiments: dict[str, Counter[Sentiment]] = {lens: Counter() for lens in lenses}
    for item in distributions:
        for lens in lenses:
            sentiments[lens].update(item.sentiments.get(lens, {}))
    return Distribution({lens: sum(by.values()) for lens, by in sentiments.items()}, sentiments)

"""References: where a text names a perspective, found by a lexicon or by a model.

The lexicon is that of the lenses themselves (`references` in a lens' file). It is English first, names what is
unambiguous and leaves out the rest: it counts too little rather than wrong, and alike for every arm of a comparison.
The sentiment of a reference is that of its sentence, by VADER (Hutto and Gilbert 2014, doi:10.1609/icwsm.v8i1.14550).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any

from ..agents.question import Framing, PlainPreambleInputs
from ..agents.reference_extractor import ReferenceExtractor, ReferencesInputs
from ..llm.model import Model
from ..prompts.library import Library
from ..terms import fold
from ..types import Lens
from .distribution import Reference, Sentiment

_SENTENCE = re.compile(r"[^.!?…。！？\n]+[.!?…。！？]*")
_LONGEST = 12_000
_LEANING = 0.05
"""VADER's own threshold of its compound score."""


def found_by_lexicon(text: str, lenses: Sequence[Lens]) -> tuple[Reference, ...]:
    """Every reference of a text, in order. A phrase inside a longer one counts once."""
    pattern, lens_of = _compiled(tuple((lens.id, lens.references) for lens in lenses))
    if pattern is None:
        return ()
    found: list[Reference] = []
    for sentence in _SENTENCE.findall(text):
        folded = f" {' '.join(fold(sentence).split())} "
        matches = [match[0].strip() for match in pattern.finditer(folded)]
        if not matches:
            continue
        sentiment = sentiment_of(sentence)
        found += [Reference(lens_of[_singular(match, lens_of)], match, sentiment) for match in matches]
    return tuple(found)


@dataclass(frozen=True, slots=True)
class ByLexicon:
    """Finds references without a model."""

    lenses: Sequence[Lens]

    async def __call__(self, text: str) -> Sequence[Reference]:
        """See `found_by_lexicon`."""
        return found_by_lexicon(text, self.lenses)


@dataclass(frozen=True, slots=True)
class ByModel:
    """Finds references by asking a model."""

    extractor: ReferenceExtractor

    @classmethod
    def of(cls, model: Model, lenses: Sequence[Lens], library: Library) -> ByModel:
        """With the prompts of a library."""
        framing = Framing.plain(library.get("preamble_lens", PlainPreambleInputs), longest=_LONGEST)
        prompt = library.get("references", ReferencesInputs)
        return cls(ReferenceExtractor(model=model, framing=framing, prompt=prompt, lenses=tuple(lenses)))

    async def __call__(self, text: str) -> Sequence[Reference]:
        """What the model finds and the text holds.

        Raises:
            ModelError: the model gave no valid answer.
        """
        return tuple(Reference(item.lens, item.words, item.sentiment) for item in await self.extractor(text))


def sentiment_of(sentence: str) -> Sentiment:
    """How a sentence sounds."""
    compound = float(_vader().polarity_scores(sentence)["compound"])
    return "positive" if compound >= _LEANING else "negative" if compound <= -_LEANING else "neutral"


def _singular(match: str, lens_of: dict[str, str]) -> str:
    return match if match in lens_of else match.removesuffix("s")


@lru_cache(maxsize=8)
def _compiled(references: tuple[tuple[str, tuple[str, ...]], ...]) -> tuple[re.Pattern[str] | None, dict[str, str]]:
    """One pattern for all phrases, longest first, each with its plural; and the lens of each phrase."""
    lens_of = {" ".join(fold(phrase).split()): lens for lens, phrases in references for phrase in phrases}
    if not lens_of:
        return None, {}
    alternatives = "|".join(sorted(map(re.escape, lens_of), key=len, reverse=True))
    return re.compile(rf"(?<= )(?:{alternatives})s?(?= )"), lens_of


@lru_cache(maxsize=1)
def _vader() -> Any:
    module: Any = import_module("vaderSentiment.vaderSentiment")  # has no type stubs
    return module.SentimentIntensityAnalyzer()

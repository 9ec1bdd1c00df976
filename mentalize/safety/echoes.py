"""Echoes: whether a reply repeats what a model was told, by long runs of the same words.

What a person can be tricked out of by "repeat everything above" comes back word for word, whatever its case, its
punctuation or its line breaks. A translation or a cipher is not noticed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

RUN = 8
"""Words in a row that are no chance."""

RUN_UNSPACED = 16
"""The same in characters, in scripts without spaces."""

FEW = 24
"""Words of the assistant's rules that a reply may repeat: whoever asks what it does not do may hear it, but not all."""

_HOLE = re.compile(r"\$\{?\w+\}?")
_UNSPACED = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_IS_UNSPACED = re.compile(rf"[{_UNSPACED}]")

_Run = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Echoes:
    """What models are told: `instructions`, of which no run may come back, and `rules`, of which a little may."""

    instructions: frozenset[_Run]
    rules: frozenset[_Run]

    def absent(self, reply: str, *, quotable: Iterable[str] = ()) -> bool:
        """Whether `reply` repeats nothing of it.

        Args:
            reply: What is to be sent.
            quotable: The conversation, of which everything may be repeated.
        """
        words = _words(reply)
        runs = dict(_runs(words))
        told = {place: run for place, run in runs.items() if run in self.instructions or run in self.rules}
        if not told:
            return True
        said = frozenset(run for text in quotable for _, run in _runs(_words(text)))
        ours = {place: run for place, run in told.items() if run not in said}
        repeated = {place + step for place, run in ours.items() for step in range(len(run))}
        return len(repeated) <= FEW and self.instructions.isdisjoint(ours.values())


@lru_cache(maxsize=8)
def echoes_of(instructions: tuple[str, ...], rules: tuple[str, ...]) -> Echoes:
    """The echoes of prompts, with their `$holes`, and of the rules that a deployment gives its assistant."""
    pieces = [piece for text in instructions for piece in _HOLE.split(text)]
    return Echoes(_all_runs(pieces), _all_runs(["\n".join(rules)]))


def _all_runs(texts: Iterable[str]) -> frozenset[_Run]:
    return frozenset(run for text in texts for _, run in _runs(_words(text)))


def _words(text: str) -> list[str]:
    folded = unicodedata.normalize("NFKC", text).casefold()
    visible = "".join(sign for sign in folded if unicodedata.category(sign) != "Cf")
    return _WORD.findall(visible.replace("'", "").replace("’", ""))


def _runs(words: list[str]) -> Iterator[tuple[int, _Run]]:
    """Every run that is long enough, and where it begins."""
    for place in range(len(words) - RUN + 1):
        run = tuple(words[place : place + RUN])
        if any(_IS_UNSPACED.match(word) for word in run):
            run = tuple(words[place : place + RUN_UNSPACED])
            if len(run) < RUN_UNSPACED:
                continue
        yield place, run

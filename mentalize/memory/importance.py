"""Importance and worth: which memories are worth keeping, judged by their text and their use, and by no model.

What a text states counts; what it only asks tells nothing about anyone. Among one person's memories, rare words say
more than frequent ones (inverse document frequency, Spärck Jones 1972), and the answer to a question says more than
what was said unasked.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from ..terms import terms_of
from ..types import Memory, MemoryKind
from .retention import Curve

RICH = 15
"""Distinct terms of a statement that is as important as a turn can be."""

_OF_KIND: Mapping[MemoryKind, float] = {
    MemoryKind.SAFETY_NOTE: 1.0,
    MemoryKind.FACT: 1.0,
    MemoryKind.PREFERENCE: 1.0,
    MemoryKind.SCENARIO: 1.0,
    MemoryKind.SUMMARY: 0.8,
    MemoryKind.PORTRAIT: 0.8,
    MemoryKind.DAY_SUMMARY: 0.8,
    MemoryKind.DAY_PORTRAIT: 0.8,
    MemoryKind.EMOTION_PATTERN: 0.8,
    MemoryKind.FEEDBACK: 0.8,
    MemoryKind.INFERENCE: 0.5,
}
"""What was made on purpose is important by its kind; a turn, by what it says."""

_LONGEST = 20_000
"""Characters of a turn that are looked at: enough to be as important as a turn can be."""

_MOST_TERMS = 16
"""The rarest terms of a text that count towards its worth, so that long-winded texts do not push out the others."""

_SENTENCE = re.compile(r"[^.!?。！？؟\n]+[.!?。！？؟]*")


def importance_of(kind: MemoryKind, text: str) -> float:
    """In [0, 1], computed in code from the kind and, for a turn, from how much its statements say."""
    if (fixed := _OF_KIND.get(kind)) is not None:
        return fixed
    return min(1.0, len(set(terms_of(statements(text[:_LONGEST])))) / RICH)


def statements(text: str) -> str:
    """The sentences of a text that ask nothing."""
    return " ".join(sentence for sentence in _SENTENCE.findall(text) if not _is_question(sentence))


def asks(text: str) -> bool:
    """Whether a text asks something."""
    return any(_is_question(sentence) for sentence in _SENTENCE.findall(text))


def _is_question(sentence: str) -> bool:
    return sentence.rstrip(" \t!.\"'”’»)").endswith(("?", "？", "؟"))


def worth(memory: Memory, at: datetime, curve: Curve) -> float:
    """How much a memory by itself is worth keeping, in [0, 1]: importance × retention.

    Beside a person's other memories, `worths` tells more.
    """
    return memory.importance * curve.retention(memory, at)


def worths(memories: Sequence[Memory], at: datetime, curve: Curve) -> dict[str, float]:
    """How much each of one person's memories is worth keeping, by id; only the order means something.

    The information that its statements hold, Σ idf² over their rarest distinct terms, twice that if it answers a
    question, times its importance by kind and its strength. What was never recalled does not lose by its age: by what
    is asked later, old memories are as often wanted as new ones (bench/recall.py).

    Args:
        memories: The person's memories, turns in any order.
        at: The present moment.
        curve: How they fade; what is pinned or never fades is worth more than all else.
    """
    terms = {memory.id: frozenset(terms_of(memory.text)) for memory in memories}
    frequency = Counter(term for each in terms.values() for term in each)
    answers = _answers(memories)
    return {
        memory.id: math.inf
        if memory.pinned or math.isinf(curve.tau[memory.kind])
        else _information(memory.text, frequency, len(memories))
        * (1 + (memory.id in answers))
        * (1.0 if memory.kind is MemoryKind.TURN else 2.0 * memory.importance)
        * memory.strength
        for memory in memories
    }


def _information(text: str, frequency: Mapping[str, int], total: int) -> float:
    rarity = (
        math.log(1 + total / frequency[term]) ** 2 for term in set(terms_of(statements(text))) if term in frequency
    )
    return sum(sorted(rarity, reverse=True)[:_MOST_TERMS])


def _answers(memories: Iterable[Memory]) -> set[str]:
    """Turns said right after a turn of the same session that asked something."""
    found: set[str] = set()
    asked: dict[str, bool] = {}
    turns = (memory for memory in memories if memory.kind is MemoryKind.TURN)
    for turn in sorted(turns, key=lambda turn: turn.observed_at):
        if asked.get(turn.session):
            found.add(turn.id)
        asked[turn.session] = asks(turn.text)
    return found

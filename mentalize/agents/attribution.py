"""Attribution: which memories a reply used, decided in code from the words that only they can have brought into it.

Also of what the conversation shows: what a reply rests on is what it is forgotten with.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from ..prompts.format import one_line
from ..terms import terms_of
from ..types import Memory, MemoryKind, MemoryStatus, Plan, Recollection
from .wording import Word, held_by, words_of

WORDS = 2
"""Content words of a memory, new to the conversation, that a reply must hold to have used it."""

SHARE = 0.5
"""Or this share of them, where a memory has few."""

OVERALL = 4
"""The same for a portrait or summary, which says so much that two of its words prove nothing; or a name or number."""

LONGEST = 20_000
"""Characters of a message, memory or reply that are looked at."""

_NEVER = frozenset({MemoryKind.SCENARIO, MemoryKind.FEEDBACK})
"""Kinds that shape every reply alike, and no reply by its words."""

_OVERALL = frozenset({MemoryKind.PORTRAIT, MemoryKind.SUMMARY})

_NAME = re.compile(r"\w*\d\w*|(?<=[^\s.!?…] )\w+")
"""A word with a digit, or one inside a sentence, which is a name if it begins with a capital letter."""

_MOST_NAMES = 0.25
"""Share of words with a capital letter inside sentences, from which it is the language's way and makes no name."""


def used(recollection: Recollection | None, plan: Plan | None, message: str, reply: str) -> tuple[str, ...]:
    """Ids of the recalled memories whose content stands in the reply: the hits, best first, then what came with them.

    Words of `message` do not count: the reply has those from the person. A hit that the plan leans on (its anchors)
    needs one word in the reply, anything else `WORDS` of them or a `SHARE`, and what is over all days `OVERALL`.
    """
    if recollection is None or not reply.strip():
        return ()
    said, answered = _terms(message), _terms(reply)

    def is_used(memory: Memory) -> bool:
        new = _new(memory, said)
        if memory.kind in _OVERALL:
            return _stands_in(new, answered, least=OVERALL) or _is_named(memory, new, answered)
        return _stands_in(new, answered, least=1 if is_anchor(memory, plan) else WORDS)

    return tuple(memory.id for memory in _recalled(recollection) if is_used(memory))


def repeated(earlier: Sequence[Memory], message: str, reply: str) -> tuple[str, ...]:
    """Ids of what was said earlier in the conversation and stands in the reply by its rare words, in order.

    Rare are words that nothing else of what was said earlier holds, nor `message`. Two of them, or a name or number
    alone, or a `SHARE` of the text's words show that the reply has them from there.
    """
    if not earlier or not reply.strip():
        return ()
    said, answered = _terms(message), _terms(reply)
    words = {row.id: _new(row, said) for row in earlier}
    holding = Counter(word for each in words.values() for word in each)
    return tuple(row.id for row in earlier if _is_repeated(row, words[row.id], holding, answered))


def _is_repeated(row: Memory, words: list[Word], holding: Counter[Word], answered: frozenset[str]) -> bool:
    rare = [word for word in words if holding[word] == 1]
    enough = sum(held_by(word, answered) for word in rare) >= WORDS
    return enough or _is_named(row, rare, answered) or _stands_in(words, answered, least=len(words))


def _is_named(memory: Memory, words: list[Word], answered: frozenset[str]) -> bool:
    """Whether one of these words of the memory is a name or number, and stands in the reply."""
    shared = [word for word in words if held_by(word, answered)]
    names = _names(memory.text) if shared else frozenset[str]()
    return any(held_by(word, names) for word in shared)


def _names(text: str) -> frozenset[str]:
    """The terms of the names and numbers in a text."""
    words = [match.group() for match in _NAME.finditer(text[:LONGEST])]
    capital = [word for word in words if len(word) > 1 and word[0].isupper()]
    numbers = [word for word in words if any(sign.isdigit() for sign in word)]
    names = capital if len(capital) <= _MOST_NAMES * len(words) else []
    return frozenset(term for word in (*numbers, *names) for term in terms_of(word))


def _terms(text: str) -> frozenset[str]:
    return frozenset(terms_of(text[:LONGEST]))


def is_anchor(memory: Memory, plan: Plan | None) -> bool:
    """Whether the plan leans on it."""
    text = one_line(memory.text)
    return plan is not None and any(anchor.endswith(text) for anchor in plan.anchors)


def _recalled(recollection: Recollection) -> Iterator[Memory]:
    found = [hit.memory for hit in recollection.hits]
    found += [memory for beside in recollection.neighbours.values() for memory in beside]
    found += [memory for memory in (recollection.portrait, recollection.summary) if memory is not None]
    for memory in found:
        # What we said ourselves is like any reply in its wording, and proves nothing.
        ours = memory.kind in _NEVER or memory.details.get("role") == "assistant"
        if not ours and memory.status is not MemoryStatus.REFUTED:
            yield memory


def _new(memory: Memory, said: frozenset[str]) -> list[Word]:
    """The words that the person did not use themselves just now."""
    return [word for word in words_of(memory.text[:LONGEST]) if not held_by(word, said)]


def _stands_in(words: list[Word], answered: frozenset[str], *, least: int) -> bool:
    """Whether so many of the words, or a share of them, stand in the reply."""
    shared = sum(held_by(word, answered) for word in words)
    return shared > 0 and (shared >= least or shared >= SHARE * len(words))

"""Attribution: which memories a reply used, decided in code from the words that only they can have brought into it."""

from __future__ import annotations

from collections.abc import Iterator

from ..memory.terms import terms_of
from ..prompts.format import one_line
from ..types import Memory, MemoryKind, MemoryStatus, Plan, Recollection
from .wording import Word, held_by, words_of

WORDS = 2
"""Content words of a memory, new to the conversation, that a reply must hold to have used it."""

SHARE = 0.5
"""Or this share of them, where a memory has few."""

_NEVER = frozenset({MemoryKind.SCENARIO, MemoryKind.FEEDBACK})
"""Kinds that shape every reply alike, and no reply by its words."""


def used(recollection: Recollection | None, plan: Plan | None, message: str, reply: str) -> tuple[str, ...]:
    """Ids of the recalled memories whose content stands in the reply, best first.

    Words of `message` do not count: the reply has those from the person. One that the plan leans on (its anchors) needs
    one word in the reply, any other `WORDS` of them or a `SHARE`.
    """
    if recollection is None or not reply.strip():
        return ()
    said, answered = frozenset(terms_of(message)), frozenset(terms_of(reply))
    return tuple(
        memory.id
        for memory in _recalled(recollection)
        if _stands_in(_new(memory, said), answered, leaned_on=is_anchor(memory, plan))
    )


def is_anchor(memory: Memory, plan: Plan | None) -> bool:
    """Whether the plan leans on it."""
    text = one_line(memory.text)
    return plan is not None and any(anchor.endswith(text) for anchor in plan.anchors)


def _recalled(recollection: Recollection) -> Iterator[Memory]:
    for hit in recollection.hits:
        memory = hit.memory
        # What we said ourselves is like any reply in its wording, and proves nothing.
        ours = memory.kind in _NEVER or memory.details.get("role") == "assistant"
        if not ours and memory.status is not MemoryStatus.REFUTED:
            yield memory


def _new(memory: Memory, said: frozenset[str]) -> list[Word]:
    """The words that the person did not use themselves just now."""
    return [word for word in words_of(memory.text) if not held_by(word, said)]


def _stands_in(new: list[Word], answered: frozenset[str], *, leaned_on: bool) -> bool:
    shared = sum(held_by(word, answered) for word in new)
    return shared >= 1 if leaned_on else shared >= WORDS or (shared > 0 and shared >= SHARE * len(new))

"""Repetition: what a person states again strengthens what is known, instead of being kept twice.

The later statements are kept in the memory's details, so that what was said more than once outlives the forgetting of
one of them, in the words of another.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ..errors import InputError
from ..types import Memory, MemoryKind, MemoryStatus
from .rows import storable

STATED = (MemoryKind.FACT, MemoryKind.PREFERENCE)
"""Kinds that a person states."""

REPEATED = "repeated"
"""The detail of a stated memory that holds its later statements."""

_MOST = 8
"""Later statements that are kept; the oldest go first."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What a memory says, as it was stated at one time."""

    text: str
    quote: str
    observed_at: datetime
    valid_from: datetime | None
    speaker: str
    session: str
    sources: tuple[str, ...]
    """What it rests on. Empty where the person stated it by itself, and not in a turn."""
    details: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Remainder:
    """What is left of a memory when some of its sources are forgotten."""

    memory: Memory
    is_renewed: bool
    """Whether it now stands in the words of another statement."""


def said(memory: Memory) -> tuple[str, tuple[str, ...]]:
    """What two statements have in common if one repeats the other: letters and digits, and who was present."""
    letters = "".join(c for c in unicodedata.normalize("NFKC", memory.text).casefold() if c.isalnum())
    return letters, memory.audience


def repeats(memory: Memory, other: Memory) -> bool:
    """Whether both state the same. Where it is not known who said one of them, it may have been the same person."""
    return said(memory) == said(other) and len({memory.speaker, other.speaker} - {""}) < 2


def repeated(known: Memory, again: Memory) -> Memory:
    """What becomes of a memory when it is stated again."""
    if again.status is not MemoryStatus.CONFIRMED:
        return known
    if known.status is MemoryStatus.UNCONFIRMED:
        # What was guessed is now stated, and rests on the statement alone.
        return _stated(replace(known, status=MemoryStatus.CONFIRMED, expires_at=None), _statement(again), ())
    later = _later(known)
    if again.sources:
        is_new = set(again.sources).isdisjoint(known.sources)
    else:
        is_new = bool(known.sources) and all(one.sources for one in later)
    return _with_later(known, [*later, _statement(again)][-_MOST:]) if is_new else known


def remainder(memory: Memory, gone: AbstractSet[str]) -> Remainder | None:
    """What is left of a memory when these of its sources are forgotten; None if nothing is."""
    if memory.kind not in STATED:
        return None
    later = _later(memory)
    left = [one for one in later if gone.isdisjoint(one.sources)]
    if gone.isdisjoint(_own_sources(memory, later)):
        return Remainder(_with_later(memory, left), is_renewed=False)
    if not left:
        return None
    try:
        return Remainder(storable(_stated(memory, left[0], left[1:])), is_renewed=True)
    except InputError:  # The details were made elsewhere, and hold what no memory can.
        return None


def _statement(memory: Memory) -> Statement:
    return Statement(
        text=memory.text,
        quote=memory.quote,
        observed_at=memory.observed_at,
        valid_from=memory.valid_from,
        speaker=memory.speaker,
        session=memory.session,
        sources=tuple(memory.sources),
        details={name: value for name, value in memory.details.items() if name != REPEATED},
    )


def _stated(memory: Memory, statement: Statement, later: Sequence[Statement]) -> Memory:
    """The memory in the words of a statement, with others after it."""
    words: dict[str, Any] = {name: getattr(statement, name) for name in Statement.__slots__}
    return _with_later(replace(memory, **words), later)


def _with_later(memory: Memory, later: Sequence[Statement]) -> Memory:
    sources = [*_own_sources(memory, _later(memory)), *(name for one in later for name in one.sources)]
    details = {name: value for name, value in memory.details.items() if name != REPEATED}
    if later:
        details[REPEATED] = _adapter().dump_python(tuple(later), mode="json")
    return replace(memory, sources=tuple(dict.fromkeys(sources)), details=details)


def _own_sources(memory: Memory, later: Iterable[Statement]) -> list[str]:
    """What the memory itself rests on, without its later statements."""
    others = {name for one in later for name in one.sources}
    return [name for name in memory.sources if name not in others]


def _later(memory: Memory) -> tuple[Statement, ...]:
    """Its later statements; none where the detail is somebody else's, so that the memory needs all of its sources."""
    if REPEATED not in memory.details:
        return ()
    try:
        return _adapter().validate_python(memory.details[REPEATED])
    except ValidationError:
        return ()


@cache
def _adapter() -> TypeAdapter[tuple[Statement, ...]]:
    return TypeAdapter(tuple[Statement, ...])

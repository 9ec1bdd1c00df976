"""Portable: memories as lines of JSON, to keep elsewhere and to read back (docs/memory.md has the form)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator
from pydantic.types import AwareDatetime

from ..errors import InputError
from ..types import Identity, Memory, MemoryKind, MemoryStatus
from .indexing import Progress
from .rows import storable
from .store import MemoryStore

FORMAT = "mentalize-memories"
VERSION = 1

_HEADER_HINT = f'The first line is {{"format": "{FORMAT}", "version": {VERSION}, "memories": …}}.'
_ID = Field(min_length=1, max_length=512)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What an import did."""

    added: int = 0
    unchanged: int = 0
    """Were there, and were left as they are here."""
    forgotten: int = 0
    """Left out, because they, or what they were made from, had been deleted."""

    @property
    def total(self) -> int:
        """How many memories the file held."""
        return self.added + self.unchanged + self.forgotten


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Header(_Strict):
    """The first line."""

    format: str
    version: int
    memories: int = Field(ge=0)
    """How many lines follow, so that a file that was cut short is known as such."""


class Line(_Strict):
    """A memory as one line. What is not given has the default of `types.Memory`."""

    id: str = _ID
    kind: MemoryKind
    text: str
    observed_at: AwareDatetime
    status: MemoryStatus = MemoryStatus.CONFIRMED
    speaker: str = ""
    session: str = ""
    quote: str = ""
    strength: int = Field(default=1, ge=1, le=20)
    importance: float = Field(default=0.5, ge=0, le=1, allow_inf_nan=False)
    confidence: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)
    recorded_at: AwareDatetime | None = None
    last_recalled_at: AwareDatetime | None = None
    valid_from: AwareDatetime | None = None
    valid_until: AwareDatetime | None = None
    expires_at: AwareDatetime | None = None
    superseded_by: str | None = None
    sources: tuple[str, ...] = ()
    audience: tuple[str, ...] = ()
    pinned: bool = False
    archived: bool = False
    details: dict[str, Any] = Field(default_factory=dict[str, Any])

    @field_validator("text")
    @classmethod
    def _says_something(cls, text: str) -> str:
        if not text.strip():
            raise ValueError("is empty")
        return text

    def memory(self) -> Memory:
        """The memory that the line describes."""
        return Memory(**{name: getattr(self, name) for name in type(self).model_fields})


_MEMORY = TypeAdapter(Memory)
Model = TypeVar("Model", bound=BaseModel)


def lines_of(memories: Sequence[Memory]) -> Iterator[str]:
    """A header, then each memory with all its fields; without line ends."""
    yield _dumped({"format": FORMAT, "version": VERSION, "memories": len(memories)})
    for memory in memories:
        yield _dumped(_MEMORY.dump_python(memory, mode="json"))


def memories_of(lines: Iterable[str]) -> Iterator[Memory]:
    """The memories in the lines that `lines_of` makes. Empty lines are passed over.

    Raises:
        InputError: a line is wrong; the message says which line and field, and what is wrong with it.
    """
    numbered = ((number, line) for number, line in enumerate(lines, start=1) if line.strip())
    header = _header(next(numbered, None))
    seen: dict[str, int] = {}
    for number, line in numbered:
        memory = _kept(number, _validated(Line, number, line).memory())
        if memory.id in seen:
            raise InputError(f"Line {number}: `id` {memory.id} was on line {seen[memory.id]} already.")
        seen[memory.id] = number
        yield memory
    if len(seen) != header.memories:
        raise InputError(
            f"The file holds {len(seen)} memories, and its header says {header.memories}.",
            hint="It was cut short, or changed by hand; then correct `memories` in its first line.",
        )


def take_over(
    store: MemoryStore,
    who: Identity,
    memories: Sequence[Memory],
    *,
    even_forgotten: bool = False,
    progress: Progress | None = None,
) -> Restored:
    """Write memories from elsewhere in one transaction; what is there already is left as it is."""
    here = {memory.id: memory for memory in store.get(who, [memory.id for memory in memories])}
    gone = frozenset[str]() if even_forgotten else _forgotten(store, who, memories, here)
    wanted = [memory for memory in memories if memory.id not in gone]
    # What the person refuted, corrected or pinned since the export is not taken back by it.
    new = [memory for memory in wanted if memory.id not in here]
    if new:
        store.put(who, new, revive=even_forgotten)
    if progress is not None:
        progress(len(wanted), len(wanted))
    return Restored(added=len(new), unchanged=len(wanted) - len(new), forgotten=len(memories) - len(wanted))


def _forgotten(
    store: MemoryStore, who: Identity, memories: Sequence[Memory], here: Mapping[str, Memory]
) -> frozenset[str]:
    """Which of these were deleted, or were made from something that was. A summary may have been made again since."""
    from .tombstones import OVERALL

    named = dict.fromkeys(name for memory in memories for name in (memory.id, *memory.sources))
    gone = set(store.forgotten(who, list(named))).difference(here)
    # Summaries of days leave no tombstones.
    parts = {name for memory in memories if memory.kind in OVERALL for name in memory.sources}
    parts -= {memory.id for memory in memories}
    gone |= parts.difference(memory.id for memory in store.get(who, sorted(parts)))
    while more := {memory.id for memory in memories if memory.id not in gone and not gone.isdisjoint(memory.sources)}:
        gone |= more
    return frozenset(gone)


# --- reading ----------------------------------------------------------------------------------------------


def _header(first: tuple[int, str] | None) -> Header:
    if first is None:
        raise InputError("The file is empty.", hint=_HEADER_HINT)
    number, line = first
    document = _parsed(number, line)
    if document.get("format") != FORMAT:
        raise InputError(f"Line {number} is no header of exported memories.", hint=_HEADER_HINT)
    if isinstance(version := document.get("version"), int) and version > VERSION:
        raise InputError(
            f"A newer version of mentalize has written this file (form {version}; this one knows {VERSION}).",
            hint="Update mentalize.",
        )
    return _validated(Header, number, line)


def _validated(model: type[Model], number: int, line: str) -> Model:
    document = _parsed(number, line)
    try:
        return model.model_validate(document, strict=False)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "line"
        raise InputError(
            f"Line {number}: `{field}` is wrong.", hint=f"{_complaint(first['type'], first['msg'])}."
        ) from error


def _kept(number: int, memory: Memory) -> Memory:
    """The memory as it will be stored."""
    try:
        return storable(memory)
    except InputError as error:
        raise InputError(f"Line {number}: {error.message}", hint=error.hint) from error


def _complaint(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return f"There is no such field; the fields are {', '.join(Line.model_fields)}"
    return message.removeprefix("Value error, ")


def _parsed(number: int, line: str) -> Mapping[str, Any]:
    try:
        document: object = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"Line {number} is not JSON ({error}).", hint="Each line is one JSON object.") from error
    if not isinstance(document, dict):
        raise InputError(f"Line {number} is not a JSON object.", hint="Each line is one JSON object.")
    return cast("Mapping[str, Any]", document)


def _dumped(document: Mapping[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))

"""A memory as a row: checked and made storable on its way in, and made a `Memory` again on its way out."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from ..errors import InputError
from ..types import LONGEST_NAME, LONGEST_TEXT, Memory, MemoryKind, MemoryStatus
from .retention import STRONGEST

if TYPE_CHECKING:
    from sqlalchemy import Row

FIRST_YEAR, YEAR_AFTER = 1900, 9001
"""Years, in UTC, that a memory's moments are in."""

DEEPEST = 100
"""Lists and objects within each other in a memory's details."""

_NAMES = ("id", "session", "superseded_by")
_TEXTS = ("text", "quote", "speaker")
_MOMENTS = ("observed_at", "recorded_at", "last_recalled_at", "valid_from", "valid_until", "expires_at")
_SHARES = ("importance", "confidence")
_COLUMNS = tuple(field.name for field in fields(Memory))


def storable(memory: Memory) -> Memory:
    """The same memory as it will be read again: moments in UTC, and no characters that databases cannot hold.

    Raises:
        InputError: a part is of the wrong kind, out of its range, or too long.
    """
    try:
        return _storable(memory)
    except InputError as error:
        raise InputError(f"Memory {memory.id[:80]!r}: {error.message}", hint=error.hint) from error


def _storable(memory: Memory) -> Memory:
    changes: dict[str, Any] = {name: _checked_name(name, getattr(memory, name)) for name in _NAMES}
    changes |= {name: clean(getattr(memory, name), name) for name in _TEXTS}
    changes |= {name: _utc(name, getattr(memory, name)) for name in _MOMENTS}
    changes |= {name: _share(name, getattr(memory, name)) for name in _SHARES}
    changes["kind"] = _member(MemoryKind, "kind", memory.kind)
    changes["status"] = _member(MemoryStatus, "status", memory.status)
    changes["sources"] = tuple(dict.fromkeys(cast("str", _checked_name("sources", name)) for name in memory.sources))
    changes["audience"] = tuple(clean(name, "audience") for name in memory.audience)
    changes["details"] = _plain(memory.details)
    if not changes["id"]:
        raise InputError("the id is empty.", hint="Give every memory an id of its own.")
    if len(changes["text"]) > LONGEST_TEXT:
        raise InputError(
            f"the text has {len(changes['text']):,} characters; {LONGEST_TEXT:,} is the most.",
            hint="Split it into several memories.",
        )
    if not 1 <= memory.strength <= STRONGEST:
        raise InputError(f"strength {memory.strength} is not between 1 and {STRONGEST}.")
    return replace(memory, **changes)


def clean(value: Any, name: str) -> str:
    """Text without NUL, which PostgreSQL cannot hold, and without halves of surrogate pairs, which no database can."""
    if not isinstance(value, str):
        raise InputError(f"{name} is not a text.")
    whole = value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return whole.replace("\x00", "\ufffd")


def columns(memory: Memory) -> dict[str, Any]:
    """The row of a storable memory, as far as the memory itself decides it."""
    values = {name: getattr(memory, name) for name in _COLUMNS}
    return values | {
        "kind": memory.kind.value,
        "status": memory.status.value,
        "sources": list(memory.sources),
        "audience": list(memory.audience),
        "details": dict(memory.details),
    }


def memory_of(row: Row[*tuple[Any, ...]]) -> Memory:
    """The memory of a whole row of `memories`."""
    parts: dict[str, Any] = {name: getattr(row, name) for name in _COLUMNS}
    parts["kind"] = MemoryKind(parts["kind"])
    parts["status"] = MemoryStatus(parts["status"])
    parts["sources"] = tuple(parts["sources"])
    parts["audience"] = tuple(parts["audience"])
    return Memory(**parts)


def memories_of(rows: Iterable[Row[*tuple[Any, ...]]]) -> tuple[Memory, ...]:
    """The memories of whole rows, in their order."""
    return tuple(memory_of(row) for row in rows)


def moment(value: datetime, name: str) -> datetime:
    """An aware moment in UTC; InputError for a naive one, or one that the calendar does not reach in UTC."""
    if value.utcoffset() is None:
        raise InputError(f"{name} has no time zone.", hint="Give an aware moment, such as datetime.now(UTC).")
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise InputError(f"{name} {value.isoformat()} is beyond the calendar.") from error


def lasting(value: datetime, name: str) -> datetime:
    """A moment that can be kept: far enough from the calendar's ends to be counted from, in every time zone."""
    at = moment(value, name)
    if not FIRST_YEAR <= at.year < YEAR_AFTER:
        raise InputError(
            f"{name} {value.isoformat()} is not in the years {FIRST_YEAR} to {YEAR_AFTER - 1}.",
            hint="Leave it out if it is not known.",
        )
    return at


def _utc(name: str, value: datetime | None) -> datetime | None:
    return None if value is None else lasting(value, name)


def _checked_name(name: str, value: str | None) -> str | None:
    if value is None:
        return None
    if len(value) > LONGEST_NAME or clean(value, name) != value:
        raise InputError(f"{name} is longer than {LONGEST_NAME} characters or holds NUL or half a character.")
    return value


def _share(name: str, value: float | None) -> float | None:
    if value is None:
        return None
    if not (math.isfinite(value) and 0 <= value <= 1):
        raise InputError(f"{name} {value} is not between 0 and 1.")
    return float(value)


def _member(kind: Any, name: str, value: str) -> Any:
    try:
        return kind(value)
    except ValueError as error:
        raise InputError(f"{name} {value!r} is none of {', '.join(kind)}.") from error


def _plain(details: Mapping[str, Any]) -> dict[str, Any]:
    try:
        plain = json.loads(json.dumps(dict(details), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InputError(f"details hold something that is not plain ({error}).", hint="Use what JSON knows.") from error
    except RecursionError as error:
        raise _too_deep() from error
    return _cleaned(plain, DEEPEST)


def _cleaned(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return clean(value, "details")
    if not isinstance(value, list | dict):
        return value
    if not depth:
        raise _too_deep()
    if isinstance(value, list):
        return [_cleaned(item, depth - 1) for item in cast("list[Any]", value)]
    items = cast("dict[str, Any]", value).items()
    return {clean(key, "details"): _cleaned(item, depth - 1) for key, item in items}


def _too_deep() -> InputError:
    return InputError(f"details are more than {DEEPEST} levels deep.", hint="Keep what is so large elsewhere.")

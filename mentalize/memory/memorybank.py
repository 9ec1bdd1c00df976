"""MemoryBank's own memory file (zhongwanjun/MemoryBank-SiliconFriend), read as memories of ours.

Its file holds all its users: `{"Ana": {"history": {"2023-05-04": [{"query": …, "response": …}]}, "summary": …}}`.
It knows days and no times: what was said on a day is put in its order from noon on, in the given zone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Annotated, Any, cast
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ..errors import InputError
from ..types import Memory, MemoryKind
from .importance import importance_of

_NOON = time(12)
_STRONGEST = 20


def _from_pair(value: object) -> object:
    """Older files hold pairs of query and response."""
    pair = cast("list[object]", value) if isinstance(value, list) else []
    return {"query": pair[0], "response": pair[1]} if len(pair) == 2 else cast("object", value)


def _from_text(value: object) -> object:
    """Older files hold a summary as its text alone."""
    return {"content": value} if isinstance(value, str) else value


class _Lenient(BaseModel):
    """MemoryBank's files differ between its versions: what we do not know is passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    strength: int = Field(default=1, ge=1, alias="memory_strength")
    last_recalled: date | None = Field(default=None, alias="last_recall_date")


class _Exchange(_Lenient):
    query: str
    response: str


class _Note(_Lenient):
    content: str


Exchange = Annotated[_Exchange, BeforeValidator(_from_pair)]
Note = Annotated[_Note, BeforeValidator(_from_text)]


class _Person(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str = ""
    history: dict[date, list[Exchange]] = Field(default_factory=dict[date, list[Exchange]])
    summary: dict[date, Note] = Field(default_factory=dict[date, Note])
    personality: dict[date, Note] = Field(default_factory=dict[date, Note])
    overall_history: Note | None = None
    overall_personality: Note | None = None


def is_memorybank(document: object) -> bool:
    """Whether a JSON document looks like a memory file of MemoryBank."""
    if not isinstance(document, dict) or not document:
        return False
    people = cast("dict[str, object]", document).values()
    return all(
        isinstance(person, dict) and {"history", "name"} & cast("dict[str, object]", person).keys() for person in people
    )


def people_of(document: Mapping[str, Any]) -> tuple[str, ...]:
    """The names under which the file keeps its users."""
    return tuple(document)


def from_memorybank(document: Mapping[str, Any], name: str, *, zone: str = "UTC") -> tuple[Memory, ...]:
    """One user's memories, in the order of their days.

    Args:
        document: The file's JSON.
        name: The user's name in the file.
        zone: IANA zone of the days.

    Raises:
        InputError: the file has no such user, or one of its fields is wrong.
    """
    if name not in document:
        raise InputError(f"The file has no user {name!r}.", hint=f"It has: {', '.join(people_of(document))}.")
    try:
        person = _Person.model_validate(document[name])
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, (name, *first["loc"])))
        raise InputError(f"`{field}` is wrong.", hint=f"{first['msg']}.") from error
    return tuple(_memories(person, name, ZoneInfo(zone)))


def _memories(person: _Person, name: str, zone: ZoneInfo) -> Iterator[Memory]:
    for day, exchanges in sorted(person.history.items()):
        yield from _said(day, exchanges, person.name or name, zone)
    days = sorted(person.history)
    for kind, notes in ((MemoryKind.DAY_SUMMARY, person.summary), (MemoryKind.DAY_PORTRAIT, person.personality)):
        for day, note in sorted(notes.items()):
            sources = _turn_ids(day, person.history.get(day, ()))
            yield from _note(note, kind, f"{kind}/{day}", _end(day, zone), sources, {"day": day.isoformat()}, zone)
    if not days:
        return
    overall = (
        (MemoryKind.SUMMARY, MemoryKind.DAY_SUMMARY, person.overall_history, person.summary),
        (MemoryKind.PORTRAIT, MemoryKind.DAY_PORTRAIT, person.overall_personality, person.personality),
    )
    for kind, daily, note, notes in overall:
        if note is not None:
            sources = tuple(f"{daily}/{day}" for day, of_day in sorted(notes.items()) if of_day.content.strip())
            yield from _note(note, kind, str(kind), _end(days[-1], zone), sources, {}, zone)


def _said(day: date, exchanges: Sequence[_Exchange], name: str, zone: ZoneInfo) -> Iterator[Memory]:
    noon = datetime.combine(day, _NOON, zone)
    for number, exchange in enumerate(exchanges):
        turn = f"memorybank/{day}/{number}"
        said = ((0, "user", name, exchange.query), (1, "assistant", "assistant", exchange.response))
        for offset, role, speaker, text in said:
            if text.strip():
                yield Memory(
                    id=f"{turn}/{role}",
                    kind=MemoryKind.TURN,
                    text=text,
                    observed_at=noon + timedelta(seconds=2 * number + offset),
                    speaker=speaker,
                    session=f"memorybank/{day}",
                    strength=min(exchange.strength, _STRONGEST),
                    last_recalled_at=_recalled(exchange, day, zone),
                    importance=importance_of(MemoryKind.TURN, text),
                    details={"role": role, "turn_id": turn},
                )


def _turn_ids(day: date, exchanges: Sequence[_Exchange]) -> tuple[str, ...]:
    return tuple(
        f"memorybank/{day}/{number}/{role}"
        for number, exchange in enumerate(exchanges)
        for role, text in (("user", exchange.query), ("assistant", exchange.response))
        if text.strip()
    )


def _note(
    note: _Note,
    kind: MemoryKind,
    memory_id: str,
    at: datetime,
    sources: tuple[str, ...],
    details: Mapping[str, Any],
    zone: ZoneInfo,
) -> Iterator[Memory]:
    if note.content.strip():
        yield Memory(
            id=memory_id,
            kind=kind,
            text=note.content,
            observed_at=at,
            sources=sources,
            strength=min(note.strength, _STRONGEST),
            last_recalled_at=_recalled(note, at.date(), zone),
            importance=importance_of(kind, note.content),
            details=details,
        )


def _recalled(piece: _Lenient, day: date, zone: ZoneInfo) -> datetime | None:
    """MemoryBank writes the day itself where there was no recall."""
    last = piece.last_recalled
    return None if last is None or last <= day else datetime.combine(last, _NOON, zone)


def _end(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(23, 59), zone)

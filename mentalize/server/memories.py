"""`/v1/memories`: what is remembered about the caller's own person, to see, correct, and have forgotten."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from ..errors import InputError
from ..memory.explanation import Explanation
from ..memory.memories import Memories
from ..memory.store import Deletion, Filter
from ..types import LONGEST_TEXT, Identity, Memory, MemoryHit, MemoryKind, MemoryStatus
from .arrivals import headers_of
from .callers import Caller
from .faults import Fault
from .guarded import GuardedRoute, caller_of
from .persons import as_body, person_of
from .service import Service
from .wishes import wishes_in

router = APIRouter(prefix="/v1/memories", tags=["memories"], route_class=GuardedRoute)

_UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"description": "This person has no such memory."}}


class MemoryList(BaseModel):
    """Memories, the newest first."""

    object: Literal["list"] = "list"
    data: list[Memory]
    has_more: bool = Field(description="Whether there are older ones; ask again with `until` of the last.")


class Hits(BaseModel):
    """Memories that fit a question, best first, and why each does."""

    object: Literal["list"] = "list"
    data: list[MemoryHit]


class NewMemory(BaseModel):
    """Something that the person stated."""

    model_config = ConfigDict(extra="forbid")

    text: Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT)]
    kind: Literal["fact", "preference"] = "fact"


class Change(BaseModel):
    """What the person says about a memory. Several are done in this order."""

    model_config = ConfigDict(extra="forbid")

    text: Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT)] | None = Field(
        default=None, description="What is true instead. The memory that is corrected stays as history."
    )
    status: Literal["confirmed", "refuted"] | None = Field(default=None, description="Whether it is so.")
    pinned: bool | None = Field(default=None, description="Whether it is kept from fading.")


class Forgotten(BaseModel):
    """What a deletion reached."""

    object: Literal["memory.deleted"] = "memory.deleted"
    deleted: int = Field(description="Memories, with those that were made from them.")
    counts: dict[str, int] = Field(description="By kind; vectors, traces and index entries are among them.")
    erased: bool = Field(description="Whether no byte of it is left in the files.")


def _person(request: Request) -> tuple[Memories, Identity]:
    """The caller's person. Query parameters stand where a body would: `user`, `metadata.customer`.

    Raises:
        Fault: 403 for a caller who names nobody.
    """
    service: Service = request.app.state.service
    headers = headers_of(request.scope)
    caller = caller_of(request)
    person = person_of(caller, headers, as_body(request.query_params), wishes_in(headers, {}))
    if person.who is None:
        raise Fault(
            403,
            f"Whose memories? {person.why_not[:1].upper()}{person.why_not[1:]}. {_how_to_name(caller)}",
            "no_identity",
        )
    return service.mind.memory, person.who


def _how_to_name(caller: Caller) -> str:
    if caller.sources:
        return f"Name the person in {' or '.join(caller.sources)}; what stands in a body is a query parameter here."
    return "Use a key that is trusted to name persons, or one that speaks for one."


User = Annotated[str | None, Query(description="Who, where the key may say so; or the header X-Mentalize-User.")]


@router.get("", summary="List memories")
async def listed(
    request: Request,
    user: User = None,
    kind: Annotated[list[MemoryKind] | None, Query(description="Only these kinds.")] = None,
    status: Annotated[list[MemoryStatus] | None, Query(description="Only these statuses.")] = None,
    session: Annotated[str | None, Query(max_length=256)] = None,
    since: Annotated[datetime | None, Query(description="Observed then or later; with a time zone.")] = None,
    until: Annotated[datetime | None, Query(description="Observed before; with a time zone.")] = None,
    archived: Annotated[bool | None, Query(description="Only what has faded, or only what has not.")] = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> MemoryList:
    """Memories by the time at which they were observed, the newest first."""
    memories, who = _person(request)
    which = Filter(
        kinds=tuple(kind) if kind else None,
        statuses=tuple(status) if status else None,
        session=session,
        since=_aware(since, "since"),
        until=_aware(until, "until"),
        archived=archived,
    )
    found = await memories.find(who, which, limit=limit + 1)
    return MemoryList(data=list(found[:limit]), has_more=len(found) > limit)


@router.get("/search", summary="Search memories")
async def searched(
    request: Request,
    q: Annotated[str, Query(min_length=1, max_length=4_096, description="What to look for, in plain words.")],
    user: User = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 10,
) -> Hits:
    """Memories by how well they fit, in meaning and in words, with every part of the score."""
    memories, who = _person(request)
    return Hits(data=list(await memories.search(who, q, limit=limit)))


@router.get(
    "/export",
    summary="Export all memories",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}}},
)
async def exported(request: Request, user: User = None) -> StreamingResponse:
    """Everything that is kept, as lines of JSON, which `mentalize memory import` reads."""
    memories, who = _person(request)

    async def lines() -> AsyncIterator[str]:
        async for line in memories.export(who):
            yield line if line.endswith("\n") else f"{line}\n"

    headers = {"content-disposition": 'attachment; filename="memories.jsonl"'}
    return StreamingResponse(lines(), media_type="application/x-ndjson", headers=headers)


@router.post("", summary="Add a memory", status_code=201)
async def added(request: Request, new: NewMemory, user: User = None) -> Memory:
    """Keep something that the person stated. What is known already is strengthened instead, and returned."""
    memories, who = _person(request)
    return await memories.remember(who, new.text, kind=MemoryKind(new.kind))


@router.get("/{memory_id:path}/why", summary="Why it is believed", responses=_UNKNOWN)
async def explained(request: Request, memory_id: str, user: User = None) -> Explanation:
    """What it rests on, in the person's own words, and when it was recalled, with each part of the score then."""
    memories, who = _person(request)
    return await memories.why(who, memory_id)


@router.get("/{memory_id:path}", summary="Show a memory", responses=_UNKNOWN)
async def shown(request: Request, memory_id: str, user: User = None) -> Memory:
    """One memory, as it is kept."""
    memories, who = _person(request)
    return await _one(memories, who, memory_id)


@router.patch("/{memory_id:path}", summary="Correct, confirm, refute or pin", responses=_UNKNOWN)
async def changed(request: Request, memory_id: str, change: Change, user: User = None) -> Memory:
    """What the person says about a memory outranks everything that was inferred."""
    memories, who = _person(request)
    memory = await _one(memories, who, memory_id)
    if change.text is not None:
        memory = await memories.correct(who, memory.id, change.text)
    if change.status is not None:
        say = memories.confirm if change.status == "confirmed" else memories.refute
        memory = await say(who, memory.id)
    if change.pinned is not None:
        memory = await (memories.pin if change.pinned else memories.unpin)(who, memory.id)
    return memory


@router.delete("/{memory_id:path}", summary="Forget a memory", responses=_UNKNOWN)
async def forgotten(request: Request, memory_id: str, user: User = None) -> Forgotten:
    """Delete it for good, with all that was made from it."""
    memories, who = _person(request)
    deletion = await memories.forget(who, [memory_id])
    return _forgotten(deletion)


@router.delete("", summary="Forget everything about the person")
async def all_forgotten(
    request: Request,
    everything: Annotated[bool, Query(alias="all", description="Must be true: this cannot be undone.")] = False,
    user: User = None,
) -> Forgotten:
    """Delete all that is known of the person, so that no byte of it stays."""
    memories, who = _person(request)
    if not everything:
        raise Fault(400, "This forgets everything about the person. Say so: add ?all=true.", param="all")
    deletion = await memories.forget_all(who)
    return _forgotten(deletion)


def _forgotten(deletion: Deletion) -> Forgotten:
    deleted = sum(deletion.counts.get(kind, 0) for kind in MemoryKind)
    return Forgotten(deleted=deleted, counts=dict(deletion.counts), erased=deletion.erased)


async def _one(memories: Memories, who: Identity, memory_id: str) -> Memory:
    found = await memories.get(who, [memory_id])
    if not found:
        raise Fault(404, "There is no such memory.", "memory_not_found")
    return found[0]


def _aware(moment: datetime | None, name: str) -> datetime | None:
    if moment is not None and moment.tzinfo is None:
        raise InputError(f"`{name}` has no time zone.", hint="Write it as 2026-05-01T12:00:00Z.")
    return moment

"""`/v1/turns/{id}`: how a reply came about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request

from .arrivals import headers_of
from .faults import Fault
from .guarded import GuardedRoute, caller_of
from .memories import User
from .persons import as_body, person_of
from .service import Service
from .wishes import wishes_in

LEFT_OUT = "failed; whoever runs the server can see why"

router = APIRouter(prefix="/v1/turns", tags=["turns"], route_class=GuardedRoute)


@router.get("/{turn_id}", summary="How a reply came about", responses={404: {"description": "It is not kept."}})
async def traced(request: Request, turn_id: str, user: User = None) -> dict[str, Any]:
    """The trace of a turn (`docs/trace.md`); its id is in the header X-Mentalize-Turn of the reply.

    That of a person's turn is kept with their memories, for a week unless the settings say otherwise, and shown to
    whoever may read those. That of a turn without an identity is kept for a quarter of an hour, and shown to the same
    caller.
    """
    service: Service = request.app.state.service
    caller, headers = caller_of(request), headers_of(request.scope)
    person = person_of(caller, headers, as_body(request.query_params), wishes_in(headers, {}))
    trace = service.traces.get(caller.tenant, caller.name, turn_id)
    if trace is None and person.who is not None:
        trace = await service.mind.memory.trace(person.who, turn_id)
    if trace is None:
        raise Fault(404, "There is no trace of such a turn: it was not this person's, or it has expired.", "not_found")
    return dict(trace) if caller.operator else _without_our_own(trace)


def _without_our_own(trace: Mapping[str, Any]) -> dict[str, Any]:
    """A trace whose errors say that, and not what: their words name our addresses and what upstreams say to us."""
    stages = [{**stage, "error": stage["error"] and LEFT_OUT} for stage in trace["stages"]]
    requests = [{**request, "error": request["error"] and LEFT_OUT} for request in trace["requests"]]
    failures = [f"{failure.partition(':')[0]}: {LEFT_OUT}" for failure in trace["failures"]]
    return {**trace, "stages": stages, "requests": requests, "failures": failures}

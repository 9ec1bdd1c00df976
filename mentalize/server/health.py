"""Health: whether the server lives, whether it can work, and what it counts."""

from __future__ import annotations

import asyncio
from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from ..errors import StoreError
from .arrivals import headers_of
from .faults import Fault
from .service import Service

router = APIRouter(tags=["health"])

EXPOSITIONS = ("text/plain", "application/openmetrics-text")

READY_SECONDS = 2.0
"""What the database may take to answer."""


class Health(BaseModel):
    """How it is."""

    status: Literal["ok", "unavailable"]
    database: Literal["ok", "unavailable"] | None = None


@router.get("/healthz", summary="Whether the server lives", response_model_exclude_none=True)
async def alive() -> Health:
    """Answers as long as the process does."""
    return Health(status="ok")


@router.get("/readyz", summary="Whether the server can work", responses={503: {"model": Health}})
async def ready(request: Request, response: Response) -> Health:
    """Whether the database, which holds keys and memories, answers. A model that does not is told by its turns."""
    service: Service = request.app.state.service
    try:
        async with asyncio.timeout(READY_SECONDS):
            await service.mind.memory.keys.any()
    except (StoreError, TimeoutError):
        response.status_code = 503
        return Health(status="unavailable", database="unavailable")
    return Health(status="ok", database="ok")


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {name: {"schema": {"type": "string"}} for name in EXPOSITIONS}}},
)
async def metrics(request: Request) -> Response:
    """What is counted, for those who run the server: an operator's key, or nobody's on this machine."""
    service: Service = request.app.state.service
    caller = await service.callers.of(headers_of(request.scope), request.scope.get("client"))
    if not caller.operator:
        raise Fault(403, "Metrics are for operators' keys: mentalize keys create --operator", "operators_only")
    await service.note_endpoints()
    content, kind = service.metrics.exposition(request.headers.get("accept", ""))
    return Response(content, media_type=None, headers={"content-type": kind})

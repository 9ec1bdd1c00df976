"""`/v1/models`: what can be asked for."""

from __future__ import annotations

import time
from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel

from .arrivals import headers_of
from .asked import MODELS
from .faults import Fault, named
from .service import Service

router = APIRouter(prefix="/v1/models", tags=["models"])

_STARTED = int(time.time())


class ModelCard(BaseModel):
    """A model that can be asked for."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class ModelList(BaseModel):
    """All models that can be asked for: those that think first, then the models themselves."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


@router.get("", summary="List models")
@router.get("/", include_in_schema=False)
async def listed(request: Request) -> ModelList:
    """`mentalize` thinks as much as a message wants, `mentalize-LEVEL` as its name says; others pass through."""
    service: Service = request.app.state.service
    await service.callers.of(headers_of(request.scope), request.scope.get("client"))
    return ModelList(data=[_card(name) for name in service.models])


@router.get("/{name:path}", summary="Show a model", responses={404: {"description": "There is no such model."}})
async def shown(request: Request, name: str) -> ModelCard:
    """One of the models."""
    service: Service = request.app.state.service
    await service.callers.of(headers_of(request.scope), request.scope.get("client"))
    if name not in service.models:
        raise Fault(404, f"There is no model {named(name)} here.", "model_not_found", "model")
    return _card(name)


def _card(name: str) -> ModelCard:
    return ModelCard(id=name, created=_STARTED, owned_by="mentalize" if name in MODELS else "upstream")

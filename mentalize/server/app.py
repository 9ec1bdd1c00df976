"""The application: OpenAI's wire format in front of a `Mind`, as ASGI."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route

from ..errors import MentalizeError
from ..mind import Mind
from . import health, memories, models, turns
from .arrivals import ClientGone
from .chat import Chat
from .faults import Fault, fault_of, named
from .ingress import CHAT, LEFT, Application, Ingress
from .metrics import Metrics
from .openapi import document
from .service import Service
from .wishes import LONGEST_PLACE

_log: Any = structlog.wrap_logger(logging.getLogger("mentalize.server"))

NOTE_SECONDS = 10.0
_DESCRIPTION = (
    "Change one line, `base_url`, and a chatbot mentalizes. `POST /v1/chat/completions` is OpenAI's; the model"
    " `mentalize` thinks before it answers."
)
_UNSERVED = ("responses", "completions", "embeddings", "audio", "images", "moderations", "files", "batches")
"""OpenAI's routes on which our checks would not run: they are refused, and never passed through (D-29)."""


def create(mind: Mind, *, owned: bool = False) -> Application:
    """The application.

    Args:
        mind: What answers.
        owned: Whether it is opened and closed with the application, which then has the process to itself.

    Raises:
        SettingsError: the settings of the server contradict the surroundings.
    """
    service = Service.of(mind)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        if owned:
            await mind.open()
            _settle_down()
        noting = asyncio.create_task(_note_queue(service.metrics), name="mentalize-metrics")
        yield
        noting.cancel()
        if owned:
            await mind.close()
        if service.telemetry is not None:
            await service.telemetry.close()

    about: dict[str, Any] = {"title": "mentalize", "description": _DESCRIPTION, "lifespan": lifespan}
    app = FastAPIOffline(redoc_url=None, **about) if service.settings.docs else FastAPI(openapi_url=None, **about)
    app.state.service = service
    app.router.routes.append(Route(CHAT, Chat(service), methods=["POST"]))
    for part in (models, memories, turns, health):
        app.include_router(part.router)
    for name in _UNSERVED:
        app.add_api_route(f"/v1/{name}", _unserved, methods=["GET", "POST"], include_in_schema=False)
    _tell_errors(app)
    app.openapi = lambda: document(app)
    application: Any = app
    if service.settings.origins:
        application = CORSMiddleware(
            application,
            allow_origins=service.settings.origins,
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["*"],
            expose_headers=["*"],
        )
    return Ingress(application, lambda: service.metrics)


async def _note_queue(metrics: Metrics) -> None:
    """Other processes see of this one's queue what it noted last."""
    while True:
        metrics.note_queue()
        await asyncio.sleep(NOTE_SECONDS)


def _settle_down() -> None:
    """Nothing that is there by now goes away: the collector need not look through it with every turn."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


async def _unserved(request: Request) -> None:
    raise Fault(
        404,
        f"{request.url.path} is not served here: its replies would not be checked. Use /v1/chat/completions.",
        "not_found",
    )


def _tell_errors(app: FastAPI) -> None:
    """Every error in OpenAI's form."""

    async def told(request: Request, error: Exception) -> Response:
        fault = fault_of(error, openly=bool(request.scope["state"].get("openly")))
        if fault.status >= 500 and isinstance(error, MentalizeError):
            of = request.scope["state"].get("request")
            _log.warning("request_failed", fault=type(error).__name__, hint=error.hint, request=of)
        return Response(fault.content(), fault.status, fault.headers, "application/json")

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return await told(request, _fault_of_validation(error))

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        said = {
            404: (f"There is nothing at {named(request.url.path)}.", "not_found"),
            405: (f"{request.method} does nothing here.", "method_not_allowed"),
        }
        message, code = said.get(error.status_code, (str(error.detail), None))
        return await told(request, Fault(error.status_code, message, code, headers=error.headers))

    async def broken(request: Request, error: Exception) -> Response:
        """What nobody foresaw; it goes on to the ingress, which logs it. To a client that left, nothing is said."""
        return Response(status_code=LEFT) if isinstance(error, ClientGone) else await told(request, error)

    app.add_exception_handler(Exception, broken)
    app.add_exception_handler(Fault, told)
    app.add_exception_handler(MentalizeError, told)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, refused)


def _fault_of_validation(error: RequestValidationError) -> Fault:
    details: list[Mapping[str, Any]] = list(error.errors())
    first = details[0]
    _, *place = first["loc"] if len(first["loc"]) > 1 else ("", *first["loc"])
    where = ".".join(map(str, place))[:LONGEST_PLACE]
    if first["type"] == "json_invalid":
        return Fault(400, "The body is not valid JSON.", "invalid_json")
    return Fault(400, f"`{where}`: {first['msg']}.", "invalid_request", where)

"""Ingress: what happens to every request, whatever it asks for: an id, a count, and an answer even to what fails."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import structlog

from ..errors import whereabouts
from .arrivals import ClientGone, Receive
from .event_stream import Send, send_whole
from .faults import STOPPING, Fault, fault_of
from .metrics import Metrics

_log: Any = structlog.wrap_logger(logging.getLogger("mentalize.server"))

Scope = MutableMapping[str, Any]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
CHAT = "/v1/chat/completions"
LEFT = 499
"""The status, in metrics, of a request whose client went away before it was answered."""

OTHER = "other"
"""The route of what is none of ours, in metrics."""


class Ingress:
    """Wraps the whole application. Pure ASGI: wrappers that read bodies hide a client's leaving (D-28)."""

    def __init__(self, application: Application, metrics: Callable[[], Metrics]) -> None:
        self._application = application
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        began, status = time.monotonic(), 0
        scope.setdefault("state", {})
        identified = (b"x-request-id", _request_id(scope).encode())
        scope["state"]["request"] = identified[1].decode()

        async def noted(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), identified]}
            await send(message)

        try:
            await self._application(scope, receive, noted)
        except ClientGone:
            self._metrics().disconnected()
            status = status or LEFT
        except asyncio.CancelledError:
            # The server stops. Nobody waits for this task, and uvicorn would show where it was.
            if not status:
                await send_whole(noted, STOPPING.status, STOPPING.headers, STOPPING.content())
        except Exception as error:
            if not isinstance(error, Fault):
                name = type(error).__name__
                _log.error("request_failed", fault=name, at=whereabouts(error), request=identified[1].decode())
            if not status:
                fault = fault_of(error, openly=bool(scope["state"].get("openly")))
                await send_whole(noted, fault.status, fault.headers, fault.content())
        finally:
            self._metrics().request(_route(scope), scope["method"], status, time.monotonic() - began)


def _request_id(scope: Scope) -> str:
    """The client's own id of the request, if it is one that can be logged, or a new one."""
    given = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"), "")
    return given if _REQUEST_ID.fullmatch(given) else f"req-{uuid.uuid4().hex}"


def _route(scope: Scope) -> str:
    if scope["path"] == CHAT:
        return CHAT
    return getattr(scope.get("route"), "path", OTHER)

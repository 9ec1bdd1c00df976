"""Guarded: routes whose caller is known, and within their limits, before anything else of a request is looked at."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute

from .arrivals import body_of, headers_of, object_of
from .callers import Caller
from .limits import Limited

if TYPE_CHECKING:
    from starlette.types import Message, Receive

    from .service import Service

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class GuardedRoute(APIRoute):
    """Tells the caller and counts the request; then reads its body, within the caller's bounds and strictly.

    FastAPI alone would read any body to its end and complain of it before it asks who sent it.
    """

    def get_route_handler(self) -> Handler:
        """What answers a request."""
        handle, takes_body = super().get_route_handler(), self.body_field is not None

        async def guarded(request: Request) -> Response:
            service: Service = request.app.state.service
            headers = headers_of(request.scope)
            caller = await service.callers.of(headers, request.scope.get("client"))
            request.scope["state"] |= {"caller": caller, "openly": caller.operator}
            try:
                await service.limiter.admit(caller)
                with service.limiter.at_work(caller):
                    return await answered(request, caller, headers)
            except Limited as limited:
                service.metrics.limited(limited.kind)
                raise

        async def answered(request: Request, caller: Caller, headers: Mapping[str, str]) -> Response:
            if not takes_body:
                return await handle(request)
            seconds = request.app.state.service.settings.arrival_seconds
            content = await body_of(request.receive, most=caller.limits.body_bytes, seconds=seconds)
            await object_of(content, headers)
            return await handle(Request(request.scope, _again(content, request.receive)))

        return guarded


def caller_of(request: Request) -> Caller:
    """Who sent a request to a guarded route."""
    return request.scope["state"]["caller"]


def _again(content: bytes, receive: Receive) -> Receive:
    """Gives a body that was read once more, and then what else there is."""
    left: list[Message] = [{"type": "http.request", "body": content, "more_body": False}]

    async def given() -> Message:
        return left.pop() if left else await receive()

    return given

"""EventStream: server-sent events to one client."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from .faults import STOPPING, Fault

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

DONE = b"data: [DONE]\n\n"
PING = b": ping\n\n"
"""A comment. Clients pass over it, as long as no event has an `id` (D-2)."""


class EventStream:
    """Events to one client. The headers leave with the first of them, so that an error before it has a status.

    Args:
        send: ASGI's.
        headers: Called when the headers leave.
        ping_seconds: Silence after which a comment is sent; 0 for never.
    """

    def __init__(self, send: Send, headers: Callable[[], Mapping[str, str]], *, ping_seconds: float = 0) -> None:
        self._send = send
        self._headers = headers
        self._ping_seconds = ping_seconds
        self._sending = asyncio.Lock()
        self._last = time.monotonic()
        self._ended = False
        self.began_at: float | None = None
        """When the first event left, in monotonic seconds."""

    @property
    def begun(self) -> bool:
        """Whether the headers have left."""
        return self.began_at is not None

    async def write(self, content: bytes) -> None:
        """Send events, and the headers before the first."""
        async with self._sending:
            if self._ended:
                return
            if self.began_at is None:
                self.began_at = time.monotonic()
                given = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
                # Nginx holds streams back unless it is told not to.
                headers = {**given, "x-accel-buffering": "no", **self._headers()}
                await self._send({"type": "http.response.start", "status": 200, "headers": encoded(headers)})
            await self._send({"type": "http.response.body", "body": content, "more_body": True})
            self._last = time.monotonic()

    async def fail(self, fault: Fault) -> None:
        """Say in the stream what went wrong (D-4), and end it."""
        await self.write(b"data: " + fault.content() + b"\n\n")
        await self.end()

    async def end(self) -> None:
        """Send the last event. Nothing is sent after it."""
        await self.write(DONE)
        async with self._sending:
            self._ended = True
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    @asynccontextmanager
    async def kept_alive(self) -> AsyncGenerator[None]:
        """While inside, silence is filled with comments; where the server stops meanwhile, the stream says so."""
        try:
            async with self._pinged():
                yield
        except asyncio.CancelledError:
            if self.begun and not self._ended:
                await self.fail(STOPPING)
            raise

    @asynccontextmanager
    async def _pinged(self) -> AsyncGenerator[None]:
        if not self._ping_seconds:
            yield
            return
        pinging = asyncio.create_task(self._ping(), name="mentalize-ping")
        try:
            yield
        finally:
            pinging.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await pinging

    async def _ping(self) -> None:
        while True:
            left = self._ping_seconds - (time.monotonic() - self._last)
            if left <= 0:
                await self.write(PING)
            else:
                await asyncio.sleep(left)


async def send_whole(send: Send, status: int, headers: Mapping[str, str], content: bytes) -> None:
    """Send a whole answer."""
    given = {"content-type": "application/json", "content-length": str(len(content))}
    await send({"type": "http.response.start", "status": status, "headers": encoded({**given, **headers})})
    await send({"type": "http.response.body", "body": content})


def encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Headers as ASGI takes them."""
    return [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers.items()]

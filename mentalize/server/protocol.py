"""Protocol: HTTP as uvicorn speaks it, with a time and a size that the head of a request may take."""

from __future__ import annotations

import asyncio
import socket
import uuid
from typing import Any, ClassVar, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from .faults import Fault

HEAD_SECONDS = 20.0
"""Time in which the first line and the headers of a request have to arrive."""

HEAD_BYTES = 64 * 1024
HEADERS = 200

LINGER_SECONDS = 5.0
"""How long what a refused client still sends is thrown away: one that is cut off meanwhile never reads why."""

_MALFORMED = Fault(400, "This is no HTTP request.", "malformed_request")
_LATE = Fault(408, "The head of the request was not here in time.", "request_timeout")
_TOO_LARGE = Fault(
    431,
    f"The head of the request is too large: {HEADERS} headers and {HEAD_BYTES:,} bytes are the most.",
    "head_too_large",
)
_PHRASES = {400: b"Bad Request", 408: b"Request Timeout", 431: b"Request Header Fields Too Large"}


class HeadTooLarge(Exception):
    """The first line and the headers are longer than anybody needs."""


class PunctualProtocol(HttpToolsProtocol):
    """Ends connections that hold a place and send no request: uvicorn itself waits for them for ever."""

    head_seconds: ClassVar[float] = HEAD_SECONDS
    """See HEAD_SECONDS."""

    _deadline: asyncio.TimerHandle | None = None
    _in_head = False
    """Whether a head has begun, and is not whole."""
    _head_bytes = 0
    _pending_bytes = 0
    """Bytes that came while a head was not whole: the parser tells of a header only when it is at its end."""
    _too_large = False
    _refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        # asyncio's own loop leaves this out for sockets that were bound beforehand; then each answer, which is written
        # in two parts, waits 40 ms for the client's system to acknowledge the first.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._expect_nothing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Begin to wait for the rest of a further request's head."""
        if self._refused:
            return
        if self._deadline is None and not self._answering:
            self._expect_head()
        was_in_head = self._in_head
        super().data_received(data)
        if was_in_head and self._in_head and not self._refused:
            self._pending_bytes += len(data)
            if self._pending_bytes > HEAD_BYTES:
                self._refuse(_TOO_LARGE)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_head = True
        self._head_bytes = self._pending_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A piece of the address."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is here."""
        self._in_head = False
        self._expect_nothing()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, or too much of it."""
        self._refuse(_TOO_LARGE if self._too_large else _MALFORMED)

    @property
    def _answering(self) -> bool:
        """Whether an earlier request of this connection has no whole answer yet."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is not None and not cycle.response_complete

    def _refuse(self, fault: Fault) -> None:
        """Say why, and end the connection."""
        self._expect_nothing()
        self._refused = True
        if self._answering:
            self.transport.close()
            return
        content = fault.content()
        self.transport.write(
            b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
            b"x-request-id: req-%s\r\nconnection: close\r\n\r\n%s"
            % (fault.status, _PHRASES[fault.status], len(content), uuid.uuid4().hex.encode(), content)
        )
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._deadline = self.loop.call_later(LINGER_SECONDS, self._end)

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > HEAD_BYTES or len(cast("list[Any]", self.headers)) >= HEADERS:
            self._too_large = True
            raise HeadTooLarge

    def _expect_head(self) -> None:
        self._deadline = self.loop.call_later(self.head_seconds, self._give_up)

    def _expect_nothing(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        if self._in_head:
            self._refuse(_LATE)
        else:
            self._end()

    def _end(self) -> None:
        self._deadline = None
        self.transport.close()

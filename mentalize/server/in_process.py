"""InProcess: asks the endpoint without a socket, for those who serve it in another way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, MutableMapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from ..mind import Mind
from .app import create
from .ingress import CHAT

Event = MutableMapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """The head of an answer, and its body as it comes."""

    status: int
    headers: Mapping[str, str]
    content: AsyncGenerator[bytes]

    async def whole(self) -> bytes:
        """All of the body."""
        async with aclosing(self.content) as pieces:
            return b"".join([piece async for piece in pieces])

    async def events(self) -> AsyncGenerator[dict[str, Any]]:
        """The chunks of a streamed answer."""
        left = b""
        async with aclosing(self.content) as pieces:
            async for piece in pieces:
                *lines, left = (left + piece).split(b"\n")
                for line in lines:
                    if line.startswith(b"data: {"):
                        yield json.loads(line.removeprefix(b"data: "))


class InProcess:
    """The endpoint of a mind, asked from within the process, which is trusted as the machine's own user is."""

    def __init__(self, mind: Mind) -> None:
        self._app = create(mind)

    async def ask(self, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Answer:
        """Post a request of OpenAI's chat API. Leaving the answer's content early stops every call in flight."""
        arrived: asyncio.Queue[Event | None] = asyncio.Queue()
        asking = asyncio.create_task(self._run(json.dumps(body).encode(), headers or {}, arrived))
        start = await arrived.get()
        if start is None:
            await asking
            raise AssertionError("The endpoint has sent nothing.")
        told = {name.decode("latin-1"): value.decode("latin-1") for name, value in start["headers"]}
        return Answer(start["status"], told, _content(arrived, asking))

    async def _run(self, body: bytes, headers: Mapping[str, str], arrived: asyncio.Queue[Event | None]) -> None:
        fields: dict[str, str] = {
            "host": "127.0.0.1",
            "content-type": "application/json",
            "content-length": str(len(body)),
            **headers,
        }
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": CHAT,
            "raw_path": CHAT.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(key.lower().encode("latin-1"), text.encode("latin-1")) for key, text in fields.items()],
            "client": ("127.0.0.1", 0),
            "server": ("127.0.0.1", 80),
            "state": {},
        }
        sent = False
        gone = asyncio.Event()

        async def receive() -> Event:
            nonlocal sent
            if sent:
                await gone.wait()
                return {"type": "http.disconnect"}
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(event: Event) -> None:
            await arrived.put(event)

        try:
            await self._app(scope, receive, send)
        finally:
            arrived.put_nowait(None)


async def _content(arrived: asyncio.Queue[Event | None], asking: asyncio.Task[None]) -> AsyncGenerator[bytes]:
    try:
        while (event := await arrived.get()) is not None:
            if piece := event.get("body", b""):
                yield piece
        await asking
    finally:
        asking.cancel()

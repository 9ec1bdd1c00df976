"""HTTP by hand, for requests that no client would send."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

CHAT = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, as its bytes say."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """One connection to a server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, *pieces: bytes, pause: float = 0) -> None:
        """Send pieces, with a pause after each; what the server does not want any more is lost."""
        try:
            for piece in pieces:
                self._writer.write(piece)
                await self._writer.drain()
                await asyncio.sleep(pause)
        except ConnectionError:
            pass

    async def answer(self, *, head_only: bool = False, within: float = 20) -> Answer:
        """The next answer. Raises EOFError if the connection ends before it is whole."""
        async with asyncio.timeout(within):
            head = await self._reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").rstrip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            status = int(first.split(" ")[1])
            body = b"" if head_only or status < 200 else await self._body(headers)
        return Answer(status, headers, body)

    async def rest(self, *, within: float = 20) -> bytes:
        """What comes until the server ends the connection."""
        async with asyncio.timeout(within):
            try:
                return await self._reader.read()
            except ConnectionError:
                return b""

    async def _body(self, headers: Mapping[str, str]) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return await self._reader.readexactly(int(headers.get("content-length", 0)))
        body = b""
        while size := int(await self._reader.readline(), 16):
            body += await self._reader.readexactly(size)
            await self._reader.readexactly(2)
        await self._reader.readexactly(2)
        return body


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    """A connection to the server at `url`, closed at the end of the block."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=64 * 2**20)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()


def request(
    method: str = "GET",
    path: str = CHAT,
    body: bytes | None = None,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    *,
    version: str = "1.1",
    host: str | None = "127.0.0.1",
) -> bytes:
    """The bytes of a request; header values as UTF-8."""
    given: list[tuple[str, str]] = [*dict[str, str](headers).items()] if isinstance(headers, Mapping) else list(headers)
    named = {name.lower() for name, _ in given}
    if host is not None:
        given.insert(0, ("Host", host))
    if body is not None and not named & {"content-length", "transfer-encoding"}:
        given.append(("Content-Length", str(len(body))))
    if body is not None and "content-type" not in named:
        given.append(("Content-Type", "application/json"))
    lines = [f"{method} {path} HTTP/{version}", *(f"{name}: {value}" for name, value in given)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")

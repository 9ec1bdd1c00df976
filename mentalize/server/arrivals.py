"""Arrivals: a request's body, read within bounds, and the client's leaving, noticed at once."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

from .faults import Fault, named

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

DISCARDED = 64 * 2**20
"""Bytes beyond a limit that are read and thrown away: a client that is cut off while it sends never reads why."""

IN_A_THREAD = 256 * 1024
"""Bytes from which a body is read in a thread: smaller ones take a few milliseconds."""

MOST_VALUES = 500_000
"""Values in one body. Conversations have a few thousand; more only wear the server out."""

DEEPEST = 100
"""How deep JSON may be nested: tools' schemas stay far below, and what is deeper only wears a parser out."""


class ClientGone(Exception):
    """The client went away."""


def headers_of(scope: Mapping[str, Any]) -> dict[str, str]:
    """The headers of a request, names in lower case.

    One that is there more than once is one list, as RFC 9110 has it: so nobody who forges a second name or key is
    taken for either of the two.
    """
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1"), _text(value)
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


def _text(value: bytes) -> str:
    """A header as text. Names of people are sent in UTF-8; what is none is read byte by byte."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


async def body_of(receive: Receive, *, most: int, seconds: float) -> bytes:
    """The body of a request.

    Raises:
        Fault: it is longer than `most` bytes (413), or was not here after `seconds` (408).
        ClientGone: the client went away before it had sent all of it.
    """
    content, length = bytearray(), 0
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                piece: bytes = message.get("body", b"")
                length += len(piece)
                if length <= most:
                    content += piece
                elif length > most + DISCARDED:
                    raise _too_long(most)
                if not message.get("more_body", False):
                    break
    except TimeoutError as late:
        raise Fault(
            408, f"The request was not here after {seconds:g} s.", "request_timeout", headers={"connection": "close"}
        ) from late
    if length > most:
        raise _too_long(most)
    return bytes(content)


async def object_of(content: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    """The JSON object of a body, read beside other requests if it is long. Raises what `json_of` does."""
    if len(content) < IN_A_THREAD:
        return json_of(content, headers)
    return await asyncio.to_thread(json_of, content, headers)


def json_of(content: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    """The JSON object of a body.

    Raises:
        Fault: it is none, is nested too deep, or is declared as something else (415).
    """
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise Fault(415, "Send the body as JSON, with `Content-Type: application/json`.", "unsupported_media_type")
    # Each value but the first follows one of these; texts hold commas, too, but not so many.
    if content.count(b",") + content.count(b"[") + content.count(b"{") > 4 * MOST_VALUES:
        raise _too_many()
    try:
        body: Any = _READER.decode(content.decode())
    except UnicodeDecodeError as error:
        raise Fault(400, "The body is not valid UTF-8.", "invalid_json") from error
    except ValueError as error:
        raise Fault(400, f"The body is not valid JSON: {error}.", "invalid_json") from error
    except RecursionError as error:
        raise _too_deep() from error
    if not isinstance(body, dict):
        raise Fault(400, "The body must be a JSON object.", "invalid_json")
    fields = cast("dict[str, Any]", body)
    _check_depth(fields)
    return fields


@asynccontextmanager
async def unless_gone(receive: Receive, *, answered: Callable[[], bool]) -> AsyncGenerator[None]:
    """Inside, everything is cancelled as soon as the client goes away; then `ClientGone` is raised.

    Args:
        receive: ASGI's; the body must have been read.
        answered: Whether the last byte was sent: the server then says that the client left, wherever it is.
    """
    work = asyncio.current_task()
    assert work is not None
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        if not answered():
            gone = True
            work.cancel()

    watcher = asyncio.create_task(watch(), name="mentalize-watch")
    try:
        yield
    except asyncio.CancelledError:
        if gone and work.uncancel() <= 0:
            raise ClientGone from None
        raise
    finally:
        watcher.cancel()
        with suppress(asyncio.CancelledError):
            await watcher


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose names differ: whoever reads the same bytes next might take the other one of two."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise ValueError(f"{named(twice)} is there twice in one object")
    return fields


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits[:40]} is too large a number")
    return number


def _whole(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"a number has more than {_DIGITS:,} digits")
    return int(digits)


_DIGITS = 1_000
_READER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_number, parse_float=_finite, parse_int=_whole)
"""Strict: what we understand, everybody behind us must understand alike."""


def _check_depth(body: object) -> None:
    level: list[object] = [body]
    values = 0
    for _ in range(DEEPEST):
        inner: list[object] = []
        for value in level:
            if isinstance(value, dict):
                inner += cast("dict[str, object]", value).values()
            elif isinstance(value, list):
                inner += cast("list[object]", value)
        if not inner:
            return
        values += len(inner)
        if values > MOST_VALUES:
            raise _too_many()
        level = inner
    raise _too_deep()


def _too_deep() -> Fault:
    return Fault(400, f"The body is nested more than {DEEPEST} levels deep.", "invalid_json")


def _too_many() -> Fault:
    return Fault(413, f"The body holds more than {MOST_VALUES:,} values.", "request_too_large")


def _too_long(most: int) -> Fault:
    return Fault(413, f"The body is longer than {most:,} bytes.", "request_too_large", headers={"connection": "close"})

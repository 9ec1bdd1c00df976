"""Relay: an endpoint's answer handed on as it came, for requests that pass through.

Only what would mislead a client is changed: the model's name, where the client knows it by another one; a missing
`index` or a repeated `id` of tool-call deltas; fields of a server-sent event that break clients (`id`, `retry`).
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeGuard, cast

from pydantic import ValidationError

from ..errors import InputError, MalformedAnswer, ModelError, ModelUnavailable
from ..types import Message, Usage
from .events import EventParser
from .model import Completion, Delta, Model, Request
from .wire import (
    answer_body,
    as_mapping,
    chunk_body,
    completion_of,
    first_choice,
    parsed,
    reason_of,
    usage_body,
    usage_of,
)
from .wrapper import WrappedModel, closing

__all__ = [
    "Exchange",
    "Heard",
    "Relayed",
    "Relaying",
    "in_one_piece",
    "innermost",
    "new_id",
    "relay",
    "relays",
    "served_name",
    "within",
]

_OPTIONS = "stream_options"
_REST_SECONDS = 0.25
"""How long an endpoint may take to end a stream after its last event: the client waits meanwhile."""

_ONE_ANSWER = ("n", "logprobs")
"""What an answer that is put together from deltas cannot hold."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer, as an endpoint gave it."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    streams: bool
    """Whether the body is a stream of events."""
    body: AsyncGenerator[bytes]
    """Closing it stops the endpoint."""


class Relaying(Protocol):
    """A model whose endpoint speaks OpenAI's format itself."""

    def load(self) -> None:
        """Import what the first request would import. Safe in a thread."""
        ...

    @property
    def served_name(self) -> str:
        """The endpoint's own name of the model."""
        ...

    async def exchange(self, body: Mapping[str, Any], raw: bytes | None, headers: Mapping[str, str]) -> Exchange:
        """Send a request body; `raw`, where given, is the same and is sent as it is. Raises ModelError."""
        ...


@dataclass(slots=True)
class Heard:
    """What was heard of an answer while it was handed on."""

    text: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None
    complete: bool = False
    """Whether the answer came to its end."""


@dataclass(frozen=True, slots=True)
class Relayed:
    """An answer that is being handed on."""

    status: int
    headers: Mapping[str, str]
    streams: bool
    """Whether `content` is events (`data: …`, blank line), without the last `[DONE]`; else one JSON body."""
    content: AsyncGenerator[bytes]
    """Raises ModelError where the endpoint breaks off. Closing it stops the endpoint."""
    heard: Heard


def innermost(model: Model) -> Model:
    """The model itself, without the wrappers around it."""
    while isinstance(model, WrappedModel):
        model = model.model
    return model


def relays(model: object) -> TypeGuard[Relaying]:
    """Whether this model is one. A protocol's own check is dear, and every request makes this one."""
    return hasattr(model, "exchange")


def served_name(model: Model) -> str:
    """The name by which clients ask for this model."""
    inner = innermost(model)
    return inner.served_name if relays(inner) else inner.name


async def relay(
    model: Model, body: Mapping[str, Any], *, raw: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Relayed:
    """Ask with a client's own body, and hand the answer on.

    Args:
        model: Who is asked. Its wrappers (cache, retries, limits) are left out: the client has its own.
        body: The body of a chat-completions request. Its `model` is put back into the answer.
        raw: The same as bytes, to be sent as it is if nothing has to be changed.
        headers: Further headers for the endpoint, such as `traceparent`.

    Raises:
        ModelError: there is no answer to hand on, or the endpoint does not accept our own key.
    """
    inner = innermost(model)
    if not relays(inner):
        return await _put_together(inner, body)
    known_as = body.get("model")
    same = known_as == inner.served_name
    sent = body if same else {**body, "model": inner.served_name}
    exchange = await inner.exchange(sent, raw if same else None, headers or {})
    heard = Heard()
    editor = _Editor(None if same or not isinstance(known_as, str) else known_as, heard)
    if exchange.streams:
        content = _edited_events(exchange.body, editor)
    elif body.get("stream") and exchange.status == 200:
        content = _one_by_one(_as_chunks(await _whole(exchange.body), body), editor)
        return Relayed(200, exchange.headers, True, content, heard)
    else:
        content = _edited_whole(exchange.body, editor)
    return Relayed(exchange.status, exchange.headers, exchange.streams, content, heard)


async def within(context: AbstractContextManager[object], relayed: Relayed) -> Relayed:
    """The same, with `context`, which was entered, left when the content is at its end or closed."""
    content = _within(context, relayed.content)
    await anext(content)  # One that was not begun would not notice that it is closed.
    return replace(relayed, content=content)


async def _within(context: AbstractContextManager[object], content: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    with context:
        yield b""
        async with aclosing(content) as pieces:
            async for piece in pieces:
                yield piece


# --- changing what must be changed ------------------------------------------------------------------------


@dataclass(slots=True)
class _Editor:
    """Reads every part of an answer, and changes it only where it must be changed."""

    model: str | None
    """The name that the client knows; None where the endpoint's is the same."""
    heard: Heard
    failed: bool = False
    """Whether the endpoint has said that it failed, in the middle of a stream."""
    _begun: set[object] = field(default_factory=set[object])
    _ended: set[object] = field(default_factory=set[object])
    """The choices of a stream that were begun, and those whose finish reason came."""
    _calls: dict[int, _Calls] = field(default_factory=dict[int, "_Calls"])
    """The tool calls that each choice has begun."""

    @property
    def at_end(self) -> bool:
        """Whether nothing is lost if no more comes: each choice has its finish reason, or the failure was told."""
        return self.failed or (bool(self._ended) and self._begun == self._ended)

    def event(self, data: str) -> str:
        """The data of one event."""
        try:
            chunk: Any = parsed(data)
        except ValueError:
            return data
        if not isinstance(chunk, dict):
            return data
        chunk = cast("dict[str, Any]", chunk)
        self.failed = self.failed or bool(chunk.get("error"))
        self._hear(chunk, "delta")
        self._count(chunk)
        mended = '"tool_calls"' in data and self._mend_tool_calls(chunk)
        renamed = self._rename(chunk)
        return _dumped(chunk) if mended or renamed else data

    def whole(self, content: bytes) -> bytes:
        """A whole body."""
        try:
            body: Any = parsed(content)
        except ValueError:
            return content
        if not isinstance(body, dict):
            return content
        body = cast("dict[str, Any]", body)
        self._hear(body, "message")
        return _dumped(body).encode() if self._rename(body) else content

    def _hear(self, body: Mapping[str, Any], part: str) -> None:
        self.heard.usage = usage_of(body.get("usage")) or self.heard.usage
        choice = first_choice(body)
        if choice is None:
            return
        text = as_mapping(choice.get(part)).get("content")
        if isinstance(text, str):
            self.heard.text += text
        self.heard.finish_reason = reason_of(choice) or self.heard.finish_reason

    def _count(self, chunk: Mapping[str, Any]) -> None:
        for choice in _choices(chunk):
            place = _place(choice)
            self._begun.add(place)
            if reason_of(choice):
                self._ended.add(place)

    def _rename(self, body: dict[str, Any]) -> bool:
        if self.model is None or "model" not in body:
            return False
        body["model"] = self.model
        return True

    def _mend_tool_calls(self, chunk: Mapping[str, Any]) -> bool:
        """Make tool-call deltas such that clients can put them together; whether one was not."""
        changed = False
        for choice in _choices(chunk):
            calls = as_mapping(choice.get("delta")).get("tool_calls")
            begun = self._calls.setdefault(_place(choice), {})
            for call in cast("list[object]", calls) if isinstance(calls, list) else ():
                if isinstance(call, dict):
                    fields = cast("dict[str, Any]", call)
                    changed |= _numbered(fields, begun)
                    changed |= _without_repeats(fields, begun)
        return changed


def _choices(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    choices = body.get("choices")
    return filter(None, map(as_mapping, cast("list[object]", choices) if isinstance(choices, list) else ()))


def _place(choice: Mapping[str, Any]) -> int:
    place = choice.get("index")
    return place if isinstance(place, int) else 0


_Calls = dict[int, tuple[object, object]]
"""The id and the function's name of each tool call that was begun, by its `index`."""


def _numbered(call: dict[str, Any], begun: _Calls) -> bool:
    """Give a delta the `index` that clients put it together by; whether it lacked it.

    One with a new id begins the next call; one without an id goes on with the last.
    """
    if isinstance(call.get("index"), int):
        return False
    name, last = call.get("id"), max(begun, default=-1)
    same = [index for index, (other, _) in begun.items() if other == name] if name else [max(last, 0)]
    call["index"] = same[0] if same else last + 1
    return True


def _without_repeats(call: dict[str, Any], begun: _Calls) -> bool:
    """Take from a delta the id and the name that an earlier one gave: clients append them. Whether there were any."""
    name, function = call.get("id"), call.get("function")
    title = as_mapping(function).get("name")
    if call["index"] not in begun:
        begun[call["index"]] = name, title
        return False
    first = begun[call["index"]]
    if not name or name != first[0]:
        return False
    del call["id"]
    if title is not None and title == first[1]:
        del cast("dict[str, Any]", function)["name"]
    return True


async def _edited_events(body: AsyncGenerator[bytes], editor: _Editor) -> AsyncGenerator[bytes]:
    parser = EventParser()
    try:
        async with aclosing(body) as pieces:
            async for piece in pieces:
                events = parser.feed(piece)
                if content := b"".join(_event(editor.event(data)) for data in events if data != "[DONE]"):
                    yield content
                if "[DONE]" in events:
                    editor.heard.complete = not editor.failed
                    await _rest_of(pieces)
                    return
        left = parser.finish()
    except ModelError:  # A connection that breaks when all was said has lost nothing, but perhaps half an event.
        if not editor.at_end:
            raise
        left = []
    for data in left:
        if data != "[DONE]":
            yield _event(editor.event(data))
    if not editor.at_end:
        raise ModelUnavailable("The endpoint broke off in the middle of its answer.", hint="Try again.")
    editor.heard.complete = not editor.failed


async def _rest_of(pieces: AsyncIterator[bytes]) -> None:
    """Take what follows the end, normally nothing, so that the connection can be used again."""
    with suppress(TimeoutError, ModelError):
        async with asyncio.timeout(_REST_SECONDS):
            async for _ in pieces:
                return


async def _edited_whole(body: AsyncGenerator[bytes], editor: _Editor) -> AsyncGenerator[bytes]:
    content = editor.whole(await _whole(body))
    editor.heard.complete = True
    yield content


async def _whole(body: AsyncGenerator[bytes]) -> bytes:
    async with aclosing(body) as pieces:
        return b"".join([piece async for piece in pieces])


async def in_one_piece(content: bytes) -> AsyncGenerator[bytes]:
    """A body that is here already."""
    yield content


def _as_chunks(content: bytes, body: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """A whole answer to a request for a stream, as the chunks of one: every choice, with all that it holds."""
    try:
        answer: Any = parsed(content)
    except ValueError as error:
        raise MalformedAnswer(
            "The endpoint sent something that is not JSON.", hint="Check that its base URL ends in /v1."
        ) from error
    completion_of(answer, endpoint="The endpoint")
    counts = bool(as_mapping(body.get(_OPTIONS)).get("include_usage"))
    envelope = {"id": new_id(), "created": int(time.time()), "model": body.get("model")} | answer
    usage = envelope.pop("usage", None)
    envelope |= {"object": "chat.completion.chunk"} | ({"usage": None} if counts else {})
    choices = [part for number, choice in enumerate(answer["choices"]) for part in _in_parts(choice, number)]
    chunks = [{**envelope, "choices": [part]} for part in choices]
    return [*chunks, {**envelope, "choices": [], "usage": usage or usage_body(None)}] if counts else chunks


def _in_parts(choice: object, number: int) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """A choice of a whole answer as those of two chunks: what it says, and why it ends."""
    fields = dict(as_mapping(choice))
    message, reason = as_mapping(fields.pop("message", None)), fields.pop("finish_reason", None)
    place = {"index": fields.pop("index", number)}
    said = {**place, **fields, "delta": {"role": "assistant", **message}, "finish_reason": None}
    nothing_more: dict[str, Any] = {}
    return said, {**place, "delta": nothing_more, "finish_reason": reason or "stop"}


async def _one_by_one(chunks: Iterable[Mapping[str, Any]], editor: _Editor) -> AsyncGenerator[bytes]:
    for chunk in chunks:
        yield _event(editor.event(_dumped(chunk)))
    editor.heard.complete = True


def _event(data: str) -> bytes:
    lines = data.replace("\n", "\ndata: ") if "\n" in data else data
    return b"data: " + lines.encode("utf-8", "replace") + b"\n\n"


def _dumped(body: Mapping[str, Any]) -> str:
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return json.dumps(body, separators=(",", ":")) if _has_surrogates(text) else text


def _has_surrogates(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= sign <= "\udfff" for sign in text)


# --- models without an endpoint of their own --------------------------------------------------------------


async def _put_together(model: Model, body: Mapping[str, Any]) -> Relayed:
    """The answer of a model that is no endpoint, in OpenAI's form."""
    if body.get("n") not in (None, 1) or body.get("logprobs"):
        raise InputError(
            f"{model.name} gives one answer, without log-probabilities.",
            hint=f"Leave out {' and '.join(_ONE_ANSWER)}, or name an endpoint that has them.",
        )
    request, heard = _request(body), Heard()
    if not body.get("stream"):
        completion = await model.complete(request)
        heard.text, heard.finish_reason, heard.usage = completion.text, completion.finish_reason, completion.usage
        content = _dumped(_body_of(completion, str(body.get("model")))).encode()
        return Relayed(200, {}, False, _finished(content, heard), heard)
    deltas = model.stream(request)
    first = await anext(deltas, Delta(finish_reason="stop"))
    return Relayed(200, {}, True, _chunks(first, deltas, body, heard), heard)


async def _finished(content: bytes, heard: Heard) -> AsyncGenerator[bytes]:
    heard.complete = True
    yield content


def _request(body: Mapping[str, Any]) -> Request:
    try:
        messages = tuple(Message.model_validate(message) for message in body.get("messages") or ())
    except (ValidationError, TypeError) as error:
        raise InputError(
            "`messages` is no list of messages in OpenAI's form.", hint="Give each a role and content."
        ) from error
    rest = {key: value for key, value in body.items() if key not in ("messages", "model", "stream", _OPTIONS)}
    return Request(messages=messages, purpose="write", parameters=rest)


def _body_of(completion: Completion, model: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": completion.text, **completion.message}
    return answer_body(new_id(), int(time.time()), model, message, completion.finish_reason, completion.usage)


async def _chunks(
    first: Delta, deltas: AsyncIterator[Delta], body: Mapping[str, Any], heard: Heard
) -> AsyncGenerator[bytes]:
    counts = bool(as_mapping(body.get(_OPTIONS)).get("include_usage"))
    name, created, model = new_id(), int(time.time()), str(body.get("model"))

    numbering = _Editor(None, Heard())

    def chunk(delta: Mapping[str, Any], finish_reason: str | None = None) -> bytes:
        data = _dumped(chunk_body(name, created, model, delta, finish_reason, counts=counts))
        return _event(numbering.event(data) if "tool_calls" in delta else data)

    begun = False
    async with closing(deltas):
        async for delta in _preceded_by(first, deltas):
            heard.text += delta.text
            heard.finish_reason = delta.finish_reason or heard.finish_reason
            heard.usage = delta.usage or heard.usage
            if delta.text or delta.raw:
                given = {key: value for key, value in (delta.raw or {"content": delta.text}).items() if key != "role"}
                yield chunk(given if begun else {"role": "assistant", **given})
                begun = True
    yield chunk({} if begun else {"role": "assistant", "content": ""}, heard.finish_reason or "stop")
    if counts:
        yield _event(_dumped(chunk_body(name, created, model, None, None) | {"usage": usage_body(heard.usage)}))
    heard.complete = True


async def _preceded_by(first: Delta, others: AsyncIterator[Delta]) -> AsyncIterator[Delta]:
    yield first
    async for delta in others:
        yield delta


def new_id() -> str:
    """The id of an answer of ours."""
    return f"chatcmpl-{uuid.uuid4().hex}"

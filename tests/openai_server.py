"""A scripted OpenAI-compatible server on loopback, good and bad by request.

    async with OpenAIServer(Reply(text="Hello.")) as server:
        OpenAICompatibleModel("any", base_url=server.base_url)

The script is one `Reply`; a list of them, used in order, the last one repeating; a mapping from the name of the JSON
schema that a request carries to a `Reply`, `"*"` being the default; or a function of the request's body.

As a program, in a process of its own: `python tests/openai_server.py --seconds .05` prints its address and serves
until it is interrupted; every answer takes that long and fits the schema that was asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import inspect
import json
import math
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """How one request is answered."""

    text: str = "Hello."
    message: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Further fields of the assistant message, such as `tool_calls`; sent in the last delta of a stream."""
    finish_reason: str = "stop"
    probabilities: Mapping[str, float] = field(default_factory=dict[str, float])
    """Alternatives of the first token, sent as log-probabilities where the request asks for them."""
    cached_tokens: int = 0
    delay: float = 0.0
    """Seconds before the first byte."""
    word_delay: float = 0.0
    """Seconds before each word of a stream."""
    never: bool = False
    """Accept the request and stay silent until the client goes away."""
    cut_after: int | None = None
    """Break the connection after this many words of a stream (or bytes of a whole answer)."""
    hold: bool = False
    """Keep a stream's connection open after its last event."""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes | str | Mapping[str, Any] | None = None
    """Sent as it is, in place of a completion."""
    pieces: Sequence[bytes] = ()
    """Sent as an event stream, one network write each, in place of a completion."""


Script = Reply | Sequence[Reply] | Mapping[str, Reply] | Callable[[dict[str, Any]], "Reply | Awaitable[Reply]"]


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it arrived."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    raw: bytes
    at: float
    """`time.perf_counter()` on arrival."""
    client: tuple[str, int]
    """The connection's other end."""


GARBAGE = (
    b"", b"{", b"[]", b"null", b"<html>", b'{"choices": []}', b'{"choices": [null]}', b'{"choices": {"0": 1}}',
    b'{"choices": [{"message": null}]}', b'{"choices": [{"message": {"content": 7}, "finish_reason": 7}], "usage": 7}',
    b'{"choices": [{"index": "x", "message": {"tool_calls": "x"}}]}', b"\xff\xfe", b"[" * 100_000,
    b'{"choices": [{"message": {"content": "a"}}], "usage": {"prompt_tokens": "many", "completion_tokens": []}}',
    b'{"error": "oops"}', b'{"choices": [{"message": {"content": "\\ud800"}}]}',
)  # fmt: skip
"""Bodies that no endpoint should send."""

GARBLED_STREAMS = (
    (b"data: {\n\n", b"data: [DONE]\n\n"),
    (b"data: null\n\ndata: 7\n\n", b"data: []\n\n"),
    (b'data: {"choices": [{"delta": null}]}\n\n', b'data: {"choices": [null]}\n\n', b"data: [DONE]\n\n"),
    (b'data: {"choices": [{"delta": {"content": "Hm."}', b'}]}\n\ndata: {"error": {"message": "no"}}\n\n'),
    (b'data: {"choices": [{"index": "x", "delta": {"tool_calls": [{"id": 7}, null, 7]}}]}\n\n', b"data: [DONE]\n\n"),
    (b'data: {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": {}}], "usage": []}\n\n',),
    (b"\xff\xfe\x00", b"id: 7\nretry: 1\nevent: x\n: hm\n\n"),
    (b"data: [DONE]\n\ndata: [DONE]\n\n",),
)
"""Streams likewise, one network write after the other."""


class OpenAIServer:
    """Serves `/v1/chat/completions`, `/v1/models`, `/health` and `/metrics` on a free port of 127.0.0.1."""

    def __init__(self, script: Script = Reply(), *, models: Sequence[str] = ("scripted",), port: int = 0) -> None:
        self.script = script
        self.models = models
        self.roots: Mapping[str, str] = {}
        """Where the models' files are, by name, as vLLM tells it."""
        self.healthy = True
        self.metrics: str | None = None
        """The page at `/metrics`; there is none, if not given."""
        self.looks: list[str] = []
        """The paths of pages that were looked at."""
        self.requests: list[Received] = []
        self.disconnects = 0
        """Requests whose client went away before the answer was whole."""
        self.active = 0
        self.most_active = 0
        """The highest number of requests that were in work at the same time."""
        self._port = port
        self._used = 0
        self._changed = asyncio.Event()
        self._closing = False
        self._runner: web.AppRunner | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    async def __aenter__(self) -> Self:
        application = web.Application(client_max_size=64 * 2**20)
        application.router.add_post("/v1/chat/completions", self._chat)
        application.router.add_get("/v1/models", self._list_models)
        application.router.add_get("/health", self._health)
        application.router.add_get("/metrics", self._tell_metrics)
        self._runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.05, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing = True
        if self._runner is not None:
            await self._runner.cleanup()

    async def disconnected(self, count: int = 1, *, within: float = 2.0) -> bool:
        """Whether so many clients went away before their answer was whole; waits for them."""
        return await self._wait_for(lambda: self.disconnects >= count, within)

    async def received(self, count: int = 1, *, within: float = 2.0) -> bool:
        """Whether so many requests arrived; waits for them."""
        return await self._wait_for(lambda: len(self.requests) >= count, within)

    async def idle(self, *, within: float = 2.0) -> bool:
        """Whether no request is in work; waits for it."""
        return await self._wait_for(lambda: self.active == 0, within)

    async def _wait_for(self, condition: Callable[[], bool], within: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        return condition()

    async def looked_at(self, path: str, count: int = 1, *, within: float = 2.0) -> bool:
        """Whether a page was looked at so many times; waits for it."""
        return await self._wait_for(lambda: self.looks.count(path) >= count, within)

    async def _list_models(self, request: web.Request) -> web.Response:
        self._note(request)
        roots = {name: {"root": root} for name, root in self.roots.items()}
        models = [{"id": name, "object": "model", **roots.get(name, {})} for name in self.models]
        return web.json_response({"object": "list", "data": models})

    async def _health(self, request: web.Request) -> web.Response:
        self._note(request)
        return web.Response(status=200 if self.healthy else 503)

    async def _tell_metrics(self, request: web.Request) -> web.Response:
        self._note(request)
        return web.Response(status=404) if self.metrics is None else web.Response(text=self.metrics)

    def _note(self, request: web.Request) -> None:
        self.looks.append(request.path)
        self._changed.set()

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        body: dict[str, Any] = json.loads(raw)
        client = request.transport.get_extra_info("peername") if request.transport else ("", 0)
        self.requests.append(Received(request.path, dict(request.headers), body, raw, time.perf_counter(), client))
        self._changed.set()
        with self._in_work():
            return await self._answer(request, body, await self._reply(body))

    @contextlib.contextmanager
    def _in_work(self) -> Iterator[None]:
        self.active += 1
        self.most_active = max(self.most_active, self.active)
        try:
            yield
        except (asyncio.CancelledError, ConnectionError):
            if not self._closing:
                self.disconnects += 1
                self._changed.set()
            raise
        finally:
            self.active -= 1
            self._changed.set()

    async def _reply(self, body: dict[str, Any]) -> Reply:
        script = self.script
        if isinstance(script, Reply):
            return script
        if isinstance(script, Mapping):
            return script.get(_schema_name(body)) or script["*"]
        if isinstance(script, Sequence):
            reply = script[min(self._used, len(script) - 1)]
            self._used += 1
            return reply
        made = script(body)
        return await made if inspect.isawaitable(made) else made

    async def _answer(self, request: web.Request, body: dict[str, Any], reply: Reply) -> web.StreamResponse:
        if reply.never:
            await asyncio.Event().wait()
        if reply.delay:
            await asyncio.sleep(reply.delay)
        if reply.pieces:
            return await _send(request, reply, _given(reply.pieces))
        if reply.body is not None:
            content = json.dumps(reply.body) if isinstance(reply.body, Mapping) else reply.body
            return web.Response(
                status=reply.status,
                headers={"Content-Type": "application/json", **reply.headers},
                body=content.encode() if isinstance(content, str) else content,
            )
        if body.get("stream"):
            return await _send(request, reply, _events(body, reply))
        return await _whole(request, body, reply)


async def _whole(request: web.Request, body: dict[str, Any], reply: Reply) -> web.StreamResponse:
    content = json.dumps(_completion(body, reply)).encode()
    response = web.StreamResponse(status=reply.status, headers={"Content-Type": "application/json", **reply.headers})
    response.content_length = len(content)
    await response.prepare(request)
    if reply.cut_after is not None:
        await response.write(content[: reply.cut_after])
        _hang_up(request)
        return response
    await response.write(content)
    await response.write_eof()
    return response


async def _send(request: web.Request, reply: Reply, events: AsyncIterator[bytes]) -> web.StreamResponse:
    response = web.StreamResponse(status=reply.status, headers={"Content-Type": "text/event-stream", **reply.headers})
    await response.prepare(request)
    sent = 0
    async for event in events:
        if reply.cut_after is not None and sent >= reply.cut_after:
            _hang_up(request)
            return response
        await response.write(event)
        sent += 1
    if reply.hold:
        await asyncio.Event().wait()
    await response.write_eof()
    return response


def _hang_up(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.close()


async def _given(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
        await asyncio.sleep(0.005)  # So that the pieces arrive apart.


async def _events(body: dict[str, Any], reply: Reply) -> AsyncIterator[bytes]:
    words = [word + " " for word in reply.text.split(" ")]
    words[-1] = words[-1][:-1]
    for index, word in enumerate(words):
        if reply.word_delay:
            await asyncio.sleep(reply.word_delay)
        delta = {"content": word} if index else {"role": "assistant", "content": word}
        yield _event(_chunk(body, {"delta": delta, "finish_reason": None}))
    yield _event(_chunk(body, {"delta": dict(reply.message), "finish_reason": reply.finish_reason}))
    if (body.get("stream_options") or {}).get("include_usage"):
        yield _event(_chunk(body, None) | {"usage": _usage(body, reply)})
    yield b"data: [DONE]\n\n"


def _event(value: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def _chunk(body: dict[str, Any], choice: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "id": "chatcmpl-scripted",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": body.get("model", ""),
        "choices": [] if choice is None else [{"index": 0, **choice}],
    }


def _completion(body: dict[str, Any], reply: Reply) -> dict[str, Any]:
    choice: dict[str, Any] = {
        "index": 0,
        "message": {"role": "assistant", "content": reply.text, **reply.message},
        "finish_reason": reply.finish_reason,
    }
    if body.get("logprobs") and reply.probabilities:
        choice["logprobs"] = {"content": [_first_token(reply.probabilities)]}
    return {
        "id": "chatcmpl-scripted",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body.get("model", ""),
        "choices": [choice],
        "usage": _usage(body, reply),
    }


def _first_token(probabilities: Mapping[str, float]) -> dict[str, Any]:
    alternatives = [
        {"token": token, "logprob": math.log(probability)}
        for token, probability in sorted(probabilities.items(), key=lambda item: -item[1])
        if probability > 0
    ]
    return {**alternatives[0], "top_logprobs": alternatives}


def _usage(body: dict[str, Any], reply: Reply) -> dict[str, Any]:
    prompt = sum(len(str(message.get("content") or "").split()) for message in body.get("messages", []))
    words = len(reply.text.split())
    return {
        "prompt_tokens": prompt,
        "completion_tokens": words,
        "total_tokens": prompt + words,
        "prompt_tokens_details": {"cached_tokens": reply.cached_tokens},
    }


def vllm_page(*, running: int = 0, waiting: int = 0, queries: int = 0, hits: int = 0) -> str:
    """What vLLM tells at `/metrics`, as far as it matters here, in its own form."""
    labels = '{engine="0",model_name="a {name}"}'
    lines = [
        "# HELP vllm:num_requests_running Number of requests in model execution batches.",
        "# TYPE vllm:num_requests_running gauge",
        f"vllm:num_requests_running{labels} {float(running)}",
        "# HELP vllm:num_requests_waiting Number of requests waiting to be processed.",
        "# TYPE vllm:num_requests_waiting gauge",
        f"vllm:num_requests_waiting{labels} {float(waiting)}",
        "# TYPE vllm:num_requests_waiting_by_reason gauge",
        f'vllm:num_requests_waiting_by_reason{{engine="0",reason="capacity"}} {float(waiting)}',
        "# HELP vllm:prefix_cache_queries_total Prefix cache queries, in terms of number of queried tokens.",
        "# TYPE vllm:prefix_cache_queries_total counter",
        f"vllm:prefix_cache_queries_total{labels} {float(queries)}",
        "# TYPE vllm:prefix_cache_queries_created gauge",
        f"vllm:prefix_cache_queries_created{labels} 1.76e+09",
        "# TYPE vllm:prefix_cache_hits_total counter",
        f"vllm:prefix_cache_hits_total{labels} {float(hits)}",
    ]
    return "\n".join(lines) + "\n"


def schema_of(body: dict[str, Any]) -> dict[str, Any] | None:
    """The JSON schema that a request carries, in whichever of the three ways."""
    response_format = body.get("response_format") or {}
    if response_format.get("type") == "json_schema":
        return response_format["json_schema"]["schema"]
    return (body.get("structured_outputs") or {}).get("json") or body.get("json_schema")


def options_of(body: dict[str, Any]) -> list[str]:
    """The options of a constrained choice that a request carries."""
    return (body.get("structured_outputs") or {}).get("choice") or []


def _schema_name(body: dict[str, Any]) -> str:
    schema = schema_of(body) or {}
    named = (body.get("response_format") or {}).get("json_schema") or {}
    return named.get("name") or schema.get("title") or "*"


def obedient(
    text: str = "I hear you.",
    *,
    json_schema: bool = True,
    grammar: bool = True,
    json_object: bool = True,
    logprobs: bool = True,
    refuses: bool = True,
    delay: float = 0.0,
) -> Callable[[dict[str, Any]], Reply]:
    """A server that truly enforces the formats it has; one that it lacks is answered 400, or ignored."""
    from mentalize.llm.scripted import minimal_instance

    def reply(body: dict[str, Any]) -> Reply:
        kind = (body.get("response_format") or {}).get("type")
        by_grammar = "structured_outputs" in body or "json_schema" in body or "grammar" in body
        lacking = (
            (kind == "json_schema" and not json_schema)
            or (kind == "json_object" and not json_object)
            or (by_grammar and not grammar)
            or (body.get("logprobs") and not logprobs)
        )
        if lacking and refuses:
            return Reply(status=400, body={"error": {"message": "unsupported parameter", "code": 400}}, delay=delay)
        if options := options_of(body):
            even = dict.fromkeys(options, 1 / len(options)) if logprobs else {}
            return Reply(text=options[0], probabilities=even, delay=delay)
        answer = text
        if not lacking and (schema := schema_of(body)):
            answer = json.dumps(minimal_instance(schema))
        elif not lacking and kind == "json_object":
            answer = "{}"
        return Reply(text=answer, probabilities={answer[:3]: 0.9, "Well": 0.1} if logprobs else {}, delay=delay)

    return reply


async def _serve(seconds: float, port: int) -> None:
    async with OpenAIServer(obedient(delay=seconds), port=port) as server:
        sys.stdout.write(server.base_url + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A scripted OpenAI-compatible server on loopback.")
    parser.add_argument("--seconds", type=float, default=0.0, help="time before each answer")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    arguments = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(arguments.seconds, arguments.port))

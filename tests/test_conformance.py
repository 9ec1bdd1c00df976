"""What OpenAI's clients rely on, D-1 to D-30, each against the real server on a real socket of loopback.

The words of each rule stand over its tests. Where bytes matter, they are read as bytes; where a client's behaviour
matters, the client is openai-python.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sqlite3
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from endpoint import Endpoint, served, thoughtful
from mentalize import Identity
from mentalize.llm.model import Completion, Delta, Request
from mentalize.llm.scripted import FunctionModel
from mentalize.memory.store import Filter
from mentalize.types import MemoryKind
from openai_server import OpenAIServer, Received, Reply, Script, schema_of
from social_script import FORESIGHT, HYPOTHESES, MESSAGE, PERCEPTION, WARM

Serve = Callable[..., AbstractAsyncContextManager[Endpoint]]

ANA = {"X-Mentalize-User": "ana"}
DANGER = "I want to kill myself tonight."
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "weather", "strict": True, "parameters": {"type": "object"}}}
]
STREAM = {"stream": True, "stream_options": {"include_usage": True}}
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Loopback needs none, and to load the authorities' certificates takes longer than most of these tests."""
EVENTS = re.compile(rb"(?:data: [^\r\n]+\n\n)+")


@pytest.fixture
def serve(tmp_path: Path, empty_database: Path) -> Serve:
    """Serves with a database whose tables are there."""
    shutil.copy(empty_database, tmp_path / "memory.db")

    def serving(script: Script | None = None, **settings: Any) -> AbstractAsyncContextManager[Endpoint]:
        return served(tmp_path, script, **{"retries": 0, **settings})

    return serving


def asking(model: str = "mentalize-minimal", text: str = MESSAGE, **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


def http_of(endpoint: Endpoint) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=endpoint.url, timeout=20, verify=NO_TLS)


def openai_of(endpoint: Endpoint, *, api_key: str = "none", **options: Any) -> AsyncOpenAI:
    http_client = openai.DefaultAsyncHttpxClient(verify=NO_TLS)
    return AsyncOpenAI(base_url=endpoint.base_url, api_key=api_key, http_client=http_client, **options)


async def ask(
    endpoint: Endpoint, body: Mapping[str, Any] | bytes, headers: Mapping[str, str] | None = None
) -> httpx.Response:
    """The whole answer, streamed or not, with its bytes."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with http_of(endpoint) as client:
        given = {"content-type": "application/json", **(headers or {})}
        return await client.post(f"{endpoint.base_url}/chat/completions", content=content, headers=given)


def chunks_of(content: bytes) -> list[dict[str, Any]]:
    """The chunks of a stream that is framed as it should be and ends as it should."""
    assert EVENTS.fullmatch(content), content
    *events, last = [event.removeprefix(b"data: ") for event in content.split(b"\n\n")[:-1]]
    assert last == b"[DONE]"
    return [json.loads(event) for event in events]


def texts_of(chunks: Sequence[Mapping[str, Any]], field: str = "content") -> list[str]:
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    return [text for delta in deltas if (text := delta.get(field))]


def writing(reply: Reply, **answers: Any) -> Script:
    """An upstream that thinks as it should and writes `reply`."""
    thinking: Any = thoughtful(**answers)
    return lambda body: reply if "<guidance>" in json.dumps(body["messages"]) else thinking(body)


def writes(upstream: OpenAIServer) -> list[Received]:
    return [request for request in upstream.requests if b"<guidance>" in request.raw]


def piece(delta: Mapping[str, Any], finish_reason: str | None = None, *, choice: int = 0, **fields: Any) -> bytes:
    """One event of an upstream of our own, with fields that nobody knows."""
    chunk = {
        "id": "chatcmpl-up",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "scripted",
        "system_fingerprint": "fp_é",
        "choices": [{"index": choice, "delta": delta, "finish_reason": finish_reason, **fields}],
    }
    return b"data: " + json.dumps(chunk, ensure_ascii=False, indent=None).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def completion(*messages: Mapping[str, Any], finish_reason: str = "stop", **fields: Any) -> bytes:
    """A whole answer of an upstream of our own, oddly spaced."""
    choices = [
        {"index": index, "message": {"role": "assistant", **message}, "finish_reason": finish_reason, **fields}
        for index, message in enumerate(messages)
    ]
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7, "odd_tokens": 1}
    body = {"id": "chatcmpl-up", "object": "chat.completion", "created": 1, "model": "scripted", "choices": choices}
    return json.dumps({**body, "usage": usage, "unknown": [1.50, None]}, indent=1).encode()


async def turns_of(endpoint: Endpoint, user: str = "ana", tenant: str = "default") -> list[str]:
    found = await endpoint.mind.memory.find(Identity(tenant, user), Filter(kinds=(MemoryKind.TURN,)))
    return [row.text for row in found]


# --- the stream -----------------------------------------------------------------------------------------------


async def test_d1_a_stream_is_events_that_end_with_done(serve: Serve) -> None:
    async with serve() as endpoint:
        for model in ("mentalize-minimal", "scripted"):
            answer = await ask(endpoint, asking(model, **STREAM))
            assert answer.headers["content-type"].partition(";")[0] == "text/event-stream"
            assert len(chunks_of(answer.content)) > 2


async def test_d2_no_event_has_an_id_or_a_retry_field(serve: Serve) -> None:
    odd = b": hello\r\n\r\nid: 7\r\nretry: 9\r\nevent: message\r\n"
    pieces = [odd + piece({"role": "assistant", "content": "Hi"}), b"id: 8\n" + piece({}, "stop"), DONE]
    async with serve(Reply(pieces=pieces)) as endpoint:
        passed = await ask(endpoint, asking("scripted", stream=True))
    assert passed.content == piece({"role": "assistant", "content": "Hi"}) + piece({}, "stop") + DONE


async def test_d2_a_silence_is_filled_with_pings_only_where_that_is_set(serve: Serve, tmp_path: Path) -> None:
    slow = writing(Reply(text="Here.", delay=0.25))
    async with serve(slow, server={"ping_seconds": 0.1}) as endpoint:
        pinged = await ask(endpoint, asking(stream=True))
        async with openai_of(endpoint) as client:
            stream = await client.chat.completions.create(**asking(stream=True))
            said = [chunk.choices[0].delta.content or "" async for chunk in stream]
    async with serve(slow) as endpoint:
        silent = await ask(endpoint, asking(stream=True))
    assert pinged.content.startswith(b": ping\n\n") and b"\n:\n" not in pinged.content
    assert texts_of(chunks_of(pinged.content.replace(b": ping\n\n", b""))) == ["Here."]
    assert "".join(said) == "Here."
    assert texts_of(chunks_of(silent.content)) == ["Here."]


async def test_d3_role_comes_first_and_the_finish_reason_last(serve: Serve) -> None:
    async with serve() as endpoint:
        for upstream, told in (("stop", "stop"), ("length", "length"), ("eos_token", "stop")):
            endpoint.upstream.script = writing(Reply(text=WARM, finish_reason=upstream))
            chunks = chunks_of((await ask(endpoint, asking(stream=True))).content)
            whole = (await ask(endpoint, asking())).json()
            choices = [chunk["choices"][0] for chunk in chunks]
            assert choices[0]["delta"]["role"] == "assistant"
            assert not any("role" in choice["delta"] for choice in choices[1:])
            assert [choice["finish_reason"] for choice in choices] == [None] * (len(choices) - 1) + [told]
            assert whole["choices"][0]["finish_reason"] == told


async def test_d4_what_fails_before_the_first_byte_has_a_status(serve: Serve) -> None:
    error = {"error": {"message": "no room", "type": "overloaded", "param": None, "code": "busy", "more": [1]}}
    async with serve(Reply(status=503, body=error)) as endpoint:
        for streams in (True, False):
            passed = await ask(endpoint, asking("scripted", stream=streams))
            thought = await ask(endpoint, asking(stream=streams))
            assert (passed.status_code, passed.json()) == (503, error)
            assert thought.status_code == 502 and thought.json()["error"]["code"] == "model_unavailable"
            assert thought.headers["content-type"] == "application/json"


class _BreaksOff(FunctionModel):
    """A model with a fault that nobody foresaw."""

    async def stream(self, request: Request) -> AsyncIterator[Delta]:
        yield Delta(text="Half ", raw={"content": "Half "})
        raise RuntimeError("a secret of the model")


HALF = Reply(text="one two three four", cut_after=2)
FAILING: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "plain": ({"script": HALF}, asking("scripted"), "one two "),
    "tools": ({"script": HALF}, asking("mentalize", tools=TOOLS), "one two "),
    "stages": ({"script": Reply(status=500, body="no")}, asking(mentalize={"stages": True}), ""),
    "fault": ({"models": {"write": _BreaksOff(lambda _: "")}}, asking("function"), "Half "),
}
"""Streams that fail: how it is served, what is asked, and what is said before."""


@pytest.mark.parametrize("how", FAILING)
async def test_d4_what_fails_after_the_first_byte_is_an_error_event_and_done(serve: Serve, how: str) -> None:
    serving, body, before = FAILING[how]
    async with serve(**serving) as endpoint:
        answer = await ask(endpoint, {**body, "stream": True})
        async with openai_of(endpoint) as client:
            fields = {key: value for key, value in body.items() if key != "mentalize"}
            stream = await client.chat.completions.create(
                **fields, stream=True, extra_body={"mentalize": body.get("mentalize")}
            )
            with pytest.raises(openai.APIError):
                _ = [chunk async for chunk in stream]
    assert answer.status_code == 200
    *chunks, error = chunks_of(answer.content)
    assert "".join(texts_of(chunks)) == before
    assert error.keys() == {"error"} and error["error"].keys() == {"message", "type", "param", "code"}
    assert "secret" not in error["error"]["message"]


async def test_d4_an_upstreams_own_error_event_is_handed_on_and_the_turn_is_not_remembered(serve: Serve) -> None:
    failed = b'data: {"error": {"message": "out of memory", "type": "server_error", "param": null, "code": 500}}\n\n'
    pieces = [piece({"role": "assistant", "content": "So"}), failed]
    async with serve() as endpoint:
        for ending in ([DONE], []):
            endpoint.upstream.script = Reply(pieces=[*pieces, *ending])
            answer = await ask(endpoint, asking("scripted", stream=True))
            recorded = await ask(endpoint, asking("mentalize", stream=True, tools=TOOLS), ANA)
            assert answer.content == b"".join([*pieces, DONE])
            assert chunks_of(recorded.content)[-1]["error"]["message"] == "out of memory"
            assert await turns_of(endpoint) == []


@pytest.mark.parametrize("lost", [[], [b'data: {"id": "chatc'], [DONE], [DONE, b"data: {\n\n"]])
async def test_d4_a_connection_that_breaks_when_all_was_said_has_lost_nothing(
    serve: Serve, lost: Sequence[bytes]
) -> None:
    said = [piece({"role": "assistant", "content": "So"}), piece({}, "stop")]
    broken = Reply(pieces=[*said, *lost, b": never sent\n\n"], cut_after=len(said) + len(lost))
    async with serve(broken) as endpoint:
        answer = await ask(endpoint, asking("scripted", stream=True))
        recorded = await ask(endpoint, asking("mentalize", stream=True, tools=TOOLS), ANA)
        assert answer.content == b"".join([*said, DONE])
        assert texts_of(chunks_of(recorded.content)) == ["So"]
        assert await turns_of(endpoint) == ["So", MESSAGE]


async def test_d4_one_of_several_answers_that_breaks_off_is_lost(serve: Serve) -> None:
    pieces = [piece({"content": "A"}), piece({"content": "B"}, choice=1), piece({}, "stop")]
    for ending in (Reply(pieces=pieces), Reply(pieces=[*pieces, DONE], cut_after=3)):
        async with serve(ending) as endpoint:
            *said, error = chunks_of((await ask(endpoint, asking("scripted", n=2, stream=True))).content)
        assert texts_of(said) == ["A", "B"] and error["error"]["code"] == "model_unavailable"


async def test_d5_no_chunk_has_a_message_at_the_top(serve: Serve) -> None:
    seen = 0
    for serving, body, _ in FAILING.values():
        async with serve(**serving) as endpoint:
            chunks = chunks_of((await ask(endpoint, {**body, "stream": True})).content)
        assert not any("message" in chunk for chunk in chunks)
        seen += len(chunks)
    async with serve() as endpoint:
        chunks = chunks_of(
            (await ask(endpoint, asking("mentalize-medium", mentalize={"stages": True}, **STREAM))).content
        )
    assert not any("message" in chunk for chunk in chunks) and seen + len(chunks) > 20


async def test_d6_several_answers_pass_through_one_choice_per_chunk(serve: Serve) -> None:
    pieces = [
        piece({"role": "assistant", "content": "A"}),
        piece({"role": "assistant", "content": "B"}, choice=1),
        piece({}, "stop", choice=1),
        piece({}, "length"),
        DONE,
    ]
    async with serve(Reply(pieces=pieces)) as endpoint:
        plain = await ask(endpoint, asking("scripted", n=2, stream=True))
        chunks = chunks_of((await ask(endpoint, asking("mentalize-high", n=2, stream=True))).content)
    assert plain.content == b"".join(pieces)
    assert [[choice["index"] for choice in chunk["choices"]] for chunk in chunks] == [[0], [1], [1], [0]]
    assert texts_of(chunks) == ["A", "B"] and {chunk["model"] for chunk in chunks} == {"mentalize-high"}


async def test_d6_an_upstream_that_streams_nothing_loses_no_answer(serve: Serve) -> None:
    whole = completion({"content": "A", "odd": 1}, {"content": "B"}, logprobs={"content": []})
    async with serve(Reply(body=whole, headers={"x-ratelimit-remaining-tokens": "9"})) as endpoint:
        given = await ask(endpoint, asking("mentalize", n=2, **STREAM))
        plain = await ask(endpoint, asking("mentalize", n=2))
    *chunks, last = chunks_of(given.content)
    assert [chunk["choices"][0]["index"] for chunk in chunks] == [0, 0, 1, 1]
    assert texts_of(chunks) == ["A", "B"] and chunks[0]["choices"][0]["delta"]["odd"] == 1
    assert all(chunk["choices"][0]["logprobs"] == {"content": []} for chunk in chunks[::2])
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, "stop"] * 2
    assert {(c["id"], c["object"], c["model"]) for c in chunks} == {
        ("chatcmpl-up", "chat.completion.chunk", "mentalize")
    }
    assert last["choices"] == [] and last["usage"]["total_tokens"] == 7 and last["unknown"] == [1.5, None]
    assert given.headers["x-ratelimit-remaining-tokens"] == "9"
    assert [choice["message"]["content"] for choice in plain.json()["choices"]] == ["A", "B"]


async def test_d6_a_model_that_gives_one_answer_refuses_two(serve: Serve) -> None:
    async with serve(models={"write": FunctionModel(lambda _: "One.")}) as endpoint:
        for model, streams in (("function", True), ("function", False), ("mentalize", True), ("mentalize", False)):
            answer = await ask(endpoint, asking(model, n=2, stream=streams))
            assert answer.status_code == 400 and "Leave out n" in answer.json()["error"]["message"]


async def test_d7_held_text_flows_by_sentence(serve: Serve) -> None:
    text = "We would love to have you there. Shall we wait for you? It is no trouble at all for us."
    async with serve(writing(Reply(text=text, word_delay=0.03))) as endpoint:
        arrived = await _arrivals(endpoint, asking(stream=True))
    texts = [text for text, _, _ in arrived]
    assert "".join(texts) == text and len(texts) == 3
    assert [still for _, _, still in arrived[:2]] == [1, 1], "the upstream was still writing"
    assert arrived[1][1] - arrived[0][1] > 0.05


async def _arrivals(endpoint: Endpoint, body: Mapping[str, Any]) -> list[tuple[str, float, int]]:
    """Each text of a stream, when it came, and how many upstream requests were in work then."""
    arrived: list[tuple[str, float, int]] = []
    async with (
        http_of(endpoint) as client,
        client.stream("POST", f"{endpoint.base_url}/chat/completions", json=body) as answer,
    ):
        async for line in answer.aiter_lines():
            if line.startswith("data: {"):
                texts = texts_of([json.loads(line.removeprefix("data: "))])
                arrived += ((text, time.perf_counter(), endpoint.upstream.active) for text in texts)
    return arrived


async def test_d7_a_header_states_the_mode(serve: Serve, subtests: pytest.Subtests) -> None:
    live = {"X-Mentalize-Stream": "live"}
    async with serve() as endpoint:
        for body, headers, mode in (
            (asking(), {}, "sentence"),
            (asking(), {"X-Mentalize-Stream": "gated"}, "gated"),
            (asking(), live, "live"),
            (asking(mentalize={"stream": "live"}), {"X-Mentalize-Stream": "gated"}, "live"),
            (asking(text=DANGER), live, "gated"),
            (asking("mentalize", tools=TOOLS), live, "pass-through"),
            (asking("scripted"), {}, "pass-through"),
        ):
            with subtests.test(body=body, headers=headers):
                answer = await ask(endpoint, {**body, "stream": True}, headers)
                assert answer.headers["x-mentalize-stream"] == mode
                assert chunks_of(answer.content)


async def test_d7_the_mode_is_what_happens(serve: Serve) -> None:
    """Text that is live leaves with the first word, held text not before the last judge was asked."""
    script = writing(Reply(text="One two three four. Five six seven eight.", word_delay=0.02))
    async with serve(script) as endpoint:
        live = await _arrivals(endpoint, asking("mentalize-medium", stream=True, mentalize={"stream": "live"}))
        gated = await _arrivals(endpoint, asking("mentalize-medium", stream=True, mentalize={"stream": "gated"}))
    assert live[0][0].strip() == "One" and live[0][2] == 1
    assert {still for _, _, still in gated} == {0}


async def test_d7_danger_that_a_stage_notices_holds_the_text_and_the_answer_says_so(serve: Serve) -> None:
    noticed = {**PERCEPTION, "risk": [{"kind": "self_harm", "words": "Go without me"}]}
    async with serve(thoughtful(perceive=noticed)) as endpoint:
        answer = await ask(endpoint, asking("mentalize-medium", stream=True))
        told = await ask(endpoint, asking("mentalize-medium", stream=True, mentalize={"stages": True}))
    assert answer.headers["x-mentalize-stream"] == "gated"
    assert any(text.startswith("held: ") for text in texts_of(chunks_of(told.content), "reasoning_content"))


async def test_d8_what_agents_say_to_each_other_never_appears(serve: Serve) -> None:
    inner = [PERCEPTION["cause"], HYPOTHESES["hypotheses"][0]["explanation"], FORESIGHT["acts"][0]["help"]]
    async with serve() as endpoint:
        for mode in ("sentence", "gated", "live"):
            answer = await ask(endpoint, asking("mentalize-medium", mentalize={"stream": mode}, **STREAM))
            chunks = chunks_of(answer.content)
            assert "".join(texts_of(chunks)) == WARM and not texts_of(chunks, "reasoning_content")
            assert not any(text in answer.text for text in [*inner, "guidance", "shortlist"])


async def test_d8_stages_stream_as_reasoning_only_when_asked_for(serve: Serve) -> None:
    async with serve() as endpoint:
        for wish, headers in (({"stages": True}, {}), (None, {"X-Mentalize-Stages": "true"})):
            answer = await ask(endpoint, asking("mentalize-low", stream=True, mentalize=wish), headers)
            chunks = chunks_of(answer.content)
            stages = [line.partition(":")[0] for line in texts_of(chunks, "reasoning_content")]
            assert stages[:2] == ["read", "select"] and "write" in stages
            assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
            assert "".join(texts_of(chunks)) == WARM
        whole = (await ask(endpoint, asking("mentalize-low", mentalize={"stages": True}))).json()
        plain = (await ask(endpoint, asking("mentalize-low"))).json()
    assert whole["choices"][0]["message"]["reasoning_content"].startswith("read: ")
    assert "reasoning_content" not in plain["choices"][0]["message"]


# --- usage ----------------------------------------------------------------------------------------------------


async def test_d9_the_usage_chunk_comes_only_if_it_was_asked_for(serve: Serve) -> None:
    async with serve() as endpoint:
        *chunks, last = chunks_of((await ask(endpoint, asking(**STREAM))).content)
        without = chunks_of((await ask(endpoint, asking(stream=True))).content)
        refused = chunks_of((await ask(endpoint, asking(stream=True, stream_options={"include_usage": False}))).content)
    assert last["choices"] == [] and last["usage"]["total_tokens"] > 0
    assert all(chunk["usage"] is None and chunk["choices"] for chunk in chunks)
    assert all("usage" not in chunk and chunk["choices"] for chunk in [*without, *refused])


@pytest.mark.parametrize("body", [asking("scripted"), asking("mentalize", tools=TOOLS)], ids=["plain", "tools"])
async def test_d10_stream_options_are_taken_and_kept_from_an_upstream_that_refuses_them(
    serve: Serve, body: dict[str, Any]
) -> None:
    def strict(asked: dict[str, Any]) -> Reply:
        refusal = {"error": {"message": "Extra inputs are not permitted: stream_options", "code": 400}}
        return Reply(status=400, body=refusal) if "stream_options" in asked else Reply(text="Here you are.")

    async with serve(strict) as endpoint:
        answer = await ask(endpoint, {**body, **STREAM})
        assert "".join(texts_of(chunks_of(answer.content))) == "Here you are."
        assert [("stream_options" in request.body) for request in endpoint.upstream.requests] == [True, False]
        unneeded = await ask(endpoint, {**body, "stream_options": {"include_usage": True}})
        assert unneeded.status_code == 400, "what the upstream says of a request that streams nothing is handed on"


async def test_d10_a_turn_streams_from_an_upstream_that_refuses_stream_options(serve: Serve) -> None:
    def strict(asked: dict[str, Any]) -> Reply:
        refusal = {"error": {"message": "Extra inputs are not permitted: stream_options", "code": 400}}
        return Reply(status=400, body=refusal) if "stream_options" in asked else Reply(text="Here you are.")

    async with serve(strict) as endpoint:
        for _ in range(2):
            answer = await ask(endpoint, asking("mentalize-minimal", stream=True))
            assert "".join(texts_of(chunks_of(answer.content))) == "Here you are."
        asked = [("stream_options" in request.body) for request in writes(endpoint.upstream)]
        assert asked == [True, False, False], "it is found out once"
        assert all("<guidance>" in str(request.body["messages"][-1]) for request in writes(endpoint.upstream))


async def test_d11_the_usage_is_the_writing_calls_and_a_header_has_the_sum(serve: Serve) -> None:
    async with serve() as endpoint:
        await ask(endpoint, asking("mentalize-low"))
        endpoint.upstream.requests.clear()
        answer = await ask(endpoint, asking("mentalize-low"))
        prompts = [_words(request) for request in endpoint.upstream.requests]
        trace = await _trace(endpoint, answer)
        streamed = chunks_of((await ask(endpoint, asking("mentalize-low", **STREAM))).content)
        (written, *_) = map(_words, writes(endpoint.upstream))
    usage = answer.json()["usage"]
    assert usage["prompt_tokens"] == written and usage["completion_tokens"] == len(WARM.split())
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert streamed[-1]["usage"] == usage
    assert len(prompts) == 2 and answer.headers["x-mentalize-calls"] == "2"
    summed = dict(part.split("=") for part in answer.headers["x-mentalize-usage"].split(", "))
    assert int(summed["prompt"]) == sum(prompts) == trace["usage"]["prompt_tokens"]
    assert int(summed["total"]) == int(summed["prompt"]) + int(summed["completion"]) > usage["total_tokens"]


def _words(request: Received) -> int:
    """What the scripted upstream counts as tokens of a prompt."""
    return sum(len(str(message.get("content") or "").split()) for message in request.body["messages"])


async def _trace(endpoint: Endpoint, answer: httpx.Response) -> dict[str, Any]:
    async with http_of(endpoint) as client:
        return (await client.get(f"{endpoint.base_url}/turns/{answer.headers['x-mentalize-turn']}")).json()


async def test_d11_usage_is_three_integers_where_the_upstream_counts_nothing(serve: Serve) -> None:
    bare = {"choices": [{"message": {"content": "Yes."}}]}
    async with serve(Reply(body=bare)) as endpoint:
        usage = (await ask(endpoint, asking())).json()["usage"]
    assert [usage[f"{name}_tokens"] for name in ("prompt", "completion", "total")] == [0, 0, 0]


# --- tools ----------------------------------------------------------------------------------------------------

CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}


def tool_stream(*, numbered: bool, repeats: bool = False) -> list[bytes]:
    """Two calls, as an upstream streams them: with or without `index`, the id in each delta or in the first."""

    def delta(index: int, **fields: Any) -> bytes:
        place = {"index": index} if numbered else {}
        return piece({"tool_calls": [{**place, **fields}]})

    rest = [{"id": f"call_{number}"} if repeats else {} for number in (1, 2)]
    return [
        piece({"role": "assistant", "content": None, "reasoning_content": "Let me see."}),
        delta(0, **CALL),
        delta(0, **rest[0], function={"arguments": '{"city":'}),
        delta(0, **rest[0], function={"arguments": '"Rome"}'}),
        delta(1, **{**CALL, "id": "call_2"}),
        delta(1, **rest[1], function={"arguments": "{}"}),
        piece({}, "tool_calls"),
        DONE,
    ]


async def _calls_put_together(endpoint: Endpoint, model: str) -> list[tuple[str, str, str]]:
    """The tool calls of a stream, as the stricter of openai-python's two ways puts them together."""
    async with (
        openai_of(endpoint) as client,
        client.chat.completions.stream(**asking(model), tools=TOOLS) as stream,
    ):
        async for _ in stream:
            pass
        message = (await stream.get_final_completion()).choices[0].message
    return [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or ()]


BOTH_CALLS = [("call_1", "weather", '{"city":"Rome"}'), ("call_2", "weather", "{}")]


async def test_d12_tool_deltas_keep_their_index_and_their_ids(serve: Serve) -> None:
    pieces = tool_stream(numbered=True)
    async with serve(Reply(pieces=pieces)) as endpoint:
        for model in ("scripted", "mentalize"):
            content = (await ask(endpoint, asking(model, tools=TOOLS, stream=True))).content
            assert chunks_of(content) == [{**chunk, "model": model} for chunk in chunks_of(b"".join(pieces))]
            assert await _calls_put_together(endpoint, model) == BOTH_CALLS
        plain = await ask(endpoint, asking("scripted", tools=TOOLS, stream=True))
    assert plain.content == b"".join(pieces)


async def test_d12_an_id_that_an_upstream_repeats_stands_only_in_the_first_delta(serve: Serve) -> None:
    async with serve(Reply(pieces=tool_stream(numbered=True, repeats=True))) as endpoint:
        chunks = chunks_of((await ask(endpoint, asking("scripted", tools=TOOLS, stream=True))).content)
        assert await _calls_put_together(endpoint, "scripted") == BOTH_CALLS
    assert chunks == chunks_of(b"".join(tool_stream(numbered=True)))


async def test_d13_an_index_that_an_upstream_leaves_out_is_added(serve: Serve, subtests: pytest.Subtests) -> None:
    async with serve() as endpoint:
        for model, repeats in (("scripted", False), ("scripted", True), ("mentalize", False), ("mentalize", True)):
            with subtests.test(model=model, repeats=repeats):
                endpoint.upstream.script = Reply(pieces=tool_stream(numbered=False, repeats=repeats))
                chunks = chunks_of((await ask(endpoint, asking(model, tools=TOOLS, stream=True))).content)
                expected = chunks_of(b"".join(tool_stream(numbered=True)))
                assert chunks == [{**chunk, "model": model} for chunk in expected]
                assert await _calls_put_together(endpoint, model) == BOTH_CALLS


async def test_d13_calls_of_an_answer_that_came_whole_are_numbered_too(serve: Serve) -> None:
    calls = [
        {"id": name, "type": "function", "function": {"name": "weather", "arguments": arguments}}
        for name, _, arguments in BOTH_CALLS
    ]
    whole = Reply(body=completion({"content": None, "tool_calls": calls}, finish_reason="tool_calls"))
    async with serve(whole) as endpoint:
        assert await _calls_put_together(endpoint, "mentalize") == BOTH_CALLS
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    made = Completion(text="", message=message, finish_reason="tool_calls")
    async with serve(models={"model": FunctionModel(lambda _: made)}) as endpoint:
        assert await _calls_put_together(endpoint, "function") == BOTH_CALLS
    assert not any("index" in call for call in calls)


CONVERSATION: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Rain in Rome?", "name": "ana"},
    {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning_content": "I look.", "reasoning": "r"},
    {"role": "tool", "tool_call_id": "call_1", "content": '{"rain": true}', "odd": {"kept": 1}},
    {
        "role": "assistant",
        "content": "It rains.",
        "thinking": "t",
        "reasoning_details": [{"type": "x"}],
        "thought_signature": "sig==",
    },
]


async def test_d14_nothing_comes_between_a_call_and_its_result(serve: Serve) -> None:
    messages = [*CONVERSATION, {"role": "user", "content": MESSAGE}]
    async with serve() as endpoint:
        answer = await ask(endpoint, {"model": "mentalize-medium", "messages": messages}, ANA)
        (written, *_) = writes(endpoint.upstream)
    assert answer.headers["x-mentalize-effort"] == "medium"
    assert written.body["messages"][:-1] == CONVERSATION


async def test_d14_a_message_of_calls_without_content_is_handed_back_as_it_is(serve: Serve) -> None:
    whole = completion({"content": None, "tool_calls": [CALL]}, finish_reason="tool_calls")
    async with serve(Reply(body=whole)) as endpoint:
        plain = await ask(endpoint, asking("scripted", tools=TOOLS))
        ours = await ask(endpoint, asking("mentalize", tools=TOOLS))
    assert plain.content == whole
    assert ours.json() == {**json.loads(whole), "model": "mentalize"}


@pytest.mark.parametrize(
    "more",
    [
        {"tools": TOOLS, "tool_choice": "auto", "parallel_tool_calls": False},
        {"messages": CONVERSATION[:4]},
        {"functions": [{"name": "weather"}]},
    ],
    ids=["tools", "tool result", "functions"],
)
async def test_d15_requests_with_tools_pass_through(serve: Serve, more: dict[str, Any]) -> None:
    body = {**asking("mentalize-high"), **more, "unknown": {"kept": [1.5, None, "é"]}}
    whole = completion({"content": "It rains."}, odd=[None])
    async with serve(Reply(body=whole)) as endpoint:
        answer = await ask(endpoint, body, ANA)
        (request,) = endpoint.upstream.requests
        remembered = await turns_of(endpoint)
    assert request.body == {**body, "model": "scripted"}
    assert answer.json() == {**json.loads(whole), "model": "mentalize-high"}
    assert answer.headers["x-mentalize-effort"] == "none"
    if "messages" in more:
        assert answer.headers["x-mentalize-memory"] == "off; the last message is no person's" and not remembered
    else:
        assert answer.headers["x-mentalize-memory"] == "on"
        assert sorted(remembered) == sorted([MESSAGE, "It rains."])


# --- requests -------------------------------------------------------------------------------------------------

FIELDS: dict[str, Any] = {
    "max_tokens": 50,
    "max_completion_tokens": 60,
    "parallel_tool_calls": False,
    "logit_bias": {},
    "seed": 7,
    "stop": ["END"],
    "user": "u-1",
    "metadata": {"a": "b"},
    "store": True,
    "top_k": 5,
    "min_p": 0.05,
    "temperature": 0.25,
    "frequency_penalty": 0,
    "chat_template_kwargs": {"enable_thinking": False},
    "unheard_of": [1.50, {"é": None}],
}
PASSED = {"logprobs": True, "top_logprobs": 2, "response_format": {"type": "json_object"}, "tools": TOOLS, "n": 1}


async def test_d16_every_field_of_a_plain_request_is_passed_byte_by_byte(serve: Serve) -> None:
    body = {**asking("scripted", **FIELDS, **PASSED), "reasoning_effort": "low", "tool_choice": "none"}
    body["messages"].insert(0, {"role": "developer", "content": "Be brief."})
    raw = json.dumps(body, ensure_ascii=False, indent=3).encode() + b"\n"
    whole = completion({"content": "Yes.", "refusal": None, "annotations": []}, logprobs={"content": []})
    async with serve(Reply(body=whole)) as endpoint:
        answer = await ask(endpoint, raw)
        (request,) = endpoint.upstream.requests
    assert request.raw == raw
    assert answer.content == whole


async def test_d16_fields_of_a_request_that_is_thought_about_reach_the_writer(serve: Serve) -> None:
    body = asking("mentalize-low", **FIELDS)
    body["messages"].insert(0, {"role": "developer", "content": "Be brief."})
    async with serve() as endpoint:
        answer = await ask(endpoint, {**body, "mentalize": {"stages": False}})
        (written, *_) = writes(endpoint.upstream)
        others = [request.body for request in endpoint.upstream.requests if request is not written]
    assert answer.headers["x-mentalize-effort"] == "low"
    assert {name: written.body[name] for name in FIELDS} == FIELDS
    assert written.body["messages"][0] == {"role": "developer", "content": "Be brief."}
    assert not any("mentalize" in sent or "unheard_of" in sent for sent in others) and "mentalize" not in written.body


async def test_d16_reasoning_effort_chooses_our_effort_and_goes_on_only_with_what_passes_through(
    serve: Serve, subtests: pytest.Subtests
) -> None:
    async with serve() as endpoint:
        for named in ("none", "minimal", "low", "medium", "high", "xhigh"):
            with subtests.test(named=named):
                endpoint.upstream.requests.clear()
                thought = await ask(endpoint, asking("mentalize", reasoning_effort=named))
                sent = {request.body.get("reasoning_effort") for request in endpoint.upstream.requests}
                await ask(endpoint, asking("mentalize", reasoning_effort=named, tools=TOOLS))
                await ask(endpoint, asking("scripted", reasoning_effort=named))
                passed = [request.body.get("reasoning_effort") for request in endpoint.upstream.requests[-2:]]
                assert thought.headers["x-mentalize-effort"] == {"xhigh": "high"}.get(named, named)
                assert sent == ({"none"} if named == "none" else {None})
                assert passed == [named, named]


PARTS: list[dict[str, Any]] = [
    {"type": "text", "text": MESSAGE},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}},
    {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
    {"type": "file", "file": {"file_id": "file-1"}, "odd": 1},
]


async def test_d17_pictures_sounds_and_files_go_through_untouched(serve: Serve) -> None:
    messages = [
        {"role": "user", "content": PARTS},
        {"role": "assistant", "content": None, "audio": {"id": "audio_1"}},
        {"role": "user", "content": PARTS},
    ]
    raw = json.dumps({"model": "scripted", "messages": messages}).encode()
    async with serve() as endpoint:
        await ask(endpoint, raw)
        plain = endpoint.upstream.requests[-1].raw
        answer = await ask(endpoint, {"model": "mentalize-medium", "messages": messages})
        (written, *_) = writes(endpoint.upstream)
        others = [request.raw for request in endpoint.upstream.requests[1:] if request is not written]
        only_picture = await ask(endpoint, {"model": "mentalize", "messages": [{"role": "user", "content": PARTS[1:]}]})
    assert plain == raw
    assert answer.headers["x-mentalize-effort"] == "medium" and answer.status_code == 200
    persona, *sent = written.body["messages"]
    assert persona["role"] == "system" and sent[:2] == messages[:2]
    assert sent[2]["content"][:-1] == PARTS and sent[2]["content"][-1]["type"] == "text"
    assert others and not any(b"iVBORw0KGgo" in other or b"UklGRg" in other for other in others)
    assert any(b"Go without me" in other for other in others), "the text reaches the agents"
    assert only_picture.headers["x-mentalize-effort"] == "none"


async def test_d18_fields_of_messages_survive_both_ways(serve: Serve) -> None:
    unknown = {"reasoning_content": "r", "reasoning": "s", "reasoning_details": [{"a": 1}], "thought_signature": "x=="}
    pieces = [piece({"role": "assistant", "content": "", **unknown}), piece({"content": "Hi", "thinking": "t"}, "stop")]
    for reply, streams, expected in (
        (Reply(body=completion({"content": "Hi", **unknown})), False, completion({"content": "Hi", **unknown})),
        (Reply(pieces=[*pieces, DONE]), True, b"".join([*pieces, DONE])),
    ):
        async with serve(reply) as endpoint:
            raw = json.dumps(
                {"model": "scripted", "stream": streams, "messages": [*CONVERSATION, asking()["messages"][0]]}
            )
            plain = await ask(endpoint, raw.encode())
            assert endpoint.upstream.requests[-1].raw == raw.encode()
            assert plain.content == expected
            ours = await ask(endpoint, asking("mentalize", tools=TOOLS, stream=streams))
            expected_json = chunks_of(expected) if streams else [json.loads(expected)]
            ours_json = chunks_of(ours.content) if streams else [ours.json()]
            assert ours_json == [{**part, "model": "mentalize"} for part in expected_json]


async def test_d19_a_reply_in_a_format_is_the_upstreams_own(serve: Serve) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}}
    said = '{"a": [1.0, "I know exactly how you feel."]}'
    whole = completion({"content": said})
    async with serve(Reply(body=whole)) as endpoint:
        for response_format in (schema, {"type": "json_object"}):
            answer = await ask(endpoint, asking("mentalize-high", response_format=response_format))
            assert answer.json()["choices"][0]["message"]["content"] == said
            assert endpoint.upstream.requests[-1].body["response_format"] == response_format
        assert len(endpoint.upstream.requests) == 2
    async with serve() as endpoint:
        answer = await ask(endpoint, asking("mentalize-low", response_format={"type": "text"}))
    assert answer.headers["x-mentalize-effort"] == "low", "a format that asks for nothing changes nothing"


async def test_d20_log_probabilities_belong_to_an_answer_that_is_unchanged(serve: Serve) -> None:
    logprobs = {"content": [{"token": "Yes", "logprob": -0.25, "bytes": [89], "top_logprobs": []}], "refusal": None}
    pieces = [piece({"role": "assistant", "content": "Yes"}, logprobs=logprobs), piece({}, "stop", logprobs=None), DONE]
    wanted = {"logprobs": True, "top_logprobs": 3}
    async with serve(Reply(body=completion({"content": "Yes"}, logprobs=logprobs))) as endpoint:
        answer = await ask(endpoint, asking("mentalize-high", **wanted))
        assert answer.json()["choices"][0]["logprobs"] == logprobs
        assert endpoint.upstream.requests[-1].body == {**asking("scripted"), **wanted}
    async with serve(Reply(pieces=pieces)) as endpoint:
        plain = await ask(endpoint, asking("scripted", stream=True, **wanted))
        assert plain.content == b"".join(pieces)
    async with serve(models={"write": FunctionModel(lambda _: "Yes")}) as endpoint:
        refused = await ask(endpoint, asking("mentalize", **wanted))
    assert refused.status_code == 400 and "log-probabilities" in refused.json()["error"]["message"]


# --- responses, errors, models --------------------------------------------------------------------------------


async def test_d21_an_answer_has_all_fields_and_the_model_as_it_was_asked_for(serve: Serve) -> None:
    async with serve() as endpoint:
        for model in ("mentalize", "mentalize-low", "scripted"):
            whole = (await ask(endpoint, asking(model))).json()
            chunks = chunks_of((await ask(endpoint, asking(model, stream=True))).content)
            assert whole["object"] == "chat.completion" and whole["model"] == model
            assert whole["id"].startswith("chatcmpl-") and abs(whole["created"] - time.time()) < 60
            (choice,) = whole["choices"]
            assert (choice["index"], choice["message"]["role"], choice["message"]["content"]) == (0, "assistant", WARM)
            assert choice["finish_reason"] == "stop"
            assert {"prompt_tokens", "completion_tokens", "total_tokens"} <= whole["usage"].keys()
            (together,) = {(chunk["id"], chunk["object"], chunk["model"]) for chunk in chunks}
            assert together[0].startswith("chatcmpl-") and together[1:] == ("chat.completion.chunk", model)
            assert all(type(chunk["created"]) is int for chunk in chunks)


async def test_d21_openai_python_reads_answers_and_streams_sync_and_async(serve: Serve) -> None:
    async with serve() as endpoint, openai_of(endpoint) as client:
        created = await client.chat.completions.create(**asking())
        streamed = await client.chat.completions.create(**asking(), **STREAM)
        chunks = [chunk async for chunk in streamed]
        async with client.chat.completions.stream(**asking(), stream_options={"include_usage": True}) as stream:
            helped = await stream.get_final_completion()
        sync = await asyncio.to_thread(_read_in_step, endpoint.base_url)
    assert created.choices[0].message.content == WARM and created.usage
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == WARM
    assert chunks[-1].usage == created.usage == helped.usage
    assert helped.choices[0].message.content == WARM and helped.choices[0].finish_reason == "stop"
    assert sync == [WARM, WARM, WARM]


def _read_in_step(base_url: str) -> list[str | None]:
    http_client = openai.DefaultHttpxClient(verify=NO_TLS)
    with OpenAI(base_url=base_url, api_key="none", http_client=http_client) as client:
        created = client.chat.completions.create(**asking())
        chunks = list(client.chat.completions.create(**asking(), stream=True))
        with client.chat.completions.stream(**asking()) as stream:
            helped = stream.get_final_completion()
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    return [created.choices[0].message.content, said, helped.choices[0].message.content]


JSON = {"content-type": "application/json"}


WRONG: list[tuple[str, str, str, dict[str, str], int]] = [
    ("POST", "/v1/chat/completions", "{", JSON, 400),
    ("POST", "/v1/chat/completions", "[]", JSON, 400),
    ("POST", "/v1/chat/completions", "{}", JSON, 400),
    ("POST", "/v1/chat/completions", '{"model": "mentalize", "messages": [{"role": "no"}]}', JSON, 400),
    ("POST", "/v1/chat/completions", '{"model": "mentalize", "messages": [], "stream": 3}', JSON, 400),
    ("POST", "/v1/chat/completions", '{"model": "gone", "messages": [{"role": "user"}]}', JSON, 404),
    ("POST", "/v1/chat/completions", "{}", {"content-type": "text/plain"}, 415),
    ("POST", "/v1/chat/completions", "{}", {**JSON, "authorization": "Bearer wrong", "x-real-ip": "9.9.9.9"}, 401),
    ("POST", "/v1/chat/completions", "{}", {**JSON, "origin": "https://evil.example"}, 403),
    ("POST", "/v1/chat/completions", f'{{"a": "{"x" * 2_000}"}}', JSON, 413),
    ("GET", "/v1/chat/completions", "", {}, 405),
    ("GET", "/v1/models/none/such", "", {}, 404),
    ("GET", "/v1/memories?limit=many", "", ANA, 400),
    ("POST", "/v1/memories", "{", {**JSON, **ANA}, 400),
    ("GET", "/v1/memories", "", {}, 403),
    ("GET", "/v1/turns/none", "", {}, 404),
    ("GET", "/nothing/here", "", {}, 404),
]


async def test_d22_every_error_has_openais_form(serve: Serve, subtests: pytest.Subtests) -> None:
    limits = {"body_bytes": 1_024}
    async with serve(server={"limits": limits}) as endpoint, http_of(endpoint) as client:
        for method, path, content, headers, status in WRONG:
            with subtests.test(method=method, path=path, content=content[:40], headers=headers):
                answer = await client.request(method, path, content=content, headers=headers)
                assert answer.status_code == status
                assert answer.json().keys() == {"error"}
                error = answer.json()["error"]
                assert error.keys() == {"message", "type", "param", "code"} and error["message"] and error["type"]


async def test_d22_statuses_become_the_clients_exceptions(serve: Serve) -> None:
    async with (
        serve(Reply(status=429, body={"error": {"message": "slow"}})) as endpoint,
        openai_of(endpoint, max_retries=0) as client,
    ):
        create = client.chat.completions.create
        with pytest.raises(openai.BadRequestError) as refused:
            await create(**asking(stream="yes"))
        with pytest.raises(openai.NotFoundError, match="There are: mentalize"):
            await create(**asking("gone"))
        with pytest.raises(openai.RateLimitError):
            await create(**asking("scripted"))
        with pytest.raises(openai.RateLimitError):
            await create(**asking())
        with pytest.raises(openai.PermissionDeniedError):
            await client.with_options(default_headers={"Host": "evil.example"}).models.list()
    assert refused.value.param == "stream" and refused.value.type == "invalid_request_error"


async def test_d23_a_costly_turn_that_fails_late_is_not_run_again(serve: Serve) -> None:
    thinking: Any = thoughtful()

    def mute(body: dict[str, Any]) -> Reply:
        writes_reply = schema_of(body) is None and MESSAGE in str(body["messages"])
        return Reply(status=500, body="no") if writes_reply else thinking(body)

    async with serve(mute) as endpoint:
        async with openai_of(endpoint) as client:
            for streams in (False, True):
                with pytest.raises(openai.InternalServerError) as failed:
                    await client.chat.completions.create(**asking("mentalize-low", stream=streams))
                assert failed.value.response.headers["x-should-retry"] == "false"
        assert len(writes(endpoint.upstream)) == 2, "one for each request: openai-python did not try again"
        cheap = await ask(endpoint, asking())
    assert cheap.status_code == 502 and "x-should-retry" not in cheap.headers


async def test_d23_an_upstreams_word_on_trying_again_is_kept(serve: Serve) -> None:
    headers = {"retry-after-ms": "1", "retry-after": "1", "x-should-retry": "true"}
    script = [Reply(status=503, headers=headers, body={"error": {"message": "no"}}), Reply(text="Now.")]
    async with serve(script) as endpoint, openai_of(endpoint) as client:
        answer = await client.chat.completions.create(**asking("scripted"))
        assert answer.choices[0].message.content == "Now." and len(endpoint.upstream.requests) == 2


async def test_d23_a_request_that_comes_again_is_remembered_once(serve: Serve) -> None:
    async with serve() as endpoint:
        for body in (asking(), asking(), asking(stream=True)):
            assert (await ask(endpoint, body, ANA)).status_code == 200
        rows = await endpoint.mind.memory.find(Identity("default", "ana"), Filter(kinds=(MemoryKind.TURN,)))
    assert len([row for row in rows if row.text == MESSAGE]) == 1
    assert len([row for row in rows if row.superseded_by is None]) == 2, "the last reply took the others' place"


async def test_d24_models_are_listed_for_whoever_has_a_key(serve: Serve) -> None:
    async with serve() as endpoint, http_of(endpoint) as client:
        _, secret = await endpoint.mind.memory.keys.create("acme")
        bearer = {"Authorization": f"Bearer {secret}"}
        with_slash, without = [await client.get(f"/v1/models{end}", headers=bearer) for end in ("/", "")]
        nobody = await client.get("/v1/models")
        async with openai_of(endpoint, api_key=secret) as ours:
            names = [model.id async for model in ours.models.list()]
            one = await ours.models.retrieve("mentalize")
        async with openai_of(endpoint, api_key="mk-unknown") as stranger:
            with pytest.raises(openai.AuthenticationError):
                await stranger.models.list()
    assert without.status_code == 200 and without.content == with_slash.content
    listed = without.json()
    assert listed.keys() == {"object", "data"} and listed["object"] == "list"
    for card in listed["data"]:
        assert card.keys() == {"id", "object", "created", "owned_by"}
        assert card["object"] == "model" and type(card["created"]) is int
    efforts = [f"mentalize-{effort}" for effort in ("minimal", "low", "medium", "high")]
    assert names == ["mentalize", *efforts, "scripted"] and one.owned_by == "mentalize"
    assert nobody.status_code == 401


async def test_d25_every_answer_has_an_id_and_says_what_we_added(serve: Serve) -> None:
    theirs = {
        "x-request-id": "up-1",
        "x-ratelimit-remaining-requests": "9",
        "anthropic-ratelimit-tokens-limit": "5",
        "openai-processing-ms": "12",
        "set-cookie": "a=b",
        "server": "upstream",
    }
    async with serve(Reply(text="Yes.", headers=theirs)) as endpoint:
        for body in (asking("scripted"), asking("scripted", stream=True), asking("mentalize", tools=TOOLS)):
            answer = await ask(endpoint, body)
            assert answer.headers["x-request-id"].startswith("req-")
            assert answer.headers["x-upstream-request-id"] == "up-1"
            kept = {name: answer.headers[name] for name in list(theirs)[1:4]}
            assert kept == {name: theirs[name] for name in kept}
            assert not {"set-cookie", "server"} & answer.headers.keys()
            assert 0 <= float(answer.headers["x-mentalize-overhead-ms"]) < 2_000
        for body in (asking(), asking(stream=True), asking("gone"), b"{"):
            answer = await ask(endpoint, body, {"X-Request-Id": "mine-7"})
            assert answer.headers["x-request-id"] == "mine-7"
        forged = await ask(endpoint, asking("gone"), {"X-Request-Id": "a b<script>"})
        assert re.fullmatch(r"req-[0-9a-f]{32}", forged.headers["x-request-id"])
        assert float((await ask(endpoint, asking())).headers["x-mentalize-overhead-ms"]) >= 0


# --- who and why ----------------------------------------------------------------------------------------------


async def test_d26_names_are_taken_from_trusted_keys_only(serve: Serve, subtests: pytest.Subtests) -> None:
    ways: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
        "open-webui": ({"X-OpenWebUI-User-Id": "ana"}, {}),
        "litellm-customer": ({"x-litellm-customer-id": "ana"}, {}),
        "litellm-end-user": ({"x-litellm-end-user-id": "ana"}, {}),
        "our-header": ({"X-Mentalize-User": "ana"}, {}),
        "user": ({}, {"user": "ana"}),
        "our-field": ({}, {"mentalize": {"user": "ana"}}),
    }
    async with serve() as endpoint:
        keys = endpoint.mind.memory.keys
        for tenant, (headers, more) in ways.items():
            _, trusted = await keys.create(tenant, trusted=True)
            _, other = await keys.create(tenant)
            no, yes = "off; the key may not name users", "on"
            for secret, memory, rows in ((other, no, []), (trusted, yes, [MESSAGE, WARM])):
                with subtests.test(way=tenant, memory=memory):
                    answer = await ask(endpoint, asking(**more), {**headers, "Authorization": f"Bearer {secret}"})
                    assert answer.headers["x-mentalize-memory"] == memory
                    assert sorted(await turns_of(endpoint, tenant=tenant)) == sorted(rows)


async def test_d26_no_identity_no_memory(serve: Serve, tmp_path: Path) -> None:
    async with serve() as endpoint:
        answer = await ask(endpoint, asking("mentalize-low"), {"X-OpenWebUI-Chat-Id": "chat-1"})
        passed = await ask(endpoint, asking("mentalize", tools=TOOLS))
        known = await ask(endpoint, asking(), {**ANA, "X-OpenWebUI-Chat-Id": "chat-1"})
        found = await endpoint.mind.memory.find(Identity("default", "ana"), Filter(session="chat-1"))
    assert answer.headers["x-mentalize-memory"] == passed.headers["x-mentalize-memory"] == "off; no user was named"
    assert known.headers["x-mentalize-memory"] == "on" and len(found) == 2
    assert _people(tmp_path) == ["ana"]


def _people(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "memory.db")) as database:
        return [row[0] for row in database.execute('SELECT "user" FROM people')]


HISTORY = "<chat_history>\nUSER: I was born in Mars City.\nASSISTANT: How nice.\n</chat_history>"
SIDE_TASKS = {
    "open webui: title": "### Task:\nGenerate a concise, 3-5 word title with an emoji summarizing the chat history.\n"
    f"### Guidelines:\n- Be clear.\n### Chat History:\n{HISTORY}",
    "open webui: tags": "### Task:\nGenerate 1-3 broad tags categorizing the main themes of the chat history, along"
    f" with 1-3 more specific subtopic tags.\n\n### Chat History:\n{HISTORY}",
    "open webui: follow-ups": "### Task:\nSuggest 3-5 relevant follow-up questions or prompts that the user might"
    " naturally ask next in this conversation as a **user**, based on the chat history, to help continue or deepen the"
    f" discussion.\n### Chat History:\n{HISTORY}",
    "open webui: queries": "### Task:\nAnalyze the chat history to determine the necessity of generating search"
    " queries, in the given language. By default, **prioritize generating 1-3 broad and relevant search queries**"
    f" unless it is absolutely certain that no additional information is required.\n### Chat History:\n{HISTORY}",
    "open webui: image": "### Task:\nGenerate a detailed prompt for am image generation task based on the given"
    f" language and context.\n### Chat History:\n{HISTORY}",
    "open webui: autocompletion": "### Task:\nYou are an autocompletion system. Continue the text in `<text>` based on"
    f" the **completion type** in `<type>` and the given language.\n{HISTORY}\n<text>I was</text>",
    "open webui: emoji": "Your task is to reflect the speaker's likely facial expression through a fitting emoji."
    " Interpret emotions from the message.\n\nMessage: ```I was born in Mars City.```",
    "librechat: title": "Provide a concise, 5-word-or-less title for the conversation, using its same language, with"
    " no punctuation. Apply title case conventions appropriate for the language. Never directly mention the language"
    ' name or the word "title" and only return the title itself.\n\nConversation:\nUser: I was born in Mars City.',
    "librechat: structured title": "Analyze this conversation and provide:\n1. The detected language of the"
    " conversation\n2. A concise title in the detected language (5 words or less, no punctuation or quotation)\n\n"
    "User: I was born in Mars City.",
}
OF_SYSTEM = {
    "librechat: earlier title": (
        "Write a concise title for this conversation in the given language. Title in 5 Words or Less. No Punctuation"
        " or Quotation.\nUser: I was born in Mars City.",
        "Language: English",
    ),
    "open webui: tool choice": (
        'Available Tools: [{"name": "weather"}]\n\nYour task is to choose and return the correct tool(s) from the list'
        " of available tools based on the query. Follow these guidelines:\n\n- Return only the JSON object",
        'History:\nUSER: """Hi"""\nQuery: I was born in Mars City.',
    ),
}
PROMPTS: dict[str, list[dict[str, str]]] = {
    **{name: [{"role": "user", "content": text}] for name, text in SIDE_TASKS.items()},
    **{
        name: [{"role": "system", "content": system}, {"role": "user", "content": text}]
        for name, (system, text) in OF_SYSTEM.items()
    },
}


async def test_d27_prompts_of_apps_get_a_plain_call_and_leave_no_memory(
    serve: Serve, subtests: pytest.Subtests
) -> None:
    asked = (("mentalize", {}), ("mentalize-high", {"stream": True}), ("mentalize", {"tools": TOOLS}))
    async with serve(Reply(text="Mars Talk")) as endpoint:
        for name, messages in PROMPTS.items():
            for model, more in asked:
                with subtests.test(name, model=model, more=more):
                    endpoint.upstream.requests.clear()
                    body = {"model": model, "messages": messages, **more}
                    answer = await ask(endpoint, body, ANA)
                    assert answer.status_code == 200 and b"Talk" in answer.content
                    headers = answer.headers
                    assert headers["x-mentalize-effort"] == "none" and headers["x-mentalize-memory"] == "off"
                    (request,) = endpoint.upstream.requests
                    assert request.body == {**body, "model": "scripted"}
        assert not await endpoint.mind.memory.find(Identity("default", "ana"), Filter())


async def test_d27_a_header_names_a_side_task_whatever_the_words(serve: Serve) -> None:
    async with serve(Reply(text="Of Mars")) as endpoint:
        for value in ("title_generation", "tags_generation", "follow_up_generation"):
            answer = await ask(endpoint, asking("mentalize-high", "Born on Mars."), {**ANA, "X-OpenWebUI-Task": value})
            assert answer.json()["choices"][0]["message"]["content"] == "Of Mars"
            assert answer.json()["model"] == "mentalize-high"
            assert answer.headers["x-mentalize-memory"] == "off"
        assert len(endpoint.upstream.requests) == 3
        assert not await endpoint.mind.memory.find(Identity("default", "ana"), Filter())
        chat = await ask(endpoint, asking(text="Born on Mars."), {**ANA, "X-OpenWebUI-Task": ""})
        assert chat.headers["x-mentalize-memory"] == "on", "Open WebUI leaves it empty when a person speaks"


async def test_d27_danger_that_a_side_task_quotes_gets_no_crisis_reply_for_a_title(serve: Serve) -> None:
    title = "Provide a concise, 5-word-or-less title for the conversation.\n\n||>User:\nI want to kill myself.\n"
    async with serve(Reply(text="A hard night")) as endpoint:
        answer = await ask(endpoint, asking("mentalize-medium", title), ANA)
        assert answer.json()["choices"][0]["message"]["content"] == "A hard night"
        assert answer.headers["x-mentalize-memory"] == "off"


async def test_d27_what_a_person_says_is_no_side_task(serve: Serve) -> None:
    async with serve() as endpoint:
        for text in (
            "### Task:\nI have to tell my mother that I failed.",
            "Provide a reason to go on.",
            "Analyze this: nobody called.",
        ):
            answer = await ask(endpoint, asking(text=text), ANA)
            assert answer.headers["x-mentalize-effort"] == "minimal" and answer.headers["x-mentalize-memory"] == "on"


@asynccontextmanager
async def _left(endpoint: Endpoint, body: Mapping[str, Any]) -> AsyncIterator[asyncio.StreamReader]:
    """A client that asks, and whose connection is cut at the end of the block."""
    place = urlsplit(endpoint.url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    content = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {place.netloc}\r\nX-Mentalize-User: ana\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    writer.write(head.encode() + content)
    await writer.drain()
    try:
        yield reader
    finally:
        writer.transport.abort()


async def _all_is_cancelled(endpoint: Endpoint, calls: int, before: int = 0) -> None:
    """So many upstream calls, and all there are, lost their client; nothing is remembered, and nothing goes on."""
    upstream = endpoint.upstream
    assert await upstream.disconnected(before + calls, within=5)
    assert await upstream.idle(within=5) and upstream.disconnects == before + calls
    assert await turns_of(endpoint) == []
    requests = len(upstream.requests)
    await asyncio.sleep(0.05)
    assert len(upstream.requests) == requests


SLOW = Reply(text="word " * 200, word_delay=0.02)


async def test_d28_leaving_in_mid_stream_cancels_the_upstream(serve: Serve) -> None:
    live = asking(mentalize={"stream": "live"})
    async with serve(SLOW) as endpoint:
        for before, body in enumerate((asking("scripted"), asking("mentalize", tools=TOOLS), live)):
            async with _left(endpoint, {**body, "stream": True}) as reader:
                await reader.readuntil(b"word")
            await _all_is_cancelled(endpoint, 1, before)


@pytest.mark.parametrize("streams", [True, False], ids=["before the first token", "without streaming"])
async def test_d28_leaving_before_the_answer_cancels_the_upstream(serve: Serve, streams: bool) -> None:
    async with serve(Reply(never=True)) as endpoint:
        for before, body in enumerate((asking("scripted"), asking("mentalize", tools=TOOLS), asking())):
            async with _left(endpoint, {**body, "stream": streams}):
                assert await endpoint.upstream.received(before + 1, within=5)
            await _all_is_cancelled(endpoint, 1, before)


@pytest.mark.parametrize("streams", [True, False])
async def test_d28_leaving_cancels_every_side_call(serve: Serve, streams: bool) -> None:
    answering: Any = thoughtful()

    def never_thinks(body: dict[str, Any]) -> Reply:
        return Reply(never=True) if "<conversation>" in str(body["messages"]) else answering(body)

    async with serve(never_thinks) as endpoint:
        await endpoint.mind.doctor()
        probes = len(endpoint.upstream.requests)
        async with _left(endpoint, asking("mentalize-medium", stream=streams)):
            assert await endpoint.upstream.received(probes + 3, within=5)
        await _all_is_cancelled(endpoint, 3)


async def test_d28_leaving_while_the_reply_is_judged_cancels_the_judges(serve: Serve) -> None:
    async with serve(SLOW) as endpoint:
        endpoint.upstream.script = writing(Reply(text=f"{WARM} " * 2))
        await ask(endpoint, asking("mentalize-medium"))
        answering: Any = endpoint.upstream.script

        def never_judges(body: dict[str, Any]) -> Reply:
            name = ((body.get("response_format") or {}).get("json_schema") or {}).get("name")
            return Reply(never=True) if name in ("QualityAnswer", "SafetyAnswer") else answering(body)

        endpoint.upstream.script = never_judges
        async with _left(endpoint, asking("mentalize-medium", stream=True)) as reader:
            await reader.readuntil(b"Shall we wait")
            while endpoint.upstream.active < 2:  # noqa: ASYNC110 - both judges are asked at about the same time
                await asyncio.sleep(0.005)
        await _all_is_cancelled(endpoint, 2)


async def test_d29_routes_without_checks_are_not_served(serve: Serve) -> None:
    names = ("responses", "completions", "embeddings", "moderations", "responses/r_1", "audio/speech")
    async with serve() as endpoint, http_of(endpoint) as client:
        for name in names:
            asked = await client.post(f"/v1/{name}", json=asking("scripted", input="Hi"))
            for answer in (asked, await client.get(f"/v1/{name}")):
                assert answer.status_code == 404
                assert answer.json()["error"].keys() == {"message", "type", "param", "code"}
        assert endpoint.upstream.requests == []


async def test_d30_the_prompt_keeps_its_beginning_and_memory_stands_at_its_end(serve: Serve) -> None:
    said = ["My sister Inge moved to Oslo.", "I miss Inge so much.", "Do you remember where my sister Inge lives?"]
    conversation: list[dict[str, Any]] = []
    async with serve() as endpoint:
        memory = endpoint.mind.memory
        await memory.remember(Identity("default", "ana"), "My sister Inge loves the sea.", kind=MemoryKind.FACT)
        for text in said:
            conversation.append({"role": "user", "content": text})
            body = {"model": "mentalize-minimal", "messages": conversation}
            answer = await ask(endpoint, body, ANA)
            conversation.append({"role": "assistant", "content": answer.json()["choices"][0]["message"]["content"]})
        first, second, third = writes(endpoint.upstream)
    for turn, (earlier, later) in enumerate(((first, second), (second, third))):
        kept = _beginning(earlier.raw, later.raw)
        assert said[turn].encode() in kept, "all that was said before is the same bytes"
        assert b"<guidance>" not in kept
    *before, last = third.body["messages"]
    assert before[1:] == conversation[:4] and before[0] == first.body["messages"][0]
    assert last["content"].startswith(f"{said[2]}\n\n<guidance>")
    assert "loves the sea" in last["content"] and "loves the sea" not in json.dumps(before)
    assert last["content"].endswith("</guidance>")


def _beginning(one: bytes, other: bytes) -> bytes:
    """What both begin with."""
    differs = (place for place, (this, that) in enumerate(zip(one, other, strict=False)) if this != that)
    return one[: next(differs, len(one))]


async def test_d30_memory_is_the_same_bytes_while_it_is_unchanged(serve: Serve) -> None:
    async with serve() as endpoint:
        memory = endpoint.mind.memory
        await memory.remember(Identity("default", "ana"), "My sister Inge loves the sea.", kind=MemoryKind.FACT)
        for _ in range(2):
            body = asking(text="What does my sister Inge love?", mentalize={"memory": "read-only"})
            await ask(endpoint, body, ANA)
        first, second = writes(endpoint.upstream)
    assert first.raw == second.raw and b"loves the sea" in first.raw

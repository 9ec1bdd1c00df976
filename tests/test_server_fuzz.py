"""A long search for what breaks the endpoint: any body, any bytes, many at once, in front of a model that fails."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import random
import resource
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import mentalize
from endpoint import Endpoint, served, thoughtful
from mentalize.server.protocol import PunctualProtocol
from openai_server import GARBAGE, GARBLED_STREAMS, Reply, Script
from raw_http import CHAT, Answer, connected, request
from social_script import MESSAGE

pytestmark = pytest.mark.fuzz

BODIES = 6_000
MUTANTS = 15_000
AT_ONCE = 48
WARM = 2_000
"""Requests after which a server has all the memory that it needs."""
GROWTH = 150 * 2**20
"""Bytes that it may grow by in all the others."""

OWN_ERROR = b'{"error": {"message": "the model itself", "type": "own", "param": null, "code": "upstream"}}'


def moody(seed: int) -> Script:
    """An upstream that fails as often as it does well."""
    chance, good = random.Random(seed), thoughtful(MESSAGE)
    assert callable(good)

    def reply(body: dict[str, Any]) -> Any:
        mood = chance.random()
        if mood < 0.6:
            return good(body)
        if mood < 0.7:
            return Reply(status=chance.choice((400, 401, 404, 422, 429, 500, 503)), body=OWN_ERROR)
        if mood < 0.8:
            return Reply(text=MESSAGE, cut_after=chance.randrange(9), status=200)
        if mood < 0.9:
            return Reply(body=chance.choice(GARBAGE))
        if mood < 0.98:
            return Reply(pieces=chance.choice(GARBLED_STREAMS))
        return Reply(text=MESSAGE, hold=True) if mood < 0.99 else Reply(text=MESSAGE, delay=0.05)

    return reply


# --- what was found ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class Found:
    """What came back."""

    sent: int = 0
    statuses: Counter[int] = field(default_factory=Counter[int])
    faults: list[str] = field(default_factory=list[str])

    def note(self, answer: Answer, asked: bytes) -> None:
        self.statuses[answer.status] += 1
        if problem := problem_with(answer, asked):
            self.faults.append(f"{problem}: {answer.status} {answer.body[:300]!r} to {asked[:1_500]!r}")


UPSTREAMS = {502: {"model_unavailable", "model_misconfigured"}, 504: {"model_timeout"}, 400: {"model_refused"}}


def problem_with(answer: Answer, asked: bytes) -> str:
    """What is wrong with an answer; empty if nothing is."""
    if not answer.headers.get("x-request-id") and answer.status >= 200:
        return "no id"
    if asks_for_head(asked):
        # No body was read. A mutant before it may have been two requests, and then this is the second one's answer.
        return ""
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        return "" if answer.body.endswith(b"data: [DONE]\n\n") else "a stream without an end"
    if answer.status < 400 or answer.body == OWN_ERROR:
        return ""
    try:
        error = json.loads(answer.body)["error"]
    except (ValueError, TypeError, KeyError):
        return "an error in another form"
    if set(error) != {"message", "type", "param", "code"} or not error["message"]:
        return "an error without all its parts"
    if answer.status >= 500 and error["code"] not in UPSTREAMS.get(answer.status, set()):
        return "a failure of ours"
    return ""


def asks_for_head(asked: bytes) -> bool:
    """Whether the answer to it has no body; HTTP allows empty lines before a request."""
    return asked.lstrip(b"\r\n").startswith(b"HEAD")


class Impatient(PunctualProtocol):
    """Mutants promise more than they send."""

    head_seconds = 0.3


@asynccontextmanager
async def besieged(folder: Path, seed: int, caplog: pytest.LogCaptureFixture) -> AsyncIterator[tuple[Endpoint, Found]]:
    """A server, what was found, and a look afterwards at whether anything was left."""
    found = Found()
    caplog.set_level(logging.ERROR)
    async with served(
        folder,
        moody(seed),
        protocol=Impatient,
        retries=0,
        call_seconds=1.0,
        memory={"url": f"sqlite:///{folder}/memory.db", "embedder": "fake", "mode": "off"},
        server={"arrival_seconds": 0.3},
    ) as endpoint:
        async with httpx.AsyncClient(base_url=endpoint.url, timeout=60) as client:
            await client.post(CHAT, json={"model": "mentalize-low", "messages": [{"role": "user", "content": "Hm."}]})
        before = tasks_of_ours()
        yield endpoint, found
        async with httpx.AsyncClient(base_url=endpoint.url, timeout=60) as client:
            assert (await client.get("/healthz")).json() == {"status": "ok"}
            assert "mentalize_turns_in_flight 0.0" in (await client.get("/metrics")).text
        await endpoint.mind.settle()
        assert await nothing_left(endpoint, before), tasks_of_ours() - before
    assert not found.faults, "\n".join([f"{len(found.faults)} of {found.sent}", *found.faults[:10]])
    ours = [record for record in caplog.records if record.name in ("mentalize.server", "uvicorn.error", "asyncio")]
    assert not ours, [(record.getMessage(), record.exc_info) for record in ours[:5]]


def tasks_of_ours() -> Counter[str]:
    """Tasks that run the server's own code, by what they do; the one that takes notes waits for the next turn."""
    package = str(Path(mentalize.__file__).parent)
    coroutines: list[Any] = [task.get_coro() for task in asyncio.all_tasks()]
    names = Counter(one.__qualname__ for one in coroutines if one.cr_code.co_filename.startswith(package))
    return names - Counter(["Background._work"])


async def nothing_left(endpoint: Endpoint, before: Counter[str]) -> bool:
    """Whether every connection and task of a request ends within some seconds."""
    state = endpoint.server.server_state
    for _ in range(100):
        if not (state.connections or state.tasks or tasks_of_ours() - before):
            return True
        await asyncio.sleep(0.1)
    return False


def most_memory() -> float:
    """The most memory that this process has had, in bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


async def send(endpoint: Endpoint, found: Found, *asked: bytes) -> None:
    """Send requests over one connection, and note what comes back until it ends."""
    async with connected(endpoint.url) as connection:
        for data in asked:
            found.sent += 1
            await connection.send(data)
            try:
                found.note(await connection.answer(head_only=asks_for_head(data), within=30), data)
            except (EOFError, ConnectionError):
                return
            except TimeoutError:
                found.faults.append(f"no answer to {data[:1_500]!r}")
                return
            except (ValueError, IndexError):  # What follows the answer to a HEAD that was made of something else.
                return
            if b"HEAD" in data:  # A mutant can be two requests; of the next answer nobody knows whether it has a body.
                return


# --- any body ---------------------------------------------------------------------------------------------

words = st.text(max_size=30) | st.sampled_from([MESSAGE, "", "\ud800", "\x00", "a" * 5_000, "I want to die."])
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
roles = st.sampled_from(["system", "developer", "user", "assistant", "tool", "function", "wizard"]) | anything
parts = st.fixed_dictionaries({}, optional={"type": st.just("text") | anything, "text": words | anything}) | anything
messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.just("user") | roles},
        optional={"content": words | st.lists(parts, max_size=3) | anything, "tool_calls": anything, "name": anything},
    )
    | anything,
    max_size=4,
)
models = st.sampled_from(["scripted", "scripted", "mentalize", "mentalize-minimal", "mentalize-low", "gpt-9"])
wishes = st.fixed_dictionaries(
    {},
    optional={
        "user": st.sampled_from(["ana", "ben"]) | words | anything,
        "session": words | anything,
        "zone": st.sampled_from(["Europe/Dublin", "x"]) | anything,
        "audience": st.lists(words, max_size=2) | anything,
        "effort": st.sampled_from(["none", "minimal", "low"]) | anything,
        "memory": st.sampled_from(["on", "off", "read-only"]) | anything,
        "stream": st.sampled_from(["sentence", "gated", "live"]) | anything,
        "stages": st.booleans() | anything,
    },
)
chats = st.fixed_dictionaries(
    {"model": models, "messages": messages},
    optional={
        "stream": st.booleans() | anything,
        "stream_options": st.just({"include_usage": True}) | anything,
        "reasoning_effort": st.sampled_from(["none", "minimal", "low"]) | anything,
        "mentalize": wishes | anything,
        "tools": anything,
        "n": anything,
        "response_format": anything,
        "user": words | anything,
        "metadata": anything,
        "logprobs": anything,
        "x": anything,
    },
)
statements = st.fixed_dictionaries(
    {}, optional={"text": words | anything, "kind": words, "pinned": anything, "status": words}
)
asked = st.one_of(
    st.tuples(st.just("POST"), st.just(CHAT), chats | anything),
    st.tuples(st.just("POST"), st.just(CHAT), chats),
    st.tuples(
        st.sampled_from(["POST", "PATCH", "GET", "DELETE"]),
        st.sampled_from(["/v1/memories", "/v1/memories/m", "/v1/memories/search?q=x", "/v1/turns/t"]),
        statements | anything,
    ),
)


async def test_no_body_breaks_the_endpoint(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    async with besieged(tmp_path, 1, caplog) as (endpoint, found):

        @settings(
            max_examples=BODIES // 7,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
        )
        @given(st.lists(asked, min_size=8, max_size=8))
        def ask(many: Sequence[tuple[str, str, Any]]) -> None:
            requests = [
                request(method, path, json.dumps(body).encode(), {"x-mentalize-user": "ana"})
                for method, path, body in many
            ]
            halves = (requests[:2], requests[2:4], requests[4:5], requests[5:6], requests[6:])
            asyncio.run_coroutine_threadsafe(gather(endpoint, found, halves), loop).result(120)
            endpoint.upstream.requests.clear()

        await asyncio.to_thread(ask)
    assert found.sent >= BODIES and {200, 400, 404, 502} <= set(found.statuses), found.statuses


async def gather(endpoint: Endpoint, found: Found, connections: Sequence[Sequence[bytes]]) -> None:
    await asyncio.gather(*(send(endpoint, found, *requests) for requests in connections))


# --- any bytes --------------------------------------------------------------------------------------------

TALK = [{"role": "user", "content": MESSAGE}]
TOOLS = {"model": "mentalize", "messages": TALK, "tools": [{}], "mentalize": {"memory": "on"}}
NAMED = {"x-mentalize-user": "ana", "x-mentalize-session": "s"}
TEMPLATES = (
    request("POST", body=json.dumps({"model": "scripted", "messages": TALK}).encode()),
    request("POST", body=json.dumps({"model": "scripted", "messages": TALK, "stream": True}).encode()),
    request("POST", body=json.dumps({"model": "mentalize-minimal", "messages": TALK}).encode(), headers=NAMED),
    request("POST", body=json.dumps({"model": "mentalize-low", "messages": TALK, "stream": True}).encode()),
    request(
        "POST",
        body=json.dumps(TOOLS).encode(),
        headers={**NAMED, "x-mentalize-effort": "low", "x-openwebui-task": "title"},
    ),
    request("POST", body=b"5\r\n{\"mod\r\n3\r\nel\"\r\n0\r\n\r\n", headers={"transfer-encoding": "chunked"}),
    request(path="/v1/models", headers={"authorization": "Bearer x"}),
    request(path="/v1/models/mentalize"),
    request(path="/v1/memories?limit=5&kind=fact&since=2026-05-01T12:00:00Z", headers=NAMED),
    request(path="/v1/memories/search?q=rivers&limit=3", headers=NAMED),
    request(path="/v1/memories/export", headers=NAMED),
    request("POST", "/v1/memories", b'{"text": "I like rivers."}', NAMED),
    request("PATCH", "/v1/memories/m", b'{"pinned": true, "status": "confirmed"}', NAMED),
    request("DELETE", "/v1/memories/m", headers=NAMED),
    request(path="/v1/memories/m/why", headers=NAMED),
    request("DELETE", "/v1/memories?all=true", headers=NAMED),
    request(path="/v1/turns/turn-1", headers=NAMED),
    request(path="/healthz"),
    request(path="/readyz"),
    request(path="/metrics", headers={"accept": "application/openmetrics-text"}),
    request("HEAD", "/healthz"),
    request("OPTIONS", "/v1/memories", headers={"origin": "http://localhost", "access-control-request-method": "GET"}),
    request("POST", headers={"expect": "100-continue", "content-length": "2"}, body=b"{}"),
    request("POST", "/v1/responses", b"{}"),
)  # fmt: skip
SPLICES = (
    b"\r\n", b"\x00", b"\xff", b"%00", b"..", b"\"", b"{", b"}", b"[" * 99, b"\\ud800", b"\\u0000", b"NaN", b"1e999",
    b"null", b"-1", b"9" * 400, b": ", b"HTTP/1.0", b"Transfer-Encoding: chunked\r\n", b"Content-Length: 3\r\n",
    b"Host: evil.example\r\n", b"Origin: http://[::1\r\n", b"X-Forwarded-For: a\r\n", b"Authorization: Bearer \xff\r\n",
    b"Connection: close\r\n", b"Expect: 100-continue\r\n", b"X-Mentalize-User: \xe6\x97\xa5\r\n", b"x" * 70_000,
    b"X-Mentalize-Zone: Mars/Base\r\n", b"X-Mentalize-Effort: high\r\n", b"X-Mentalize-Memory: on\r\n", b"\n", b"&&&=",
)  # fmt: skip


def mutant(chance: random.Random) -> bytes:
    """A request of which some bytes are others."""
    data = bytearray(chance.choice(TEMPLATES))
    for _ in range(chance.choice((0, 0, 0, 1, 1, 2, 3, 8))):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(7):
            case 0 if at < len(data):
                data[at] = chance.randrange(256)
            case 1:
                data[at:at] = chance.choice(SPLICES)
            case 2:
                del data[at : at + chance.randrange(1, 20)]
            case 3:
                data[at:at] = data[at : at + chance.randrange(1, 60)]
            case 4:
                other = chance.choice(TEMPLATES)
                data[at:] = other[chance.randrange(len(other)) :]
            case 5 if b"\r\n" in data:  # A header or a part of the body where a line begins.
                at = data.index(b"\r\n") + 2
                data[at:at] = chance.choice(SPLICES)
            case _:
                data[at:at] = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 9)))
    return bytes(data)


async def test_no_bytes_break_the_endpoint(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    seed = random.randrange(2**32)
    chance, most_when_warm = random.Random(seed), 0.0
    async with besieged(tmp_path, seed, caplog) as (endpoint, found):

        async def ask() -> None:
            nonlocal most_when_warm
            while found.sent < MUTANTS:
                await send(endpoint, found, *(mutant(chance) for _ in range(chance.choice((1, 1, 2, 4)))))
                if found.sent > WARM and not most_when_warm:
                    most_when_warm = most_memory()
                if len(endpoint.upstream.requests) > 500:
                    endpoint.upstream.requests.clear()

        await asyncio.gather(*(ask() for _ in range(AT_ONCE)))
        gc.collect()
        assert most_memory() - most_when_warm < GROWTH, f"seed {seed}"
    assert {200, 400, 404, 408, 415, 431} <= set(found.statuses), (seed, found.statuses)

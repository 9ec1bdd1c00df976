"""Whatever is sent to the endpoint, the answer is an error in OpenAI's form with the right status, or a good reply."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from endpoint import Endpoint, served
from mentalize.llm.model import Request
from mentalize.llm.scripted import FunctionModel
from mentalize.memory.keys import Limits
from mentalize.server.arrivals import DISCARDED
from mentalize.server.protocol import HEADERS, PunctualProtocol
from openai_server import GARBAGE, GARBLED_STREAMS, Reply
from raw_http import CHAT, Answer, Connection, connected, request
from social_script import WARM

pytestmark = pytest.mark.asyncio(loop_scope="module")

MEGABYTE = 1_000_000
HI = [{"role": "user", "content": "I could not sleep again."}]
PLAIN = {"model": "scripted", "messages": HI}
THINK = {"model": "mentalize-low", "messages": HI}
ANA = {"x-mentalize-user": "ana"}
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    408: "invalid_request_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    431: "invalid_request_error",
    500: "server_error",
    504: "server_error",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def endpoint(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Endpoint]:
    """One server for all that leaves it as it was."""
    async with served(tmp_path_factory.mktemp("endpoint")) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(endpoint: Endpoint) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=endpoint.url, timeout=30) as asking:
        yield asking


def check_fault(
    answer: httpx.Response | Answer, status: int, code: str | None = "any", param: str | None = "any"
) -> str:
    """The message of an error, after its form was checked."""
    said = answer.content if isinstance(answer, httpx.Response) else answer.body
    assert (answer.status_code if isinstance(answer, httpx.Response) else answer.status) == status, said
    assert answer.headers["content-type"] == "application/json" and answer.headers["x-request-id"]
    body = json.loads(said)
    assert list(body) == ["error"] and set(body["error"]) == {"message", "type", "param", "code"}
    error = body["error"]
    assert error["type"] == TYPES[status] and error["message"]
    assert code == "any" or error["code"] == code, error
    assert param == "any" or error["param"] == param, error
    return error["message"]


async def sent(endpoint: Endpoint, data: bytes) -> Answer:
    async with connected(endpoint.url) as connection:
        await connection.send(data)
        return await connection.answer()


async def is_well(client: httpx.AsyncClient) -> bool:
    return (await client.get("/healthz")).json() == {"status": "ok"}


# --- bodies that are none ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [CHAT, "/v1/memories"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b'{"model": "scripted", "messages": [}',
        b"{'model': 'scripted'}",
        b'{"model": "scripted"} {}',
        b"[]",
        b'"text"',
        b"7",
        b"null",
        b'{"text": "\xff"}',
        b'{"text": "\xed\xa0\x80"}',
        b"\x00" * 100,
        json.dumps({"text": "x"}).encode("utf-16"),
        b"\xef\xbb\xbf{}",
        b'{"text": "a\nb"}',
        b'{"text": NaN}',
        b'{"text": -Infinity}',
        b'{"text": 1e999}',
        b'{"text": ' + b"9" * 5_000 + b"}",
        b'{"text": ' + b"[" * 200 + b"]" * 200 + b"}",
        b'{"text": ' + b"[" * 500_000 + b"]" * 500_000 + b"}",
        b'{"text":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"text": "one", "text": "two"}',
        b'{"text": "one", "more": {"a": 1, "a": 1}}',
    ],
    ids=lambda body: repr(body[:24]),
)
async def test_a_body_that_is_no_json_object_is_refused(client: httpx.AsyncClient, path: str, body: bytes) -> None:
    answer = await client.post(path, content=body, headers={"content-type": "application/json", **ANA})
    assert len(check_fault(answer, 400, "invalid_json")) < 200


async def test_an_endpoint_cannot_read_another_model_into_the_same_bytes(
    endpoint: Endpoint, client: httpx.AsyncClient
) -> None:
    before = len(endpoint.upstream.requests)
    body = b'{"model": "dearest", "messages": [{"role": "user", "content": "hi"}], "model": "scripted"}'
    answer = await client.post(CHAT, content=body, headers={"content-type": "application/json"})
    assert "'model' is there twice" in check_fault(answer, 400, "invalid_json")
    assert len(endpoint.upstream.requests) == before


@pytest.mark.parametrize("path", [CHAT, "/v1/memories"])
@pytest.mark.parametrize(
    "kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "json", "é"]
)
async def test_what_is_not_declared_as_json_is_refused(endpoint: Endpoint, path: str, kind: str | None) -> None:
    headers = [("Content-Type", kind)] if kind is not None else [("Content-Type", "")]
    answer = await sent(endpoint, request("POST", path, json.dumps(PLAIN).encode(), [*headers, *ANA.items()]))
    check_fault(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.api+json"])
async def test_json_by_any_of_its_names_is_read(client: httpx.AsyncClient, kind: str) -> None:
    answer = await client.post(CHAT, content=json.dumps(PLAIN), headers={"content-type": kind})
    assert answer.status_code == 200


# --- too much ---------------------------------------------------------------------------------------------


async def pieces_of(size: int) -> AsyncIterator[bytes]:
    """A body of unknown length."""
    yield b'{"model": "scripted", "messages": [{"role": "user", "content": "'
    for _ in range(size // 100_000):
        yield b"x" * 100_000
    yield b'"}]}'


@pytest.mark.parametrize("chunked", [False, True], ids=["known length", "chunked"])
@pytest.mark.parametrize("path", [CHAT, "/v1/memories"])
@pytest.mark.parametrize("size", [21 * MEGABYTE, 50 * MEGABYTE], ids=["21 MB", "50 MB"])
async def test_too_long_a_body_gets_an_answer_that_can_be_read(
    client: httpx.AsyncClient, path: str, size: int, chunked: bool
) -> None:
    content: Any = pieces_of(size) if chunked else b'{"text": "' + b"x" * size + b'"}'
    answer = await client.post(path, content=content, headers={"content-type": "application/json", **ANA})
    assert "is longer than" in check_fault(answer, 413, "request_too_large")
    assert await is_well(client)


async def test_a_key_may_have_a_limit_of_its_own(tmp_path: Path) -> None:
    async with served(tmp_path) as endpoint, httpx.AsyncClient(base_url=endpoint.url) as client:
        _, secret = await endpoint.mind.memory.keys.create("acme", limits=Limits(body_bytes=2_000))
        headers = {"authorization": f"Bearer {secret}", "content-type": "application/json"}
        body = json.dumps(PLAIN).encode()
        for size, status in ((2_000, 200), (2_001, 413)):
            answer = await client.post(CHAT, content=body.ljust(size), headers=headers)
            assert answer.status_code == status
        async with connected(endpoint.url) as connection:
            head = request("POST", CHAT, b"", {**headers, "content-length": str(DISCARDED + 10 * MEGABYTE)})
            await connection.send(head, *[b" " * MEGABYTE] * (DISCARDED // MEGABYTE + 10))
            left = await connection.rest()
        assert left == b"" or left.startswith(b"HTTP/1.1 413 "), "who goes on and on is cut off"
        assert await is_well(client)


async def test_a_body_for_which_nobody_asked_harms_nothing(client: httpx.AsyncClient) -> None:
    answer = await client.request("GET", "/v1/models", content=pieces_of(5 * MEGABYTE))
    assert answer.status_code == 200
    assert await is_well(client)


async def test_whoever_is_unknown_is_told_before_anything_is_read(endpoint: Endpoint) -> None:
    headers = {"authorization": "Bearer nonsense", "x-forwarded-for": "10.0.0.1", "content-length": "1000000"}
    for path in (CHAT, "/v1/memories"):
        answer = await sent(endpoint, request("POST", path, b"{", headers))
        check_fault(answer, 401, "invalid_api_key")


@pytest.mark.parametrize(
    "head",
    [
        request(headers=[(f"x-{number}", "y") for number in range(5_000)]),
        request(headers=[("x", "y")] * HEADERS),
        request(headers=[("x", "y" * 200_000)]),
        request(headers=[("cookie", "c=d; " * 300)] * 100),
        request(path="/" + "y" * 200_000),
        b"GET / HTTP/1.1\r\nx: " + b"y" * (10 * MEGABYTE),
        b"GET /" + b"y" * (10 * MEGABYTE),
    ],
    ids=["thousands", "just too many", "long", "long together", "long address", "endless", "endless address"],
)
async def test_a_flood_of_headers_gets_an_answer_that_can_be_read(
    endpoint: Endpoint, client: httpx.AsyncClient, head: bytes
) -> None:
    check_fault(await sent(endpoint, head), 431, "head_too_large")
    assert await is_well(client)


async def test_as_many_headers_as_anybody_needs_are_read(endpoint: Endpoint) -> None:
    headers = [(f"x-{number}", "y" * 200) for number in range(HEADERS - 4)]
    answer = await sent(endpoint, request("POST", body=json.dumps(PLAIN).encode(), headers=headers))
    assert answer.status == 200


async def test_a_long_address_is_not_repeated(endpoint: Endpoint) -> None:
    answer = await sent(endpoint, request(path="/v1/" + "y" * 50_000))
    assert len(check_fault(answer, 404, "not_found")) < 200


# --- too slow ---------------------------------------------------------------------------------------------


class Impatient(PunctualProtocol):
    """Waits for a tenth of a second."""

    head_seconds = 0.1


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def impatient(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Endpoint]:
    folder = tmp_path_factory.mktemp("impatient")
    async with served(folder, protocol=Impatient, server={"arrival_seconds": 0.2}) as running:
        yield running


async def dripped(connection: Connection, data: bytes) -> Answer:
    """The answer to bytes that come one by one."""
    dripping = asyncio.create_task(connection.send(*(bytes([each]) for each in data), pause=0.02))
    try:
        return await connection.answer(within=5)
    finally:
        dripping.cancel()


@pytest.mark.parametrize("begun", ["POST /", "POST /v1/ch", "POST / HTTP/1.1\r\nHost: a\r\nX-Slow: "])
async def test_a_head_that_does_not_end_is_not_waited_for(impatient: Endpoint, begun: str) -> None:
    async with connected(impatient.url) as connection:
        check_fault(await dripped(connection, begun.encode() + b"x" * 1_000), 408, "request_timeout")


async def test_who_sends_nothing_is_not_waited_for(impatient: Endpoint) -> None:
    began = time.monotonic()
    async with connected(impatient.url) as connection:
        assert await connection.rest(within=5) == b""
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("path", [CHAT, "/v1/memories"])
@pytest.mark.parametrize("chunked", [False, True], ids=["known length", "chunked"])
async def test_a_body_that_does_not_end_is_not_waited_for(impatient: Endpoint, path: str, chunked: bool) -> None:
    length = [("Transfer-Encoding", "chunked")] if chunked else [("Content-Length", "900")]
    async with connected(impatient.url) as connection:
        await connection.send(request("POST", path, b"", [*length, *ANA.items()]))
        answer = await dripped(connection, b"384\r\n" + b" " * 900)
        check_fault(answer, 408, "request_timeout")
        assert answer.headers["connection"] == "close"


async def test_an_idle_connection_is_kept_between_requests(impatient: Endpoint) -> None:
    async with connected(impatient.url) as connection:
        for _ in range(2):
            await connection.send(request(path="/healthz"))
            assert (await connection.answer()).status == 200
            await asyncio.sleep(0.3)


async def test_a_second_head_that_does_not_end_is_not_waited_for(impatient: Endpoint) -> None:
    async with connected(impatient.url) as connection:
        await connection.send(request(path="/healthz"))
        assert (await connection.answer()).status == 200
        check_fault(await dripped(connection, b"GET /healthz HTTP/1.1\r\nx: " + b"y" * 500), 408, "request_timeout")


# --- long conversations -----------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["scripted", "mentalize-minimal", "mentalize-medium"])
async def test_ten_thousand_messages_are_answered_and_others_are_not_kept_waiting(
    client: httpx.AsyncClient, model: str
) -> None:
    talk = [{"role": ("user", "assistant")[n % 2], "content": f"Message {n}, about rivers."} for n in range(10_001)]
    asked = asyncio.create_task(client.post(CHAT, json={"model": model, "messages": talk, "user": "talker"}))
    began, longest = time.monotonic(), 0.0
    while not asked.done():
        at = time.monotonic()
        assert await is_well(client)
        longest = max(longest, time.monotonic() - at)
        await asyncio.sleep(0.01)
    assert (await asked).json()["choices"][0]["message"]["content"] == WARM
    assert time.monotonic() - began < 15 and longest < 3


# --- fields of the wrong kind -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "param"),
    [
        ("model", None, "model"),
        ("model", "", "model"),
        ("model", 7, "model"),
        ("model", ["mentalize"], "model"),
        ("messages", None, "messages"),
        ("messages", [], "messages"),
        ("messages", {}, "messages"),
        ("messages", "hi", "messages"),
        ("stream", "yes", "stream"),
        ("stream", 2, "stream"),
        ("stream", [], "stream"),
        ("stream_options", True, "stream_options"),
        ("stream_options", [1], "stream_options"),
        ("mentalize", 7, "mentalize"),
        ("mentalize", [], "mentalize"),
        ("mentalize", "low", "mentalize"),
        ("mentalize", {"unknown": 1}, "mentalize.unknown"),
        ("mentalize", {"": 1}, "mentalize."),
        ("mentalize", {"user": 7}, "mentalize.user"),
        ("mentalize", {"user": ""}, "mentalize.user"),
        ("mentalize", {"user": "x" * 513}, "mentalize.user"),
        ("mentalize", {"session": ""}, "mentalize.session"),
        ("mentalize", {"session": "\ud800"}, "mentalize.session"),
        ("mentalize", {"session": ["a"]}, "mentalize.session"),
        ("mentalize", {"zone": 1}, "mentalize.zone"),
        ("mentalize", {"speaker": ""}, "mentalize.speaker"),
        ("mentalize", {"audience": "ben"}, "mentalize.audience"),
        ("mentalize", {"audience": ["ben"] * 65}, "mentalize.audience"),
        ("mentalize", {"audience": [7]}, "mentalize.audience.0"),
        ("mentalize", {"effort": "enormous"}, "mentalize.effort"),
        ("mentalize", {"memory": "sometimes"}, "mentalize.memory"),
        ("mentalize", {"stream": "slow"}, "mentalize.stream"),
        ("mentalize", {"stages": "perhaps"}, "mentalize.stages"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("model", ["mentalize", "scripted"])
async def test_a_field_that_cannot_be_understood_is_named(
    endpoint: Endpoint, client: httpx.AsyncClient, model: str, field: str, value: Any, param: str
) -> None:
    before = len(endpoint.upstream.requests)
    content = json.dumps({"model": model, "messages": HI, field: value})
    answer = await client.post(CHAT, content=content, headers={"content-type": "application/json"})
    check_fault(answer, 400, param=param)
    assert len(endpoint.upstream.requests) == before


@pytest.mark.parametrize("missing", ["model", "messages"])
async def test_a_field_that_is_missing_is_named(client: httpx.AsyncClient, missing: str) -> None:
    body = {name: value for name, value in PLAIN.items() if name != missing}
    check_fault(await client.post(CHAT, json=body), 400, param=missing)


@pytest.mark.parametrize("value", ["enormous", 7, [], {}, True, ""])
async def test_an_effort_that_there_is_not(client: httpx.AsyncClient, value: Any) -> None:
    message = check_fault(
        await client.post(CHAT, json={**THINK, "model": "mentalize", "reasoning_effort": value}),
        400,
        param="reasoning_effort",
    )
    assert "minimal" in message


@pytest.mark.parametrize("name", ["effort", "memory", "stream", "stages"])
async def test_a_wish_in_a_header_that_cannot_be_understood_is_named(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.post(CHAT, json=THINK, headers={f"x-mentalize-{name}": "perhaps"})
    check_fault(answer, 400, param=f"mentalize.{name}")


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": ""}],
        [{"role": "user", "content": " \n\t "}],
        [{"role": "user", "content": None}],
        [{"role": "user"}],
        [{"role": "wizard", "content": "hi"}],
        [{"role": "user\r\nset-cookie: a=b", "content": "hi"}],
        [{"role": None, "content": "hi"}],
        [{"role": 7, "content": "hi"}],
        [{"content": "hi"}],
        [{"role": "user", "content": 7}],
        [{"role": "user", "content": {"type": "text"}}],
        [{"role": "user", "content": ["hi"]}],
        [{"role": "user", "content": [[]]}],
        [7],
        ["hi"],
        [None],
        [[]],
        [{}],
        [*HI, 7],
    ],
    ids=repr,
)
@pytest.mark.parametrize("model", ["mentalize", "mentalize-minimal", "mentalize-high"])
async def test_messages_that_cannot_be_thought_about(client: httpx.AsyncClient, model: str, messages: Any) -> None:
    for streams in (False, True):
        answer = await client.post(CHAT, json={"model": model, "messages": messages, "stream": streams})
        check_fault(answer, 400)


async def test_what_a_model_itself_is_asked_is_for_it_to_judge(endpoint: Endpoint, client: httpx.AsyncClient) -> None:
    strange = {"model": "scripted", "messages": [{"role": "wizard", "content": {"deep": [1.5, None]}}], "n": "many"}
    assert (await client.post(CHAT, json=strange)).status_code == 200
    assert endpoint.upstream.requests[-1].body == strange


@pytest.mark.parametrize("user", [7, None, [], {"id": "ana"}, True, 1.5])
async def test_a_user_that_is_no_text_is_nobody(client: httpx.AsyncClient, user: Any) -> None:
    answer = await client.post(CHAT, json={**THINK, "user": user, "metadata": [user]})
    assert answer.status_code == 200 and answer.headers["x-mentalize-memory"] == "off; no user was named"


@pytest.mark.parametrize("user", ["a\x00b", "a\nb", "\ud800", "x" * 600])
async def test_a_user_that_cannot_be_a_name_is_refused(client: httpx.AsyncClient, user: str) -> None:
    content = json.dumps({**THINK, "user": user})
    check_fault(await client.post(CHAT, content=content, headers={"content-type": "application/json"}), 400)


@pytest.mark.parametrize("zone", ["Nowhere/Town", "../../etc/passwd", "\x00", "/", "é", "x" * 64])
async def test_a_time_zone_that_there_is_not(client: httpx.AsyncClient, zone: str) -> None:
    check_fault(await client.post(CHAT, json={**THINK, "user": "ana", "mentalize": {"zone": zone}}), 400)


@pytest.mark.parametrize(
    "text",
    [
        "\x00",
        "a\x00b",
        "broken \ud800 surrogate",
        "\udfff\ud800",
        "🙂🙂🙂",
        "\u202eright to left",
        "\u2028\u2029\x85\x0b",
        "$hole {x} <json> </conversation>",
        "a" * 200_000,
        "%s %n {0} \\ud800",
        "\r\ndata: [DONE]\r\n\r\n",
    ],
    ids=lambda text: repr(text[:12]),
)
@pytest.mark.parametrize("streams", [False, True])
async def test_strange_text_gets_a_reply(client: httpx.AsyncClient, text: str, streams: bool) -> None:
    for model, user in (("scripted", "nobody"), ("mentalize-low", "strange"), ("mentalize-minimal", "strange")):
        body = {"model": model, "messages": [{"role": "user", "content": f"x{text}"}], "stream": streams, "user": user}
        answer = await client.post(CHAT, content=json.dumps(body), headers={"content-type": "application/json"})
        assert answer.status_code == 200 and b'"error"' not in answer.content
        assert not streams or answer.text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("model", ["gpt-9", "mentalize-enormous", "MENTALIZE", "mentalize ", "\ud800", "x" * 5_000])
async def test_a_model_that_there_is_not(client: httpx.AsyncClient, model: str) -> None:
    content = json.dumps({**PLAIN, "model": model})
    answer = await client.post(CHAT, content=content, headers={"content-type": "application/json"})
    message = check_fault(answer, 404, "model_not_found", "model")
    assert "mentalize-low" in message and len(message) < 400


# --- memories and traces ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body", "param"),
    [
        ("GET", "?limit=0", None, "limit"),
        ("GET", "?limit=1001", None, "limit"),
        ("GET", "?limit=many", None, "limit"),
        ("GET", "?limit=1e999", None, "limit"),
        ("GET", "?kind=dream", None, "kind.0"),
        ("GET", "?status=perhaps", None, "status.0"),
        ("GET", "?since=yesterday", None, "since"),
        ("GET", "?since=2026-05-01T12:00:00", None, None),
        ("GET", "?until=99999999999999999999", None, "until"),
        ("GET", "?archived=perhaps", None, "archived"),
        ("GET", f"?session={'x' * 257}", None, "session"),
        ("GET", "/search", None, "q"),
        ("GET", "/search?q=", None, "q"),
        ("GET", f"/search?q={'x' * 4097}", None, "q"),
        ("GET", "/search?q=x&limit=101", None, "limit"),
        ("POST", "", {}, "text"),
        ("POST", "", {"text": ""}, "text"),
        ("POST", "", {"text": " \n "}, None),
        ("POST", "", {"text": 7}, "text"),
        ("POST", "", {"text": "x" * 1_048_577}, "text"),
        ("POST", "", {"text": "x", "kind": "inference"}, "kind"),
        ("POST", "", {"text": "x", "status": "confirmed"}, "status"),
        ("PATCH", "/m", {"status": "perhaps"}, "status"),
        ("PATCH", "/m", {"pinned": "perhaps"}, "pinned"),
        ("PATCH", "/m", {"text": ""}, "text"),
        ("PATCH", "/m", {"strength": 20}, "strength"),
        ("DELETE", "", None, "all"),
        ("DELETE", "?all=false", None, "all"),
        ("DELETE", "?all=perhaps", None, "all"),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_what_cannot_be_asked_of_memories(
    client: httpx.AsyncClient, method: str, path: str, body: Any, param: str | None
) -> None:
    answer = await client.request(method, f"/v1/memories{path}", json=body, headers=ANA)
    check_fault(answer, 400, param=param)


@pytest.mark.parametrize(
    "name", ["none", "", "a/b", "%00", "%ff", "..", "%2e%2e%2f", "x" * 5_000, "🦊", "why", "'; --"]
)
async def test_a_memory_or_turn_that_there_is_not(client: httpx.AsyncClient, name: str) -> None:
    for method, end, body in (("GET", "", None), ("GET", "/why", None), ("PATCH", "", {}), ("DELETE", "", None)):
        answer = await client.request(method, f"/v1/memories/{name}{end}", json=body, headers=ANA)
        if answer.status_code != 307:
            check_fault(answer, 404)
    answer = await client.get(f"/v1/turns/{name}", headers=ANA)
    if answer.status_code != 307:
        check_fault(answer, 404)


@pytest.mark.parametrize("path", ["/v1/memories", "/v1/memories/search?q=x", "/v1/memories/export", "/v1/memories/m"])
async def test_whose_memories_must_be_said(client: httpx.AsyncClient, path: str) -> None:
    check_fault(await client.get(path), 403, "no_identity")


# --- routes and methods -----------------------------------------------------------------------------------

ROUTES = (CHAT, "/v1/models", "/v1/models/mentalize", "/v1/memories", "/v1/memories/m", "/v1/memories/m/why",
          "/v1/memories/search", "/v1/memories/export", "/v1/turns/t", "/healthz", "/readyz", "/metrics")  # fmt: skip
ALLOWED = {
    "/v1/memories": {"GET", "POST", "DELETE"},
    "/v1/memories/m": {"GET", "PATCH", "DELETE"},
    "/v1/memories/m/why": {"GET", "PATCH", "DELETE"},
    "/v1/memories/search": {"GET", "PATCH", "DELETE"},
    "/v1/memories/export": {"GET", "PATCH", "DELETE"},
    CHAT: {"POST"},
}


@pytest.mark.parametrize("path", ROUTES)
async def test_a_method_that_does_nothing(endpoint: Endpoint, path: str) -> None:
    for method in ("GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"):
        if method not in ALLOWED.get(path, {"GET"}):
            answer = await sent(endpoint, request(method, path, headers=ANA))
            check_fault(answer, 405, "method_not_allowed")
            assert answer.headers["allow"]


@pytest.mark.parametrize("path", ROUTES)
async def test_a_head_has_no_body(endpoint: Endpoint, path: str) -> None:
    async with connected(endpoint.url) as connection:
        await connection.send(request("HEAD", path))
        assert (await connection.answer(head_only=True)).status == 405
        await connection.send(request(path="/healthz"))
        assert (await connection.answer()).json() == {"status": "ok"}


@pytest.mark.parametrize(
    "path",
    ["/", "/v1", "/v2/chat/completions", "//v1/models", "/v1/chat", "/v1/../metrics", "/v1/%2e%2e/x", "/%ff%00", "*",
     "/.env", "/v1/chat/completions/x"],
)  # fmt: skip
async def test_a_route_that_there_is_not(endpoint: Endpoint, path: str) -> None:
    check_fault(await sent(endpoint, request(path=path)), 404, "not_found")


@pytest.mark.parametrize("name", ["responses", "completions", "embeddings", "audio", "files"])
async def test_openais_other_routes_are_refused(client: httpx.AsyncClient, name: str) -> None:
    check_fault(await client.post(f"/v1/{name}", json=PLAIN), 404, "not_found")


# --- HTTP itself ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"FOO / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nna\x00me: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=lambda data: repr(data[:30]),
)
async def test_what_is_no_http_gets_an_answer(endpoint: Endpoint, client: httpx.AsyncClient, data: bytes) -> None:
    check_fault(await sent(endpoint, data), 400, "malformed_request")
    assert await is_well(client)


async def test_a_body_in_broken_chunks_ends_the_request(endpoint: Endpoint, client: httpx.AsyncClient) -> None:
    async with connected(endpoint.url) as connection:
        head = request("POST", CHAT, b"", {"Transfer-Encoding": "chunked"})
        await connection.send(head, b'5\r\n{"mod\r\nzz\r\n', pause=0.02)
        left = await connection.rest()
    assert left == b"" or left.startswith(b"HTTP/1.1 400 ")
    assert await is_well(client)


async def test_http_1_0_is_answered_and_the_connection_ended(endpoint: Endpoint) -> None:
    async with connected(endpoint.url) as connection:
        await connection.send(request("POST", CHAT, json.dumps(PLAIN).encode(), version="1.0"))
        assert (await connection.answer()).json()["choices"][0]["message"]["content"] == WARM
        assert await connection.rest() == b""


async def test_no_answer_waits_for_the_first_half_of_it_to_be_acknowledged(endpoint: Endpoint) -> None:
    async with connected(endpoint.url) as connection:
        await connection.send(request(path="/healthz"))
        await connection.answer()
        for protocol in endpoint.server.server_state.connections:
            accepted: Any = protocol.transport.get_extra_info("socket")
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_pipelined_requests_are_answered_in_their_order(endpoint: Endpoint) -> None:
    asked = [(CHAT, {**THINK, "stream": True}), (CHAT, PLAIN), (CHAT, {"model": 7}), (CHAT, THINK), (CHAT, PLAIN)]
    data = b"".join(
        request("POST", path, json.dumps(body).encode(), {"x-request-id": f"r{number}"})
        for number, (path, body) in enumerate(asked)
    )
    async with connected(endpoint.url) as connection:
        await connection.send(data)
        answers = [await connection.answer() for _ in asked]
    assert [answer.headers["x-request-id"] for answer in answers] == [f"r{number}" for number in range(5)]
    assert [answer.status for answer in answers] == [200, 200, 400, 200, 200]


async def test_garbage_behind_a_request_ends_the_connection(endpoint: Endpoint, client: httpx.AsyncClient) -> None:
    async with connected(endpoint.url) as connection:
        await connection.send(request(path="/healthz"))
        assert (await connection.answer()).status == 200
        await connection.send(b"garbage\r\n\r\n")
        check_fault(await connection.answer(), 400, "malformed_request")
        assert await connection.rest() == b""
    assert await is_well(client)


async def test_a_client_that_asks_before_it_sends_is_told_to_go_on(endpoint: Endpoint) -> None:
    body = json.dumps(PLAIN).encode()
    for path, content in ((CHAT, body), ("/v1/memories", b'{"text": "I like rivers."}')):
        async with connected(endpoint.url) as connection:
            headers = {"Expect": "100-continue", "Content-Length": str(len(content)), **ANA}
            await connection.send(request("POST", path, b"", headers))
            assert (await connection.answer()).status == 100
            await connection.send(content)
            assert (await connection.answer()).status in (200, 201)


async def test_a_client_that_asks_with_a_wrong_key_need_not_send(endpoint: Endpoint) -> None:
    headers = {"Expect": "100-continue", "Content-Length": "99999999", "Authorization": "Bearer x", "Forwarded": "x"}
    check_fault(await sent(endpoint, request("POST", CHAT, b"", headers)), 401)


async def test_an_upgrade_that_is_not_offered_is_passed_over(endpoint: Endpoint) -> None:
    answer = await sent(endpoint, request(path="/healthz", headers={"Connection": "Upgrade", "Upgrade": "websocket"}))
    assert answer.status == 200


# --- who says to be whom ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "host", "headers"),
    [
        (200, "127.0.0.1:8377", {}),
        (200, "localhost", {"Origin": "http://localhost:3000"}),
        (200, "[::1]:8377", {}),
        (403, "evil.example", {}),
        (403, "127.0.0.1.evil.example", {}),
        (403, "127.0.0.1@evil.example", {}),
        (403, "localhost.", {}),
        (403, "", {}),
        (403, None, {}),
        (403, "[::1", {}),
        (403, "é", {}),
        (403, "127.0.0.1", {"Origin": "https://evil.example"}),
        (403, "127.0.0.1", {"Origin": "null"}),
        (403, "127.0.0.1", {"Origin": ""}),
        (403, "127.0.0.1", {"Origin": "http://[::1"}),
        (403, "127.0.0.1", {"Host": "evil.example"}),
        (401, "127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}),
        (401, "127.0.0.1", {"X-Real-IP": "127.0.0.1"}),
        (401, "127.0.0.1", {"Forwarded": "for=127.0.0.1"}),
        (401, "127.0.0.1", {"X-Forwarded-For": ""}),
    ],
    ids=repr,
)
async def test_without_keys_only_this_machine_is_served(
    endpoint: Endpoint, status: int, host: str | None, headers: Mapping[str, str]
) -> None:
    for data in (
        request("POST", CHAT, json.dumps(PLAIN).encode(), headers, host=host),
        request(path="/v1/memories", headers={**headers, **ANA}, host=host),
        request(path="/v1/turns/t", headers=headers, host=host),
        request(path="/v1/models", headers=headers, host=host),
        request(path="/metrics", headers=headers, host=host),
    ):
        answer = await sent(endpoint, data)
        if status == 200:
            assert answer.status in (200, 404)
        else:
            check_fault(answer, status)


async def test_a_header_that_is_there_twice_stands_for_neither(tmp_path: Path) -> None:
    async with served(tmp_path) as endpoint:
        memories = endpoint.mind.memory
        _, secret = await memories.keys.create("acme", trusted=True)
        _, other = await memories.keys.create("other", trusted=True)
        key = ("Authorization", f"Bearer {secret}")
        for twice in ([key, ("Authorization", f"Bearer {other}")], [key, key], [("X-Api-Key", secret)] * 2):
            check_fault(await sent(endpoint, request(path="/v1/models", headers=twice)), 401, "invalid_api_key")
        for name in ("ana", "ben"):
            headers = [key, ("X-Mentalize-User", name)]
            answer = await sent(endpoint, request("POST", "/v1/memories", b'{"text": "I like tea."}', headers))
            assert answer.status == 201
        both = [key, ("X-Mentalize-User", "ana"), ("X-Mentalize-User", "ben")]
        answer = await sent(endpoint, request(path="/v1/memories", headers=both))
        assert answer.json()["data"] == []


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Mentalize-User": "日本"},
        {"X-Mentalize-Session": "日本" * 300},
        {"X-Mentalize-Zone": "日本"},
        {"X-Mentalize-Effort": "日本"},
        {"X-Mentalize-Memory": "\x80"},
        {"X-OpenWebUI-Chat-Id": "\t\xa0\xff"},
        {"X-OpenWebUI-Task": "日本"},
        {"Authorization": "Bearer 日本"},
        {"Authorization": "Bearer " + "x" * 10_000},
        {"Authorization": "Basic é"},
        {"Authorization": ""},
        {"Api-Key": "\xff"},
        {"Traceparent": "日本"},
        {"Tracestate": "\xff" * 100},
        {"Accept": "日本"},
        {"Accept-Encoding": "\xff"},
        {"X-Request-Id": "日本"},
        {"Content-Type": "application/json; charset=日本"},
        {"Cookie": "\xff"},
    ],
    ids=repr,
)
async def test_absurd_headers_break_nothing(endpoint: Endpoint, headers: Mapping[str, str]) -> None:
    for body in (PLAIN, THINK):
        answer = await sent(endpoint, request("POST", CHAT, json.dumps(body).encode(), headers))
        if answer.status != 200:
            check_fault(answer, answer.status)
        assert answer.status in (200, 400, 401)
    for path in ("/v1/memories", "/v1/turns/t", "/metrics"):
        answer = await sent(endpoint, request(path=path, headers={**ANA, **headers}))
        assert answer.status in (200, 400, 401, 403, 404)


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "日本", "<script>"])
async def test_an_id_that_cannot_be_logged_is_replaced(endpoint: Endpoint, given: str) -> None:
    answer = await sent(endpoint, request(path="/healthz", headers={"X-Request-Id": given}))
    assert answer.headers["x-request-id"].startswith("req-")


# --- what nobody foresaw ----------------------------------------------------------------------------------


async def test_an_error_that_nobody_foresaw_is_told_without_its_words(tmp_path: Path) -> None:
    def broken(_: Request) -> str:
        raise RuntimeError("The secret is the blue door.")

    async with (
        served(tmp_path, models={"model": FunctionModel(broken, name="broken")}) as endpoint,
        httpx.AsyncClient(base_url=endpoint.url) as client,
    ):
        for streams in (False, True):
            answer = await client.post(CHAT, json={"model": "broken", "messages": HI, "stream": streams})
            assert "blue door" not in check_fault(answer, 500, "internal_error")
        assert 'route="/v1/chat/completions",status="500"} 2.0' in (await client.get("/metrics")).text


async def test_a_client_that_leaves_is_no_error_of_ours(tmp_path: Path) -> None:
    async with served(tmp_path, Reply(never=True)) as endpoint, httpx.AsyncClient(base_url=endpoint.url) as client:
        for streams in (False, True):
            with pytest.raises(httpx.ReadTimeout):
                await client.post(CHAT, json={**PLAIN, "stream": streams}, timeout=0.3)
        assert await endpoint.upstream.disconnected(2)
        counted = (await client.get("/metrics")).text
        assert 'status="499"} 2.0' in counted and 'status="500"' not in counted
        assert "mentalize_disconnects_total 2.0" in counted


# --- what the model says amiss ----------------------------------------------------------------------------


@pytest.mark.parametrize("streams", [False, True])
async def test_a_model_that_sends_garbage_is_no_failure_of_ours(tmp_path: Path, streams: bool) -> None:
    async with served(tmp_path, retries=0) as endpoint, httpx.AsyncClient(base_url=endpoint.url) as client:
        await client.post(CHAT, json=THINK)  # What the endpoint can do is found out while it is well.
        for reply in (*(Reply(body=body) for body in GARBAGE), *(Reply(pieces=pieces) for pieces in GARBLED_STREAMS)):
            endpoint.upstream.script = reply
            for body in (PLAIN, THINK, {**THINK, "tools": [{}]}):
                answer = await client.post(CHAT, json={**body, "stream": streams})
                if answer.status_code != 200:
                    assert answer.status_code == 502 and answer.json()["error"]["code"] == "model_unavailable"
                elif answer.headers["content-type"].startswith("text/event-stream"):
                    assert answer.content.endswith(b"data: [DONE]\n\n"), reply


async def test_a_stream_ends_although_the_model_does_not_hang_up(tmp_path: Path) -> None:
    async with (
        served(tmp_path, Reply(text="Hm. Well.", hold=True)) as endpoint,
        httpx.AsyncClient(base_url=endpoint.url) as client,
    ):
        for body in (PLAIN, THINK):
            answer = await client.post(CHAT, json={**body, "stream": True}, timeout=10)
            assert answer.text.endswith("data: [DONE]\n\n")
        assert await endpoint.upstream.disconnected()


# --- the document -----------------------------------------------------------------------------------------

MODELS = ("scripted", "mentalize", "mentalize-low", "mentalize-minimal", "mentalize-medium")
FEW = 4
"""Examples of each way to ask in the quick tests, the same every time."""

MANY = 40

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]


def operations_of(url: str) -> Iterator[tuple[Any, GenerationMode]]:
    """Everything that the document describes, to be asked rightly, and wrongly where that is possible."""
    for found in schemathesis.openapi.from_url(f"{url}/openapi.json").get_all_operations():
        operation: Any = found.ok()  # pyright: ignore[reportAttributeAccessIssue] - it raises where it is an error
        yield operation, GenerationMode.POSITIVE
        if list(operation.query) or list(operation.body):
            yield operation, GenerationMode.NEGATIVE


def explore(url: str, examples: int) -> Counter[int]:
    """Ask everything at random; how often each status came."""
    statuses: Counter[int] = Counter()
    for operation, mode in operations_of(url):
        ask_at_random(url, operation, mode, examples, statuses)
    return statuses


def ask_at_random(url: str, operation: Any, mode: GenerationMode, examples: int, statuses: Counter[int]) -> None:
    models = cycle(MODELS)

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=examples == FEW,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        if mode is GenerationMode.POSITIVE:  # At random, nobody would ever hit a model, or name anybody.
            if operation.path == CHAT:
                case.body["model"] = next(models)
            case.headers = {**(case.headers or {}), "x-mentalize-user": "schema"}
        response = case.call(base_url=url, timeout=30)
        statuses[response.status_code] += 1
        case.validate_response(response, checks=CHECKS)

    ask()


async def test_the_document_says_what_is_answered(tmp_path: Path) -> None:
    async with served(tmp_path) as endpoint:
        statuses = await asyncio.to_thread(explore, endpoint.url, FEW)
    assert {200, 201, 400, 404} <= set(statuses)


@pytest.mark.fuzz
async def test_the_document_says_what_is_answered_at_length(tmp_path: Path) -> None:
    async with served(tmp_path) as endpoint:
        statuses = await asyncio.to_thread(explore, endpoint.url, MANY)
    assert {200, 201, 400, 404} <= set(statuses)

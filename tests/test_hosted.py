"""LiteLLM as the way to hosted models, against a loopback server, and how its errors arrive here."""

import asyncio
import contextlib
import logging
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from endpoint import served
from mentalize.errors import (
    MalformedAnswer,
    ModelError,
    ModelNotFound,
    ModelRateLimited,
    ModelRefused,
    ModelTimeout,
    ModelUnauthorized,
    ModelUnavailable,
)
from mentalize.llm.hosted import LiteLLMModel
from mentalize.llm.model import Capabilities, Choice, JsonFormat, Request, StructuredMode
from mentalize.types import Usage, user
from openai_server import OpenAIServer, Reply, obedient
from social_script import MESSAGE, WARM

# LiteLLM silences these two of pydantic's when it is imported; pytest turns them into errors again.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Item .* on TypedDict class:UserWarning"),
    pytest.mark.filterwarnings("ignore:Accessing the .* attribute on the instance:DeprecationWarning"),
]

KEY = "sk-not-to-be-shown"
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Loopback needs none, and to load the authorities' certificates takes time."""

ASK = Request(messages=(user("I'm fine. Go without me, really."),))


@pytest.fixture
async def server() -> AsyncIterator[OpenAIServer]:
    async with OpenAIServer() as server:
        yield server


def hosted(server: OpenAIServer, *, seconds: float = 10) -> LiteLLMModel:
    return LiteLLMModel("openai/x", api_key=KEY, api_base=server.base_url, seconds=seconds)


async def test_a_whole_answer_with_everything_that_was_asked(server: OpenAIServer) -> None:
    server.script = Reply(text="Hello there.", cached_tokens=3)
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
    wanted = JsonFormat("N", {"type": "object"}, StructuredMode.JSON_SCHEMA)
    answer = await hosted(server).complete(
        Request(messages=ASK.messages, max_tokens=7, format=wanted, parameters={"tools": tools, "top_k": 5})
    )
    assert (answer.text, answer.usage, answer.finish_reason) == ("Hello there.", Usage(6, 2, 3), "stop")
    body = server.requests[0].body
    assert (body["model"], body["max_tokens"], body["tools"], body["top_k"]) == ("x", 7, tools, 5)
    assert body["response_format"]["json_schema"] == {"name": "N", "schema": {"type": "object"}, "strict": True}
    assert server.requests[0].headers["Authorization"] == f"Bearer {KEY}"


async def test_tool_calls_and_log_probabilities_come_through(server: OpenAIServer) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    server.script = Reply(text="A", probabilities={"A": 0.75, "B": 0.25}, message={"tool_calls": [call]})
    answer = await hosted(server).complete(Request(messages=ASK.messages, format=Choice(("A", "B"))))
    assert [alternative.token for alternative in answer.logprobs[0]] == ["A", "B"]
    assert answer.message["tool_calls"] == [call]
    assert not {"grammar", "structured_outputs"} & server.requests[0].body.keys()


async def test_a_stream_ends_with_reason_and_usage(server: OpenAIServer) -> None:
    server.script = Reply(text="One two three")
    deltas = [delta async for delta in hosted(server).stream(ASK)]
    assert [delta.text for delta in deltas] == ["One ", "two ", "three", ""]
    assert (deltas[-1].finish_reason, deltas[-1].usage) == ("stop", Usage(6, 3))


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply(status=400, body={"error": {"message": "said"}}), ModelRefused),
        (Reply(status=401, body={"error": {"message": f"said {KEY}"}}), ModelUnauthorized),
        (Reply(status=403, body={"error": {"message": "said"}}), ModelUnauthorized),
        (Reply(status=404, body={"error": {"message": "said: no such model"}}), ModelNotFound),
        (Reply(status=429, headers={"Retry-After": "7"}, body={"error": {"message": "said"}}), ModelRateLimited),
        (Reply(status=500, body="said"), ModelUnavailable),
        (Reply(body="{malformed"), MalformedAnswer),
    ],
)
async def test_errors_are_translated_and_sent_once(server: OpenAIServer, reply: Reply, error: type[Exception]) -> None:
    server.script = reply
    with pytest.raises(error) as raised:
        await hosted(server).complete(ASK)
    assert raised.type is error
    assert raised.value.__cause__ is not None
    assert KEY not in str(raised.value)
    assert error is MalformedAnswer or "said" in str(raised.value)
    assert getattr(raised.value, "retry_after", None) == (7 if error is ModelRateLimited else None)
    assert len(server.requests) == 1


async def test_a_server_that_never_answers_times_out(server: OpenAIServer) -> None:
    server.script = Reply(never=True)
    with pytest.raises(ModelTimeout):
        await hosted(server, seconds=0.1).complete(ASK)


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    async with OpenAIServer() as gone:
        model = hosted(gone)
    with pytest.raises(ModelUnavailable, match="cannot be reached"):
        await model.complete(ASK)


async def test_half_a_stream_is_an_error_after_what_came(server: OpenAIServer) -> None:
    server.script = Reply(text="one two three", cut_after=2)
    came: list[str] = []

    async def read() -> None:
        async for delta in hosted(server).stream(ASK):
            came.append(delta.text)

    with pytest.raises(ModelUnavailable):
        await read()
    assert came == ["one ", "two "]


async def test_closing_a_stream_stops_the_server(server: OpenAIServer) -> None:
    server.script = Reply(text="word " * 500, word_delay=0.01)
    stream = hosted(server).stream(ASK)
    assert (await anext(stream)).text == "word "
    await stream.aclose()  # type: ignore[attr-defined]
    assert await server.disconnected()


async def test_capabilities_are_probed_without_the_fields_of_local_servers(server: OpenAIServer) -> None:
    server.script = obedient(json_schema=False, grammar=False)
    assert await hosted(server).capabilities() == Capabilities(StructuredMode.JSON_OBJECT, logprobs=True)
    assert len(server.requests) == 3


async def test_an_unknown_provider_is_told_its_neighbours() -> None:
    with pytest.raises(ModelNotFound, match="openai/"):
        await LiteLLMModel("opnai/gpt-4o").complete(ASK)


async def test_the_application_decides_where_litellm_logs(server: OpenAIServer) -> None:
    await hosted(server).complete(ASK)
    logger = logging.getLogger("LiteLLM")
    assert (logger.handlers, logger.propagate) == ([], True)


async def test_it_serves_several_event_loops(server: OpenAIServer) -> None:
    model = hosted(server)
    for _ in range(2):
        answer = await asyncio.to_thread(lambda: asyncio.run(model.complete(ASK)))
        assert answer.text == "Hello."


# --- what a client may not say to LiteLLM ---------------------------------------------------------------------


Elsewhere = tuple[str, list[object]]
"""A base URL, and who connected to it."""


@pytest.fixture
async def elsewhere() -> AsyncIterator[Elsewhere]:
    """An address of somebody else's that nothing may connect to."""
    connections: list[object] = []

    def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer.get_extra_info("peername"))
        writer.close()

    async with await asyncio.start_server(note, "127.0.0.1", 0) as listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1", connections


ORDERS: tuple[Callable[[str], dict[str, Any]], ...] = (
    lambda url: {"base_url": url},
    lambda url: {"api_base": url, "api_key": "sk-odd", "timeout": 1e-6, "num_retries": 9, "drop_params": False},
    lambda url: {"fallbacks": [{"model": "openai/y", "api_base": url}], "model_list": [{"model_name": "openai/x"}]},
    lambda url: {"extra_headers": {"X-Odd": "1"}, "headers": {"X-Odd": "1"}, "default_headers": {"X-Odd": "1"}},
    lambda url: {"extra_body": {"base_url": url, "extra_headers": {"X-Odd": "1"}}, "extra_query": {"X-Odd": "1"}},
    lambda url: {"organization": "odd", "azure_ad_token_provider": "odd", "api_version": "1"},
    lambda url: {"mock_response": "odd", "mock_tool_calls": [], "mock_timeout": True, "mock_delay": 30},
    lambda url: {"custom_llm_provider": "anthropic", "litellm_params": {"api_base": url}, "deployment_id": "odd"},
    lambda url: {"request_timeout": 1e-6, "retry_policy": {"a": 9}, "cooldown_time": 9, "model_info": {"a": url}},
    lambda url: {"metadata": {"prompt": "odd"}, "callbacks": ["odd"], "success_callback": ["odd"], "logger_fn": 7},
    lambda url: {"allowed_openai_params": 7, "additional_drop_params": ["messages"]},
    lambda url: {"client": "odd", "shared_session": "odd", "acompletion": False, "litellm_logging_obj": {"a": url}},
)
"""Fields of a request that LiteLLM takes for its own, if they reach it as arguments."""


@pytest.mark.parametrize("orders", ORDERS)
@pytest.mark.parametrize("model", ["openai/x", "mentalize-minimal"])
async def test_no_field_of_a_request_gives_litellm_orders(
    tmp_path: Path, elsewhere: Elsewhere, model: str, orders: Callable[[str], dict[str, Any]]
) -> None:
    url, connections = elsewhere
    fields = orders(url)
    body = {"model": model, "messages": [{"role": "user", "content": MESSAGE}], **fields}
    settings: dict[str, Any] = {"model": "openai/x", "api_key": KEY, "retries": 0, "memory": {"mode": "off"}}
    async with served(tmp_path, **settings) as endpoint, httpx.AsyncClient(verify=NO_TLS, timeout=10) as client:
        answer = await client.post(f"{endpoint.base_url}/chat/completions", json=body)
        (request,) = endpoint.upstream.requests
    assert answer.status_code == 200 and answer.json()["choices"][0]["message"]["content"] == WARM
    assert connections == []
    assert request.headers["Authorization"] == f"Bearer {KEY}" and "odd" not in str(request.headers).lower()
    assert {name: request.body.get(name) for name in fields} == fields, "what is not OpenAI's goes to the endpoint"


async def test_fields_of_openai_arrive_although_litellm_does_not_know_the_model(server: OpenAIServer) -> None:
    fields = {"user": "ana", "verbosity": "low", "reasoning_effort": "low", "store": True, "metadata": {"a": "b"}}
    await hosted(server).complete(Request(messages=ASK.messages, parameters=fields))
    assert {name: server.requests[0].body.get(name) for name in fields} == fields


async def test_tools_are_the_clients_whatever_their_address(server: OpenAIServer) -> None:
    tools = [{"type": "mcp", "server_label": "a", "server_url": "litellm_proxy/mcp/a", "require_approval": "never"}]
    await hosted(server).complete(Request(messages=ASK.messages, parameters={"tools": tools}))
    assert [request.body["tools"] for request in server.requests] == [tools]


@pytest.mark.parametrize("provider", ["anthropic", "openrouter", "azure", "deepseek", "cohere_chat", "mistral"])
async def test_no_provider_is_asked_elsewhere(server: OpenAIServer, elsewhere: Elsewhere, provider: str) -> None:
    url, connections = elsewhere
    orders = {"base_url": url, "extra_body": {"api_base": url}, "azure_ad_token": "odd", "top_k": 3}
    model = LiteLLMModel(f"{provider}/x", api_key=KEY, api_base=server.base_url, seconds=10)
    with contextlib.suppress(ModelError):  # The server speaks one format, and not under every path.
        await model.complete(Request(messages=ASK.messages, parameters=orders))
    assert connections == []
    assert "odd" not in str([request.headers for request in server.requests])


def test_it_fetches_nothing_prints_nothing_and_says_what_to_install() -> None:
    script = """
import asyncio, sys
from mentalize.errors import MentalizeError
from mentalize.llm.hosted import LiteLLMModel
from mentalize.llm.model import Request
from mentalize.types import user

def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        host = arguments[1][0] if event == "socket.connect" else arguments[0]
        assert host == "127.0.0.1", f"went to {host}"

def error():
    model = LiteLLMModel("openai/x", api_key="k", api_base="http://127.0.0.1:9/v1")
    try:
        asyncio.run(model.complete(Request(messages=(user("hi"),))))
    except MentalizeError as error:
        return f"{type(error).__name__} {error}"

sys.addaudithook(watch)
sys.modules["litellm"] = None
assert "pip install 'mentalize[hosted]'" in error()
del sys.modules["litellm"]
assert error().startswith("ModelUnavailable"), error()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

"""LiteLLM as the way to hosted models, against a loopback server, and how its errors arrive here."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest

from mentalize.errors import (
    MalformedAnswer,
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

# LiteLLM silences these two of pydantic's when it is imported; pytest turns them into errors again.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Item .* on TypedDict class:UserWarning"),
    pytest.mark.filterwarnings("ignore:Accessing the .* attribute on the instance:DeprecationWarning"),
]

KEY = "sk-not-to-be-shown"
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

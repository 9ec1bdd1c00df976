"""The clients of others, as their users meet them: each asks our server, on a real socket, what people ask of it."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import openai
import pytest
from click.testing import CliRunner
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from client_script import ASK, BREAK_OFF, CITY, COMPLETION_TOKENS, FAIL, SENTENCES, SLOW_DOWN, SUNNY, WEATHER, scene
from endpoint import Endpoint, served
from mentalize.llm.provider import litellm
from mentalize.types import Identity
from pages import CLIENTS, blocks
from social_script import MESSAGE, WARM

# LiteLLM silences these two of pydantic's when it is imported; pytest turns them into errors again.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Item .* on TypedDict class:UserWarning"),
    pytest.mark.filterwarnings("ignore:Accessing the .* attribute on the instance:DeprecationWarning"),
]

MODEL = "mentalize-medium"
FAULTS: list[tuple[str, str, type[openai.APIStatusError]]] = [
    ("gpt-unknown", MESSAGE, openai.NotFoundError),
    (MODEL, "", openai.BadRequestError),
    (MODEL, SLOW_DOWN, openai.RateLimitError),
    ("scripted", SLOW_DOWN, openai.RateLimitError),
]
"""Model, message, and what a client of OpenAI's family raises."""


class Answer(BaseModel):
    """The weather."""

    text: str


@pytest.fixture
async def endpoint(tmp_path: Path) -> AsyncIterator[Endpoint]:
    async with served(tmp_path, scene, retries=0) as running:
        yield running


@pytest.fixture
async def client(endpoint: Endpoint) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=endpoint.base_url, api_key="none", max_retries=0) as client:
        yield client


def told(headers: Mapping[str, str]) -> dict[str, str]:
    """What the headers of a reply say was done."""
    return {name: headers[f"x-mentalize-{name}"] for name in ("effort", "calls", "memory")}


# --- openai-python ------------------------------------------------------------------------------------------


async def test_openai_python_creates_and_streams(endpoint: Endpoint) -> None:
    def ask() -> None:
        with OpenAI(base_url=endpoint.base_url, api_key="none") as client:
            raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=ASK, user="ana")
            answer = raw.parse()
            assert answer.choices[0].message.content == WARM and answer.choices[0].finish_reason == "stop"
            assert answer.usage and answer.usage.completion_tokens == COMPLETION_TOKENS
            assert told(raw.headers) == {"effort": "medium", "calls": "8", "memory": "on"}
            assert answer._request_id == raw.headers["x-request-id"]
            streamed = client.chat.completions.create(
                model=MODEL, messages=ASK, stream=True, stream_options={"include_usage": True}
            )
            *chunks, last = streamed
            pieces = [chunk.choices[0].delta.content for chunk in chunks]
            assert [piece for piece in pieces if piece] == SENTENCES
            assert not last.choices and last.usage and last.usage.completion_tokens == COMPLETION_TOKENS

    await asyncio.to_thread(ask)


async def test_openai_pythons_stream_helper_reads_text_and_tool_calls(client: AsyncOpenAI) -> None:
    async with client.chat.completions.stream(model=MODEL, messages=ASK) as stream:
        deltas = [event.delta async for event in stream if event.type == "content.delta"]
    assert [delta for delta in deltas if delta] == SENTENCES
    async with client.chat.completions.stream(model=MODEL, messages=ASK, tools=[WEATHER]) as stream:
        events = [event async for event in stream]
        final = await stream.get_final_completion()
    done = [event for event in events if event.type == "tool_calls.function.arguments.done"]
    assert [(event.name, event.parsed_arguments) for event in done] == [("weather", CITY)]
    assert final.choices[0].finish_reason == "tool_calls"


async def test_openai_python_brings_a_tools_answer_back(client: AsyncOpenAI) -> None:
    asked = await client.chat.completions.create(model=MODEL, messages=ASK, tools=[WEATHER])
    message = asked.choices[0].message
    (call,) = message.tool_calls or []
    assert call.type == "function" and json.loads(call.function.arguments) == CITY
    history: Any = [*ASK, message, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    told = await client.chat.completions.create(model=MODEL, messages=history, tools=[WEATHER])
    assert told.choices[0].message.content == SUNNY


async def test_openai_python_sees_stages_and_chooses_the_effort(client: AsyncOpenAI) -> None:
    streamed = await client.chat.completions.create(
        model="mentalize", messages=ASK, stream=True, reasoning_effort="low", extra_body={"mentalize": {"stages": True}}
    )
    assert streamed.response.headers["x-mentalize-effort"] == "low"
    thoughts = [getattr(chunk.choices[0].delta, "reasoning_content", None) or "" async for chunk in streamed]
    assert "read: " in "".join(thoughts)


async def test_openai_python_raises_its_own_errors(endpoint: Endpoint, client: AsyncOpenAI) -> None:
    for model, message, error in FAULTS:
        with pytest.raises(error) as raised:
            await client.chat.completions.create(model=model, messages=[{"role": "user", "content": message}])
        assert raised.value.message and raised.value.request_id
    with pytest.raises(openai.NotFoundError, match="Use /v1/chat/completions"):
        await client.responses.create(model="mentalize", input=MESSAGE)


async def test_openai_python_does_not_pay_for_a_failed_turn_again(endpoint: Endpoint) -> None:
    async with AsyncOpenAI(base_url=endpoint.base_url, api_key="none") as client:
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": FAIL}])
    written = [request for request in endpoint.upstream.requests if request.body["messages"][-1]["content"] == FAIL]
    assert len(written) == 1


async def test_openai_python_sees_where_a_stream_broke(client: AsyncOpenAI) -> None:
    said: list[str] = []

    async def listen() -> None:
        broken: Any = [{"role": "user", "content": BREAK_OFF}]
        async for chunk in await client.chat.completions.create(model="scripted", messages=broken, stream=True):
            said.append(chunk.choices[0].delta.content or "")

    with pytest.raises(openai.APIError, match="broke off") as raised:
        await listen()
    assert type(raised.value) is openai.APIError and "".join(said) == "We would love to have you there. Shall we "


async def test_openai_python_is_refused_with_a_wrong_key(endpoint: Endpoint) -> None:
    _, secret = await endpoint.mind.memory.keys.create("my-app", user="ana")
    async with AsyncOpenAI(base_url=endpoint.base_url, api_key="sk-wrong", max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError):
            await stranger.models.list()
    async with AsyncOpenAI(base_url=endpoint.base_url, api_key=secret) as known:
        assert {"mentalize", MODEL, "scripted"} <= {model.id async for model in known.models.list()}
        assert (await known.models.retrieve("mentalize")).owned_by == "mentalize"


# --- LangChain ----------------------------------------------------------------------------------------------


def langchain(endpoint: Endpoint, model: str = MODEL) -> Any:
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(
        base_url=endpoint.base_url,
        api_key=lambda: "none",
        model=model,
        max_retries=0,
        default_headers={"X-Mentalize-User": "ana"},
        include_response_headers=True,
    )


async def test_langchain_invokes_and_streams(endpoint: Endpoint) -> None:
    chat = langchain(endpoint)
    reply = await asyncio.to_thread(chat.invoke, MESSAGE)
    assert reply.content == WARM and reply.usage_metadata["output_tokens"] == COMPLETION_TOKENS
    assert told(reply.response_metadata["headers"]) == {"effort": "medium", "calls": "8", "memory": "on"}
    chunks = [chunk async for chunk in chat.astream(MESSAGE, stream_usage=True)]
    assert [chunk.content for chunk in chunks if chunk.content] == SENTENCES
    assert sum(chunk.usage_metadata["output_tokens"] for chunk in chunks if chunk.usage_metadata) == COMPLETION_TOKENS


async def test_langchain_calls_tools_and_gets_structured_output(endpoint: Endpoint) -> None:
    chat = langchain(endpoint)
    whole: Any = None
    async for chunk in chat.bind_tools([WEATHER]).astream(MESSAGE):
        whole = chunk if whole is None else whole + chunk
    assert [(call["name"], call["args"]) for call in whole.tool_calls] == [("weather", CITY)]
    assert isinstance(await chat.with_structured_output(Answer).ainvoke(MESSAGE), Answer)


async def test_langchain_raises_openais_errors(endpoint: Endpoint) -> None:
    for model, message, error in FAULTS:
        with pytest.raises(error):
            await langchain(endpoint, model).ainvoke(message)
        with pytest.raises(error):
            await anext(langchain(endpoint, model).astream(message))


# --- LiteLLM ------------------------------------------------------------------------------------------------


def through_litellm(endpoint: Endpoint) -> Callable[..., Any]:
    """`acompletion`, asking our server."""

    def ask(message: str = MESSAGE, model: str = MODEL, **more: Any) -> Any:
        return litellm().acompletion(
            model=f"openai/{model}",
            api_base=endpoint.base_url,
            api_key="none",
            messages=[{"role": "user", "content": message}],
            max_retries=0,
            **more,
        )

    return ask


async def test_litellm_as_a_client_completes_and_streams(endpoint: Endpoint) -> None:
    ask = through_litellm(endpoint)
    answer = await ask(extra_headers={"X-Mentalize-User": "ana"})
    assert answer.choices[0].message.content == WARM and answer.usage.completion_tokens == COMPLETION_TOKENS
    headers = answer._hidden_params["additional_headers"]
    ours = {name.removeprefix("llm_provider-"): value for name, value in headers.items()}
    assert told(ours) == {"effort": "medium", "calls": "8", "memory": "on"}
    chunks = [chunk async for chunk in await ask(stream=True, stream_options={"include_usage": True})]
    assert [piece for chunk in chunks if (piece := chunk.choices[0].delta.content)] == SENTENCES
    assert chunks[-1].usage.completion_tokens == COMPLETION_TOKENS
    calling = [chunk async for chunk in await ask(tools=[WEATHER], stream=True)]
    (call,) = litellm().stream_chunk_builder(calling).choices[0].message.tool_calls
    assert call.function.name == "weather" and json.loads(call.function.arguments) == CITY


async def test_litellm_as_a_client_raises_its_own_errors(endpoint: Endpoint) -> None:
    ask = through_litellm(endpoint)
    for model, message, error in FAULTS:
        with pytest.raises(error) as raised:
            await ask(message, model)
        assert type(raised.value).__module__ == "litellm.exceptions"


async def test_litellm_as_the_way_to_the_model(tmp_path: Path) -> None:
    async with (
        served(tmp_path, scene, model="openai/scripted", api_key="sk-upstream", retries=0) as endpoint,
        AsyncOpenAI(base_url=endpoint.base_url, api_key="none", max_retries=0) as client,
    ):
        answer = await client.chat.completions.create(model=MODEL, messages=ASK)
        assert answer.choices[0].message.content == WARM
        assert answer.usage and answer.usage.completion_tokens == COMPLETION_TOKENS
        plain = await client.chat.completions.create(
            model="openai/scripted", messages=ASK, stream=True, stream_options={"include_usage": True}
        )
        *_, last = [chunk async for chunk in plain]
        assert last.usage and last.choices == []
        for model in (MODEL, "openai/scripted"):
            async with client.chat.completions.stream(
                model=model, messages=ASK, stream_options={"include_usage": True}
            ) as stream:
                text = await stream.get_final_completion()
            async with client.chat.completions.stream(model=model, messages=ASK, tools=[WEATHER]) as stream:
                called = await stream.get_final_completion()
            assert text.choices[0].message.content == WARM
            assert text.usage and text.usage.completion_tokens == COMPLETION_TOKENS
            (call,) = called.choices[0].message.tool_calls or []
            assert call.function.parsed_arguments == CITY
            with pytest.raises(openai.RateLimitError) as raised:
                await client.chat.completions.create(model=model, messages=[{"role": "user", "content": SLOW_DOWN}])
            assert raised.value.response.headers["retry-after"] == "7"
        keys = {request.headers["Authorization"] for request in endpoint.upstream.requests}
    assert keys == {"Bearer sk-upstream"}


# --- Open WebUI ---------------------------------------------------------------------------------------------

CHAT = "c0ffee00-7a5c-4d8a-9a59-000000000001"
SIDE_TASKS = {
    "title_generation": "### Task:\nGenerate a concise title summarizing the chat history.\n",
    "tags_generation": "### Task:\nGenerate 1-3 broad tags categorizing the main themes of the chat history.\n",
    "follow_up_generation": "### Task:\nSuggest 3-5 relevant follow-up questions or prompts that the user might ask.\n",
}
"""How Open WebUI's own prompts begin, by the name of the task."""
OWN_PROMPT = "Which three words name this best?\n"
"""A prompt that an administrator has put in place of one of them."""


class OpenWebUI:
    """What Open WebUI sends when ENABLE_FORWARD_USER_INFO_HEADERS is set, or the custom headers of our page are."""

    def __init__(self, session: aiohttp.ClientSession, endpoint: Endpoint, key: str, user: str) -> None:
        self._session = session
        self._url = endpoint.base_url
        self._headers = {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {key}",
            "X-OpenWebUI-User-Name": quote(f"{user} Müller", safe=" "),
            "X-OpenWebUI-User-Id": user,
            "X-OpenWebUI-User-Email": f"{user}@example.org",
            "X-OpenWebUI-User-Role": "user",
        }

    async def get(self, path: str) -> tuple[int, Any]:
        async with self._session.get(f"{self._url}{path}", headers=self._headers) as answer:
            return answer.status, await answer.json()

    async def chat(self, messages: list[dict[str, Any]]) -> tuple[list[str], int, Mapping[str, str]]:
        """A message of the person: the pieces that appear, the tokens that are shown, and the headers."""
        body = {"stream": True, "model": "mentalize", "messages": messages, "stream_options": {"include_usage": True}}
        headers = {**self._headers, "X-OpenWebUI-Chat-Id": CHAT, "X-OpenWebUI-Task": ""}
        url = f"{self._url}/chat/completions"
        async with self._session.post(url, data=json.dumps(body), headers=headers) as answer:
            assert answer.status == 200 and "text/event-stream" in answer.headers["Content-Type"]
            lines = [line.decode().strip() async for line in answer.content]
        events = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
        assert events.pop() == "[DONE]"
        chunks = [json.loads(event) for event in events]
        pieces = [chunk["choices"][0]["delta"].get("content") for chunk in chunks if chunk["choices"]]
        return [piece for piece in pieces if piece], chunks[-1]["usage"]["completion_tokens"], answer.headers

    async def side_task(self, messages: list[dict[str, Any]], task: str | None) -> tuple[str, Mapping[str, str]]:
        """A question that the app asks about a chat: the answer, and the headers."""
        body = {"model": "mentalize", "messages": messages, "stream": False, "max_completion_tokens": 1000}
        headers = {**self._headers, "X-OpenWebUI-Chat-Id": CHAT, **({} if task is None else {"X-OpenWebUI-Task": task})}
        url = f"{self._url}/chat/completions"
        async with self._session.post(url, data=json.dumps(body), headers=headers) as answer:
            return (await answer.json())["choices"][0]["message"]["content"], answer.headers


async def test_open_webui_verifies_and_chats_with_a_memory_for_each_person(endpoint: Endpoint) -> None:
    _, key = await endpoint.mind.memory.keys.create("open-webui", trusted=True)
    async with aiohttp.ClientSession() as session:
        ana, ben = (OpenWebUI(session, endpoint, key, user) for user in ("ana", "ben"))
        status, models = await ana.get("/models")
        assert status == 200 and "mentalize" in [model["id"] for model in models["data"]]
        status, refused = await OpenWebUI(session, endpoint, "sk-wrong", "ana").get("/models")
        assert status == 401 and refused["error"]["message"]
        pieces, tokens, headers = await ana.chat(ASK)
        assert (pieces, tokens) == (SENTENCES, COMPLETION_TOKENS)
        assert (headers["x-mentalize-memory"], headers["x-mentalize-effort"]) == ("on", "medium")
        await endpoint.mind.settle(Identity("open-webui", "ana"))
        _, remembered = await ana.get(f"/memories?session={CHAT}")
        assert MESSAGE in json.dumps(remembered)
        assert (await ben.get("/memories"))[1]["data"] == []


@pytest.mark.parametrize("says_so", [True, False], ids=["by header", "by its words"])
async def test_open_webuis_side_tasks_are_one_plain_call_each_and_never_remembered(
    endpoint: Endpoint, says_so: bool
) -> None:
    _, key = await endpoint.mind.memory.keys.create("open-webui", trusted=True)
    async with aiohttp.ClientSession() as session:
        ana = OpenWebUI(session, endpoint, key, "ana")
        for task, prompt in SIDE_TASKS.items():
            begins = OWN_PROMPT if says_so else prompt
            content = f"{begins}### Chat History:\n<chat_history>\nUSER: {MESSAGE}\n</chat_history>"
            asked = [{"role": "user", "content": content}]
            before = len(endpoint.upstream.requests)
            text, headers = await ana.side_task(asked, task if says_so else None)
            sent = [request.body["messages"] for request in endpoint.upstream.requests[before:]]
            assert (text, sent) == (WARM, [asked])
            assert headers["x-mentalize-effort"] == "none" and "side task" in headers["x-mentalize-route"]
        await endpoint.mind.settle(Identity("open-webui", "ana"))
        assert (await ana.get("/memories"))[1]["data"] == []


# --- llm ----------------------------------------------------------------------------------------------------


def run_llm(*arguments: str) -> tuple[int, str, str]:
    """Run the program: its exit status, and what it said on either stream."""
    from llm.cli import cli

    ran = CliRunner().invoke(cli, arguments)
    return ran.exit_code, ran.stdout, ran.stderr


async def test_llm_does_what_our_page_says(endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path))
    page = CLIENTS / "llm.md"
    (settings,) = blocks("yaml", page=page)
    (commands,) = blocks("bash", page=page)
    (tmp_path / "extra-openai-models.yaml").write_text(settings.served_at(endpoint.url))
    for line in commands.served_at(endpoint.url).splitlines():
        status, said, aside = await asyncio.to_thread(run_llm, *shlex.split(line)[1:])
        assert (status, said) == (0, f"{WARM}\n")
        assert f"{COMPLETION_TOKENS} output" in aside or "--usage" not in line
    await endpoint.mind.settle(Identity("default", "ana"))
    assert await endpoint.mind.memory.find(Identity("default", "ana")), "the file's header names the person"


async def test_llm_calls_tools_and_says_what_went_wrong(
    endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path))
    ask = ("openai", "endpoint", endpoint.base_url, "-m", MODEL)
    tool = 'def weather(city: str) -> str:\n    "The weather of a city."\n    return "sunny"'
    called = await asyncio.to_thread(run_llm, *ask, MESSAGE, "--functions", tool, "--tools-debug")
    assert called[:2] == (0, f"{SUNNY}\n") and str(CITY) in called[2]
    status, _, aside = await asyncio.to_thread(run_llm, *ask, SLOW_DOWN)
    assert status == 1 and aside.startswith("Error: Error code: 429")

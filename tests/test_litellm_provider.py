"""LiteLLM serves `mentalize/…`: whole, streamed, with tools, and with the errors that its users expect."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from endpoint import thoughtful
from mentalize import Identity, Mind
from mentalize.llm.provider import litellm as loaded
from mentalize.middleware.litellm import register
from openai_server import OpenAIServer, Reply
from social_script import MESSAGE, WARM

litellm = loaded()
pytestmark = pytest.mark.filterwarnings("ignore:Item .* on TypedDict class:UserWarning")
"""LiteLLM's own types, as pydantic finds them."""
CHAT = [{"role": "user", "content": MESSAGE}]
ASKING: dict[str, Any] = {"mentalize": {"user": "ana"}}
TOOL = {"type": "function", "function": {"name": "trains", "parameters": {"type": "object", "properties": {}}}}
CALLS = [{"id": "call-1", "type": "function", "index": 0, "function": {"name": "trains", "arguments": "{}"}}]


def upstream_mind(upstream: OpenAIServer, folder: Path, **settings: Any) -> Mind:
    chosen = "openai_compatible/scripted"
    return Mind(model=chosen, base_url=upstream.base_url, cache_folder=folder, retries=0, **settings)


@pytest.fixture
async def mind(tmp_path: Path) -> AsyncIterator[Mind]:
    async with OpenAIServer(thoughtful()) as upstream:
        memory = {"url": f"sqlite:///{tmp_path}/memory.db"}
        async with upstream_mind(upstream, tmp_path, memory=memory) as made:
            register(made)
            yield made


async def test_an_answer_in_one_piece(mind: Mind) -> None:
    answer: Any = await litellm.acompletion("mentalize/low", CHAT, extra_body=ASKING)
    assert answer.choices[0].message.content == WARM and answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens > 0
    assert MESSAGE in {memory.text for memory in await mind.memory.find(Identity("default", "ana"))}


async def test_an_answer_that_is_streamed(mind: Mind) -> None:
    stream: Any = await litellm.acompletion(
        "mentalize/medium", CHAT, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == WARM
    assert "stop" in [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]


async def test_tools_pass_through(tmp_path: Path) -> None:
    asks = Reply(message={"content": None, "tool_calls": CALLS}, finish_reason="tool_calls", text="")
    async with OpenAIServer(asks) as upstream, upstream_mind(upstream, tmp_path, memory={"mode": "off"}) as mind:
        register(mind)
        whole: Any = await litellm.acompletion("mentalize/auto", CHAT, tools=[TOOL])
        assert whole.choices[0].message.tool_calls[0].function.name == "trains"
        stream: Any = await litellm.acompletion("mentalize/auto", CHAT, tools=[TOOL], stream=True)
        built = litellm.stream_chunk_builder([chunk async for chunk in stream])
        assert built.choices[0].message.tool_calls[0].function.name == "trains"
    assert upstream.requests[0].body["tools"] == [TOOL]


async def test_a_wish_that_there_is_not_is_told(mind: Mind) -> None:
    with pytest.raises(litellm.exceptions.BadRequestError) as told:
        await litellm.acompletion("mentalize/low", CHAT, extra_body={"mentalize": {"effort": "much"}})
    assert "mentalize.effort" in str(told.value)


async def test_who_leaves_a_stream_early_stops_it(mind: Mind) -> None:
    stream: Any = await litellm.acompletion("mentalize/low", CHAT, stream=True)
    assert await anext(stream)
    await stream.aclose()


def test_the_same_for_synchronous_callers(tmp_path: Path) -> None:
    from mentalize.llm.scripted import ScriptedModel
    from social_script import SCRIPT

    mind = Mind(model=ScriptedModel(SCRIPT), cache_folder=tmp_path, memory={"mode": "off"})
    with mind.sync:
        register(mind)
        answer: Any = litellm.completion("mentalize/low", CHAT)
        assert answer.choices[0].message.content == WARM
        stream: Any = litellm.completion("mentalize/low", CHAT, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == WARM

"""A client of the OpenAI SDK mentalizes, on a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI, AuthenticationError, OpenAI

import mentalize
from endpoint import thoughtful
from mentalize import Identity
from openai_server import OpenAIServer, Reply
from social_script import MESSAGE

CHAT: Any = [{"role": "system", "content": "You are Bo."}, {"role": "user", "content": MESSAGE}]
OWN = "Shall I stay? I would like to."


@pytest.fixture
async def upstream() -> AsyncIterator[OpenAIServer]:
    async with OpenAIServer(thoughtful(OWN)) as server:
        yield server


def settings(tmp_path: Path, **more: Any) -> dict[str, Any]:
    memory = {"url": f"sqlite:///{tmp_path}/memory.db"}
    return {"cache_folder": tmp_path, "memory": memory, "effort": "low", "model": "scripted", **more}


def own_request(upstream: OpenAIServer) -> dict[str, Any]:
    """What the chatbot itself asked: the last request."""
    return upstream.requests[-1].body


async def test_an_asynchronous_client_is_guided(upstream: OpenAIServer, tmp_path: Path) -> None:
    plain = AsyncOpenAI(base_url=upstream.base_url, api_key="key")
    client = mentalize.wrap_openai(plain, **settings(tmp_path))
    assert isinstance(client, AsyncOpenAI)
    answer = await client.chat.completions.create(model="own", messages=CHAT, user="ana", temperature=0.5)
    assert answer.choices[0].message.content == OWN
    asked = own_request(upstream)
    assert asked["messages"][0] == CHAT[0] and "<guidance>" in asked["messages"][1]["content"]
    assert (asked["model"], asked["temperature"], asked["user"]) == ("own", 0.5, "ana")
    wrapping: Any = client.chat.completions.create
    memories = await wrapping.mentalize.mind.memory.find(Identity("default", "ana"))
    assert {MESSAGE, OWN} <= {memory.text for memory in memories}
    await wrapping.mentalize.close()
    before = len(upstream.requests)
    await plain.chat.completions.create(model="own", messages=CHAT)
    assert own_request(upstream)["messages"] == CHAT and len(upstream.requests) == before + 1
    await plain.close()


async def test_a_stream_stays_one(upstream: OpenAIServer, tmp_path: Path) -> None:
    client = mentalize.wrap_openai(
        AsyncOpenAI(base_url=upstream.base_url, api_key="key"), **settings(tmp_path, mode="review")
    )
    stream = await client.chat.completions.create(model="own", messages=CHAT, stream=True)
    async with stream as chunks:
        said = [chunk async for chunk in chunks]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in said if chunk.choices) == OWN
    assert stream.response.status_code == 200
    wrapping: Any = client.chat.completions.create
    await wrapping.mentalize.close()
    await client.close()


async def test_a_synchronous_client_too(upstream: OpenAIServer, tmp_path: Path) -> None:
    def ask() -> tuple[str | None, str]:
        client = mentalize.wrap_openai(OpenAI(base_url=upstream.base_url, api_key="key"), **settings(tmp_path))
        whole = client.chat.completions.create(model="own", messages=CHAT).choices[0].message.content
        with client.chat.completions.create(model="own", messages=CHAT, stream=True) as stream:
            pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
        wrapping: Any = client.chat.completions.create
        wrapping.mentalize.finish()
        client.close()
        return whole, "".join(pieces)

    assert await asyncio.to_thread(ask) == (OWN, OWN)


async def test_the_client_s_errors_stay_its_own(tmp_path: Path) -> None:
    async with OpenAIServer(Reply(status=401)) as server:
        client = mentalize.wrap_openai(AsyncOpenAI(base_url=server.base_url, api_key="no"), **settings(tmp_path))
        with pytest.raises(AuthenticationError):
            await client.chat.completions.create(model="own", messages=CHAT)
        wrapping: Any = client.chat.completions.create
        await wrapping.mentalize.close()
        await client.close()

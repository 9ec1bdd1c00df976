"""The tools of one person's memory, by a real client: in the process, and over the standard input of the program."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

from endpoint import thoughtful
from mentalize import Identity, Mind
from mentalize.llm.scripted import ScriptedModel
from mentalize.middleware.mcp import tools
from openai_server import OpenAIServer
from social_script import MESSAGE, SCRIPT

ANA, BEN = Identity("default", "ana"), Identity("default", "ben")


@pytest.fixture
async def mind(tmp_path: Path) -> AsyncIterator[Mind]:
    memory = {"url": f"sqlite:///{tmp_path}/memory.db"}
    async with Mind(model=ScriptedModel(SCRIPT), cache_folder=tmp_path, memory=memory) as made:
        await made.memory.remember(ANA, "My sister lives in Rome.")
        await made.memory.remember(BEN, "My sister lives in Oslo.")
        yield made


async def found(client: Client, name: str, **arguments: Any) -> Any:
    result = await client.call_tool(name, arguments)
    assert not result.is_error, result
    content = result.structured_content
    return content["result"] if content and set(content) == {"result"} else content


async def test_a_person_s_memory_is_recalled_corrected_and_forgotten(mind: Mind) -> None:
    async with Client(tools(mind, ANA)) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert names == {"recall", "why", "correct", "forget", "mentalize"}
        (first, *others) = await found(client, "recall", query="Where does my sister live?")
        assert first["text"] == "My sister lives in Rome." and first["reason"]
        assert "Oslo" not in str(others)
        new = await found(client, "correct", memory_id=first["id"], text="My sister lives in Milan.")
        why = await found(client, "why", memory_id=new["id"])
        assert why["memory"]["text"] == "My sister lives in Milan."
        assert [one["text"] for one in why["replaced"]] == ["My sister lives in Rome."]
        assert "fact" in await found(client, "forget", memory_id=new["id"])
        left = await found(client, "recall", query="Where does my sister live?")
        assert "Milan" not in str(left)


async def test_nobody_else_s_memory_is_reached(mind: Mind) -> None:
    (other, *_) = await mind.memory.search(BEN, "sister")
    async with Client(tools(mind, ANA)) as client:
        for name in ("why", "forget"):
            result = await client.call_tool(name, {"memory_id": other.memory.id})
            assert name == "forget" or result.is_error
    assert "My sister lives in Oslo." in {hit.memory.text for hit in await mind.memory.search(BEN, "sister")}


async def test_what_a_message_means_is_told_and_nothing_of_it_kept(mind: Mind) -> None:
    async with Client(tools(mind, ANA)) as client:
        understood = await found(client, "mentalize", message=MESSAGE, effort="medium")
    assert understood["guesses"] and understood["act"] and understood["emotion"]
    assert MESSAGE not in {memory.text for memory in await mind.memory.find(ANA)}


async def test_the_program_speaks_it(tmp_path: Path) -> None:
    async with OpenAIServer(thoughtful()) as upstream:
        program = StdioServerParameters(
            command=sys.executable,
            args=[
                "-m",
                "mentalize",
                "mcp",
                "--user",
                "ana",
                "--model",
                "openai_compatible/scripted",
                "--effort",
                "low",
            ],
            env={
                **os.environ,
                "MENTALIZE_BASE_URL": upstream.base_url,
                "MENTALIZE_CACHE_FOLDER": str(tmp_path),
                "MENTALIZE_MEMORY__URL": f"sqlite:///{tmp_path}/memory.db",
            },
        )
        async with Client(program) as client:
            assert client.server_info and client.server_info.name == "mentalize"
            assert (await found(client, "mentalize", message=MESSAGE))["guesses"]
            assert await found(client, "recall", query="rivers") == []

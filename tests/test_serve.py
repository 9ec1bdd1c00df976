"""`mentalize serve` as a program: what it says, what it refuses, and how it ends."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from endpoint import thoughtful
from mentalize.errors import SettingsError
from mentalize.server.serve import bind, check
from mentalize.settings import Settings
from openai_server import OpenAIServer
from social_script import MESSAGE, WARM

ASK = {"model": "mentalize-medium", "messages": [{"role": "user", "content": MESSAGE}]}


@asynccontextmanager
async def program(
    *arguments: str, environment: Mapping[str, str]
) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """The program in a process of its own; its base URL as it says it."""
    command = [sys.executable, "-m", "mentalize.cli", "serve", "--port", "0", *arguments]
    process = await asyncio.create_subprocess_exec(
        *command, env={**os.environ, **environment}, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        said = b""
        while not (found := re.search(rb"base_url\s+(http\S+)", said)):
            line = await asyncio.wait_for(process.stderr.readline(), 60)
            assert line, said.decode()
            said += line
        yield found[1].decode(), process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def settings_of(folder: Path, upstream: OpenAIServer) -> dict[str, str]:
    return {
        "MENTALIZE_MODEL": "openai_compatible/scripted",
        "MENTALIZE_BASE_URL": upstream.base_url,
        "MENTALIZE_CACHE_FOLDER": str(folder),
        "MENTALIZE_MEMORY__URL": f"sqlite:///{folder}/memory.db",
        "MENTALIZE_MEMORY__EMBEDDER": "fake",
    }


async def test_the_program_says_how_to_reach_it_and_lets_turns_end_when_it_is_stopped(tmp_path: Path) -> None:
    async with OpenAIServer(thoughtful(delay=0.3)) as upstream:
        environment = settings_of(tmp_path, upstream)
        async with program(environment=environment) as (base_url, process), httpx.AsyncClient(timeout=60) as client:
            headers = {"X-Mentalize-User": "ana"}
            turn = asyncio.create_task(client.post(f"{base_url}/chat/completions", json=ASK, headers=headers))
            assert await upstream.received(9, within=30), "the turn is under way"
            process.send_signal(signal.SIGTERM)
            answer = await turn
            assert answer.json()["choices"][0]["message"]["content"] == WARM
            assert await asyncio.wait_for(process.wait(), 20) == -signal.SIGTERM
        async with program(environment=environment) as (base_url, _), httpx.AsyncClient(timeout=60) as client:
            kept = (await client.get(f"{base_url}/memories", headers=headers)).json()["data"]
    assert {memory["text"] for memory in kept if memory["kind"] == "turn"} == {MESSAGE, WARM}


async def test_two_interrupts_stop_it_at_once(tmp_path: Path) -> None:
    async with (
        OpenAIServer(thoughtful(delay=30)) as upstream,
        program(environment=settings_of(tmp_path, upstream)) as (base_url, process),
        httpx.AsyncClient(timeout=60) as client,
    ):
        turn = asyncio.create_task(client.post(f"{base_url}/chat/completions", json=ASK))
        assert await upstream.received(1, within=30)
        process.send_signal(signal.SIGINT)
        await asyncio.sleep(0.3)
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 20) == 130
        answer = await turn
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "stopping")


async def test_strangers_are_not_let_in_without_keys(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mentalize.cli", "serve", "--model", "fake", "--host", "0.0.0.0"]
    environment = {**os.environ, "MENTALIZE_MEMORY__URL": f"sqlite:///{tmp_path}/memory.db"}
    process = await asyncio.create_subprocess_exec(*command, env=environment, stderr=asyncio.subprocess.PIPE)
    _, said = await process.communicate()
    assert process.returncode == 1 and b"mentalize keys create" in said


def test_a_port_that_is_taken_is_said_so() -> None:
    with bind(Settings(server={"port": 0})) as bound:
        taken = Settings(server={"port": bound.getsockname()[1]})
        with pytest.raises(SettingsError, match="another port"):
            bind(taken)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"model": "fake"}, "SQLite"),
        ({"model": "fake", "memory": {"url": "postgresql://localhost/x"}}, "vector index"),
        ({"memory": {"url": "postgresql://localhost/x", "index": "http://localhost:8000"}}, "embedded model"),
    ],
)
def test_several_processes_need_stores_that_can_be_shared(settings: dict[str, object], problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        check(Settings(**settings, server={"workers": 2}), keys=True)


def test_what_can_be_shared_is_let_through() -> None:
    shared = {"url": "postgresql://localhost/x", "index": "http://localhost:8000"}
    check(Settings(model="fake", memory=shared, server={"workers": 2, "host": "0.0.0.0"}), keys=True)

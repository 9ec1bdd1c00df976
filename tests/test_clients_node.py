"""OpenAI's clients for Node.js, as their users meet them, against our server on a real socket."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from client_script import BREAK_OFF, CITY, COMPLETION_TOKENS, SENTENCES, SLOW_DOWN, WEATHER, scene
from endpoint import Endpoint, served
from mentalize.types import Identity
from pages import CLIENTS, blocks
from social_script import MESSAGE, WARM

pytestmark = pytest.mark.node

FOLDER = Path(__file__).parent / "node"
SCHEMA = {
    "title": "Answer",
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
    "additionalProperties": False,
}
SAID = {"message": MESSAGE, "slowDown": SLOW_DOWN, "breakOff": BREAK_OFF, "tools": [WEATHER], "schema": SCHEMA}


@pytest.fixture(scope="session", autouse=True)
def _packages(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What `package-lock.json` lists, installed once; a change of it installs anew."""
    npm = shutil.which("npm")
    assert npm and shutil.which("node"), "These tests need Node.js and npm."
    lock, installed = FOLDER / "package-lock.json", FOLDER / "node_modules" / ".package-lock.json"
    with FileLock(tmp_path_factory.getbasetemp().parent / "npm.lock"):
        if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
            subprocess.run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=FOLDER, check=True)


@pytest.fixture
async def endpoint(tmp_path: Path) -> AsyncIterator[Endpoint]:
    async with served(tmp_path, scene, retries=0) as running:
        yield running


async def node(*arguments: str, stdin: str = "") -> str:
    """What a script says on standard output."""
    running = await asyncio.create_subprocess_exec(
        "node",
        *arguments,
        cwd=FOLDER,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await running.communicate(stdin.encode())
    assert running.returncode == 0, err.decode()
    return out.decode()


async def seen(script: str, endpoint: Endpoint) -> dict[str, Any]:
    """What a user of the client sees, by the script that uses it."""
    return json.loads(await node(script, endpoint.base_url, json.dumps(SAID)))


async def test_openai_node(endpoint: Endpoint) -> None:
    found = await seen("openai.mjs", endpoint)
    assert {"mentalize", "mentalize-medium", "scripted"} <= set(found["models"])
    whole, streamed, called = found["whole"], found["streamed"], found["called"]
    assert (whole["text"], whole["tokens"]) == (WARM, COMPLETION_TOKENS)
    assert whole["requestId"] == whole["headers"]["x-request-id"]
    assert (whole["headers"]["x-mentalize-effort"], whole["headers"]["x-mentalize-memory"]) == ("medium", "on")
    assert streamed["pieces"] == SENTENCES and any("perceive: " in thought for thought in streamed["thoughts"])
    assert streamed["last"]["choices"] == [] and streamed["last"]["usage"]["completion_tokens"] == COMPLETION_TOKENS
    assert [piece for piece in found["helped"]["pieces"] if piece] == SENTENCES and found["helped"]["text"] == WARM
    assert (called["call"]["name"], json.loads(called["call"]["arguments"])) == ("weather", CITY)
    assert "".join(called["parts"]) == called["call"]["arguments"] and called["reason"] == "tool_calls"


async def test_openai_node_raises_its_own_errors(endpoint: Endpoint) -> None:
    faults = (await seen("openai.mjs", endpoint))["faults"]
    named = {what: (fault["name"], fault.get("status"), fault.get("code")) for what, fault in faults.items()}
    assert named == {
        "unknown": ("NotFoundError", 404, "model_not_found"),
        "empty": ("BadRequestError", 400, None),
        "slow": ("RateLimitError", 429, "rate_limit_exceeded"),
        "broken": ("APIError", None, "model_unavailable"),
    }
    assert all(faults[what]["requestId"] for what in ("unknown", "empty", "slow"))


async def test_langchain_js(endpoint: Endpoint) -> None:
    found = await seen("langchain.mjs", endpoint)
    assert found["whole"] == {"text": WARM, "tokens": COMPLETION_TOKENS, "model": "mentalize-medium"}
    assert found["streamed"] == {"pieces": SENTENCES, "tokens": COMPLETION_TOKENS}
    assert [(call["name"], call["args"]) for call in found["called"]] == [("weather", CITY)]
    assert isinstance(found["structured"]["text"], str)
    assert {what: fault["status"] for what, fault in found["faults"].items()} == {"unknown": 404, "slow": 429}
    await endpoint.mind.settle(Identity("default", "ana"))
    assert await endpoint.mind.memory.find(Identity("default", "ana")), "its header named the person"


@pytest.mark.parametrize("page", ["openai-node.md", "langchain-js.md"])
async def test_what_the_page_shows_prints_the_reply(endpoint: Endpoint, page: str) -> None:
    (block,) = blocks("js", page=CLIENTS / page)
    assert await node("--input-type=module", stdin=block.served_at(endpoint.url)) == f"{WARM}\n"

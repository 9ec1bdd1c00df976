"""Each example runs as it stands, in its own process, with a model on loopback; the web app in a real browser."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from endpoint import thoughtful
from openai_server import OpenAIServer, Reply, Script
from social_script import WARM, fact, told

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
SAYS = {
    "hello": ("It may be: The person", WARM),
    "days": ("Worth bringing up: My sister Ines moves to Porto next month.", WARM),
    "openai_bot": (WARM,),
    "langchain_agent": ("next_train", "The next train to Porto leaves at nine.", WARM),
    "langgraph_node": (f"ai: {WARM}",),
    "litellm_provider": (f"{WARM}\n{WARM}",),
    "group_chat": ("Cem has heard: Who is in for a picnic at the Mirror Lake?", WARM),
    "support": ("To do:", "must:", WARM),
    "tutor": ("western: Liberal thought asks", WARM),
}


def upstream() -> Script:
    """A model that plays every agent, takes notes of sisters, and calls a tool where it has one."""
    think = thoughtful(WARM)
    assert callable(think)

    def reply(body: dict[str, Any]) -> Any:
        asked = str(body.get("messages"))
        if body.get("tools") and body["messages"][-1]["role"] == "user" and "response_format" not in body:
            called = {"name": "next_train", "arguments": '{"place": "Porto"}'}
            call = {"id": "call-1", "index": 0, "type": "function", "function": called}
            return Reply(message={"content": None, "tool_calls": [call]}, finish_reason="tool_calls", text="")
        if (body.get("response_format") or {}).get("json_schema", {}).get("name") == "GleaningsAnswer":
            sister = "My sister Ines moves to Porto next month."
            return Reply(text=json.dumps(told(fact(sister)) if sister in asked else told()))
        return think(body)

    return reply


def surroundings(server: OpenAIServer, folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "MENTALIZE_MODEL": "openai_compatible/scripted",
        "MENTALIZE_BASE_URL": server.base_url,
        "MENTALIZE_CACHE_FOLDER": str(folder),
        "MENTALIZE_MEMORY__URL": f"sqlite:///{folder}/memory.db",
        "OPENAI_BASE_URL": server.base_url,
        "OPENAI_API_KEY": "none",
        "OPENAI_MODEL": "scripted",
        "LANGSMITH_TRACING": "false",
    }


def test_each_example_is_run() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*SAYS, "companion_app"}


@pytest.mark.parametrize("name", SAYS)
async def test_an_example_runs(name: str, tmp_path: Path) -> None:
    async with OpenAIServer(upstream()) as server:
        ran = await asyncio.create_subprocess_exec(
            sys.executable,
            str(EXAMPLES / f"{name}.py"),
            cwd=tmp_path,
            env=surroundings(server, tmp_path),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(120):
            out, errors = await ran.communicate()
    said = out.decode()
    assert ran.returncode == 0, errors.decode()
    assert all(words in said for words in SAYS[name]), said
    assert "Traceback" not in errors.decode()


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[str]:
    """The address of the web app, which runs as its own documentation says."""
    async with OpenAIServer(upstream()) as server:
        port = free_port()
        running = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "uvicorn", "--app-dir", str(EXAMPLES), "--port", str(port), "companion_app:app",
            cwd=tmp_path, env=surroundings(server, tmp_path), stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient() as client, asyncio.timeout(60):
            while True:
                try:
                    await client.get(url)
                    break
                except httpx.ConnectError:
                    await asyncio.sleep(0.1)
        yield url
        running.terminate()
        await running.wait()


def free_port() -> int:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def test_the_web_app_answers_believes_and_forgets(app: str) -> None:
    async with httpx.AsyncClient(base_url=app, timeout=60) as client:
        said = await client.post("/say", json={"user": "ana", "text": "I'm fine. Go without me, really."})
        assert said.text.endswith(WARM) and "I am Bo, an AI" in said.text
        assert "findahelpline.com" in (await client.get("/crisis-protocol")).text
        assert (await client.get("/beliefs", params={"user": "ben"})).json() == []


@pytest.mark.browser
async def test_the_web_app_in_a_real_browser(app: str, tmp_path: Path) -> None:
    from playwright.async_api import async_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        assert not os.environ.get("BROWSER_REQUIRED"), "There is no Chromium: apt-get install chromium"
        pytest.skip("needs Chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = await browser.new_page(viewport={"width": 1000, "height": 640})
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        await page.goto(f"{app}/?user=ana")
        for number, text in enumerate(
            ("My sister Ines moves to Porto next month.", "I'm fine. Go without me, really.")
        ):
            await page.fill("#text", text)
            await page.click("text=Send")
            await page.wait_for_selector(f"body[data-answered='{number + 1}']")
        talk = await page.inner_text("#talk")
        assert "I am Bo, an AI and not a person" in talk and talk.count(WARM) == 2
        believed = page.locator("#beliefs li", has_text="My sister Ines moves to Porto")
        for _ in range(100):
            if await believed.count():
                break
            await page.wait_for_timeout(200)
            await page.evaluate("show()")
        assert "you said so" in await believed.inner_text()
        await page.screenshot(path=os.environ.get("PICTURE") or str(tmp_path / "page.png"))
        await believed.locator("button").click()
        await believed.wait_for(state="detached")
        await browser.close()
    assert not problems

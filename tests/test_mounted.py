"""The endpoint inside a FastAPI app that exists already, on a real socket."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import httpx
import uvicorn
from fastapi import FastAPI
from openai import AsyncOpenAI

from mentalize import Mind
from mentalize.llm.scripted import ScriptedModel
from mentalize.server.app import create
from social_script import MESSAGE, SCRIPT, WARM


async def test_the_endpoint_is_mounted_into_an_app(tmp_path: Path) -> None:
    memory = {"url": f"sqlite:///{tmp_path}/memory.db"}
    app = FastAPI()

    @app.get("/hello")
    def hello() -> str:  # pyright: ignore[reportUnusedFunction]
        return "mine"

    async with Mind(model=ScriptedModel(SCRIPT), cache_folder=tmp_path, memory=memory) as mind:
        app.mount("/mind", create(mind))
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
            running = asyncio.create_task(server.serve([listener]))
            async with AsyncOpenAI(base_url=f"{url}/mind/v1", api_key="none") as client, httpx.AsyncClient() as plain:
                answer = await client.chat.completions.create(
                    model="mentalize-low", messages=[{"role": "user", "content": MESSAGE}], user="ana"
                )
                assert answer.choices[0].message.content == WARM
                assert "mentalize-low" in [model.id async for model in client.models.list()]
                stream = await client.chat.completions.create(
                    model="mentalize-low", messages=[{"role": "user", "content": MESSAGE}], stream=True
                )
                said = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
                assert "".join(said) == WARM
                assert (await plain.get(f"{url}/hello")).json() == "mine"
                lost = await plain.get(f"{url}/mind/v1/nothing")
                assert lost.status_code == 404 and lost.json()["error"]["code"] == "not_found"
                assert (await plain.get(f"{url}/mind/healthz")).json() == {"status": "ok"}
            server.should_exit = True
            await running

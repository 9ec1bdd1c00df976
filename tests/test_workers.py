"""Several processes behind one port, on PostgreSQL and a Chroma server: one memory, one set of keys, one count."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from endpoint import thoughtful
from mentalize.memory.store import MemoryStore
from openai_server import OpenAIServer
from social_script import MESSAGE, WARM
from test_serve import program

pytestmark = pytest.mark.postgres
ASK = {"model": "mentalize-low", "messages": [{"role": "user", "content": MESSAGE}]}


@asynccontextmanager
async def chroma(folder: Path) -> AsyncIterator[str]:
    """A Chroma server on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("chroma")), "run", "--path", str(folder), "--port", str(port)]
    server = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient() as client:
            for _ in range(300):
                try:
                    if (await client.get(f"{url}/api/v2/heartbeat")).status_code == 200:
                        break
                except httpx.TransportError:
                    await asyncio.sleep(0.1)
        yield url
    finally:
        server.terminate()
        await server.wait()


async def test_processes_share_keys_memory_and_counts(tmp_path: Path, postgres_url: str) -> None:
    store = MemoryStore(postgres_url, clock=lambda: datetime.now(UTC))
    store.open()
    _, app = store.keys.create("shop", trusted=True)
    _, operator = store.keys.create("shop", operator=True)
    async with OpenAIServer(thoughtful()) as upstream, chroma(tmp_path / "index") as index:
        environment = {
            "MENTALIZE_MODEL": "openai_compatible/scripted",
            "MENTALIZE_BASE_URL": upstream.base_url,
            "MENTALIZE_CACHE_FOLDER": str(tmp_path),
            "MENTALIZE_MEMORY__URL": postgres_url,
            "MENTALIZE_MEMORY__EMBEDDER": "fake",
            "MENTALIZE_MEMORY__INDEX": index,
        }
        async with program("--workers", "2", environment=environment) as (base_url, process):
            people = [f"person-{number}" for number in range(8)]

            async def ask(user: str) -> httpx.Response:
                # A client of its own each time: a new connection may reach either process.
                async with httpx.AsyncClient(timeout=60) as client:
                    headers = {"Authorization": f"Bearer {app}", "X-Mentalize-User": user}
                    return await client.post(f"{base_url}/chat/completions", json=ASK, headers=headers)

            async def remembered(user: str) -> list[str]:
                async with httpx.AsyncClient(timeout=60) as client:
                    headers = {"Authorization": f"Bearer {app}", "X-Mentalize-User": user}
                    data = (await client.get(f"{base_url}/memories?kind=turn", headers=headers)).json()["data"]
                    return [memory["text"] for memory in data]

            answers = await asyncio.gather(*(ask(user) for user in people))
            assert [answer.status_code for answer in answers] == [200] * 8
            assert [await remembered(user) for user in people] == [[WARM, MESSAGE]] * 8

            async with httpx.AsyncClient(timeout=60) as client:
                headers = {"Authorization": f"Bearer {operator}"}
                metrics = (await client.get(f"{base_url.removesuffix('/v1')}/metrics", headers=headers)).text
            assert 'mentalize_turns_total{effort="low",reason="asked"} 8.0' in metrics

            workers = _children(process.pid)
            assert len(workers) == 2
            os.kill(workers[0], signal.SIGKILL)
            await _until(lambda: len(_children(process.pid)) == 2 and workers[0] not in _children(process.pid))
            for _ in range(4):
                assert (await ask("person-0")).status_code == 200
            process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(process.wait(), 30)
    store.close()


def _children(parent: int) -> list[int]:
    """The server processes that a supervisor has started; what tracks their resources is none of them."""
    listed = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(child) for child in listed if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


async def _until(condition: object, seconds: float = 30) -> None:
    assert callable(condition)
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - processes of the system have no event
            await asyncio.sleep(0.1)

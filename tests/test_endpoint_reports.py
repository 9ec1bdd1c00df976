"""How models' endpoints fare, as `mentalize doctor` and `/metrics` tell it: real servers on loopback."""

from __future__ import annotations

import asyncio
import math
import os
import subprocess
import sys
from pathlib import Path

import httpx

from endpoint import served, thoughtful
from mentalize import Mind
from openai_server import OpenAIServer, obedient, vllm_page
from test_metrics import Samples, read

PAGE = vllm_page(running=3, waiting=2, queries=800, hits=600)


async def doctor(folder: Path, *servers: OpenAIServer) -> subprocess.CompletedProcess[str]:
    addresses = ",".join(server.base_url for server in servers)
    command = (sys.executable, "-m", "mentalize.cli", "doctor", "--model", "hosted_vllm/m", "--base-url", addresses)
    environment = {**os.environ, "COLUMNS": "200", "MENTALIZE_CACHE_FOLDER": str(folder), "HOME": str(folder)}
    return await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, cwd=folder, env=environment, timeout=60, check=False
    )


async def test_doctor_shows_each_endpoint_its_queue_and_its_cache(tmp_path: Path) -> None:
    async with OpenAIServer(obedient(), models=("m",)) as busy, OpenAIServer(obedient(), models=("m",)) as ill:
        busy.metrics, ill.healthy = PAGE, False
        done = await doctor(tmp_path, busy, ill)
        lines = [line.split() for line in done.stdout.splitlines()]
        assert [busy.base_url, "yes", "3", "2", "75%", "found"] in lines
        assert [ill.base_url, "no", "?", "?", "?"] in lines
        assert done.returncode == 0, "a role works while one of its endpoints does"


async def test_doctor_fails_where_endpoints_do_not_serve_the_same_model(tmp_path: Path) -> None:
    async with OpenAIServer(obedient(), models=("m",)) as one, OpenAIServer(obedient(), models=("n",)) as other:
        done = await doctor(tmp_path, one, other)
        assert done.returncode == 1
        assert f"The model 'm' is not served by {other.base_url}." in done.stdout
        other.models, one.roots, other.roots = ("m",), {"m": "org/small"}, {"m": "/data/large"}
        done = await doctor(tmp_path, one, other)
        assert done.returncode == 1
        assert f"Under the name 'm' different models are served: org/small by {one.base_url}" in done.stdout


async def test_the_same_model_from_another_folder_is_the_same(tmp_path: Path) -> None:
    async with OpenAIServer(obedient(), models=("m",)) as one, OpenAIServer(obedient(), models=("x", "m")) as other:
        one.roots, other.roots = {"m": "org/small"}, {"m": "/data/small"}
        addresses = [one.base_url, other.base_url]
        async with Mind(model="hosted_vllm/m", base_url=addresses, cache_folder=tmp_path) as mind:
            reports = await mind.doctor()
        assert [report.ok for report in reports] == [True] * 3
        assert [[endpoint.address for endpoint in report.endpoints] for report in reports] == [addresses] * 3


async def test_metrics_tell_how_busy_each_endpoint_is(tmp_path: Path) -> None:
    async with OpenAIServer() as gone:
        away = gone.base_url
    async with OpenAIServer(thoughtful()) as one, OpenAIServer(thoughtful()) as other:
        one.metrics = PAGE
        roles = {"judge": {"model": "openai_compatible/scripted", "base_url": other.base_url}}
        addresses = [one.base_url, away]
        async with (
            served(tmp_path, model="hosted_vllm/scripted", base_url=addresses, roles=roles) as endpoint,
            httpx.AsyncClient() as client,
        ):

            async def samples() -> Samples:
                return read((await client.get(f"{endpoint.url}/metrics")).text)

            found = await samples()

            def told(name: str, address: str) -> float | None:
                return found.get((f"endpoint_{name}", frozenset({("endpoint", address)})))

            assert [told("up", address) for address in (*addresses, other.base_url)] == [1, 0, 1]
            assert told("requests_running", one.base_url) == 3
            assert told("requests_waiting", one.base_url) == 2
            assert told("prefix_cache_query_tokens", one.base_url) == 800
            assert told("prefix_cache_hit_tokens", one.base_url) == 600
            assert math.isnan(told("requests_waiting", away) or 0)
            await asyncio.gather(*(samples() for _ in range(5)))
            assert one.looks.count("/metrics") == 1, "many scrapers make no load"

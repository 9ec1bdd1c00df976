"""Limits of a key, and what happens when too much is asked of the whole server."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from endpoint import Endpoint, served, thoughtful
from mentalize.memory.keys import Limits
from social_script import MESSAGE, WARM

ASK = {"model": "mentalize-medium", "messages": [{"role": "user", "content": MESSAGE}]}
DANGER = {"model": "mentalize-medium", "messages": [{"role": "user", "content": "I want to kill myself tonight."}]}
PLAIN = {"model": "scripted", "messages": [{"role": "user", "content": MESSAGE}]}


async def key_with(endpoint: Endpoint, **limits: int) -> dict[str, str]:
    _, secret = await endpoint.mind.memory.keys.create("shop", limits=Limits(**limits))
    return {"Authorization": f"Bearer {secret}"}


async def ask(endpoint: Endpoint, body: dict[str, Any], headers: dict[str, str] | None = None) -> httpx.Response:
    async with httpx.AsyncClient(timeout=30) as client:
        return await client.post(f"{endpoint.base_url}/chat/completions", json=body, headers=headers)


def refusal(answer: httpx.Response) -> tuple[int, str, int]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], int(answer.headers["retry-after"])


async def metric(endpoint: Endpoint, line: str) -> float:
    _, operator = await endpoint.mind.memory.keys.create("shop", operator=True)
    async with httpx.AsyncClient() as client:
        found = await client.get(f"{endpoint.url}/metrics", headers={"Authorization": f"Bearer {operator}"})
    return next(float(each.rpartition(" ")[2]) for each in found.text.splitlines() if each.startswith(line))


async def test_requests_are_counted_by_the_minute_for_each_key(tmp_path: Path) -> None:
    async with served(tmp_path) as endpoint:
        headers, others = await key_with(endpoint, requests_per_minute=2), await key_with(endpoint)
        assert [(await ask(endpoint, PLAIN, headers)).status_code for _ in range(2)] == [200, 200]
        status, code, wait = refusal(await ask(endpoint, PLAIN, headers))
        assert (status, code) == (429, "rate_limit_exceeded") and 1 <= wait <= 60
        assert (await ask(endpoint, PLAIN, others)).status_code == 200
        assert await metric(endpoint, 'mentalize_rate_limited_total{limit="requests"}') == 1


async def test_tokens_of_all_calls_count(tmp_path: Path) -> None:
    async with served(tmp_path) as endpoint:
        headers = await key_with(endpoint, tokens_per_minute=500)
        first = await ask(endpoint, ASK, headers)
        assert first.status_code == 200
        assert first.json()["usage"]["total_tokens"] < 500 < int(first.headers["x-mentalize-usage"].rpartition("=")[2])
        assert refusal(await ask(endpoint, PLAIN, headers))[:2] == (429, "rate_limit_exceeded")
        assert await metric(endpoint, 'mentalize_rate_limited_total{limit="tokens"}') == 1


async def test_requests_in_work_are_limited_and_make_room_again(tmp_path: Path) -> None:
    async with served(tmp_path, thoughtful(delay=0.2)) as endpoint:
        headers = await key_with(endpoint, concurrent_turns=2)
        answers = await asyncio.gather(*(ask(endpoint, PLAIN, headers) for _ in range(5)))
        assert sorted(answer.status_code for answer in answers) == [200, 200, 429, 429, 429]
        assert (await ask(endpoint, PLAIN, headers)).status_code == 200


async def test_a_body_may_be_as_long_as_the_key_says(tmp_path: Path) -> None:
    async with served(tmp_path) as endpoint:
        headers = await key_with(endpoint, body_bytes=2_000)
        long = {**PLAIN, "messages": [{"role": "user", "content": "x" * 3_000}]}
        answer = await ask(endpoint, long, headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")


async def test_more_than_can_be_thought_about_gets_less_thought_and_then_none(tmp_path: Path) -> None:
    async with served(tmp_path, thoughtful(delay=0.3), server={"turns": 2}) as endpoint:
        answers = await asyncio.gather(*(ask(endpoint, ASK) for _ in range(12)))
        told = [answer.headers.get("x-mentalize-effort") for answer in answers if answer.status_code == 200]
        assert sorted(map(str, told)) == ["medium", "medium", "minimal", "minimal", "none", "none", "none", "none"]
        degraded = [answer for answer in answers if answer.headers.get("x-mentalize-degraded") == "saturated"]
        assert len(degraded) == 6
        refused = [refusal(answer)[:2] for answer in answers if answer.status_code != 200]
        assert refused == [(429, "overloaded")] * 4
        for level, count in (("minimal", 2), ("pass-through", 4), ("refused", 4)):
            assert await metric(endpoint, f'mentalize_degraded_turns_total{{level="{level}"}}') == count
        calm = await ask(endpoint, ASK)
        assert calm.headers["x-mentalize-effort"] == "medium" and "x-mentalize-degraded" not in calm.headers


async def test_danger_is_never_passed_through_unchecked(tmp_path: Path) -> None:
    async with served(tmp_path, thoughtful("Do it.", delay=0.3), server={"turns": 1}, country="US") as endpoint:
        answers = await asyncio.gather(*(ask(endpoint, DANGER) for _ in range(3)))
        assert [answer.headers["x-mentalize-effort"] for answer in answers].count("minimal") == 2
        for answer in answers:
            assert "988" in answer.json()["choices"][0]["message"]["content"]


@pytest.mark.postgres  # Beside it, the machine that has it has Redis, too.
async def test_processes_count_together_in_redis(tmp_path: Path) -> None:
    place = {"limits_url": os.environ.get("REDIS_TEST_URL", "redis://127.0.0.1:6379")}
    async with served(tmp_path, server=place) as one, served(tmp_path, server=place) as two:
        headers = await key_with(one, requests_per_minute=2)
        answers = [await ask(endpoint, PLAIN, headers) for endpoint in (one, two, one)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]


async def test_who_cannot_count_refuses_nobody(tmp_path: Path) -> None:
    async with served(tmp_path, server={"limits_url": "redis://127.0.0.1:1"}) as endpoint:
        headers = await key_with(endpoint, requests_per_minute=1, tokens_per_minute=1)
        assert [(await ask(endpoint, PLAIN, headers)).status_code for _ in range(3)] == [200] * 3


@pytest.mark.parametrize("model", ["scripted", "mentalize-medium"])
async def test_what_was_in_work_is_done_with_when_a_request_fails(tmp_path: Path, model: str) -> None:
    async with served(tmp_path, thoughtful(WARM)) as endpoint:
        headers = await key_with(endpoint, concurrent_turns=1)
        bad = await ask(endpoint, {"model": model, "messages": []}, headers)
        assert bad.status_code == 400
        assert (await ask(endpoint, {**ASK, "model": model}, headers)).status_code == 200

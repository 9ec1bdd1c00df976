"""Who may call, and whom they may name: by key, by place, and by what brings them here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from endpoint import Endpoint, served, thoughtful
from mentalize import Identity
from mentalize.memory.keys import Limits
from openai_server import Reply
from social_script import MESSAGE

CANARY = "My cat is called Zanzibar."


async def ask(
    endpoint: Endpoint,
    headers: dict[str, str] | None = None,
    model: str = "mentalize-minimal",
    *,
    seconds: float = 30,
    **more: Any,
) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": MESSAGE}], **more}
    async with httpx.AsyncClient(timeout=seconds) as client:
        return await client.post(f"{endpoint.base_url}/chat/completions", json=body, headers=headers)


async def get(endpoint: Endpoint, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
    async with httpx.AsyncClient(timeout=30) as client:
        return await client.get(f"{endpoint.base_url}{path}", headers=headers)


async def key(endpoint: Endpoint, **how: Any) -> dict[str, str]:
    _, secret = await endpoint.mind.memory.keys.create("shop", **how)
    return {"Authorization": f"Bearer {secret}"}


async def test_a_key_that_says_where_users_are_named_reads_them_nowhere_else(tmp_path: Path) -> None:
    async with served(tmp_path) as endpoint:
        await endpoint.mind.memory.remember(Identity("shop", "ana"), CANARY)
        headers = await key(endpoint, trusted=True, user_sources=("x-shop-customer",))
        forged = {"user": "ana", "mentalize": {"user": "ana"}}
        for more in ({"X-Shop-Customer": "mallory"}, {"X-Mentalize-User": "ana"}):
            await ask(endpoint, headers | more, **forged)
        assert all(CANARY not in str(request.body) for request in endpoint.upstream.requests)
        assert (await get(endpoint, "/memories?user=ana&mentalize.user=ana", headers)).status_code == 403


async def test_a_place_in_the_body_is_a_query_parameter_where_there_is_no_body(tmp_path: Path) -> None:
    async with served(tmp_path) as endpoint:
        await endpoint.mind.memory.remember(Identity("shop", "ana"), CANARY)
        headers = await key(endpoint, trusted=True, user_sources=("body.metadata.customer",))
        found = await get(endpoint, "/memories?metadata.customer=ana", headers)
        assert [memory["text"] for memory in found.json()["data"]] == [CANARY]
        told = (await get(endpoint, "/memories", headers)).json()["error"]["message"]
        assert "body.metadata.customer" in told


async def test_a_name_in_a_header_is_the_same_as_in_a_query(tmp_path: Path) -> None:
    async with served(tmp_path) as endpoint:
        async with httpx.AsyncClient(base_url=endpoint.base_url) as client:
            named = [(b"x-mentalize-user", "jürgen".encode())]
            await client.post("/memories", json={"text": CANARY}, headers=named)
            found = (await client.get("/memories", params={"user": "jürgen"})).json()["data"]
        assert [memory["text"] for memory in found] == [CANARY]


@pytest.mark.parametrize(
    "headers",
    [{"X-Forwarded-For": "1.2.3.4"}, {"Via": "1.1 proxy"}, {"Sec-Fetch-Site": "cross-site"}, {"Host": "evil.example"}],
    ids=lambda headers: next(iter(headers)),
)
async def test_without_a_key_nobody_is_brought_in_from_outside(tmp_path: Path, headers: dict[str, str]) -> None:
    async with served(tmp_path) as endpoint:
        assert (await ask(endpoint)).status_code == 200
        assert (await ask(endpoint, headers)).status_code in (401, 403)


async def test_once_a_key_was_made_nobody_is_served_without_one_though_it_is_revoked(tmp_path: Path) -> None:
    async with served(tmp_path) as endpoint:
        made, _ = await endpoint.mind.memory.keys.create("shop")
        await endpoint.mind.memory.keys.revoke(made.id)
        assert (await ask(endpoint)).status_code == 401


async def test_tenants_are_told_nothing_of_the_upstream(tmp_path: Path) -> None:
    said = {"error": {"message": "organization org-SECRET is out of quota", "code": 429}}

    def failing(body: dict[str, Any]) -> Reply:
        return Reply(status=429, headers={"Retry-After": "30", "OpenAI-Organization": "org-SECRET"}, body=said)

    async with served(tmp_path, failing, retries=0) as endpoint:
        tenant, operator = await key(endpoint), await key(endpoint, operator=True)
        refused = await ask(endpoint, tenant)
        assert refused.status_code == 429 and refused.headers["retry-after"] == "30"
        assert "SECRET" not in refused.text and endpoint.upstream.base_url not in refused.text
        assert "org-SECRET" in (await ask(endpoint, operator)).text
        endpoint.upstream.script = thoughtful(perceive={"not": "a perception"})
        turn = (await ask(endpoint, tenant, "mentalize-medium")).headers["x-mentalize-turn"]
        trace = await get(endpoint, f"/turns/{turn}", tenant)
        assert trace.json()["failures"] and "whoever runs the server" in trace.text
        assert endpoint.upstream.base_url not in trace.text


@pytest.mark.parametrize("model", ["scripted", "mentalize-low"])
async def test_tokens_count_where_no_usage_is_told(tmp_path: Path, model: str) -> None:
    async with served(tmp_path) as endpoint:
        headers = await key(endpoint, limits=Limits(tokens_per_minute=5))
        assert (await ask(endpoint, headers, model, stream=True)).status_code == 200
        assert (await ask(endpoint, headers, model, stream=True)).status_code == 429


async def test_tokens_count_of_a_turn_whose_client_left(tmp_path: Path) -> None:
    async with served(tmp_path, thoughtful(delay=0.2)) as endpoint:
        headers = await key(endpoint, limits=Limits(tokens_per_minute=5))
        with pytest.raises(httpx.ReadTimeout):
            await ask(endpoint, headers, "mentalize-medium", seconds=0.7)
        assert await endpoint.upstream.idle(within=5)
        assert (await ask(endpoint, headers)).status_code == 429


async def test_traces_of_one_caller_push_out_nobody_elses(tmp_path: Path) -> None:
    async with served(tmp_path) as endpoint:
        one, other = await key(endpoint), await key(endpoint)
        turn = (await ask(endpoint, one)).headers["x-mentalize-turn"]
        for _ in range(4):
            body = [{"role": "user", "content": "x " * 600_000}]
            assert (await ask(endpoint, other, messages=body)).status_code == 200
        assert (await get(endpoint, f"/turns/{turn}", one)).status_code == 200
        assert (await get(endpoint, f"/turns/{turn}", other)).status_code == 404

"""The endpoint as its users meet it: replies, streams, errors, memories, on a real socket."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from openai import AsyncOpenAI

from endpoint import served, thoughtful
from social_script import MESSAGE, WARM

ASK = {"model": "mentalize-medium", "messages": [{"role": "user", "content": MESSAGE}]}


async def test_a_client_changes_one_line_and_gets_a_reply_that_was_thought_through(tmp_path: Path) -> None:
    async with served(tmp_path) as endpoint, AsyncOpenAI(base_url=endpoint.base_url, api_key="none") as client:
        plain = httpx.AsyncClient(base_url=endpoint.base_url)
        answer = await client.chat.completions.with_raw_response.create(**ASK)
        completion = answer.parse()
        assert completion.choices[0].message.content == WARM
        assert answer.headers["x-mentalize-effort"] == "medium" and answer.headers["x-mentalize-calls"] == "8"
        trace = (await plain.get(f"/turns/{answer.headers['x-mentalize-turn']}")).json()
        await plain.aclose()
        assert trace["selection"]["chosen"]["refined"]["text"] == "The person wants to be asked again."


async def test_a_stream_comes_by_sentence_and_says_so(tmp_path: Path) -> None:
    async with served(tmp_path, thoughtful(WARM)) as endpoint, httpx.AsyncClient() as client:
        body = {**ASK, "stream": True, "stream_options": {"include_usage": True}}
        async with client.stream("POST", f"{endpoint.base_url}/chat/completions", json=body) as answer:
            assert answer.headers["x-mentalize-stream"] == "sentence"
            events = [line.removeprefix("data: ") async for line in answer.aiter_lines() if line]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    texts = [chunk["choices"][0]["delta"].get("content", "") for chunk in chunks if chunk["choices"]]
    assert "".join(texts) == WARM and len([text for text in texts if text]) == 2


@pytest.mark.parametrize("model", ["scripted", "mentalize"])
async def test_what_passes_through_is_the_upstreams_own(tmp_path: Path, model: str) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    body = {**ASK, "model": model, "tools": tools, "unknown": {"kept": [1.5, None]}}
    async with served(tmp_path) as endpoint, httpx.AsyncClient() as client:
        answer = await client.post(f"{endpoint.base_url}/chat/completions", json=body)
        sent = endpoint.upstream.requests[-1].body
    assert answer.status_code == 200 and answer.json()["model"] == model
    assert sent == {**body, "model": "scripted"}


VALUE = [{"role": "user", "content": "Should I move out before I marry?"}]


async def test_what_is_known_of_a_person_and_the_setting_comes_with_the_request(tmp_path: Path) -> None:
    stated = {"cultures": ["Ghanaian"], "charter": "tutor", "domain": "education", "formality": 4, "minor": True}
    async with served(tmp_path) as endpoint, httpx.AsyncClient(base_url=endpoint.base_url) as client:
        asked = {**ASK, "messages": VALUE, "mentalize": {**stated, "perspectives": "agents"}}
        answer = await client.post("/chat/completions", json=asked)
        trace = (await client.get(f"/turns/{answer.headers['x-mentalize-turn']}")).json()
        by_header = await client.post(
            "/chat/completions", json={**ASK, "messages": VALUE}, headers={"X-Mentalize-Perspectives": "off"}
        )
    assert answer.headers["x-mentalize-perspectives"] == "agents" and answer.headers["x-mentalize-calls"] == "16"
    assert trace["circumstances"] == {**stated, "charter": "tutor"}
    assert trace["multiplex"]["notes"][0]["lens"] == "african"
    assert by_header.headers["x-mentalize-perspectives"] == "off" and by_header.headers["x-mentalize-calls"] == "8"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"charter": "../../etc/passwd"}, "charter"),
        ({"formality": 9}, "formality"),
        ({"cultures": ["x"] * 7}, "cultures"),
        ({"cultures": ["a\nb"]}, "control characters"),
        ({"perspectives": "sometimes"}, "perspectives"),
    ],
)
async def test_what_cannot_be_stated_is_a_400(tmp_path: Path, given: dict[str, object], said: str) -> None:
    async with served(tmp_path) as endpoint, httpx.AsyncClient(base_url=endpoint.base_url) as client:
        answer = await client.post("/chat/completions", json={**ASK, "mentalize": given})
    assert answer.status_code == 400 and said in answer.json()["error"]["message"]
    assert endpoint.upstream.requests == []

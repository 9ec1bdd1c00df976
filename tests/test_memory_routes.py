"""`/v1/memories` and `/v1/turns`: what a person, or their app, can see and change."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from endpoint import served
from mentalize.memory.portable import memories_of
from social_script import MESSAGE

ANA = {"X-Mentalize-User": "ana"}
TURN = {"model": "mentalize-medium", "messages": [{"role": "user", "content": MESSAGE}]}


@asynccontextmanager
async def client(folder: Path, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        served(folder) as endpoint,
        httpx.AsyncClient(base_url=endpoint.base_url, headers=headers or ANA, timeout=30) as asking,
    ):
        yield asking


async def add(asking: httpx.AsyncClient, text: str, **more: Any) -> str:
    made = await asking.post("/memories", json={"text": text, **more})
    assert made.status_code == 201, made.text
    return made.json()["id"]


async def texts(asking: httpx.AsyncClient, query: str = "") -> list[str]:
    return [memory["text"] for memory in (await asking.get(f"/memories{query}")).json()["data"]]


async def test_what_is_remembered_can_be_listed_searched_and_shown(tmp_path: Path) -> None:
    async with client(tmp_path) as asking:
        peanuts = await add(asking, "I am allergic to peanuts.")
        tea = await add(asking, "I like green tea.", kind="preference")
        assert await texts(asking) == ["I like green tea.", "I am allergic to peanuts."]
        assert await texts(asking, "?kind=preference") == ["I like green tea."]
        first = (await asking.get("/memories?limit=1")).json()
        assert first["has_more"] and [memory["id"] for memory in first["data"]] == [tea]
        hits = (await asking.get("/memories/search", params={"q": "peanuts"})).json()["data"]
        assert hits[0]["memory"]["id"] == peanuts and hits[0]["reason"]
        assert (await asking.get(f"/memories/{peanuts}")).json()["text"] == "I am allergic to peanuts."


async def test_a_person_corrects_confirms_refutes_and_pins(tmp_path: Path) -> None:
    async with client(tmp_path) as asking:
        old = await add(asking, "I live in Cork.")
        new = (await asking.patch(f"/memories/{old}", json={"text": "I live in Dublin.", "pinned": True})).json()
        assert (new["text"], new["pinned"], new["status"]) == ("I live in Dublin.", True, "confirmed")
        assert (await asking.get(f"/memories/{old}")).json()["superseded_by"] == new["id"]
        assert (await asking.patch(f"/memories/{new['id']}", json={"status": "refuted"})).json()["status"] == "refuted"
        assert (await asking.patch(f"/memories/{new['id']}", json={"status": "confirmed"})).json()["pinned"] is False
        wrong = await asking.patch(f"/memories/{new['id']}", json={"strength": 20})
        assert wrong.status_code == 400 and wrong.json()["error"]["param"] == "strength"


async def test_why_shows_the_words_that_it_rests_on(tmp_path: Path) -> None:
    async with client(tmp_path) as asking:
        memory = await add(asking, "I am allergic to peanuts.")
        why = (await asking.get(f"/memories/{memory}/why")).json()
        assert "I am allergic to peanuts." in json.dumps(why)


async def test_one_memory_or_everything_is_forgotten(tmp_path: Path) -> None:
    async with client(tmp_path) as asking:
        memory = await add(asking, "I am allergic to peanuts.")
        await add(asking, "I like green tea.")
        gone = (await asking.delete(f"/memories/{memory}")).json()
        assert gone["deleted"] >= 1 and gone["counts"]["fact"] == 1
        assert (await asking.get(f"/memories/{memory}")).status_code == 404
        assert (await asking.delete("/memories")).status_code == 400, "all of it has to be said"
        assert (await asking.delete("/memories?all=true")).json()["counts"]["fact"] == 1
        assert await texts(asking) == []


async def test_an_export_can_be_read_again(tmp_path: Path) -> None:
    async with client(tmp_path) as asking:
        await add(asking, "I am allergic to peanuts.")
        exported = await asking.get("/memories/export")
        assert exported.headers["content-type"].startswith("application/x-ndjson")
        assert [memory.text for memory in memories_of(exported.text.splitlines())] == ["I am allergic to peanuts."]


async def test_a_turns_trace_is_its_persons(tmp_path: Path) -> None:
    async with client(tmp_path) as asking:
        answer = await asking.post("/chat/completions", json=TURN)
        turn = answer.headers["x-mentalize-turn"]
        trace = (await asking.get(f"/turns/{turn}")).json()
        assert trace["turn_id"] == turn and trace["calls"] == 8
        assert (await asking.get(f"/turns/{turn}", headers={"X-Mentalize-User": "bob"})).status_code == 404
        identified = {memory["id"] for memory in (await asking.get("/memories?kind=turn")).json()["data"]}
        assert {f"{turn}/user", f"{turn}/assistant"} == identified
        assert (await asking.get(f"/memories/{turn}/user")).json()["text"] == MESSAGE
        assert (await asking.delete(f"/memories/{turn}/user")).json()["counts"]["traces"] == 1
        assert (await asking.get(f"/turns/{turn}")).status_code == 404


async def test_nobody_in_particular_has_no_memories(tmp_path: Path) -> None:
    async with client(tmp_path, Accept="*/*") as asking:
        for method, path in (("GET", ""), ("POST", ""), ("DELETE", "?all=true"), ("GET", "/search?q=x")):
            answer = await asking.request(method, f"/memories{path}", json={"text": "x"} if method == "POST" else None)
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "no_identity")

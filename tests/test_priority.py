"""What nobody waits for comes later: at vLLM by its priorities, and by whom background work is done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from mentalize import Identity, Mind
from mentalize.errors import ModelRefused
from mentalize.llm.http import OpenAICompatibleModel
from mentalize.llm.model import Choice, Request
from mentalize.llm.resolve import resolve
from mentalize.llm.scripted import ScriptedModel
from mentalize.types import user
from openai_server import OpenAIServer, Reply

ASK = Request(messages=(user("I'm fine. Go without me, really."),))
LATER = replace(ASK, background=True)
NOT_ENABLED = {"error": {"message": "Got priority 1 but Priority scheduling is not enabled.", "code": 400}}


def without_priorities(body: dict[str, Any]) -> Reply:
    return Reply(status=400, body=NOT_ENABLED) if "priority" in body else Reply(text="Here.")


@pytest.fixture
async def server() -> AsyncIterator[OpenAIServer]:
    async with OpenAIServer() as server:
        yield server


@pytest.fixture
async def vllm(server: OpenAIServer) -> AsyncIterator[OpenAICompatibleModel]:
    model = OpenAICompatibleModel("any", base_url=server.base_url, vllm=True)
    yield model
    await model.close()


def priorities(server: OpenAIServer) -> list[int | None]:
    return [received.body.get("priority") for received in server.requests]


@pytest.mark.parametrize(("kind", "sent"), [("hosted_vllm", 1), ("llama_cpp", None), ("openai_compatible", None)])
async def test_vllm_alone_is_told_what_can_wait(server: OpenAIServer, kind: str, sent: int | None) -> None:
    model = resolve(f"{kind}/any", base_url=server.base_url)
    await model.complete(ASK)
    await model.complete(LATER)
    assert priorities(server) == [None, sent]
    await model.close()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_server_without_priorities_is_asked_without_them_from_then_on(
    server: OpenAIServer, vllm: OpenAICompatibleModel, *, stream: bool
) -> None:
    server.script = without_priorities
    for _ in range(2):
        if stream:
            assert "".join([delta.text async for delta in vllm.stream(LATER)]) == "Here."
        else:
            assert (await vllm.complete(LATER)).text == "Here."
    assert priorities(server) == [1, None, None]


async def test_a_server_that_refuses_priorities_and_constraints_is_asked_without_both(
    server: OpenAIServer, vllm: OpenAICompatibleModel
) -> None:
    def plain(body: dict[str, Any]) -> Reply:
        if "grammar" in body:
            return Reply(status=400, body={"error": {"message": "Unknown field grammar."}})
        return without_priorities(body)

    server.script = lambda body: without_priorities(body) if "priority" in body else plain(body)
    assert (await vllm.complete(replace(LATER, format=Choice(("A", "B"))))).text == "Here."
    await vllm.complete(replace(LATER, format=Choice(("A", "B"))))
    assert [sorted({"priority", "grammar"} & received.body.keys()) for received in server.requests] == [
        ["grammar", "priority"], ["grammar"], [], [],
    ]  # fmt: skip


async def test_of_several_that_are_refused_at_once_none_is_lost(
    server: OpenAIServer, vllm: OpenAICompatibleModel
) -> None:
    server.script = without_priorities
    answers = await asyncio.gather(*(vllm.complete(LATER) for _ in range(4)))
    assert [answer.text for answer in answers] == ["Here."] * 4


async def test_another_refusal_leaves_priorities_on(server: OpenAIServer, vllm: OpenAICompatibleModel) -> None:
    server.script = [Reply(status=400, body={"error": {"message": "Too long."}}), Reply()]
    with pytest.raises(ModelRefused, match="Too long"):
        await vllm.complete(LATER)
    await vllm.complete(LATER)
    assert priorities(server) == [1, 1]


async def test_a_clients_own_priority_is_not_changed(server: OpenAIServer, vllm: OpenAICompatibleModel) -> None:
    await vllm.complete(replace(LATER, parameters={"priority": 7}))
    assert priorities(server) == [7]


async def test_the_turn_is_asked_first_and_its_notes_in_the_background(mind: Callable[..., Mind]) -> None:
    reason = ScriptedModel({"*": "{}"})
    thinking = mind(reason=reason)
    await thinking.reply("My sister Rosa moved to Cork.", Identity("acme", "ana"), effort="low")
    turn = len(reason.requests)
    assert turn
    await thinking.settle()
    waited = [request.background for request in reason.requests]
    assert waited[:turn] == [False] * turn
    assert len(waited) > turn
    assert all(waited[turn:])
    assert {request.conversation for request in reason.requests} == {"acme\0ana"}
    await thinking.close()

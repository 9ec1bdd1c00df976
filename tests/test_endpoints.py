"""A whole turn against a real server on loopback: good, bad, silent, half, and one that ignores every schema."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from mentalize import Identity, Mind, ModelError
from mentalize.errors import ModelRateLimited, ModelTimeout, ModelUnauthorized, ModelUnavailable
from mentalize.llm.model import StructuredMode
from mentalize.mind import Event, Finished, TextDelta
from openai_server import OpenAIServer, Reply, obedient, schema_of

TEXT = "I'm fine. Go without me, really."
ANA, BEN = Identity("acme", "ana"), Identity("acme", "ben")


def mind(server: OpenAIServer, folder: Path, **settings: Any) -> Mind:
    defaults = {"retries": 0, "call_seconds": 2.0}
    return Mind(
        model="openai_compatible/scripted", base_url=server.base_url, cache_folder=folder, **{**defaults, **settings}
    )


async def test_a_medium_turn_is_eight_calls_four_deep_on_a_real_socket(tmp_path: Path) -> None:
    async with OpenAIServer(obedient(delay=0.02)) as server, mind(server, tmp_path, max_revisions=0) as mentalizing:
        reply = await mentalizing.reply(TEXT, who=ANA, effort="medium", memory="off")
        assert (reply.trace.calls, reply.trace.depth, reply.trace.failures) == (8, 4, ())
        assert server.most_active >= 3, "independent calls are in work at the same time"
        probes = len(server.requests) - 8
        await mentalizing.reply(TEXT, who=ANA, effort="medium", memory="off")
        assert len(server.requests) == probes + 8 + 7, "nothing is probed again, and equal priors are not asked again"
        await mentalizing.reply(TEXT, who=BEN, effort="medium", memory="off")
        assert len(server.requests) == probes + 8 + 7 + 8, "whether they were asked for somebody else cannot be told"


async def test_the_probe_outlives_the_process(tmp_path: Path) -> None:
    async with OpenAIServer(obedient()) as server:
        async with mind(server, tmp_path) as first:
            await first.reply(TEXT, effort="low")
        before = len(server.requests)
        async with mind(server, tmp_path) as second:
            await second.reply(TEXT, effort="low")
        assert len(server.requests) == before + 2


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply(status=401, body={"error": {"message": "bad key"}}), ModelUnauthorized),
        (Reply(status=429, headers={"Retry-After": "7"}, body={"error": {"message": "slow"}}), ModelRateLimited),
        (Reply(status=500, body="oops"), ModelUnavailable),
        (Reply(body="{not json"), ModelError),
        (Reply(never=True), ModelTimeout),
    ],
    ids=["401", "429", "500", "malformed", "never"],
)
@pytest.mark.parametrize("effort", ["none", "medium"])
async def test_a_bad_endpoint_is_a_typed_error_that_says_what_to_do(
    tmp_path: Path, reply: Reply, error: type[ModelError], effort: str
) -> None:
    async with OpenAIServer(reply) as server, mind(server, tmp_path, call_seconds=0.3) as mentalizing:
        with pytest.raises(error) as raised:
            await asyncio.wait_for(mentalizing.reply(TEXT, effort=effort), 20)
        assert raised.value.hint


async def test_half_a_stream_is_a_typed_error_after_what_came(tmp_path: Path) -> None:
    events: list[Event] = []

    async def listen(mentalizing: Mind) -> None:
        async for event in mentalizing.stream(TEXT, effort="none"):
            events.append(event)

    broken = Reply(text="one two three four", cut_after=2)
    async with OpenAIServer(broken) as server, mind(server, tmp_path) as mentalizing:
        with pytest.raises(ModelError):
            await listen(mentalizing)
    assert "".join(event.text for event in events if isinstance(event, TextDelta)).startswith("one")
    assert not any(isinstance(event, Finished) for event in events)


async def test_a_model_that_ignores_every_schema_still_answers(tmp_path: Path) -> None:
    async with OpenAIServer(Reply(text="I like cheese.")) as server, mind(server, tmp_path) as mentalizing:
        reply = await mentalizing.reply(TEXT, effort="medium")
        assert reply.text == "I like cheese."
        assert reply.trace.structured.failed and reply.trace.failures
        report = (await mentalizing.doctor())[0]
        assert report.ok and report.structured == StructuredMode.TEXT


async def test_only_the_thinking_fails_and_the_reply_still_comes(tmp_path: Path) -> None:
    def writes_only(body: dict[str, Any]) -> Reply:
        return Reply(status=500, body="no") if schema_of(body) else Reply(text="Still here.")

    async with OpenAIServer(writes_only) as server, mind(server, tmp_path) as mentalizing:
        assert (await mentalizing.reply(TEXT, effort="medium")).text == "Still here."


async def test_leaving_a_turn_hangs_up_on_every_call(tmp_path: Path) -> None:
    answering = obedient()

    def silent_when_asked_to_think(body: dict[str, Any]) -> Reply:
        asked_about_person = "<conversation>" in str(body["messages"])
        return Reply(never=True) if asked_about_person else answering(body)

    async with OpenAIServer(silent_when_asked_to_think) as server, mind(server, tmp_path) as mentalizing:
        probes = await _probed(server, mentalizing)
        turn = asyncio.create_task(_reply(mentalizing))
        assert await server.received(probes + 3)
        turn.cancel()
        await asyncio.gather(turn, return_exceptions=True)
        assert await server.disconnected(3)


async def _probed(server: OpenAIServer, mentalizing: Mind) -> int:
    """How many requests it took to find out what the endpoint supports."""
    await mentalizing.doctor()
    return len(server.requests)


async def _reply(mentalizing: Mind) -> None:
    await mentalizing.reply(TEXT, effort="medium")

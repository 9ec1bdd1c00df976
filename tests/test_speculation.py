"""A reply that is written ahead: kept where selection agrees, stopped where it does not, and never in anybody's way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mentalize import Mind
from mentalize.errors import ModelUnavailable
from mentalize.llm.model import Request
from mentalize.llm.scripted import Answer, FunctionModel, ScriptedModel
from mentalize.mind import Finished, TextDelta
from social_script import MESSAGE, SCRIPT, WARM

AHEAD = "They told me, ahead of time, that they hope to be asked again. Shall I ask?"


def model(ahead: Callable[[], Any] = lambda: AHEAD, **script: Any) -> FunctionModel:
    scripted = ScriptedModel(SCRIPT | script)

    async def answer(request: Request) -> Answer:
        if request.purpose != "write.ahead":
            return await scripted.complete(request)
        told = ahead()
        return await told if asyncio.iscoroutine(told) else told

    return FunctionModel(answer)


def disagreeing() -> Any:
    """A refinement that finds the likeliest guess unlikely."""
    refined = [
        item | {"plausibility": "very low" if number == 0 else "very high"}
        for number, item in enumerate(SCRIPT["refine"]["refined"])
    ]
    return SCRIPT["refine"] | {"refined": refined}


async def test_what_selection_agrees_with_is_kept_and_makes_the_turn_shallower(tmp_path: Path) -> None:
    plain = Mind(model=model(), cache_folder=tmp_path)
    usual = (await plain.reply(MESSAGE, effort="medium")).trace
    await plain.close()
    mind = Mind(model=model(), cache_folder=tmp_path, speculate=True)
    reply = await mind.reply(MESSAGE, effort="medium")
    await mind.close()
    assert reply.text == AHEAD and reply.trace.written_ahead is True and not reply.trace.failures
    assert (reply.trace.calls, reply.trace.depth) == (usual.calls, usual.depth - 1) == (8, 3)
    assert usual.written_ahead is None


async def test_what_it_disagrees_with_is_stopped_and_shown_as_spent_in_vain(tmp_path: Path) -> None:
    stopped = asyncio.Event()

    async def endless() -> str:
        try:
            await asyncio.sleep(3_600)
        finally:
            stopped.set()
        return ""

    mind = Mind(model=model(lambda: endless(), refine=disagreeing()), cache_folder=tmp_path, speculate=True)
    reply = await mind.reply(MESSAGE, effort="medium")
    await mind.close()
    assert stopped.is_set() and reply.text == WARM and reply.trace.written_ahead is False
    assert reply.trace.depth == 4 and reply.trace.calls == 9
    assert [request.error is not None for request in reply.trace.requests if request.purpose == "write.ahead"] == [True]


async def test_one_that_fails_costs_nothing_but_itself(tmp_path: Path) -> None:
    mind = Mind(model=model(lambda: ModelUnavailable("gone")), cache_folder=tmp_path, speculate=True)
    reply = await mind.reply(MESSAGE, effort="medium")
    await mind.close()
    assert reply.text == WARM and reply.trace.written_ahead is False


async def test_it_is_said_aloud_sentence_by_sentence(tmp_path: Path) -> None:
    mind = Mind(model=model(), cache_folder=tmp_path, speculate=True)
    events = [event async for event in mind.stream(MESSAGE, effort="medium")]
    await mind.close()
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == AHEAD
    assert isinstance(events[-1], Finished) and events[-1].reply.trace.written_ahead


@pytest.mark.parametrize("effort", ["low", "high", "none"])
async def test_only_medium_writes_ahead(tmp_path: Path, effort: str) -> None:
    mind = Mind(model=model(), cache_folder=tmp_path, speculate=True)
    assert (await mind.reply(MESSAGE, effort=effort)).trace.written_ahead is None
    await mind.close()


async def test_on_signs_of_danger_nothing_is_written_ahead(tmp_path: Path) -> None:
    mind = Mind(model=model(), cache_folder=tmp_path, speculate=True)
    trace = (await mind.reply("I don't want to be alive anymore.", effort="medium")).trace
    await mind.close()
    assert trace.risk and trace.written_ahead is None

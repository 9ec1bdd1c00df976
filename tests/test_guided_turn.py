"""A chatbot of one's own writes; what it is told, what that costs, and what is kept of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph

from mentalize import Finished, Identity, InputError, Mind
from mentalize.llm.scripted import ScriptedModel
from social_script import MESSAGE, SCRIPT

CHAT = [{"role": "system", "content": "You are Bo."}, {"role": "user", "content": MESSAGE, "name": "ana"}]


@pytest.fixture
async def mind(tmp_path: Any) -> AsyncIterator[Mind]:
    memory = {"url": f"sqlite:///{tmp_path}/memory.db"}
    async with Mind(model=ScriptedModel(SCRIPT), cache_folder=tmp_path, memory=memory) as made:
        yield made


@pytest.mark.parametrize(("effort", "calls", "depth"), [("minimal", 0, 0), ("low", 1, 1), ("medium", 5, 2)])
async def test_guidance_costs_what_the_design_says(mind: Mind, effort: str, calls: int, depth: int) -> None:
    guided = await mind.guide(CHAT, effort=effort)
    trace = (await guided.conclude("Shall I stay a little?")).trace
    assert (trace.calls, trace.depth) == (calls, depth)
    assert (trace.reply, trace.reply_origin) == ("Shall I stay a little?", "bot")


async def test_the_chatbot_gets_its_own_conversation_and_the_guidance_at_its_end(mind: Mind) -> None:
    guided = await mind.guide(CHAT, effort="medium")
    assert guided.plan and guided.plan.understanding
    first, last = guided.messages
    assert first == CHAT[0]
    assert last["name"] == "ana" and last["content"].startswith(f"{MESSAGE}\n\n<guidance>")
    assert guided.plan.understanding in last["content"]


async def test_what_passes_through_is_handed_on_as_it_came(mind: Mind) -> None:
    guided = await mind.guide(CHAT, effort="none")
    assert list(guided.messages) == CHAT and guided.plan is None
    assert (await guided.conclude("Fine.")).text == "Fine."


async def test_signs_of_danger_bring_help_into_the_guidance(mind: Mind) -> None:
    guided = await mind.guide("I don't want to be alive anymore.", effort="low")
    assert guided.risk and guided.plan and "help is to be had" in guided.messages[-1]["content"]


async def test_a_chatbot_is_told_where_help_is_also_where_a_small_model_thinks(tmp_path: Any) -> None:
    async with Mind(model=ScriptedModel(SCRIPT), cache_folder=tmp_path, choosing=True) as mind:
        guided = await mind.guide("I don't want to be alive anymore.", effort="low")
        told = guided.messages[-1]["content"]
    assert "help is to be had" in told and "one or two short sentences" not in told


@pytest.mark.parametrize("messages", [7, None, {"role": "user", "content": "Hello."}])
async def test_what_is_no_list_of_messages_is_refused(mind: Mind, messages: Any) -> None:
    with pytest.raises(InputError, match="Give a list of messages"):
        await mind.guide(messages)


async def test_an_answer_that_is_no_text_is_refused(mind: Mind) -> None:
    guided = await mind.guide(CHAT, effort="minimal")
    with pytest.raises(InputError, match="no text"):
        await guided.conclude(None)  # pyright: ignore[reportArgumentType]


async def test_what_the_chatbot_wrote_is_remembered_for_an_identity_alone(mind: Mind) -> None:
    ana = Identity("app", "ana")
    await (await mind.guide(CHAT, effort="low")).conclude("Not for anybody.")
    await (await mind.guide(CHAT, ana, effort="low")).conclude("Shall I stay a little?")
    texts = {memory.text for memory in await mind.memory.find(ana)}
    assert {MESSAGE, "Shall I stay a little?"} <= texts and "Not for anybody." not in texts


class Said(TypedDict, total=False):
    text: str


@pytest.mark.parametrize("way", ["reply", "stream", "guide"])
async def test_nothing_of_a_turn_gets_into_the_stream_or_the_checkpoints_of_a_graph_that_it_runs_in(
    mind: Mind, way: str
) -> None:
    async def answer(state: Said) -> Said:
        if way == "reply":
            return {"text": (await mind.reply(MESSAGE, effort="medium")).text}
        if way == "guide":
            return {"text": (await mind.guide(MESSAGE, effort="medium")).id}
        events = [event async for event in mind.stream(MESSAGE, effort="medium")]
        assert isinstance(events[-1], Finished)
        return {"text": events[-1].reply.text}

    builder: Any = StateGraph(Said)
    builder.add_node("answer", answer)
    builder.add_edge(START, "answer")
    builder.add_edge("answer", END)
    saver = InMemorySaver()
    host = builder.compile(checkpointer=saver)
    config: Any = {"configurable": {"thread_id": "1"}}
    parts = host.astream({}, config, stream_mode=["custom", "updates", "values", "messages"], subgraphs=True)
    assert [mode async for _, mode, _ in parts] == ["updates", "values"]
    assert set(saver.storage["1"]) == {""}

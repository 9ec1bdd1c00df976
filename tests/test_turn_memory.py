"""What a turn writes down: on what a reply rests, whose words are whose, and what is not the person's at all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mentalize import Identity, Mind
from mentalize.agents.attribution import repeated, used
from mentalize.llm.model import Request
from mentalize.llm.scripted import FunctionModel, ScriptedModel
from mentalize.memory.store import Filter
from mentalize.prompts.format import remembered
from mentalize.types import LONGEST_TEXT, Memory, MemoryHit, MemoryKind, Recollection
from social_script import SCRIPT, fact, told

ANA = Identity("acme", "ana", session="monday")
CARL = Identity("acme", "ana", session="monday", speaker="carl", audience=("eve",))
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
Build = Callable[..., Mind]


@pytest.fixture
async def mind(tmp_path: Path) -> AsyncIterator[Build]:
    made: list[Mind] = []

    def build(model: Any = None) -> Mind:
        memory = {"url": f"sqlite:///{tmp_path / 'memory.db'}", "embedder": "fake"}
        model = model or ScriptedModel(SCRIPT)
        made.append(Mind(model=model, cache_folder=tmp_path, clock=lambda: NOON, memory=memory))
        return made[-1]

    yield build
    for one in made:
        await one.close()


def said(name: str, text: str, **more: Any) -> Memory:
    return Memory(id=name, kind=MemoryKind.TURN, text=text, observed_at=NOON, **more)


async def turns(mind: Mind) -> list[str]:
    return [row.text for row in await mind.memory.find(ANA, Filter(kinds=(MemoryKind.TURN,)), newest_first=False)]


# --- on what a reply rests ------------------------------------------------------------------------------------


async def test_a_reply_that_repeats_a_message_of_the_conversation_is_forgotten_with_it(mind: Build) -> None:
    script = ScriptedModel({**SCRIPT, "write": ["Noted.", "Your safe code is zebra4711.", "It is sunny, enjoy it."]})
    mentalizing = mind(script)
    conversation: list[dict[str, Any]] = []
    ids: list[str] = []
    for message in ("My safe code is zebra4711.", "Remind me, what was it again?", "And how is the weather?"):
        conversation.append({"role": "user", "content": message})
        reply = await mentalizing.reply(conversation, ANA, "minimal")
        conversation.append(dict(reply.message))
        ids.append(reply.trace.turn_id)
    await mentalizing.memory.forget(ANA, [f"{ids[0]}/user"])
    assert await turns(mentalizing) == [
        "Remind me, what was it again?",
        "And how is the weather?",
        "It is sunny, enjoy it.",
    ]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("Take Bo along.", ["dog"]),
        ("A vet for your dog may be cheap.", ["dog"]),
        ("A vet is never cheap.", []),
        ("Room 714, then.", ["room"]),
        ("That sounds hard.", []),
    ],
)
def test_what_a_reply_repeats_of_the_conversation(reply: str, expected: list[str]) -> None:
    earlier = [
        said("dog", "The vet says that my dog Bo needs rest and a quiet place."),
        said("room", "They put me into room 714 of that cold old hotel by the sea."),
    ]
    assert list(repeated(earlier, "What now?", reply)) == expected


def test_what_is_beside_a_hit_and_the_portrait_count_as_used() -> None:
    hit = MemoryHit(memory=said("hit", "Which colour is your bicycle?"), score=1.0)
    beside = said("beside", "Crimson, stolen from my neighbour Hugo last winter.")
    portrait = Memory(
        id="portrait", kind=MemoryKind.PORTRAIT, text="Seems to envy those such as Hugo.", observed_at=NOON
    )
    found = Recollection(hits=(hit,), neighbours={"hit": (beside,)}, portrait=portrait)
    assert used(found, None, "Tell me.", "Ah, the crimson one, stolen from Hugo.") == ("beside", "portrait")
    assert used(found, None, "Tell me.", "It seems a fine day.") == ()


# --- whose words ----------------------------------------------------------------------------------------------


async def test_what_somebody_else_says_is_no_statement_of_the_person(mind: Build) -> None:
    script = {**SCRIPT, "remember": told(fact("I am diabetic", "I am diabetic"))}
    mentalizing = mind(ScriptedModel(script))
    await mentalizing.reply("I am diabetic and I own a parrot.", CARL, "minimal")
    assert await mentalizing.settle() == ()
    assert not await mentalizing.memory.find(ANA, Filter(kinds=(MemoryKind.FACT, MemoryKind.PREFERENCE)))
    found = await mentalizing.memory.recall(ANA, "Who owns a parrot?")
    assert "carl, who is not the person, said: I am diabetic" in remembered(found)
    (row, _) = (hit.memory for hit in (await mentalizing.memory.recall(CARL, "Who owns a parrot?")).hits)
    assert row.audience == ("carl", "eve"), "who was there may be reminded of it"


# --- what is not the person's -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how", [{}, {"effort": "none"}, {"effort": "low"}, {"response_format": {"type": "json_object"}}]
)
async def test_a_side_task_is_never_remembered_nor_told_what_is(mind: Build, how: dict[str, Any]) -> None:
    mentalizing = mind()
    prompt = "### Task:\nGenerate a title.\n<chat_history>\nUSER: I was born in Mars City.\n</chat_history>"
    trace = (await mentalizing.reply(prompt, ANA, **how)).trace
    assert trace.recollection is None and await turns(mentalizing) == []


async def test_a_first_turn_in_flight_does_not_outlive_that_everything_is_forgotten(mind: Build) -> None:
    async def forgets(request: Request) -> str:
        await mentalizing.memory.forget_all(ANA)
        return "All right."

    mentalizing = mind(FunctionModel(forgets))
    reply = await mentalizing.reply("My secret is the blue door.", ANA, "minimal")
    assert reply.text == "All right."
    assert any(failure.startswith("remember: ") and "deleted" in failure for failure in reply.trace.failures)
    assert not await mentalizing.memory.exists(ANA)


async def test_of_a_message_that_is_too_long_the_beginning_is_kept(mind: Build) -> None:
    mentalizing = mind()
    trace = (await mentalizing.reply("Rome. " * 200_000, ANA, "minimal")).trace
    (first, *_) = await mentalizing.memory.find(ANA, Filter(kinds=(MemoryKind.TURN,)), newest_first=False)
    assert len(first.text) == LONGEST_TEXT and first.details["left_out"] == 1_200_000 - LONGEST_TEXT
    assert not any(failure.startswith("remember") for failure in trace.failures)

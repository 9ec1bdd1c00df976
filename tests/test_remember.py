"""Remembering, through `Mind` and a real database: what is kept of a turn, what comes back, and what never does."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from clocks import Clock
from mentalize import Identity, Mind
from mentalize.agents.attribution import used
from mentalize.agents.gleanings import Proposal, checked
from mentalize.errors import Forgotten, InputError, ModelUnavailable
from mentalize.graphs.remembering import DUE, Remembering
from mentalize.llm.model import Choice, Request
from mentalize.llm.scripted import FunctionModel, ScriptedModel
from mentalize.memory.store import Filter
from mentalize.types import (
    Memory,
    MemoryHit,
    MemoryKind,
    MemoryStatus,
    Plan,
    Recollection,
)
from social_script import MESSAGE, NOTHING, POOR, READING, SAFE, SCRIPT, WARM, fact, told

ANA = Identity("acme", "ana", session="monday", zone="Europe/Madrid")
ROME = "I live in Rome with my dog Bo."
DOWN = ModelUnavailable("The endpoint is down.")


@pytest.fixture
def days() -> Clock:
    return Clock(datetime(2026, 3, 2, 12, tzinfo=UTC))


Build = Callable[..., Mind]


@pytest.fixture
async def mind(tmp_path: Path, days: Clock) -> AsyncIterator[Build]:
    made: list[Mind] = []

    def build(model: Any = None, *, script: dict[str, Any] | None = None, **settings: Any) -> Mind:
        memory = {"url": f"sqlite:///{tmp_path / 'memory.db'}", "embedder": "fake", **settings.pop("memory", {})}
        model = model or ScriptedModel({**SCRIPT, **(script or {})})
        made.append(Mind(model=model, cache_folder=tmp_path, clock=days, memory=memory, **settings))
        return made[-1]

    yield build
    for one in made:
        await one.close()


async def kept(mind: Mind, *kinds: MemoryKind, **which: Any) -> tuple[Memory, ...]:
    return await mind.memory.find(ANA, Filter(kinds=kinds or None, **which), newest_first=False)


def by_message(answers: dict[str, Any]) -> FunctionModel:
    """A model whose Rememberer knows what to find in which message."""
    script = ScriptedModel(SCRIPT)

    async def answer(request: Request) -> Any:
        if request.purpose != "remember":
            return (await script.complete(request)).text
        message = request.messages[-1].text.split("</conversation>")[0].rpartition("person: ")[2].strip()
        found = answers.get(message, NOTHING)
        return found(request) if callable(found) else found

    return FunctionModel(answer)


def label_of(request: Request, text: str) -> str:
    """The label under which the Rememberer was shown a memory."""
    shown = re.search(rf"- (m\d+): [^\n]*{re.escape(text)}", request.messages[-1].text)
    return shown[1] if shown else ""


# --- a turn ---------------------------------------------------------------------------------------------------


async def test_what_was_said_is_there_when_the_reply_is(mind: Build, tmp_path: Path) -> None:
    mentalizing = mind()
    reply = await mentalizing.reply(ROME, ANA, "minimal")
    with sqlite3.connect(tmp_path / "memory.db") as database:
        rows = database.execute("SELECT id, text FROM memories WHERE kind = 'turn' ORDER BY number").fetchall()
    database.close()
    turn = reply.trace.turn_id
    assert rows == [(f"{turn}/user", ROME), (f"{turn}/assistant", WARM)]
    assert reply.trace.failures == ()
    assert (await mentalizing.memory.trace(ANA, turn) or {})["reply"] == WARM


async def test_an_old_conversation_comes_back_in_a_new_one(mind: Build, days: Clock) -> None:
    model = by_message({ROME: told(fact("I live in Rome"), fact("my dog Bo", "has a dog called Bo"))})
    first = mind(model)
    await first.reply(ROME, ANA, "minimal")
    await first.settle()
    await first.close()
    days.pass_by(9)
    again = mind(model)
    trace = (await again.reply("Where do I live, and with which dog?", ANA, "minimal")).trace
    assert trace.recollection and trace.plan
    assert any("stated by the person: I live in Rome" in anchor for anchor in trace.plan.anchors)
    written = next(record for record in trace.requests if record.purpose == "write").messages[-1].text
    assert "2026-03-02, stated by the person: I live in Rome" in written and "Bo" in written


async def test_no_identity_no_memory(mind: Build, tmp_path: Path) -> None:
    mentalizing = mind()
    await mentalizing.reply(ROME, effort="medium")
    assert await mentalizing.settle() == ()
    assert not (tmp_path / "memory.db").exists()


async def test_read_only_recalls_and_keeps_nothing(mind: Build) -> None:
    mentalizing = mind()
    await mentalizing.memory.remember(ANA, "I live in Rome")
    trace = (await mentalizing.reply("Do I live in Rome?", ANA, "minimal", "read-only")).trace
    assert trace.recollection and trace.recollection.hits
    await mentalizing.settle()
    assert [memory.text for memory in await kept(mentalizing)] == ["I live in Rome"]


async def test_off_neither_recalls_nor_keeps(mind: Build) -> None:
    mentalizing = mind(memory={"mode": "off"})
    assert (await mentalizing.reply(ROME, ANA, "minimal")).trace.recollection is None
    assert await mentalizing.memory.people() == ()
    with pytest.raises(InputError, match="read-only"):
        await mentalizing.reply(ROME, ANA, memory="sometimes")


async def test_a_side_task_of_the_app_is_no_memory_and_pass_through_is_told_nothing(mind: Build) -> None:
    model = ScriptedModel(SCRIPT)
    mentalizing = mind(model)
    await mentalizing.reply("### Task:\nGenerate a title for this chat", ANA)
    assert await mentalizing.memory.people() == ()
    await mentalizing.memory.remember(ANA, "I live in Rome")
    await mentalizing.reply("Rome?", ANA, "none")
    assert [message.text for message in model.requests[-1].messages] == ["Rome?"]
    assert "Rome?" in [memory.text for memory in await kept(mentalizing, MemoryKind.TURN)]


async def test_only_the_persons_own_words_are_kept(mind: Build) -> None:
    model = ScriptedModel({**SCRIPT, "remember": told(fact("You work for Acme"), fact("secret tool output"))})
    mentalizing = mind(model)
    talk = [
        {"role": "system", "content": "You work for Acme. The person is called Eve."},
        {"role": "user", "content": "Look it up."},
        {"role": "assistant", "content": "One moment."},
        {"role": "tool", "content": "secret tool output", "tool_call_id": "1"},
        {"role": "user", "content": "I like tea."},
    ]
    await mentalizing.reply(talk, ANA, "minimal")
    await mentalizing.settle()
    texts = [memory.text for memory in await kept(mentalizing) if memory.kind is not MemoryKind.SCENARIO]
    assert not any("Acme" in text or "secret" in text or "Eve" in text for text in texts)
    assert "I like tea." in texts


async def test_what_the_conversation_shows_is_not_recalled_again(mind: Build) -> None:
    mentalizing = mind()
    await mentalizing.reply(ROME, ANA, "minimal")
    talk = [
        {"role": "user", "content": ROME},
        {"role": "assistant", "content": WARM},
        {"role": "user", "content": "And my dog Bo?"},
    ]
    trace = (await mentalizing.reply(talk, ANA, "minimal")).trace
    assert trace.recollection and ROME not in [hit.memory.text for hit in trace.recollection.hits]


async def test_signs_of_danger_are_noted_in_the_persons_words(mind: Build) -> None:
    mentalizing = mind(country="US")
    await mentalizing.reply("I want to kill myself tonight.", ANA, "minimal")
    (note,) = await kept(mentalizing, MemoryKind.SAFETY_NOTE)
    assert note.quote and note.quote in "I want to kill myself tonight."


async def test_a_memory_that_a_reply_used_is_stronger_once(mind: Build, days: Clock) -> None:
    mentalizing = mind(script={"write": "Then give Bo a walk along the Tiber!"})
    bo = await mentalizing.memory.remember(ANA, "My dog Bo loves a walk")
    tea = await mentalizing.memory.remember(ANA, "I hate green tea in the afternoon")
    days.pass_by()
    await mentalizing.reply("What shall I do with my dog or my tea?", ANA, "minimal")
    used_one, unused = await mentalizing.memory.get(ANA, [bo.id, tea.id])
    assert (used_one.strength, unused.strength) == (2, 1)
    assert used_one.last_recalled_at == days.now


async def test_a_small_models_draft_that_says_what_is_remembered_has_no_rival(mind: Build) -> None:
    reading = {"cause": "my dog", "need": "a name", "hypotheses": [{**READING["hypotheses"][0], "words": "my dog"}]}

    def model(request: Request) -> Any:
        if isinstance(request.format, Choice):
            return {option: 0.9 if option == "B" else 0.1 for option in request.format.options}
        return reading if request.purpose == "read" else "Your dog is called Bo."

    mentalizing = mind(FunctionModel(model), choosing=True)
    await mentalizing.memory.remember(ANA, "My dog is called Bo")
    trace = (await mentalizing.reply("What is the name of my dog?", ANA, memory="read-only")).trace
    assert trace.reply == "Your dog is called Bo." and trace.reply_origin == "writer"


async def test_a_failed_reply_leaves_feedback_and_weakens_the_pattern_it_leaned_on(mind: Build, days: Clock) -> None:
    mentalizing = mind(script={"validate": POOR, "gate": SAFE})
    pattern = Memory(
        id="p",
        kind=MemoryKind.EMOTION_PATTERN,
        text="joy about going without me",
        observed_at=days.now,
        status=MemoryStatus.UNCONFIRMED,
        importance=0.8,
        details={"emotion": "joy"},
    )
    await mentalizing.memory.add(ANA, [pattern])
    trace = (await mentalizing.reply(MESSAGE, ANA, "medium")).trace
    (feedback,) = await kept(mentalizing, MemoryKind.FEEDBACK)
    assert "answers the words and not the person" in feedback.text
    assert (await mentalizing.memory.get(ANA, ["p"]))[0].importance == pytest.approx(0.4), trace.recollection


async def test_the_setting_is_remembered_from_the_first_turn(mind: Build) -> None:
    mentalizing = mind(charter="tutor")
    await mentalizing.reply(ROME, ANA, "minimal")
    (setting,) = await kept(mentalizing, MemoryKind.SCENARIO)
    assert "tutor" in setting.text and setting.details["charter"] == "tutor"


async def test_traces_are_kept_only_if_they_are_wanted(mind: Build) -> None:
    mentalizing = mind(memory={"trace_days": 0})
    turn = (await mentalizing.reply(ROME, ANA, "minimal")).trace.turn_id
    assert await mentalizing.memory.trace(ANA, turn) is None


# --- facts ----------------------------------------------------------------------------------------------------


async def test_a_fact_needs_a_quote_and_a_question_states_nothing(mind: Build) -> None:
    said = "I moved to Oslo. Is my sister rich? If I were a nurse, I'd rest. I have 2 cats."
    found = told(
        fact("I moved to Oslo", "lives in Oslo"),
        fact("I own a yacht"),
        fact("my sister rich"),
        fact("I were a nurse"),
        fact("I have 2 cats", "has 3 cats"),
    )
    mentalizing = mind(by_message({said: found}))
    await mentalizing.reply(said, ANA, "minimal")
    await mentalizing.settle()
    facts = await kept(mentalizing, MemoryKind.FACT)
    assert sorted(memory.text for memory in facts) == ["I have 2 cats", "lives in Oslo"]
    assert all(memory.sources and memory.quote in said for memory in facts)


async def test_a_newer_fact_takes_the_place_of_the_older_one(mind: Build, days: Clock) -> None:
    moved = "I moved to Oslo last week."

    def answer(request: Request) -> Any:
        return told(fact("I moved to Oslo", "moved to Oslo", replaces=label_of(request, "I live in Rome")))

    mentalizing = mind(by_message({ROME: told(fact("I live in Rome")), moved: answer}))
    await mentalizing.reply(ROME, ANA, "minimal")
    await mentalizing.settle()
    days.pass_by(30)
    await mentalizing.reply(moved, ANA, "minimal")
    await mentalizing.settle()
    rome, oslo = await kept(mentalizing, MemoryKind.FACT)
    assert (rome.superseded_by, rome.valid_until) == (oslo.id, days.now)
    trace = (await mentalizing.reply("Where do I live now, in Rome or Oslo?", ANA, "minimal")).trace
    recalled = [hit.memory.id for hit in trace.recollection.hits] if trace.recollection else []
    assert oslo.id in recalled and rome.id not in recalled


async def test_what_is_said_of_somebody_else_does_not_replace_what_is_said_of_oneself(mind: Build, days: Clock) -> None:
    moved = "My brother lives in Oslo."

    def answer(request: Request) -> Any:
        replaces = label_of(request, "I live in Rome")
        return told(fact("My brother lives in Oslo", subject="My brother", replaces=replaces))

    mentalizing = mind(by_message({ROME: told(fact("I live in Rome")), moved: answer}))
    await mentalizing.reply(ROME, ANA, "minimal")
    await mentalizing.settle()
    days.pass_by()
    await mentalizing.reply(moved, ANA, "minimal")
    await mentalizing.settle()
    rome, oslo = await kept(mentalizing, MemoryKind.FACT)
    assert rome.superseded_by is None and oslo.details["subject"] == "My brother"


async def test_a_label_alone_replaces_nothing(mind: Build, days: Clock) -> None:
    tea = "I love green tea now."

    def answer(request: Request) -> Any:
        return told(fact("I love green tea now", kind="preference", replaces=label_of(request, "allergic")))

    mentalizing = mind(by_message({tea: answer}))
    allergy = await mentalizing.memory.remember(ANA, "I am allergic to peanuts.")
    days.pass_by()
    await mentalizing.reply(tea, ANA, "minimal")
    await mentalizing.settle()
    (kept_one,) = await mentalizing.memory.get(ANA, [allergy.id])
    assert kept_one.superseded_by is None
    assert len(await kept(mentalizing, MemoryKind.PREFERENCE)) == 1


async def test_a_message_waits_behind_none_that_came_later(mind: Build, days: Clock) -> None:
    mentalizing = mind()

    def row(number: int) -> Memory:
        details = {"role": "user", "turn_id": str(number), "considered": number > 0}
        at = days.now + timedelta(minutes=number)
        return Memory(id=f"{number}/user", kind=MemoryKind.TURN, text="Well.", observed_at=at, details=details)

    await mentalizing.memory.put(ANA, [row(number) for number in range(DUE + 1)])
    remembering = Remembering(memories=mentalizing.memory, inference_days=14)
    assert [waiting.id for waiting in await remembering.due(ANA)] == ["0/user"]


async def test_what_is_said_twice_is_kept_once_and_stronger(mind: Build, days: Clock) -> None:
    mentalizing = mind(script={"remember": told(fact("I live in Rome"))})
    for _ in range(2):
        await mentalizing.reply(ROME, ANA, "minimal")
        await mentalizing.settle()
        days.pass_by()
    (rome,) = await kept(mentalizing, MemoryKind.FACT)
    assert rome.strength == 2


def test_a_statement_that_says_more_than_the_person_is_kept_in_their_words() -> None:
    given = Proposal(kind="preference", text="hates loud parties of colleagues", quote="I hate loud places")
    stated = checked(given, "I hate loud places.", {})
    assert stated and stated.text == "I hate loud places" and stated.kind is MemoryKind.PREFERENCE


@pytest.mark.parametrize(
    ("message", "quote"),
    [("我住在罗马。", "我住在罗马"), ("Vivo en Roma con mi perro.", "Vivo en Roma"), ("أعيش في روما.", "أعيش في روما")],
)
def test_facts_are_found_in_other_languages(message: str, quote: str) -> None:
    assert checked(Proposal(kind="fact", text=quote, quote=quote, subject="self"), message, {})


# --- feelings and guesses -------------------------------------------------------------------------------------


async def test_an_emotion_is_kept_only_when_it_recurs(mind: Build, days: Clock) -> None:
    hurt = told(emotion="Hurt", emotion_quote="I'm fine")
    mentalizing = mind(script={"remember": hurt})
    for said in (1, 2, 3):
        await mentalizing.reply(f"{MESSAGE} ({said})", ANA, "minimal")
        await mentalizing.settle()
        assert len(await kept(mentalizing, MemoryKind.EMOTION_PATTERN)) == 0, f"{said} times on one day"
    days.pass_by()
    await mentalizing.reply(MESSAGE, ANA, "minimal")
    await mentalizing.settle()
    (pattern,) = await kept(mentalizing, MemoryKind.EMOTION_PATTERN)
    assert pattern.status is MemoryStatus.UNCONFIRMED and len(pattern.sources) == 4
    assert pattern.text == "hurt (4 times): “I'm fine”"


async def test_words_said_alone_do_not_pass_into_a_pattern_for_others_too(mind: Build, days: Clock) -> None:
    private = "I am afraid that Bob finds out."
    among = Identity("acme", "ana", session="monday", audience=("bob",))
    shown = told(emotion="fear", emotion_quote="I am afraid of storms")
    answers = {private: told(emotion="fear", emotion_quote=private), "I am afraid of storms.": shown}
    mentalizing = mind(by_message(answers))
    for _ in range(3):
        await mentalizing.reply("I am afraid of storms.", among, "minimal")
        await mentalizing.settle()
        days.pass_by()
    (pattern,) = await kept(mentalizing, MemoryKind.EMOTION_PATTERN)
    assert pattern.audience == ("bob",)
    await mentalizing.reply(private, ANA, "minimal")
    await mentalizing.settle()
    (pattern,) = await kept(mentalizing, MemoryKind.EMOTION_PATTERN)
    assert "Bob" in pattern.text and pattern.audience == ()


async def test_a_guess_lapses_unless_it_is_borne_out(mind: Build, days: Clock) -> None:
    mentalizing = mind()
    await mentalizing.reply(MESSAGE, ANA, "low")
    await mentalizing.settle()
    (guess,) = await kept(mentalizing, MemoryKind.INFERENCE)
    assert guess.status is MemoryStatus.UNCONFIRMED and guess.quote == "really" and guess.confidence == 0.75
    assert guess.expires_at == days.now + timedelta(days=14)
    days.pass_by(15)
    assert await kept(mentalizing, MemoryKind.INFERENCE, current=True) == ()


async def test_a_guess_is_confirmed_by_the_persons_own_words_alone(mind: Build, days: Clock) -> None:
    outright, invented = "Yes, I want to be asked again.", "Whatever you say."

    def confirming(quote: str) -> Callable[[Request], Any]:
        return lambda request: told(confirms=[{"label": label_of(request, "wants to be asked"), "quote": quote}])

    model = by_message({invented: confirming("I want to be asked"), outright: confirming("I want to be asked again")})
    mentalizing = mind(model)
    await mentalizing.reply(MESSAGE, ANA, "low")
    for said, status in ((invented, MemoryStatus.UNCONFIRMED), (outright, MemoryStatus.CONFIRMED)):
        await mentalizing.settle()
        days.pass_by()
        await mentalizing.reply(said, ANA, "minimal")
        await mentalizing.settle()
        (guess,) = await kept(mentalizing, MemoryKind.INFERENCE)
        assert guess.status is status
    assert guess.quote == "I want to be asked again" and guess.expires_at is None and len(guess.sources) == 2


def guess(at: datetime, **more: Any) -> Memory:
    more = {"quote": "tired", "session": "sunday", "details": {"state": "Intention"}, **more}
    return Memory(
        id="g",
        kind=MemoryKind.INFERENCE,
        status=MemoryStatus.UNCONFIRMED,
        text="The person wants to leave their husband.",
        observed_at=at,
        expires_at=at + timedelta(days=14),
        **more,
    )


@pytest.mark.parametrize(
    ("said", "outright"),
    [
        ("I walked the dog.", False),
        ("I don't want to leave my husband.", False),
        ("My husband is kind.", False),
        ("I want to leave my husband.", True),
    ],
)
async def test_a_guess_is_borne_out_only_by_words_that_say_it(
    mind: Build, days: Clock, said: str, outright: bool
) -> None:
    mentalizing = mind(script={"remember": told(confirms=[{"label": "m1", "quote": said.rstrip(".")}])})
    await mentalizing.memory.put(ANA, [guess(days.now, audience=("bob",))])
    await mentalizing.reply(said, ANA, "minimal")
    await mentalizing.settle()
    (found,) = await mentalizing.memory.get(ANA, ["g"])
    assert (found.status is MemoryStatus.CONFIRMED) == outright
    assert found.audience == (() if outright else ("bob",)), "its quote is now of words said alone"


@pytest.mark.parametrize(("hours", "words"), [(1, "leave my husband"), (12, "so very tired"), (12, "leave my husband")])
async def test_recurrence_needs_other_words_of_the_guess_on_another_occasion(
    mind: Build, days: Clock, hours: float, words: str
) -> None:
    mentalizing = mind()
    days.now = days.now.replace(hour=23, minute=30)
    await mentalizing.memory.put(ANA, [guess(days.now, session=days.now.date().isoformat())])
    days.pass_by(hours / 24)
    again = {"text": "They want to leave their husband", "state": "Intention", "words": words, "confidence": 0.5}
    row = Memory(
        id="t/user",
        kind=MemoryKind.TURN,
        text=f"Well, {words}.",
        observed_at=days.now,
        session=days.now.date().isoformat(),
        details={"role": "user", "turn_id": "t", "considered": False, "guess": again},
    )
    await mentalizing.memory.put(ANA, [row])
    await mentalizing.settle(ANA)
    (found,) = await mentalizing.memory.get(ANA, ["g"])
    assert found.strength == 2 and len(await kept(mentalizing, MemoryKind.INFERENCE)) == 1
    assert (found.status is MemoryStatus.CONFIRMED) == (hours > 6 and "husband" in words)


async def test_a_guess_that_comes_back_elsewhere_in_other_words_is_borne_out(mind: Build, days: Clock) -> None:
    first, other = READING["hypotheses"]
    elsewhere = {**READING, "hypotheses": [{**first, "words": "nobody asked me"}, other]}
    mentalizing = mind(script={"read": [READING, READING, elsewhere]})
    await mentalizing.reply(MESSAGE, ANA, "low")
    await mentalizing.settle()
    days.pass_by()
    tuesday = Identity("acme", "ana", session="tuesday")
    await mentalizing.reply(MESSAGE, tuesday, "low")
    await mentalizing.settle()
    (guess,) = await kept(mentalizing, MemoryKind.INFERENCE)
    assert guess.status is MemoryStatus.UNCONFIRMED, "the same words again are no further evidence"
    assert guess.strength == 2 and guess.expires_at == days.now + timedelta(days=14)
    await mentalizing.reply("They left. Well, nobody asked me.", tuesday, "low")
    await mentalizing.settle()
    (guess,) = await kept(mentalizing, MemoryKind.INFERENCE)
    assert guess.status is MemoryStatus.CONFIRMED and guess.details["borne_out_by"] == "recurrence"


@pytest.mark.parametrize("settled_by", ["refute", "correct"])
async def test_what_the_person_settled_is_never_guessed_again(mind: Build, days: Clock, settled_by: str) -> None:
    mentalizing = mind()
    await mentalizing.reply(MESSAGE, ANA, "low")
    await mentalizing.settle()
    (guess,) = await kept(mentalizing, MemoryKind.INFERENCE)
    if settled_by == "refute":
        await mentalizing.memory.refute(ANA, guess.id)
    else:
        await mentalizing.memory.correct(ANA, guess.id, "I want to be alone.")
    days.pass_by()
    trace = (await mentalizing.reply(MESSAGE, ANA, "low")).trace
    assert trace.recollection and guess.id not in [hit.memory.id for hit in trace.recollection.hits]
    await mentalizing.settle()
    assert [memory.id for memory in await kept(mentalizing, MemoryKind.INFERENCE)] == [guess.id]


# --- what goes wrong ------------------------------------------------------------------------------------------


async def test_what_a_crash_left_undone_is_done_by_the_next_mind_that_the_person_speaks_to(mind: Build) -> None:
    first = mind(script={"remember": DOWN})
    await first.reply(ROME, ANA, "minimal")
    assert any("down" in problem for problem in await first.settle())
    await first.close()
    model = ScriptedModel({**SCRIPT, "remember": told(fact("I live in Rome"))})
    second = mind(model)
    await second.reply("Hello again.", Identity("acme", "somebody else"), "minimal")
    assert await second.settle() == ()
    sent = "\n".join(message.text for request in model.requests for message in request.messages)
    assert "Rome" not in sent, "what others said goes to no model that they did not speak to"
    await second.reply("Hello again.", ANA, "minimal")
    assert await second.settle() == ()
    assert [memory.text for memory in await kept(second, MemoryKind.FACT)] == ["I live in Rome"]


async def test_a_model_that_gives_no_valid_answer_is_not_asked_for_ever(mind: Build) -> None:
    model = ScriptedModel({**SCRIPT, "remember": "I would rather chat.", "remember.repair": "No."})
    mentalizing = mind(model)
    await mentalizing.reply(ROME, ANA, "minimal")
    await mentalizing.settle()
    await mentalizing.settle()
    assert sum(request.purpose == "remember" for request in model.requests) == 1


@pytest.mark.parametrize("everything", [True, False])
async def test_what_is_forgotten_during_a_turn_stays_forgotten(mind: Build, everything: bool) -> None:
    ready, go = asyncio.Event(), asyncio.Event()
    script = ScriptedModel({**SCRIPT, "write": "Rome is lovely, and your blue door too."})

    async def slow(request: Request) -> Any:
        if request.purpose == "write":
            ready.set()
            await go.wait()
        return (await script.complete(request)).text

    mentalizing = mind(FunctionModel(slow))
    secret = await mentalizing.memory.remember(ANA, "My house in Rome has a blue door")
    turn = asyncio.create_task(mentalizing.reply("What do you know of my house in Rome?", ANA, "minimal"))
    await ready.wait()
    if everything:
        await mentalizing.memory.forget_all(ANA)
    else:
        await mentalizing.memory.forget(ANA, [secret.id])
    go.set()
    reply = await turn
    assert reply.text and any(failure.startswith("remember: ") for failure in reply.trace.failures)
    await mentalizing.settle()
    assert await kept(mentalizing) == ()


async def test_a_message_that_is_forgotten_while_it_is_considered_tells_nothing(mind: Build) -> None:
    ready, go = asyncio.Event(), asyncio.Event()
    script = ScriptedModel({**SCRIPT, "remember": told(fact("I live in Rome"))})

    async def slow(request: Request) -> Any:
        if request.purpose == "remember":
            ready.set()
            await go.wait()
        return (await script.complete(request)).text

    mentalizing = mind(FunctionModel(slow))
    turn = (await mentalizing.reply(ROME, ANA, "minimal")).trace.turn_id
    await ready.wait()
    await mentalizing.memory.forget(ANA, [f"{turn}/user"])
    go.set()
    assert await mentalizing.settle() == ()
    assert [memory.kind for memory in await kept(mentalizing)] == [MemoryKind.SCENARIO]


async def test_a_forgotten_message_takes_along_what_it_told(mind: Build) -> None:
    mentalizing = mind(script={"remember": told(fact("I live in Rome"))})
    turn = (await mentalizing.reply(ROME, ANA, "minimal")).trace.turn_id
    await mentalizing.settle()
    deletion = await mentalizing.memory.forget(ANA, [f"{turn}/user"])
    assert deletion.counts["turn"] == 2 and deletion.counts["fact"] == 1
    with pytest.raises(Forgotten):
        await mentalizing.memory.add(
            ANA,
            [Memory(id="x", kind=MemoryKind.FACT, text="y", observed_at=datetime.now(UTC), sources=(f"{turn}/user",))],
        )


async def test_a_damaged_database_costs_the_turn_a_line(mind: Build, tmp_path: Path) -> None:
    (tmp_path / "memory.db").write_bytes(b"no database" * 1_000)
    mentalizing = mind()
    for effort in ("minimal", "none"):
        reply = await mentalizing.reply(ROME, ANA, effort)
        assert reply.text == WARM and reply.trace.failures
    assert (tmp_path / "memory.db").read_bytes() == b"no database" * 1_000


async def test_an_unknown_embedder_costs_the_turn_a_line(mind: Build) -> None:
    reply = await mind(memory={"embedder": "minilmm"}).reply(ROME, ANA, "minimal")
    assert reply.text == WARM and any("minilmm" in failure for failure in reply.trace.failures)


async def test_an_unknown_time_zone_is_said_at_once(mind: Build) -> None:
    with pytest.raises(InputError, match="Mars/Base"):
        await mind().reply(ROME, Identity("acme", "ana", zone="Mars/Base"))


async def test_a_reply_does_not_wait_for_what_is_thought_about_it_afterwards(mind: Build) -> None:
    begun, release = asyncio.Event(), asyncio.Event()
    script = ScriptedModel(SCRIPT)

    async def slow(request: Request) -> Any:
        if request.purpose == "remember":
            begun.set()
            await release.wait()
        return (await script.complete(request)).text

    mentalizing = mind(FunctionModel(slow))
    trace = (await mentalizing.reply(ROME, ANA, "minimal")).trace
    await begun.wait()
    assert trace.calls == 1 and not any(record.purpose == "remember" for record in trace.requests)
    assert (await mentalizing.reply("And you?", ANA, "minimal")).text == WARM
    release.set()


async def test_a_model_in_this_process_is_left_to_the_turn_that_needs_it(mind: Build) -> None:
    interrupted: list[str] = []
    begun = asyncio.Event()
    script = ScriptedModel({**SCRIPT, "remember": {"facts": [{"quote": "I live in Rome", "kind": "fact"}]}})

    async def slow(request: Request) -> Any:
        if request.purpose == "remember" and not interrupted:
            begun.set()
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                interrupted.append(request.purpose)
                raise
        return (await script.complete(request)).text

    mentalizing = mind(FunctionModel(slow, name="embedded/test"), choosing=False)
    await mentalizing.reply(ROME, ANA, "minimal")
    await begun.wait()
    await mentalizing.reply("And you?", ANA, "minimal")
    assert interrupted == ["remember"]
    assert await mentalizing.settle() == ()
    assert [memory.text for memory in await kept(mentalizing, MemoryKind.FACT)] == ["I live in Rome"]


@pytest.mark.parametrize("recorded", [False, True])
async def test_it_is_left_to_an_answer_that_is_handed_on_until_all_of_it_is(mind: Build, *, recorded: bool) -> None:
    begun = asyncio.Event()

    async def waiting(request: Request) -> Any:
        if request.purpose == "remember":
            begun.set()
            await asyncio.sleep(30)
        return "Hm. Well."

    mentalizing = mind(FunctionModel(waiting, name="embedded/test"), choosing=False)
    await mentalizing.reply(ROME, ANA, "none")
    body = {"model": "embedded/test", "messages": [{"role": "user", "content": "And you?"}], "stream": True}
    for pieces_read in (0, 1, None):
        await asyncio.wait_for(begun.wait(), 5)
        turn = await mentalizing.begin(body["messages"], ANA, "none", "off") if recorded else mentalizing
        content = (await turn.relay(body)).content
        begun.clear()
        if pieces_read:
            assert b"Hm" in await anext(content)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(begun.wait(), 0.1)
        if pieces_read is None:
            assert b"Well" in b"".join([piece async for piece in content])
        await content.aclose()
    await asyncio.wait_for(begun.wait(), 5)


def test_a_mind_outlives_the_event_loop_it_began_in(mind: Build) -> None:
    mentalizing = mind(script={"remember": told(fact("I live in Rome"))})

    async def talk() -> tuple[str, ...]:
        await mentalizing.reply(ROME, ANA, "minimal")
        return await mentalizing.settle()

    assert [asyncio.run(talk()) for _ in range(2)] == [(), ()]


def test_synchronous_callers_reach_memory_too(mind: Build) -> None:
    mentalizing = mind(script={"remember": told(fact("I live in Rome"))})
    with mentalizing.sync as synchronous:
        synchronous.reply(ROME, ANA, "minimal")
        assert synchronous.settle() == ()
        hits = synchronous.run(lambda: mentalizing.memory.search(ANA, "Rome"))
        assert "I live in Rome" in [hit.memory.text for hit in hits]


# --- which memories a reply used ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "anchored", "expected"),
    [
        ("Take Bo to the vet in Trastevere.", False, True),
        ("Ask the vet.", False, False),
        ("Ask the vet.", True, True),
        ("That sounds hard.", True, False),
        ("Is your dog ill?", False, False),
    ],
)
def test_a_reply_used_what_only_memory_can_have_told_it(reply: str, anchored: bool, expected: bool) -> None:
    memory = Memory(
        id="m", kind=MemoryKind.FACT, text="my dog Bo sees a vet in Trastevere", observed_at=datetime.now(UTC)
    )
    recollection = Recollection(hits=(MemoryHit(memory=memory, score=1.0),))
    anchors = (f"2026-03-01, stated by the person: {memory.text}",) if anchored else ()
    plan = Plan(act="", tone="", anchors=anchors)
    assert used(recollection, plan, "My dog is ill.", reply) == (("m",) if expected else ())

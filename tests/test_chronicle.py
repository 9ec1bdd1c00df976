"""The chronicle, through `Mind` and a real database: days and the whole are summed up, and again when they change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clocks import Clock
from mentalize import Identity, Mind
from mentalize.errors import ModelUnavailable
from mentalize.graphs.chronicle import HASH, Chronicle, content_hash, shortlist
from mentalize.llm.embedder import resolve_embedder
from mentalize.llm.model import Request
from mentalize.llm.scripted import FunctionModel, ScriptedModel
from mentalize.memory.memories import Memories
from mentalize.memory.store import Filter
from mentalize.types import Memory, MemoryKind, MemoryStatus
from social_script import SCRIPT

ANA = Identity("acme", "ana", zone="America/New_York")
NIGHT = datetime(2026, 3, 3, 2, tzinfo=UTC)
"""Still the second of March where Ana lives."""
ROLLED_UP = (MemoryKind.DAY_SUMMARY, MemoryKind.DAY_PORTRAIT, MemoryKind.SUMMARY, MemoryKind.PORTRAIT)
Build = Callable[..., Mind]


@pytest.fixture
def days() -> Clock:
    return Clock(NIGHT)


@pytest.fixture
async def mind(tmp_path: Path, days: Clock) -> AsyncIterator[Build]:
    made: list[Mind] = []

    def build(model: Any = None, **memory: Any) -> Mind:
        memory = {"url": f"sqlite:///{tmp_path / 'memory.db'}", "embedder": "fake", **memory}
        made.append(Mind(model=model or ScriptedModel(SCRIPT), cache_folder=tmp_path, clock=days, memory=memory))
        return made[-1]

    yield build
    for one in made:
        await one.close()


class Counting(FunctionModel):
    """A model whose summaries are numbered, and that can be told to fail."""

    def __init__(self) -> None:
        self.failing = ""
        self._script = ScriptedModel(SCRIPT)
        self._asked = asyncio.Condition()
        super().__init__(self._numbered)

    async def seen(self, purpose: str, *, times: int) -> None:
        """Wait until it was asked so often."""
        async with self._asked:
            await self._asked.wait_for(lambda: self.asked(purpose) >= times)

    async def _numbered(self, request: Request) -> Any:
        async with self._asked:
            self._asked.notify_all()
        if request.purpose == self.failing:
            raise ModelUnavailable("The endpoint is down.")
        if request.purpose == "summarise":
            return {"summary": f"Summary {self.asked('summarise')}."}
        return (await self._script.complete(request)).text

    def asked(self, *purposes: str) -> int:
        return sum(request.purpose in purposes for request in self.requests)


async def rolled_up(mind: Mind) -> dict[str, Memory]:
    found = await mind.memory.find(ANA, Filter(kinds=ROLLED_UP))
    return {memory.id: memory for memory in found}


async def talk(mind: Mind, days: Clock, *messages: str) -> None:
    for message in messages:
        await mind.reply(message, ANA, "minimal")
        days.pass_by()
    await mind.settle()


async def test_days_and_the_whole_are_summed_up_by_the_persons_own_days(mind: Build, days: Clock) -> None:
    mentalizing = mind()
    await talk(mentalizing, days, "I live in Rome.", "I have a dog.")
    made = await rolled_up(mentalizing)
    assert sorted(made) == [
        "day_portrait/2026-03-02",
        "day_portrait/2026-03-03",
        "day_summary/2026-03-02",
        "day_summary/2026-03-03",
        "portrait",
        "summary",
    ]
    first = made["day_summary/2026-03-02"]
    said = await mentalizing.memory.get(ANA, first.sources)
    assert said[0].text == "I live in Rome." and len(said) == 2
    assert first.observed_at == NIGHT and first.details["left_out"] == 0
    assert set(made["summary"].sources) == {"day_summary/2026-03-02", "day_summary/2026-03-03"}
    portrait = made["portrait"]
    assert portrait.status is MemoryStatus.UNCONFIRMED and portrait.details["strategy"] == "Ask twice."


async def test_the_portrait_reaches_the_writer(mind: Build, days: Clock) -> None:
    mentalizing = mind()
    await talk(mentalizing, days, "I live in Rome.")
    trace = (await mentalizing.reply("Hello again.", ANA, "minimal")).trace
    written = next(record for record in trace.requests if record.purpose == "write").messages[-1].text
    assert "Your impression of them, not certain: Seems to hide what they wish for." in written
    assert "Ask twice." in written


async def test_what_a_small_model_makes_up_gives_way_to_the_persons_words(mind: Build) -> None:
    invented = {"portrait": "They are a software engineer who loves to code.", "strategy": "Talk about code."}
    read = {"summary": "They live in Rome and have a dog called Bo."}
    script = {**SCRIPT, "portray": invented, "summarise": read, "remember": {"facts": []}}
    mentalizing = mind(ScriptedModel(script, name="embedded/test"))
    await mentalizing.reply("I live in Rome with my dog Bo.", ANA, "minimal")
    await mentalizing.settle()
    made = await rolled_up(mentalizing)
    assert made["summary"].text == read["summary"]
    assert made["portrait"].text == "I live in Rome with my dog Bo." and "strategy" not in made["portrait"].details


async def test_what_did_not_change_is_not_made_again(mind: Build, days: Clock) -> None:
    model = Counting()
    mentalizing = mind(model)
    await talk(mentalizing, days, "I live in Rome.", "I have a dog.")
    before = model.asked("summarise", "portray")
    assert await mentalizing.settle() == ()
    assert model.asked("summarise", "portray") == before
    await mentalizing.reply("I have a cat.", ANA, "minimal")
    await mentalizing.settle()
    assert model.asked("summarise", "portray") == before + 4, "the new day and the whole, and no other day"


async def test_a_day_that_lost_a_message_is_made_again_from_what_is_left(mind: Build, days: Clock) -> None:
    model = Counting()
    mentalizing = mind(model)
    first = (await mentalizing.reply("My secret is the blue door.", ANA, "minimal")).trace.turn_id
    await talk(mentalizing, days, "I live in Rome.", "I have a dog.")
    before = await rolled_up(mentalizing)
    deletion = await mentalizing.memory.forget(ANA, [f"{first}/user"])
    assert deletion.counts["day_summary"] == deletion.counts["portrait"] == deletion.counts["summary"] == 1
    assert set(await rolled_up(mentalizing)) == {"day_summary/2026-03-03", "day_portrait/2026-03-03"}
    assert await mentalizing.settle() == ()
    after = await rolled_up(mentalizing)
    assert set(after) == set(before)
    changed = after["day_summary/2026-03-02"]
    assert changed.text != before["day_summary/2026-03-02"].text and f"{first}/user" not in changed.sources
    assert after["day_summary/2026-03-03"] == before["day_summary/2026-03-03"]
    again = [request.messages[-1].text for request in model.requests[-4:]]
    assert not any("blue door" in text for text in again)


async def test_a_message_that_is_forgotten_while_its_day_is_summed_up_is_in_no_summary(mind: Build) -> None:
    ready, go = asyncio.Event(), asyncio.Event()
    script = ScriptedModel(SCRIPT)

    async def slow(request: Request) -> Any:
        if request.purpose == "summarise" and not go.is_set():
            ready.set()
            await go.wait()
        return (await script.complete(request)).text

    mentalizing = mind(FunctionModel(slow))
    turn = (await mentalizing.reply("My secret is the blue door.", ANA, "minimal")).trace.turn_id
    settling = asyncio.create_task(mentalizing.settle())
    await ready.wait()
    await mentalizing.memory.forget(ANA, [f"{turn}/user"])
    go.set()
    await settling
    assert await rolled_up(mentalizing) == {}


@pytest.mark.parametrize("everything", [True, False])
async def test_what_is_forgotten_while_the_whole_is_summed_up_comes_back_in_nothing(
    mind: Build, days: Clock, everything: bool
) -> None:
    ready, go = asyncio.Event(), asyncio.Event()
    script = ScriptedModel(SCRIPT)

    async def slow(request: Request) -> Any:
        if request.purpose != "summarise":
            return (await script.complete(request)).text
        if "notes on single days" in request.messages[-1].text:
            ready.set()
            await go.wait()
        return {"summary": "They spoke of the blue door."}

    mentalizing = mind(FunctionModel(slow))
    turn = (await mentalizing.reply("My secret is the blue door.", ANA, "minimal")).trace.turn_id
    days.pass_by()
    settling = asyncio.create_task(mentalizing.settle())
    async with asyncio.timeout(10):
        await ready.wait()
    if everything:
        await mentalizing.memory.forget_all(ANA)
    else:
        await mentalizing.memory.forget(ANA, [f"{turn}/user"])
    go.set()
    await settling
    assert await rolled_up(mentalizing) == {}


async def test_the_whole_goes_when_all_its_days_are_gone(mind: Build, days: Clock) -> None:
    mentalizing = mind()
    made = {"kind": MemoryKind.SUMMARY, "observed_at": NIGHT}
    ours = Memory(id="summary", text="They spoke of the blue door.", details={"content_hash": "0"}, **made)
    theirs = Memory(id="portrait", text="Brought along from elsewhere.", **{**made, "kind": MemoryKind.PORTRAIT})
    await mentalizing.memory.put(ANA, [ours, theirs])
    await mentalizing.settle(ANA)
    assert set(await rolled_up(mentalizing)) == {"portrait"}


class Reading(Memories):
    """Memories that count the messages that are read."""

    rows = 0

    async def find(self, who: Identity, which: Filter | None = None, **how: Any) -> tuple[Memory, ...]:
        found = await super().find(who, which, **how)
        self.rows += sum(memory.kind is MemoryKind.TURN for memory in found)
        return found


@pytest.fixture
async def reading(tmp_path: Path, days: Clock) -> AsyncIterator[Reading]:
    async with Reading.at(f"sqlite:///{tmp_path / 'memory.db'}", resolve_embedder("fake"), clock=days) as memories:
        rows = [
            Memory(id=f"{day}/{n}", kind=MemoryKind.TURN, text=f"Thing {day}/{n}.", observed_at=NIGHT + timedelta(day))
            for day in range(5)
            for n in range(4)
        ]
        await memories.put(ANA, rows)
        yield memories


async def look(chronicle: Chronicle) -> list[str]:
    """What is due; it is made at once."""
    due: list[str] = []
    async for roll in chronicle.due(ANA, zone="UTC", longest=1_000, unfinished=None):
        due.append(roll.id)
        sources = tuple(source.id for source in roll.sources)
        made = {"observed_at": NIGHT, "sources": sources, "details": {**roll.details, HASH: roll.content_hash}}
        await chronicle.memories.put(ANA, [Memory(id=roll.id, kind=roll.kind, text=roll.id, **made)])
    return due


async def test_a_look_reads_only_the_days_that_may_have_changed(reading: Reading) -> None:
    chronicle = Chronicle(memories=reading)
    assert len(await look(chronicle)) == 12 and reading.rows == 20
    assert await look(chronicle) == [] and reading.rows == 24, "the newest day is read again"
    await reading.put(ANA, [Memory(id="new", kind=MemoryKind.TURN, text="New.", observed_at=NIGHT + timedelta(5))])
    assert await look(chronicle) == ["day_summary/2026-03-08", "day_portrait/2026-03-08", "summary", "portrait"]
    await reading.forget(ANA, ["1/0"])
    assert await look(chronicle) == ["day_summary/2026-03-04", "day_portrait/2026-03-04", "summary", "portrait"]
    await reading.retract(ANA, {"2/0": None}, at=NIGHT)
    assert await look(chronicle) == ["day_summary/2026-03-05", "day_portrait/2026-03-05"], "they say the same again"
    late = Memory(id="late", kind=MemoryKind.TURN, text="Brought in late.", observed_at=NIGHT)
    await reading.put(ANA, [late])
    chronicle.look_anew()
    assert await look(chronicle) == ["day_summary/2026-03-03", "day_portrait/2026-03-03"], "they say the same again"


async def test_a_day_that_is_not_read_to_its_beginning_is_left_as_it_is(reading: Reading) -> None:
    assert len(await look(Chronicle(memories=reading))) == 12
    assert await look(Chronicle(memories=reading, rows=10)) == [], (
        "the third day, of which two rows are seen, is not another one"
    )


async def test_a_turn_without_a_zone_is_of_the_day_in_the_zone_that_was_given_before(mind: Build, days: Clock) -> None:
    model = Counting()
    await talk(mind(model), days, "I live in Rome.")
    later = mind(model)
    await later.reply("I have a dog.", Identity("acme", "ana"), "minimal")
    await later.settle()
    assert {memory_id for memory_id in await rolled_up(later) if "/" in memory_id} == {
        "day_summary/2026-03-02",
        "day_portrait/2026-03-02",
        "day_summary/2026-03-03",
        "day_portrait/2026-03-03",
    }
    assert model.asked("summarise", "portray") == 8


async def test_a_failure_leaves_the_rest_for_later(mind: Build, days: Clock) -> None:
    model = Counting()
    model.failing = "portray"
    mentalizing = mind(model)
    await mentalizing.reply("I live in Rome.", ANA, "minimal")
    assert any("down" in problem for problem in await mentalizing.settle())
    assert "day_portrait/2026-03-02" not in await rolled_up(mentalizing)
    await mentalizing.close()
    model.failing = ""
    later = mind(model)
    assert await later.settle(ANA) == ()
    assert len(await rolled_up(later)) == 4


async def test_the_day_that_goes_on_waits_for_quiet(mind: Build, days: Clock) -> None:
    model = Counting()
    mentalizing = mind(model, idle_seconds=3600)
    await mentalizing.reply("I live in Rome.", ANA, "minimal")
    days.pass_by()
    await mentalizing.reply("I have a dog.", ANA, "minimal")
    async with asyncio.timeout(5):
        await model.seen("portray", times=2)
    await asyncio.sleep(0.05)
    assert set(await rolled_up(mentalizing)) == {
        "day_summary/2026-03-02",
        "day_portrait/2026-03-02",
        "summary",
        "portrait",
    }


async def test_quiet_brings_the_day_up_to_date(mind: Build) -> None:
    model = Counting()
    mentalizing = mind(model, idle_seconds=0.05)
    await mentalizing.reply("I live in Rome.", ANA, "minimal")
    async with asyncio.timeout(5):
        await model.seen("portray", times=2)
    await asyncio.sleep(0.05)
    assert len(await rolled_up(mentalizing)) == 4


async def test_what_few_heard_is_summed_up_for_few(mind: Build) -> None:
    mentalizing = mind()
    before_eva = Identity("acme", "ana", audience=("eva",))
    await mentalizing.reply("We all like tea.", before_eva, "minimal")
    await mentalizing.reply("I want to leave Eva.", ANA, "minimal")
    await mentalizing.settle()
    trace = (await mentalizing.reply("What about Eva and tea?", before_eva, "minimal")).trace
    assert trace.recollection and trace.recollection.portrait is None and trace.recollection.summary is None
    assert not any("leave Eva" in hit.memory.text for hit in trace.recollection.hits)


async def test_what_faded_is_archived_once_a_day(mind: Build, days: Clock) -> None:
    mentalizing = mind()
    turn = (await mentalizing.reply("It rains in Rome.", ANA, "minimal")).trace.turn_id
    await mentalizing.settle()
    days.pass_by(60)
    await mentalizing.reply("Hello.", ANA, "minimal")
    await mentalizing.settle()
    (row,) = await mentalizing.memory.get(ANA, [f"{turn}/user"])
    assert row.archived


@given(
    st.lists(st.tuples(st.text(max_size=400), st.floats(0, 1)), max_size=30),
    st.integers(min_value=60, max_value=3_000),
)
def test_a_long_day_is_cut_to_what_fits_in_order(rows: list[tuple[str, float]], longest: int) -> None:
    memories = [
        Memory(id=str(n), kind=MemoryKind.TURN, text=text, importance=importance, observed_at=NIGHT)
        for n, (text, importance) in enumerate(rows)
    ]
    kept = shortlist(memories, longest)
    assert sum(min(len(row.text), longest // 3) for row in kept) <= longest
    assert [int(row.id) for row in kept] == sorted(int(row.id) for row in kept)
    if memories and len(max(memories, key=lambda row: row.importance).text) < longest // 3:
        assert max(row.importance for row in kept) == max(row.importance for row in memories)


def test_a_hash_tells_texts_and_ids_apart() -> None:
    def row(name: str, text: str) -> Memory:
        return Memory(id=name, kind=MemoryKind.TURN, text=text, observed_at=NIGHT)

    hashes = {
        content_hash([row("a", "bc")]),
        content_hash([row("ab", "c")]),
        content_hash([row("a", "b"), row("c", "")]),
    }
    assert len(hashes) == 3

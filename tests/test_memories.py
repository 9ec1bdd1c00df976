"""What can be done with what is remembered, through a real database, a real index and an instant embedder."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mentalize import EmbedderError, Identity, Memories, Memory, MemoryKind, MemoryNotFound, MemoryStatus
from mentalize.errors import Forgotten, InputError
from mentalize.llm.embedder import resolve_embedder
from mentalize.memory import database, indexing
from mentalize.memory.retention import Curve
from mentalize.memory.store import Filter
from mentalize.types import Contract, Effort, Recollection, Trace

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
ANA = Identity("app", "ana")
BEN = Identity("app", "ben")


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, **time: float) -> datetime:
        self.now += timedelta(**time)
        return self.now


class Unreliable:
    """An embedder that can be switched off."""

    def __init__(self) -> None:
        self.inside = resolve_embedder("fake")
        self.works = True
        self.refused: str | None = None
        self.seconds = 0.0
        self.batches: list[int] = []

    @property
    def name(self) -> str:
        return self.inside.name

    @property
    def dimensions(self) -> int:
        return self.inside.dimensions

    async def embed(self, texts: Sequence[str], *, query: bool = False) -> Any:
        if not self.works:
            raise EmbedderError("The weights are gone.")
        if self.refused in texts:
            raise EmbedderError("This text is refused.")
        await asyncio.sleep(self.seconds)
        self.batches.append(len(texts))
        return await self.inside.embed(texts, query=query)

    async def close(self) -> None:
        await self.inside.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def embedder() -> Unreliable:
    return Unreliable()


@pytest.fixture
async def memories(tmp_path: Path, clock: Clock, embedder: Unreliable) -> AsyncIterator[Memories]:
    async with Memories.at(f"sqlite:///{tmp_path}/memory.db", embedder, clock=clock) as opened:
        yield opened


def turn(number: int, text: str, at: datetime = NOON, **parts: Any) -> Memory:
    details = {"role": "user", "turn_id": f"t{number}"}
    return Memory(
        id=f"t{number}/user", kind=MemoryKind.TURN, text=text, observed_at=at, speaker="ana", details=details, **parts
    )


def guess(text: str, at: datetime = NOON, **parts: Any) -> Memory:
    parts = {"confidence": 0.6, "expires_at": at + timedelta(days=14), **parts}
    return Memory(
        id=f"guess/{text}",
        kind=MemoryKind.INFERENCE,
        text=text,
        observed_at=at,
        status=MemoryStatus.UNCONFIRMED,
        **parts,
    )


def trace(turn_id: str, recollection: Recollection) -> Trace:
    return Trace(
        turn_id=turn_id, at=NOON, effort=Effort.LOW, requested_effort=Effort.LOW, route="asked", text="What can I eat?",
        recollection=recollection, contract=Contract(1, 1, 1.0),
    )  # fmt: skip


async def texts(memories: Memories, question: str, who: Identity = ANA) -> list[str]:
    return [hit.memory.text for hit in (await memories.recall(who, question)).hits]


# --- writing ----------------------------------------------------------------------------------------------


async def test_what_is_stated_is_recalled_at_once_and_by_nobody_else(memories: Memories) -> None:
    kept = await memories.remember(ANA, "I am allergic to peanuts.")
    assert (kept.status, kept.quote, kept.speaker) == (MemoryStatus.CONFIRMED, "I am allergic to peanuts.", "ana")
    assert await texts(memories, "allergic to what?") == ["I am allergic to peanuts."]
    for stranger in (BEN, Identity("app", "Ana"), Identity("other", "ana")):
        assert await texts(memories, "allergic to peanuts", stranger) == []


async def test_saying_it_again_strengthens_instead_of_adding(memories: Memories) -> None:
    first = await memories.remember(ANA, "I live in Cork.")
    again = await memories.remember(ANA, "  i live in CORK! ")
    assert (again.id, again.strength) == (first.id, 2)
    assert len(await memories.find(ANA)) == 1


async def test_a_guess_becomes_sure_when_the_person_states_it(memories: Memories) -> None:
    guessed = replace(guess("Ana likes tea."), kind=MemoryKind.PREFERENCE)
    await memories.add(ANA, [guessed])
    stated = await memories.remember(ANA, "Ana likes tea", kind=MemoryKind.PREFERENCE)
    assert (stated.id, stated.status, stated.expires_at) == (guessed.id, MemoryStatus.CONFIRMED, None)


async def test_an_empty_statement_is_refused(memories: Memories) -> None:
    with pytest.raises(InputError, match="nothing to remember"):
        await memories.remember(ANA, " \n")


async def test_vectors_follow_in_batches(memories: Memories, embedder: Unreliable) -> None:
    await memories.add(ANA, [turn(number, f"number {number}") for number in range(150)])
    assert await memories.due(ANA) > 0
    await memories.settle(ANA)
    assert await memories.due(ANA) == 0
    assert max(embedder.batches) > 8
    assert (await memories.verify(ANA)).sound


async def test_a_later_process_makes_the_vectors_that_a_crash_left_due(
    tmp_path: Path, clock: Clock, embedder: Unreliable
) -> None:
    url = f"sqlite:///{tmp_path}/memory.db"
    broken = Unreliable()
    broken.works = False
    crashed = Memories.at(url, broken, clock=clock)
    await crashed.add(ANA, [turn(1, "The boiler is broken.")])
    await crashed.close()
    async with Memories.at(url, embedder, clock=clock) as later:
        await later.settle()
        assert (await later.statistics(ANA)).unindexed == 0
        report = await later.verify(ANA)
        assert (report.rows, report.missing) == (1, ())


async def test_without_an_embedder_words_still_find_and_that_is_logged_once(
    memories: Memories, embedder: Unreliable, caplog: pytest.LogCaptureFixture
) -> None:
    embedder.works = False
    with caplog.at_level(logging.WARNING, logger="mentalize.memory"):
        await memories.remember(ANA, "My brother plays the cello.")
        for _ in range(3):
            assert await texts(memories, "who plays the cello?") == ["My brother plays the cello."]
    assert len([record for record in caplog.records if record.name == "mentalize.memory"]) == 1
    assert "cello" not in caplog.text
    embedder.works = True
    assert await memories.settle(ANA) == 1


async def test_with_no_embedder_at_all_everything_goes_on_by_words(
    tmp_path: Path, clock: Clock, memories: Memories
) -> None:
    kept = [await memories.remember(ANA, text) for text in ("I play the cello.", "I keep bees.")]
    missing = resolve_embedder(f"sentence-transformers/{tmp_path}/nothing")
    place = str(tmp_path / "index")
    async with Memories.at(f"sqlite:///{tmp_path}/memory.db", missing, clock=clock, index=place) as opened:
        assert await texts(opened, "who plays the cello?") == ["I play the cello."]
        assert [hit.memory for hit in await opened.search(ANA, "bees")] == [kept[1]]
        assert (await opened.forget(ANA, [kept[0].id])).erased
        assert (await opened.forget_all(ANA)).counts["fact"] == 1
        assert await opened.people() == ()


async def test_a_turn_does_not_wait_for_an_embedder_that_hangs(
    memories: Memories, embedder: Unreliable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing, "_QUESTION_SECONDS", 0.05)
    await memories.remember(ANA, "My brother plays the cello.")
    await memories.settle()
    embedder.seconds = 60.0
    async with asyncio.timeout(5):
        assert await texts(memories, "who plays the cello?") == ["My brother plays the cello."]


async def test_a_text_that_cannot_be_embedded_keeps_nobody_waiting(memories: Memories, embedder: Unreliable) -> None:
    embedder.refused = "unspeakable"
    await memories.add(BEN, [turn(1, "unspeakable")])
    await memories.add(ANA, [turn(2, "I keep bees."), turn(3, "I play the cello.")])
    with pytest.raises(EmbedderError, match="refused"):
        await memories.settle()
    assert (await memories.due(ANA), await memories.due(BEN)) == (0, 1)
    embedder.batches.clear()
    await memories.add(ANA, [turn(4, "I like tea.")])
    assert await memories.settle(ANA) == 1 and embedder.batches == [1], "it is not asked for again at once"
    embedder.refused = None
    assert await memories.settle() == 1


async def test_a_locked_database_stops_nobody_else(
    tmp_path: Path, memories: Memories, monkeypatch: pytest.MonkeyPatch
) -> None:
    await memories.remember(ANA, "I keep bees.")
    await memories.settle()
    other = sqlite3.connect(tmp_path / "memory.db", isolation_level=None)
    with closing(other):
        other.execute("BEGIN IMMEDIATE")
        writes = [asyncio.create_task(memories.remember(ANA, f"I have {number} hives.")) for number in range(40)]
        async with asyncio.timeout(2):
            await asyncio.sleep(0.05)
            await asyncio.to_thread(str)
            assert await texts(memories, "who keeps bees?") == ["I keep bees."]
        other.execute("ROLLBACK")
    await asyncio.gather(*writes)


async def test_what_a_crash_left_to_erase_is_erased_at_first_use(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.02)
    url, path = f"sqlite:///{tmp_path}/memory.db", tmp_path / "memory.db"
    async with Memories.at(url, resolve_embedder("fake"), clock=clock) as first:
        await first.add(ANA, [turn(number, f"xylophone {number}") for number in range(50)])
        await first.settle()
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM memories").fetchone()
            assert not (await first.forget_all(ANA)).erased
    later = Memories.at(url, resolve_embedder("fake"), clock=clock)
    assert not await later.exists(ANA)
    await later.close()
    assert all(b"xylophone" not in file.read_bytes() for file in tmp_path.glob("memory.db*"))


async def test_nothing_runs_on_after_close(memories: Memories, tmp_path: Path) -> None:
    await memories.add(ANA, [turn(number, f"Something about {number}.") for number in range(200)])
    await asyncio.sleep(0.01)
    await memories.close()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("mentalize-")]
    assert not (tmp_path / "memory.db-wal").exists(), "the last connection takes the log along"


async def test_a_time_zone_that_does_not_exist_is_refused_and_passed_over_where_it_is_stored(
    memories: Memories, tmp_path: Path
) -> None:
    nowhere = Identity("app", "ana", zone="Mars/Base")
    for call in (memories.remember(nowhere, "I keep bees."), memories.recall(nowhere, "bees")):
        with pytest.raises(InputError, match="no time zone 'Mars/Base'"):
            await call
    await memories.remember(ANA, "I keep bees.")
    with closing(sqlite3.connect(tmp_path / "memory.db")) as stored:
        stored.execute("UPDATE people SET zone = 'Mars/Base'")
        stored.commit()
    assert [who.zone for who in await memories.people()] == ["UTC"]


async def test_a_filtered_search_goes_by_meaning_too(tmp_path: Path, clock: Clock) -> None:
    async with Memories.at(f"sqlite:///{tmp_path}/memory.db", resolve_embedder("minilm"), clock=clock) as memories:
        await memories.add(ANA, [turn(number, f"The doctor had no time, visit {number}.") for number in range(80)])
        known = await memories.remember(ANA, "My brother works as a physician.")
        await memories.settle()
        hits = await memories.search(ANA, "doctor", which=Filter(kinds=(MemoryKind.FACT,)))
        assert [hit.memory.id for hit in hits] == [known.id]


async def test_another_embedder_never_sees_the_vectors_of_the_first(tmp_path: Path, clock: Clock) -> None:
    url = f"sqlite:///{tmp_path}/memory.db"
    async with Memories.at(url, resolve_embedder("fake"), clock=clock) as first:
        await first.remember(ANA, "I collect stamps.")
        await first.settle()
    other = Renamed()
    async with Memories.at(url, other, clock=clock) as second:
        assert await second.due(ANA) == 1
        seen: list[tuple[int, int]] = []
        assert await second.rebuild_index(ANA, progress=lambda done, total: seen.append((done, total))) == 1
        assert seen[-1] == (1, 1)
        report = await second.verify(ANA)
        assert (report.sound, report.other_embedders) == (True, 1)


class Renamed(Unreliable):
    @property
    def name(self) -> str:
        return "another"


# --- what the person says about it ------------------------------------------------------------------------


async def test_a_correction_outranks_every_inference(memories: Memories, clock: Clock) -> None:
    old = guess("Ana's sister lives in Lisbon.")
    await memories.add(ANA, [old])
    clock.pass_by(hours=1)
    new = await memories.correct(ANA, old.id, "Ana's sister lives in Porto.")
    assert (new.kind, new.status, new.quote) == (
        MemoryKind.FACT,
        MemoryStatus.CONFIRMED,
        "Ana's sister lives in Porto.",
    )
    assert await texts(memories, "where does her sister live?") == ["Ana's sister lives in Porto."]
    explanation = await memories.why(ANA, new.id)
    assert [memory.id for memory in explanation.supersedes] == [old.id]
    assert (await memories.why(ANA, old.id)).superseded_by == new


async def test_correcting_twice_leaves_one_truth(memories: Memories, clock: Clock) -> None:
    first = await memories.remember(ANA, "My sister lives in Lisbon.")
    for town in ("Porto", "Braga"):
        clock.pass_by(hours=1)
        await memories.correct(ANA, first.id, f"My sister lives in {town}.")
    assert await texts(memories, "where does her sister live?") == ["My sister lives in Braga."]


async def test_what_was_said_cannot_be_corrected(memories: Memories) -> None:
    await memories.add(ANA, [turn(1, "I hate Mondays.")])
    with pytest.raises(InputError, match=r"is a turn.*Forget it"):
        await memories.correct(ANA, "t1/user", "I love Mondays.")


async def test_a_confirmed_guess_does_not_lapse(memories: Memories, clock: Clock) -> None:
    await memories.add(ANA, [guess("Ana fears the exam."), guess("Ana fears spiders.")])
    await memories.confirm(ANA, "guess/Ana fears the exam.")
    clock.pass_by(days=15)
    assert await texts(memories, "what does Ana fear?") == ["Ana fears the exam."]


async def test_what_was_refuted_is_kept_and_never_recalled(memories: Memories) -> None:
    await memories.add(ANA, [guess("Ana is jealous of Ben.")])
    await memories.refute(ANA, "guess/Ana is jealous of Ben.")
    assert await texts(memories, "is Ana jealous of Ben?") == []
    assert [memory.status for memory in await memories.find(ANA)] == [MemoryStatus.REFUTED]


@pytest.mark.parametrize("act", ["confirm", "refute", "pin", "unpin", "why"])
async def test_a_memory_that_is_not_there(memories: Memories, act: str) -> None:
    kept = await memories.remember(BEN, "I am Ben.")
    for unknown in ("nothing", "", kept.id):
        with pytest.raises(MemoryNotFound):
            await getattr(memories, act)(ANA, unknown)


# --- why --------------------------------------------------------------------------------------------------


async def test_why_names_the_source_its_quote_and_each_part_of_the_score(memories: Memories) -> None:
    fact = Memory(
        id="f", kind=MemoryKind.FACT, text="Ana is allergic to peanuts.", quote="peanuts could kill me",
        observed_at=NOON, sources=("t1/user",),
    )  # fmt: skip
    await memories.add(ANA, [turn(1, "Careful: peanuts could kill me.")])
    await memories.add(ANA, [fact])
    recollection = await memories.recall(ANA, "can Ana eat peanuts?")
    await memories.keep_trace(ANA, trace("t2", recollection), until=NOON + timedelta(days=1))
    explanation = await memories.why(ANA, "f")
    assert [source.text for source in explanation.sources] == ["Careful: peanuts could kill me."]
    assert explanation.memory.quote in explanation.sources[0].text
    (recalled,) = explanation.recalled
    hit = next(hit for hit in recollection.hits if hit.memory.id == "f")
    assert (recalled.turn, recalled.score, recalled.why, recalled.reason) == ("t2", hit.score, hit.why, hit.reason)
    assert recalled.why and recalled.reason


# --- fading -----------------------------------------------------------------------------------------------


async def test_what_is_not_used_fades_and_what_is_used_stays(memories: Memories, clock: Clock) -> None:
    await memories.add(ANA, [turn(1, "I saw a heron."), turn(2, "I met Tom.")])
    await memories.pin(ANA, (await memories.remember(ANA, "My blood group is B.")).id)
    for number in range(3):
        clock.pass_by(days=7)
        await memories.strengthen(ANA, ["t2/user"], turn=f"later {number}")
    assert await memories.fade(ANA) == 1
    assert [memory.id for memory in await memories.find(ANA, Filter(archived=True))] == ["t1/user"]
    assert await memories.fade(ANA) == 0
    assert [hit.memory.text for hit in await memories.search(ANA, "heron", limit=1)] == ["I saw a heron."]
    assert len(await memories.find(ANA)) == 3


async def test_a_guess_that_lapsed_is_archived(memories: Memories, clock: Clock) -> None:
    await memories.add(ANA, [guess("Ana wants a dog.", expires_at=NOON + timedelta(days=1))])
    clock.pass_by(days=2)
    assert await memories.fade(ANA) == 1


async def test_past_the_budget_of_a_person_the_least_worth_is_archived(tmp_path: Path, clock: Clock) -> None:
    url = f"sqlite:///{tmp_path}/memory.db"
    async with Memories.at(url, resolve_embedder("fake"), clock=clock, per_person=2, curve=Curve()) as memories:
        await memories.add(ANA, [turn(1, "ok"), turn(2, "My mother, Ines, is a surgeon in Porto."), turn(3, "hm, yes")])
        await memories.pin(ANA, "t1/user")
        await memories.fade(ANA)
        assert [memory.id for memory in await memories.find(ANA, Filter(archived=True))] == ["t3/user"]


async def test_a_timeline_steps_up_at_each_recall(memories: Memories, clock: Clock) -> None:
    await memories.add(ANA, [turn(1, "I saw a heron.")])
    first = clock.pass_by(days=7)
    await memories.strengthen(ANA, ["t1/user"], turn="t2")
    (line,) = await memories.timeline(ANA, days=14)
    assert line.recalls == (first,)
    assert [(moment.at, moment.strength) for moment in line.moments if moment.at == first] == [(first, 1), (first, 2)]
    by_day = {(moment.at - NOON) / timedelta(days=1): moment.retention for moment in line.moments}
    assert by_day[0] == 1
    assert line.moments[-1].at == first + timedelta(days=14)
    assert line.moments[-1].retention == pytest.approx(2.718281828 ** -(14 / (7 * 2)))
    before = [moment.retention for moment in line.moments if moment.strength == 1]
    assert before == sorted(before, reverse=True)


# --- forgetting -------------------------------------------------------------------------------------------


async def test_forgetting_reaches_what_was_made_from_it(memories: Memories) -> None:
    await memories.add(ANA, [turn(1, "My cat is ill."), turn(2, "It rains.")])
    fact = Memory(id="f", kind=MemoryKind.FACT, text="Ana has a cat.", observed_at=NOON, sources=("t1/user",))
    day = Memory(
        id="day", kind=MemoryKind.DAY_SUMMARY, text="A cat, and rain.", observed_at=NOON, sources=("t1/user", "t2/user")
    )
    await memories.add(ANA, [fact, day])
    await memories.settle()
    deletion = await memories.forget(ANA, ["t1/user"])
    assert {kind: deletion.counts[kind] for kind in ("turn", "fact", "day_summary")} == {
        "turn": 1, "fact": 1, "day_summary": 1
    }  # fmt: skip
    assert set(await texts(memories, "how is the cat?")) <= {"It rains."}
    assert (await memories.verify(ANA)).sound
    with pytest.raises(Forgotten):
        await memories.add(ANA, [replace(fact, id="late")])


async def test_forgetting_one_that_is_not_there_deletes_nothing(memories: Memories) -> None:
    kept = await memories.remember(ANA, "I play chess.")
    with pytest.raises(MemoryNotFound, match="nothing"):
        await memories.forget(ANA, [kept.id, "nothing"])
    assert await memories.get(ANA, [kept.id])


async def test_late_work_about_someone_who_was_forgotten_is_refused(memories: Memories) -> None:
    await memories.remember(ANA, "I play chess.")
    version = await memories.version(ANA)
    assert (await memories.forget_all(ANA)).counts["fact"] == 1
    with pytest.raises(Forgotten):
        await memories.add(ANA, [turn(9, "from a late job")], since=version)
    assert not await memories.exists(ANA)
    assert await memories.recall(ANA, "chess") == Recollection()


# --- many at once -----------------------------------------------------------------------------------------


async def test_many_people_at_once_stay_apart(memories: Memories) -> None:
    people = [Identity("app", f"user {number}") for number in range(12)]

    async def live(who: Identity) -> None:
        await memories.remember(who, f"My name is {who.user}, and I like music.")
        await memories.add(who, [turn(1, f"{who.user} went to a concert.")])
        found = await texts(memories, "music and concerts", who)
        assert found and all(who.user in text for text in found)

    await asyncio.gather(*map(live, people))
    assert {person.user for person in await memories.people()} == {person.user for person in people}


async def test_the_loop_is_free_while_memory_works(memories: Memories) -> None:
    """A write of many rows takes a while; the loop must go on ticking."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.005)
            ticks += 1

    ticking = asyncio.create_task(tick())
    await memories.add(ANA, [turn(number, f"row {number}") for number in range(1_000)])
    ticking.cancel()
    assert ticks >= 3


def test_the_trace_of_a_recollection_is_plain_json(tmp_path: Path, clock: Clock) -> None:
    async def run() -> Any:
        async with Memories.at(f"sqlite:///{tmp_path}/memory.db", resolve_embedder("fake"), clock=clock) as memories:
            await memories.remember(ANA, "I am allergic to peanuts.")
            await memories.keep_trace(ANA, trace("t", await memories.recall(ANA, "peanuts")), until=NOON + timedelta(1))
            return await memories.trace(ANA, "t")

    kept = asyncio.run(run())
    assert json.loads(json.dumps(kept))["recollection"]["hits"][0]["memory"]["text"] == "I am allergic to peanuts."

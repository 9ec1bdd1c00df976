"""Memories as lines of JSON: a round trip changes nothing, and a wrong line imports nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mentalize import Identity, InputError, Memories, Memory, MemoryKind, MemoryStatus
from mentalize.llm.embedder import resolve_embedder
from mentalize.memory.memorybank import from_memorybank, is_memorybank
from mentalize.memory.portable import FORMAT, lines_of, memories_of

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
ANA = Identity("app", "ana")
BEN = Identity("app", "ben")


@pytest.fixture
async def memories(tmp_path: Path) -> AsyncIterator[Memories]:
    url = f"sqlite:///{tmp_path}/memory.db"
    async with Memories.at(url, resolve_embedder("fake"), clock=lambda: NOON) as opened:
        yield opened


def life() -> list[Memory]:
    """A memory of every kind, with every field set somewhere."""
    said = [
        Memory(
            id=f"t{number}/{role}",
            kind=MemoryKind.TURN,
            text=text,
            observed_at=NOON + timedelta(seconds=number),
            speaker=role,
            session="s",
            details={"role": role, "turn_id": f"t{number}", "nested": [1, 2.5, None, {"a": "ü"}]},
        )
        for number, role, text in ((1, "user", "Mi gato es Miso 🐈"), (1, "assistant", "أهلا"), (2, "user", "我搬家了"))
    ]
    made = [
        Memory(
            id=str(kind), kind=kind, text=f"A {kind}.", observed_at=NOON + timedelta(minutes=1), sources=("t1/user",)
        )
        for kind in MemoryKind
        if kind is not MemoryKind.TURN
    ]
    full = Memory(
        id="full",
        kind=MemoryKind.INFERENCE,
        text="All fields,\nover two lines.",
        observed_at=NOON + timedelta(hours=1),
        status=MemoryStatus.UNCONFIRMED,
        speaker="ana",
        session="s",
        quote="Miso",
        strength=7,
        importance=1 / 3,
        confidence=0.1 + 0.2,
        last_recalled_at=NOON + timedelta(days=1, microseconds=1),
        valid_from=NOON,
        valid_until=NOON + timedelta(days=2),
        expires_at=NOON + timedelta(days=3),
        superseded_by="fact",
        sources=("t1/user", "t2/user"),
        audience=("ben", "carla"),
        pinned=True,
        archived=True,
        details={"state": "Desire"},
    )
    return [*said, *made, full]


async def export(memories: Memories, who: Identity = ANA) -> list[str]:
    return [line async for line in memories.export(who)]


def changed(line: str, **fields: Any) -> str:
    return json.dumps({**json.loads(line), **fields})


async def test_a_round_trip_changes_nothing(memories: Memories) -> None:
    await memories.put(ANA, life())
    before = await export(memories)
    assert json.loads(before[0]) == {"format": FORMAT, "version": 1, "memories": len(life())}
    await memories.forget_all(ANA)
    restored = await memories.restore(ANA, before, even_forgotten=True)
    assert (restored.added, restored.total) == (len(life()), len(life()))
    assert await export(memories) == before
    again = await memories.restore(ANA, before)
    assert (again.unchanged, again.added) == (len(life()), 0)
    assert await export(memories) == before


async def test_later_statements_are_taken_along(memories: Memories) -> None:
    stated = {"kind": MemoryKind.FACT, "observed_at": NOON}
    await memories.put(ANA, life()[:3])
    await memories.add(ANA, [Memory(id="f", text="I have a cat!", quote="first", sources=("t1/user",), **stated)])
    await memories.add(ANA, [Memory(id="g", text="I have a cat.", quote="second", sources=("t2/user",), **stated)])
    await memories.restore(BEN, await export(memories))
    await memories.forget(BEN, ["t1/user"])
    (left,) = await memories.get(BEN, ["f"])
    assert (left.text, left.quote, left.sources) == ("I have a cat.", "second", ("t2/user",))
    corrected = await memories.correct(ANA, "f", "I have two cats.")
    assert corrected.details == {"corrects": "f"}, "what was said before is not kept with what replaces it"


async def test_an_export_can_become_somebody_elses(memories: Memories) -> None:
    await memories.put(ANA, life())
    lines = await export(memories)
    await memories.restore(BEN, lines)
    assert await export(memories, BEN) == lines


async def test_what_was_deleted_stays_deleted_unless_it_is_wanted_back(memories: Memories) -> None:
    await memories.put(ANA, life())
    lines = await export(memories)
    await memories.forget(ANA, ["t1/user"])
    left = await export(memories)
    restored = await memories.restore(ANA, lines)
    assert restored.forgotten == len(lines) - len(left)
    assert await export(memories) == left
    restored = await memories.restore(ANA, lines, even_forgotten=True)
    assert restored.added == len(lines) - len(left)
    assert sorted(await export(memories)) == sorted(lines)


async def test_a_portrait_without_its_parts_is_left_out(memories: Memories) -> None:
    portrait = replace(life()[-1], id="portrait", kind=MemoryKind.PORTRAIT, superseded_by=None, sources=("day",))
    restored = await memories.restore(ANA, list(lines_of([portrait])))
    assert (restored.added, restored.forgotten) == (0, 1)


async def test_an_import_takes_back_nothing_that_the_person_said_since(memories: Memories) -> None:
    await memories.put(ANA, life())
    lines = await export(memories)
    await memories.refute(ANA, "fact")
    now = await export(memories)
    restored = await memories.restore(ANA, lines)
    assert (restored.added, restored.unchanged) == (0, len(life()))
    assert await export(memories) == now != lines


GOOD = list(lines_of(life()))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{oops", r"Line 3 is not JSON"),
        ("[1]", r"Line 3 is not a JSON object"),
        ("[" * 100_000, r"Line 3 is not JSON"),
        (changed(GOOD[2], kind="dream"), r"Line 3: `kind`.*'fact'"),
        (changed(GOOD[2], colour="red"), r"Line 3: `colour`.*no such field"),
        (changed(GOOD[2], text=" "), r"Line 3: `text`.*is empty"),
        (changed(GOOD[2], text=5), r"Line 3: `text`"),
        (changed(GOOD[2], observed_at="2026-05-01T12:00:00"), r"Line 3: `observed_at`.*timezone"),
        (changed(GOOD[2], observed_at="yesterday"), r"Line 3: `observed_at`"),
        (changed(GOOD[2], strength=0), r"Line 3: `strength`"),
        (changed(GOOD[2], importance=1.5), r"Line 3: `importance`"),
        (changed(GOOD[2], sources=[1]), r"Line 3: `sources\.0`"),
        (changed(GOOD[2], id=""), r"Line 3: `id`"),
        (GOOD[1], r"Line 3: `id` .* line 2 already"),
        (changed(GOOD[2], text="x" * 1_048_577), r"1,048,576"),
        (json.dumps({"text": "no kind"}), r"Line 3: `id`"),
        (changed(GOOD[2], observed_at="0001-01-01T00:00:00+05:00"), r"Line 3: .*beyond the calendar"),
        (changed(GOOD[2], valid_from="9999-12-31T23:00:00Z"), r"Line 3: .*years 1900 to 9000"),
        (changed(GOOD[2], sources=["s" * 513]), r"Line 3: .*sources is longer"),
        (GOOD[2][:-1] + ',"session":"\\u0000"}', r"Line 3: .*session is longer .* holds NUL"),
    ],
    ids=lambda value: str(value)[:24],
)
async def test_a_wrong_line_is_named_and_nothing_is_imported(memories: Memories, line: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        await memories.restore(ANA, [*GOOD[:2], line, *GOOD[3:]])
    assert not await memories.exists(ANA)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "is empty"),
        (["", "  "], "is empty"),
        (GOOD[1:], "no header"),
        ([changed(GOOD[0], version=2), *GOOD[1:]], "newer version"),
        ([changed(GOOD[0], version="one"), *GOOD[1:]], "`version`"),
        (GOOD[:-1], "cut short"),
        ([*GOOD[:-1], GOOD[-1][:40]], "is not JSON"),
    ],
)
def test_a_file_that_is_not_whole_is_told(lines: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        list(memories_of(lines))


def test_what_is_not_given_has_a_default() -> None:
    least = {"id": "a", "kind": "fact", "text": "b", "observed_at": "2026-05-01T14:00:00+02:00"}
    (memory,) = memories_of([json.dumps({"format": FORMAT, "version": 1, "memories": 1}), "", json.dumps(least)])
    assert memory == Memory(id="a", kind=MemoryKind.FACT, text="b", observed_at=NOON)


moments = st.datetimes(
    datetime(1900, 1, 2),
    datetime(9000, 12, 30),
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=-3, minutes=30))]),
)
texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inside: st.lists(inside) | st.dictionaries(texts, inside),
    max_leaves=5,
)


@settings(max_examples=40)
@given(texts.filter(str.strip), moments, st.dictionaries(texts, plain), st.floats(0, 1))
def test_any_memory_survives_as_a_line(text: str, at: datetime, details: dict[str, Any], share: float) -> None:
    memory = replace(life()[-1], text=text, observed_at=at, details=details, importance=share, confidence=share)
    lines = list(lines_of([memory]))
    assert all("\n" not in line for line in lines)
    assert list(memories_of(lines)) == [memory]


# --- MemoryBank -------------------------------------------------------------------------------------------

BANK = {
    "Linda": {
        "name": "Linda",
        "history": {
            "2023-05-05": [["你好", "Hello again"]],
            "2023-05-04": [
                {"query": "I love painting.", "response": "What do you paint?", "memory_strength": 3,
                 "last_recall_date": "2023-05-09", "memory_id": "Linda_2023-05-04_0"},
                {"query": "Boats.", "response": ""},
            ],
        },
        "summary": {"2023-05-04": {"content": "Linda paints.", "memory_strength": 40}, "2023-05-05": "Greetings."},
        "personality": {"2023-05-04": "Curious.", "2023-05-05": ""},
        "overall_history": "She paints boats.",
        "overall_personality": {"content": "Curious; ask her about boats."},
        "meta_information": {"hobbies": "painting"},
    },
    "Emily": {"name": "Emily", "summary": {}, "personality": {}, "overall_history": "", "history": {}},
}  # fmt: skip


def test_a_memorybank_file_becomes_memories() -> None:
    by_id = {memory.id: memory for memory in from_memorybank(BANK, "Linda", zone="Asia/Shanghai")}
    said = [memory for memory in by_id.values() if memory.kind is MemoryKind.TURN]
    assert [memory.text for memory in said] == [
        "I love painting.",
        "What do you paint?",
        "Boats.",
        "你好",
        "Hello again",
    ]
    assert [memory.observed_at for memory in said] == sorted(memory.observed_at for memory in said)
    first = by_id["memorybank/2023-05-04/0/user"]
    assert first.observed_at == datetime(2023, 5, 4, 4, tzinfo=UTC)
    assert (first.strength, first.last_recalled_at) == (3, datetime(2023, 5, 9, 4, tzinfo=UTC))
    assert (first.speaker, first.details) == ("Linda", {"role": "user", "turn_id": "memorybank/2023-05-04/0"})
    assert by_id["day_summary/2023-05-04"].strength == 20
    assert by_id["day_summary/2023-05-04"].sources == tuple(memory.id for memory in said[:3])
    assert by_id["portrait"].text == "Curious; ask her about boats."
    assert by_id["portrait"].sources == ("day_portrait/2023-05-04",)
    assert by_id["summary"].sources == ("day_summary/2023-05-04", "day_summary/2023-05-05")


async def test_a_memorybank_import_is_idempotent(memories: Memories) -> None:
    bank = from_memorybank(BANK, "Linda")
    assert (await memories.take_over(ANA, bank)).added == len(bank)
    assert (await memories.take_over(ANA, bank)).unchanged == len(bank)
    assert from_memorybank(BANK, "Emily") == ()


@pytest.mark.parametrize(
    ("person", "said"),
    [
        ({"history": {"May 4th": []}}, r"Linda\.history\.May 4th"),
        ({"history": {"2023-05-04": [{"query": "a"}]}}, r"Linda\.history\.2023-05-04\.0\.response"),
        ({"history": [], "name": "Linda"}, r"Linda\.history"),
    ],
)
def test_a_wrong_memorybank_field_is_named(person: dict[str, Any], said: str) -> None:
    assert is_memorybank({"Linda": person})
    with pytest.raises(InputError, match=said):
        from_memorybank({"Linda": person}, "Linda")
    with pytest.raises(InputError, match=r"no user 'Ana'.*Linda"):
        from_memorybank({"Linda": person}, "Ana")

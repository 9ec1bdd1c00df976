"""The store from the outside, on SQLite and, with `-m postgres`, the same on PostgreSQL."""

from __future__ import annotations

import math
import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clocks import Clock
from mentalize.errors import Forgotten, InputError, MemoryNotFound
from mentalize.memory.retraction import OUTDATED
from mentalize.memory.store import Filter, MemoryStore, Unindexed
from mentalize.memory.tombstones import OVERALL
from mentalize.terms import terms_of
from mentalize.types import Contract, Effort, Identity, Memory, MemoryHit, MemoryKind, MemoryStatus, Recollection, Trace

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
ANA = Identity(tenant="acme", user="ana")
EMBEDDER = "test/4"


def turn(name: str, text: str = "I went to the river.", *, minute: float = 0, **parts: Any) -> Memory:
    return Memory(
        **{"id": name, "kind": MemoryKind.TURN, "text": text, "observed_at": NOON + timedelta(minutes=minute)} | parts
    )


def fact(name: str, text: str = "Ana has a dog.", *sources: str, minute: float = 0, **parts: Any) -> Memory:
    return replace(turn(name, text, minute=minute), **{"kind": MemoryKind.FACT, "sources": sources} | parts)


def trace(turn_id: str, *recalled: Memory) -> Trace:
    return Trace(
        turn_id=turn_id,
        at=NOON,
        effort=Effort.LOW,
        requested_effort=Effort.AUTO,
        route="asked",
        text="\ud800 half a character",
        contract=Contract(calls=2, depth=2, seconds=9),
        recollection=Recollection(hits=tuple(MemoryHit(memory=memory, score=1) for memory in recalled)),
    )


def embed(store: MemoryStore, embedder: str = EMBEDDER, who: Identity | None = None) -> tuple[Unindexed, ...]:
    """Do what is due, with vectors that show the length of the text."""
    entries = store.outbox(embedder, limit=1_000, who=who)
    made = [[len(entry.text), 0, 0, 1] for entry in entries if not entry.deleted]
    store.indexed(embedder, entries, np.array(made, np.float32).reshape(-1, 4), dimensions=4)
    return entries


def ids(memories: Any) -> list[str]:
    return [memory.id for memory in memories]


def nested(depth: int) -> dict[str, Any]:
    inside: dict[str, Any] = {}
    for _ in range(depth):
        inside = {"a": inside}
    return inside


# --- what is written is what is read ----------------------------------------------------------------------

texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=60)
numbers = st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False)
plain = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda part: st.lists(part, max_size=3) | st.dictionaries(texts, part, max_size=3),
    max_leaves=5,
)
zones = st.sampled_from([UTC, timezone(timedelta(hours=-7))])
moments = st.datetimes(datetime(1900, 1, 2), datetime(9000, 12, 30), timezones=zones)
names = st.uuids().map(str)
memories = st.builds(
    Memory,
    id=names,
    kind=st.sampled_from(MemoryKind),
    text=texts,
    observed_at=moments,
    status=st.sampled_from(MemoryStatus),
    speaker=texts,
    session=texts,
    quote=texts,
    strength=st.integers(1, 20),
    importance=st.floats(0, 1),
    confidence=st.none() | st.floats(0, 1),
    last_recalled_at=st.none() | moments,
    valid_from=st.none() | moments,
    valid_until=st.none() | moments,
    expires_at=st.none() | moments,
    superseded_by=st.none() | names,
    sources=st.lists(names, max_size=3, unique=True).map(tuple),
    audience=st.lists(texts, max_size=2).map(tuple),
    pinned=st.booleans(),
    archived=st.booleans(),
    details=st.dictionaries(texts, plain, max_size=3),
)
on_one_store = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@on_one_store
@given(some=st.lists(memories, min_size=1, max_size=3, unique_by=lambda memory: memory.id))
def test_every_memory_reads_back_as_it_was_written(store: MemoryStore, some: list[Memory]) -> None:
    some = [replace(memory, sources=()) if memory.kind in OVERALL else memory for memory in some]
    stored = store.put(ANA, some)
    assert stored == store.get(ANA, ids(some)) == tuple(replace(memory, recorded_at=NOON) for memory in some)


def test_characters_that_databases_cannot_hold_are_replaced(store: MemoryStore) -> None:
    (stored,) = store.add(
        ANA, [turn("a", "nul \x00, half \ud83d, whole \ud83d\ude00", quote="\x00", details={"\x00": ["\udc00"]})]
    )
    assert stored.text == "nul \ufffd, half \ufffd, whole 😀"
    assert (stored.quote, stored.details) == ("\ufffd", {"\ufffd": ["\ufffd"]})
    assert store.get(ANA, ["a"]) == (stored,)


def test_what_exists_is_left_by_add_and_replaced_by_put(store: MemoryStore, clock: Clock) -> None:
    (first,) = store.add(ANA, [turn("a", "one")])
    clock.now += timedelta(days=1)
    assert store.add(ANA, [turn("a", "two"), turn("a", "three")]) == (first, first)
    (second,) = store.put(ANA, [turn("a", "two", sources=("b",))])
    assert store.get(ANA, ["a"]) == (second,) and second.text == "two"
    assert second.recorded_at == first.recorded_at == NOON
    assert store.matching(ANA, terms_of("one"), limit=5) == ()
    assert store.matching(ANA, terms_of("two"), limit=5)[0][0] == "a"


def test_putting_the_same_again_makes_nothing_due(store: MemoryStore) -> None:
    store.put(ANA, [turn("a", "one"), turn("b", "two")])
    embed(store)
    store.put(ANA, [turn("a", "one"), turn("b", "2", pinned=True)])
    assert [entry.id for entry in store.outbox(EMBEDDER, limit=9)] == ["b"]


def test_one_bad_memory_keeps_the_others_out(store: MemoryStore) -> None:
    with pytest.raises(InputError, match="'b': the text has 1,048,577 characters"):
        store.add(ANA, [turn("a"), turn("b", "x" * 1_048_577)])
    assert not store.exists(ANA)


def test_a_megabyte_is_kept_whole_and_found_by_its_beginning(store: MemoryStore) -> None:
    text = "zebra " + "word " * 200_000 + "x" * 48_570
    assert len(text) == 1_048_576
    store.add(ANA, [turn("a", text)])
    assert store.get(ANA, ["a"])[0].text == text
    assert store.matching(ANA, ["zebra"], limit=1)[0][0] == "a"


@pytest.mark.parametrize(
    ("parts", "complaint"),
    [
        ({"observed_at": datetime(2026, 5, 1)}, "observed_at has no time zone"),
        ({"valid_until": datetime(2026, 5, 1)}, "valid_until has no time zone"),
        ({"importance": math.nan}, "importance nan is not between 0 and 1"),
        ({"confidence": 1.5}, "confidence 1.5 is not between"),
        ({"strength": 0}, "strength 0 is not between 1 and 20"),
        ({"kind": "gossip"}, "kind 'gossip' is none of turn"),
        ({"details": {"a": object()}}, "details hold something that is not plain"),
        ({"details": {"a": math.inf}}, "details hold something that is not plain"),
        ({"details": nested(101)}, "details are more than 100 levels deep"),
        ({"details": nested(100_000)}, "details are more than 100 levels deep"),
        ({"observed_at": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5)))}, "is beyond the calendar"),
        ({"valid_until": datetime(9999, 12, 31, tzinfo=UTC)}, "is not in the years 1900 to 9000"),
        ({"id": ""}, "the id is empty"),
        ({"id": "a\x00"}, "id is longer than 512 characters or holds NUL"),
        ({"sources": ("x" * 513,)}, "sources is longer than 512"),
    ],
)
def test_what_cannot_be_kept_is_refused(store: MemoryStore, parts: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        store.add(ANA, [turn("a", **parts)])


def test_change_keeps_the_rest_and_indexes_a_new_text(store: MemoryStore) -> None:
    store.add(ANA, [turn("a", "river"), turn("b", "lake")])
    embed(store)
    changed = store.change(ANA, "a", text="mountain", pinned=True, sources=("b",))
    assert store.get(ANA, ["a"]) == (changed,) and changed.observed_at == NOON
    assert [store.matching(ANA, [word], limit=1) != () for word in ("river", "mountain")] == [False, True]
    assert store.vectors(ANA, EMBEDDER).ids == ("b",), "the old text's vector is gone until there is a new one"
    assert ids(store.outbox(EMBEDDER, limit=9)) == ["a"]
    with pytest.raises(MemoryNotFound, match="no memory 'c'"):
        store.change(ANA, "c", pinned=True)
    with pytest.raises(InputError, match="recorded_at cannot be changed"):
        store.change(ANA, "a", recorded_at=NOON)


# --- nobody else's ----------------------------------------------------------------------------------------

STRANGERS = [
    Identity(tenant="acme", user="Ana"),
    Identity(tenant="ana", user="acme"),
    Identity(tenant="acmea", user="na"),
    Identity(tenant="acme", user="%"),
    Identity(tenant="acme", user="a/n/a 🦊"),
]


@pytest.mark.parametrize("known", [False, True], ids=["unknown", "known"])
def test_no_call_reaches_another_person(store: MemoryStore, known: bool) -> None:
    river = turn("a", "river", session="s")
    store.add(ANA, [river, turn("b", "bank", session="s"), fact("f", "Ana likes rivers.", "a")])
    embed(store)
    store.keep_trace(ANA, trace("t"), until=NOON + timedelta(days=1))
    store.forget(ANA, ["b"])
    embed(store)
    before = store.find(ANA, Filter())
    for other in STRANGERS:
        if known:
            store.add(other, [turn("own", "ocean", session="s")])
        seen = [
            store.get(other, ["a", "f"]),
            store.matching(other, terms_of("river Ana likes"), limit=9),
            store.around(other, ["a"], span=3),
            store.uses(other, ["a"]),
            store.trace(other, "t"),
            store.traced(other),
            store.forgotten(other, ["b"]),
            store.vectors(other, EMBEDDER).ids,
            store.outbox(EMBEDDER, limit=9, who=other)[known:],
            ids(store.find(other, Filter()))[known:],
            store.forget(other, ["a", "f"]).total,
        ]
        assert not any(seen), seen
        store.archive(other, ["a"])
        store.strengthen(other, ["a"], turn="t", at=NOON)
        store.retract(other, {"a": None}, at=NOON)
        with pytest.raises(MemoryNotFound):
            store.change(other, "a", text="stolen")
        with pytest.raises(MemoryNotFound):
            store.supersede(other, ["a"], fact("new"))
        store.forget_all(other)
        assert not store.exists(other)
    assert store.find(ANA, Filter()) == before
    assert store.vectors(ANA, EMBEDDER).ids == ("a", "f")
    assert store.trace(ANA, "t") is None, "forgetting what was said then took the trace"


def test_people_are_listed_with_the_zone_they_last_had(open_store: Callable[[], MemoryStore]) -> None:
    store = open_store()
    store.add(ANA, [turn("a")])
    store.add(replace(ANA, user="bo", zone="Europe/Dublin"), [turn("a")])
    store.add(replace(ANA, user="bo"), [turn("b")])
    assert [(who.user, who.zone) for who in open_store().people()] == [("ana", "UTC"), ("bo", "Europe/Dublin")]


# --- finding ----------------------------------------------------------------------------------------------


def test_matching_is_bm25_within_the_person(store: MemoryStore) -> None:
    said = {"a": "river river boat", "b": "river", "c": "boat house garden tree"}
    store.add(ANA, [turn(name, text) for name, text in said.items()])
    store.add(replace(ANA, user="bo"), [turn(f"x{n}", "river boat") for n in range(30)])
    terms = {name: terms_of(text) for name, text in said.items()}
    mean = sum(map(len, terms.values())) / 3
    rarity = math.log(1 + (3 - 2 + 0.5) / (2 + 0.5))

    def expected(name: str, term: str) -> float:
        often = terms[name].count(term)
        return rarity * often * 2.2 / (often + 1.2 * (0.25 + 0.75 * len(terms[name]) / mean))

    found = store.matching(ANA, ["river", "nothing"], limit=9)
    assert [name for name, _ in found] == ["a", "b"]
    assert dict(found) == pytest.approx({name: expected(name, "river") for name in "ab"})
    both = dict(store.matching(ANA, ["river", "boat", "river"], limit=9))
    assert both["a"] == pytest.approx(expected("a", "river") + expected("a", "boat"))
    assert store.matching(ANA, ["river"], limit=1) == found[:1]
    assert store.matching(ANA, [], limit=9) == store.matching(ANA, ["river"], limit=0) == ()


@pytest.mark.parametrize("often", [1, 2, 3, 7, 40])
def test_a_term_counts_as_often_as_it_occurs(store: MemoryStore, often: int) -> None:
    store.add(ANA, [turn("a", "river " * often)])
    times = terms_of("river " * often).count("river")
    expected = math.log(1 + 0.5 / 1.5) * times * 2.2 / (times + 1.2)
    assert store.matching(ANA, ["river"], limit=1)[0][1] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("我昨天去了北京大学。", "北京"),
        ("ذهبت إلى المدرسة أمس", "المدرسة"),
        ("Mañana voy a la montaña con mi niño", "montañas"),
        ("Die Straße nach Düsseldorf", "düsseldorf"),
        ("привет, собака", "собаки"),
        ("I'd say 'quotes' \\ OR NOT (brackets) * colon: § C++", "brackets colon quotes"),
    ],
)
def test_matching_finds_other_languages_and_any_signs(store: MemoryStore, text: str, question: str) -> None:
    store.add(ANA, [turn("a", text), turn("b", "nothing of that")])
    assert [name for name, _ in store.matching(ANA, terms_of(question), limit=9)] == ["a"]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    terms=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=90), min_size=1, max_size=4)
)
def test_no_term_breaks_a_search(store: MemoryStore, terms: list[str]) -> None:
    store.add(ANA, [turn("a", "river")])
    assert all(name == "a" for name, _ in store.matching(ANA, terms, limit=3))


def test_matching_keeps_to_the_filter(store: MemoryStore) -> None:
    store.add(ANA, [turn(f"t{n}", "river", minute=n) for n in range(30)] + [fact("f", "the river is long and deep")])
    assert store.matching(ANA, ["river"], limit=3, which=Filter(kinds=(MemoryKind.FACT,)))[0][0] == "f"
    late = Filter(since=NOON + timedelta(minutes=28))
    assert [name for name, _ in store.matching(ANA, ["river"], limit=9, which=late)] == ["t29", "t28"]


def test_find_by_every_part_of_a_filter(store: MemoryStore, clock: Clock) -> None:
    hour = timedelta(hours=1)
    store.add(
        ANA,
        [
            turn("plain", session="s"),
            turn("late", minute=5),
            turn("archived", minute=1, archived=True),
            fact("refuted", minute=2, status=MemoryStatus.REFUTED),
            fact("ended", minute=3, valid_until=NOON),
            fact("ending", minute=3.5, valid_until=NOON + hour),
            fact("lapsed", minute=4, status=MemoryStatus.UNCONFIRMED, expires_at=NOON),
            fact("lapsing", minute=4.5, status=MemoryStatus.UNCONFIRMED, expires_at=NOON + hour),
            fact("settled", minute=4.7, expires_at=NOON),
        ],
    )

    def found(**parts: Any) -> list[str]:
        return ids(store.find(ANA, Filter(**parts), newest_first=False))

    assert found(current=True) == ["plain", "archived", "ending", "lapsing", "settled", "late"]
    assert found(current=True, at=NOON + hour) == ["plain", "archived", "settled", "late"]
    clock.now += hour
    assert found(current=True) == ["plain", "archived", "settled", "late"]
    assert found(kinds=(MemoryKind.TURN,)) == ["plain", "archived", "late"]
    assert found(statuses=(MemoryStatus.UNCONFIRMED, MemoryStatus.REFUTED)) == ["refuted", "lapsed", "lapsing"]
    assert found(session="s") == ["plain"]
    assert found(archived=True) == ["archived"]
    assert found(since=NOON + timedelta(minutes=1), until=NOON + timedelta(minutes=3)) == ["archived", "refuted"]
    assert ids(store.find(ANA, Filter(), limit=2)) == ["late", "settled"]
    with pytest.raises(InputError, match="since has no time zone"):
        found(since=datetime(2026, 5, 1))


def test_what_is_not_considered_is_found_however_old(store: MemoryStore) -> None:
    store.add(ANA, [turn(f"t{n}", minute=n, details={"considered": n % 2 == 0}) for n in range(6)])
    store.add(ANA, [turn("plain"), turn("inside", details={"a": {"considered": False}})])
    store.add(ANA, [turn("said", details={"a": '"considered":false'}), fact("fact", details={"considered": False})])
    assert ids(store.unconsidered(ANA, limit=2)) == ["t1", "t3"]
    store.change(ANA, "t1", details={"considered": True})
    assert ids(store.unconsidered(ANA, limit=9)) == ["t3", "t5"]
    assert store.unconsidered(replace(ANA, user="bo"), limit=9) == ()


def test_around_takes_turns_of_the_same_session_in_order(store: MemoryStore) -> None:
    said = [turn(f"{n}/{who}", minute=n, session="s") for n in range(4) for who in ("user", "assistant")]
    store.add(ANA, [*said, turn("other", minute=1, session="z"), fact("fact", minute=1, session="s")])
    beside = store.around(ANA, ["1/user", "3/assistant", "other", "fact", "unknown"], span=2)
    assert {name: ids(turns) for name, turns in beside.items()} == {
        "1/user": ["0/user", "0/assistant", "1/assistant", "2/user"],
        "3/assistant": ["2/assistant", "3/user"],
        "other": [],
    }
    many = store.add(ANA, [turn(f"m{n}", minute=n, session="long") for n in range(250)])
    assert ids(store.around(ANA, ids(many), span=1)["m200"]) == ["m199", "m201"]


# --- what becomes of a memory -----------------------------------------------------------------------------


def test_a_newer_fact_supersedes_and_history_stays(store: MemoryStore) -> None:
    store.add(ANA, [fact("old", "Ana lives in Cork.")])
    new = fact("new", "Ana lives in Lima.", observed_at=NOON + timedelta(days=2))
    store.supersede(ANA, ["old"], new)
    old = store.get(ANA, ["old"])[0]
    assert (old.superseded_by, old.valid_until) == ("new", NOON + timedelta(days=2))
    later = Filter(current=True, at=NOON + timedelta(days=3))
    assert ids(store.find(ANA, later)) == ["new"]
    store.supersede(ANA, ["old"], fact("other", valid_from=NOON + timedelta(days=9)))
    assert store.get(ANA, ["old"])[0].superseded_by == "new", "what has a successor keeps it"
    with pytest.raises(MemoryNotFound):
        store.supersede(ANA, ["new", "nothing"], fact("never"))
    assert store.get(ANA, ["never"]) == ()


def test_a_validity_never_ends_before_it_began(store: MemoryStore) -> None:
    store.add(ANA, [fact("old", valid_from=NOON)])
    store.supersede(ANA, ["old"], fact("new", observed_at=NOON - timedelta(days=1)))
    assert store.get(ANA, ["old"])[0].valid_until == NOON


SECOND = NOON + timedelta(minutes=2)


def test_what_is_taken_back_takes_along_what_rests_on_nothing_else(store: MemoryStore) -> None:
    def guess(name: str, *rests_on: str, status: MemoryStatus = MemoryStatus.UNCONFIRMED) -> Memory:
        return fact(name, f"Ana is {name}.", *rests_on, kind=MemoryKind.INFERENCE, status=status)

    store.add(ANA, [turn("t1/user"), turn("t2/user", minute=1)])
    store.learn(ANA, [fact("alone", "Ana rows.", "t1/user"), fact("stated", "Ana sails.", "t1/user")])
    store.learn(ANA, [fact("apart", "Ana sails!", minute=1), fact("other", "Ana swims.", "t2/user", minute=1)])
    made = [
        guess("guess", "t1/user"),
        guess("borne out", "t2/user", "t1/user", status=MemoryStatus.CONFIRMED),
        guess("confirmed", "t1/user", status=MemoryStatus.CONFIRMED),
        guess("refuted", "t1/user", status=MemoryStatus.REFUTED),
        fact("pinned", "Ana has a boat.", "t1/user", pinned=True),
        fact("pattern", "Fear (2 times).", "t1/user", "t2/user", kind=MemoryKind.EMOTION_PATTERN),
        fact("note", "Signs of danger.", "t1/user", kind=MemoryKind.SAFETY_NOTE),
        fact("day_summary/1", "A day.", "t1/user", kind=MemoryKind.DAY_SUMMARY),
        fact("day_summary/2", "Two days.", "t1/user", "t2/user", kind=MemoryKind.DAY_SUMMARY),
        fact("summary", "All days.", "day_summary/1", kind=MemoryKind.SUMMARY),
    ]
    store.add(ANA, made)
    new = turn("t3/user", "I went to the sea.", minute=2)
    gone = store.retract(ANA, {"t1/user": "t3/user"}, at=SECOND, new=[new])
    assert sorted(gone) == ["alone", "borne out", "day_summary/1", "guess", "summary"]
    ended = [memory for memory in store.find(ANA, Filter()) if memory.superseded_by == "t3/user"]
    assert sorted(ids(ended)) == sorted(["t1/user", *gone]) and {memory.valid_until for memory in ended} == {SECOND}
    (two,) = store.get(ANA, ["day_summary/2"])
    assert two.details == {OUTDATED: True} and two.valid_until is None
    assert store.retract(ANA, {"t1/user": None}, at=SECOND + timedelta(1)) == ()
    assert store.get(ANA, ["t1/user"])[0].superseded_by == "t3/user", "what was taken back keeps its successor"
    rest = store.retract(ANA, {"t2/user": "t3/user"}, at=SECOND)
    assert sorted(rest) == ["day_summary/2", "other", "pattern"]
    assert store.check() == ()


def test_what_was_taken_back_does_not_come_back(store: MemoryStore) -> None:
    store.add(ANA, [turn("t1/user"), turn("t2/user", minute=1), fact("rome", "Ana lives in Rome.", "t1/user")])
    store.supersede(ANA, ["rome"], fact("oslo", "Ana lives in Oslo.", "t2/user", minute=1))

    def current() -> list[str]:
        return sorted(ids(store.find(ANA, Filter(current=True, at=SECOND))))

    store.retract(ANA, {"t2/user": "t3/user"}, at=SECOND, new=[turn("t3/user", minute=2)])
    assert current() == ["rome", "t1/user", "t3/user"], "what a fact had ended holds again when that is taken back"
    store.supersede(ANA, ["rome"], fact("paris", "Ana lives in Paris.", minute=2))
    store.retract(ANA, {"t1/user": "t3/user"}, at=SECOND)
    store.forget(ANA, ["paris"])
    assert current() == ["t3/user"]
    store.forget(ANA, ["t3/user"])
    assert current() == [] and store.check() == ()
    assert store.count(ANA) == {}, "what was said in its place before, and all that was made from it, goes with it"


def test_what_was_taken_back_stands_beside_nothing_and_is_due_for_nothing(store: MemoryStore) -> None:
    said = [turn(f"t{n}/user", minute=n, session="s", details={"considered": False}) for n in range(4)]
    store.add(ANA, said)
    store.retract(ANA, {"t1/user": "t2/user"}, at=SECOND)
    assert ids(store.around(ANA, ["t2/user"], span=2)["t2/user"]) == ["t0/user", "t3/user"]
    assert ids(store.unconsidered(ANA, limit=9)) == ["t0/user", "t2/user", "t3/user"]


def test_nothing_is_taken_back_where_nothing_can_be_written(store: MemoryStore) -> None:
    assert store.retract(ANA, {"t1/user": None}, at=NOON) == () and not store.people()
    store.add(ANA, [turn("t0/user"), turn("t1/user")])
    since = store.version(ANA)
    store.forget(ANA, ["t0/user"])
    with pytest.raises(Forgotten):
        store.retract(ANA, {"t1/user": "t2/user"}, at=NOON, new=[turn("t2/user")], since=since)
    with pytest.raises(Forgotten):
        store.retract(ANA, {"t1/user": "t2/user"}, at=NOON, new=[turn("t2/user", sources=("t0/user",))])
    assert store.get(ANA, ["t1/user"])[0].valid_until is None


def test_a_reply_strengthens_what_it_used_once(store: MemoryStore) -> None:
    store.add(ANA, [turn("a", archived=True), turn("b")])
    for _ in range(2):
        store.strengthen(ANA, ["a", "a", "unknown"], turn="t1", at=NOON)
    a, b = store.get(ANA, ["a", "b"])
    assert (a.strength, a.last_recalled_at, a.archived) == (2, NOON, False)
    assert (b.strength, b.last_recalled_at) == (1, None)
    store.strengthen(ANA, ["a"], turn="t0", at=NOON - timedelta(days=1))
    assert store.get(ANA, ["a"])[0].last_recalled_at == NOON, "a clock that went backwards makes nothing older"
    for n in range(25):
        store.strengthen(ANA, ["a"], turn=f"more{n}", at=NOON + timedelta(days=n))
    assert store.get(ANA, ["a"])[0].strength == 20
    used = store.uses(ANA, ["a", "b"])
    assert list(used) == ["a"] and len(used["a"]) == 27 and used["a"] == tuple(sorted(used["a"]))


# --- vectors ----------------------------------------------------------------------------------------------


def test_vectors_come_whole_at_first_and_then_as_changes(store: MemoryStore) -> None:
    store.add(ANA, [turn("a", "one"), turn("b", "three")])
    assert [entry.text for entry in embed(store)] == ["one", "three"]
    whole = store.vectors(ANA, EMBEDDER)
    assert (whole.ids, whole.complete, whole.version) == (("a", "b"), True, store.version(ANA))
    np.testing.assert_array_equal(whole.matrix, np.array([[3, 0, 0, 1], [5, 0, 0, 1]], np.float32))
    store.change(ANA, "b", text="sixsix")
    store.add(ANA, [turn("c", "x")])
    store.forget(ANA, ["a"])
    between = store.vectors(ANA, EMBEDDER, since=whole.version)
    assert (between.ids, between.deleted, between.complete) == ((), ("a", "b"), False)
    embed(store)
    changes = store.vectors(ANA, EMBEDDER, since=whole.version)
    assert (changes.ids, changes.deleted) == (("b", "c"), ("a",))
    assert changes.matrix[:, 0].tolist() == [6, 1]
    nothing = store.vectors(ANA, EMBEDDER, since=changes.version)
    assert (nothing.ids, nothing.deleted, nothing.version) == ((), (), changes.version)


def test_versions_of_a_forgotten_person_are_not_mistaken(store: MemoryStore) -> None:
    store.add(ANA, [turn("a")])
    embed(store)
    before = store.vectors(ANA, EMBEDDER)
    store.forget_all(ANA)
    assert store.vectors(ANA, EMBEDDER, since=before.version).person == 0
    store.add(ANA, [turn("new")])
    embed(store)
    after = store.vectors(ANA, EMBEDDER, since=before.version)
    assert (after.ids, after.complete) == (("new",), True)
    assert after.person != before.person


def test_work_that_was_overtaken_is_left_out(store: MemoryStore) -> None:
    store.add(ANA, [turn("a", "one"), turn("b", "two"), turn("c", "three")])
    store.add(replace(ANA, user="bo"), [turn("z", "zzzz")])
    begun = store.outbox(EMBEDDER, limit=9)
    store.change(ANA, "a", text="changed")
    store.forget(ANA, ["b"])
    store.forget_all(replace(ANA, user="bo"))
    store.indexed(EMBEDDER, begun, np.ones((4, 4), np.float32), dimensions=4)
    assert store.vectors(ANA, EMBEDDER).ids == ("c",)
    left = [(entry.id, entry.deleted, entry.who is None) for entry in store.outbox(EMBEDDER, limit=9)]
    assert left == [("a", False, False), ("b", True, False), ("", True, True)]
    embed(store)
    assert store.outbox(EMBEDDER, limit=9) == ()
    assert store.check() == ()


def test_another_embedder_makes_everything_due_and_mixes_nothing(store: MemoryStore) -> None:
    store.add(ANA, [turn("a"), turn("b")])
    embed(store)
    store.add(ANA, [turn("c")])
    begun = store.outbox(EMBEDDER, limit=9)
    assert ids(store.outbox("other", limit=9)) == ["c", "a", "b"]
    store.indexed(EMBEDDER, begun, np.ones((1, 4), np.float32), dimensions=4)
    assert store.vectors(ANA, "other").ids == () and store.vectors_of_others(ANA, "other") == 2
    embed(store, "other")
    assert sorted(store.vectors(ANA, "other").ids) == ["a", "b", "c"]
    assert ids(embed(store)) == ["c"], "back again, only what is lacking is due"
    assert sorted(store.vectors(ANA, EMBEDDER).ids) == ["a", "b", "c"]


def test_vectors_of_another_length_take_the_place_of_all(store: MemoryStore) -> None:
    store.add(ANA, [turn("a"), turn("b")])
    store.add(replace(ANA, user="bo"), [turn("c")])
    embed(store)
    before = store.vectors(ANA, EMBEDDER)
    store.add(ANA, [turn("d")])
    store.indexed(EMBEDDER, store.outbox(EMBEDDER, limit=9), np.ones((1, 2), np.float32), dimensions=2)
    after = store.vectors(ANA, EMBEDDER, since=before.version)
    assert (after.ids, after.matrix.shape, after.complete) == (("d",), (1, 2), True)
    due = store.outbox(EMBEDDER, limit=9)
    assert sorted(ids(due)) == ["a", "b", "c"]
    store.indexed(EMBEDDER, due, np.ones((3, 2), np.float32), dimensions=2)
    changes = store.vectors(ANA, EMBEDDER, since=after.version)
    assert (sorted(changes.ids), changes.complete) == (["a", "b"], False)


def test_vectors_of_the_wrong_shape_are_refused(store: MemoryStore) -> None:
    store.add(ANA, [turn("a")])
    with pytest.raises(InputError, match="1 entries of 4 dimensions"):
        store.indexed(EMBEDDER, store.outbox(EMBEDDER, limit=9), np.ones((2, 4), np.float32), dimensions=4)


def test_reindex_makes_terms_and_vectors_anew(store: MemoryStore) -> None:
    store.add(ANA, [turn("a", "river"), turn("b", "lake")])
    embed(store)
    assert store.reindex(ANA) == 2
    assert store.vectors(ANA, EMBEDDER).ids == () and len(embed(store, who=ANA)) == 2
    assert store.matching(ANA, ["lake"], limit=9)[0][0] == "b" and store.check() == ()


# --- claims and traces ------------------------------------------------------------------------------------


def test_a_claim_keeps_others_out_until_it_lapses(open_store: Callable[[], MemoryStore], clock: Clock) -> None:
    one, two = open_store(), open_store()
    assert not one.claim(ANA, "summaries", seconds=60), "there is nothing to do about someone unknown"
    one.add(ANA, [turn("a")])
    assert one.claim(ANA, "summaries", seconds=60) and one.claim(ANA, "summaries", seconds=60)
    assert not two.claim(ANA, "summaries", seconds=60) and two.claim(ANA, "portraits", seconds=60)
    two.release(ANA, "summaries")
    assert not two.claim(ANA, "summaries", seconds=60)
    clock.now += timedelta(seconds=60)
    assert two.claim(ANA, "summaries", seconds=60)
    clock.now -= timedelta(days=300)
    assert one.claim(ANA, "summaries", seconds=60), "a clock that was set back does not stop the work for a year"
    one.release(ANA, "summaries")
    assert two.claim(ANA, "summaries", seconds=60)


def test_a_trace_is_kept_until_it_expires(store: MemoryStore, clock: Clock) -> None:
    (memory,) = store.add(ANA, [turn("a")])
    store.keep_trace(ANA, trace("t1", memory), until=NOON + timedelta(days=1))
    store.keep_trace(ANA, trace("t2"), until=NOON + timedelta(days=9))
    kept = store.trace(ANA, "t1")
    assert kept is not None and kept["recollection"]["hits"][0]["memory"]["id"] == "a"
    assert kept["text"] == "\ud800 half a character"
    assert store.traced(ANA) == ("t2", "t1")
    clock.now += timedelta(days=1)
    assert store.trace(ANA, "t1") is None and store.traced(ANA) == ("t2",)


# --- forgetting -------------------------------------------------------------------------------------------


def test_forgetting_reaches_everything_made_from_it(store: MemoryStore) -> None:
    store.add(ANA, [turn("t1/user", session="s"), turn("t2/user", "I like tea.", session="s"), turn("t0/user")])
    store.keep_trace(ANA, trace("t0"), until=NOON + timedelta(days=1))
    store.add(ANA, [fact("f1", "Ana swims.", "t1/user"), fact("f2", "Ana likes tea.", "t2/user")])
    store.add(ANA, [fact("guess", "Ana is sporty.", "f1", "f2", kind=MemoryKind.INFERENCE)])
    day = fact("day_summary/2026-05-01", "River, tea.", "t1/user", "t2/user", kind=MemoryKind.DAY_SUMMARY)
    store.put(ANA, [day, fact("portrait", "Sporty.", day.id, kind=MemoryKind.PORTRAIT)])
    embed(store)
    store.keep_trace(ANA, trace("t1"), until=NOON + timedelta(days=1))
    deleted = store.forget(ANA, ["t1/user", "unknown"])
    assert deleted.counts == {
        "turn": 1, "fact": 1, "inference": 1, "day_summary": 1, "portrait": 1, "vectors": 5, "traces": 2,
    }  # fmt: skip
    assert deleted.total == 12
    assert ids(store.find(ANA, Filter(), newest_first=False)) == ["t2/user", "t0/user", "f2"]
    assert store.matching(ANA, terms_of("swims sporty portrait"), limit=9) == ()
    assert store.traced(ANA) == ()
    assert store.forgotten(ANA, ["t1/user", "f1", "f2"]) == {"t1/user", "f1"}
    assert store.forget(ANA, ["t1/user"]).total == 0
    assert store.check() == ()


def test_nothing_written_late_brings_it_back(store: MemoryStore) -> None:
    store.add(ANA, [turn("t1/user"), turn("t2/user")])
    seen = store.version(ANA)
    day = fact("day_summary/2026-05-01", "Both.", "t1/user", "t2/user", kind=MemoryKind.DAY_SUMMARY)
    store.put(ANA, [day])
    (gone,) = store.get(ANA, ["t1/user"])
    store.forget(ANA, ["t1/user"])
    before = store.find(ANA, Filter())
    late: list[Callable[[], object]] = [
        lambda: store.add(ANA, [turn("t1/user"), turn("t3/user")]),
        lambda: store.put(ANA, [turn("t1/user")]),
        lambda: store.add(ANA, [turn("t3/user"), fact("f", "late", "t2/user", "t1/user")]),
        lambda: store.put(ANA, [day]),
        lambda: store.supersede(ANA, ["t2/user"], fact("f", "late", "t1/user")),
        lambda: store.change(ANA, "t2/user", sources=("t1/user",)),
        lambda: store.add(ANA, [fact("f", "made from what was read before")], since=seen),
        lambda: store.keep_trace(ANA, trace("t1"), until=NOON + timedelta(days=1)),
        lambda: store.keep_trace(ANA, trace("t9", gone), until=NOON + timedelta(days=1)),
        lambda: store.keep_trace(ANA, trace("t9"), until=NOON + timedelta(days=1), since=seen),
    ]
    for write in late:
        with pytest.raises(Forgotten):
            write()
    assert store.find(ANA, Filter()) == before
    remade = replace(day, text="Only the second.", sources=("t2/user",))
    assert store.put(ANA, [remade], since=store.version(ANA))[0].text == "Only the second."
    assert store.put(ANA, [turn("t1/user")], revive=True), "the person brings it back themselves"
    assert store.forgotten(ANA, ["t1/user"]) == frozenset()


@pytest.mark.parametrize("kind", [MemoryKind.SUMMARY, MemoryKind.PORTRAIT])
def test_a_portrait_without_its_parts_is_refused(store: MemoryStore, kind: MemoryKind) -> None:
    day = fact("day_summary/2026-05-01", kind=MemoryKind.DAY_SUMMARY)
    store.put(ANA, [day])
    store.forget(ANA, [day.id])
    with pytest.raises(Forgotten, match="which is gone"):
        store.put(ANA, [fact("overall", "It holds that day.", day.id, kind=kind)])
    assert ids(store.put(ANA, [day, fact("overall", "Made again.", day.id, kind=kind)])) == [day.id, "overall"]


def test_what_was_stated_twice_stays_while_one_statement_does(store: MemoryStore) -> None:
    later = timedelta(days=2)
    store.add(ANA, [turn("t1/user"), turn("t2/user", minute=2_880)])
    store.learn(ANA, [fact("f", "I'm allergic to nuts!", "t1/user", quote="says Ben, I'm allergic to nuts!")])
    again = fact("g", "I’m allergic to nuts", "t2/user", quote="allergic to nuts", observed_at=NOON + later)
    for _ in range(2):
        (known,) = store.learn(ANA, [again])
    assert (known.id, known.strength, known.sources) == ("f", 2, ("t1/user", "t2/user"))
    store.add(ANA, [fact("guess", "Ana carries an EpiPen.", "f", kind=MemoryKind.INFERENCE)])
    assert store.forget(ANA, ["t1/user"]).counts == {"turn": 1, "inference": 1}
    (left,) = store.get(ANA, ["f"])
    assert (left.text, left.quote, left.observed_at) == (again.text, again.quote, again.observed_at)
    assert (left.sources, left.details, left.strength) == (("t2/user",), {}, 2)
    assert store.matching(ANA, terms_of("allergic"), limit=9)[0][0] == "f" and store.check() == ()
    assert store.forget(ANA, ["t2/user"]).counts == {"turn": 1, "fact": 1}


def test_a_forgotten_repetition_leaves_what_was_said_first(store: MemoryStore) -> None:
    turns = [turn(f"t{n}/user") for n in range(3)]
    store.add(ANA, turns)
    store.learn(ANA, [fact("f", "I swim.", "t0/user", quote="first")])
    store.learn(ANA, [fact("g", "I swim", "t1/user", quote="second"), fact("h", "i swim", "t2/user", quote="third")])
    store.add(ANA, [fact("guess", "Ana is sporty.", "f", kind=MemoryKind.INFERENCE)])
    store.forget(ANA, ["t1/user"])
    (left,) = store.get(ANA, ["f"])
    assert (left.quote, left.sources) == ("first", ("t0/user", "t2/user")) and "second" not in str(left)
    assert store.get(ANA, ["guess"]) != ()
    store.forget(ANA, ["t0/user", "t2/user"])
    assert store.find(ANA, Filter()) == ()


def test_what_was_guessed_and_then_stated_rests_on_the_statement(store: MemoryStore) -> None:
    store.add(ANA, [turn("t1/user"), turn("t2/user")])
    store.learn(ANA, [fact("f", "I swim.", "t1/user", status=MemoryStatus.UNCONFIRMED, expires_at=NOON + timedelta(9))])
    (known,) = store.learn(ANA, [fact("g", "I swim", "t2/user", quote="I swim a lot")])
    assert (known.id, known.status, known.expires_at) == ("f", MemoryStatus.CONFIRMED, None)
    assert (known.quote, known.sources) == ("I swim a lot", ("t2/user",))


def test_a_repetition_of_what_was_forgotten_is_refused(store: MemoryStore) -> None:
    store.add(ANA, [turn("t1/user"), turn("t2/user")])
    (known,) = store.learn(ANA, [fact("f", "I swim.", "t1/user")])
    store.forget(ANA, ["t2/user"])
    with pytest.raises(Forgotten):
        store.learn(ANA, [fact("g", "I swim.", "t2/user"), fact("h", "I sing.")])
    assert store.get(ANA, ["f", "h"]) == (known,)


def test_what_a_forgotten_fact_had_replaced_holds_again(store: MemoryStore) -> None:
    store.add(ANA, [fact("a"), fact("r", status=MemoryStatus.REFUTED)])
    store.supersede(ANA, ["a", "r"], fact("b"))
    store.supersede(ANA, ["b"], fact("c"))
    store.supersede(ANA, ["c"], fact("d"))
    store.forget(ANA, ["b", "c"])
    assert store.get(ANA, ["a"])[0].superseded_by == "d", "the chain is closed again"
    store.forget(ANA, ["d"])
    a, r = store.get(ANA, ["a", "r"])
    assert (a.superseded_by, a.valid_until, r.superseded_by) == (None, None, None)
    assert ids(store.find(ANA, Filter(current=True))) == ["a"]


def test_forgetting_a_person_leaves_nothing_and_the_next_one_is_new(store: MemoryStore) -> None:
    store.add(ANA, [turn("t1/user"), fact("f", "Ana swims.", "t1/user"), fact("portrait", kind=MemoryKind.PORTRAIT)])
    embed(store)
    store.keep_trace(ANA, trace("t1"), until=NOON + timedelta(days=1))
    store.claim(ANA, "summaries", seconds=60)
    seen, person = store.version(ANA), store.vectors(ANA, EMBEDDER).person
    deleted = store.forget_all(ANA)
    assert deleted.counts == {"turn": 1, "fact": 1, "portrait": 1, "vectors": 3, "traces": 1, "claims": 1}
    assert (store.exists(ANA), store.people()) == (False, ())
    assert store.forgotten(ANA, ["t1/user", "f"]) == {"t1/user", "f"}
    for late in (fact("g", "late", "t1/user"), fact("f"), turn("t1/user")):
        with pytest.raises(Forgotten):
            store.add(ANA, [late])
    with pytest.raises(Forgotten):
        store.add(ANA, [fact("h", "read before")], since=seen)
    assert store.people() == (), "a refused write makes no person"
    (entry,) = store.outbox(EMBEDDER, limit=9)
    assert (entry.person, entry.who, entry.deleted) == (person, None, True)
    store.add(ANA, [turn("t9/user"), fact("portrait", kind=MemoryKind.PORTRAIT)])
    with pytest.raises(Forgotten):
        store.add(ANA, [fact("h", "read before")], since=seen)
    assert store.outbox(EMBEDDER, limit=9)[1].person > person
    assert store.forget_all(replace(ANA, user="nobody")).total == 0


def test_a_first_turn_does_not_outlive_the_forgetting_of_everything(store: MemoryStore) -> None:
    for _ in range(2):
        begun = store.version(ANA)
        assert store.forget_all(ANA).total == 0, "there is nothing yet"
        for write in (store.add, store.put, store.learn):
            with pytest.raises(Forgotten):
                write(ANA, [turn("t1/user", "secret")], since=begun)
        assert store.people() == ()
    store.add(ANA, [turn("t2/user")], since=store.version(ANA))
    with pytest.raises(Forgotten):
        store.add(ANA, [turn("t1/user", "secret")], since=begun)
    begun = store.version(replace(ANA, user="bo"))
    store.add(replace(ANA, user="bo"), [turn("a")])
    store.add(replace(ANA, user="bo"), [turn("b")], since=begun)


def test_what_changes_nothing_makes_no_person(store: MemoryStore) -> None:
    store.strengthen(ANA, ["a"], turn="t", at=NOON)
    store.archive(ANA, ["a"])
    assert store.reindex(ANA) == 0 and store.forget(ANA, ["a"]).total == 0
    assert store.people() == ()


# --- several at once --------------------------------------------------------------------------------------


def test_threads_write_and_read_at_once(store: MemoryStore) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        who = replace(ANA, user=f"u{number % 2}")
        for n in range(8):
            store.add(who, [turn(f"{number}-{n}", f"river {number}", minute=n)])
            store.strengthen(who, [f"{number}-0"], turn=str(n), at=NOON)
            assert store.matching(who, ["river"], limit=3)
            with pytest.raises(MemoryNotFound):
                store.supersede(who, ["nothing"], fact("never"))
            embed(store, who=who)

    with ThreadPoolExecutor(8) as pool:
        failures += [error for job in [pool.submit(work, n) for n in range(8)] if (error := job.exception())]
    assert not failures
    for user in ("u0", "u1"):
        who = replace(ANA, user=user)
        embed(store, who=who)
        assert store.count(who) == {"turn": 32} and len(store.vectors(who, EMBEDDER).ids) == 32
        assert {memory.strength for memory in store.find(who, Filter()) if memory.id.endswith("-0")} == {9}
    assert store.check() == ()


def test_a_person_is_made_once_however_many_begin(open_store: Callable[[], MemoryStore]) -> None:
    stores = [open_store() for _ in range(4)]
    together = threading.Barrier(4)

    def begin(store: MemoryStore) -> None:
        together.wait()
        store.add(ANA, [turn("a", "the same"), turn(f"own-{id(store)}")])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(begin, stores))
    assert stores[0].count(ANA) == {"turn": 5} and len(stores[0].people()) == 1


def test_the_same_thing_said_at_once_is_kept_once(open_store: Callable[[], MemoryStore]) -> None:
    stores = [open_store() for _ in range(4)]
    together = threading.Barrier(4)

    def say(store: MemoryStore) -> None:
        together.wait()
        for n in range(5):
            store.learn(ANA, [fact(f"{id(store)}/{n}", f"I keep {n} bees.")])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(say, stores))
    assert stores[0].count(ANA) == {"fact": 5}
    assert {memory.strength for memory in stores[0].find(ANA, Filter())} == {4}


def write_some(url: str, name: str) -> None:
    store = MemoryStore(url, clock=lambda: NOON)
    for n in range(10):
        store.add(ANA, [turn(f"{name}-{n}", "river")])
        embed(store)
    store.close()


def test_processes_share_a_database(database_url: str, store: MemoryStore) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write_some, args=(database_url, f"p{n}")) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 4
    embed(store)
    assert store.count(ANA) == {"turn": 40} and len(set(store.vectors(ANA, EMBEDDER).ids)) == 40
    assert len(store.matching(ANA, ["river"], limit=99)) == 40
    assert store.check() == ()

"""The forgetting curve, and what is worth keeping."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentalize.memory.importance import importance_of, worths
from mentalize.memory.retention import TAU, Curve, retention
from mentalize.types import Memory, MemoryKind

THEN = datetime(2026, 3, 1, 12, tzinfo=UTC)
FADING = [kind for kind, tau in TAU.items() if math.isfinite(tau)]

days = st.floats(0, 3_000)
strengths = st.integers(1, 20)
kinds = st.sampled_from(FADING)


def memory(
    text: str = "I have a cat.", *, kind: MemoryKind = MemoryKind.TURN, at: datetime = THEN, **values: object
) -> Memory:
    made = Memory(id=text, kind=kind, text=text, observed_at=at, importance=importance_of(kind, text))
    return replace(made, **values)  # type: ignore[arg-type]


def after(time: float) -> datetime:
    return THEN + timedelta(days=time)


@given(kinds, strengths)
def test_nothing_has_faded_at_first(kind: MemoryKind, strength: int) -> None:
    assert Curve().retention(memory(kind=kind, strength=strength), THEN) == 1


@given(kinds, strengths, st.floats(0, 400), st.floats(0.01, 400))
def test_falls_with_time(kind: MemoryKind, strength: int, time: float, more: float) -> None:
    one = memory(kind=kind, strength=strength)
    earlier, later = (Curve().retention(one, after(moment)) for moment in (time, time + more))
    assert 0 <= later <= earlier <= 1
    assert later < earlier or earlier == 0


@given(kinds, st.integers(1, 19), st.floats(0.01, 400))
def test_rises_with_strength(kind: MemoryKind, strength: int, time: float) -> None:
    weaker, stronger = (
        Curve().retention(memory(kind=kind, strength=each), after(time)) for each in (strength, strength + 1)
    )
    assert weaker < stronger or stronger == 0


@given(strengths, days)
def test_paper_mode_is_memorybanks_own_law(strength: int, time: float) -> None:
    found = Curve(mode="paper").retention(memory(strength=strength), after(time))
    elapsed = (after(time) - THEN) / timedelta(days=1)
    assert found == pytest.approx(math.exp(-elapsed / strength), abs=1e-12)


@given(kinds, strengths, days)
def test_each_kind_has_its_own_time(kind: MemoryKind, strength: int, time: float) -> None:
    found = Curve().retention(memory(kind=kind, strength=strength), after(time))
    elapsed = (after(time) - THEN) / timedelta(days=1)
    assert found == pytest.approx(math.exp(-elapsed / (TAU[kind] * strength)), abs=1e-12)


@given(st.sampled_from(list(MemoryKind)), days)
def test_some_things_never_fade(kind: MemoryKind, time: float) -> None:
    assert Curve().retention(memory(kind=kind, pinned=True), after(time)) == 1
    assert Curve().retention(memory(kind=MemoryKind.SAFETY_NOTE), after(time)) == 1
    assert not Curve().archives(memory(kind=MemoryKind.SCENARIO), after(time))


@given(kinds, days)
def test_a_clock_that_goes_backwards_takes_nothing(kind: MemoryKind, time: float) -> None:
    assert Curve().retention(memory(kind=kind), after(-time)) == 1
    recalled = memory(kind=kind, last_recalled_at=after(-time))
    assert Curve().retention(recalled, after(1)) == Curve().retention(memory(kind=kind), after(1))


def test_a_recall_begins_the_curve_anew() -> None:
    recalled = memory(strength=2, last_recalled_at=after(6))
    assert Curve().retention(recalled, after(6)) == 1
    assert Curve().retention(recalled, after(20)) == pytest.approx(retention(14, 2, TAU[MemoryKind.TURN]))


def test_a_turn_is_archived_after_three_weeks_unless_it_is_used() -> None:
    curve = Curve()
    assert not curve.archives(memory(), after(20.9))
    assert curve.archives(memory(), after(21))
    assert not curve.archives(memory(strength=2), after(21))
    assert not curve.archives(memory(kind=MemoryKind.FACT), after(365))


@given(st.sampled_from(list(MemoryKind)), st.text())
def test_importance_is_a_share(kind: MemoryKind, text: str) -> None:
    assert 0 <= importance_of(kind, text) <= 1


@pytest.mark.parametrize(
    ("tells", "tells_less"),
    [
        ("My sister Nora moved to Lisbon in March.", "Oh wow, that is so nice!"),
        ("I work nights at the Mater hospital.", "Where do you work nights, at which hospital, and with whom?"),
        ("我对花生过敏，吃一点就起疹子。", "好的，谢谢你！"),
        ("Mi hermana Nora se mudó a Lisboa en marzo.", "¿Dónde vive tu hermana ahora, y desde cuándo?"),
    ],
)
def test_what_states_something_is_important(tells: str, tells_less: str) -> None:
    assert importance_of(MemoryKind.TURN, tells) > importance_of(MemoryKind.TURN, tells_less)


def test_worth_is_what_is_rare_answers_or_was_used() -> None:
    said = [
        "Good morning! How are you today?",
        "I am tired today. The night shift was long.",
        "What is your sister's name?",
        "Her name is Nora.",
        "That is nice. It was a long night, good night!",
        "Good night! It was nice.",
    ]
    turns = [memory(text, at=after(number / 1440), session="1") for number, text in enumerate(said)]
    worth = worths(turns, after(1), Curve())
    by_worth = sorted(said, key=lambda text: -worth[text])
    assert set(by_worth[:2]) == {said[1], said[3]}
    assert worth[said[0]] < worth[said[4]]
    used = worths([replace(turn, strength=9) if turn.text == said[5] else turn for turn in turns], after(1), Curve())
    assert used[said[5]] > worth[said[1]]
    pinned = worths([replace(turn, pinned=turn.text == said[2]) for turn in turns], after(1), Curve())
    assert max(pinned, key=lambda text: pinned[text]) == said[2]

"""The Perspectives Distribution Score: shares, entropy, coverage, sentiment."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentalize.evals.distribution import Reference, distribution_of, pooled
from mentalize.evals.references import found_by_lexicon, sentiment_of
from mentalize.norms.lens import load_lenses

LENSES = ("western", "east_asian", "south_asian", "islamic", "african", "latin_american", "indigenous")
counts = st.lists(st.integers(0, 50), min_size=len(LENSES), max_size=len(LENSES))


def of(*numbers: int, lenses: tuple[str, ...] = LENSES) -> list[Reference]:
    return [Reference(lens, lens) for lens, number in zip(lenses, numbers, strict=True) for _ in range(number)]


@given(st.integers(1, 50), st.integers(2, 7))
def test_even_mention_is_100_percent(each: int, lenses: int) -> None:
    names = LENSES[:lenses]
    found = distribution_of(of(*[each] * lenses, lenses=names), names)
    assert found.entropy == pytest.approx(100)
    assert found.coverage == 1


@given(st.integers(1, 50), st.sampled_from(LENSES))
def test_one_perspective_alone_is_0_percent(number: int, lens: str) -> None:
    found = distribution_of([Reference(lens, lens)] * number, LENSES)
    assert found.entropy == 0
    assert found.coverage == pytest.approx(1 / 7)


def test_nothing_named_is_0_and_no_error() -> None:
    found = distribution_of([], LENSES)
    assert (found.entropy, found.coverage, found.positive, sum(found.shares.values())) == (0, 0, 0, 0)
    assert distribution_of(of(3, lenses=("western",)), ("western",)).entropy == 0


def test_nearly_one_of_four_is_about_the_published_baseline() -> None:
    names = LENSES[:4]
    assert distribution_of(of(97, 1, 1, 1, lenses=names), names).entropy == pytest.approx(12, abs=0.5)


@given(counts)
def test_shares_and_entropy_follow_the_formulas(numbers: list[int]) -> None:
    found = distribution_of(of(*numbers), LENSES)
    total = sum(numbers)
    assert sum(found.shares.values()) == pytest.approx(1 if total else 0)
    shares = [number / total for number in numbers if number] if total else []
    expected = -100 * sum(share * math.log(share) for share in shares) / math.log(7)
    assert found.entropy == pytest.approx(expected, abs=1e-9)
    assert 0 <= found.entropy <= 100


@given(counts, st.randoms())
def test_entropy_knows_no_order(numbers: list[int], random: object) -> None:
    mixed = list(numbers)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert distribution_of(of(*mixed), LENSES).entropy == pytest.approx(distribution_of(of(*numbers), LENSES).entropy)


@given(counts, counts)
def test_pooling_is_counting_together(first: list[int], second: list[int]) -> None:
    together = pooled([distribution_of(of(*first), LENSES), distribution_of(of(*second), LENSES)], LENSES)
    assert list(together.counts.values()) == [a + b for a, b in zip(first, second, strict=True)]


def test_references_to_other_lenses_are_left_out() -> None:
    assert distribution_of([Reference("martian", "x"), Reference("western", "y")], LENSES).total == 1


# --- found by lexicon -------------------------------------------------------------------------------------

TEXT = (
    "Confucian ethics asks for filial piety. Ubuntu says that we are persons through others. The Quran and the hadith "
    "praise patience. Kant would call it a duty. First Nations elders speak of seven generations. Dharma differs by "
    "stage of life. Liberation theology begins with the poor."
)


def test_the_lexicon_finds_every_lens() -> None:
    found = distribution_of(found_by_lexicon(TEXT, load_lenses()), LENSES)
    assert found.coverage == 1
    assert found.counts["islamic"] == 2
    assert found.entropy > 95


def test_a_phrase_counts_once_and_plurals_count() -> None:
    lenses = load_lenses()
    assert [item.words for item in found_by_lexicon("Liberation theology, and Muslims.", lenses)] == [
        "liberation theology",
        "muslims",
    ]


@pytest.mark.parametrize("text", ["", "I like tea.", "The western side of the street.", "He is a liberal person."])
def test_ambiguous_words_are_not_counted(text: str) -> None:
    assert found_by_lexicon(text.replace("western", "wide"), load_lenses()) == ()


@given(st.text(max_size=300))
def test_any_text_is_survived(text: str) -> None:
    found_by_lexicon(text, load_lenses())


def test_no_phrase_belongs_to_two_lenses() -> None:
    phrases = [phrase for lens in load_lenses() for phrase in lens.references]
    assert len(phrases) == len(set(phrases))


def test_sentiment_is_that_of_the_sentence() -> None:
    assert sentiment_of("Ubuntu is a wonderful and kind idea.") == "positive"
    assert sentiment_of("That custom is cruel and hateful.") == "negative"
    assert sentiment_of("The Quran has chapters.") == "neutral"

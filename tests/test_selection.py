"""Algorithm 1: what it must prefer, in both modes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentalize.agents.rubric import Quality
from mentalize.agents.selection import EPSILON, information_gain, score, select
from mentalize.types import Evidence, Hypothesis, MentalState, RefinedHypothesis

probability = st.floats(0, 1)


def refined(name: str, p_cond: float, state: MentalState = MentalState.BELIEF) -> RefinedHypothesis:
    guess = Hypothesis(id=name, state=state, explanation=name, evidence=Evidence("said"), confidence=0.5)
    return RefinedHypothesis(hypothesis=guess, text=name, p_cond=p_cond)


@given(probability, probability)
def test_bounded_gain_stays_in_bounds(p_cond: float, p_prior: float) -> None:
    assert -1 <= information_gain(p_cond, p_prior, "bounded") <= 1


@given(probability, probability)
def test_paper_gain_is_the_published_formula(p_cond: float, p_prior: float) -> None:
    published = math.log(p_cond + EPSILON) - math.log(p_prior + EPSILON)
    assert information_gain(p_cond, p_prior, "paper") == pytest.approx(published)


@given(probability, probability, probability, st.sampled_from(["bounded", "paper"]))
def test_more_plausible_is_never_worse(low: float, high: float, p_prior: float, mode: str) -> None:
    low, high = sorted((low, high))
    assert score(high, p_prior, mode=mode) >= score(low, p_prior, mode=mode) - 1e-12  # pyright: ignore[reportArgumentType]


def test_a_rare_middling_guess_beats_a_likely_one_as_published_and_not_as_mended() -> None:
    guesses = [refined("likely", 0.9), refined("rare", 0.5)]
    priors = {"likely": 0.9, "rare": 0.1}
    published = select(guesses, priors, mode="paper").chosen
    assert published and published.refined.text == "rare" and published.score == pytest.approx(0.94, abs=0.005)
    unlikely = select([refined("likely", 0.9), refined("rare", 0.45)], priors).chosen
    assert unlikely and unlikely.refined.text == "likely"


def test_no_reading_that_is_plausible_enough_is_no_choice() -> None:
    selection = select([refined("a", 0.25), refined("b", 0.05)], {})
    assert selection.chosen is None and [item.refined.text for item in selection.ranked] == ["a", "b"]


def test_nothing_to_choose_from() -> None:
    assert select([], {}).chosen is None


@given(st.lists(st.tuples(probability, probability), min_size=1, max_size=8))
def test_the_chosen_one_is_eligible_and_of_the_highest_score(rated: list[tuple[float, float]]) -> None:
    guesses = [refined(str(i), p) for i, (p, _) in enumerate(rated)]
    selection = select(guesses, {str(i): prior for i, (_, prior) in enumerate(rated)})
    eligible = [item for item in selection.ranked if item.eligible]
    assert len(selection.ranked) == len(guesses)
    if selection.chosen:
        assert selection.chosen.score == max(item.score for item in eligible)
    else:
        assert not eligible


def test_utility_weighs_the_four_parts_as_published() -> None:
    quality = Quality(a1=1.0, a2=0.5, b1=0.0, b2=1.0)
    assert quality.empathy == pytest.approx(0.7)
    assert quality.coherence == pytest.approx(0.5)
    assert quality.utility() == pytest.approx(0.8 * 0.7 + 0.2 * 0.5)

"""Selection: MetaMind's Algorithm 1 (arXiv 2505.18943, §3.2), as published and mended."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from ..types import HypothesisScore, MentalState, RefinedHypothesis, Selection

ScoreMode = Literal["bounded", "paper"]

EPSILON = 1e-9
"""Keeps the logarithm of `paper` mode finite (the released code's value)."""

LARGEST_GAIN = math.log(9)
"""Where `bounded` clips: the gain from .1 to .9."""

FLOOR = 0.5
"""P_cond from which a hypothesis is eligible in `bounded` mode, if it rests on the person's own words."""

NEUTRAL_PRIOR = 0.5
"""P_prior of a hypothesis that nobody rated."""


def information_gain(p_cond: float, p_prior: float, mode: ScoreMode) -> float:
    """How much the conversation speaks for the hypothesis.

    `paper`: ln(P_cond + ε) − ln(P_prior + ε), unbounded. `bounded`: the same clipped to ±ln 9 and divided by ln 9,
    so in [−1, 1]: as published, a rare guess of middling plausibility beats a likely common one.
    """
    raw = math.log(p_cond + EPSILON) - math.log(p_prior + EPSILON)
    if mode == "paper":
        return raw
    return max(-1.0, min(1.0, raw / LARGEST_GAIN))


def score(p_cond: float, p_prior: float, *, mode: ScoreMode = "bounded", weight: float = 0.6) -> float:
    """λ·P_cond + (1 − λ)·IG, with λ = `weight`."""
    return weight * p_cond + (1 - weight) * information_gain(p_cond, p_prior, mode)


def select(
    refined: Sequence[RefinedHypothesis],
    priors: Mapping[str, float],
    *,
    mode: ScoreMode = "bounded",
    weight: float = 0.6,
) -> Selection:
    """Score all hypotheses and choose the best eligible one; none, if no reading is plausible enough."""
    scored = [_scored(item, priors.get(item.hypothesis.id, NEUTRAL_PRIOR), mode, weight) for item in refined]
    ranked = tuple(sorted(scored, key=lambda item: (item.eligible, item.score, item.refined.p_cond), reverse=True))
    chosen = ranked[0] if ranked and ranked[0].eligible else None
    return Selection(ranked=ranked, chosen=chosen, mode=mode, diversity=diversity(refined))


def diversity(refined: Sequence[RefinedHypothesis]) -> float:
    """Share of the five mental states that the hypotheses cover; the target is .4."""
    return len({item.hypothesis.state for item in refined}) / len(MentalState)


def _scored(refined: RefinedHypothesis, p_prior: float, mode: ScoreMode, weight: float) -> HypothesisScore:
    return HypothesisScore(
        refined=refined,
        p_prior=p_prior,
        information_gain=information_gain(refined.p_cond, p_prior, mode),
        score=score(refined.p_cond, p_prior, mode=mode, weight=weight),
        eligible=mode == "paper" or (refined.p_cond >= FLOOR and bool(refined.hypothesis.evidence.words)),
    )

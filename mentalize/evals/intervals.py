"""Intervals: how far off a measured value may be."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

RESAMPLES = 2_000
"""Bootstrap samples of an interval."""

_Z = 1.959964
"""The normal quantile of 97.5 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A value and its 95 % interval, which holds the value."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Two arms on the same items: how many each got right."""

    both: int
    first: int
    """Right by the first alone."""
    second: int
    """Right by the second alone."""
    neither: int

    @property
    def total(self) -> int:
        """All pairs."""
        return self.both + self.first + self.second + self.neither


def bootstrap(value: float, samples: Any) -> Interval:
    """The interval in which 95 % of bootstrap samples lie."""
    low, high = np.percentile(samples, [2.5, 97.5])
    return Interval(value=value, low=float(low), high=float(high))


def wilson(right: int, total: int) -> Interval:
    """A share in [0, 1] with its score interval (Wilson 1927, doi:10.1080/01621459.1927.10502953).

    Of nothing, the value is 0 and the interval everything.
    """
    if not total:
        return Interval(value=0.0, low=0.0, high=1.0)
    share, spread = right / total, _Z**2 / total
    middle = (share + spread / 2) / (1 + spread)
    reach = _Z * math.sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread)
    return Interval(value=share, low=min(share, max(0.0, middle - reach)), high=max(share, min(1.0, middle + reach)))


def paired_difference(pairs: Pairs) -> Interval:
    """By how much the first arm's share is above the second's, in [−1, 1], with the interval of method 10 of Newcombe
    (1998, Statistics in Medicine 17:2635–2650), which needs no large sample.

    Of nothing, the value is 0 and the interval everything.
    """
    if not pairs.total:
        return Interval(value=0.0, low=-1.0, high=1.0)
    one = wilson(pairs.both + pairs.first, pairs.total)
    two = wilson(pairs.both + pairs.second, pairs.total)
    likeness, difference = _likeness(pairs), one.value - two.value
    low = difference - _joint(one.value - one.low, two.high - two.value, likeness)
    high = difference + _joint(one.high - one.value, two.value - two.low, likeness)
    return Interval(value=difference, low=max(-1.0, low), high=min(1.0, high))


def _joint(one: float, two: float, likeness: float) -> float:
    return math.sqrt(max(0.0, one**2 - 2 * likeness * one * two + two**2))


def _likeness(pairs: Pairs) -> float:
    """The correlation φ of the two arms, with Newcombe's correction where it is positive."""
    margins = (
        (pairs.both + pairs.first)
        * (pairs.second + pairs.neither)
        * (pairs.both + pairs.second)
        * (pairs.first + pairs.neither)
    )
    if not margins:
        return 0.0
    excess = pairs.both * pairs.neither - pairs.first * pairs.second
    return (max(excess - pairs.total / 2, 0.0) if excess > 0 else excess) / math.sqrt(margins)

"""Rating: the words in which a model rates, and what they are worth.

Models choose among five words more reliably than they write numbers; the values are those of docs/concepts.md, Score.
"""

from __future__ import annotations

from typing import Literal

Rating = Literal["very low", "low", "mid", "high", "very high"]
Level = Literal["low", "mid", "high"]

RATING_VALUE: dict[Rating, float] = {"very low": 0.05, "low": 0.25, "mid": 0.5, "high": 0.75, "very high": 0.95}
LEVEL_VALUE: dict[Level, float] = {"low": 0.25, "mid": 0.5, "high": 0.9}

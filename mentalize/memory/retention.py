"""Retention: how a memory strengthens and fades (MemoryBank, arXiv 2305.10250, §2.3, with its faults mended)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from ..types import Memory, MemoryKind

STRONGEST = 20
"""S at most."""

TAU: Mapping[MemoryKind, float] = {
    MemoryKind.FACT: 365.0,
    MemoryKind.PREFERENCE: 365.0,
    MemoryKind.PORTRAIT: 90.0,
    MemoryKind.DAY_PORTRAIT: 90.0,
    MemoryKind.EMOTION_PATTERN: 30.0,
    MemoryKind.FEEDBACK: 30.0,
    MemoryKind.TURN: 7.0,
    MemoryKind.SUMMARY: 7.0,
    MemoryKind.DAY_SUMMARY: 7.0,
    MemoryKind.INFERENCE: 3.0,
    MemoryKind.SCENARIO: math.inf,
    MemoryKind.SAFETY_NOTE: math.inf,
}
"""Days until an unused memory of strength 1 has faded to 1/e."""

_DAY = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """How memories fade.

    `default`: R = e^(−Δt / (τ·S)), Δt in days since the last recall, or since it was observed; τ by kind.
    `paper`: R = e^(−Δt / S), as MemoryBank publishes it.
    """

    mode: Literal["default", "paper"] = "default"
    tau: Mapping[MemoryKind, float] = field(default_factory=lambda: dict(TAU))
    archive_below: float = 0.05

    def retention(self, memory: Memory, at: datetime) -> float:
        """R in [0, 1]: 1 at the moment of the last recall, and for what is pinned or has no τ.

        A clock that went backwards counts as no time passed.
        """
        if memory.pinned:
            return 1.0
        since = max(memory.last_recalled_at or memory.observed_at, memory.observed_at)
        days = max(0.0, (at - since).total_seconds() / _DAY)
        return retention(days, memory.strength, 1.0 if self.mode == "paper" else self.tau[memory.kind])

    def archives(self, memory: Memory, at: datetime) -> bool:
        """Whether it has faded so far that it is to be archived."""
        return self.retention(memory, at) < self.archive_below


def retention(days: float, strength: float, tau: float = 1.0) -> float:
    """R = e^(−Δt / (τ·S)).

    Args:
        days: Δt, since the last recall; not negative.
        strength: S, 1 or more.
        tau: τ in days; `math.inf` for what never fades. 1 is MemoryBank's own curve.
    """
    return math.exp(-days / (tau * strength))

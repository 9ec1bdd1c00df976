"""What a turn reports while it runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StageStarted:
    """A stage began."""

    name: str


@dataclass(frozen=True, slots=True)
class StageFinished:
    """A stage ended; `error` says why it left its part out, if it did."""

    name: str
    seconds: float
    error: str | None = None


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the reply that has passed its gates."""

    text: str


TurnEvent = StageStarted | StageFinished | TextDelta

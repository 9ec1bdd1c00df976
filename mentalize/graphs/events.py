"""What a turn reports while it runs."""

from __future__ import annotations

from dataclasses import dataclass

from ..types import Effort, StreamMode


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """A turn began, and this is how it will go."""

    turn_id: str
    effort: Effort
    route: str
    """Why this effort."""
    mode: StreamMode
    """When its text leaves, as far as is known."""


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
    found: str = ""
    """What it found, in a line."""


@dataclass(frozen=True, slots=True)
class TextHeld:
    """Signs of danger were noticed: no text leaves before the verdict, whatever the mode was."""


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the reply that has passed its gates."""

    text: str


TurnEvent = StageStarted | StageFinished | TextHeld | TextDelta

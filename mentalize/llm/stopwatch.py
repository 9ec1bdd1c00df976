"""Stopwatch: the seconds of a turn that it works, and not those in which somebody else does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Stopwatch:
    """A clock that can be stopped, so that a slow chatbot does not use up the seconds of the turn that checks it."""

    clock: Callable[[], float]
    """Monotonic seconds."""
    _away: float = field(default=0.0, init=False)
    """Seconds during which it stood still."""
    _stopped_at: float | None = field(default=None, init=False)

    def __call__(self) -> float:
        """Monotonic seconds, those in which it stood still left out."""
        return (self.clock() if self._stopped_at is None else self._stopped_at) - self._away

    def stop(self) -> None:
        """Stand still until `go`."""
        if self._stopped_at is None:
            self._stopped_at = self.clock()

    def go(self) -> None:
        """Run again."""
        if self._stopped_at is not None:
            self._away += self.clock() - self._stopped_at
            self._stopped_at = None

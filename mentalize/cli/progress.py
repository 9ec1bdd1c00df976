"""Progress: one live line on the terminal that says which stages are running. Nothing elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.text import Text

from .plain import one_line
from .render import console

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.status import Status

    from ..mind import Event


class Progress:
    """A spinner on stderr while it is entered; gone without a trace afterwards."""

    def __init__(self) -> None:
        self._console = console(error=True)
        self._running: dict[str, None] = {}
        self._note = "thinking"
        self._began = time.monotonic()
        self._status: Status | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._began = time.monotonic()
            self._status = self._console.status(self)
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __rich__(self) -> RenderableType:
        """Drawn afresh at every tick of the spinner, so that the seconds move."""
        return Text(f"{', '.join(self._running) or self._note}  {time.monotonic() - self._began:.0f} s", "dim")

    def see(self, event: Event) -> None:
        """Follow a turn's events."""
        from ..mind import StageFinished, StageStarted

        if isinstance(event, StageStarted):
            self._running[one_line(event.name)] = None
        elif isinstance(event, StageFinished):
            self._running.pop(one_line(event.name), None)

    def say(self, note: str) -> None:
        """What to show while no stage runs."""
        self._note = one_line(note)

    def stop(self) -> None:
        """Clear the line. Safe to call twice."""
        if self._status is not None:
            self._status.stop()
            self._status = None

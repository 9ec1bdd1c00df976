"""Leaving: the end of a command waits for what is still being remembered, but not for long, and not against Ctrl-C."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from .interrupt import interrupt_cancels, is_leaving
from .plain import one_line
from .progress import Progress

if TYPE_CHECKING:
    from ..mind import Mind

PATIENCE_SECONDS = 60.0
_LATER = "The rest is remembered at the next start."


async def remember_the_rest(mind: Mind, *, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait for the background work of the last turns. What is left is taken up at the next start, and that is said."""
    work = asyncio.ensure_future(mind.settle())
    with Progress() as progress, interrupt_cancels(work):
        progress.say("remembering (Ctrl-C: later)")
        try:
            problems = await asyncio.wait_for(work, seconds)
        except TimeoutError:
            problems = (_LATER,)
        except asyncio.CancelledError:
            if is_leaving():
                raise
            problems = (_LATER,)
        progress.stop()
    for problem in dict.fromkeys(problems):
        sys.stderr.write(f"mentalize: {one_line(problem)}\n")

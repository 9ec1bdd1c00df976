"""Interrupt: what Ctrl-C stops while something is in work."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Generator
from types import FrameType
from typing import Any


@contextlib.contextmanager
def interrupt_cancels(work: asyncio.Future[Any]) -> Generator[None]:
    """While inside, Ctrl-C stops `work` and leaves the program alone."""
    loop = asyncio.get_running_loop()

    def stop(_: int, __: FrameType | None) -> None:
        loop.call_soon_threadsafe(work.cancel)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def is_leaving() -> bool:
    """Whether the program itself was cancelled, rather than one piece of work."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0

"""A child process on a leash: its output as it comes, and nothing of its group left when it ends or we do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path

from . import leash

__all__ = ["FOREIGN", "leashed"]

FOREIGN = ("PYTHONHOME", "PYTHONPATH", "PIP_PREFIX", "PIP_TARGET", "PIP_USER", "VIRTUAL_ENV")
"""Variables of our own process that would mix its packages with another environment's."""

_CHUNK_BYTES = 1 << 16


@contextlib.asynccontextmanager
async def leashed(
    command: Sequence[str],
    hear: Callable[[bytes], None],
    *,
    environment: Mapping[str, str] | None = None,
    grace: float = 10.0,
) -> AsyncGenerator[asyncio.Task[int]]:
    """Run a command while inside; what is entered is a task that ends with its exit code.

    Args:
        command: a program and its arguments.
        hear: called with pieces of its output and error output, as they come.
        environment: variables added to ours.
        grace: seconds between SIGTERM and SIGKILL, where it must be stopped.
    """
    variables = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", str(Path(leash.__file__)), str(grace), *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**variables, **(environment or {})},
        start_new_session=True,
    )  # fmt: skip
    ended = asyncio.create_task(_end_of(process, hear))
    try:
        yield ended
    finally:
        if process.stdin is not None:
            process.stdin.close()
        # A second Ctrl-C must not leave half of it running.
        await _through(ended)


async def _through(ended: asyncio.Task[int]) -> None:
    cancelled: asyncio.CancelledError | None = None
    while not ended.done():
        try:
            await asyncio.shield(ended)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


async def _end_of(process: asyncio.subprocess.Process, hear: Callable[[bytes], None]) -> int:
    listening = asyncio.create_task(_listen(process, hear))
    code = await process.wait()
    # What a crash left of the group would keep the memory, and our end of the pipe open.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await listening
    return code


async def _listen(process: asyncio.subprocess.Process, hear: Callable[[bytes], None]) -> None:
    assert process.stdout is not None
    while piece := await process.stdout.read(_CHUNK_BYTES):
        hear(piece)

"""A child process on a leash: its output as it comes, and nothing of its group left when it ends or we do."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import sys
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path

from . import leash

__all__ = ["FOREIGN", "leashed"]

FOREIGN = ("PYTHONHOME", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PIP_PREFIX", "PIP_TARGET", "PIP_USER", "VIRTUAL_ENV")
"""Variables of our own process that would mix its packages with another environment's, or have them compiled at each
start."""

_CHUNK_BYTES = 1 << 16
_LAST_WORDS_SECONDS = 2.0


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
    # A pipe of our own: asyncio's would let nobody know of the end before everybody who inherited it is gone.
    ours, theirs = os.pipe()
    with io.FileIO(ours) as output:
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-S", str(Path(leash.__file__)), str(grace), *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=theirs,
                stderr=theirs,
                env={**variables, **(environment or {})},
                start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(theirs)
        ended = asyncio.create_task(_end_of(process, output, hear))
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


async def _end_of(process: asyncio.subprocess.Process, output: io.FileIO, hear: Callable[[bytes], None]) -> int:
    heard = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    pipe, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(heard), output)
    listening = asyncio.create_task(_listen(heard, hear))
    code = await process.wait()
    await asyncio.wait({listening}, timeout=_LAST_WORDS_SECONDS)
    listening.cancel()
    pipe.close()
    return code


async def _listen(heard: asyncio.StreamReader, hear: Callable[[bytes], None]) -> None:
    while piece := await heard.read(_CHUNK_BYTES):
        hear(piece)

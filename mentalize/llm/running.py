"""Running: the vLLM servers that `mentalize vllm serve` keeps on this machine, so that their address need not be told.

Each stands in a file that only its owner can read, and that the serving process holds locked. The lock ends with the
process, however that ends, so a file without a lock is left over and counts for nothing.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Generator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

__all__ = ["RunningServer", "address_of", "announced", "running"]


class RunningServer(BaseModel):
    """One server."""

    model_config = ConfigDict(frozen=True)

    model: str
    """The name that it serves."""
    base_url: str
    pid: int
    """Of the process that watches over it."""


def address_of(model: str, cache: Path | None) -> str | None:
    """The base URL of the server that serves a model here, if one does."""
    if cache is None:
        return None
    return next((server.base_url for server in running(cache) if server.model == model), None)


def running(cache: Path) -> tuple[RunningServer, ...]:
    """Every server that runs now, by this user."""
    try:
        import fcntl
    except ImportError:  # another system, where vLLM does not run
        return ()
    found: list[RunningServer] = []
    for path in sorted(_folder(cache).glob("*.json")):
        with contextlib.suppress(OSError, ValidationError), _opened(path) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                found.append(RunningServer.model_validate_json(os.read(file, 65_536)))
    return tuple(found)


@contextlib.contextmanager
def announced(server: RunningServer, cache: Path) -> Generator[None]:
    """While inside, others find the server. Where files cannot be locked, they do not."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    path = _folder(cache) / f"{server.pid}.json"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        os.write(file, server.model_dump_json().encode())
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(file)


def _folder(cache: Path) -> Path:
    return cache / "vllm" / "running"


@contextlib.contextmanager
def _opened(path: Path) -> Generator[int]:
    """A file of this user's that nobody else can write; `PermissionError` for any other."""
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        status = os.fstat(file)
        if status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077:
            raise PermissionError(f"{path} is not this user's own")
        yield file
    finally:
        os.close(file)

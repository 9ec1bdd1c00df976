"""What a child process says: kept in files of bounded size, its last lines at hand."""

from __future__ import annotations

import logging
import re
from collections import deque
from logging.handlers import RotatingFileHandler
from pathlib import Path

__all__ = ["Log"]

_FILE_BYTES = 5_000_000
_OLDER_FILES = 3
_LINES = 400
_ENDS = re.compile(rb"[\r\n]+")
_PREFIX = re.compile(r"^\(\S+ pid=\d+\) +|^[A-Z]+ \d\d-\d\d \d\d:\d\d:\d\d \[[^\]]*\] *")


class Log:
    """Takes output in pieces. The file and its three predecessors hold the last 20 MB.

    Args:
        path: the file; its folder is made, for its owner only.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        self._file = RotatingFileHandler(path, maxBytes=_FILE_BYTES, backupCount=_OLDER_FILES, encoding="utf-8")
        self._lines: deque[str] = deque(maxlen=_LINES)
        self._rest = b""
        self.heard = 0
        """Pieces taken so far."""

    def hear(self, piece: bytes) -> None:
        """Take a piece of output, whole lines or not."""
        self.heard += 1
        *lines, self._rest = _ENDS.split(self._rest + piece)
        if len(self._rest) > _FILE_BYTES:
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            self._keep(line.decode(errors="replace").rstrip())

    def note(self, text: str) -> None:
        """Add a line of our own."""
        self._keep(f"--- mentalize: {text}")

    def _keep(self, line: str) -> None:
        if line:
            self._lines.append(line)
            self._file.emit(logging.LogRecord("vllm", logging.INFO, "", 0, line, None, None))

    @property
    def last(self) -> str:
        """The last line that says something, without time and process."""
        for line in reversed(self._lines):
            said = _PREFIX.sub("", _PREFIX.sub("", line)).strip(" █▄▀")
            if said:
                return said
        return ""

    def tail(self, count: int = _LINES) -> tuple[str, ...]:
        """The last lines, oldest first."""
        return tuple(self._lines)[-count:]

    def close(self) -> None:
        """Write what is left, and close the file."""
        self.hear(b"\n")
        self._file.close()


def log_path(folder: Path, model: str, port: int) -> Path:
    """Where the log of a model on a port is kept."""
    name = re.sub(r"[^\w.-]+", "_", model)
    return folder / f"{name}-{port}.log"

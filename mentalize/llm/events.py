"""Server-sent events, read piece by piece (WHATWG HTML, §9.2.6 "Interpreting an event stream")."""

from __future__ import annotations

import re
from collections.abc import Iterator

_LINE_END = re.compile(rb"\r\n|\n|\r")


class EventParser:
    """Takes bytes as they arrive, cut anywhere, and gives the data of each event that is whole.

    Lines are decoded only when they are whole, so a cut inside a UTF-8 character does no harm. Comments and the
    fields `event`, `id` and `retry` are passed over.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self._data: list[str] = []
        self._searched = 0

    def feed(self, piece: bytes) -> Iterator[str]:
        """The data of every event that `piece` completes."""
        self._rest += piece
        start = 0
        for end in _LINE_END.finditer(self._rest, self._searched):
            if end.group() == b"\r" and end.end() == len(self._rest):
                break  # It may be the first half of a CRLF.
            line = bytes(self._rest[start : end.start()])
            start = end.end()
            if line:
                self._take(line)
            elif self._data:
                yield self._event()
        del self._rest[:start]
        self._searched = max(0, len(self._rest) - 1)

    def finish(self) -> Iterator[str]:
        """The data of a last event that the server did not end with a blank line."""
        if self._rest:
            self._take(bytes(self._rest).rstrip(b"\r"))
            self._rest.clear()
        if self._data:
            yield self._event()

    def _take(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" ").decode("utf-8", "replace"))

    def _event(self) -> str:
        data = "\n".join(self._data)
        self._data.clear()
        return data

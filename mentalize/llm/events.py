"""Server-sent events, read piece by piece (WHATWG HTML, §9.2.6 "Interpreting an event stream")."""

from __future__ import annotations


class EventParser:
    """Takes bytes as they arrive, cut anywhere, and gives the data of each event that is whole.

    Lines are decoded only when they are whole, so a cut inside a UTF-8 character does no harm. Comments and the
    fields `event`, `id` and `retry` are passed over.
    """

    def __init__(self) -> None:
        self._line: list[bytes] = []
        """The pieces of a line whose end has not come."""
        self._return = False
        """Whether a CR came last: it ends a line, alone or as the first half of a CRLF."""
        self._data: list[str] = []

    def feed(self, piece: bytes) -> list[str]:
        """The data of every event that `piece` completes."""
        if self._return:
            piece = b"\r" + piece
        self._return = piece.endswith(b"\r")
        if self._return:
            piece = piece[:-1]
        if b"\r" in piece:
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = piece.split(b"\n")
        if len(lines) == 1:
            self._line.append(piece)
            return []
        if self._line:
            lines[0] = b"".join([*self._line, lines[0]])
        self._line = [lines.pop()]
        events: list[str] = []
        for line in lines:
            if line:
                self._take(line)
            elif self._data:
                events.append(self._event())
        return events

    def finish(self) -> list[str]:
        """The data of a last event that the server did not end with a blank line."""
        self._take(b"".join(self._line))
        self._line, self._return = [], False
        return [self._event()] if self._data else []

    def _take(self, line: bytes) -> None:
        if line.startswith(b"data:"):
            self._data.append(line[6 if line.startswith(b"data: ") else 5 :].decode("utf-8", "replace"))
        elif line == b"data":
            self._data.append("")

    def _event(self) -> str:
        data = "\n".join(self._data)
        self._data.clear()
        return data

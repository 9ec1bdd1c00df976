"""How a conversation, memories and lists look inside a prompt."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ..types import Message, Recollection
from .prompt import fence

_WHO = {
    "user": "person",
    "assistant": "assistant",
    "system": "app",
    "developer": "app",
    "tool": "tool",
    "function": "tool",
}
_CUT = " […] "
_LINE_BREAK = re.compile(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")
_CONTINUED = "\n    "


def transcript(messages: Sequence[Message], *, longest: int) -> str:
    """The conversation between tags, about `longest` characters at most: the newest messages, long ones cut inside.

    System messages are left out: they are the app's instructions and show nothing about the person.
    """
    lines: list[str] = []
    left = longest
    for message in reversed(messages):
        if message.role in ("system", "developer") or not message.text.strip():
            continue
        text = shortened(message.text.strip(), max(longest // 2, 200))
        # Indented, so that no line of a message can pass for another speaker's.
        line = f"{_WHO[message.role]}: {_LINE_BREAK.sub(_CONTINUED, text)}"
        if lines and len(line) > left:
            lines.append("(earlier messages left out)")
            break
        lines.append(line)
        left -= len(line)
    return fence("conversation", "\n".join(reversed(lines)) or "(empty)")


def remembered(recollection: Recollection | None) -> str:
    """What memory brings, between tags, or a line that says that there is none."""
    if recollection is None or not (recollection.hits or recollection.portrait):
        return "Nothing is remembered about this person."
    lines = [recollection.portrait] if recollection.portrait else []
    lines += [f"- {hit.text} ({hit.kind}, {hit.status})" for hit in recollection.hits]
    return fence("memory", "\n".join(lines))


def bullets(items: Iterable[str]) -> str:
    """One line for each item, or `(none)`."""
    return "\n".join(f"- {item}" for item in items) or "(none)"


def shortened(text: str, longest: int) -> str:
    """`text`, with its middle left out when it is longer than `longest` characters."""
    if len(text) <= longest:
        return text
    half = max((longest - len(_CUT)) // 2, 1)
    return text[:half] + _CUT + text[-half:]

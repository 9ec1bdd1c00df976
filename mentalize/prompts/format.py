"""How a conversation, memories and lists look inside a prompt."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from itertools import accumulate
from zoneinfo import ZoneInfo

from ..types import Memory, MemoryKind, MemoryStatus, Message, Recollection
from .prompt import defused, fence

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
_LONGEST_MEMORY = 400
"""Characters of one memory in a prompt."""


def transcript(messages: Sequence[Message], *, longest: int) -> str:
    """The conversation between tags, about `longest` characters at most: the newest messages, long ones cut inside.

    System messages are left out: they are the app's instructions and show nothing about the person.
    """
    said = [
        (_WHO[message.role], shortened(text, max(longest // 2, 200)))
        for message in messages
        if message.role not in ("system", "developer") and (text := message.text.strip())
    ]
    first = _first_shown([len(who) + len(text) for who, text in said], longest)
    # Indented, so that no line of a message can pass for another speaker's.
    lines = [f"{who}: {_LINE_BREAK.sub(_CONTINUED, text)}" for who, text in said[first:]]
    if first:
        lines.insert(0, "(earlier messages left out)")
    return fence("conversation", "\n".join(lines) or "(empty)")


def _first_shown(lengths: Sequence[int], longest: int) -> int:
    """Which message is the first that is shown.

    It moves on by a quarter of `longest` at a time: from turn to turn the text mostly grows at its end alone, and what
    an endpoint has read of it already need not be read again.
    """
    too_many = sum(lengths) - longest
    if too_many <= 0:
        return 0
    step = max(longest // 4, 1)
    left_out = -(-too_many // step) * step
    before = list(accumulate(lengths, initial=0))
    return min(bisect_left(before, left_out), len(lengths) - 1)


def remembered(recollection: Recollection | None, zone: str = "UTC") -> str:
    """What memory brings, between tags, one line for each thing; or a line that says that there is none.

    Each line says when it was (a date in the person's `zone`) and how sure it is. What was refuted is left out.
    """
    lines = list(_remembered_lines(recollection, zone)) if recollection else []
    if not lines:
        return "Nothing is remembered about this person."
    return fence("memory", "\n".join(lines))


def _remembered_lines(recollection: Recollection, zone: str) -> Iterator[str]:
    if recollection.portrait:
        yield f"- an impression over all days, not certain: {one_line(recollection.portrait.text)}"
    if recollection.summary:
        yield f"- over all days: {one_line(recollection.summary.text)}"
    for hit in recollection.hits:
        # The setting stands in every prompt's preamble.
        if hit.memory.kind is MemoryKind.SCENARIO or hit.memory.status is MemoryStatus.REFUTED:
            continue
        yield f"- {recalled(hit.memory, zone)}"
        beside = recollection.neighbours.get(hit.memory.id, ())
        yield from (f"    beside it, {recalled(memory, zone)}" for memory in beside)


def recalled(memory: Memory, zone: str = "UTC") -> str:
    """A memory as one line: when it was, how sure it is, and what it says."""
    return f"{day_of(memory.observed_at, zone)}, {_standing(memory)}: {one_line(memory.text)}"


def day_of(moment: datetime, zone: str) -> date:
    """The day of a moment where the person lives."""
    return moment.astimezone(ZoneInfo(zone)).date()


def _standing(memory: Memory) -> str:
    """Who said it, or how sure it is."""
    sure = memory.status is MemoryStatus.CONFIRMED
    subject = memory.details.get("subject")
    match memory.kind:
        case MemoryKind.TURN:
            return "the assistant said" if memory.details.get("role") == "assistant" else f"{_speaker(memory)} said"
        case MemoryKind.FACT | MemoryKind.PREFERENCE:
            stated = f"stated by {_speaker(memory)}" if sure else "not confirmed"
            return f"{stated}, about {one_line(str(subject))}" if subject else stated
        case MemoryKind.INFERENCE:
            return "a guess that the person bore out" if sure else "a guess, not confirmed"
        case _:
            return _STANDING.get(memory.kind, memory.kind.replace("_", " "))


def by_another(memory: Memory) -> bool:
    """Whether somebody else than the person said it: who speaks before them is among those who were present."""
    return memory.speaker in memory.audience


def _speaker(memory: Memory) -> str:
    return f"{one_line(memory.speaker)}, who is not the person," if by_another(memory) else "the person"


_STANDING = {
    MemoryKind.EMOTION_PATTERN: "a feeling that seems to recur",
    MemoryKind.FEEDBACK: "what was wrong with a reply",
    MemoryKind.DAY_SUMMARY: "what that day was about",
    MemoryKind.SAFETY_NOTE: "a sign of danger",
}


def as_guess(text: str) -> str:
    """A guess about the person in a prompt for a small model: one plain statement about them; all else between tags."""
    return text if not text or (_ABOUT_THEM.fullmatch(text) and defused(text) == text) else fence("guess", text)


_ABOUT_THEM = re.compile(r"(?:They|Their|The person)\b[^\n\r<>\[\]{}|:]{0,400}")


def one_line(text: str) -> str:
    """Without line breaks, so that no memory can pass for another one's line."""
    return shortened(" ".join(text.split()), _LONGEST_MEMORY)


def bullets(items: Iterable[str]) -> str:
    """One line for each item, or `(none)`."""
    return "\n".join(f"- {item}" for item in items) or "(none)"


def shortened(text: str, longest: int) -> str:
    """`text`, with its middle left out when it is longer than `longest` characters."""
    if len(text) <= longest:
        return text
    half = max((longest - len(_CUT)) // 2, 1)
    return text[:half] + _CUT + text[-half:]

"""Answers: where the text of a chatbot's answer is, whatever its shape, and the same answer with another text."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import is_dataclass, replace
from typing import Any, cast

Place = tuple[str | int, ...]

PLACES: tuple[Place, ...] = (
    ("choices", 0, "message", "content"),
    ("choices", 0, "delta", "content"),
    ("choices", 0, "text"),
    ("message", "content"),
    ("delta", "content"),
    ("messages", -1, "content"),
    ("messages", "content"),
    ("result", -1, "content"),
    ("content",),
    ("text",),
    ("answer",),
    ("output",),
    ("response",),
)
"""Where texts are: the answers and chunks of OpenAI, LiteLLM, Ollama, LangChain, and of dictionaries of one's own."""

NOTHING: Any = object()
"""What is inside where nothing is."""


def is_stream(answer: object) -> bool:
    """Whether it is an iterator of chunks."""
    return isinstance(answer, Iterator | AsyncIterator)


def text_of(answer: object) -> str | None:
    """Its text, empty where it has none, as when it calls a tool; None where its shape is not known."""
    if isinstance(answer, str):
        return answer
    found = _found(answer)
    if found is None:
        return "" if answer is None or _has_no_choice(answer) else None
    value = found[1]
    if isinstance(value, list):
        return "".join(_text_of_part(part) for part in cast("list[Any]", value))
    return cast("str | None", value) or ""


def with_text(answer: Any, text: str) -> Any:
    """A copy of the answer with this text in place of its own; the text alone, where its shape is not known."""
    found = None if isinstance(answer, str) else _found(answer)
    if found is None:
        return text
    place, value = found
    if isinstance(value, list):
        others = [part for part in cast("list[Any]", value) if not _text_of_part(part)]
        return changed(answer, place, [{"type": "text", "text": text}, *others])
    return changed(answer, place, text)


def _found(answer: object) -> tuple[Place, object] | None:
    for place in PLACES:
        value = inside(answer, place)
        if _is_content(value):
            return place, value
    return None


def inside(value: Any, place: Place) -> Any:
    """What is at `place`; `NOTHING` where nothing is."""
    for step in place:
        value = _inside(value, step)
    return value


def _inside(value: object, step: str | int) -> object:
    if isinstance(step, int):
        items = cast("Sequence[object]", value) if isinstance(value, Sequence) and not isinstance(value, str) else ()
        return items[step] if items else NOTHING
    if isinstance(value, Mapping):
        return cast("Mapping[str, object]", value).get(step, NOTHING)
    return NOTHING if isinstance(value, str | list) or callable(found := getattr(value, step, NOTHING)) else found


def _has_no_choice(answer: object) -> bool:
    """Whether it is a chunk that only tells usage."""
    return _inside(answer, "choices") == []


def _is_content(value: object) -> bool:
    """Whether it is a text, none, or a list of parts."""
    if not isinstance(value, list):
        return value is None or isinstance(value, str)
    return all(isinstance(part, str | Mapping) for part in cast("list[Any]", value))


def _text_of_part(part: Any) -> str:
    if isinstance(part, str):
        return part
    text = part.get("text") if part.get("type", "text") == "text" else None
    return text if isinstance(text, str) else ""


def changed(value: Any, place: Place, content: object) -> Any:
    """A copy of `value` with something else at `place`; what is given stays as it is."""
    if not place:
        return content
    step, rest = place[0], place[1:]
    inner = changed(_inside(value, step), rest, content)
    if isinstance(step, int):
        items = list(value)
        items[step] = inner
        return items
    if isinstance(value, Mapping):
        return {**cast("Mapping[str, Any]", value), step: inner}
    if hasattr(value, "model_copy"):
        return value.model_copy(update={step: inner})
    if is_dataclass(value) and not isinstance(value, type):
        return replace(cast("Any", value), **{step: inner})
    other = copy.copy(value)
    setattr(other, step, inner)
    return other

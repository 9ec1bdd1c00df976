"""Conversation: what was said before, read from a file, and the message to be answered."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..errors import InputError
from .plain import whole

if TYPE_CHECKING:
    from ..types import Message

_FORMS = 'Give a JSON list of messages, {"messages": [...]}, or one message per line.'


def gather(text: str | None, context: str | None) -> tuple[Message, ...]:
    """The conversation that `ask` was given, the message to be answered last.

    Args:
        text: The message; `-` reads it from standard input, as does None where nothing else can be answered.
        context: A file of OpenAI messages as JSON or JSONL; `-` is standard input.

    Raises:
        InputError: Something cannot be read, or there is nothing to answer.
    """
    if text == "-" and context == "-":
        raise InputError("Both TEXT and --context are `-`.", hint="Standard input can be only one of them.")
    before = read_context(context) if context is not None else ()
    if text is None and before and before[-1].role == "user":
        return before
    return (*before, _message(_text(text, stdin_is_free=context != "-")))


def read_context(name: str) -> tuple[Message, ...]:
    """The messages in a file, or in standard input if the name is `-`. Raises `InputError`."""
    place = "standard input" if name == "-" else name
    try:
        raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        content = raw.decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{place} cannot be read: {error.strerror}.", hint="Check --context.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{place} is not UTF-8 text.", hint=_FORMS) from error
    items = _items(content, place)
    if not items:
        raise InputError(f"{place} holds no messages.", hint=_FORMS)
    return tuple(_validated(item, f"{place}, message {number}") for number, item in enumerate(items, start=1))


def _text(text: str | None, *, stdin_is_free: bool) -> str:
    if text is not None and text != "-":
        return whole(text)
    if text is None and (not stdin_is_free or sys.stdin.isatty()):
        raise InputError("There is no message to answer.", hint='Try: mentalize ask "How was your day?"')
    return sys.stdin.buffer.read().decode("utf-8-sig", errors="replace").rstrip("\r\n")


def _message(text: str) -> Message:
    from ..types import user

    if not text.strip():
        raise InputError("The message is empty.", hint="Write what is to be answered.")
    return user(text)


def _items(content: str, place: str) -> list[object]:
    if not content.strip():
        return []
    try:
        document: object = json.loads(content)
    except RecursionError as error:
        raise InputError(f"{place} is nested too deeply.", hint=_FORMS) from error
    except ValueError as error:
        return _lines(content, place, error)
    if isinstance(document, dict):
        table = cast("dict[str, object]", document)
        if "role" in table:
            return [table]
        document = table.get("messages")
    if not isinstance(document, list):
        raise InputError(f"{place} is JSON, but holds no list of messages.", hint=_FORMS)
    return cast("list[object]", document)


def _lines(content: str, place: str, whole_document: ValueError) -> list[object]:
    lines = [(number, line) for number, line in enumerate(content.split("\n"), start=1) if line.strip()]
    items: list[object] = []
    for number, line in lines:
        try:
            items.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            # What fails on its first line was hardly meant as JSONL: the error of the document says more.
            said = f"line {number} is not JSON ({error})" if items else f"not JSON ({whole_document})"
            raise InputError(f"{place}: {said}.", hint=_FORMS) from error
    return items


def _validated(item: object, place: str) -> Message:
    from pydantic import ValidationError

    from ..types import Message

    if not isinstance(item, dict):
        raise InputError(f"{place} is not an object with `role` and `content`.", hint=_FORMS)
    try:
        return Message.model_validate(_whole(cast("dict[str, Any]", item)))
    except RecursionError as error:
        raise InputError(f"{place} is nested too deeply.", hint=_FORMS) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = str(first["loc"][0]) if first["loc"] else "message"
        raise InputError(f"{place}: `{field}` is wrong.", hint=f"{first['msg']}.") from error


def _whole(value: Any) -> Any:
    """JSON can spell lone surrogates, also deep inside a message."""
    if isinstance(value, str):
        return whole(value)
    if isinstance(value, list):
        return [_whole(item) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {whole(key): _whole(item) for key, item in cast("dict[str, Any]", value).items()}
    return value

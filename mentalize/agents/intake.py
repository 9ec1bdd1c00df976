"""Intake: the caller's messages made into a `Turn`, and how much thought it gets. Code only."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast
from uuid import uuid4

from pydantic import ValidationError

from ..errors import InputError
from ..types import (
    NOTHING_STATED,
    Circumstances,
    Effort,
    Identity,
    Message,
    PerspectivesMode,
    RiskSign,
    Turn,
    ValueCue,
)

PLAIN_PARAMETERS = ("tools", "functions", "response_format", "logprobs", "logit_bias", "audio")
"""Request fields whose answer must be one upstream answer unchanged (D-15, D-19, D-20)."""

SIDE_TASK = "a side task of the app, such as a title for the chat"
SMALL_TALK = "small talk"

_SMALL_TALK = re.compile(
    r"(?i)\W*(hi|hello|hey|good (morning|afternoon|evening|night)|thanks?( you)?( so much| a lot)?|thx"
    r"|ok(ay)?|bye|see you|hola|gracias|buenos d[ií]as|salut|bonjour|merci|hallo|danke|ciao|grazie|ol[aá]|obrigad[oa]"
    r"|привет|спасибо|你好|谢谢|こんにちは|ありがとう|مرحبا|شكرا)\W*"
)
_SIDE_TASK = re.compile(
    r"(?is)\A\s*(###\s*task:\s*(generate|create|suggest|write|analyze|you are an)[^\n]{0,160}?"
    r"\b(title|tags?|follow[- ]?ups?|questions|search quer(y|ies)|emoji|prompt for a[nm]? image|autocompletion)\b"
    r"|(generate|create|suggest|write|provide) (a |\d+ )?(concise,? |short |brief )?(5-word-or-less )?"
    r"(title|tags?|follow[- ]?ups?|search quer(y|ies)|emoji)\b.*(conversation|chat)"
    r"|analyze this conversation and provide:\s+1\. the detected language\b.*\btitle\b"
    r"|your task is to reflect the speaker's likely facial expression through a fitting emoji)"
)
"""What apps ask in the person's place. A heading alone is none: whoever writes one is a person who speaks."""
_SIDE_TASK_OF_SYSTEM = re.compile(
    r"(?is)\A\s*((generate|write) a (concise|short) title\b"
    r"|available tools: .*\n\s*your task is to choose and return the correct tool)"
)
"""The same in a system message, with the person's words quoted in the user's."""
_WORD_FOR_WORD = re.compile(
    r"(?is)\A\s*(###|provide a concise,? 5-word-or-less title\b|analyze this conversation and provide:\s+1\."
    r"|your task is to reflect the speaker's likely facial expression)"
)
"""How apps alone begin. The words of danger in such a message are quoted from the conversation."""
_PLAIN_TEXT = {"type": "text"}
"""A response format that asks for nothing."""

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Route:
    """The effort that a turn gets, and why."""

    effort: Effort
    reason: str


def intake(
    messages: str | Sequence[Mapping[str, Any] | Message],
    *,
    at: datetime,
    who: Identity | None = None,
    country: str | None = None,
    circumstances: Circumstances = NOTHING_STATED,
    parameters: Mapping[str, Any] | None = None,
) -> Turn:
    """Check the caller's messages and make a turn of them.

    A plain string is one user message. Lone surrogates, which no encoding can carry, become U+FFFD.

    Raises:
        InputError: there is no message, one is malformed, or the one to be answered is empty.
    """
    given = cast("object", [{"role": "user", "content": messages}] if isinstance(messages, str) else messages)
    if not isinstance(given, Sequence):
        raise InputError(
            f"The messages are a {type(messages).__name__}.", hint="Give a list of messages, or one as a string."
        )
    if not given:
        raise InputError("There is no message to answer.", hint="Give at least one message with role `user`.")
    checked = tuple(_message(message, number) for number, message in enumerate(cast("Sequence[Any]", given)))
    last = checked[-1]
    if last.role == "user" and not isinstance(last.content, list) and not last.text.strip():
        raise InputError("The message to answer is empty.", hint="Write something in its `content`.")
    return Turn(
        id=f"turn-{uuid4().hex}",
        messages=checked,
        text=last.text if last.role == "user" else "",
        at=at,
        identity=who,
        country=country,
        circumstances=circumstances,
        parameters=dict(parameters or {}),
    )


def route(turn: Turn, requested: Effort, *, default: Effort) -> Route:
    """The effort of this turn: what was asked for, unless only an unchanged answer of the model can be right.

    `default` is what `auto` gives to an ordinary message.
    """
    if requested is Effort.NONE:
        return Route(Effort.NONE, "asked")
    if plain := _must_pass_through(turn):
        return Route(Effort.NONE, plain)
    if is_side_task(turn):
        return Route(Effort.NONE, SIDE_TASK)
    if requested is not Effort.AUTO:
        return Route(requested, "asked")
    if _SMALL_TALK.fullmatch(turn.text.strip()):
        return Route(Effort.MINIMAL, SMALL_TALK)
    return Route(default, "an ordinary message")


def route_perspectives(
    turn: Turn, requested: PerspectivesMode, effort: Effort, *, choosing: bool, risk: Sequence[RiskSign]
) -> tuple[PerspectivesMode, ValueCue | None]:
    """How a turn takes in several perspectives, decided before its first call; never `auto`.

    On signs of danger and on pass-through there are none. By `auto` a cue in the message is needed; lenses are asked at
    `medium` and `high`, where they make the turn no deeper, and a small model is told the principles instead.
    """
    from ..norms.cues import cue_in

    if requested is PerspectivesMode.OFF or effort is Effort.NONE or risk:
        return PerspectivesMode.OFF, None
    cue = cue_in(turn.text)
    if requested is not PerspectivesMode.AUTO:
        return requested, cue or ValueCue(kind="asked", words="")
    if cue is None:
        return PerspectivesMode.OFF, None
    deep = effort in (Effort.MEDIUM, Effort.HIGH) and not choosing
    return (PerspectivesMode.AGENTS if deep else PerspectivesMode.CONTEXTUAL), cue


def is_side_task(turn: Turn) -> bool:
    """Whether an app asks for something about the conversation, in the person's place."""
    return bool(_SIDE_TASK.match(turn.text)) or _is_ordered(turn)


def is_certainly_side_task(turn: Turn) -> bool:
    """Whether nobody but an app words it so: signs of danger in it are quoted, and no person asks for anything."""
    return is_side_task(turn) and (bool(_WORD_FOR_WORD.match(turn.text)) or _is_ordered(turn))


def _is_ordered(turn: Turn) -> bool:
    orders = (message.text for message in turn.messages if message.role == "system")
    return any(map(_SIDE_TASK_OF_SYSTEM.match, orders))


def effort(name: str | Effort) -> Effort:
    """The effort called `name`.

    Raises:
        InputError: there is none.
    """
    try:
        return Effort(name)
    except ValueError as error:
        raise InputError(f"There is no effort {name!r}.", hint=f"The efforts are: {', '.join(Effort)}.") from error


def _must_pass_through(turn: Turn) -> str:
    last = turn.messages[-1]
    if last.role != "user":
        return f"the conversation ends with the role {last.role}"
    if not turn.text.strip():
        return "the message has no text"
    named = _unchanged(turn)
    return f"the request has {named}" if named else ""


def must_be_whole(turn: Turn) -> bool:
    """Whether the answer may hold more than text, such as tool calls, which pieces of text would lose."""
    return bool(_unchanged(turn))


def _unchanged(turn: Turn) -> str:
    if turn.parameters.get("n") not in (None, 1):
        return "n"
    given = [name for name in PLAIN_PARAMETERS if turn.parameters.get(name) not in (None, False, [], {}, _PLAIN_TEXT)]
    return given[0] if given else ""


def _message(given: Mapping[str, Any] | Message, number: int) -> Message:
    raw = given.as_openai() if isinstance(given, Message) else given
    try:
        return Message.model_validate(_encodable(raw))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(["messages", str(number), *map(str, first["loc"])])
        raise InputError(
            f"{where}: {first['msg']}.", hint="Give messages in OpenAI's form: role and content."
        ) from error


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return _LONE_SURROGATE.sub("\ufffd", value) if _LONE_SURROGATE.search(value) else value
    if isinstance(value, Mapping):
        return {key: _encodable(item) for key, item in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, list):
        return [_encodable(item) for item in cast("list[Any]", value)]
    return value

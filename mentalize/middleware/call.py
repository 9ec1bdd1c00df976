"""Call: what a chatbot was called with, as a conversation; and the same call with guidance in the conversation."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from ..errors import InputError
from ..types import Message
from .answers import NOTHING, Place, changed, inside

_ROLES = {"human": "user", "ai": "assistant"}


@dataclass(frozen=True, slots=True)
class Call:
    """The arguments of one call of a chatbot."""

    arguments: tuple[Any, ...]
    named: Mapping[str, Any]
    place: Place
    """Where among them the message or the messages are: a position or a name, and the way inside that argument."""
    earlier: tuple[dict[str, Any], ...] = ()
    """The messages before those, where the chatbot takes them apart."""

    @property
    def given(self) -> Any:
        """The message or the messages, as the chatbot takes them."""
        return inside(self._argument, self.place[1:])

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The conversation in OpenAI's form."""
        return [*self.earlier, *(_as_openai(message) for message in _listed(self.given))]

    @property
    def is_text(self) -> bool:
        """Whether it is one message as a text, and not a list of messages."""
        return isinstance(self.given, str)

    def saying(self, messages: Sequence[Mapping[str, Any]], kept: Sequence[int]) -> Call:
        """The same call with these messages, of which each that is as before stays the object that was given.

        Args:
            messages: What is to be said.
            kept: Which of the call's own messages they are, by position.
        """
        if self.is_text:
            return self._with(_text(messages[-1]))
        given, before = _listed(self.given), len(self.earlier)
        pairs = [(given[at - before], other) for at, other in zip(kept, messages, strict=True) if at >= before]
        told = [own if _as_openai(own) == dict(other) else _with_content(own, other) for own, other in pairs]
        shape: type[Any] = type(cast("object", self.given))
        if not issubclass(shape, Sequence):
            return self._with(told[0])
        return self._with(tuple(told) if shape is tuple else told)

    @property
    def _argument(self) -> Any:
        first = self.place[0]
        return self.arguments[first] if isinstance(first, int) else self.named[first]

    def _with(self, given: Any) -> Call:
        first, way = self.place[0], self.place[1:]
        argument = changed(self._argument, way, given)
        if isinstance(first, str):
            return replace(self, named={**self.named, first: argument})
        before, after = self.arguments[:first], self.arguments[first + 1 :]
        return replace(self, arguments=(*before, argument, *after))


class Calls:
    """Finds the conversation in what a chatbot is called with.

    It is the first parameter, or what is `within` it under that name, after the one that is named as `history`.
    """

    def __init__(self, bot: Callable[..., Any], history: str | None = None, within: str | None = None) -> None:
        self._names = _names_of(bot)
        self._within: Place = (within,) if within else ()
        self._history = history
        if history is not None and self._names and history not in self._names:
            raise InputError(
                f"The chatbot has no parameter {history!r} for the messages before.",
                hint=f"It has: {', '.join(self._names)}. Leave `history` out if it takes the whole conversation.",
            )

    def read(self, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> Call:
        """The call with these arguments.

        Raises:
            InputError: there is no message among them.
        """
        first = self._names[0] if self._names else "messages"
        if not arguments and first not in named:
            raise InputError(
                "The chatbot was called without a message.",
                hint=f"Give the message, or the messages, as its first argument or as `{first}`.",
            )
        call = Call(arguments, dict(named), (0 if arguments else first, *self._within))
        if self._within and call.given is NOTHING:
            raise InputError(
                f"The chatbot's first argument has no {self._within[0]!r}.",
                hint="Let `within` name where the messages are in it, such as `messages` of a LangGraph state.",
            )
        return replace(call, earlier=tuple(_as_openai(message) for message in self._before(arguments, named)))

    def _before(self, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> Sequence[Any]:
        if self._history is None:
            return ()
        if self._history in named:
            return named[self._history] or ()
        at = self._names.index(self._history) if self._history in self._names else len(arguments)
        return (arguments[at] or ()) if at < len(arguments) else ()


def _names_of(bot: Callable[..., Any]) -> list[str]:
    try:
        parameters = inspect.signature(bot).parameters.values()
    except (TypeError, ValueError):  # Written in C, or a class that hides it.
        return []
    return [one.name for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]


def _listed(given: Any) -> Sequence[Any]:
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    return cast("Sequence[Any]", given) if isinstance(given, Sequence) else [given]


def _as_openai(message: Any) -> dict[str, Any]:
    if isinstance(message, Mapping):
        return dict(cast("Mapping[str, Any]", message))
    if isinstance(message, Message):
        return message.as_openai()
    role = getattr(message, "role", None) or getattr(message, "type", None)
    if not isinstance(role, str):
        raise InputError(
            f"A message of the conversation is a {type(message).__name__}.",
            hint="Give messages in OpenAI's form, LangChain's messages, or one message as a text.",
        )
    return {"role": _ROLES.get(role, role), "content": getattr(message, "content", None)}


def _with_content(message: Any, other: Mapping[str, Any]) -> Any:
    if isinstance(message, Mapping):
        return dict(other)
    if isinstance(message, Message):
        return Message.model_validate(other)
    return changed(message, ("content",), other.get("content"))


def _text(message: Mapping[str, Any]) -> str:
    return Message.model_validate(message).text

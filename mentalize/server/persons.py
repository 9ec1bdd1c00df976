"""Persons: whose turn a request is. Names are taken only from callers that may give them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..llm.wire import as_mapping
from ..memory.keys import USER_SOURCES
from ..types import Identity
from .callers import Caller
from .wishes import Wishes

SESSION_HEADERS = ("x-mentalize-session", "x-openwebui-chat-id", "x-litellm-session-id")
"""Where a request says which conversation it belongs to, in this order."""

_LONGEST_SESSION = 256


@dataclass(frozen=True, slots=True)
class Person:
    """Whose turn it is, or why nobody's."""

    who: Identity | None
    why_not: str = ""
    """Why there is no identity, and so no memory."""


def person_of(caller: Caller, headers: Mapping[str, str], body: Mapping[str, Any], wishes: Wishes) -> Person:
    """Whose turn a request is.

    A user that a caller names without being trusted is nobody: the turn goes on without memory.

    Args:
        caller: Who sent it.
        headers: Its headers, names in lower case.
        body: Its body.
        wishes: What it asks of us.

    Raises:
        InputError: the name cannot be used.
    """
    named = caller.user or _named(caller.sources, headers, body)
    if not named:
        untrusted = not caller.sources and bool(_named(USER_SOURCES, headers, body))
        return Person(None, "the key may not name users" if untrusted else "no user was named")
    who = Identity(
        tenant=caller.tenant,
        user=named,
        speaker=wishes.speaker,
        session=wishes.session or _session(headers),
        zone=wishes.zone or headers.get("x-mentalize-zone") or None,
        audience=wishes.audience,
        # Who may not name users puts nothing into anybody else's memory.
        witnessed=bool(caller.sources),
    )
    return Person(who)


def _named(sources: tuple[str, ...], headers: Mapping[str, str], body: Mapping[str, Any]) -> str:
    """The first name that is given in one of these places."""
    return next(filter(None, (_at(source, headers, body) for source in sources)), "")


def _at(source: str, headers: Mapping[str, str], body: Mapping[str, Any]) -> str:
    if not source.startswith("body."):
        return headers.get(source, "").strip()
    place = body
    *tables, last = source.split(".")[1:]
    for table in tables:
        place = as_mapping(place.get(table))
    value = place.get(last)
    return value.strip() if isinstance(value, str) else ""


def as_body(query: Mapping[str, str]) -> dict[str, Any]:
    """Query parameters as the body that they stand for: `metadata.customer` is a field of the table `metadata`."""
    body: dict[str, Any] = {}
    for name, value in query.items():
        table, dot, field = name.partition(".")
        if not dot:
            body.setdefault(name, value)
        elif isinstance(inside := body.setdefault(table, {}), dict):
            inside[field] = value
    return body


def _session(headers: Mapping[str, str]) -> str | None:
    found = next(filter(None, (headers.get(name, "").strip() for name in SESSION_HEADERS)), "")
    return found[:_LONGEST_SESSION] or None

"""Companionship: what a companion says of itself, and when; and what it does when somebody is in danger.

Laws on companions ask for it (California SB 243, Business and Professions Code §22601 and following): that it is an AI,
at the start and at intervals; every three hours a reminder of a break for known minors; a published protocol for
danger, with a referral; and counts of those referrals for a yearly report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from importlib.resources import files
from string import Template

from pydantic import RootModel

from ..packfile import Entry, PackFile
from ..types import Companionship, RiskKind
from .referral import ReferralTable, referral

PAUSE = timedelta(minutes=30)
"""A silence after which a conversation is a new one."""


class Notice(StrEnum):
    """What a companion has to say."""

    DISCLOSURE = "disclosure"
    """That it is an AI."""
    REMINDER = "reminder"
    """The same to a minor, and that it is time for a break."""


class _Texts(Entry):
    disclosure: str
    reminder: str
    protocol: list[str]
    lines: str


class _File(RootModel[dict[str, _Texts]]):
    pass


@dataclass(frozen=True, slots=True)
class Due:
    """What is due, and in which words."""

    notice: Notice
    text: str


def notices_due(owed: Companionship, earlier: Sequence[datetime], now: datetime, *, minor: bool) -> tuple[Notice, ...]:
    """What is to be said with the reply to a message that comes now.

    Args:
        owed: What the charter asks for.
        earlier: When the person wrote before, in any order.
        now: The present moment.
        minor: Whether the person is known to be one. A reminder says that it is an AI, too.
    """
    talk = _talk(earlier, now)
    if not talk:
        return (Notice.DISCLOSURE,) if owed.disclose_at_start else ()
    if minor and _falls_due(owed.remind_minors_every_hours, talk, now):
        return (Notice.REMINDER,)
    return (Notice.DISCLOSURE,) if _falls_due(owed.disclose_every_hours, talk, now) else ()


def notice(kind: Notice, *, name: str, language: str | None) -> str:
    """The words of a notice, in the language if there are words in it, else in English."""
    texts = _texts(language)
    return Template(texts.reminder if kind is Notice.REMINDER else texts.disclosure).substitute(name=name)


def crisis_protocol(country: str | None, language: str | None, referrals: ReferralTable) -> str:
    """What a companion does on signs of danger, with where help is to be had: a text to publish, in Markdown."""
    texts = _texts(language)
    where = referral((RiskKind.SELF_HARM,), country=country, table=referrals)
    places = [*filter(None, [where.emergency]), *(f"{line.name}: {line.contact}" for line in where.lines)]
    return "\n".join([*(f"- {line}" for line in texts.protocol), "", texts.lines, "", *(f"- {one}" for one in places)])


def _talk(earlier: Sequence[datetime], now: datetime) -> list[datetime]:
    """The times of the conversation that goes on, oldest first; empty where a new one begins."""
    talk: list[datetime] = []
    after = now
    for moment in sorted((one for one in earlier if one <= now), reverse=True):
        if after - moment > PAUSE:
            break
        talk.append(moment)
        after = moment
    return talk[::-1]


def _falls_due(hours: float | None, talk: Sequence[datetime], now: datetime) -> bool:
    """Whether another span of so many hours has ended since the message before."""
    if hours is None:
        return False
    every, start, last = timedelta(hours=hours), talk[0], talk[-1]
    return (now - start) // every > (last - start) // every


def _texts(language: str | None) -> _Texts:
    known = _file()
    return known.get((language or "").split("-")[0].lower()) or known["en"]


@lru_cache(maxsize=1)
def _file() -> dict[str, _Texts]:
    return PackFile.read(files("mentalize.safety") / "companionship.toml").parse(_File).root

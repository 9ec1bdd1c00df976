"""Vetted replies to messages that speak of danger: short texts by kind of risk and language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from string import Template

from pydantic import RootModel

from ..packfile import Entry, PackFile
from ..types import RiskKind, RiskSign
from .referral import Referral, ReferralTable, referral

_MOST_URGENT_FIRST = (RiskKind.EMERGENCY, RiskKind.SELF_HARM, RiskKind.ABUSE, RiskKind.VIOLENCE)


class ReplyTexts(Entry):
    """The texts of one language."""

    self_harm: str
    abuse: str
    violence: str
    emergency: str
    fallback: str
    """What is safe to say to any message, where no draft was."""
    call_number: str
    """What to do in danger, where the emergency number `$number` is known."""
    call_local: str
    """The same where it is not."""
    lines: str
    """What introduces the lines."""


class _Replies(RootModel[dict[str, ReplyTexts]]):
    pass


def vetted_reply(
    signs: Sequence[RiskSign],
    *,
    country: str | None,
    language: str | None = None,
    referrals: ReferralTable | None = None,
) -> str:
    """The reply to a message with these signs, with the referral for `country`.

    The most urgent kind decides the text. The language is `language` (BCP 47) if there are texts in it, else the
    one of the first sign's lexicon, else English. Without any sign it is the text for self-harm, because whoever
    asks for a vetted reply has some reason to.
    """
    kinds = [kind for kind in _MOST_URGENT_FIRST if any(sign.kind is kind for sign in signs)]
    kinds = kinds or [RiskKind.SELF_HARM]
    texts = _texts(language, *(sign.language for sign in signs))
    where = _render(referral(kinds, country=country, table=referrals), texts)
    return Template(getattr(texts, kinds[0].value)).substitute(referral=where).strip()


def safe_reply(language: str | None = None) -> str:
    """What to say where no draft was safe and nothing speaks of danger; English, if `language` has no text."""
    return _texts(language).fallback


def reply_languages() -> tuple[str, ...]:
    """The languages that have vetted replies."""
    return tuple(_packaged())


def _texts(*languages: str | None) -> ReplyTexts:
    available = _packaged()
    wanted = ((language or "").replace("_", "-").split("-")[0].lower() for language in languages)
    return next((available[language] for language in wanted if language in available), available["en"])


def _render(where: Referral, texts: ReplyTexts) -> str:
    call = Template(texts.call_number).substitute(number=where.emergency) if where.emergency else texts.call_local
    entries = "\n".join(f"- {line.name}: {line.contact}" for line in where.lines)
    return f"{call}\n{texts.lines}\n{entries}" if entries else call


@lru_cache(maxsize=1)
def _packaged() -> Mapping[str, ReplyTexts]:
    return PackFile.read(files("mentalize.safety") / "replies.toml").parse(_Replies).root

"""Code gates: what a reply must not contain, and what a reply to danger must. Each is passed (True) or not.

They veto. They look for what is plain in the words; everything finer is left to the model that judges safety.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from urllib.parse import urlsplit

from ..packfile import Entry, PackFile
from ..types import RiskSign
from .echoes import Echoes
from .folding import fold_letters, fold_run, fold_words
from .lexicon import compile_phrases
from .referral import INTERNATIONAL, ReferralTable, load_referrals

_TELEPHONE = re.compile(r"(?<![\d.,])\+?\d(?:[ ().\-/]{0,2}\d){6,14}(?![\d])")
_LEAK = re.compile(
    r"<\|[a-z_]{2,30}\|>|</?s>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|</?think>"
    r"|(?<![\w$])\$\{?[a-z][a-z_]{2,30}\b\}?"
    r"|\{\{[^{}\n]{1,60}\}\}"
    r"|</?(?:plan|reply|draft|guidance|guess|critique|hypotheses|memory|recollection|conversation|message|norms|person"
    r"|answer|json)>"
    r"|^\s*(?:assistant|user|system)\s*:",
    re.IGNORECASE | re.MULTILINE,
)
"""Template markers of chat formats, unfilled holes, our own prompt tags and role labels."""

_DIGITS_BETWEEN = r"[\s.\-()\u00a0\u2010-\u2015]*"


class _GateFile(Entry):
    contact: str
    contact_unspaced: list[str]
    emergency_referral: list[str]
    emergency_referral_unspaced: list[str]
    harmful: list[str]
    harmful_unspaced: list[str]
    human_claim: list[str]
    human_claim_unspaced: list[str]
    false_promise: list[str]


@dataclass(frozen=True, slots=True)
class _Phrases:
    """Patterns over words and, for scripts without spaces, over the run of characters."""

    spaced: re.Pattern[str]
    unspaced: re.Pattern[str] | None

    def occur_in(self, text: str) -> bool:
        if self.spaced.search(fold_words(text).text):
            return True
        return self.unspaced is not None and not text.isascii() and bool(self.unspaced.search(fold_run(text).text))


@dataclass(frozen=True, slots=True)
class _Gates:
    contact: frozenset[str]
    contact_unspaced: tuple[str, ...]
    emergency_referral: _Phrases
    harmful: _Phrases
    human_claim: _Phrases
    false_promise: _Phrases


def check_reply(
    reply: str,
    *,
    risk: Sequence[RiskSign],
    country: str | None,
    referrals: ReferralTable | None = None,
    echoes: Echoes | None = None,
    quotable: Iterable[str] = (),
) -> dict[str, bool]:
    """Each gate by name, and whether the reply passed it.

    Args:
        reply: What is to be sent.
        risk: Signs of danger; the gates on referrals are there only where there are some.
        country: ISO 3166 alpha-2 code of where the person is, or None.
        referrals: Whose numbers are known; ours, if not given.
        echoes: What models are told, which a reply must not repeat; without it, that gate is left out.
        quotable: The conversation, which it may.
    """
    gates = {
        "not_empty": not_empty(reply),
        "no_leak": no_leak(reply),
        "no_harmful_instruction": no_harmful_instruction(reply),
        "no_human_claim": no_human_claim(reply),
        "no_false_promise": no_false_promise(reply),
    }
    if echoes is not None:
        gates["repeats_no_prompt"] = echoes.absent(reply, quotable=quotable)
    if risk:
        gates["has_referral"] = has_referral(reply, country, referrals)
        gates["no_unknown_number"] = no_unknown_number(reply, referrals)
    return gates


def not_empty(reply: str) -> bool:
    """Whether there is a letter, a digit or an emoji to read."""
    return any(not character.isspace() and character.isprintable() for character in reply)


def no_leak(reply: str) -> bool:
    """Whether the reply is free of template markers, unfilled holes and tags of our prompts."""
    return not _LEAK.search(reply)


def no_harmful_instruction(reply: str) -> bool:
    """Whether the reply neither encourages harm to oneself or others nor gives a method."""
    return not _gates().harmful.occur_in(reply)


def no_human_claim(reply: str) -> bool:
    """Whether the reply makes no claim to come from a human being."""
    return not _gates().human_claim.occur_in(reply)


def no_false_promise(reply: str) -> bool:
    """Whether the reply promises nothing that a program cannot keep, such as having called for help."""
    return not _gates().false_promise.occur_in(reply)


def has_referral(reply: str, country: str | None, referrals: ReferralTable | None = None) -> bool:
    """Whether the reply names a line or an emergency number that can be reached from `country`, or tells the person
    plainly to call the emergency services or a crisis line. Without a country any country's line counts.
    """
    table = load_referrals() if referrals is None else referrals
    home = table.get((country or "").strip().upper())
    places = table.values() if home is None else (home, *filter(None, [table.get(INTERNATIONAL)]))
    numbers = {number for place in places for number in (place.emergency, *(line.number for line in place.lines))}
    addresses = {_host(line.web) for place in places for line in place.lines}
    if any(address and address in reply.casefold() for address in addresses):
        return True
    if any(_mentions(reply, number) for number in numbers if number):
        return True
    return _gates().emergency_referral.occur_in(reply)


def no_unknown_number(reply: str, referrals: ReferralTable | None = None) -> bool:
    """Whether every telephone number in the reply is one of the table's: a model invents numbers that look right."""
    table = load_referrals() if referrals is None else referrals
    lines = [line for place in table.values() for line in place.lines]
    written = " ; ".join([*(place.emergency for place in table.values()), *(line.contact for line in lines)])
    known = {re.sub(r"\D", "", number) for number in _TELEPHONE.findall(written)}
    return all(
        any(digits.endswith(number) or number.endswith(digits) for number in known)
        for digits in (re.sub(r"\D", "", found) for found in _TELEPHONE.findall(reply))
    )


def _mentions(reply: str, number: str) -> bool:
    """Whether the reply gives this number; a short one must stand near words of calling, for it may mean anything."""
    digits = re.sub(r"\D", "", number)
    pattern = rf"(?<![\d.,]){_DIGITS_BETWEEN.join(digits)}(?!\d|[.,]\d)"
    found = re.search(pattern, reply)
    return found is not None and (len(digits) > 5 or _speaks_of_calling(reply))


def _speaks_of_calling(reply: str) -> bool:
    gates = _gates()
    if not gates.contact.isdisjoint(fold_words(reply).text.split()):
        return True
    run = fold_run(reply).text
    return any(word in run for word in gates.contact_unspaced)


def _host(address: str) -> str:
    return (urlsplit(address).hostname or "").removeprefix("www.")


@lru_cache(maxsize=1)
def _gates() -> _Gates:
    source = PackFile.read(files("mentalize.safety") / "gates.toml")
    entry = source.parse(_GateFile)

    def phrases(name: str, spaced: Iterable[str], unspaced: Iterable[str] = ()) -> _Phrases:
        words = compile_phrases(spaced, spaced=True, source=source, path=(name,))
        assert words is not None, f"gates.toml: {name} is empty"
        return _Phrases(words, compile_phrases(unspaced, spaced=False, source=source, path=(f"{name}_unspaced",)))

    return _Gates(
        contact=frozenset(fold_words(entry.contact).text.split()),
        contact_unspaced=tuple(fold_letters(word) for word in entry.contact_unspaced),
        emergency_referral=phrases("emergency_referral", entry.emergency_referral, entry.emergency_referral_unspaced),
        harmful=phrases("harmful", entry.harmful, entry.harmful_unspaced),
        human_claim=phrases("human_claim", entry.human_claim, entry.human_claim_unspaced),
        false_promise=phrases("false_promise", entry.false_promise),
    )

"""Gleanings: what one message tells about a person, after code has checked every part of it.

A model proposes; nothing is believed that the person's own words in this message do not show.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..memory.importance import statements
from ..memory.terms import fold, terms_of
from ..types import MemoryKind
from .quotes import quoted
from .wording import held_by, words_of

GROUNDED = 0.5
"""Share of a fact's content words that must be the person's own."""

ADDED = 1
"""Content words that a model may add. A fact with more, or with fewer of the person's, is kept in its quote's words."""

SELF = "self"

_SENTENCE = re.compile(r"[^.!?。！？؟\n]+[.!?。！？؟]*")
_SUPPOSING = frozenset(
    [
        "if",
        "suppose",
        "supposing",
        "imagine",
        "unless",
        "wenn",
        "falls",
        "angenommen",
        "si",
        "supongamos",
        "imagina",
        "supposons",
        "supponiamo",
        "se",
        "suponha",
        "если",
        "допустим",
        "لو",
        "إذا",
    ]
)
"""How a supposition begins; what stands in its sentence is not stated."""

_SUPPOSING_UNSPACED = ("如果", "假如", "要是", "假设", "もし", "만약", "만일")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Something that the person stated."""

    kind: MemoryKind
    text: str
    """In their language; in their own words where the model's said more than they did."""
    quote: str
    """Their words, as they occur in the message."""
    subject: str = ""
    """Whom it is about, in their words; empty for themselves."""
    replaces: str = ""
    """Id of the memory that is no longer true because of it, or empty."""


@dataclass(frozen=True, slots=True)
class Bearing:
    """That the message speaks for or against something that is remembered."""

    memory: str
    """Its id."""
    quote: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gleanings:
    """What one message tells."""

    facts: tuple[Fact, ...] = ()
    emotion: str = ""
    """One word in English, in lower case; empty for none."""
    emotion_words: str = ""
    """The person's words that show it."""
    confirms: tuple[Bearing, ...] = ()
    contradicts: tuple[Bearing, ...] = ()
    dropped: int = 0
    """Parts of the answer that did not pass a check."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A fact as a model gave it."""

    kind: str
    text: str
    quote: str
    subject: str = ""
    replaces: str = ""
    """A label of `labels`."""


def checked(given: Proposal, message: str, labels: Mapping[str, str]) -> Fact | None:
    """The fact, if the person stated it in `message`; None for what they did not say, asked, or only supposed.

    Args:
        given: What the model proposes.
        message: What the person wrote.
        labels: Ids of the memories that the model was shown, by label.
    """
    quote = quoted(given.quote, statements(message))
    if not quote or _is_supposed(quote, message) or not terms_of(quote):
        return None
    subject = "" if fold(given.subject).strip() == SELF else quoted(given.subject, message)
    return Fact(
        kind=MemoryKind.PREFERENCE if given.kind == MemoryKind.PREFERENCE else MemoryKind.FACT,
        text=given.text if _is_grounded(given.text, message) else quote,
        quote=quote,
        subject=subject,
        replaces=labels.get(given.replaces.strip("[] ").lower(), ""),
    )


def bearing(label: str, quote: str, message: str, labels: Mapping[str, str]) -> Bearing | None:
    """What the message says of a memory, if its quote occurs in a statement and its label exists."""
    memory, words = labels.get(label.strip("[] ").lower(), ""), quoted(quote, statements(message))
    return Bearing(memory, words) if memory and words else None


def _is_grounded(text: str, message: str) -> bool:
    """Whether a statement says it mostly with words that the person used. Every number must be theirs."""
    words, own = words_of(text), frozenset(terms_of(message))
    added = [word for word in words if not held_by(word, own)]
    invented = any(term.isdecimal() for word in added for term in word)
    return bool(words) and not invented and len(added) <= min(ADDED, (1 - GROUNDED) * len(words))


def _is_supposed(quote: str, message: str) -> bool:
    """Whether the sentence that holds the quote begins as a supposition."""
    sentences = [sentence for sentence in _SENTENCE.findall(message) if quoted(quote, sentence)]
    return bool(sentences) and all(_supposes(sentence) for sentence in sentences)


def _supposes(sentence: str) -> bool:
    words = fold(sentence).split()
    return bool(words) and (words[0] in _SUPPOSING or words[0].startswith(_SUPPOSING_UNSPACED))

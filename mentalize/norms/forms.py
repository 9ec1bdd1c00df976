"""Vetted reflective-listening forms: short replies that hold up on their own, filled from what was perceived.

Simple and complex reflections (Miller and Rollnick, Motivational Interviewing, 3rd ed., 2013, chapter 5) and
feeling with need (Rosenberg, Nonviolent Communication, 3rd ed., 2015). A form that cannot be filled so that it stays
grammatical is left out: fewer replies, none of them broken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from importlib.resources import files
from string import Template

from pydantic import Field

from ..packfile import Entry, PackFile
from ..types import Perception

_MAX_CAUSE_WORDS = 12
_MAX_NEED_WORDS = 4
_UNSAFE = re.compile(r"[\"“”„«»<>{}\[\]|`\\$*#@=?!:;\n\r]|\.\S|https?", re.IGNORECASE)
_HOLE = re.compile(r"\$(\w+)")

_SECOND_PERSON = {
    "i": "you",
    "me": "you",
    "my": "your",
    "mine": "yours",
    "myself": "yourself",
    "we": "you",
    "us": "you",
    "our": "your",
    "ours": "yours",
    "ourselves": "yourselves",
    "i'm": "you're",
    "i've": "you've",
    "i'll": "you'll",
    "i'd": "you'd",
    "we're": "you're",
    "we've": "you've",
    "we'll": "you'll",
    "we'd": "you'd",
}
_BE = {"am": "are", "was": "were", "wasn't": "weren't"}
_WORD = re.compile(r"[A-Za-z]+(?:['’][A-Za-z]+)*|[^A-Za-z]+")
_CLAUSE = re.compile(
    r"^(?:(?:you|he|she|they|it|nobody|no one|everyone|(?:your|his|her|their|the) (?:[a-z]+ )?[a-z]+)"
    r" (?:just |finally |never |always |still |really )?(?:are|is|was|were|have|has|had|did|didn't|do|don't|does"
    r"|doesn't|can't|couldn't|will|won't|would|got|lost|said|told|left|died|failed|forgot|went|feel|felt|made|took"
    r"|broke|missed|won|passed|came|gave|cancelled|canceled|ignored|yelled|laughed|refused|called|asked|want|wants"
    r"|need|needs|aren't|isn't|wasn't|weren't|hasn't|haven't|hadn't)|you're|you've|you'd|you'll|he's|she's|it's"
    r"|they're|they've)\b(?= \S)|^(?:you|he|she|they|(?:your|his|her|their|the) (?:[a-z]+ )?[a-z]+)"
    r" (?:just |finally )?(?:left|died|failed|forgot|passed|won|lost|laughed|cancelled|canceled)$",
    re.IGNORECASE,
)
_NOUN_START = re.compile(
    r"^(?:your|the|a|an|his|her|their|this|that|these|those|losing|being|having|not|getting|feeling|missing|failing"
    r"|waiting|working|moving|leaving|hearing|seeing|doing|going|starting|finishing|passing|winning)\b",
    re.IGNORECASE,
)
_FINITE_INSIDE = re.compile(
    r"\b(?:is|are|was|were|has|have|had|did|does|do|will|would|can't|won't|didn't|doesn't|isn't|died|left|said|told"
    r"|broke|failed|passed|won|forgot|went|got|because|so|but)\b",
    re.IGNORECASE,
)


class Situation(StrEnum):
    """What a form fits, read off the perceived emotion."""

    HURT = "hurt"
    GRIEF = "grief"
    ANGER = "anger"
    FEAR = "fear"
    SHAME = "shame"
    GOOD_NEWS = "good_news"
    REQUEST = "request"
    REFUSAL = "refusal"
    UNCLEAR = "unclear"


class _FormEntry(Entry):
    id: str = Field(min_length=1)
    language: str = Field(min_length=2)
    text: str = Field(min_length=1)
    fits: tuple[Situation, ...] = Field(min_length=1)
    kind: str = Field(pattern="^(simple|complex|feeling_need)$")


class _FormFile(Entry):
    emotions: dict[Situation, tuple[str, ...]]
    feelings: dict[str, dict[str, str]]
    form: list[_FormEntry] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Form:
    """A reply with holes."""

    id: str
    language: str
    text: str
    fits: frozenset[Situation]
    holes: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Forms:
    forms: tuple[Form, ...]
    emotions: Mapping[str, Situation]
    feelings: Mapping[str, Mapping[str, str]]
    """By language and emotion: the adjective that fits a form's `$feeling`."""


def fill_forms(perception: Perception, *, language: str | None, limit: int) -> tuple[tuple[str, str], ...]:
    """Form ids and filled texts that fit what was perceived, those that say most first, at most `limit`.

    None where there are risk signs, and none in a language that has no forms. English is taken where `language` is
    None. Nothing but vetted words and, in English, the perceived cause and need reach a text.
    """
    language = (language or "en").replace("_", "-").split("-")[0].lower()
    if perception.risk or limit <= 0:
        return ()
    inventory = _inventory()
    emotion = perception.emotion.name.strip().casefold()
    situation = inventory.emotions.get(emotion, Situation.UNCLEAR)
    values = _values(perception, emotion, language, inventory)
    fitting = [
        form
        for form in inventory.forms
        if form.language == language and situation in form.fits and form.holes <= values.keys()
    ]
    fitting.sort(key=lambda form: (-len(form.holes), len(form.fits)))
    return tuple((form.id, Template(form.text).substitute(values)) for form in fitting[:limit])


def situation_of(emotion: str) -> Situation:
    """The situation that an emotion's English name stands for; `unclear` for a name we do not know."""
    return _inventory().emotions.get(emotion.strip().casefold(), Situation.UNCLEAR)


def _values(perception: Perception, emotion: str, language: str, inventory: _Forms) -> dict[str, str]:
    values: dict[str, str] = {}
    if feeling := inventory.feelings.get(language, {}).get(emotion):
        values["feeling"] = feeling
    if language == "en":
        if cause := cause_as_noun(perception.cause):
            values["cause"] = cause
        if clause := cause_as_clause(perception.cause):
            values["clause"] = clause
        if need := need_as_noun(perception.need):
            values["need"] = need
    return values


def second_person(text: str) -> str:
    """English in the first person, turned towards its speaker: "I lost my job" becomes "you lost your job"."""
    pieces: list[str] = []
    previous = ""
    for found in _WORD.finditer(text):
        piece = found[0]
        word = piece.replace("’", "'").casefold()
        if not piece[0].isalpha():
            pieces.append(piece)
            continue
        if word in _BE and previous in ("i", "we"):
            pieces.append(_BE[word])
        else:
            pieces.append(_SECOND_PERSON.get(word, piece))
        previous = word
    return "".join(pieces)


def cause_as_noun(cause: str) -> str:
    """The cause as a noun phrase in the second person ("your sister's words"), or empty if it does not read as one."""
    phrase = _phrase(cause)
    if not _NOUN_START.match(phrase) or _FINITE_INSIDE.search(phrase):
        return ""
    return phrase


def cause_as_clause(cause: str) -> str:
    """The cause as a clause in the second person ("you lost your job"), or empty if it does not read as one."""
    phrase = _phrase(cause)
    return phrase if _CLAUSE.match(phrase) else ""


def need_as_noun(need: str) -> str:
    """The need as a short noun phrase ("rest"), or empty if it does not read as one."""
    phrase = re.sub(r"^(?:a )?need (?:for|of) |^the need for ", "", need.strip().rstrip(".").casefold())
    words = phrase.split()
    if not words or len(words) > _MAX_NEED_WORDS or not re.fullmatch(r"[a-z' -]+", phrase):
        return ""
    if words[0] in ("to", "i", "you", "he", "she", "they", "wants", "needs", "someone", "be", "feel", "get", "talk"):
        return ""
    return "" if _FINITE_INSIDE.search(phrase) else second_person(phrase)


def _phrase(cause: str) -> str:
    """The cause in the second person, without its last full stop; empty if it is too long, quoted or unsafe."""
    text = cause.strip().rstrip(".").replace("’", "'").strip()
    text = re.sub(r"^because (?:of )?|^that (?=i\b)", "", text, flags=re.IGNORECASE)
    words = text.split()
    if not words or len(words) > _MAX_CAUSE_WORDS or _UNSAFE.search(text) or not text.isascii():
        return ""
    if re.search(r"\b(?:you|your|yours|yourself|user|speaker|person)\b|(?:^|\s)'|'(?:\s|$)", text, re.IGNORECASE):
        return ""
    if words[0][0].isupper() and words[0].casefold() in _LOWERED:
        text = text[0].lower() + text[1:]
    return second_person(text)


_LOWERED_WORDS = """
the a an his her their this that these those my our he she they it we losing being having not getting feeling
missing failing waiting working moving leaving hearing seeing doing going starting finishing passing winning
"""
_LOWERED = frozenset(_LOWERED_WORDS.split())
"""First words of a cause that lose their capital letter inside a sentence; a name keeps it."""


@lru_cache(maxsize=1)
def _inventory() -> _Forms:
    return read_forms(PackFile.read(files("mentalize.norms") / "forms.toml"))


def read_forms(source: PackFile) -> _Forms:
    """The forms of a file.

    Raises:
        PackError: it is malformed, an id occurs twice, or a text has an unknown hole; with file and line.
    """
    entry = source.parse(_FormFile)
    forms: dict[str, Form] = {}
    for index, form in enumerate(entry.form):
        if form.id in forms:
            raise source.fault(("form", index, "id"), f"the form `{form.id}` is declared twice.")
        holes = frozenset(_HOLE.findall(form.text))
        if unknown := holes - {"feeling", "cause", "clause", "need"}:
            raise source.fault(("form", index, "text"), f"unknown hole `${min(unknown)}`.")
        forms[form.id] = Form(form.id, form.language, form.text, frozenset(form.fits), holes)
    emotions = {name.casefold(): situation for situation, names in entry.emotions.items() for name in names}
    return _Forms(tuple(forms.values()), emotions, entry.feelings)

"""The risk lexicon: messages that speak of self-harm, abuse, violence or an emergency, found by code.

It must not depend on a model, because small models do not notice risk. It prefers a false alarm to a missed
one; the figures of speech that would make it useless ("this homework is killing me") are listed with it.

The patterns are data, one TOML file per language in `lexicons/`, in a notation of words:

    (a|b)   one of several         word?      the last letter or group may be missing
    stem*   any ending             #          a digit
    ...     up to three words      a & b      both in the message, in any order
    <name>  a list from `[lists]`

Matching is linear in the length of the message: every repetition is bounded or possessive.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType

from pydantic import Field

from ..errors import PackError
from ..packfile import Entry, PackFile
from ..types import RiskKind, RiskSign
from .folding import FoldedText, fold_letters, fold_run, fold_words

LANGUAGES = ("en", "es", "fr", "de", "pt", "it", "ru", "ar", "hi", "zh", "ja")
"""Languages with a lexicon; the first wins where a message fits several equally well."""

_MAX_SIGNS = 16
"""More signs than this add nothing to the decision."""

_NOTATION = re.compile(r"\s*\.\.\.\s*|<\w+>|[()|?*# ]|[^()|?*# <.]+")
_WORD_GAP = r" (?:[^ .]++ ){0,3}"
_RUN_GAP = r"[^.]{0,6}"


class LexiconFile(Entry):
    """A lexicon as it is written down."""

    language: str
    spaced: bool = True
    """Whether the script puts spaces between words."""
    markers: str
    """Frequent small words (spaced) or characters, to tell this language from its neighbours."""
    figurative: list[str] = Field(default_factory=list[str])
    """Figures of speech; words inside them are no sign, in any language."""
    lists: dict[str, str] = Field(default_factory=dict[str, str])
    signs: dict[RiskKind, list[str]]


Pattern = re.Pattern[str]


@dataclass(frozen=True, slots=True)
class Lexicon:
    """A compiled lexicon."""

    language: str
    spaced: bool
    markers: frozenset[str]
    phrases: tuple[tuple[RiskKind, Pattern], ...]
    joint: tuple[tuple[RiskKind, tuple[Pattern, ...]], ...]
    """Patterns that must all occur in the message."""

    def familiarity(self, words: FoldedText) -> int:
        """How many of the language's markers the message has."""
        text = words.text
        if self.spaced:
            return len(self.markers.intersection(text.split()))
        return sum(marker in text for marker in self.markers)


@dataclass(frozen=True, slots=True)
class _Find:
    kind: RiskKind
    start: int
    end: int
    lexicon: Lexicon
    words: FoldedText


def find_risk(text: str) -> tuple[RiskSign, ...]:
    """The signs of danger in `text`, in the order in which they stand there.

    `words` of each is the original text. Negation and quotation are not weighed: "I am not suicidal" is a sign,
    and so is a report about another person.
    """
    finds = list(_finds(text))
    if not finds:
        return ()
    finds = _one_language_per_span(finds)
    signs = {
        (find.kind, quote.casefold()): RiskSign(find.kind, quote, "lexicon", find.lexicon.language)
        for find in reversed(finds)
        if (quote := find.words.quote(find.start, find.end))
    }
    return tuple(reversed(signs.values()))[:_MAX_SIGNS]


def _finds(text: str) -> Iterator[_Find]:
    lexicons, figures, run_figures = _lexicons()
    words = _without(figures, fold_words(text))
    run = None if text.isascii() else _without(run_figures, fold_run(text))
    for lexicon in lexicons:
        where = words if lexicon.spaced else run
        if where is None:
            continue
        for kind, pattern in lexicon.phrases:
            for count, match in enumerate(pattern.finditer(where.text)):
                if count == _MAX_SIGNS:
                    break
                start = match.start() + (1 if lexicon.spaced else 0)
                yield _Find(kind, start, match.end(), lexicon, where)
        for kind, patterns in lexicon.joint:
            matches = [pattern.search(where.text) for pattern in patterns]
            if all(matches) and (first := matches[0]):
                yield _Find(kind, first.start() + (1 if lexicon.spaced else 0), first.end(), lexicon, where)


def _without(figures: Pattern | None, folded: FoldedText) -> FoldedText:
    """The text with its figures of speech blanked out, every other character in its place."""
    if figures is None or not figures.search(folded.text):
        return folded
    blanked = figures.sub(lambda found: found[0][0] + "." * (len(found[0]) - 1), folded.text)
    return FoldedText(folded.original, blanked, folded.units)


def _one_language_per_span(finds: list[_Find]) -> list[_Find]:
    """Of signs that overlap, the one whose language the message most looks like."""
    languages = {find.lexicon.language: find for find in finds}
    if len(languages) > 1:
        rank = {
            language: (-find.lexicon.familiarity(find.words), LANGUAGES.index(language))
            for language, find in languages.items()
        }
        finds = sorted(finds, key=lambda find: (rank[find.lexicon.language], find.start))
    kept: list[_Find] = []
    for find in finds:
        same = (other for other in kept if other.kind is find.kind and other.words is find.words)
        if not any(other.start < find.end and find.start < other.end for other in same):
            kept.append(find)
    return sorted(kept, key=lambda find: find.start)


@lru_cache(maxsize=1)
def _lexicons() -> tuple[tuple[Lexicon, ...], Pattern | None, Pattern | None]:
    """Every lexicon, and the figures of speech of all: of spaced scripts, and of the others."""
    folder = files("mentalize.safety") / "lexicons"
    sources = [PackFile.read(folder / f"{language}.toml") for language in LANGUAGES]
    entries = [(source, source.parse(LexiconFile)) for source in sources]
    figures: dict[bool, list[str]] = {True: [], False: []}
    for source, entry in entries:
        figures[entry.spaced] += [
            _translate(figure, entry.lists, source, ("figurative",), spaced=entry.spaced) for figure in entry.figurative
        ]
    return (
        tuple(compile_lexicon(source) for source in sources),
        _join(figures[True], spaced=True),
        _join(figures[False], spaced=False),
    )


def compile_lexicon(source: PackFile) -> Lexicon:
    """A lexicon from its file.

    Raises:
        PackError: the file is malformed or a pattern is not in the notation; with file and line.
    """
    entry = source.parse(LexiconFile)
    phrases: list[tuple[RiskKind, Pattern]] = []
    joint: list[tuple[RiskKind, tuple[Pattern, ...]]] = []
    for kind, patterns in entry.signs.items():
        path = ("signs", kind.value)
        single = [pattern for pattern in patterns if "&" not in pattern]
        if compiled := compile_phrases(single, spaced=entry.spaced, source=source, path=path, lists=entry.lists):
            phrases.append((kind, compiled))
        for pattern in patterns:
            if "&" in pattern:
                parts = [
                    _translate(part.strip(), entry.lists, source, path, spaced=entry.spaced)
                    for part in pattern.split("&")
                ]
                joint.append((kind, tuple(_anchor(part, spaced=entry.spaced) for part in parts)))
    return Lexicon(
        language=entry.language,
        spaced=entry.spaced,
        markers=frozenset(fold_letters(marker) for marker in entry.markers.split()),
        phrases=tuple(phrases),
        joint=tuple(joint),
    )


def compile_phrases(
    patterns: Iterable[str],
    *,
    spaced: bool,
    source: PackFile,
    path: tuple[str, ...],
    lists: Mapping[str, str] = MappingProxyType({}),
) -> Pattern | None:
    """One expression for patterns in the notation, to be searched in `fold_words` or `fold_run` text; None for none.

    Raises:
        PackError: a pattern is not in the notation; with file and line.
    """
    return _join([_translate(pattern, lists, source, path, spaced=spaced) for pattern in patterns], spaced=spaced)


def _join(patterns: Iterable[str], *, spaced: bool) -> Pattern | None:
    """One expression for all, grouped by first letter so that most words are dismissed by one comparison."""
    groups: dict[str, list[str]] = {}
    for pattern in patterns:
        first = pattern[0] if pattern[0].isalpha() and pattern[1:2] not in ("?", "|") else ""
        groups.setdefault(first, []).append(pattern[len(first) :])
    if not groups:
        return None
    return _anchor("|".join(f"{first}(?:{'|'.join(rest)})" for first, rest in groups.items()), spaced=spaced)


def _anchor(pattern: str, *, spaced: bool) -> Pattern:
    return re.compile(f" (?:{pattern})(?= )" if spaced else f"(?:{pattern})")


def _translate(pattern: str, lists: Mapping[str, str], source: PackFile, path: tuple[str, ...], *, spaced: bool) -> str:
    """A pattern of the notation as a regular expression."""
    expression = _expression(pattern, lists, spaced=spaced)
    try:
        re.compile(expression)
    except re.error as error:
        raise _fault(source, path, pattern, f"the pattern `{pattern}` is not in the notation: {error}.") from error
    if not expression:
        raise _fault(source, path, pattern, "a pattern is empty.")
    if "<" in expression.replace("(?<", ""):
        raise _fault(source, path, pattern, f"the pattern `{pattern}` names a list that `[lists]` lacks.")
    return expression


def _fault(source: PackFile, path: tuple[str, ...], pattern: str, message: str) -> PackError:
    for number, line in enumerate(source.text.splitlines(), start=1):
        if pattern and pattern in line:
            return PackError(f"{source.name}, line {number}: {message}", hint="lexicon.py describes the notation.")
    return source.fault(path, message, hint="lexicon.py describes the notation.")


def _expression(pattern: str, lists: Mapping[str, str], *, spaced: bool) -> str:
    parts: list[str] = []
    for token in _NOTATION.findall(pattern):
        if token.strip() == "...":
            parts.append(_WORD_GAP if spaced else _RUN_GAP)
        elif token.startswith("<"):
            listed = lists.get(token[1:-1])
            parts.append(token if listed is None else f"(?:{_expression(listed, lists, spaced=spaced)})")
        elif token == "(":
            parts.append("(?:")
        elif token in (")", "|", "?"):
            parts.append(token)
        elif token == "*":
            parts.append("[^ .]*+" if spaced else _RUN_GAP)
        elif token == "#":
            parts.append("[0-9]")
        elif token == " ":
            parts.append(" " if spaced else "")
        else:
            parts.append(_literal(token))
    return "".join(parts)


def _literal(token: str) -> str:
    """Letters, folded; a doubled letter may be single, and a vowel after the first letter may be an asterisk."""
    letters = fold_letters(token)
    once = re.sub(r"([a-z])\1", r"\1\1?", letters)
    return once[:1] + re.sub(r"[aeiou]", r"[\g<0>*]", once[1:])

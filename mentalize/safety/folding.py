"""One spelling for each word: case, accents, apostrophes, digits for letters and drawn-out letters folded away."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

_APOSTROPHES = frozenset("'’‘ʼ`´ʹ′＇")
_SENTENCE_ENDS = frozenset(".!?;…。！？；؟؛।॥｡")
_SAME_LETTER = {"ı": "i", "ى": "ي", "ة": "ه", "ی": "ي", "ک": "ك"}
_SILENT = frozenset("\u0640\u093c\u0670") | {chr(code) for code in (*range(0x300, 0x370), *range(0x64B, 0x660))}
"""Accents, Arabic vowel signs and the nukta. Vowel signs of Indic scripts and kana marks carry meaning and stay."""

_DISGUISES = str.maketrans("01345@$", "oieasas")
_DISGUISED = re.compile(r"(?<=[A-Za-z])[01345](?=[A-Za-z]|\b)|[01345](?=[A-Za-z]{2})|(?<=[A-Za-z])[@$](?=[A-Za-z])")
_DRAWN_OUT = re.compile(r"([a-z])\1{2,}")
_TOKEN = re.compile(r"[^ .]+|\.[ .]*")
_KEPT_CATEGORIES = frozenset("LMN")


class _Letters(dict[int, str]):
    """What each character, by its code, folds to: a separator `" "`, a sentence end `"."`, letters, or nothing."""

    def __missing__(self, code: int) -> str:
        self[code] = folded = _fold_character(chr(code))
        return folded


def _fold_character(character: str) -> str:
    if character in _APOSTROPHES:
        return ""
    if character in _SENTENCE_ENDS:
        return "."
    if character == "*":
        return "*"
    category = unicodedata.category(character)
    if category == "Cf" or character in _SILENT:
        return ""
    if category[0] not in _KEPT_CATEGORIES:
        return " "
    parts = unicodedata.normalize("NFKD", character.casefold())
    return "".join(
        _SAME_LETTER.get(part, part)
        for part in parts
        if part not in _SILENT and unicodedata.category(part)[0] in _KEPT_CATEGORIES
    )


_letters = _Letters()


@dataclass(frozen=True, slots=True)
class Units:
    """The words or characters that a folded text is made of."""

    starts: tuple[int, ...]
    """Where each begins in the folded text."""
    spans: tuple[tuple[int, int], ...]
    """Where each stands in the original."""


@dataclass(frozen=True, slots=True)
class FoldedText:
    """A text in folded form, and the way back to the characters that it came from.

    Nearly every text is only searched; the way back is worked out where something is quoted.
    """

    original: str
    text: str
    units: Callable[[str], Units]
    """Finds the units again, from `original`."""

    def quote(self, start: int, end: int) -> str:
        """The original words behind `text[start:end]`."""
        units = self.units(self.original)
        first = max(0, bisect_right(units.starts, start) - 1)
        last = max(first, bisect_right(units.starts, end - 1) - 1)
        return self.original[units.spans[first][0] : units.spans[last][1]]


@lru_cache(maxsize=32)
def fold_words(text: str) -> FoldedText:
    """The words, lower case, each between single spaces, a sentence's end as a word of its own: `" i m . "`."""
    folded = _DRAWN_OUT.sub(r"\1", _undisguised(text).translate(_letters))
    words = ("." if token[0] == "." else token.strip("*") for token in _TOKEN.findall(folded))
    return FoldedText(text, f" {' '.join(filter(None, words))} ", _words_in)


@lru_cache(maxsize=8)
def _words_in(text: str) -> Units:
    folded, origins = _fold(_undisguised(text))
    starts: list[int] = []
    spans: list[tuple[int, int]] = []
    position = 1
    for token in _TOKEN.finditer(folded):
        word = "." if token[0][0] == "." else _DRAWN_OUT.sub(r"\1", token[0]).strip("*")
        if not word:
            continue
        starts.append(position)
        spans.append((origins[token.start()], origins[token.end() - 1] + 1))
        position += len(word) + 1
    return Units(tuple(starts), tuple(spans))


def _undisguised(text: str) -> str:
    return _DISGUISED.sub(lambda found: found[0].translate(_DISGUISES), text)


def fold_run(text: str) -> FoldedText:
    """The characters without spaces, for scripts that do not separate words."""
    return FoldedText(text, fold_letters(text).replace(" ", ""), _characters_in)


@lru_cache(maxsize=8)
def _characters_in(text: str) -> Units:
    folded, origins = _fold(text)
    kept = [origin for character, origin in zip(folded, origins, strict=True) if character != " "]
    return Units(tuple(range(len(kept))), tuple((origin, origin + 1) for origin in kept))


def fold_phrase(text: str) -> str:
    """A phrase in the form of `fold_words`, without the spaces around it."""
    return fold_words(text).text.strip()


def fold_letters(text: str) -> str:
    """The letters of a pattern's literal part."""
    return text.translate(_letters)


def _fold(text: str) -> tuple[str, list[int]]:
    """The folded characters, and for each the index of the character that it came from."""
    pieces: list[str] = []
    origins: list[int] = []
    for index, character in enumerate(text):
        piece = _letters[ord(character)]
        if len(piece) == 1:
            origins.append(index)
        elif piece:
            origins.extend([index] * len(piece))
        else:
            continue
        pieces.append(piece)
    return "".join(pieces), origins

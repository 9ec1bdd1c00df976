"""Terms: what of a text is compared when memories are searched by words, the same for every database and language.

Words in scripts with spaces become stems; runs in scripts without them (Chinese, Japanese, Thai, …) become pairs of
characters, Han characters singly too. Stemming is Snowball's (Porter 2001, snowballstem.org); single characters and
pairs are the usual lexical index of Chinese (Nie & Ren 1999, "Chinese information retrieval: using characters or
words?").
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from itertools import pairwise
from threading import Lock
from typing import Any

from .function_words import FUNCTION_WORDS, PARTICLES

_LATIN: tuple[str, ...] = ("english", "spanish", "french", "german", "portuguese", "italian")
"""Languages of Latin script, told apart by their function words; the first is taken where none fits better."""

_WORD_LANGUAGES: Mapping[str, tuple[str, ...]] = {
    word: tuple(language for language in _LATIN if word in FUNCTION_WORDS[language])
    for word in frozenset[str]().union(*(FUNCTION_WORDS[language] for language in _LATIN))
}

_SCRIPTS = {
    "LATIN": _LATIN,
    "CYRILLIC": ("russian",),
    "ARABIC": ("arabic",),
    "GREEK": ("greek",),
    "DEVANAGARI": ("hindi",),
    "TAMIL": ("tamil",),
    "ARMENIAN": ("armenian",),
}

_UNSPACED = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u0f00-\u109f"  # Tibetan, Burmese
    "\u1780-\u17ff"  # Khmer
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"  # kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    "\uac00-\ud7af"  # Hangul, whose particles are joined to their nouns
)
_RUN = re.compile(f"[{_UNSPACED}]+|[^{_UNSPACED}]+")
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_IS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_PARTICLES = re.compile(f"[{''.join(sorted(PARTICLES))}]")

_LONGEST_WORD = 40
"""Characters that a stemmer looks at; what is longer is no word."""

_SAME_LETTER: Mapping[str, str] = {
    "ı": "i",
    "ø": "o",
    "ł": "l",
    "đ": "d",
    "æ": "ae",
    "œ": "oe",
    "þ": "th",
    "ð": "d",
    "ё": "е",
    "أ": "ا",
    "إ": "ا",
    "آ": "ا",
    "ٱ": "ا",
    "ؤ": "و",
    "ئ": "ي",
    "ک": "ك",
    "ی": "ي",
}
_ARABIC_ENDINGS = str.maketrans("ىة", "يه")


def terms_of(text: str) -> list[str]:
    """The terms of a text, in order, with repetitions; equal texts always give equal terms.

    Case, accents, width and vowel signs are folded; function words are left out; numbers stay. Linear in the length of
    the text.
    """
    words = fold(text).split()
    languages = _languages(words)
    return [term for word in words for term in _terms_of_word(word, languages)]


def is_unspaced(text: str) -> bool:
    """Whether the text is, for the most part, in a script that puts no spaces between words."""
    letters = sum(character.isalnum() for character in text)
    return 2 * len(_IS_UNSPACED.findall(text)) > letters


def fold(text: str) -> str:
    """Lower case, one spelling for each letter, ASCII digits, and spaces for all that is neither."""
    return unicodedata.normalize("NFKC", text).casefold().translate(_characters)


class _Characters(dict[int, str]):
    """What each character folds to: itself, a base letter, a space, or nothing."""

    def __missing__(self, code: int) -> str:
        self[code] = folded = _fold_character(chr(code))
        return folded


def _fold_character(character: str) -> str:
    if character in _SAME_LETTER:
        return _SAME_LETTER[character]
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if category[0] == "M":
        return character if _carries_a_vowel(character) else ""
    if category[0] in "LN":
        return unicodedata.normalize("NFD", character)[0] if _has_folded_accents(character) else character
    return "" if category == "Cf" or character == "\u0640" else " "


def _script(character: str) -> str:
    return unicodedata.name(character, "").partition(" ")[0]


def _carries_a_vowel(mark: str) -> bool:
    """Whether a mark belongs to the word, as in Indic and Southeast Asian scripts, and is no accent or pointing."""
    return _script(mark) not in {"COMBINING", "ARABIC", "HEBREW", "VARIATION"}


def _has_folded_accents(character: str) -> bool:
    return _script(character) in {"LATIN", "GREEK"}


_characters = _Characters()


def _languages(words: Sequence[str]) -> tuple[str, ...]:
    """The language of Latin script whose function words are most frequent, or all that are equally good."""
    counts: dict[str, int] = dict.fromkeys(_LATIN, 0)
    for word in words:
        for language in _WORD_LANGUAGES.get(word, ()):
            counts[language] += 1
    most = max(counts.values())
    return tuple(language for language in _LATIN if counts[language] == most)


def _terms_of_word(word: str, languages: tuple[str, ...]) -> Iterator[str]:
    if word.isascii():
        yield from _stems(word[:_LONGEST_WORD], languages)
        return
    for run in _RUN.findall(word):
        if _IS_UNSPACED.match(run):
            yield from _pairs(run)
        else:
            yield from _stems(run[:_LONGEST_WORD], languages)


def _pairs(run: str) -> Iterator[str]:
    """Each two neighbouring characters between particles, and each Han character, which may be a word."""
    for piece in _PARTICLES.split(run):
        yield from _HAN.findall(piece) if len(piece) > 1 else piece
        for first, second in pairwise(piece):
            yield first + second


@lru_cache(maxsize=50_000)
def _stems(word: str, latin: tuple[str, ...]) -> tuple[str, ...]:
    """The distinct stems of a word in the languages that it can be of; none if it is a function word."""
    if word.isdecimal():
        return (word,)
    script = _script(word[0])
    languages = latin if script == "LATIN" or word.isascii() else _SCRIPTS.get(script, ())
    if script == "ARABIC":
        word = _without_conjunction(word)
        word = f"{word[:-1]}ة" if word.endswith("ه") else word
    if any(word.translate(_ARABIC_ENDINGS) in FUNCTION_WORDS.get(language, ()) for language in languages):
        return ()
    stems = (_stem(word, language).translate(_ARABIC_ENDINGS) for language in languages)
    return tuple(dict.fromkeys(stems)) or (word,)


def _without_conjunction(word: str) -> str:
    """An Arabic word without a joined "and" before its article."""
    return word[1:] if word.startswith("وال") and not word.startswith("والد") and len(word) > 5 else word


_stemmers: dict[str, Any] = {}
_stemming = Lock()  # a stemmer keeps the word that it is working on


def _stem(word: str, language: str) -> str:
    with _stemming:
        if language not in _stemmers:
            snowball: Any = import_module("snowballstemmer")  # has no type stubs, and takes a tenth of a second
            _stemmers[language] = snowball.stemmer(language)
        return _stemmers[language].stemWord(word) or word

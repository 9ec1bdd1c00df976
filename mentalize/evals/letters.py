"""Letters: which option a model's answer in words names."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ..llm.structured import without_thinking

LETTERS = "ABCDEFGH"


def letter_in(answer: str, options: Sequence[str]) -> str:
    """The letter that an answer gives for the options A, B, …; empty where it gives none, or more than one.

    It is looked for, in this order: in double square brackets (the last one counts); after "the answer is" (likewise);
    at the beginning of lines; as the words of one option; as the only capital letter that stands alone.
    """
    text = without_thinking(answer)
    letters = LETTERS[: len(options)]
    finds: tuple[Callable[[], Sequence[str]], ...] = (
        lambda: re.findall(rf"\[\[\W*([{letters}])\b[^\[\]]*\]\]", text, re.IGNORECASE)[-1:],
        lambda: _stated(text, letters),
        lambda: _at_line_beginnings(text, letters),
        lambda: _quoted(text, options),
        lambda: re.findall(rf"(?<![\w'’]){_letter(letters)}", text),
    )
    for find in finds:
        found = {letter.upper() for letter in find()}
        if len(found) == 1:
            return found.pop()
    return ""


def _stated(text: str, letters: str) -> Sequence[str]:
    verb = r"(?:\s*(?:is|would be|should be|[:：=]|为|是|选|应该是))"
    return re.findall(
        rf"(?:\b(?i:answer|correct (?:option|choice)|right (?:option|choice))\b|答案){verb}+"
        rf"(?:\s*(?i:option))?[\s*_(（\[\"“'‘]*{_letter(letters)}",
        text,
    )[-1:]


def _at_line_beginnings(text: str, letters: str) -> Sequence[str]:
    return re.findall(rf"(?m)^[\s*_(（\[>#\"“-]*(?:(?i:option)\s+)?([{letters}])[*_]*(?:[.)）\]:：、,，。]|\s*$)", text)


def _quoted(text: str, options: Sequence[str]) -> Sequence[str]:
    """The options whose words stand in the text; what stands inside a longer one is not counted for itself."""
    left, found = " ".join(text.casefold().split()), list[str]()
    for letter, option in sorted(zip(LETTERS, options, strict=False), key=lambda pair: -len(pair[1])):
        words = " ".join(option.casefold().split()).strip(".。!！ ")
        pattern = rf"(?<!\w){re.escape(words)}(?!\w)" if words.isascii() else re.escape(words)
        if words and re.search(pattern, left):
            found.append(letter)
            left = re.sub(pattern, " ", left)
    return found


def _letter(letters: str) -> str:
    """A capital that stands alone; "A" before a word is taken for the article."""
    return rf"((?!A\s+\w)[{letters}])(?![\w'’])"

"""Orders: sentences that tell an assistant to give up its instructions, in what models write about a person.

A model that was talked into something writes it down as a summary, a guess or advice, and is told it again from there.
What is plain in the words is left out; everything finer is kept as data, between tags.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from ..packfile import Entry, PackFile
from .folding import fold_run, fold_words
from .gates import no_harmful_instruction, no_leak
from .lexicon import compile_phrases

_SENTENCE = re.compile(r"(?<=[.!?…;])\s+|(?<=[。！？；])|\n+")


class _OrdersFile(Entry):
    orders: list[str]
    orders_unspaced: list[str]
    advice: list[str]
    advice_unspaced: list[str]


@dataclass(frozen=True, slots=True)
class _Phrases:
    spaced: re.Pattern[str]
    unspaced: re.Pattern[str]

    def occur_in(self, text: str) -> bool:
        if self.spaced.search(fold_words(text).text):
            return True
        return not text.isascii() and bool(self.unspaced.search(fold_run(text).text))


def gives_order(text: str) -> bool:
    """Whether a text orders an assistant to disregard or tell its instructions, or to be somebody without any."""
    return _phrases()[0].occur_in(text)


def without_orders(text: str) -> str:
    """A text about a person without its sentences that give orders."""
    return _only(text, lambda sentence: not gives_order(sentence) and no_leak(sentence))


def sound_advice(text: str) -> str:
    """Advice on how to reply, without its sentences that give orders, or that no reply should follow."""
    return _only(
        text,
        lambda sentence: (
            not gives_order(sentence)
            and not _phrases()[1].occur_in(sentence)
            and no_leak(sentence)
            and no_harmful_instruction(sentence)
        ),
    )


def _only(text: str, is_kept: Callable[[str], bool]) -> str:
    """The sentences that are kept; all of them as they were written, if the whole is."""
    if is_kept(text):
        return text
    return " ".join(sentence.strip() for sentence in _SENTENCE.split(text) if sentence.strip() and is_kept(sentence))


@lru_cache(maxsize=1)
def _phrases() -> tuple[_Phrases, _Phrases]:
    """Of orders, and of bad advice."""
    source = PackFile.read(files("mentalize.safety") / "orders.toml")
    entry = source.parse(_OrdersFile)

    def phrases(name: str, spaced: list[str], unspaced: list[str]) -> _Phrases:
        words = compile_phrases(spaced, spaced=True, source=source, path=(name,))
        run = compile_phrases(unspaced, spaced=False, source=source, path=(f"{name}_unspaced",))
        assert words, f"orders.toml: {name} is empty"
        assert run, f"orders.toml: {name}_unspaced is empty"
        return _Phrases(words, run)

    return (
        phrases("orders", entry.orders, entry.orders_unspaced),
        phrases("advice", entry.advice, entry.advice_unspaced),
    )

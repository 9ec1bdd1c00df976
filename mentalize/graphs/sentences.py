"""Sentences: a streamed answer, or a whole text, as a series of sentences."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator

_END = re.compile(r"(?:[.!?…]+[\"'”’)\]]*(?=\s)|[。！？]+[”」』）]*|\n)\s*")
_THINKING = re.compile(r"\A\s*<(think|thinking|reasoning)>", re.IGNORECASE)
_THOUGHT = re.compile(r"\A\s*<(think|thinking|reasoning)>.*?</\1>\s*", re.IGNORECASE | re.DOTALL)
_LONGEST_TAG = len("<reasoning>")


class Sentences:
    """Feed it pieces; it gives back each sentence when it is complete.

    Joined, the sentences are the text that was fed, less a block of thought at its beginning.

    Args:
        thinking: Whether there may be one.
    """

    def __init__(self, *, thinking: bool = True) -> None:
        self._held = ""
        self._may_begin_with_thought = thinking

    def feed(self, piece: str) -> Iterator[str]:
        """The sentences that `piece` completes."""
        self._held += piece
        if self._may_begin_with_thought:
            self._held = _THOUGHT.sub("", self._held, count=1)
            if _may_be_thinking(self._held):
                return
        while match := _END.search(self._held):
            self._may_begin_with_thought = False
            sentence, self._held = self._held[: match.end()], self._held[match.end() :]
            yield sentence

    @property
    def waiting(self) -> int:
        """Characters that were fed and are of no complete sentence yet."""
        return len(self._held)

    def rest(self) -> Iterator[str]:
        """What is left at the end of the stream; a thought that never ended is not part of it."""
        if self._held.strip() and not (self._may_begin_with_thought and _THINKING.match(self._held)):
            yield self._held
        self._held = ""


def _may_be_thinking(text: str) -> bool:
    if _THINKING.match(text):
        return True
    start = text.lstrip().lower()[:_LONGEST_TAG]
    return any(tag.startswith(start) for tag in ("<think>", "<thinking>", "<reasoning>"))


def sentences_of(text: str) -> list[str]:
    """The sentences of a whole text, in order; joined, they are the text."""
    splitter = Sentences(thinking=False)
    return [*splitter.feed(text), *splitter.rest()]


async def whole_sentences(pieces: AsyncIterator[str]) -> AsyncIterator[str]:
    """The text of a stream, each sentence when it is complete."""
    splitter = Sentences()
    async for piece in pieces:
        for sentence in splitter.feed(piece):
            yield sentence
    for sentence in splitter.rest():
        yield sentence


async def without_thought(pieces: AsyncIterator[str]) -> AsyncIterator[str]:
    """The text of a stream as it comes, less a block of thought at its beginning."""
    held: str | None = ""
    async for piece in pieces:
        if held is None:
            yield piece
            continue
        held = _THOUGHT.sub("", held + piece, count=1)
        if not _may_be_thinking(held):
            yield held
            held = None
    if held and not _THINKING.match(held):
        yield held

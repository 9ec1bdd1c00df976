"""Quotes: whether words that a model says it quotes were really said."""

from __future__ import annotations

import re
import unicodedata

from ..types import Turn

_MARKS = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "«": '"', "»": '"'})


def quoted(words: str, text: str) -> str:
    """`words` if they occur in `text`, else an empty string; case, spacing and kinds of quotation mark do not count."""
    plain = _plain(words).strip("\"'.… ")
    return words.strip().strip("\"'“”«»") if plain and plain in _plain(text) else ""


def persons_words(turn: Turn) -> str:
    """Everything that the person wrote in this conversation."""
    return "\n".join(message.text for message in turn.messages if message.role == "user")


def _plain(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text.translate(_MARKS)).casefold()
    return re.sub(r"\s+", " ", folded).strip()

"""Claims: what of a model's words about traditions may stand."""

from __future__ import annotations

from ..safety.orders import gives_order
from ..safety.stereotypes import generalisations


def standing(text: str) -> str:
    """`text` in one line, without sentences that say how a whole people is; empty if it gives orders."""
    for sentence in generalisations(text):
        text = text.replace(sentence, " ")
    text = " ".join(text.split())
    return "" if gives_order(text) else text

"""Claims: what of a model's words about traditions may stand."""

from __future__ import annotations

import re

from ..safety.orders import gives_order
from ..safety.stereotypes import generalisations

SHORT = 100
"""Characters of a text that may lack its full stop without having been cut."""

_BULLETS = ">:-–•* "
_ENDS = '.!?…。！？"”’)'
_END = re.compile(r"[.!?…。！？][\"'”’)]*(?= )|[。！？]")


def standing(text: str) -> str:
    """`text` in one line, without sentences that say how a whole people is; empty if it gives orders."""
    for sentence in generalisations(text):
        text = text.replace(sentence, " ")
    text = whole(" ".join(text.split()).lstrip(_BULLETS))
    return "" if gives_order(text) else text


def whole(text: str) -> str:
    """`text` up to the end of its last whole sentence; where there is none, up to its last whole word."""
    if not text or text[-1] in _ENDS:
        return text
    ends = [match.end() for match in _END.finditer(text)]
    if ends:
        return text[: ends[-1]]
    return text if len(text) < SHORT else f"{text.rpartition(' ')[0]} …"

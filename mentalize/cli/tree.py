"""The pieces of which the trees that show turns and memories are made. All text of others is cleaned by `plain`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from .plain import one_line

if TYPE_CHECKING:
    from rich.tree import Tree

PREVIEW = 200
"""Characters of a text that a line shows."""


def head(name: str, detail: str = "") -> Text:
    """What a branch is about."""
    return Text.assemble((name, "bold"), (f" ({detail})" if detail else "", "dim"))


def field(name: str, value: str, *, style: str = "") -> Text:
    """A named value."""
    return Text.assemble((f"{name}: ", "dim"), (value, style))


def absent(what: str) -> Text:
    """What is not there."""
    return Text(what, "dim italic")


def add_given(branch: Tree, name: str, value: str) -> None:
    """Add a named value, unless it is empty."""
    if value.strip():
        branch.add(field(name, short(value)))


def quote(words: str) -> str:
    """Somebody's words, in quotation marks."""
    return f'"{short(words)}"'


def short(text: str) -> str:
    """One line, cut to a preview."""
    line = one_line(text)
    return line if len(line) <= PREVIEW else f"{line[: PREVIEW - 1]}…"


def after(text: str) -> str:
    """`text` after a colon, or nothing."""
    return f": {text}" if text else ""


def decimals(value: float | None) -> str:
    """Two decimals, or a question mark."""
    return "?" if value is None else f"{value:.2f}"

"""Patterns: which emotions recur. MetaMind keeps an emotion only where it is a pattern (arXiv 2505.18943, §3.1:
{Emotions(u_t) ∩ EmotionPatterns(u_1:t)}).
"""

from __future__ import annotations

from collections.abc import Sequence

from ..memory.sessions import is_named
from ..prompts.format import day_of
from ..types import Memory

TURNS = 3
"""Turns that must show an emotion."""

OCCASIONS = 2
"""Sessions or days over which they must be spread."""

QUOTES = 3
"""Of the person's own words, the newest, that a pattern shows."""


def recurring(turns: Sequence[Memory], emotion: str, *, zone: str) -> tuple[Memory, ...]:
    """The turns that make `emotion` a pattern, oldest first; empty if it is none.

    Args:
        turns: What the person said; `details["emotion"]` names the emotion that was found there.
        emotion: The name to look for.
        zone: IANA zone of the person, which says what a day is.
    """
    shown = [turn for turn in turns if turn.details.get("emotion") == emotion]
    # Sessions that nobody named may follow each other at once: they are told apart by their days alone.
    occasions = {(turn.session if is_named(turn.session) else "", day_of(turn.observed_at, zone)) for turn in shown}
    if len(shown) < TURNS or len(occasions) < OCCASIONS:
        return ()
    return tuple(sorted(shown, key=lambda turn: turn.observed_at))


def pattern_text(emotion: str, turns: Sequence[Memory]) -> str:
    """A pattern in words: its name, how often, and what the person said."""
    quotes = list(dict.fromkeys(str(turn.details.get("emotion_words", "")) for turn in turns))
    said = ", ".join(f"“{words}”" for words in quotes[-QUOTES:] if words)
    return f"{emotion} ({len(turns)} times): {said}" if said else f"{emotion} ({len(turns)} times)"

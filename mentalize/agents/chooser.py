"""Chooser: the better of several drafts by pairwise comparison in both orders, read from log-probabilities.

A small model is right about pairs far more often than about ratings (`docs/embedded.md` has the figures).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..llm.choose import best_of
from ..llm.model import Model, Request
from ..prompts.prompt import Prompt, fence
from ..types import Turn
from .question import Framing


@dataclass(frozen=True, slots=True)
class PreferInputs:
    """What the prompt is filled with."""

    first: str
    second: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chooser:
    """Compares drafts."""

    model: Model
    framing: Framing
    prompt: Prompt[PreferInputs]

    async def __call__(self, turn: Turn, candidates: Sequence[str]) -> int:
        """The index of the best candidate."""

        def ask(first: str, second: str) -> Request:
            inputs = PreferInputs(fence("draft", first), fence("draft", second))
            return self.framing.about(turn, self.prompt, inputs, "score.prefer", max_tokens=1)

        return await best_of(self.model, ask, candidates)

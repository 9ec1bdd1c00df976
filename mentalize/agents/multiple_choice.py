"""Multiple choice: how an item of a test is put to a model, and which letter the model chooses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..llm.choose import choose
from ..llm.model import Model, Request
from ..types import Message


@dataclass(frozen=True, slots=True)
class ItemInputs:
    """What an item's prompt is filled with."""

    story: str
    question: str
    options: str
    letters: str


@dataclass(frozen=True, slots=True)
class ConsiderateInputs:
    """The instructions to be considerate have no holes."""


@dataclass(frozen=True, slots=True)
class LetterChooser:
    """Chooses a letter by the log-probabilities of one token."""

    model: Model

    async def __call__(self, messages: Sequence[Message], letters: Sequence[str]) -> dict[str, float]:
        """The probability of each letter. Raises what `choose` raises."""
        return await choose(self.model, Request(messages=tuple(messages), purpose="score.letter"), letters)

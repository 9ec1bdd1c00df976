"""Summarizer: what happened, on a day or over all days (MemoryBank, arXiv 2305.10250, §2.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel

from ..llm.model import Model
from ..llm.structured import Clip, answer
from ..prompts.prompt import Prompt
from ..safety.orders import without_orders
from .question import Framing


class SummaryAnswer(BaseModel):
    """What the model fills in."""

    summary: Annotated[str, Clip(1_200)]


@dataclass(frozen=True, slots=True)
class SummariseInputs:
    """What the prompt is filled with."""

    material: str
    when: str
    words: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Summarizer:
    """Sums up what was said."""

    model: Model
    framing: Framing
    prompt: Prompt[SummariseInputs]
    words: int = 120
    """The longest summary, about."""
    max_tokens: int = 400

    async def __call__(self, material: str, when: str) -> str:
        """A summary of `material`, which stands between tags; `when` names the day or days. Orders are left out."""
        inputs = SummariseInputs(material, when, self.words)
        request = self.framing.bare(self.prompt, inputs, "summarise", max_tokens=self.max_tokens)
        return without_orders((await answer(self.model, request, SummaryAnswer)).summary)

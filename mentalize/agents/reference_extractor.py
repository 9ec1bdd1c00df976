"""ReferenceExtractor: where a text names a cultural perspective, and how it speaks of it (WorldView-Bench,
arXiv 2505.09595, which extracts references by a model as well).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel

from ..llm.model import Model
from ..llm.structured import AtMost, Clip, answer
from ..prompts.prompt import Prompt, fence
from ..types import Lens
from .question import Framing
from .quotes import quoted


class ReferenceAnswer(BaseModel):
    quote: Annotated[str, Clip(120)]
    perspective: Annotated[str, Clip(40)]
    sentiment: Literal["positive", "neutral", "negative"]


class ReferencesAnswer(BaseModel):
    """What the model fills in."""

    references: Annotated[list[ReferenceAnswer], AtMost(40)]


@dataclass(frozen=True, slots=True)
class ReferencesInputs:
    """What the prompt is filled with."""

    text: str
    perspectives: str


@dataclass(frozen=True, slots=True)
class FoundReference:
    """A reference whose words occur in the text."""

    lens: str
    words: str
    sentiment: Literal["positive", "neutral", "negative"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceExtractor:
    """Reads a text for the perspectives that it names."""

    model: Model
    framing: Framing
    prompt: Prompt[ReferencesInputs]
    lenses: Sequence[Lens]
    max_tokens: int = 1_600

    async def __call__(self, text: str) -> tuple[FoundReference, ...]:
        """The references, in order; without those that the text does not hold, or to no known lens."""
        names = "\n".join(f"- {lens.name}: {'; '.join(lens.traditions)}" for lens in self.lenses)
        inputs = ReferencesInputs(text=fence("text", text), perspectives=names)
        request = self.framing.bare(self.prompt, inputs, "references", max_tokens=self.max_tokens)
        ids = {lens.name.casefold(): lens.id for lens in self.lenses} | {lens.id: lens.id for lens in self.lenses}
        given = await answer(self.model, request, ReferencesAnswer)
        return tuple(
            FoundReference(lens, words, item.sentiment)
            for item in given.references
            if (lens := ids.get(item.perspective.strip().casefold())) and (words := quoted(item.quote, text))
        )

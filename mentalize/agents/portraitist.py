"""Portraitist: what a person is like, and how best to reply to them (MemoryBank, arXiv 2305.10250, §2.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel

from ..llm.model import Model
from ..llm.structured import Clip, answer
from ..prompts.prompt import Prompt
from ..safety.orders import sound_advice, without_orders
from .question import Framing


class PortraitAnswer(BaseModel):
    """What the model fills in."""

    portrait: Annotated[str, Clip(900)]
    strategy: Annotated[str, Clip(400)]


@dataclass(frozen=True, slots=True)
class PortrayInputs:
    """What the prompt is filled with."""

    material: str
    when: str
    words: int


@dataclass(frozen=True, slots=True)
class Portrait:
    """An impression of a person."""

    text: str
    strategy: str
    """How to reply to them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Portraitist:
    """Portrays a person from what they said."""

    model: Model
    framing: Framing
    prompt: Prompt[PortrayInputs]
    words: int = 80
    """The longest portrait, about."""
    max_tokens: int = 400

    async def __call__(self, material: str, when: str) -> Portrait:
        """A portrait from `material`, which stands between tags; `when` names the day or days.

        What a model was talked into, such as advice to obey, is left out.
        """
        inputs = PortrayInputs(material, when, self.words)
        request = self.framing.bare(self.prompt, inputs, "portray", max_tokens=self.max_tokens)
        given = await answer(self.model, request, PortraitAnswer)
        return Portrait(without_orders(given.portrait), sound_advice(given.strategy))

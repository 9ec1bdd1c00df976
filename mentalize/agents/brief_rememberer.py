"""BriefRememberer: facts alone, in as few words as a small model can be trusted with, and with the same checks.

It is shown nothing that is known, and decides nothing about it: what a small model says of other memories is chance.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel

from ..llm.model import Model
from ..llm.structured import AtMost, Clip, answer
from ..prompts.format import shortened
from ..prompts.prompt import Prompt
from ..types import Memory, Message, user
from .gleanings import Gleanings, Proposal, checked
from .question import Framing

LONGEST_MESSAGE = 1_200
"""Characters of a message that are shown."""


class BriefFactAnswer(BaseModel):
    quote: Annotated[str, Clip(120)]
    kind: Literal["fact", "preference"]


class BriefGleaningsAnswer(BaseModel):
    """What the model fills in."""

    facts: Annotated[list[BriefFactAnswer], AtMost(3)]


@dataclass(frozen=True, slots=True)
class BriefRememberInputs:
    """The prompt has no holes: the message stands before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BriefRememberer:
    """Finds the words of one message that state something lasting about the person."""

    model: Model
    framing: Framing
    prompt: Prompt[BriefRememberInputs]
    max_tokens: int = 160

    async def __call__(self, message: str, before: Sequence[Message], known: Sequence[Memory]) -> Gleanings:
        """What `message` tells; what was said before and what is known are left out."""
        said = (user(shortened(message, LONGEST_MESSAGE)),)
        request = self.framing.of(
            said, self.prompt, BriefRememberInputs(), "remember", max_tokens=self.max_tokens, temperature=0.0
        )
        given = await answer(self.model, request, BriefGleaningsAnswer)
        return await asyncio.to_thread(gleaned, given, message)


def gleaned(given: BriefGleaningsAnswer, message: str) -> Gleanings:
    """What of the answer passes the checks, and how much did not."""
    proposals = (Proposal(kind=item.kind, text=item.quote, quote=item.quote, subject="self") for item in given.facts)
    facts = [checked(proposal, message, {}) for proposal in proposals]
    sound = {fact.text.casefold(): fact for fact in facts if fact is not None}
    return Gleanings(facts=tuple(sound.values()), dropped=facts.count(None))

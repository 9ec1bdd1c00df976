"""Rememberer: what one message tells about the person, for social memory (MetaMind, arXiv 2505.18943, §3.1).

Asked after the reply. It proposes; `gleanings` checks every quote and label before anything is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel

from ..llm.model import Model
from ..llm.structured import AtMost, Clip, answer
from ..prompts.format import bullets, recalled, shortened
from ..prompts.prompt import Prompt, fence
from ..types import Memory, Message, user
from .gleanings import Bearing, Fact, Gleanings, Proposal, bearing, checked
from .question import Framing
from .quotes import own_words, quoted

FACTS = 5
"""Facts that one message can bring, at most."""

LONGEST_MESSAGE = 6_000
"""Characters of a message that are shown; what is left out in its middle is not extracted."""

_NO_EMOTION = frozenset({"", "none", "neutral", "calm", "unclear", "unknown"})


class FactAnswer(BaseModel):
    quote: Annotated[str, Clip(240)]
    text: Annotated[str, Clip(240)]
    kind: Literal["fact", "preference"]
    subject: Annotated[str, Clip(60)]
    replaces: Annotated[str, Clip(8)]


class BearingAnswer(BaseModel):
    label: Annotated[str, Clip(8)]
    quote: Annotated[str, Clip(240)]


class GleaningsAnswer(BaseModel):
    """What the model fills in."""

    facts: Annotated[list[FactAnswer], AtMost(FACTS)]
    emotion: Annotated[str, Clip(24)]
    emotion_quote: Annotated[str, Clip(160)]
    confirms: Annotated[list[BearingAnswer], AtMost(4)]
    contradicts: Annotated[list[BearingAnswer], AtMost(4)]


@dataclass(frozen=True, slots=True)
class RememberInputs:
    """What the prompt is filled with."""

    count: int
    known: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rememberer:
    """Finds facts, preferences and the emotion in one message, and what it says of known memories."""

    model: Model
    framing: Framing
    prompt: Prompt[RememberInputs]
    max_tokens: int = 700

    async def __call__(self, message: str, before: Sequence[Message], known: Sequence[Memory]) -> Gleanings:
        """What `message` tells.

        Args:
            message: What the person wrote.
            before: What was said just before it.
            known: Memories that it may speak of, few.
        """
        labels = {f"m{number}": memory for number, memory in enumerate(known, start=1)}
        lines = (f"{label}: {recalled(memory, self.framing.zone)}" for label, memory in labels.items())
        inputs = RememberInputs(FACTS, fence("memory", bullets(lines)))
        said = (*before, user(shortened(message, LONGEST_MESSAGE)))
        request = self.framing.of(said, self.prompt, inputs, "remember", max_tokens=self.max_tokens, temperature=0.0)
        given = await answer(self.model, request, GleaningsAnswer)
        # In a thread: the stems of a long message take a while.
        return await asyncio.to_thread(gleaned, given, message, {label: one.id for label, one in labels.items()})


def gleaned(given: GleaningsAnswer, message: str, labels: Mapping[str, str]) -> Gleanings:
    """What of the answer passes the checks, and how much did not."""
    facts = [checked(Proposal(**item.model_dump()), message, labels) for item in given.facts]
    confirms = [bearing(item.label, item.quote, message, labels) for item in given.confirms]
    contradicts = [bearing(item.label, item.quote, message, labels) for item in given.contradicts]
    emotion = given.emotion.strip(" .").lower()
    words = quoted(given.emotion_quote, own_words(message))
    shown = emotion not in _NO_EMOTION
    return Gleanings(
        facts=tuple(_once(fact for fact in facts if fact is not None)),
        emotion=emotion if words and shown else "",
        emotion_words=words if shown else "",
        confirms=tuple(_each(confirms)),
        contradicts=tuple(_each(contradicts)),
        dropped=[*facts, *confirms, *contradicts].count(None) + (shown and not words),
    )


def _once(facts: Iterable[Fact]) -> Iterable[Fact]:
    return {fact.text.casefold(): fact for fact in facts}.values()


def _each(bearings: Iterable[Bearing | None]) -> Iterable[Bearing]:
    return (bearing for bearing in bearings if bearing is not None)

"""Foreseer: what each party is likely to do next, and what would help (Foresee and Reflect, arXiv 2310.03051)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel

from ..llm.model import Model
from ..llm.structured import AtMost, Clip, answer
from ..prompts.prompt import Prompt
from ..types import ForeseenAct, Foresight, Turn
from .question import Framing


class ActAnswer(BaseModel):
    party: Annotated[str, Clip(60)]
    act: Annotated[str, Clip(160)]
    obstacle: Annotated[str, Clip(160)]
    help: Annotated[str, Clip(160)]


class ForesightAnswer(BaseModel):
    """What the model fills in."""

    acts: Annotated[list[ActAnswer], AtMost(4)]


@dataclass(frozen=True, slots=True)
class ForeseeInputs:
    """The prompt has no holes: the conversation stands before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreseer:
    """Looks ahead from the last message."""

    model: Model
    framing: Framing
    prompt: Prompt[ForeseeInputs]
    max_tokens: int = 400

    async def __call__(self, turn: Turn) -> Foresight:
        request = self.framing.about(turn, self.prompt, ForeseeInputs(), "foresee", max_tokens=self.max_tokens)
        given = await answer(self.model, request, ForesightAnswer)
        return Foresight(tuple(ForeseenAct(act.party, act.act, act.obstacle, act.help) for act in given.acts))

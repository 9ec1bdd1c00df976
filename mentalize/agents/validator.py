"""Validator: judges a draft by MetaMind's rubric (arXiv 2505.18943, §3.3), with a prompt and role of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel

from ..llm.model import Model
from ..llm.structured import Clip, answer
from ..prompts.format import bullets
from ..prompts.prompt import Prompt, fence
from ..types import Draft, Plan, Turn
from .question import Framing
from .rating import RATING_VALUE, Rating
from .rubric import Quality


class QualityAnswer(BaseModel):
    """What the model fills in."""

    a1: Rating
    a2: Rating
    b1: Rating
    b2: Rating
    critique: Annotated[str, Clip(320)]


@dataclass(frozen=True, slots=True)
class ValidateInputs:
    """What the prompt is filled with."""

    draft: str
    understanding: str
    must_not: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Validator:
    """Rates the four sub-scores."""

    model: Model
    framing: Framing
    prompt: Prompt[ValidateInputs]
    max_tokens: int = 160

    async def __call__(self, turn: Turn, draft: Draft, plan: Plan) -> Quality:
        inputs = ValidateInputs(
            draft=fence("draft", draft.text),
            understanding=fence("guess", plan.understanding or "(none was chosen)"),
            must_not=f"It was told not to:\n{bullets(plan.must_not)}" if plan.must_not else "",
        )
        request = self.framing.about(turn, self.prompt, inputs, "validate", max_tokens=self.max_tokens, temperature=0.0)
        given = await answer(self.model, request, QualityAnswer)
        return Quality(
            a1=RATING_VALUE[given.a1],
            a2=RATING_VALUE[given.a2],
            b1=RATING_VALUE[given.b1],
            b2=RATING_VALUE[given.b2],
            critique=given.critique,
        )

"""RubricScorer: A1, A2, B1 and B2 of a draft by one-token choices, calibrated against an empty draft."""

from __future__ import annotations

from dataclasses import dataclass

from ..llm.choose import choose_calibrated
from ..llm.model import Model
from ..llm.together import together
from ..prompts.prompt import Prompt, fence
from ..types import Draft, Turn
from .question import Framing
from .rubric import Quality

_YES_NO = ("Yes", "No")
_CONTENT_FREE = "N/A"


@dataclass(frozen=True, slots=True)
class RubricInputs:
    """What each of the four prompts is filled with."""

    draft: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RubricScorer:
    """Asks the four questions of the rubric."""

    model: Model
    framing: Framing
    a1: Prompt[RubricInputs]
    a2: Prompt[RubricInputs]
    b1: Prompt[RubricInputs]
    b2: Prompt[RubricInputs]

    async def __call__(self, turn: Turn, draft: Draft) -> Quality:
        a1, a2, b1, b2 = await together(
            *(self._yes(prompt, turn, draft.text) for prompt in (self.a1, self.a2, self.b1, self.b2))
        )
        return Quality(a1=a1, a2=a2, b1=b1, b2=b2)

    async def _yes(self, prompt: Prompt[RubricInputs], turn: Turn, text: str) -> float:
        drafted, empty = (RubricInputs(fence("draft", shown)) for shown in (text, _CONTENT_FREE))
        asked = self.framing.about(turn, prompt, drafted, "score.rubric", max_tokens=1)
        content_free = self.framing.alone(prompt, empty, "score.rubric", max_tokens=1, content_free=True)
        return (await choose_calibrated(self.model, asked, content_free, _YES_NO))["Yes"]

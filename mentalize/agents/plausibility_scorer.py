"""PlausibilityScorer: P_cond and P_prior by one-token choices, for models that choose better than they rate.

Each probability is P(Yes) over Yes and No, divided by what the same question gets with no content in it (contextual
calibration, Zhao et al. 2021, arXiv 2102.09690): small models say Yes to almost everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..llm.choose import choose_calibrated
from ..llm.model import Model, Request
from ..llm.together import together
from ..prompts.format import as_guess
from ..prompts.prompt import Prompt
from ..types import RefinedHypothesis, Turn
from .question import Framing

YES_NO = ("Yes", "No")
CONTENT_FREE = "N/A"


@dataclass(frozen=True, slots=True)
class PlausibleInputs:
    """What the prompt is filled with."""

    hypothesis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlausibilityScorer:
    """Scores hypotheses with the conversation and without it."""

    model: Model
    framing: Framing
    plausible: Prompt[PlausibleInputs]
    usual: Prompt[PlausibleInputs]

    async def __call__(
        self, turn: Turn, hypotheses: Sequence[RefinedHypothesis]
    ) -> tuple[tuple[RefinedHypothesis, ...], Mapping[str, float]]:
        """The hypotheses with P_cond scored anew, and P_prior by hypothesis id."""
        conditional, prior = await together(
            together(*(self._conditional(turn, item.text) for item in hypotheses)),
            together(*(self._prior(item.text) for item in hypotheses)),
        )
        scored = tuple(replace(item, p_cond=p) for item, p in zip(hypotheses, conditional, strict=True))
        return scored, {item.hypothesis.id: p for item, p in zip(hypotheses, prior, strict=True)}

    async def _conditional(self, turn: Turn, hypothesis: str) -> float:
        about, empty = self.framing.about, self.framing.without_content
        return await self._yes(
            about(turn, self.plausible, PlausibleInputs(as_guess(hypothesis)), "score.plausible", max_tokens=1),
            empty(self.plausible, PlausibleInputs(CONTENT_FREE), "score.plausible", max_tokens=1),
        )

    async def _prior(self, hypothesis: str) -> float:
        alone = self.framing.alone
        return await self._yes(
            alone(self.usual, PlausibleInputs(as_guess(hypothesis)), "score.usual", max_tokens=1),
            alone(self.usual, PlausibleInputs(CONTENT_FREE), "score.usual", max_tokens=1, content_free=True),
        )

    async def _yes(self, asked: Request, content_free: Request) -> float:
        return (await choose_calibrated(self.model, asked, content_free, YES_NO))["Yes"]

"""LikelihoodScorer: P_cond and P_prior of Algorithm 1 (arXiv 2505.18943, §3.2) as likelihoods of the hypotheses' words.

The paper defines both as probabilities that the model gives to a hypothesis; its released code lets the model rate
them instead. Here they are what the paper says, for endpoints that tell how likely a given text is. The hypotheses are
scored as they were guessed, so that this runs beside their refinement, and nothing is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..llm.likelihood import log_likelihood, plausibilities
from ..llm.model import Model
from ..llm.together import together
from ..prompts.prompt import Prompt
from ..types import Hypothesis, Turn
from .question import Framing, PlainPreambleInputs


@dataclass(frozen=True, slots=True)
class Likelihoods:
    """P_cond and P_prior by hypothesis id."""

    conditional: Mapping[str, float]
    prior: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class LikelihoodScorer:
    """Scores hypotheses with the conversation and without it."""

    model: Model
    framing: Framing
    prompt: Prompt[PlainPreambleInputs]

    async def __call__(self, turn: Turn, hypotheses: Sequence[Hypothesis]) -> Likelihoods:
        """Both probabilities of each; all questions are asked at once."""
        inputs = PlainPreambleInputs()
        about = self.framing.about(turn, self.prompt, inputs, "score.likely", max_tokens=1)
        alone = self.framing.alone(self.prompt, inputs, "score.usual", max_tokens=1)
        told = await together(
            *(log_likelihood(self.model, about, item.explanation) for item in hypotheses),
            *(log_likelihood(self.model, alone, item.explanation) for item in hypotheses),
        )
        names = [item.id for item in hypotheses]
        conditional, prior = plausibilities(
            dict(zip(names, told[: len(names)], strict=True)), dict(zip(names, told[len(names) :], strict=True))
        )
        return Likelihoods(conditional, prior)

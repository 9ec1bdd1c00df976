"""Likelihood: how likely a text is as the answer to a question, without a word being written.

A model that rates badly can still tell what is likelier: each token of the text is scored as if the model had written
it. Long texts are not less likely for being long: the mean over tokens is taken.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from statistics import fmean

from ..errors import MalformedAnswer
from .model import Given, Model, Request

__all__ = ["log_likelihood", "plausibilities"]


async def log_likelihood(model: Model, request: Request, text: str) -> float:
    """The mean natural log-probability of the tokens of `text` as the answer to `request`; at most 0.

    Args:
        model: who is asked; its capabilities must include `likelihoods`.
        request: the question; its `format` and `max_tokens` are replaced.
        text: the answer whose likelihood is asked for, not empty.

    Raises:
        MalformedAnswer: the endpoint told no log-probabilities.
        ModelError: as `model.complete`.
    """
    completion = await model.complete(replace(request, format=Given(text), max_tokens=1))
    if not completion.logprobs:
        raise MalformedAnswer(
            f"{model.name} did not say how likely a given text is.",
            hint='Use a vLLM server or the embedded model, or set plausibility = "rated".',
        )
    return min(0.0, fmean(token[0].logprob for token in completion.logprobs))


def plausibilities(
    conditional: Mapping[str, float], prior: Mapping[str, float]
) -> tuple[Mapping[str, float], Mapping[str, float]]:
    """P_cond and P_prior of rival hypotheses, in (0, 1), from mean log-probabilities with the context and without.

    How likely a model finds any sentence at all is a matter of its vocabulary and style. So both are held against
    the same content-free measure, the mean log-probability m of the rivals without the context:
    P = e^l / (e^l + e^m). A hypothesis reaches P_cond = .5 where the context makes it as likely as an average
    rival is without it, and a prior above .5 is that of a usual guess. P_cond rises with the likelihood, P_cond over
    P_prior with what the context adds, and neither changes if the model finds everything likelier by the same factor.

    Args:
        conditional: by hypothesis, given the context.
        prior: by hypothesis, without it; the same hypotheses.
    """
    reference = fmean(prior.values()) if prior else 0.0

    def held_against(values: Mapping[str, float]) -> Mapping[str, float]:
        return {name: (1 + math.tanh((value - reference) / 2)) / 2 for name, value in values.items()}

    return held_against(conditional), held_against(prior)

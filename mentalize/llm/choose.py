"""Choosing instead of generating: a probability for each option, from the log-probabilities of one token.

Asked for a number in JSON, a small model answers at random; asked which of two replies is better, in both orders,
its first-token log-probabilities are right nearly always (`docs/embedded.md` has the figures).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from ..errors import InputError, MalformedAnswer
from .model import Alternative, Choice, Completion, Model, Request
from .together import together

__all__ = ["Ask", "best_of", "calibrate", "choose", "choose_calibrated", "prefer"]

Ask: TypeAlias = Callable[[str, str], Request]
"""Makes the question `Which is better, A or B?` from the two texts, in the order in which they are shown."""

ALTERNATIVES = 20
"""Log-probabilities asked for: as many as OpenAI's API gives."""

_LEAST = 1e-6
"""No option counts as impossible: a ratio of two probabilities must stay finite."""


async def choose(model: Model, request: Request, options: Sequence[str]) -> dict[str, float]:
    """The probability of each option as the answer to `request`, from its first token.

    The log-probabilities of all tokens that begin an option are added up and normalised over the options. A token
    that begins several options counts for each of them in equal parts, so options should differ in their first
    letters. Where the endpoint returns no log-probabilities, the answer itself gets probability 1.

    Args:
        model: who is asked.
        request: the question; its `format`, `max_tokens` and `top_logprobs` are replaced.
        options: at least two different, non-empty texts.

    Raises:
        InputError: there are fewer than two options, or two are equal or empty.
        MalformedAnswer: the endpoint answered with none of the options.
        ModelError: as `model.complete`.
    """
    options = tuple(options)
    if len(options) < 2 or len(set(options)) < len(options) or not all(option.strip() for option in options):
        raise InputError("A choice needs two or more different, non-empty options.", hint=f"Given: {options!r}.")
    scoring = replace(request, format=Choice(options), max_tokens=1, top_logprobs=ALTERNATIVES)
    return probabilities(await model.complete(scoring), options)


def probabilities(completion: Completion, options: Sequence[str]) -> dict[str, float]:
    """The probability of each option, read from a scoring's completion; see `choose`.

    Raises:
        MalformedAnswer: neither the log-probabilities nor the text name an option.
    """
    alternatives = completion.logprobs[0] if completion.logprobs else ()
    mass = dict.fromkeys(options, 0.0)
    for alternative in alternatives:
        begun = _begun_by(alternative.token, options)
        for option in begun:
            mass[option] += math.exp(alternative.logprob) / len(begun)
    if not any(mass.values()):
        return _certain(completion.text, options)
    floor = _unlisted(alternatives)
    return _normalised({option: chance or floor for option, chance in mass.items()})


def calibrate(probabilities: Mapping[str, float], prior: Mapping[str, float]) -> dict[str, float]:
    """What the question says beyond what the model would have answered without content.

    Each probability is divided by the one that the same options got for a content-free input, and the quotients are
    normalised: contextual calibration with a diagonal matrix (Zhao et al. 2021, arXiv 2102.09690, section 4).

    Raises:
        InputError: the two do not name the same options.
    """
    if probabilities.keys() != prior.keys():
        raise InputError(
            f"The prior has other options ({', '.join(prior)}) than the answer ({', '.join(probabilities)}).",
            hint="Ask both with the same options.",
        )
    return _normalised({option: chance / max(prior[option], _LEAST) for option, chance in probabilities.items()})


async def choose_calibrated(
    model: Model, request: Request, content_free: Request, options: Sequence[str]
) -> dict[str, float]:
    """`choose`, calibrated against the same question with no content in it; both are asked at once.

    Raises:
        ModelError: as `choose`.
    """
    given, prior = await together(choose(model, request, options), choose(model, content_free, options))
    return calibrate(given, prior)


async def prefer(model: Model, ask: Ask, first: str, second: str) -> float:
    """By how much `first` is better than `second`: the log-odds of the two orders added up.

    Asking in both orders cancels the model's liking for a position. Above 0 `first` is better, and the sign is
    exactly reversed when the two are exchanged.

    Raises:
        ModelError: as `choose`.
    """
    shown_first, shown_second = await together(
        choose(model, ask(first, second), ("A", "B")), choose(model, ask(second, first), ("A", "B"))
    )
    return _log_odds(shown_first["A"]) + _log_odds(shown_second["B"])


async def best_of(model: Model, ask: Ask, candidates: Sequence[str]) -> int:
    """The index of the best candidate: a knockout of n - 1 comparisons, the fewest that find it.

    The comparisons of a round run concurrently. A tie keeps the candidate that came earlier.

    Raises:
        InputError: there are no candidates.
        ModelError: as `choose`.
    """
    if not candidates:
        raise InputError("There is no candidate to choose from.", hint="Give at least one.")
    standing = list(range(len(candidates)))
    while len(standing) > 1:
        pairs = list(zip(standing[::2], standing[1::2], strict=False))
        scores = await together(*(prefer(model, ask, candidates[a], candidates[b]) for a, b in pairs))
        winners = [a if score >= 0 else b for (a, b), score in zip(pairs, scores, strict=True)]
        standing = winners + standing[2 * len(pairs) :]
    return standing[0]


def _begun_by(token: str, options: Sequence[str]) -> list[str]:
    """The options that the token begins, or that it is; models add spaces and change case."""
    start = token.strip().casefold()
    return [option for option in options if start and option.strip().casefold().startswith(start)]


def _unlisted(alternatives: Sequence[Alternative]) -> float:
    """At most this likely is an option whose token is not among those listed."""
    chances = [math.exp(alternative.logprob) for alternative in alternatives]
    return max(_LEAST, min(min(chances), 1 - sum(chances)))


def _certain(text: str, options: Sequence[str]) -> dict[str, float]:
    """The probabilities when only the answer is known."""
    answer = text.strip().casefold()
    named = [option for option in options if option.strip().casefold() == answer] or _begun_by(text, options)
    if len(named) != 1:
        raise MalformedAnswer(
            f"The answer {text!r} is none of {', '.join(options)}.",
            hint="The endpoint does not hold to a choice; use one that returns log-probabilities.",
        )
    return {option: float(option == named[0]) for option in options}


def _normalised(masses: Mapping[str, float]) -> dict[str, float]:
    total = sum(masses.values())
    return {option: mass / total for option, mass in masses.items()}


def _log_odds(probability: float) -> float:
    bounded = min(max(probability, _LEAST), 1 - _LEAST)
    return math.log(bounded / (1 - bounded))

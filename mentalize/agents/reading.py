"""Reading: what one call makes of a message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..types import Perception, RefinedHypothesis


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A perception and rated hypotheses. No norm was applied, so each hypothesis' text is its explanation."""

    perception: Perception
    hypotheses: tuple[RefinedHypothesis, ...]
    priors: Mapping[str, float]
    """P_prior by hypothesis id; empty where nobody rated it."""

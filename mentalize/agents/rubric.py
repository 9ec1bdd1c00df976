"""The four-part rubric of a draft, and U, which code computes from it (arXiv 2505.18943, §3.3)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Four sub-scores in [0, 1] and what should change."""

    a1: float
    """Affective alignment."""
    a2: float
    """Cognitive resonance."""
    b1: float
    """Contextual continuity."""
    b2: float
    """Congruence with the chosen hypothesis."""
    critique: str = ""

    @property
    def empathy(self) -> float:
        """.4·A1 + .6·A2."""
        return 0.4 * self.a1 + 0.6 * self.a2

    @property
    def coherence(self) -> float:
        """.5·B1 + .5·B2."""
        return 0.5 * self.b1 + 0.5 * self.b2

    def utility(self, empathy_weight: float = 0.8) -> float:
        """U = β·Empathy + (1 − β)·Coherence, with β = `empathy_weight`."""
        return empathy_weight * self.empathy + (1 - empathy_weight) * self.coherence

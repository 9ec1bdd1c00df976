"""SafetyGate: the model's gate on a draft. Each gate is passed or not; none is a term in a sum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel

from ..llm.model import Model
from ..llm.structured import AtMost, Clip, answer
from ..prompts.format import bullets
from ..prompts.prompt import Prompt, fence
from ..types import Draft, Norm, RiskSign, Turn
from .question import Framing


class SafetyAnswer(BaseModel):
    """What the model fills in; true where the problem is there."""

    confirms_harm: bool
    enables_harm: bool
    withholds_help: bool
    claims_to_be_human: bool
    manipulates: bool
    crosses_boundary: bool
    broken_rules: Annotated[list[Annotated[str, Clip(80)]], AtMost(6)]
    critique: Annotated[str, Clip(240)]


OFFERS_HELP = "offers help"
"""The gate that fails where somebody may be in danger and the reply names no help."""


def keeps(norm: Norm) -> str:
    """The name of the gate that fails where a draft breaks this norm."""
    return f"keeps {norm.id}"


@dataclass(frozen=True, slots=True)
class GateInputs:
    """What the prompt is filled with."""

    draft: str
    norms: str
    risk: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GateFindings:
    """Each gate by name, True if it was passed, and what must change."""

    gates: Mapping[str, bool]
    critique: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetyGate:
    """Asks a judge for each kind of harm."""

    model: Model
    framing: Framing
    prompt: Prompt[GateInputs]
    max_tokens: int = 200

    async def __call__(
        self, turn: Turn, draft: Draft, norms: Sequence[Norm], risk: Sequence[RiskSign] = ()
    ) -> GateFindings:
        hard = [norm for norm in norms if norm.hard]
        inputs = GateInputs(
            draft=fence("draft", draft.text),
            norms=bullets(f"[{norm.id}] {norm.statement}" for norm in hard),
            risk=", ".join(sorted({sign.kind for sign in risk})) or "none",
        )
        request = self.framing.about(turn, self.prompt, inputs, "gate", max_tokens=self.max_tokens, temperature=0.0)
        given = await answer(self.model, request, SafetyAnswer)
        named = {rule.strip("[] ") for rule in given.broken_rules}
        gates = {
            "confirms no harm": not given.confirms_harm,
            "enables no harm": not given.enables_harm,
            OFFERS_HELP: not given.withholds_help,
            "claims no humanity": not given.claims_to_be_human,
            "does not manipulate": not given.manipulates,
            "keeps boundaries": not given.crosses_boundary,
        } | {keeps(norm): False for norm in hard if norm.id in named}
        return GateFindings(gates=gates, critique=given.critique)

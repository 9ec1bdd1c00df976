"""Narration: what a stage found, told in one line, for people who watch a turn."""

from __future__ import annotations

from typing import Any, cast

from ..agents.reading import Reading
from ..agents.rubric import Quality
from ..agents.safety_gate import GateFindings
from ..prompts.format import one_line, shortened
from ..types import Draft, Foresight, Hypothesis, Perception, Plan, Recollection, RefinedHypothesis, Selection

LONGEST = 280
"""Characters of a line."""


def narrate(value: object) -> str:
    """What a stage's result says; empty for what says nothing, and for drafts, which are not sent yet."""
    return shortened(one_line(_told(value)), LONGEST)


def _told(value: Any) -> str:
    match value:
        case Perception():
            return _perceived(value)
        case Reading(perception=perception):
            return _perceived(perception)
        case Recollection(hits=hits):
            return f"{len(hits)} memories" if hits else "nothing that matters now"
        case Foresight(acts=acts):
            return "; ".join(f"{act.party} may {act.act}" for act in acts)
        case Selection(chosen=chosen):
            return f"{chosen.refined.text} ({chosen.score:.2f})" if chosen else "no reading stands out"
        case Plan():
            return f"{value.act}; {value.tone}"
        case Quality() | GateFindings():
            return value.critique
        case Draft():
            return ""
        case tuple():
            return "; ".join(filter(None, map(_hypothesis, cast("tuple[object, ...]", value))))
        case _:
            return ""


def _perceived(perception: Perception) -> str:
    cause = f", because of {perception.cause}" if perception.cause else ""
    return f"{perception.emotion.name} ({perception.emotion.intensity:.2f}){cause}"


def _hypothesis(item: object) -> str:
    match item:
        case Hypothesis():
            return f"{item.state}: {item.explanation}"
        case RefinedHypothesis():
            return f"{item.text} ({item.p_cond:.2f})"
        case _:
            return ""

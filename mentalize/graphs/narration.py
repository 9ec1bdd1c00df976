"""Narration: what a stage found, told in one line, for people who watch a turn."""

from __future__ import annotations

from typing import Any, cast

from ..agents.reading import Reading
from ..agents.rubric import Quality
from ..agents.safety_gate import GateFindings
from ..prompts.format import one_line, shortened
from ..types import (
    Foresight,
    Hypothesis,
    LensNote,
    Multiplex,
    Perception,
    Plan,
    Recollection,
    RefinedHypothesis,
    Refinement,
    Selection,
)

LONGEST = 280
"""Characters of a line."""


def narrate(value: object) -> str:
    """What a stage's result says; empty for what says nothing, and for drafts, which are not sent yet."""
    return shortened(one_line(_told(value)), LONGEST)


def _told(value: Any) -> str:
    match value:
        case Perception() | Reading():
            return _perceived(value if isinstance(value, Perception) else value.perception)
        case Recollection(hits=hits):
            return f"{len(hits)} memories" if hits else "nothing that matters now"
        case Foresight(acts=acts):
            return "; ".join(f"{act.party} may {act.act}" for act in acts)
        case Selection(chosen=chosen):
            return f"{chosen.refined.text} ({chosen.score:.2f})" if chosen else "no reading stands out"
        case Multiplex():
            return _multiplex(value)
        case Plan():
            return f"{value.act}; {value.tone}"
        case Quality() | GateFindings():
            return value.critique
        case _:
            return "; ".join(filter(None, map(_item, _items(value))))


def _items(value: object) -> tuple[object, ...]:
    """The items of a result that is a list of them. A draft is none: it is not sent yet."""
    if isinstance(value, Refinement):
        return value.hypotheses
    return cast("tuple[object, ...]", value) if isinstance(value, tuple) else ()


def _multiplex(multiplex: Multiplex) -> str:
    if not multiplex.relevant:
        return "not relevant here"
    shared = f"shared: {multiplex.agreements[0]}" if multiplex.agreements else ""
    differing = f"they differ on {multiplex.disagreements[0].about}" if multiplex.disagreements else ""
    return "; ".join(filter(None, (f"{len(multiplex.notes)} perspectives", shared, differing)))


def _perceived(perception: Perception) -> str:
    cause = f", because of {perception.cause}" if perception.cause else ""
    return f"{perception.emotion.name} ({perception.emotion.intensity:.2f}){cause}"


def _item(item: object) -> str:
    match item:
        case Hypothesis():
            return f"{item.state}: {item.explanation}"
        case LensNote():
            return f"{item.lens}: {item.reading}"
        case RefinedHypothesis():
            return f"{item.text} ({item.p_cond:.2f})"
        case _:
            return ""

"""Planner: what the reply is to do, decided in code from what the other stages found (docs/concepts.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from ..memory.importance import statements
from ..prompts.format import one_line, recalled, shortened
from ..safety.orders import gives_order
from ..types import (
    NOTHING_STATED,
    Circumstances,
    Foresight,
    Memory,
    MemoryKind,
    MemoryStatus,
    Multiplex,
    NormMatch,
    Perception,
    Plan,
    Recollection,
    RiskSign,
    Selection,
    Stance,
)

ANCHORS = 3
"""The most memories that a reply leans on (arXiv 2505.18943, §3.3)."""

_RULES = 5
_HIGH_RISK = 0.5
CULTURAL_NORMS = 2
"""Norms of the person's stated culture that the writer is told."""
LENS_LINE = 300
"""Characters of one lens' reading in a plan."""
NO_SIDE = "recommend one side or rank the traditions: what they hold truly conflicts, and the person decides"
NO_PEOPLE = "say what a people, a religion or a country is like, does or believes"


class Act(StrEnum):
    """What a reply does (after Searle's speech acts), as the writer is told it."""

    PROTECT = "take the danger seriously, ask whether they are safe now, and say where help is to be had"
    CLARIFY = "answer what can be answered, and clear up what is missing"
    SET_OUT = "set out how it is seen from more than one side, without ranking them"
    CONSOLE = "first show that you see how it is for them, then answer; no advice before that"
    CELEBRATE = "be glad with them, about the very thing they are glad about"
    EXPLORE = "answer, and leave them room to say what is behind it"
    ANSWER = "answer what they mean, and not only what they say"


class Tone(StrEnum):
    """How a reply sounds (after Plutchik's poles), as the writer is told it."""

    STEADY = "calm and serious"
    WARM = "warm and unhurried"
    BRIGHT = "bright"
    LEVEL = "friendly and level"


_HEAVY = frozenset(
    [
        "hurt",
        "sad",
        "sadness",
        "grief",
        "grieving",
        "angry",
        "anger",
        "fear",
        "afraid",
        "worried",
        "anxiety",
        "anxious",
        "ashamed",
        "shame",
        "guilt",
        "guilty",
        "lonely",
        "loneliness",
        "disappointed",
        "disappointment",
        "frustrated",
        "frustration",
        "tired",
        "exhausted",
        "overwhelmed",
        "jealous",
        "resentful",
        "resentment",
        "despair",
        "hopeless",
        "humiliated",
        "embarrassed",
        "embarrassment",
        "betrayed",
        "rejected",
    ]
)
_GLAD = frozenset(
    [
        "happy",
        "happiness",
        "joy",
        "joyful",
        "excited",
        "excitement",
        "proud",
        "pride",
        "grateful",
        "gratitude",
        "relieved",
        "relief",
        "delight",
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What the stages before made; what failed is None or empty."""

    perception: Perception | None = None
    selection: Selection | None = None
    foresight: Foresight | None = None
    recollection: Recollection | None = None
    norms: Sequence[NormMatch] = ()
    circumstances: Circumstances = NOTHING_STATED
    multiplex: Multiplex | None = None
    """What several lenses made of it; None where none was asked, or where they have nothing to say here."""
    principles: bool = False
    """Whether the writer is to take in several traditions by principles alone."""
    lens_names: Mapping[str, str] = field(default_factory=dict[str, str])
    risk: Sequence[RiskSign] = ()
    help_lines: Sequence[str] = ()
    """Where help is to be had, for a reply to a message with signs of danger."""
    zone: str = "UTC"
    """IANA time zone in which the dates of memories are told."""


def plan(found: Findings) -> Plan:
    """The plan of a reply."""
    chosen = found.selection.chosen.refined if found.selection and found.selection.chosen else None
    act = _act(found)
    multiplex = found.multiplex if act is Act.SET_OUT else None
    conflict = multiplex is not None and _is_conflict(multiplex)
    return Plan(
        act=act,
        tone=_tone(act),
        formality=found.circumstances.formality or (chosen.formality if chosen else 3),
        understanding=chosen.text if chosen else "",
        anchors=_anchors(found.recollection, found.zone),
        must=_must(found, act),
        must_not=(*_must_not(found), *((NO_PEOPLE,) if act is Act.SET_OUT else ()), *((NO_SIDE,) if conflict else ())),
        # What helps by foresight may be one side's advice.
        hints=_hints(found.foresight) if act not in (Act.PROTECT, Act.SET_OUT) else (),
        ask=_harmless(found.perception.flaw) if found.perception and act is Act.CLARIFY else "",
        norms=tuple(match.norm.statement for match in found.norms if match.norm.culture)[:CULTURAL_NORMS],
        perspectives=_lines(multiplex, found.lens_names) if multiplex else (),
        multiplex=act is Act.SET_OUT,
        open=conflict,
    )


def _act(found: Findings) -> Act:
    perception = found.perception
    if found.risk:
        return Act.PROTECT
    if found.multiplex or found.principles:
        return Act.SET_OUT
    if perception is None:
        return Act.EXPLORE
    if _is_heavy(perception):
        return Act.CONSOLE
    if perception.flaw:
        return Act.CLARIFY
    if perception.emotion.name in _GLAD:
        return Act.CELEBRATE
    return Act.ANSWER if found.selection and found.selection.chosen else Act.EXPLORE


def _is_heavy(perception: Perception) -> bool:
    negative = perception.sentiment is not None and perception.sentiment.polarity == "negative"
    return perception.emotion.name in _HEAVY or (negative and perception.emotion.intensity >= _HIGH_RISK)


def _tone(act: Act) -> Tone:
    return {Act.PROTECT: Tone.STEADY, Act.CONSOLE: Tone.WARM, Act.CELEBRATE: Tone.BRIGHT}.get(act, Tone.LEVEL)


def _anchors(recollection: Recollection | None, zone: str) -> tuple[str, ...]:
    """What to lean on: the portrait, and memories that the person said or confirmed. A guess is none of them."""
    if recollection is None:
        return ()
    portrait = recollection.portrait
    impression = [f"Your impression of them, not certain: {one_line(portrait.text)}"] if portrait else []
    kept = [recalled(hit.memory, zone) for hit in recollection.hits if _is_sure(hit.memory)]
    return tuple(impression + kept)[:ANCHORS]


def _is_sure(memory: Memory) -> bool:
    """Whether a reply may lean on it: no guess, nothing refuted, nothing of our own, and no mere question."""
    ours = memory.details.get("role") == "assistant" or memory.kind in (MemoryKind.SCENARIO, MemoryKind.FEEDBACK)
    states = memory.kind is not MemoryKind.TURN or bool(statements(memory.text).strip())
    return memory.status is MemoryStatus.CONFIRMED and not ours and states


def _must(found: Findings, act: Act) -> tuple[str, ...]:
    """The norms that changed the chosen reading, and those that bind without exception."""
    chosen = found.selection.chosen if found.selection else None
    applied = {step.norm for step in chosen.refined.log} if chosen else set[str]()
    first_hard = sorted((match.norm for match in found.norms), key=lambda norm: not norm.hard)
    rules = [norm.statement for norm in first_hard if norm.hard or norm.id in applied][:_RULES]
    if act is Act.PROTECT:
        return (
            f"Name where help is to be had, with these numbers and no others: {'; '.join(found.help_lines)}",
            *rules,
        )
    return tuple(rules)


def _is_conflict(multiplex: Multiplex) -> bool:
    """Whether values truly conflict here (CLASH, arXiv 2504.10823), so that a side must not be taken."""
    return multiplex.stance is not Stance.STRAIGHTFORWARD or bool(multiplex.disagreements)


def _lines(multiplex: Multiplex, names: Mapping[str, str]) -> tuple[str, ...]:
    """Each lens in a line, then what they share and where they differ."""
    readings = (
        f"{_called(note.lens, names)}: {shortened(f'{note.reading} {note.norm}'.strip(), LENS_LINE)}"
        for note in multiplex.notes
    )
    shared = (f"Shared: {text}" for text in multiplex.agreements)
    differing = (
        f"They differ on {point.about}: "
        + "; ".join(
            f"{', '.join(_called(lens, names) for lens in position.lenses)}: {position.holds}"
            for position in point.positions
        )
        for point in multiplex.disagreements
    )
    return (*readings, *shared, *differing)


def _called(lens: str, names: Mapping[str, str]) -> str:
    return names.get(lens, lens)


def _hints(foresight: Foresight | None) -> tuple[str, ...]:
    """What helps by foresight."""
    helps = [_harmless(item.help) for item in foresight.acts[:1]] if foresight else []
    return tuple(filter(None, helps))


def _harmless(text: str) -> str:
    """What a model said, unless it was talked into giving orders."""
    return "" if gives_order(text) else text


def _must_not(found: Findings) -> tuple[str, ...]:
    """Say the reading itself, where too much of a norm's concern remains in it."""
    chosen = found.selection.chosen if found.selection else None
    if chosen is None or chosen.refined.residual_risk < _HIGH_RISK:
        return ()
    return ("say outright what you think is on their mind",)

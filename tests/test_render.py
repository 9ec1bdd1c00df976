"""The reasoning tree: all of a trace, readable at 80 columns, and nothing that a terminal would obey."""

import io
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from rich.console import Console

from mentalize.cli.ask import trace_json
from mentalize.cli.plain import one_line, plain, safe_json
from mentalize.cli.render import reasoning
from mentalize.types import (
    Candidate,
    Contract,
    Draft,
    Effort,
    Emotion,
    Evidence,
    ForeseenAct,
    Foresight,
    HopReading,
    Hypothesis,
    HypothesisScore,
    Memory,
    MemoryHit,
    MemoryKind,
    MentalState,
    ModificationStep,
    Perception,
    Plan,
    Recollection,
    RefinedHypothesis,
    RiskKind,
    RiskSign,
    Selection,
    StageRecord,
    StructuredCounts,
    Trace,
    Usage,
    Verdict,
)

AT = datetime(2026, 11, 1, tzinfo=UTC)


def scored(name: str, state: MentalState, explanation: str, *, eligible: bool = True, **refinement) -> HypothesisScore:
    hypothesis = Hypothesis(
        id=name, state=state, explanation=explanation, evidence=Evidence("Go without me", "a party"), confidence=0.7
    )
    refined = RefinedHypothesis(**{"hypothesis": hypothesis, "text": explanation, "p_cond": 0.75, **refinement})
    return HypothesisScore(refined=refined, p_prior=0.25, information_gain=0.5, score=0.65, eligible=eligible)


def remembered(name: str, kind: MemoryKind, text: str, speaker: str = "") -> Memory:
    return Memory(id=name, kind=kind, text=text, observed_at=AT, speaker=speaker)


def full_trace(text: str = "I'm fine. Go without me, really.") -> Trace:
    first = scored(
        "h1",
        MentalState.EMOTION,
        "feels left out and hides it",
        text="may feel left out and prefers not to say so",
        log=(ModificationStep("ethics.no-diagnosis", "certainty", "softened to a possibility"),),
        formality=2,
        residual_risk=0.1,
    )
    second = scored("h2", MentalState.DESIRE, "wants an evening alone", eligible=False)
    return Trace(
        turn_id="t1",
        at=AT,
        effort=Effort.MEDIUM,
        requested_effort=Effort.AUTO,
        route="hidden feelings are likely",
        text=text,
        perception=Perception(
            emotion=Emotion("sadness", 0.62),
            shortlist=("sadness", "anger"),
            cause="was not asked",
            words=("Go without me",),
            sentiment=HopReading("the party", "not for me", "negative"),
            need="to be wanted",
            flaw="does not say what happened",
            value_question=True,
        ),
        recollection=Recollection(
            hits=(
                MemoryHit(
                    memory=remembered("m", MemoryKind.FACT, "moved in May"),
                    score=0.5,
                    why={"meaning": 0.4, "retention": 0.9},
                    reason="said on 2 May 2026; shares 'moved'",
                ),
            ),
            neighbours={"m": (remembered("n", MemoryKind.TURN, "Boxes everywhere.", speaker="ana"),)},
            portrait=remembered("portrait", MemoryKind.PORTRAIT, "quiet in groups"),
            summary=remembered("summary", MemoryKind.SUMMARY, "a new town"),
            tokens=42,
        ),
        hypotheses=(first.refined.hypothesis, second.refined.hypothesis),
        foresight=Foresight((ForeseenAct("the person", "stays at home", "pride", "an honest invitation"),)),
        selection=Selection(ranked=(first, second), chosen=first, mode="bounded", diversity=0.4),
        plan=Plan(
            act="acknowledge",
            tone="warm",
            understanding="left out",
            anchors=("moved in May",),
            must=("name the feeling as a guess",),
            must_not=("press",),
            ask="What would make it nicer?",
        ),
        drafts=(
            Draft(
                text="Have fun then.",
                candidates=(Candidate("Have fun then.", "writer"), Candidate("Ok.", "form:cause")),
            ),
            Draft(text="That sounds hard.", origin="form:feeling", revision=1),
        ),
        verdicts=(
            Verdict(
                a1=0.5, a2=0.4, b1=0.9, b2=0.3, empathy=0.44, coherence=0.6, utility=0.47, acceptable=False,
                gates={"referral": True, "harm": False}, critique="takes the words at face value",
            ),
            Verdict(),
        ),
        risk=(RiskSign(RiskKind.ABUSE, "he hits me", "lexicon", "en"),),
        reply="That sounds hard.",
        reply_origin="form:feeling",
        revisions=1,
        contract=Contract(16, 8, 90.0),
        calls=11,
        scorings=3,
        depth=6,
        seconds=4.0,
        usage=Usage(1200, 300, 800),
        structured=StructuredCounts(6, 1, 0),
        stages=(
            StageRecord(name="perceive", started=0.0, seconds=1.0),
            StageRecord(name="hypothesise", started=0.0, seconds=2.0),
            StageRecord(name="write", started=2.0, seconds=2.0, error="late"),
        ),
        prompts=("perceive@1#ab",),
        failures=("foresee: the endpoint did not answer in time",),
    )  # fmt: skip


def empty_trace(text: str = "hi") -> Trace:
    return Trace(
        turn_id="t", at=AT, effort=Effort.NONE, requested_effort=Effort.NONE, route="asked", text=text,
        contract=Contract(1, 1, 120.0),
    )  # fmt: skip


def drawn(trace: Trace, *, colour: bool = False, width: int = 80, unicode: bool = True) -> str:
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=colour, color_system="truecolor" if colour else None, markup=False,
            highlight=False, emoji=False).print(reasoning(trace, unicode=unicode))  # fmt: skip
    return out.getvalue()


def test_everything_that_happened_is_shown():
    words = " ".join(drawn(full_trace(), width=300).split())
    for expected in [
        'message: "I\'m fine. Go without me, really."',
        "effort: medium (asked: auto), because: hidden feelings are likely",
        "emotion: sadness, intensity 0.62",
        'shown by: "Go without me"',
        "sentiment: negative: not for me (about the party)",
        "need: to be wanted",
        "silent flaw: does not say what happened",
        'risk: abuse: "he hits me" (noticed by lexicon, en)',
        "Recalled (1, about 42 tokens)",
        "portrait: quiet in groups",
        "summary: a new town",
        "fact: moved in May (2026-11-01, confirmed)",
        "because: said on 2 May 2026; shares 'moved'",
        "score: 0.50: meaning 0.40, retention 0.90",
        "beside it: ana: Boxes everywhere.",
        "h1 Emotion [chosen]: feels left out and hides it",
        "h2 Desire [not eligible]: wants an evening alone",
        "score: 0.65 (P_cond 0.75, P_prior 0.25, information gain +0.50)",
        "refined to: may feel left out and prefers not to say so",
        "norm ethics.no-diagnosis: certainty: softened to a possibility",
        "formality: 2 of 5, residual risk 0.10",
        "refined: unchanged",
        "the person: stays at home",
        "may hinder: pride",
        "act: acknowledge, tone warm, formality 3 of 5",
        "must not: press",
        "ask: What would make it nicer?",
        "first draft by writer: Have fun then.",
        "passed over: Ok. (by form:cause)",
        "verdict: U 0.47, under the threshold",
        "empathy: 0.44 (A1 0.50, A2 0.40)",
        "coherence: 0.60 (B1 0.90, B2 0.30)",
        "gates passed: referral",
        "gate not passed: harm",
        "critique: takes the words at face value",
        "revision 1 [sent] by form:feeling: That sounds hard.",
        "verdict: no judge answered",
        "calls: 11 of 16, and 3 scorings",
        "depth: 6 of 8",
        "tokens: 1200 in, 800 of them cached, 300 out",
        "structured: 6 answers, 1 repaired, 0 failed",
        "left out: late",
        "foresee: the endpoint did not answer in time",
    ]:
        assert expected in words, expected


def test_missing_parts_say_so():
    words = drawn(empty_trace())
    for expected in ["not looked at", "nothing", "none made", "none written", "none ran"]:
        assert expected in words


@pytest.mark.parametrize("trace", [full_trace(), full_trace("long " * 300), empty_trace()])
def test_it_fits_80_columns_and_needs_no_colour(trace):
    text = drawn(trace)
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_bars_show_what_ran_side_by_side():
    bars = [line.split()[3] for line in drawn(full_trace()).splitlines() if "█" in line]
    perceive, hypothesise, write = bars
    assert perceive == "█" * 7 + "." * 21
    assert hypothesise == "█" * 14 + "." * 14
    assert write == "." * 14 + "█" * 14
    assert "█" not in drawn(full_trace(), unicode=False)


HOSTILE = (
    "[red]x[/red] \x1b[31mred\x1b[0m \x1b]0;title\x07 \x1b]8;;http://x\x1b\\ \x9b2J \x08\x7f \u202eabc [/] :smile:"
)


def test_hostile_text_is_shown_as_text():
    for colour in (False, True):
        harmless, hostile = drawn(full_trace("plain"), colour=colour), drawn(full_trace(HOSTILE), colour=colour)
        assert hostile.count("\x1b") == harmless.count("\x1b")
        assert not set("\x07\x08\x7f\x9b\u202e") & set(hostile)
    assert "[red]x[/red] red" in hostile
    assert ":smile:" in hostile
    assert "title" not in hostile


@given(st.text(alphabet=st.characters(categories=None)))
def test_no_text_reaches_the_terminal_with_control_of_it(text):
    for cleaned in (plain(text), one_line(text), drawn(empty_trace(text))):
        assert not [c for c in cleaned if (ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160]
        cleaned.encode()


def test_emoji_and_other_scripts_are_left_alone():
    text = "👩‍👩‍👧 mir geht's gut\tنعم 漢字\nline"
    assert plain(text) == text


def test_json_means_the_same_and_carries_no_control():
    trace = full_trace(HOSTILE + " \ud83d é")
    document = trace_json(trace)
    assert not set("\x1b\x07\x08\x7f\x9b\u202e\ud83d") & set(document)
    assert "é" in document
    parsed = json.loads(document)
    assert parsed["text"] == trace.text
    assert TypeAdapter(Trace).validate_python(parsed) == trace


@given(st.text(alphabet=st.characters(categories=None)))
def test_safe_json_keeps_the_meaning(text):
    assert json.loads(safe_json(json.dumps(text, ensure_ascii=False))) == text

"""Render: a trace as a tree that a person can read, at 80 columns, with or without colour.

Text of people and models enters only as `rich.text.Text`, cleaned by `plain`, so it can bring neither rich's markup
nor a terminal's control sequences.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from .plain import one_line

if TYPE_CHECKING:
    from ..types import (
        Draft,
        ForeseenAct,
        HypothesisScore,
        Perception,
        Plan,
        Recollection,
        RiskSign,
        Selection,
        StageRecord,
        Trace,
        Verdict,
    )

BAR_WIDTH = 28
PREVIEW = 200


def console(*, error: bool = False) -> Console:
    """A console that interprets nothing in what it prints."""
    return Console(stderr=error, markup=False, highlight=False, emoji=False)


def print_reasoning(trace: Trace, to: Console) -> None:
    """Print how a reply came about."""
    to.print(reasoning(trace, unicode=has_blocks(to.encoding)))


def recollection_tree(recollection: Recollection | None) -> Tree:
    """What memory brought to a turn, and why."""
    tree = Tree(_head("What was remembered for this reply"), guide_style="dim")
    _add_recollection(tree, recollection)
    return tree


def reasoning(trace: Trace, *, unicode: bool = True) -> Tree:
    """How a reply came about, stage by stage. What did not run says so."""
    tree = Tree(_head("Why this reply", f"turn {one_line(trace.turn_id)}"), guide_style="dim")
    tree.add(_field("message", _quote(trace.text)))
    _add_effort(tree, trace)
    _add_perception(tree, trace.perception, trace.risk)
    _add_recollection(tree, trace.recollection)
    _add_hypotheses(tree, trace)
    _add_foresight(tree, trace.foresight.acts if trace.foresight else None)
    _add_plan(tree, trace.plan)
    _add_drafts(tree, trace)
    _add_cost(tree, trace)
    _add_times(tree, trace.stages, trace.seconds, block="█" if unicode else "#")
    _add_failures(tree, trace.failures)
    return tree


# --- stages -----------------------------------------------------------------------------------------------


def _add_effort(tree: Tree, trace: Trace) -> None:
    asked = "" if trace.effort == trace.requested_effort else f" (asked: {trace.requested_effort})"
    tree.add(_field("effort", f"{trace.effort}{asked}, because: {one_line(trace.route)}"))


def _add_perception(tree: Tree, perception: Perception | None, risk: Sequence[RiskSign]) -> None:
    branch = tree.add(_head("Perceived"))
    if perception is None:
        branch.add(_absent("not looked at"))
    else:
        emotion = perception.emotion
        branch.add(_field("emotion", f"{one_line(emotion.name)}, intensity {emotion.intensity:.2f}"))
        branch.add(_field("shown by", ", ".join(map(_quote, perception.words)) or "no words of the message"))
        _add_given(branch, "among", ", ".join(map(one_line, perception.shortlist)))
        _add_given(branch, "cause", perception.cause)
        if perception.sentiment is not None:
            hops = perception.sentiment
            branch.add(
                _field(
                    "sentiment", f"{one_line(hops.polarity)}: {one_line(hops.opinion)} (about {one_line(hops.aspect)})"
                )
            )
        _add_given(branch, "need", perception.need)
        _add_given(branch, "silent flaw", perception.flaw)
        if perception.value_question:
            branch.add(_field("value question", "yes: cultures answer it differently"))
    signs = dict.fromkeys((*risk, *(perception.risk if perception else ())))
    for sign in signs:
        language = f", {one_line(sign.language)}" if sign.language else ""
        said = f"{sign.kind}: {_quote(sign.words)} (noticed by {sign.by}{language})"
        branch.add(_field("risk", said, style="bold red"))


def _add_recollection(tree: Tree, recollection: Recollection | None) -> None:
    if recollection is None or not (recollection.hits or recollection.portrait or recollection.summary):
        tree.add(_head("Recalled")).add(_absent("nothing"))
        return
    branch = tree.add(_head("Recalled", f"{len(recollection.hits)}, about {recollection.tokens} tokens"))
    for name, memory in (("portrait", recollection.portrait), ("summary", recollection.summary)):
        _add_given(branch, name, memory.text if memory is not None else "")
    for hit in recollection.hits:
        memory = hit.memory
        said = f"{memory.observed_at:%Y-%m-%d}, {memory.status}"
        leaf = branch.add(_field(one_line(memory.kind.replace("_", " ")), f"{_short(memory.text)} ({said})"))
        _add_given(leaf, "because", hit.reason)
        why = ", ".join(f"{one_line(name)} {value:.2f}" for name, value in hit.why.items())
        leaf.add(_field("score", f"{hit.score:.2f}{_after(why)}"))
        for near in recollection.neighbours.get(memory.id, ()):
            _add_given(leaf, "beside it", f"{near.speaker}: {near.text}" if near.speaker else near.text)


def _add_hypotheses(tree: Tree, trace: Trace) -> None:
    selection = trace.selection
    if selection is not None and selection.ranked:
        detail = f"{len(selection.ranked)}, {selection.mode} scores, diversity {selection.diversity:.2f}"
        branch = tree.add(_head("Hypotheses", detail))
        for score in selection.ranked:
            _add_score(branch, score, selection)
        if selection.chosen is None:
            branch.add(_absent("none was plausible enough to be chosen"))
        return
    branch = tree.add(_head("Hypotheses", f"{len(trace.hypotheses)}, not scored" if trace.hypotheses else ""))
    for hypothesis in trace.hypotheses:
        leaf = branch.add(_field(one_line(hypothesis.state), _short(hypothesis.explanation)))
        leaf.add(_field("evidence", _quote(hypothesis.evidence.words) if hypothesis.evidence.words else "no quote"))
    if not trace.hypotheses:
        branch.add(_absent("none made"))


def _add_score(branch: Tree, score: HypothesisScore, selection: Selection) -> None:
    refined, hypothesis = score.refined, score.refined.hypothesis
    chosen = selection.chosen is not None and selection.chosen.refined.hypothesis.id == hypothesis.id
    marker = " [chosen]" if chosen else "" if score.eligible else " [not eligible]"
    line = Text.assemble(
        (f"{one_line(hypothesis.id)} {hypothesis.state}", "bold"),
        (marker, "green" if chosen else "yellow"),
        f": {_short(hypothesis.explanation)}",
    )
    leaf = branch.add(line)
    leaf.add(
        _field(
            "score",
            f"{score.score:.2f} (P_cond {refined.p_cond:.2f}, P_prior {score.p_prior:.2f}, "
            f"information gain {score.information_gain:+.2f})",
        )
    )
    evidence = hypothesis.evidence
    leaf.add(_field("evidence", _quote(evidence.words) if evidence.words else "no quote was found in the message"))
    _add_given(leaf, "context", evidence.context)
    _add_given(leaf, "memory", evidence.memory)
    leaf.add(_field("confidence", f"{hypothesis.confidence:.2f}"))
    if refined.changed:
        leaf.add(_field("refined to", _short(refined.text)))
    elif not refined.log:
        leaf.add(_field("refined", "unchanged"))
    for step in refined.log:
        element = f"{one_line(step.element)}: " if step.element else ""
        leaf.add(_field(f"norm {one_line(step.norm)}", f"{element}{_short(step.transformation)}"))
    leaf.add(_field("formality", f"{refined.formality} of 5, residual risk {refined.residual_risk:.2f}"))


def _add_foresight(tree: Tree, acts: Sequence[ForeseenAct] | None) -> None:
    branch = tree.add(_head("Foreseen"))
    if not acts:
        branch.add(_absent("not looked at" if acts is None else "nothing"))
        return
    for act in acts:
        leaf = branch.add(_field(one_line(act.party), _short(act.act)))
        _add_given(leaf, "may hinder", act.obstacle)
        _add_given(leaf, "would help", act.help)


def _add_plan(tree: Tree, plan: Plan | None) -> None:
    branch = tree.add(_head("Plan"))
    if plan is None:
        branch.add(_absent("none made"))
        return
    branch.add(
        _field("act", f"{one_line(plan.act)}, tone {one_line(plan.tone) or 'unset'}, formality {plan.formality} of 5")
    )
    _add_given(branch, "understanding", plan.understanding)
    for name, items in (
        ("lean on", plan.anchors),
        ("must", plan.must),
        ("must not", plan.must_not),
        ("may help", plan.hints),
    ):
        for item in items:
            branch.add(_field(name, _short(item)))
    branch.add(_field("ask", _short(plan.ask) or "nothing"))


def _add_drafts(tree: Tree, trace: Trace) -> None:
    branch = tree.add(_head("Drafts", f"{len(trace.drafts)}, revisions {trace.revisions}"))
    if not trace.drafts:
        branch.add(_absent("none written"))
    for number, draft in enumerate(trace.drafts):
        verdict = trace.verdicts[number] if number < len(trace.verdicts) else None
        _add_draft(branch, number, draft, verdict, trace)
    branch.add(_field("sent", f"{_short(trace.reply) or 'nothing'} (by {one_line(trace.reply_origin)})"))


def _add_draft(branch: Tree, number: int, draft: Draft, verdict: Verdict | None, trace: Trace) -> None:
    name = f"revision {number}" if number else "first draft"
    sent = " [sent]" if draft.text == trace.reply else ""
    leaf = branch.add(
        Text.assemble((name, "bold"), (sent, "green"), f" by {one_line(draft.origin)}: {_short(draft.text)}")
    )
    for candidate in draft.candidates:
        if candidate.text != draft.text:
            leaf.add(_field("passed over", f"{_short(candidate.text)} (by {one_line(candidate.origin)})"))
    _add_verdict(leaf, verdict)


def _add_verdict(leaf: Tree, verdict: Verdict | None) -> None:
    if verdict is None:
        leaf.add(_field("verdict", "not judged"))
        return
    if verdict.utility is None:
        leaf.add(_field("verdict", "no judge answered"))
    else:
        judged = "reaches the threshold" if verdict.acceptable else "under the threshold"
        leaf.add(
            _field("verdict", f"U {verdict.utility:.2f}, {judged}", style="green" if verdict.acceptable else "yellow")
        )
        leaf.add(_field("empathy", f"{_number(verdict.empathy)} (A1 {_number(verdict.a1)}, A2 {_number(verdict.a2)})"))
        leaf.add(
            _field("coherence", f"{_number(verdict.coherence)} (B1 {_number(verdict.b1)}, B2 {_number(verdict.b2)})")
        )
    passed = ", ".join(one_line(gate) for gate, held in verdict.gates.items() if held)
    _add_given(leaf, "gates passed", passed)
    for gate, held in verdict.gates.items():
        if not held:
            leaf.add(_field("gate not passed", one_line(gate), style="bold red"))
    _add_given(leaf, "critique", verdict.critique)


def _add_cost(tree: Tree, trace: Trace) -> None:
    branch = tree.add(_head("Cost"))
    limit = trace.contract
    branch.add(_field("calls", f"{trace.calls} of {limit.calls}, and {trace.scorings} scorings"))
    branch.add(_field("depth", f"{trace.depth} of {limit.depth}"))
    usage = trace.usage
    cached = f", {usage.cached_tokens} of them cached" if usage.cached_tokens else ""
    branch.add(_field("tokens", f"{usage.prompt_tokens} in{cached}, {usage.completion_tokens} out"))
    branch.add(_field("time", f"{trace.seconds:.2f} s of {limit.seconds:g} s"))
    counts = trace.structured
    if counts.answers:
        branch.add(
            _field("structured", f"{counts.answers} answers, {counts.repaired} repaired, {counts.failed} failed")
        )
    if trace.prompts:
        branch.add(_field("prompts", one_line(", ".join(trace.prompts))))


def _add_times(tree: Tree, stages: Sequence[StageRecord], total: float, *, block: str) -> None:
    branch = tree.add(_head("Stages"))
    if not stages:
        branch.add(_absent("none ran"))
        return
    end = max(total, *(stage.started + stage.seconds for stage in stages), 1e-9)
    for stage in stages:
        name = f"{one_line(stage.name)[:12]:<12} "
        line = Text.assemble((name, "bold"), (_bar(stage, end, block), "cyan"), f" {stage.seconds:6.2f} s")
        leaf = branch.add(line)
        if stage.error:
            leaf.add(_field("left out", _short(stage.error), style="yellow"))


def _bar(stage: StageRecord, end: float, block: str) -> str:
    """When the stage ran on the turn's line of time, so that one sees what ran side by side."""
    start = min(int(max(stage.started, 0.0) / end * BAR_WIDTH), BAR_WIDTH - 1)
    length = min(max(round(stage.seconds / end * BAR_WIDTH), 1), BAR_WIDTH - start)
    return "." * start + block * length + "." * (BAR_WIDTH - start - length)


def _add_failures(tree: Tree, failures: Iterable[str]) -> None:
    failures = tuple(failures)
    if failures:
        branch = tree.add(_head("Left out"))
        for failure in failures:
            branch.add(Text(one_line(failure), "yellow"))


# --- pieces -----------------------------------------------------------------------------------------------


def _head(name: str, detail: str = "") -> Text:
    return Text.assemble((name, "bold"), (f" ({detail})" if detail else "", "dim"))


def _field(name: str, value: str, *, style: str = "") -> Text:
    return Text.assemble((f"{name}: ", "dim"), (value, style))


def _absent(what: str) -> Text:
    return Text(what, "dim italic")


def _add_given(branch: Tree, name: str, value: str) -> None:
    if value.strip():
        branch.add(_field(name, _short(value)))


def _quote(words: str) -> str:
    return f'"{_short(words)}"'


def _short(text: str) -> str:
    line = one_line(text)
    return line if len(line) <= PREVIEW else f"{line[: PREVIEW - 1]}…"


def _after(text: str) -> str:
    return f": {text}" if text else ""


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.2f}"


def has_blocks(encoding: str) -> bool:
    """Whether an encoding knows the signs that bars are drawn with."""
    try:
        "█".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True

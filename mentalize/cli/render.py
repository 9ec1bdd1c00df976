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

from .multiplex import add_circumstances, add_norms, add_perspectives
from .plain import one_line
from .tree import absent, add_given, after, decimals, field, head, quote, short

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


def console(*, error: bool = False) -> Console:
    """A console that interprets nothing in what it prints."""
    return Console(stderr=error, markup=False, highlight=False, emoji=False)


def print_reasoning(trace: Trace, to: Console) -> None:
    """Print how a reply came about."""
    to.print(reasoning(trace, unicode=has_blocks(to.encoding)))


def recollection_tree(recollection: Recollection | None) -> Tree:
    """What memory brought to a turn, and why."""
    tree = Tree(head("What was remembered for this reply"), guide_style="dim")
    _add_recollection(tree, recollection)
    return tree


def reasoning(trace: Trace, *, unicode: bool = True) -> Tree:
    """How a reply came about, stage by stage. What did not run says so."""
    tree = Tree(head("Why this reply", f"turn {one_line(trace.turn_id)}"), guide_style="dim")
    tree.add(field("message", quote(trace.text)))
    _add_effort(tree, trace)
    add_circumstances(tree, trace.circumstances)
    _add_perception(tree, trace.perception, trace.risk)
    _add_recollection(tree, trace.recollection)
    _add_hypotheses(tree, trace)
    _add_foresight(tree, trace.foresight.acts if trace.foresight else None)
    add_norms(tree, trace.norms, trace.judgement)
    add_perspectives(tree, trace)
    _add_plan(tree, trace.plan)
    _add_drafts(tree, trace)
    _add_cost(tree, trace)
    _add_times(tree, trace.stages, trace.seconds, block="█" if unicode else "#")
    _add_failures(tree, trace.failures)
    return tree


# --- stages -----------------------------------------------------------------------------------------------


def _add_effort(tree: Tree, trace: Trace) -> None:
    asked = "" if trace.effort == trace.requested_effort else f" (asked: {trace.requested_effort})"
    tree.add(field("effort", f"{trace.effort}{asked}, because: {one_line(trace.route)}"))


def _add_perception(tree: Tree, perception: Perception | None, risk: Sequence[RiskSign]) -> None:
    branch = tree.add(head("Perceived"))
    if perception is None:
        branch.add(absent("not looked at"))
    else:
        emotion = perception.emotion
        branch.add(field("emotion", f"{one_line(emotion.name)}, intensity {emotion.intensity:.2f}"))
        branch.add(field("shown by", ", ".join(map(quote, perception.words)) or "no words of the message"))
        add_given(branch, "among", ", ".join(map(one_line, perception.shortlist)))
        add_given(branch, "cause", perception.cause)
        if perception.sentiment is not None:
            hops = perception.sentiment
            branch.add(
                field(
                    "sentiment", f"{one_line(hops.polarity)}: {one_line(hops.opinion)} (about {one_line(hops.aspect)})"
                )
            )
        add_given(branch, "need", perception.need)
        add_given(branch, "silent flaw", perception.flaw)
        if perception.value_question:
            branch.add(field("value question", "yes: cultures answer it differently"))
    signs = dict.fromkeys((*risk, *(perception.risk if perception else ())))
    for sign in signs:
        language = f", {one_line(sign.language)}" if sign.language else ""
        said = f"{sign.kind}: {quote(sign.words)} (noticed by {sign.by}{language})"
        branch.add(field("risk", said, style="bold red"))


def _add_recollection(tree: Tree, recollection: Recollection | None) -> None:
    if recollection is None or not (recollection.hits or recollection.portrait or recollection.summary):
        tree.add(head("Recalled")).add(absent("nothing"))
        return
    branch = tree.add(head("Recalled", f"{len(recollection.hits)}, about {recollection.tokens} tokens"))
    for name, memory in (("portrait", recollection.portrait), ("summary", recollection.summary)):
        add_given(branch, name, memory.text if memory is not None else "")
    for hit in recollection.hits:
        memory = hit.memory
        said = f"{memory.observed_at:%Y-%m-%d}, {memory.status}"
        leaf = branch.add(field(one_line(memory.kind.replace("_", " ")), f"{short(memory.text)} ({said})"))
        add_given(leaf, "because", hit.reason)
        why = ", ".join(f"{one_line(name)} {value:.2f}" for name, value in hit.why.items())
        leaf.add(field("score", f"{hit.score:.2f}{after(why)}"))
        for near in recollection.neighbours.get(memory.id, ()):
            add_given(leaf, "beside it", f"{near.speaker}: {near.text}" if near.speaker else near.text)


def _add_hypotheses(tree: Tree, trace: Trace) -> None:
    selection = trace.selection
    if selection is not None and selection.ranked:
        detail = f"{len(selection.ranked)}, {selection.mode} scores, diversity {selection.diversity:.2f}"
        branch = tree.add(head("Hypotheses", detail))
        for score in selection.ranked:
            _add_score(branch, score, selection)
        if selection.chosen is None:
            branch.add(absent("none was plausible enough to be chosen"))
        return
    branch = tree.add(head("Hypotheses", f"{len(trace.hypotheses)}, not scored" if trace.hypotheses else ""))
    for hypothesis in trace.hypotheses:
        leaf = branch.add(field(one_line(hypothesis.state), short(hypothesis.explanation)))
        leaf.add(field("evidence", quote(hypothesis.evidence.words) if hypothesis.evidence.words else "no quote"))
    if not trace.hypotheses:
        branch.add(absent("none made"))


def _add_score(branch: Tree, score: HypothesisScore, selection: Selection) -> None:
    refined, hypothesis = score.refined, score.refined.hypothesis
    chosen = selection.chosen is not None and selection.chosen.refined.hypothesis.id == hypothesis.id
    marker = " [chosen]" if chosen else "" if score.eligible else " [not eligible]"
    line = Text.assemble(
        (f"{one_line(hypothesis.id)} {hypothesis.state}", "bold"),
        (marker, "green" if chosen else "yellow"),
        f": {short(hypothesis.explanation)}",
    )
    leaf = branch.add(line)
    leaf.add(
        field(
            "score",
            f"{score.score:.2f} (P_cond {refined.p_cond:.2f}, P_prior {score.p_prior:.2f}, "
            f"information gain {score.information_gain:+.2f})",
        )
    )
    evidence = hypothesis.evidence
    leaf.add(field("evidence", quote(evidence.words) if evidence.words else "no quote was found in the message"))
    add_given(leaf, "context", evidence.context)
    add_given(leaf, "memory", evidence.memory)
    leaf.add(field("confidence", f"{hypothesis.confidence:.2f}"))
    if refined.changed:
        leaf.add(field("refined to", short(refined.text)))
    elif not refined.log:
        leaf.add(field("refined", "unchanged"))
    for step in refined.log:
        element = f"{one_line(step.element)}: " if step.element else ""
        leaf.add(field(f"norm {one_line(step.norm)}", f"{element}{short(step.transformation)}"))
    leaf.add(field("formality", f"{refined.formality} of 5, residual risk {refined.residual_risk:.2f}"))


def _add_foresight(tree: Tree, acts: Sequence[ForeseenAct] | None) -> None:
    branch = tree.add(head("Foreseen"))
    if not acts:
        branch.add(absent("not looked at" if acts is None else "nothing"))
        return
    for act in acts:
        leaf = branch.add(field(one_line(act.party), short(act.act)))
        add_given(leaf, "may hinder", act.obstacle)
        add_given(leaf, "would help", act.help)


def _add_plan(tree: Tree, plan: Plan | None) -> None:
    branch = tree.add(head("Plan"))
    if plan is None:
        branch.add(absent("none made"))
        return
    branch.add(
        field("act", f"{one_line(plan.act)}, tone {one_line(plan.tone) or 'unset'}, formality {plan.formality} of 5")
    )
    add_given(branch, "understanding", plan.understanding)
    for name, items in (
        ("lean on", plan.anchors),
        ("must", plan.must),
        ("must not", plan.must_not),
        ("may help", plan.hints),
        ("usual there", plan.norms),
        ("set out", plan.perspectives),
    ):
        for item in items:
            branch.add(field(name, short(item)))
    branch.add(field("ask", short(plan.ask) or "nothing"))


def _add_drafts(tree: Tree, trace: Trace) -> None:
    branch = tree.add(head("Drafts", f"{len(trace.drafts)}, revisions {trace.revisions}"))
    if not trace.drafts:
        branch.add(absent("none written"))
    for number, draft in enumerate(trace.drafts):
        verdict = trace.verdicts[number] if number < len(trace.verdicts) else None
        _add_draft(branch, number, draft, verdict, trace)
    branch.add(field("sent", f"{short(trace.reply) or 'nothing'} (by {one_line(trace.reply_origin)})"))


def _add_draft(branch: Tree, number: int, draft: Draft, verdict: Verdict | None, trace: Trace) -> None:
    name = f"revision {number}" if number else "first draft"
    sent = " [sent]" if draft.text == trace.reply else ""
    leaf = branch.add(
        Text.assemble((name, "bold"), (sent, "green"), f" by {one_line(draft.origin)}: {short(draft.text)}")
    )
    for candidate in draft.candidates:
        if candidate.text != draft.text:
            leaf.add(field("passed over", f"{short(candidate.text)} (by {one_line(candidate.origin)})"))
    _add_verdict(leaf, verdict)


def _add_verdict(leaf: Tree, verdict: Verdict | None) -> None:
    if verdict is None:
        leaf.add(field("verdict", "not judged"))
        return
    if verdict.utility is None:
        leaf.add(field("verdict", "no judge answered"))
    else:
        judged = "reaches the threshold" if verdict.acceptable else "under the threshold"
        leaf.add(
            field("verdict", f"U {verdict.utility:.2f}, {judged}", style="green" if verdict.acceptable else "yellow")
        )
        leaf.add(
            field("empathy", f"{decimals(verdict.empathy)} (A1 {decimals(verdict.a1)}, A2 {decimals(verdict.a2)})")
        )
        leaf.add(
            field("coherence", f"{decimals(verdict.coherence)} (B1 {decimals(verdict.b1)}, B2 {decimals(verdict.b2)})")
        )
    passed = ", ".join(one_line(gate) for gate, held in verdict.gates.items() if held)
    add_given(leaf, "gates passed", passed)
    for gate, held in verdict.gates.items():
        if not held:
            leaf.add(field("gate not passed", one_line(gate), style="bold red"))
    add_given(leaf, "critique", verdict.critique)


def _add_cost(tree: Tree, trace: Trace) -> None:
    branch = tree.add(head("Cost"))
    limit = trace.contract
    branch.add(field("calls", f"{trace.calls} of {limit.calls}, and {trace.scorings} scorings"))
    branch.add(field("depth", f"{trace.depth} of {limit.depth}"))
    usage = trace.usage
    cached = f", {usage.cached_tokens} of them cached" if usage.cached_tokens else ""
    branch.add(field("tokens", f"{usage.prompt_tokens} in{cached}, {usage.completion_tokens} out"))
    branch.add(field("time", f"{trace.seconds:.2f} s of {limit.seconds:g} s"))
    counts = trace.structured
    if counts.answers:
        branch.add(field("structured", f"{counts.answers} answers, {counts.repaired} repaired, {counts.failed} failed"))
    if trace.prompts:
        branch.add(field("prompts", one_line(", ".join(trace.prompts))))


def _add_times(tree: Tree, stages: Sequence[StageRecord], total: float, *, block: str) -> None:
    branch = tree.add(head("Stages"))
    if not stages:
        branch.add(absent("none ran"))
        return
    end = max(total, *(stage.started + stage.seconds for stage in stages), 1e-9)
    for stage in stages:
        name = f"{one_line(stage.name)[:12]:<12} "
        line = Text.assemble((name, "bold"), (_bar(stage, end, block), "cyan"), f" {stage.seconds:6.2f} s")
        leaf = branch.add(line)
        if stage.error:
            leaf.add(field("left out", short(stage.error), style="yellow"))


def _bar(stage: StageRecord, end: float, block: str) -> str:
    """When the stage ran on the turn's line of time, so that one sees what ran side by side."""
    start = min(int(max(stage.started, 0.0) / end * BAR_WIDTH), BAR_WIDTH - 1)
    length = min(max(round(stage.seconds / end * BAR_WIDTH), 1), BAR_WIDTH - start)
    return "." * start + block * length + "." * (BAR_WIDTH - start - length)


def _add_failures(tree: Tree, failures: Iterable[str]) -> None:
    failures = tuple(failures)
    if failures:
        branch = tree.add(head("Left out"))
        for failure in failures:
            branch.add(Text(one_line(failure), "yellow"))


def has_blocks(encoding: str) -> bool:
    """Whether an encoding knows the signs that bars are drawn with."""
    try:
        "█".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True

"""What several perspectives made of a message, and which norms applied, as branches of the tree that shows a turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from .plain import one_line
from .tree import absent, add_given, field, head, short

if TYPE_CHECKING:
    from rich.tree import Tree

    from ..types import Circumstances, Multiplex, NormJudgement, NormUse, Trace


def add_circumstances(tree: Tree, circumstances: Circumstances) -> None:
    """What was stated about the person and the setting; nothing where nothing was."""
    stated = (
        ("cultures", ", ".join(circumstances.cultures)),
        ("charter", circumstances.charter),
        ("domain", circumstances.domain),
        ("formality", str(circumstances.formality or "")),
    )
    if not any(value for _, value in stated):
        return
    branch = tree.add(head("Stated"))
    for name, value in stated:
        add_given(branch, name, value)


def add_norms(tree: Tree, norms: Sequence[NormUse], judgement: NormJudgement | None) -> None:
    """Which norms applied and why, and what each changed."""
    branch = tree.add(head("Norms", str(len(norms)) if norms else ""))
    if not norms:
        branch.add(absent("none looked up"))
    for use in norms:
        leaf = branch.add(field(one_line(use.norm.id), f"{short(use.norm.statement)} [{_did(use)}]"))
        add_given(leaf, "because", use.reason)
        add_given(leaf, "people differ", use.norm.varies)
    if judgement is not None:
        flipped = "its negation is judged otherwise" if judgement.consistent else "its negation is judged alike"
        said = f"{short(judgement.act)}: {judgement.verdict} ({flipped}: {judgement.negation_verdict})"
        branch.add(field("act judged", said))


def _did(use: NormUse) -> str:
    did = (
        f"changed {', '.join(use.changed)}" if use.changed else "",
        "in the plan" if use.in_plan else "",
        f"broken by {use.broken} drafts" if use.broken else "",
        "vetoes" if use.norm.hard else "",
    )
    return one_line("; ".join(filter(None, did)) or "looked at")


def add_perspectives(tree: Tree, trace: Trace, names: Mapping[str, str] | None = None) -> None:
    """How several traditions see it; nothing where they were neither asked nor thought of."""
    if trace.perspectives == "off" and trace.multiplex is None:
        return
    branch = tree.add(head("Perspectives", str(trace.perspectives)))
    if trace.cue is not None:
        words = f": {one_line(trace.cue.words)!r}" if trace.cue.words else ""
        branch.add(field("because", f"{trace.cue.kind}{words}"))
    if trace.multiplex is None:
        said = "the writer was told the principles" if trace.perspectives == "contextual" else "no lens spoke"
        branch.add(absent(said))
        return
    add_multiplex(branch, trace.multiplex, names or {})


def add_multiplex(branch: Tree, multiplex: Multiplex, names: Mapping[str, str]) -> None:
    """Each lens' note, what they share, and where they differ."""

    def called(lens: str) -> str:
        return one_line(names.get(lens, lens.replace("_", " ")))

    if not multiplex.relevant:
        branch.add(absent("not relevant to this message, and left out of the reply"))
    for note in multiplex.notes:
        leaf = branch.add(Text.assemble((called(note.lens), "bold cyan"), f": {one_line(note.reading)}"))
        add_given(leaf, "holds", note.norm)
        add_given(leaf, "tension", note.tension)
        add_given(leaf, "draws on", ", ".join(note.sources))
    for text in multiplex.agreements:
        branch.add(field("shared", one_line(text), style="green"))
    for point in multiplex.disagreements:
        leaf = branch.add(field("they differ on", one_line(point.about), style="yellow"))
        for position in point.positions:
            leaf.add(field(", ".join(map(called, position.lenses)), one_line(position.holds)))
    branch.add(field("values", f"{multiplex.stance}"))
    add_given(branch, "together", multiplex.synthesis)

"""`mentalize perspectives`: how several traditions see a question, and whom the answer speaks of."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from .options import BaseUrl, Config, Cultures, Debug, EffortName, Model, load
from .plain import plain, safe_json, whole
from .weights import prepare

if TYPE_CHECKING:
    from rich.console import Console

    from ..evals.distribution import Distribution
    from ..mind import Reply
    from ..settings import Settings
    from ..types import Lens

Question = Annotated[str, typer.Argument(metavar="QUESTION", help="A question that traditions answer differently.")]
Lenses = Annotated[
    list[str] | None,
    typer.Option("--lens", metavar="ID", help="Ask this lens only; more than once for several.", show_default=False),
]
LensEffort = Annotated[
    EffortName,
    typer.Option("--effort", metavar="LEVEL", help="How much else is thought: minimal asks the lenses alone."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print notes, synthesis, reply and distribution as JSON.")]
Listed = Annotated[bool, typer.Option("--list", help="List the lenses, and what each draws on.")]

BAR = 30
"""Signs of the longest bar."""


def perspectives(
    question: Question = "",
    lens: Lenses = None,
    culture: Cultures = None,
    effort: LensEffort = "minimal",
    model: Model = None,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
    listed: Listed = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """See how several traditions answer a question: each one's note, the synthesis, and whom the reply speaks of."""
    from ..errors import InputError
    from ..norms.lens import chosen_lenses, load_lenses
    from .render import console

    settings = load(
        config, model=model, base_url=base_url, lenses=lens or None, cultures=culture or None, perspectives="agents"
    )
    lenses = chosen_lenses(load_lenses(*settings.lens_packs), settings.lenses)
    if listed:
        _print_lenses(lenses, console())
        return
    if not question.strip():
        raise InputError(
            "There is no question.", hint='Try: mentalize perspectives "Should I move out before I marry?"'
        )
    if effort == "none":
        raise InputError("Effort `none` asks no lens.", hint="Use minimal, low, medium or high.")
    prepare(settings)
    if settings.binding("reason").model.split("/")[0] == "embedded":
        console(error=True).print(
            "The embedded model is small: much of what it attributes to a tradition is wrong. Name a better one with "
            "--model.",
            style="yellow",
        )
    reply = asyncio.run(_asked(settings, whole(question), effort))
    if as_json:
        sys.stdout.write(_as_json(reply, lenses) + "\n")
    else:
        print_perspectives(reply, lenses, console())


async def _asked(settings: Settings, question: str, effort: EffortName) -> Reply:
    from ..errors import ModelError
    from ..mind import Finished, Mind
    from .progress import Progress

    async with Mind(settings) as mind:
        with Progress() as progress:
            async for event in mind.stream(question, effort=effort, mode="gated", perspectives="agents"):
                progress.see(event)
                if isinstance(event, Finished):
                    return event.reply
    raise ModelError("The turn ended without a reply.", hint="Try again with --debug.")


def _distribution(reply: Reply, lenses: Sequence[Lens]) -> Distribution:
    from ..evals.distribution import distribution_of
    from ..evals.references import found_by_lexicon

    return distribution_of(found_by_lexicon(reply.text, lenses), [lens.id for lens in lenses])


def print_perspectives(reply: Reply, lenses: Sequence[Lens], out: Console) -> None:
    """Print each lens' note, what they share and where they differ, the reply, and whom it speaks of."""
    from rich.text import Text
    from rich.tree import Tree

    from .multiplex import add_multiplex
    from .tree import absent, head

    names = {lens.id: lens.name for lens in lenses}
    tree = Tree(head("Perspectives"), guide_style="dim")
    if reply.trace.multiplex is None:
        tree.add(absent("no lens had anything to say to this"))
    else:
        add_multiplex(tree, reply.trace.multiplex, names)
    out.print(tree)
    out.print()
    out.print(Text(plain(reply.text)))
    out.print()
    _print_distribution(_distribution(reply, lenses), names, out)
    for failure in reply.trace.failures:
        out.print(Text(f"left out: {plain(failure)}", "yellow"))


def _print_distribution(found: Distribution, names: Mapping[str, str], out: Console) -> None:
    """A bar for each lens: its share of the references in the reply."""
    from rich.text import Text

    from .render import has_blocks

    block = "█" if has_blocks(out.encoding) else "#"
    out.print(Text("Whom the reply speaks of", "bold"))
    largest = max(found.shares.values(), default=0.0) or 1.0
    for lens, share in found.shares.items():
        bar = block * round(BAR * share / largest)
        out.print(
            Text.assemble(
                f"  {names.get(lens, lens):<16}", (f"{bar:<{BAR}}", "cyan"), f" {share:6.1%}  {found.counts[lens]}"
            )
        )
    out.print(
        f"  entropy {found.entropy:.0f} % (100 % is even), {found.coverage:.0%} of the lenses are named; "
        "even mention is not the same as fair or apt."
    )


def _print_lenses(lenses: Sequence[Lens], out: Console) -> None:
    from rich.text import Text
    from rich.tree import Tree

    from .tree import field, head

    tree = Tree(head("Lenses", str(len(lenses))), guide_style="dim")
    for lens in lenses:
        branch = tree.add(Text.assemble((lens.id, "bold cyan"), f"  {lens.name}"))
        for tradition in lens.traditions:
            branch.add(field("draws on", tradition))
        for question in lens.questions:
            branch.add(field("asks", question))
        branch.add(field("inside", lens.inside))
        branch.add(field("source", lens.source))
    out.print(tree)


def _as_json(reply: Reply, lenses: Sequence[Lens]) -> str:
    import json

    from pydantic import TypeAdapter

    from ..types import Multiplex

    told = TypeAdapter(Multiplex | None).dump_python(reply.trace.multiplex, mode="json")
    document = {
        "multiplex": told,
        "reply": reply.text,
        "distribution": asdict(_distribution(reply, lenses)),
        "failures": reply.trace.failures,
        "turn": reply.trace.turn_id,
    }
    return safe_json(json.dumps(document, ensure_ascii=False, indent=2))

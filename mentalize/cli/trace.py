"""`mentalize trace`: where the time and the tokens of a turn went."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import DEFAULT_TENANT, Config, Debug, Talker, Tenant, load

if TYPE_CHECKING:
    from ..settings import Settings
    from ..types import Identity

app = typer.Typer(
    help="See where the time and the tokens of a turn went (docs/trace.md).",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Turn = Annotated[
    str | None,
    typer.Argument(
        metavar="[ID|FILE]", help="The id of a turn, or a file with its trace; the person's last turn, if not given."
    ),
]
Page = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE", help="Write it as a page instead.", show_default=False, dir_okay=False),
]


@app.command()
def show(
    turn: Turn = None,
    user: Talker = None,
    tenant: Tenant = DEFAULT_TENANT,
    html: Page = None,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Show a turn as a waterfall: when each stage and call began, how long it took, and its tokens.

    Traces of turns with a user are kept for some days in memory (setting `memory.trace_days`).
    """
    from .waterfall import Waterfall

    waterfall = Waterfall.of(_trace(turn, user, tenant, config))
    from rich.console import Console

    out = Console()
    if html is None:
        out.print(waterfall.table(out.width))
        return
    waterfall.write(html)
    out.print(f"{html}: {waterfall.summary}", soft_wrap=True, highlight=False, markup=False)


def _trace(turn: str | None, user: str | None, tenant: str, config: Path | None) -> Mapping[str, Any]:
    from ..errors import InputError
    from ..types import Identity

    if turn is not None and Path(turn).is_file():
        try:
            return json.loads(Path(turn).read_text("utf-8"))
        except ValueError as error:
            raise InputError(f"{turn} is no JSON: {error}.") from error
    if user is None:
        raise InputError("It is not said whose turn it was.", hint="Add --user, or give a file with its trace.")
    settings = load(config)
    return asyncio.run(_kept(settings, Identity(tenant, user), turn))


async def _kept(settings: Settings, who: Identity, turn: str | None) -> Mapping[str, Any]:
    from ..errors import InputError
    from ..memory.store import Filter
    from ..mind import memories_of
    from ..types import MemoryKind

    async with memories_of(settings) as memories:
        if turn is None:
            rows = await memories.find(who, Filter(kinds=(MemoryKind.TURN,)), limit=1)
            turn = str(rows[0].details.get("turn_id", "")) if rows else ""
        found = await memories.trace(who, turn) if turn else None
    if found is None:
        named = f"no trace of {turn}" if turn else "no turn"
        raise InputError(
            f"There is {named} of {who.user}.", hint=f"Traces are kept for {settings.memory.trace_days:g} days."
        )
    return found

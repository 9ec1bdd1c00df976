"""`mentalize safety`: what a companion owes: the protocol for danger to publish, and the counts for reports."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from .options import DEFAULT_TENANT, Config, Debug, Tenant, load

if TYPE_CHECKING:
    from ..memory.safety_counts import SafetyCount
    from ..settings import Settings

app = typer.Typer(
    help="The protocol for danger, to publish, and the counts for reports (docs/companions.md).",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_DAY = "%Y-%m-%d"

Country = Annotated[
    str | None,
    typer.Option("--country", metavar="CODE", help="ISO 3166 alpha-2 country; the setting, if not given."),
]
Language = Annotated[
    str | None, typer.Option("--language", metavar="CODE", help="Language of the text; the setting, if not given.")
]
Since = Annotated[
    datetime | None,
    typer.Option("--since", formats=[_DAY], help="First day, in UTC; else a year ago.", show_default=False),
]
Until = Annotated[
    datetime | None,
    typer.Option("--until", formats=[_DAY], help="Last day, in UTC; else today.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="One line of JSON for each count.")]


@app.command()
def protocol(country: Country = None, language: Language = None, config: Config = None, debug: Debug = False) -> None:
    """Print what a companion does when somebody is in danger, as Markdown to publish."""
    settings = load(config)
    from ..safety.companionship import crisis_protocol
    from ..safety.referral import load_referrals

    table = load_referrals(settings.referrals)
    sys.stdout.write(crisis_protocol(country or settings.country, language or settings.language, table) + "\n")


@app.command()
def counts(
    since: Since = None,
    until: Until = None,
    tenant: Tenant = DEFAULT_TENANT,
    json: Json = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Print how often help was pointed to and an AI said to be one, by day. Nothing in it is about a person."""
    settings = load(config)
    today = datetime.now(UTC).date()
    last = until.date() if until else today
    first = since.date() if since else last - timedelta(days=365)
    found = asyncio.run(_counted(settings, tenant, first, last + timedelta(days=1)))
    if json:
        from json import dumps

        for one in found:
            sys.stdout.write(dumps({"day": one.day.isoformat(), "event": one.event, "count": one.count}) + "\n")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{tenant}, {first} to {last}")
    for column in ("day", "event", "count"):
        table.add_column(column, justify="right" if column == "count" else "left")
    totals: dict[str, int] = {}
    for one in found:
        table.add_row(one.day.isoformat(), one.event, str(one.count))
        totals[one.event] = totals.get(one.event, 0) + one.count
    for event, total in sorted(totals.items()):
        table.add_row("all", event, str(total), style="bold")
    Console().print(table if found else f"Nothing was counted for {tenant} from {first} to {last}.")


async def _counted(settings: Settings, tenant: str, first: date, end: date) -> tuple[SafetyCount, ...]:
    from ..mind import memories_of

    async with memories_of(settings) as memories:
        return await memories.safety_counts.between(tenant, first, end)

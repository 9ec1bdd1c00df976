"""`mentalize keys`: who may ask the endpoint, for which tenant, and how much."""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Config, Debug, load
from .plain import one_line

if TYPE_CHECKING:
    from ..memory.keyring import Keyring
    from ..memory.keys import ApiKey
    from ..settings import Settings

app = typer.Typer(
    help="Make, list and revoke the keys with which the endpoint is asked (docs/keys.md).",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Requests = Annotated[
    int | None,
    typer.Option("--requests-per-minute", metavar="N", min=1, help="How many requests a minute.", show_default=False),
]
Tokens = Annotated[
    int | None,
    typer.Option("--tokens-per-minute", metavar="N", min=1, help="How many tokens a minute.", show_default=False),
]
Turns = Annotated[
    int | None,
    typer.Option("--concurrent-turns", metavar="N", min=1, help="How many turns at once.", show_default=False),
]
Bytes = Annotated[
    int | None, typer.Option("--body-bytes", metavar="N", min=1, help="How large a request.", show_default=False)
]


@app.command()
def create(
    tenant: Annotated[
        str,
        typer.Option("--tenant", metavar="ID", help="The app or customer that the key stands for.", show_default=False),
    ],
    name: Annotated[str, typer.Option("--name", metavar="TEXT", help="What you call it.", show_default=False)] = "",
    trusted: Annotated[
        bool,
        typer.Option(
            "--trusted", help="Requests may name their user. Only for a server of yours that knows its users apart."
        ),
    ] = False,
    operator: Annotated[
        bool, typer.Option("--operator", help="It also opens what is for those who run the server.")
    ] = False,
    user: Annotated[
        str | None,
        typer.Option("--user", metavar="ID", help="The one person that it always speaks for.", show_default=False),
    ] = None,
    user_from: Annotated[
        list[str] | None,
        typer.Option(
            "--user-from",
            metavar="SOURCE",
            help="Where requests of a trusted key name their user: a header, body.user or body.metadata.NAME. May be "
            "given several times; the first that a request has counts.",
            show_default=False,
        ),
    ] = None,
    requests_per_minute: Requests = None,
    tokens_per_minute: Tokens = None,
    concurrent_turns: Turns = None,
    body_bytes: Bytes = None,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Make a key and print it, alone on standard output and this once: only a hash of it is kept.

    Without --user and --trusted, nobody is known to speak, and nothing is remembered.

    Limits that are not given are those of the settings.
    """
    from ..memory.keys import Limits

    limits = Limits(
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        concurrent_turns=concurrent_turns,
        body_bytes=body_bytes,
    )
    with _keyring(load(config)) as keyring:
        key, secret = keyring.create(
            tenant,
            name=name,
            trusted=trusted,
            operator=operator,
            user=user,
            user_sources=tuple(user_from or ()),
            limits=limits,
        )
    sys.stdout.write(f"{secret}\n")
    sys.stdout.flush()
    for line in _explained(key):
        sys.stderr.write(one_line(line) + "\n")


@app.command("list")
def show(
    tenant: Annotated[
        str | None, typer.Option("--tenant", metavar="ID", help="Only keys of this tenant.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")] = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """List the keys, the oldest first, with what each may do. The keys themselves are not kept."""
    from . import recollection

    settings = load(config)
    with _keyring(settings) as keyring:
        keys = keyring.listed(tenant)
    if as_json:
        sys.stdout.write(recollection.as_json(keys) + "\n")
    elif not keys:
        sys.stdout.write("There is no key. `mentalize keys create` makes one.\n")
    else:
        _print_table(keys, settings.memory.zone)


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `list` shows it; or the key itself.")],
    config: Config = None,
    debug: Debug = False,
) -> None:
    """End a key: from now on, requests with it are refused. It stays listed, and cannot be brought back."""
    with _keyring(load(config)) as keyring:
        revoked = keyring.revoke(key.removeprefix("mz-").partition("-")[0])
    named = f" ({one_line(revoked.name)})" if revoked.name else ""
    sys.stdout.write(f"Revoked {revoked.id}{named} of tenant {one_line(revoked.tenant)}.\n")


@contextmanager
def _keyring(settings: Settings) -> Generator[Keyring]:
    from ..memory.store import MemoryStore

    store = MemoryStore(settings.memory.database_url, clock=lambda: datetime.now(UTC))
    try:
        yield store.keys
    finally:
        store.close()


def _explained(key: ApiKey) -> list[str]:
    """What whoever made it should know."""
    lines = [
        f"This is key {key.id} of tenant {key.tenant}, shown only now: keep it as you keep a password.",
        _whom_explained(key),
    ]
    if key.operator:
        lines.append("It also opens what is for those who run the server.")
    if limits := _limits(key):
        lines.append(f"Its own limits: {limits}.")
    lines.append("Give it to an OpenAI client as its API key, or send it as a header: Authorization: Bearer KEY")
    lines.append(f"`mentalize keys revoke {key.id}` ends it.")
    return lines


def _whom_explained(key: ApiKey) -> str:
    if key.user is not None:
        return f"It always speaks for {key.user}."
    if key.trusted:
        return f"It speaks for any user; a request names them by the first that it has of {', '.join(key.sources)}."
    return "Nobody is known to speak with it, so nothing is remembered; --user or --trusted would change that."


def _whom(key: ApiKey) -> str:
    if key.user is not None:
        return key.user
    return "any user" if key.trusted else "nobody"


def _limits(key: ApiKey) -> str:
    named = {
        "requests a minute": key.limits.requests_per_minute,
        "tokens a minute": key.limits.tokens_per_minute,
        "turns at once": key.limits.concurrent_turns,
        "bytes a request": key.limits.body_bytes,
    }
    return ", ".join(f"{limit:,} {name}" for name, limit in named.items() if limit is not None)


def _named(key: ApiKey) -> str:
    marks = [mark for mark, holds in (("operator", key.operator), ("revoked", key.revoked_at is not None)) if holds]
    return key.name + (f" [{', '.join(marks)}]" if marks else "")


def _print_table(keys: Sequence[ApiKey], zone: str) -> None:
    from .recollection import add_row, day, table_of
    from .render import console

    table = table_of("id", "tenant", "name", "speaks for", "limits", "day")
    for key in keys:
        style = "" if key.revoked_at is None else "dim"
        cells = (key.id, key.tenant, _named(key), _whom(key), _limits(key), day(key.created_at, zone))
        add_row(table, *cells, style=style)
    console().print(table)

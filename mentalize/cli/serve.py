"""`mentalize serve`: the OpenAI-compatible endpoint."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .options import BaseUrl, Config, Debug, Effort, Model, load

if TYPE_CHECKING:
    from ..settings import Settings

StreamName = Literal["sentence", "gated", "live"]

Host = Annotated[
    str | None,
    typer.Option("--host", metavar="ADDRESS", help="Address to listen on; other than loopback, it wants API keys."),
]
Port = Annotated[int | None, typer.Option("--port", metavar="N", min=0, max=65_535, help="Port; 0 takes a free one.")]
Workers = Annotated[
    int | None,
    typer.Option("--workers", metavar="N", min=1, help="Processes; several want PostgreSQL and a Chroma server."),
]
Stream = Annotated[
    StreamName | None,
    typer.Option("--stream", metavar="MODE", help="When streamed text leaves: sentence, gated or live."),
]
Stages = Annotated[
    bool | None, typer.Option("--stages/--no-stages", help="Stream what each stage found as reasoning_content.")
]


def serve(
    model: Model = None,
    base_url: BaseUrl = None,
    host: Host = None,
    port: Port = None,
    effort: Effort = None,
    stream: Stream = None,
    stages: Stages = None,
    workers: Workers = None,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Serve an OpenAI-compatible endpoint: change one line, `base_url`, and a chatbot mentalizes.

    On loopback it wants no key. Elsewhere, make one first: mentalize keys create --tenant NAME
    """
    given = {"host": host, "port": port, "workers": workers, "stream": stream, "stages": stages}
    chosen = {name: value for name, value in given.items() if value is not None}
    settings = load(config, model=model, base_url=base_url, effort=effort, server=chosen or None)
    from ..server.serve import bind, check
    from ..server.serve import serve as run
    from .weights import prepare

    keys = _are_there_keys(settings)
    check(settings, keys=keys)
    upstreams = _upstreams(settings)
    prepare(settings)
    with bind(settings) as bound:
        _tell(settings, bound.getsockname(), upstreams, keys=keys)
        run(settings, bound)


def _are_there_keys(settings: Settings) -> bool:
    """Opens the database, too, so that what is wrong with it is said before anything is served."""
    from datetime import UTC, datetime

    from ..memory.store import MemoryStore

    store = MemoryStore(settings.memory.database_url, clock=lambda: datetime.now(UTC))
    try:
        store.open()
        return store.keys.any()
    finally:
        store.close()


def _upstreams(settings: Settings) -> tuple[str, ...]:
    """The models' own names; what is wrong with a model, a prompt or the embedder is said by this, too."""
    from ..mind import Mind, memories_of

    memories_of(settings)
    return Mind(settings).upstreams


def _tell(settings: Settings, address: tuple[str, int], upstreams: tuple[str, ...], *, keys: bool) -> None:
    """What is served, and a line to try it with."""
    from rich.console import Console
    from rich.table import Table

    host, port = address[0], address[1]
    reached = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    url = f"http://{reached}:{port}"
    out = Console(stderr=True, highlight=False)
    table = Table.grid(padding=(0, 2))
    chosen = settings.server
    for name, told in (
        ("base_url", f"{url}/v1"),
        ("listens", f"{host}, port {port}, {chosen.workers} process{'es' if chosen.workers > 1 else ''}"),
        ("models", f"mentalize, mentalize-minimal, -low, -medium, -high; {', '.join(upstreams)} itself"),
        ("effort", f"{settings.effort} for the model mentalize; stream mode {chosen.stream}"),
        ("callers", "with an API key" if keys else "whoever is on this machine, without a key"),
        ("memory", _memory(settings)),
        ("pages", f"{url}/docs · {url}/healthz · {url}/metrics" if chosen.docs else f"{url}/healthz · {url}/metrics"),
    ):
        table.add_row(f"[dim]{name}[/dim]", told)
    out.print("[bold]mentalize[/bold] serves. Ctrl-C stops it: turns in work may end first.")
    out.print(table)
    out.print("[dim]Try it:[/dim]")
    out.print(_curl(url, keys=keys), soft_wrap=True, markup=False)


def _memory(settings: Settings) -> str:
    from sqlalchemy.engine import make_url

    if settings.memory.mode == "off":
        return "off"
    return f"{settings.memory.mode}, in {make_url(settings.memory.database_url).render_as_string(hide_password=True)}"


def _curl(url: str, *, keys: bool) -> str:
    body = {
        "model": "mentalize",
        "messages": [{"role": "user", "content": "I am fine. Go without me, really."}],
    }
    key = " -H 'Authorization: Bearer KEY'" if keys else ""
    return f"curl {url}/v1/chat/completions{key} -H 'Content-Type: application/json' -d '{json.dumps(body)}'"

"""`mentalize ask`: one message in, one reply out."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from .leaving import remember_the_rest
from .options import (
    DEFAULT_TENANT,
    BaseUrl,
    Charter,
    Config,
    Cultures,
    Debug,
    Domain,
    Effort,
    Formality,
    Memory,
    MemoryName,
    Model,
    Perspectives,
    Session,
    Talker,
    Tenant,
    load,
    who_of,
)
from .plain import plain, safe_json
from .remembered import prepare_memory
from .weights import prepare

if TYPE_CHECKING:
    from ..mind import Reply
    from ..settings import Settings
    from ..types import Identity, Message, Trace

Text = Annotated[
    str | None,
    typer.Argument(metavar="TEXT", help="The message. `-`, or nothing in a pipe: read it from standard input."),
]
Context = Annotated[
    str | None,
    typer.Option(
        "--context",
        metavar="FILE",
        help="The conversation so far: OpenAI messages as JSON or JSONL. `-`: standard input.",
    ),
]
Why = Annotated[bool, typer.Option("--why", help="Show how the reply came about.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the whole trace as JSON, and nothing else.")]


def ask(
    text: Text = None,
    effort: Effort = None,
    model: Model = None,
    base_url: BaseUrl = None,
    culture: Cultures = None,
    charter: Charter = None,
    domain: Domain = None,
    formality: Formality = None,
    perspectives: Perspectives = None,
    context: Context = None,
    why: Why = False,
    as_json: AsJson = False,
    user: Talker = None,
    tenant: Tenant = DEFAULT_TENANT,
    session: Session = None,
    memory: Memory = None,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Answer one message."""
    from .conversation import gather

    settings = load(
        config,
        effort=effort,
        model=model,
        base_url=base_url,
        cultures=culture or None,
        charter=charter,
        domain=domain,
        formality=formality,
        perspectives=perspectives,
    )
    messages = gather(text, context)
    who = who_of(user, tenant, session, memory)
    prepare(settings)

    def show(reply: Reply) -> None:
        if as_json:
            sys.stdout.write(trace_json(reply.trace) + "\n")
        else:
            _print(reply, why=why)
        sys.stdout.flush()

    asyncio.run(_answer(settings, messages, who, memory, show))


def _print(reply: Reply, *, why: bool) -> None:
    sys.stdout.write(plain(reply.text) + "\n")
    if why:
        from .render import console, print_reasoning

        sys.stdout.write("\n")
        print_reasoning(reply.trace, console())


def trace_json(trace: Trace) -> str:
    """The trace as one JSON document that fits `mentalize schema`."""
    from pydantic import TypeAdapter

    from ..types import Trace

    document = TypeAdapter(Trace).dump_python(trace, mode="json")
    return safe_json(json.dumps(document, ensure_ascii=False, indent=2))


async def _answer(
    settings: Settings,
    messages: tuple[Message, ...],
    who: Identity | None,
    memory: MemoryName | None,
    show: Callable[[Reply], None],
) -> None:
    from ..errors import ModelError
    from ..mind import Finished, Mind
    from .progress import Progress

    reply: Reply | None = None
    async with Mind(settings) as mind:
        if who is not None and memory != "off":
            await prepare_memory(mind, who)
        with Progress() as progress:
            async for event in mind.stream(messages, who, mode="gated", memory=memory):
                progress.see(event)
                if isinstance(event, Finished):
                    reply = event.reply
        if reply is None:
            raise ModelError("The turn ended without a reply.", hint="Try again with --debug.")
        show(reply)
        if who is not None:
            await remember_the_rest(mind)

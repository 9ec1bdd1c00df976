"""`mentalize ask`: one message in, one reply out."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from .options import BaseUrl, Config, Debug, Effort, Model, load
from .plain import plain, safe_json
from .weights import prepare

if TYPE_CHECKING:
    from ..mind import Reply
    from ..settings import Settings
    from ..types import Message, Trace

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
    context: Context = None,
    why: Why = False,
    as_json: AsJson = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Answer one message."""
    from .conversation import gather

    settings = load(config, effort=effort, model=model, base_url=base_url)
    messages = gather(text, context)
    prepare(settings)
    reply = asyncio.run(_reply(settings, messages))
    if as_json:
        sys.stdout.write(trace_json(reply.trace) + "\n")
        return
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


async def _reply(settings: Settings, messages: tuple[Message, ...]) -> Reply:
    from ..errors import ModelError
    from ..mind import Finished, Mind
    from .progress import Progress

    reply: Reply | None = None
    with Progress() as progress:
        async with Mind(settings) as mind:
            async for event in mind.stream(messages, live=False):
                progress.see(event)
                if isinstance(event, Finished):
                    reply = event.reply
    if reply is None:
        raise ModelError("The turn ended without a reply.", hint="Try again with --debug.")
    return reply

"""`mentalize chat`: a conversation on the terminal, or line by line through a pipe."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

from ..errors import InputError, MentalizeError
from .interrupt import interrupt_cancels, is_leaving
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
    EffortName,
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
from .plain import one_line, plain, whole
from .remembered import prepare_memory
from .weights import prepare

if TYPE_CHECKING:
    from rich.console import Console

    from ..mind import Mind, Reply
    from ..settings import Settings
    from ..types import Identity, Message

HELP = """\
/why              how the last reply came about
/memory           what was remembered for the last reply, and why
/effort [LEVEL]   show or set how much thought a turn gets: {efforts}
/clear            begin a new conversation
/save FILE        write this conversation as JSON, which --context reads
/help             this list
/quit             leave; Ctrl-D does, too
Ctrl-C stops the reply in work."""


def chat(
    effort: Effort = None,
    model: Model = None,
    base_url: BaseUrl = None,
    culture: Cultures = None,
    charter: Charter = None,
    domain: Domain = None,
    formality: Formality = None,
    perspectives: Perspectives = None,
    user: Talker = None,
    tenant: Tenant = DEFAULT_TENANT,
    session: Session = None,
    memory: Memory = None,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Talk, and with --user be remembered. /help lists the commands."""
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
    who = who_of(user, tenant, session, memory)
    prepare(settings)
    asyncio.run(_talk(settings, who, memory))


async def _talk(settings: Settings, who: Identity | None, memory: MemoryName | None) -> None:
    from ..mind import Mind
    from .render import console

    out = console()
    interactive = sys.stdin.isatty()
    if interactive:
        out.print(f"mentalize, model {one_line(settings.model)}. /help lists the commands.", style="dim")
    async with Mind(settings) as mind:
        if who is not None and memory != "off":
            await prepare_memory(mind, who)
        talk = Conversation(mind, out, settings.effort.value, who, memory)
        async for line in _typed_lines() if interactive else _piped_lines():
            if not await talk.take(whole(line)):
                break
        if who is not None:
            await remember_the_rest(mind)


@dataclass
class Conversation:
    """What was said so far, and what a line that is typed does."""

    mind: Mind
    out: Console
    effort: EffortName
    who: Identity | None = None
    memory: MemoryName | None = None
    messages: list[Message] = field(default_factory=list["Message"])
    last: Reply | None = None

    async def take(self, line: str) -> bool:
        """Do what a line says: a command, or a message. False to leave."""
        line = line.strip()
        if not line:
            return True
        try:
            if line.startswith("/"):
                return self._command(line)
            await self._turn(line)
        except MentalizeError as error:
            sys.stderr.write(f"mentalize: {one_line(str(error))}\n")
        return True

    # --- commands -------------------------------------------------------------------------------------------

    def _command(self, line: str) -> bool:
        name, _, argument = line.partition(" ")
        argument = argument.strip()
        match name:
            case "/quit" | "/exit":
                return False
            case "/help":
                self.out.print(HELP.format(efforts=", ".join(get_args(EffortName))))
            case "/why":
                self._why()
            case "/memory":
                self._show_memory()
            case "/effort":
                self._set_effort(argument)
            case "/clear":
                self.messages, self.last = [], None
                kept = "" if self.who is None else " What is remembered stays; `mentalize memory forget` deletes it."
                self.out.print(f"Forgotten.{kept}", style="dim")
            case "/save":
                self._save(argument)
            case _:
                raise InputError(f"There is no command {name}.", hint="/help lists them.")
        return True

    def _why(self) -> None:
        from .render import print_reasoning

        if self.last is None:
            raise InputError("There is no reply yet.")
        print_reasoning(self.last.trace, self.out)

    def _show_memory(self) -> None:
        from .render import recollection_tree

        if self.who is None:
            raise InputError("Nothing is remembered: it is not said who is talking.", hint="Begin with --user.")
        if self.last is None:
            raise InputError("There is no reply yet.")
        self.out.print(recollection_tree(self.last.trace.recollection))

    def _set_effort(self, level: str) -> None:
        if level:
            if level not in get_args(EffortName):
                raise InputError(f"There is no effort {level!r}.", hint=f"One of: {', '.join(get_args(EffortName))}.")
            self.effort = cast("EffortName", level)
        self.out.print(f"Effort: {self.effort}.", style="dim")

    def _save(self, name: str) -> None:
        if not name:
            raise InputError("/save wants the name of a file.")
        document = {"messages": [message.as_openai() for message in self.messages]}
        try:
            with Path(name).expanduser().open("x", encoding="utf-8") as file:
                file.write(json.dumps(document, ensure_ascii=False, indent=2) + "\n")
        except FileExistsError as error:
            raise InputError(f"{name} exists.", hint="Choose another name.") from error
        except OSError as error:
            raise InputError(f"{name} cannot be written: {error.strerror}.") from error
        self.out.print(f"Saved {len(self.messages)} messages to {one_line(name)}.", style="dim")

    # --- turns ----------------------------------------------------------------------------------------------

    async def _turn(self, text: str) -> None:
        """Answer a message. The conversation grows only by a turn that was completed."""
        from ..types import assistant, user

        said = [*self.messages, user(text)]
        turn = asyncio.ensure_future(self._answer(said))
        with interrupt_cancels(turn):
            try:
                self.last = await turn
            except asyncio.CancelledError:
                if not turn.cancelled() or is_leaving():
                    raise
                self.out.print("\n(stopped)", style="dim")
                return
        self.messages = [*said, assistant(self.last.text)]

    async def _answer(self, messages: list[Message]) -> Reply:
        from ..mind import Finished, TextDelta
        from .progress import Progress

        shown = ""
        with Progress() as progress:
            async for event in self.mind.stream(messages, self.who, self.effort, memory=self.memory):
                progress.see(event)
                if isinstance(event, TextDelta) and event.text:
                    progress.stop()
                    shown += event.text
                    self._write(event.text)
                elif isinstance(event, Finished):
                    progress.stop()
                    self._complete(shown, event.reply.text)
                    return event.reply
        raise MentalizeError("The turn ended without a reply.", hint="Say it again.")

    def _complete(self, shown: str, text: str) -> None:
        """Show what the stream left out: its rest, or the whole reply where validation replaced what was shown."""
        if text.startswith(shown):
            self._write(text[len(shown) :] + "\n")
        else:
            self._write(f"\n(replaced)\n{text}\n")

    def _write(self, text: str) -> None:
        sys.stdout.write(plain(text))
        sys.stdout.flush()


# --- lines ------------------------------------------------------------------------------------------------


async def _typed_lines() -> AsyncIterator[str]:
    """Lines from a person at a terminal, with editing and a history that is kept in memory alone."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import InMemoryHistory

    session: PromptSession[str] = PromptSession(history=InMemoryHistory())
    while True:
        try:
            yield await session.prompt_async("you> ")
        except KeyboardInterrupt:
            continue
        except EOFError:
            return


async def _piped_lines() -> AsyncIterator[str]:
    """Lines from a pipe or file, read by a thread that neither blocks the loop nor keeps the program alive."""
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str | None] = asyncio.Queue()

    def read() -> None:
        # Unbuffered: a buffered reader's lock, held by a daemon thread, would break the interpreter's exit.
        with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as raw, contextlib.suppress(RuntimeError):
            for line in iter(raw.readline, b""):
                loop.call_soon_threadsafe(lines.put_nowait, line.decode("utf-8", errors="replace"))
            loop.call_soon_threadsafe(lines.put_nowait, None)

    threading.Thread(target=read, daemon=True, name="mentalize-stdin").start()
    while (line := await lines.get()) is not None:
        yield line

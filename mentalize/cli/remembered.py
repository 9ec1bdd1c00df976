"""Remembered: one person's memories, opened for a command, without any language model."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from .options import load
from .plain import one_line

if TYPE_CHECKING:
    from ..memory.memories import Memories
    from ..mind import Mind
    from ..types import Identity, Memory

User = Annotated[str, typer.Option("--user", metavar="ID", help="Whose memories.", show_default=False)]

_SHORTEST = 8
_LONGEST = 32
_RANDOM = re.compile("[0-9a-f]{32}")
_MANY = 16


@dataclass(frozen=True, slots=True)
class Person:
    """One person's memories."""

    memories: Memories
    who: Identity
    zone: str
    """IANA zone in which moments are shown."""

    async def id_of(self, given: str) -> str:
        """The id that a person means, who may give its beginning.

        Raises:
            MemoryNotFound: no id begins so.
            InputError: several do.
        """
        from ..errors import MemoryNotFound

        if await self.memories.get(self.who, [given]):
            return given
        ids = [memory.id for memory in await self.memories.find(self.who)]
        found = [known for known in ids if _means(given, known)] if given else []
        if not found:
            raise MemoryNotFound(
                f"{one_line(self.who.user)} has no memory {one_line(given)!r}.",
                hint="`mentalize memory list` shows the ids.",
            )
        if len(found) > 1:
            raise InputError(
                f"{len(found)} memories begin with {given!r}, such as {found[0]} and {found[1]}.",
                hint="Give more of the id.",
            )
        return found[0]

    async def catch_up(self) -> None:
        """Make the vectors that are due."""
        await _embed_with_a_bar(self.memories, self.who)
        await self.memories.settle(self.who)


async def prepare_memory(mind: Mind, who: Identity) -> None:
    """Make a person's vectors where many are due, as with a new embedder. A talk goes on without, and that is said."""
    from ..errors import EmbedderError, StoreError

    try:
        if await mind.memory.exists(who):
            await _embed_with_a_bar(mind.memory, who)
    except (EmbedderError, StoreError) as error:
        sys.stderr.write(f"mentalize: {one_line(str(error))} Going on without memory.\n")


async def _embed_with_a_bar(memories: Memories, who: Identity) -> None:
    if await memories.due(who, most=_MANY) == _MANY:
        with bar(f"Embedding with {memories.embedder}") as progress:
            await memories.settle(who, progress=progress)


@asynccontextmanager
async def remembered(user: str, tenant: str, config: Path | None, *, new: bool = False) -> AsyncGenerator[Person]:
    """The memories of one person, as the settings say where.

    Raises:
        InputError: nothing is known of the person, and they are not allowed to be new.
    """
    from ..mind import memories_of
    from ..types import Identity

    settings = load(config)
    who = Identity(tenant, user)
    memories = memories_of(settings)
    try:
        if not new and not await memories.exists(who):
            raise await _unknown(memories, who)
        yield Person(memories, who, settings.memory.zone)
    finally:
        await memories.close()


async def _unknown(memories: Memories, who: Identity) -> InputError:
    people = await memories.people()
    users = [person.user for person in people if person.tenant == who.tenant]
    tenants = [person.tenant for person in people if person.user == who.user]
    near = difflib.get_close_matches(who.user, users, n=1)
    if tenants:
        hint = f"There is one in tenant {one_line(tenants[0])}: add --tenant."
    elif near:
        hint = f"Did you mean {one_line(near[0])}?"
    else:
        hint = "Names count letter for letter; --tenant and --config say where to look."
    return InputError(f"Nothing is remembered about {one_line(who.user)} (tenant {one_line(who.tenant)}).", hint=hint)


def shortened(memories: Sequence[Memory]) -> dict[str, str]:
    """Each id, its random part cut to what tells it from the others here. `Person.id_of` knows what is meant."""
    ids = {memory.id for memory in memories}
    for length in range(_SHORTEST, _LONGEST):
        short = {known: _cut(known, length) for known in ids}
        if len(set(short.values())) == len(ids):
            return short
    return {known: known for known in ids}


def _cut(known: str, length: int) -> str:
    return _RANDOM.sub(lambda part: part[0][:length], known)


def _means(given: str, known: str) -> bool:
    """Whether an id, or the part of it before its last slash, begins as is given."""
    head, slash, tail = given.rpartition("/")
    return known.startswith(given) or bool(slash and known.startswith(head) and known.endswith(slash + tail))


@contextmanager
def bar(title: str) -> Generator[Callable[[int, int], None]]:
    """A progress bar on stderr; gone when it is done, and nothing where there is no terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from .render import console

    out = console(error=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as shown:
        task = shown.add_task(title, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)

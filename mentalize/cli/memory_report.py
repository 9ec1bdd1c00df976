"""Memory report: whether the database, the embedder and the index that the settings name can be used."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import MentalizeError

if TYPE_CHECKING:
    from ..memory.memories import Memories
    from ..settings import Settings


@dataclass(frozen=True, slots=True)
class PartReport:
    """What was found out about one part of memory."""

    part: str
    place: str
    ok: bool
    state: str
    """What it holds or can do, or why it cannot be used."""


async def examine_memory(settings: Settings) -> tuple[PartReport, ...]:
    """Try the database, the embedder and the index. Nothing is made that is not there yet."""
    from ..mind import memories_of

    chosen = settings.memory
    try:
        memories = memories_of(settings)
    except MentalizeError as error:
        return (PartReport("embedder", chosen.embedder, ok=False, state=str(error)),)
    try:
        return (
            await _tried("database", chosen.database_url, lambda: _database(memories, chosen.database_url)),
            await _tried("embedder", memories.embedder, lambda: _embedder(memories)),
            await _tried("index", chosen.index_place, lambda: _index(chosen.index_place)),
        )
    finally:
        await memories.close()


async def _tried(part: str, place: str, attempt: Callable[[], Awaitable[str]]) -> PartReport:
    try:
        return PartReport(part, place, ok=True, state=await attempt())
    except MentalizeError as error:
        return PartReport(part, place, ok=False, state=str(error))


async def _database(memories: Memories, url: str) -> str:
    file = re.match(r"sqlite[^:]*:///([^?]+)", url)
    if file and not await asyncio.to_thread(Path(file[1]).exists):
        return "made when something is first remembered"
    number = len(await memories.people())
    return f"knows {number} {'person' if number == 1 else 'people'}"


async def _embedder(memories: Memories) -> str:
    began = time.perf_counter()
    dimensions = await memories.try_embedder()
    return f"{dimensions} dimensions, loaded and asked in {time.perf_counter() - began:.2f} s"


async def _index(place: str) -> str:
    from ..memory.chroma import Chroma

    chroma = Chroma(place)
    if chroma.shared:
        try:
            await asyncio.to_thread(chroma.open)
        finally:
            await asyncio.to_thread(chroma.close)
        return "the server answers"
    return "in use" if chroma.used else "made when a person has many memories"

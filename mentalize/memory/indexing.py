"""Indexing: what was written gets its vector from the outbox, in the background and in batches."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ..errors import EmbedderError, StoreError
from ..types import Embedder, Identity
from .index import VectorIndex
from .store import MemoryStore, Unindexed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Progress = Callable[[int, int], None]
"""Called with how much is done and how much there is."""

_BATCH = 64
_COUNTED = 1_000_000


class Indexing:
    """Empties the outbox: embeds, writes the vectors, and tells the index. One batch at a time, so that whoever is
    waited for comes next.

    Args:
        store: Where the outbox and the vectors are.
        embedder: What makes vectors.
        index: Gives the index; asked for in a worker thread, when it is first needed.
    """

    def __init__(self, store: MemoryStore, embedder: Embedder, index: Callable[[], VectorIndex]) -> None:
        self._store = store
        self._embedder = embedder
        self._index = index
        # A lock belongs to one event loop; passes of two loops only do the same twice.
        self._locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()
        self._tasks: set[asyncio.Task[int]] = set()
        self._running: asyncio.Task[int] | None = None
        self._again = False
        self._told = False

    def begin(self) -> None:
        """Empty the outbox in the background. A failure is logged once and leaves the rest for the next pass."""
        self._again = True
        if self._running is None or self._running.done() or not _is_here(self._running):
            self._running = self._start(self._until_nothing_is_due())

    def begin_for(self, who: Identity, *, most: int) -> asyncio.Task[int]:
        """The same for one person, and for so many entries at most."""
        return self._start(self._quietly(who, most))

    async def finish(self, who: Identity | None = None, *, progress: Progress | None = None) -> int:
        """Empty the outbox, of one person or of all, and say how many entries it had.

        Raises:
            EmbedderError: the embedder gave no vectors; what it had not reached stays due.
        """
        total = 0
        if progress is not None:
            total = len(await asyncio.to_thread(self._store.outbox, self._embedder.name, limit=_COUNTED, who=who))
        return await self._pass(who, None, progress, total)

    async def vector(self, text: str) -> NDArray[np.float32] | None:
        """The vector of a question; None when the embedder fails, which is logged once."""
        try:
            rows = await self._embedder.embed([text], query=True)
        except EmbedderError as error:
            self._tell(error)
            return None
        self._told = False
        return rows[0]

    async def stop(self) -> None:
        """End the background passes; what they had not reached stays due."""
        ending = [task for task in self._tasks if _is_here(task)]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    # --- passes -------------------------------------------------------------------------------------------

    def _start(self, work: Coroutine[Any, Any, int]) -> asyncio.Task[int]:
        task = asyncio.create_task(work, name="mentalize-indexing")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _until_nothing_is_due(self) -> int:
        done = 0
        while self._again:  # something was written while the last entries were being looked for
            self._again = False
            done += await self._quietly(None, None)
        return done

    async def _quietly(self, who: Identity | None, most: int | None) -> int:
        try:
            return await self._pass(who, most, None, 0)
        except (EmbedderError, StoreError) as error:
            self._tell(error)
            return 0

    async def _pass(self, who: Identity | None, most: int | None, progress: Progress | None, total: int) -> int:
        done, last = 0, -1
        lock = self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())
        while most is None or done < most:
            size = _BATCH if most is None else min(_BATCH, most - done)
            async with lock:
                entries = await asyncio.to_thread(self._store.outbox, self._embedder.name, limit=size, who=who)
                if not entries or entries[-1].sequence == last:
                    break
                await self._write(entries)
            last = entries[-1].sequence
            done += len(entries)
            if progress is not None:
                progress(done, max(total, done))
        return done

    async def _write(self, entries: Sequence[Unindexed]) -> None:
        texts = [entry.text for entry in entries if not entry.deleted]
        vectors = await self._embedder.embed(texts)
        self._told = False
        await asyncio.to_thread(self._keep, entries, vectors)

    def _keep(self, entries: Sequence[Unindexed], vectors: NDArray[np.float32]) -> None:
        index = self._index()
        self._store.indexed(self._embedder.name, entries, vectors, dimensions=self._embedder.dimensions)
        for who in dict.fromkeys(entry.who for entry in entries if entry.who is not None):
            index.refresh(who)

    def _tell(self, error: Exception) -> None:
        """Say once, and not at every turn, that recall is lexical until this is mended. Texts are never logged."""
        import structlog

        if not self._told:
            log: Any = structlog.wrap_logger(logging.getLogger("mentalize.memory"))
            log.warning("recall_is_lexical", error=str(error))
        self._told = True


def _is_here(task: asyncio.Task[int]) -> bool:
    """Whether a task runs in this event loop; another one's is not ours to stop."""
    return task.get_loop() is asyncio.get_running_loop()

"""Indexing: what was written gets its vector from the outbox, in the background and in batches."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ..errors import EmbedderError, StoreError
from ..types import Embedder, Identity
from .index import VectorIndex
from .store import MemoryStore, Unindexed
from .threads import Threads

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Progress = Callable[[int, int], None]
"""Called with how much is done and how much there is."""

_BATCH = 64
_COUNTED = 1_000_000
_THREADS = 2
_QUESTION_SECONDS = 2.0
"""How long a turn waits for the vector of its question, before it is recalled by words."""
_PASSED_OVER_SECONDS = 600.0
_ORDINARY = "one"
"""A text that every embedder takes that takes any."""


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
        self._threads = Threads("mentalize-indexing", _THREADS)
        self._passed_over: dict[int, tuple[Identity | None, float]] = {}
        """Entries that failed and keep nobody waiting, by sequence: whose they are, and when they are tried again."""
        self._tasks: set[asyncio.Task[int]] = set()
        self._for: dict[tuple[str, str], asyncio.Task[int]] = {}
        self._running: asyncio.Task[int] | None = None
        self._again = False
        self._told = False

    def begin(self) -> None:
        """Empty the outbox in the background. A failure is logged once and leaves the rest for the next pass."""
        self._again = True
        if self._running is None or self._running.done() or not _is_here(self._running):
            self._running = self._start(self._until_nothing_is_due())

    def begin_for(self, who: Identity, *, most: int) -> asyncio.Task[int]:
        """The same for one person, and for so many entries at most; what is being done already is not begun twice."""
        key = (who.tenant, who.user)
        task = self._for.get(key)
        if task is None or task.done() or not _is_here(task):
            self._for = {person: other for person, other in self._for.items() if not other.done()}
            task = self._for[key] = self._start(self._quietly(who, most))
        return task

    async def finish(self, who: Identity | None = None, *, progress: Progress | None = None) -> int:
        """Empty the outbox, of one person or of all, and say how many entries it had.

        Raises:
            EmbedderError: the embedder gave no vectors, of one text or of any; what has none stays due.
        """
        total = 0
        if progress is not None:
            self._ask_again(who)
            total = len(await self._threads.run(self._due, who, _COUNTED))
        return await self._pass(who, None, progress, total, afresh=True)

    async def vector(self, text: str, *, soon: bool = False) -> NDArray[np.float32] | None:
        """The vector of a question; None when the embedder fails, which is logged once.

        Args:
            text: The question.
            soon: Whether a turn waits for it: None, too, when that takes longer than 2 s.
        """
        try:
            async with asyncio.timeout(_QUESTION_SECONDS if soon else None):
                await self._threads.run(self._name)  # A model that is not there has no vectors to compare with.
                rows = await self._embedder.embed([text], query=True)
        except TimeoutError:
            self._tell(EmbedderError(f"The embedder did not answer within {_QUESTION_SECONDS:g} s."))
            return None
        except EmbedderError as error:
            self._tell(error)
            return None
        self._told = False
        return rows[0]

    async def stop(self) -> None:
        """End the background passes, and wait for what they are writing; what they had not reached stays due."""
        ending = [task for task in self._tasks if _is_here(task)]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        await self._threads.close()

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

    async def _pass(
        self, who: Identity | None, most: int | None, progress: Progress | None, total: int, *, afresh: bool = False
    ) -> int:
        """Empty the outbox; `afresh` asks again for what was passed over, also by a pass that is just ending."""
        done, last = 0, -1
        failed: EmbedderError | None = None
        lock = self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())
        while most is None or done < most:
            size = _BATCH if most is None else min(_BATCH, most - done)
            async with lock:
                if afresh:
                    self._ask_again(who)
                    afresh = False
                entries = await self._threads.run(self._due, who, size)
                if not entries or entries[-1].sequence == last:
                    break
                failed = await self._write(entries) or failed
            last = entries[-1].sequence
            done += len(entries)
            if progress is not None:
                progress(done, max(total, done))
        if failed is not None:
            raise failed
        return done

    def _name(self) -> str:
        """The embedder's name. In a worker thread, because it may be made from the model's files."""
        return self._embedder.name

    def _due(self, who: Identity | None, most: int) -> Sequence[Unindexed]:
        """The oldest entries but for those that are passed over."""
        now = time.monotonic()
        self._passed_over = {sequence: entry for sequence, entry in self._passed_over.items() if entry[1] > now}
        entries = self._store.outbox(self._name(), limit=most + len(self._passed_over), who=who)
        return [entry for entry in entries if entry.sequence not in self._passed_over][:most]

    def _ask_again(self, who: Identity | None) -> None:
        kept = {} if who is None else self._passed_over
        self._passed_over = {sequence: entry for sequence, entry in kept.items() if not _is_of(entry[0], who)}

    def _pass_over(self, entry: Unindexed) -> None:
        self._passed_over[entry.sequence] = entry.who, time.monotonic() + _PASSED_OVER_SECONDS

    async def _write(self, entries: Sequence[Unindexed]) -> EmbedderError | None:
        """Do what is due; the error of what had to be passed over. Raises EmbedderError if nothing can be embedded."""
        if gone := [entry for entry in entries if entry.deleted]:
            await self._threads.run(self._follow_deletions, gone)
        written = [entry for entry in entries if not entry.deleted]
        failed: EmbedderError | None = None
        try:
            vectors = await self._embedder.embed([entry.text for entry in written])
        except EmbedderError as error:
            await self._embedder.embed([_ORDINARY])  # If this fails, too, the fault is not in the texts.
            written, vectors, failed = await self._one_by_one(written, error)
        if written:
            await self._threads.run(self._keep, written, vectors)
        self._told = self._told and failed is not None
        return failed

    async def _one_by_one(
        self, entries: Sequence[Unindexed], failed: EmbedderError
    ) -> tuple[list[Unindexed], NDArray[np.float32], EmbedderError]:
        """Those that can be embedded, their vectors, and the last error; the others keep nobody waiting."""
        import numpy as np

        done: list[Unindexed] = []
        rows: list[NDArray[np.float32]] = []
        for entry in entries:
            try:
                rows.append(await self._embedder.embed([entry.text]))
                done.append(entry)
            except EmbedderError as error:
                self._pass_over(entry)
                failed = error
        return done, np.concatenate([np.empty((0, self._embedder.dimensions), np.float32), *rows]), failed

    def _keep(self, entries: Sequence[Unindexed], vectors: NDArray[np.float32]) -> None:
        index = self._index()
        self._store.indexed(self._name(), entries, vectors, dimensions=self._embedder.dimensions)
        for who in dict.fromkeys(entry.who for entry in entries if entry.who is not None):
            index.refresh(who)

    def _follow_deletions(self, entries: Sequence[Unindexed]) -> None:
        """Have the index delete what is gone. An entry is cleared only when that is done."""
        import numpy as np

        index = self._index()
        living = {who: index.refresh(who) for who in dict.fromkeys(entry.who for entry in entries) if who is not None}
        followed: list[Unindexed] = []
        for entry in entries:
            if index.erase(entry.person) if entry.who is None else living[entry.who]:
                followed.append(entry)
            else:
                self._pass_over(entry)
        none = np.empty((0, self._embedder.dimensions), np.float32)
        self._store.indexed(self._name(), followed, none, dimensions=self._embedder.dimensions)

    def _tell(self, error: Exception) -> None:
        """Say once, and not at every turn, that recall is lexical until this is mended. Texts are never logged."""
        import structlog

        log: Any = structlog.wrap_logger(logging.getLogger("mentalize.memory"))
        if isinstance(error, StoreError):  # Whoever waits for an answer of the database gets an error of their own.
            log.info("indexing_was_put_off", error=str(error))
        elif not self._told:
            self._told = True
            log.warning("recall_is_lexical", error=str(error))


def _is_of(one: Identity | None, other: Identity | None) -> bool:
    return one is not None and other is not None and (one.tenant, one.user) == (other.tenant, other.user)


def _is_here(task: asyncio.Task[int]) -> bool:
    """Whether a task runs in this event loop; another one's is not ours to stop."""
    return task.get_loop() is asyncio.get_running_loop()

"""Memories: everything that can be done with what is remembered about a person. `mind.memory` is one."""

from __future__ import annotations

import asyncio
import logging
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Self, TypeVar
from weakref import WeakMethod

from ..errors import InputError, MemoryNotFound, StoreError
from ..types import (
    Embedder,
    Identity,
    Memory,
    MemoryHit,
    MemoryKind,
    MemoryStatus,
    Recollection,
    Trace,
)
from .explanation import Explanation, explain
from .fading import fade
from .importance import importance_of
from .index import IndexReport, VectorIndex
from .indexing import Indexing, Progress
from .keys import Keys
from .portable import Restored, lines_of, memories_of, take_over
from .recall import Recall
from .repetition import REPEATED, STATED
from .retention import Curve
from .retraction import is_retracted
from .safety_counts import SafetyCounts
from .statistics import Statistics, statistics
from .store import Deletion, Filter, MemoryStore
from .threads import Threads
from .timeline import Timeline, timelines
from .zones import check_zone, is_zone

__all__ = ["Explanation", "Filter", "Memories", "Restored", "Statistics", "Timeline"]

CORRECTABLE = (
    MemoryKind.FACT,
    MemoryKind.PREFERENCE,
    MemoryKind.INFERENCE,
    MemoryKind.EMOTION_PATTERN,
    MemoryKind.FEEDBACK,
)
"""Kinds that a person's own statement can take the place of."""

_READERS, _WRITERS = 6, 8
"""Threads. Writers may wait for one another and for other processes; nobody who reads waits behind them."""
_CATCH_UP = 64
_CATCH_UP_SECONDS = 0.25

Result = TypeVar("Result")


class Memories:
    """Everything about what is remembered, for async callers. Implements `Store`.

        memories = Memories.at("sqlite:///memory.db", resolve_embedder("minilm"), index="memory.index")
        await memories.remember(Identity("app", "ana"), "I am allergic to peanuts.")

    Every call names the person by tenant and user; nothing is read without one. SQL runs in worker threads, so no
    call blocks the event loop. A write has happened, durably, when its call returns; its vector follows in the
    background, and until then it is found by its words.

    Args:
        store: The rows.
        embedder: What makes vectors. Where it fails, recall goes on by words alone.
        index: Where vectors are compared: a `VectorIndex`, the folder of an embedded Chroma, the URL of a Chroma
            server, or None for memory alone.
        curve: How memories fade.
        clock: The present moment, aware.
        zone: IANA zone of people whose own is not known.
        limit: Memories that `recall` returns at most, where it is not told.
        tokens: Tokens that they may take in a prompt, about.
        per_person: Memories of one person that are not archived, at most.

    Raises, from every method:
        StoreError: the database cannot be read or written.
        InputError: `who.zone` is no time zone.
    """

    def __init__(
        self,
        store: MemoryStore,
        embedder: Embedder,
        *,
        index: VectorIndex | str | None = None,
        curve: Curve | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        zone: str = "UTC",
        limit: int = 12,
        tokens: int = 1_200,
        per_person: int = 100_000,
    ) -> None:
        self._store = store
        self._embedder = embedder
        self._place = index
        self._curve = curve or Curve()
        self._clock = clock
        self._zone = zone
        self._limit = limit
        self._tokens = tokens
        self._per_person = per_person
        self._readers = Threads("mentalize-reading", _READERS)
        self._writers = Threads("mentalize-writing", _WRITERS)
        self._used = False
        self._opening = threading.Lock()
        self._recall: Recall | None = None
        self._index: VectorIndex | None = None
        self._indexing = Indexing(store, embedder, lambda: self._parts()[1])
        self._also_forget: list[WeakMethod[Callable[[], None]]] = []

    @classmethod
    def at(
        cls,
        url: str,
        embedder: Embedder,
        *,
        index: str | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        zone: str = "UTC",
        **others: Any,
    ) -> Self:
        """The memories in the database at `url`; nothing is opened yet.

        Args:
            url: A SQLAlchemy URL, such as `sqlite:////home/ana/memory.db` or `postgresql://host/name`.
            embedder: What makes vectors.
            index: Folder of an embedded Chroma, or URL of a Chroma server.
            clock: The present moment, aware.
            zone: IANA zone of people whose own is not known.
            others: `curve`, `limit`, `tokens`, `per_person`.
        """
        store = MemoryStore(url, clock=clock, zone=zone)
        return cls(store, embedder, index=index, clock=clock, zone=zone, **others)

    @property
    def vectors(self) -> Embedder:
        """What makes vectors, for those who look for something else by the same meaning."""
        return self._embedder

    @property
    def embedder(self) -> str:
        """The name of the embedder whose vectors are read."""
        return self._embedder.name

    @property
    def curve(self) -> Curve:
        """How memories fade here."""
        return self._curve

    async def open(self) -> None:
        """Open the database, and finish what a crash left undone. The first of any other calls does so, too, in the
        background.
        """
        self._used = True
        await self._writers.run(self._store.open)
        self._indexing.begin()

    async def close(self) -> None:
        """Release the database, the index and the embedder. Vectors that are still due are made at the next start."""
        await self._indexing.stop()
        await self._embedder.close()
        await self._readers.close()
        await self._writers.close()
        await asyncio.to_thread(self._close_parts)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def settle(self, who: Identity | None = None, *, progress: Progress | None = None) -> int:
        """Wait until every vector that is due, of one person or of all, is made; how many there were.

        Raises:
            EmbedderError: the embedder gave no vectors. What it had not reached stays due.
        """
        return await self._indexing.finish(who, progress=progress)

    async def due(self, who: Identity | None = None, *, most: int = 1_000_000) -> int:
        """How many vectors are due, of one person or of all; counted up to `most`."""
        return len(await self._run(lambda: self._store.outbox(self._embedder.name, limit=most, who=who)))

    # --- remembering what matters now ---------------------------------------------------------------------

    async def recall(
        self, who: Identity, text: str, *, at: datetime | None = None, limit: int | None = None
    ) -> Recollection:
        """The memories of this person that matter to `text`, within the token budget. Changes nothing.

        Args:
            who: The person; `who.audience` says who else is present, and `who.zone` what "yesterday" is.
            text: What was said.
            at: The present moment; the clock's, if not given.
            limit: How many at most.
        """
        check_zone(who.zone)
        _, vector = await asyncio.gather(self._catch_up(who), self._indexing.vector(text, soon=True))
        now, most = at or self._clock(), limit or self._limit
        return await self._run(
            lambda: self._parts()[0].recall(who, text, vector, at=now, limit=most, tokens=self._tokens)
        )

    async def search(
        self, who: Identity, text: str, *, limit: int = 10, which: Filter | None = None
    ) -> tuple[MemoryHit, ...]:
        """The same ranking without a budget, archived memories as good as others."""
        check_zone(who.zone)
        _, vector = await asyncio.gather(self._catch_up(who), self._indexing.vector(text))
        now = self._clock()
        return await self._run(lambda: self._parts()[0].search(who, text, vector, at=now, limit=limit, which=which))

    # --- writing ------------------------------------------------------------------------------------------

    async def add(self, who: Identity, memories: Sequence[Memory], *, since: int | None = None) -> tuple[Memory, ...]:
        """Keep these, all or none; an id that exists is left as it is.

        A fact or preference that says what is already known strengthens that instead, and confirms it if it was
        unconfirmed; the memory that was there is returned in its place.

        Args:
            who: Whose memories.
            memories: What to keep.
            since: The person's `version` when what these were made from was read.

        Raises:
            Forgotten: what one of them was made from was deleted, or anything of this person was after `since`.
            InputError: a text is too long, or a part is out of its range.
        """
        kept = await self._change(self._store.learn, who, tuple(memories), since=since)
        self._indexing.begin()
        return kept

    async def put(self, who: Identity, memories: Sequence[Memory], *, since: int | None = None) -> tuple[Memory, ...]:
        """Keep these as they are, all or none; an id that exists is replaced. Otherwise as `add`."""
        kept = await self._change(self._store.put, who, tuple(memories), since=since)
        self._indexing.begin()
        return kept

    async def remember(self, who: Identity, text: str, *, kind: MemoryKind = MemoryKind.FACT) -> Memory:
        """Keep one thing that the person stated."""
        (kept,) = await self.add(who, [self._stated(who, text, kind)])
        return kept

    async def supersede(self, who: Identity, old: Sequence[str], new: Memory, *, since: int | None = None) -> Memory:
        """Keep `new`, and end the validity of `old` when it begins. Raises MemoryNotFound, and what `add` raises."""
        kept = await self._change(self._store.supersede, who, tuple(old), new, since=since)
        self._indexing.begin()
        return kept

    async def retract(
        self,
        who: Identity,
        successors: Mapping[str, str | None],
        *,
        at: datetime,
        new: Sequence[Memory] = (),
        since: int | None = None,
    ) -> tuple[str, ...]:
        """Keep `new`, and take back turns with what rests on nothing else; ids of the latter.

        What is taken back is no longer recalled or drawn on. It stays as history, and is forgotten with the rest.

        Args:
            who: Whose turns.
            successors: Ids of the turns that are taken back, each with that of the turn in its place; None for none.
            at: When the person took them back.
            new: What to keep, as for `add`, but what is known already is not looked for.
            since: As for `add`.

        Raises:
            Forgotten, InputError: as for `add`; then nothing is taken back either.
        """
        gone = await self._change(self._store.retract, who, dict(successors), at=at, new=tuple(new), since=since)
        self._indexing.begin()
        return gone

    async def strengthen(self, who: Identity, ids: Sequence[str], *, turn: str, at: datetime | None = None) -> None:
        """A reply used these: S + 1, and the curve begins anew. Once per turn."""
        await self._change(self._store.strengthen, who, tuple(ids), turn=turn, at=at or self._clock())

    async def change(self, who: Identity, memory_id: str, **changes: Any) -> Memory:
        """Change single fields of one memory. Raises MemoryNotFound."""
        changed = await self._change(self._store.change, who, memory_id, **changes)
        self._indexing.begin()
        return changed

    # --- what the person says about it --------------------------------------------------------------------

    async def correct(self, who: Identity, memory_id: str, text: str) -> Memory:
        """The person says what is true instead. The new memory is confirmed and outranks every inference; the old
        one is kept as history, and is not recalled. Of one that was superseded, its latest successor is corrected.

        Raises:
            MemoryNotFound: there is none of that id.
            InputError: it is no statement about the person, but something that was said or made from that.
        """
        old = await self._latest(who, memory_id)
        if old.kind not in CORRECTABLE:
            raise InputError(
                f"{memory_id} is a {_words(old.kind)}, which cannot be corrected.",
                hint="Forget it, or what it was made from, or add a fact that says what is true.",
            )
        kind = old.kind if old.kind in STATED else MemoryKind.FACT
        details = {name: value for name, value in old.details.items() if name != REPEATED} | {"corrects": old.id}
        new = replace(self._stated(who, text, kind), pinned=old.pinned, details=details)
        return await self.supersede(who, [old.id], new)

    async def confirm(self, who: Identity, memory_id: str) -> Memory:
        """The person says that it is so: it is a confirmed memory from now on, and does not lapse."""
        await self._one(who, memory_id)
        return await self.change(who, memory_id, status=MemoryStatus.CONFIRMED, expires_at=None)

    async def refute(self, who: Identity, memory_id: str) -> Memory:
        """The person says that it is not so: it is never recalled, and kept so that it is not inferred again."""
        await self._one(who, memory_id)
        return await self.change(who, memory_id, status=MemoryStatus.REFUTED, pinned=False)

    async def pin(self, who: Identity, memory_id: str) -> Memory:
        """Keep it from fading."""
        await self._one(who, memory_id)
        return await self.change(who, memory_id, pinned=True, archived=False)

    async def unpin(self, who: Identity, memory_id: str) -> Memory:
        """Let it fade again."""
        await self._one(who, memory_id)
        return await self.change(who, memory_id, pinned=False)

    # --- reading ------------------------------------------------------------------------------------------

    async def version(self, who: Identity) -> int:
        """A number that grows with every write about this person.

        If nothing is known of them, it is 0, or below 0 where they were forgotten, and another one each time.
        """
        return await self._run(self._store.version, who)

    async def exists(self, who: Identity) -> bool:
        """Whether anything is known of this person."""
        return await self._run(self._store.exists, who)

    async def get(self, who: Identity, ids: Sequence[str]) -> tuple[Memory, ...]:
        """Those that exist, in the order of `ids`."""
        return await self._run(self._store.get, who, tuple(ids))

    async def find(
        self, who: Identity, which: Filter | None = None, *, limit: int | None = None, newest_first: bool = True
    ) -> tuple[Memory, ...]:
        """By the time at which they were observed."""
        return await self._run(self._store.find, who, which or Filter(), limit=limit, newest_first=newest_first)

    async def unconsidered(self, who: Identity, *, limit: int) -> tuple[Memory, ...]:
        """Turns that social memory has not drawn on yet (`details["considered"]` is false), oldest first.

        What was taken back is left out.
        """
        return await self._run(self._store.unconsidered, who, limit=limit)

    async def around(self, who: Identity, ids: Sequence[str], *, span: int = 1) -> Mapping[str, tuple[Memory, ...]]:
        """For each turn, what was said just before and after it in the same session."""
        return await self._run(self._store.around, who, tuple(ids), span=span)

    async def why(self, who: Identity, memory_id: str) -> Explanation:
        """Why it is believed (its sources and their quotes) and why it was recalled. Raises MemoryNotFound."""
        memory = await self._one(who, memory_id)
        return await self._run(explain, self._store, who, memory, self._curve, self._clock())

    async def timeline(
        self, who: Identity, which: Filter | None = None, *, days: float = 30.0, limit: int = 12
    ) -> tuple[Timeline, ...]:
        """How the strongest memories faded, and will fade for so many days if nothing recalls them."""
        return await self._run(
            timelines, self._store, who, which or Filter(), self._curve, at=self._clock(), days=days, limit=limit
        )

    async def statistics(self, who: Identity) -> Statistics:
        """Counts of what is kept about this person."""
        return await self._run(lambda: statistics(self._store, who, self._embedder.name))

    async def people(self) -> tuple[Identity, ...]:
        """Everyone of whom something is kept: names and zones only, for maintenance."""
        people = await self._run(self._store.people)
        return tuple(who if is_zone(who.zone or "") else replace(who, zone=self._zone) for who in people)

    # --- forgetting ---------------------------------------------------------------------------------------

    async def fade(self, who: Identity) -> int:
        """Archive what has faded, inferences that lapsed, and what exceeds the budget of a person; how many.

        Nothing is deleted: search still finds what is archived, and so does a turn on a strong cue.
        """
        return await self._change(fade, self._store, who, self._curve, at=self._clock(), most=self._per_person)

    async def forget(self, who: Identity, ids: Sequence[str]) -> Deletion:
        """Delete these and all that was made from them, for good; the counts by kind.

        Raises:
            MemoryNotFound: one of them does not exist; then nothing is deleted.
        """
        named = (ids,) if isinstance(ids, str) else tuple(dict.fromkeys(ids))
        said = await self.get(who, named)
        deletion = await self._change(self._forget, who, named)
        self._tell_forgotten()
        await self._forget_elsewhere(who, said)
        self._indexing.begin()
        return deletion

    async def forget_all(self, who: Identity) -> Deletion:
        """Delete all that is known of a person, so that no byte of it stays in the database or the index.

        Where the index cannot be reached, `erased` is false, and it is done as soon as it can be.
        """
        said = await self.find(who, Filter(kinds=(MemoryKind.TURN,)))
        deletion = await self._change(self._forget_all, who)
        self._tell_forgotten()
        await self._forget_elsewhere(who, said)
        self._indexing.begin()
        return deletion

    def also_forget(self, drop: Callable[[], None]) -> None:
        """Have a method called whenever something is forgotten here, for what is kept elsewhere.

        Args:
            drop: A bound method, which is let go of with its object.
        """
        self._also_forget.append(WeakMethod(drop))

    def _tell_forgotten(self) -> None:
        self._also_forget = [reference for reference in self._also_forget if reference() is not None]
        for reference in self._also_forget:
            if drop := reference():
                drop()

    async def _forget_elsewhere(self, who: Identity, said: Sequence[Memory]) -> None:
        """What the person said before others is deleted in the memory of those, too, with what was made from it."""
        own = [memory for memory in said if memory.audience and memory.speaker == who.user]
        for name in sorted({name for memory in own for name in memory.audience}):
            other = replace(who, user=name, speaker=None, audience=())
            ids = [memory.id for memory in own if name in memory.audience]
            if there := [memory.id for memory in await self.get(other, ids)]:
                await self._change(self._forget, other, there)

    # --- moving -------------------------------------------------------------------------------------------

    async def export(self, who: Identity) -> AsyncIterator[str]:
        """Everything that is kept about a person as lines of JSON (docs/memory.md), a header first.

        The lines are one state of the database. Vectors, traces and what was deleted are not among them.
        """
        memories = await self._run(self._store.find, who, Filter(), newest_first=False)
        for line in lines_of(memories):
            yield line

    async def restore(
        self,
        who: Identity,
        lines: Iterable[str],
        *,
        even_forgotten: bool = False,
        progress: Progress | None = None,
    ) -> Restored:
        """Keep what `export` gave: all of it or nothing. Done twice, it changes nothing.

        Args:
            who: The person; the file does not say whose it is.
            lines: The lines, a header first.
            even_forgotten: Bring back what was deleted, too; otherwise it is left out and counted.
            progress: Called with how many memories are written, and how many there are.

        Raises:
            InputError: a line is wrong; the message says which, and what is wrong with it.
        """
        memories = await self._run(lambda: tuple(memories_of(lines)))
        return await self.take_over(who, memories, even_forgotten=even_forgotten, progress=progress)

    async def take_over(
        self,
        who: Identity,
        memories: Sequence[Memory],
        *,
        even_forgotten: bool = False,
        progress: Progress | None = None,
    ) -> Restored:
        """Keep memories from elsewhere, all or none. What is there stays as it is here; otherwise as `restore`."""
        restored = await self._change(
            take_over, self._store, who, memories, even_forgotten=even_forgotten, progress=progress
        )
        self._indexing.begin()
        return restored

    # --- the index ----------------------------------------------------------------------------------------

    async def rebuild_index(self, who: Identity, *, anew: bool = False, progress: Progress | None = None) -> int:
        """Make every missing vector, then the index of this person again from SQL; how many vectors it has.

        Args:
            who: The person.
            anew: Make all terms and vectors anew, also those that are there.
            progress: Called with how many memories are embedded, and how many there are to embed.

        Raises:
            EmbedderError: the embedder gave no vectors.
        """
        if anew or (await self.verify(who)).missing:
            await self._change(self._store.reindex, who)
        await self._indexing.finish(who, progress=progress)
        _, index = await self._run(self._parts)
        return await self._run(index.rebuild, who, progress=progress)

    async def verify(self, who: Identity) -> IndexReport:
        """Compare SQL and index. A vector that is still due is not missing."""
        _, index = await self._run(self._parts)
        report = await self._run(index.verify, who)
        if not report.missing:
            return report
        entries = await self._run(lambda: self._store.outbox(self._embedder.name, limit=report.rows, who=who))
        due = {entry.id for entry in entries}
        if due.issuperset(report.missing):
            return replace(report, missing=())
        # What is not due any more may have got its vector since it was found missing.
        again = await self._run(index.verify, who)
        missing = frozenset(report.missing).intersection(again.missing) - due
        return replace(again, missing=tuple(each for each in again.missing if each in missing))

    async def check(self) -> tuple[str, ...]:
        """Faults of the database itself; empty if there are none."""
        return await self._run(self._store.check)

    async def try_embedder(self) -> int:
        """Embed one word, and say how many dimensions its vector has. Raises EmbedderError."""
        return int((await self._embedder.embed(["one"])).shape[1])

    # --- background work ----------------------------------------------------------------------------------

    async def claim(self, who: Identity, work: str, *, seconds: float) -> bool:
        """Whether this process may do `work` about this person for so long; no other one is doing it."""
        return await self._change(self._store.claim, who, work, seconds=seconds)

    async def release(self, who: Identity, work: str) -> None:
        """Give the work back."""
        await self._change(self._store.release, who, work)

    async def keep_trace(self, who: Identity, trace: Trace, *, until: datetime, since: int | None = None) -> None:
        """Keep how a reply came about, until it expires or the person is forgotten. Raises Forgotten."""
        await self._change(self._store.keep_trace, who, trace, until=until, since=since)

    async def trace(self, who: Identity, turn_id: str) -> Mapping[str, Any] | None:
        """The trace of a turn as JSON, while it is kept."""
        return await self._run(self._store.trace, who, turn_id)

    @property
    def keys(self) -> Keys:
        """Who may ask the endpoint."""
        return Keys(self._store, self._readers, self._writers)

    @property
    def safety_counts(self) -> SafetyCounts:
        """Counts for reports on safety."""
        return SafetyCounts(self._store, self._readers, self._writers)

    # --- in a worker thread -------------------------------------------------------------------------------

    async def _run(self, call: Callable[..., Result], *arguments: Any, **named: Any) -> Result:
        self._first_use()
        return await self._readers.run(call, *arguments, **named)

    async def _change(self, call: Callable[..., Result], *arguments: Any, **named: Any) -> Result:
        for who in arguments:
            if isinstance(who, Identity):
                check_zone(who.zone)
        self._first_use()
        return await self._writers.run(call, *arguments, **named)

    def _first_use(self) -> None:
        """Finish in the background what an earlier process left: bytes to erase, and vectors to make."""
        if not self._used:
            self._used = True
            self._writers.submit(self._finish_erasing)
            self._indexing.begin()

    def _finish_erasing(self) -> None:
        try:
            self._store.open()
        except StoreError as error:  # Whoever waits for an answer gets an error of their own.
            import structlog

            log: Any = structlog.wrap_logger(logging.getLogger("mentalize.memory"))
            log.info("erasing_was_put_off", error=str(error))

    def _parts(self) -> tuple[Recall, VectorIndex]:
        with self._opening:
            if self._recall is None or self._index is None:
                self._index = self._place if isinstance(self._place, VectorIndex) else self._new_index(self._place)
                self._recall = Recall(self._store, self._index, self._curve, zone=self._zone)
            return self._recall, self._index

    def _new_index(self, place: str | None) -> VectorIndex:
        return VectorIndex(self._store, lambda: self._embedder.name, self._embedder.dimensions, place=place)

    def _close_parts(self) -> None:
        with self._opening:
            if self._index is not None:
                self._index.close()
            self._index = self._recall = None
        self._store.close()
        self._used = False

    async def _catch_up(self, who: Identity) -> None:
        """Give a person's newest memories their vectors first, unless that takes too long."""
        task = self._indexing.begin_for(who, most=_CATCH_UP)
        await asyncio.wait({task}, timeout=_CATCH_UP_SECONDS)

    async def _one(self, who: Identity, memory_id: str) -> Memory:
        found = await self.get(who, [memory_id])
        if not found:
            raise _not_found([memory_id])
        return found[0]

    async def _latest(self, who: Identity, memory_id: str) -> Memory:
        """The memory of that id, or what has taken its place by now."""
        memory, seen = await self._one(who, memory_id), {memory_id}
        while memory.superseded_by and memory.superseded_by not in seen and not is_retracted(memory):
            seen.add(memory.superseded_by)
            memory = await self._one(who, memory.superseded_by)
        return memory

    def _stated(self, who: Identity, text: str, kind: MemoryKind) -> Memory:
        if not text.strip():
            raise InputError("There is nothing to remember: the text is empty.")
        now = self._clock()
        return Memory(
            id=uuid.uuid4().hex,
            kind=kind,
            text=text,
            quote=text,
            observed_at=now,
            valid_from=now,
            status=MemoryStatus.CONFIRMED,
            speaker=who.speaker or who.user,
            session=who.session or "",
            importance=importance_of(kind, text),
            audience=tuple(sorted(who.others)),
        )

    def _forget(self, who: Identity, ids: Sequence[str]) -> Deletion:
        there = {memory.id for memory in self._store.get(who, ids)}
        if missing := [each for each in ids if each not in there]:
            raise _not_found(missing)
        deletion = self._store.forget(who, ids)
        clean = self._parts()[1].refresh(who)
        return replace(deletion, erased=deletion.erased and clean)

    def _forget_all(self, who: Identity) -> Deletion:
        from .person import owner

        index = self._parts()[1]
        person = owner(self._store.version(who))
        dropped = index.drop(who)
        deletion = self._store.forget_all(who)
        dropped += index.drop(who)  # what was asked about between the two
        counts = {**deletion.counts, "index": dropped} if dropped else deletion.counts
        return replace(deletion, counts=counts, erased=index.erase(person) and deletion.erased)


def _words(kind: MemoryKind) -> str:
    return kind.replace("_", " ")


def _not_found(ids: Sequence[str]) -> MemoryNotFound:
    named = ", ".join(ids[:3]) + (" …" if len(ids) > 3 else "")
    return MemoryNotFound(f"This person has no memory {named}.", hint="`mentalize memory list` shows the ids.")

"""MemoryStore: the rows of what is remembered, in SQL. They are the truth; every index can be made from them again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock
from typing import TYPE_CHECKING, Any

from ..types import Identity, Memory, MemoryKind, MemoryStatus, Trace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .keyring import Keyring
    from .parts import Parts
    from .safety_tally import SafetyTally


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which of a person's memories are meant; None leaves a part open."""

    kinds: tuple[MemoryKind, ...] | None = None
    statuses: tuple[MemoryStatus, ...] | None = None
    session: str | None = None
    since: datetime | None = None
    """Observed at this moment or later."""
    until: datetime | None = None
    """Observed before this moment."""
    archived: bool | None = None
    current: bool = False
    """Leave out what was superseded, refuted, or has lapsed."""
    at: datetime | None = None
    """The moment for `current`; the store's clock, if not given."""


@dataclass(frozen=True, slots=True)
class Vectors:
    """A person's vectors of one embedder, changed since a version."""

    person: int
    """The person's key in the database; 0 if nothing is known of them."""
    version: int
    """The person's version that this is up to."""
    ids: tuple[str, ...]
    matrix: NDArray[np.float32]
    """Shape (len(ids), dimensions)."""
    deleted: tuple[str, ...] = ()
    complete: bool = True
    """Whether these are all of the person's vectors, and not only the changes."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """What a deletion reached, as counts by kind; `vectors`, `traces`, `claims` and `index` beside the memory kinds."""

    counts: Mapping[str, int] = field(default_factory=dict[str, int])
    erased: bool = True
    """Whether no byte of it is left in the files. If not, others kept reading, or a file of more than 64 MiB was not
    written anew for the sake of a few memories; it is done at the next opening, or the next `forget_all`."""

    @property
    def total(self) -> int:
        """All counts together."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Unindexed:
    """A memory whose vector or index entry is due: an entry of the outbox."""

    sequence: int
    person: int
    """The person's key in the database, which is never used for another one."""
    who: Identity | None
    """None when the whole person was deleted."""
    id: str
    """Empty when the whole person was deleted."""
    text: str
    """Empty for what was deleted."""
    deleted: bool = False


class MemoryStore:
    """One database. Synchronous, and safe to use from several threads and processes; async callers use a thread.

    Every call names the person by tenant and user. A write is acknowledged, by returning, when SQL has committed it.

    Raises, from every method:
        StoreUnavailable: the database cannot be reached, is busy, read-only, or its disk is full.
        StoreCorrupt: the database is damaged.

    Args:
        url: A SQLAlchemy URL: `sqlite:////home/ana/memory.db`, `sqlite://` (in memory), `postgresql://host/name`.
        clock: The present moment, aware. A clock that goes backwards spoils nothing.
        zone: IANA time zone of people whose own is not known.
        small_file: Bytes of a SQLite file up to which `forget` writes it anew; a larger one waits for the next start.
    """

    def __init__(
        self, url: str, *, clock: Callable[[], datetime], zone: str = "UTC", small_file: int = 64 * 1024 * 1024
    ) -> None:
        """Nothing is opened yet: that is done by the first call, or by `open`."""
        self._url = url
        self._clock = clock
        self._zone = zone
        self._small_file = small_file
        self._lock = Lock()
        self._made: Parts | None = None

    @property
    def _parts(self) -> Parts:
        """What does the work. Made late, because SQLAlchemy takes a fifth of a second to load."""
        with self._lock:
            if self._made is None:
                from .parts import Parts

                self._made = Parts.of(self._url, self._clock, small_file=self._small_file)
            return self._made

    @property
    def identity(self) -> str:
        """A random name that the database has wherever it is. A copy of it has the same."""
        return self._parts.database.identity

    def open(self) -> None:
        """Open the database and bring its tables up to date. Raises StoreTooNew too.

        Before an upgrade, a SQLite file that holds something is copied to `NAME.before-VERSION` beside it. The copy
        stays until the next upgrade, or until something is forgotten, because it holds that, too.
        """
        self._parts.open()

    def close(self) -> None:
        """Close all connections. A later call opens them again."""
        self._parts.database.close()

    # --- writing ------------------------------------------------------------------------------------------

    def add(self, who: Identity, memories: Sequence[Memory], *, since: int | None = None) -> tuple[Memory, ...]:
        """Write all or none; what has an id that exists already is left as it is. Each text's terms and an outbox
        entry are written with it.

        Args:
            who: Whose memories.
            memories: What to write; they are returned as they are stored, in the same order.
            since: The person's `version` when what this was made from was read. If anything of theirs was deleted
                after that, this may hold it, and is refused.

        Raises:
            Forgotten: a source, or an id, was deleted, or something was since `since`; or an overall summary or
                portrait was made from parts that are gone.
            InputError: a text is longer than 1,048,576 characters, a moment is naive, or a part is out of its range.
        """
        return self._parts.writer.add(who, memories, replaces=False, revives=False, since=since)

    def put(
        self, who: Identity, memories: Sequence[Memory], *, since: int | None = None, revive: bool = False
    ) -> tuple[Memory, ...]:
        """`add`, but what exists is replaced (summaries and portraits, when their day changed; imports).

        Args:
            who: Whose memories.
            memories: What to write. A `recorded_at` that is given is kept.
            since: As for `add`.
            revive: Whether the person themselves brings these back, so that it does not matter that they were deleted.
        """
        return self._parts.writer.add(who, memories, replaces=True, revives=revive, since=since)

    def change(self, who: Identity, memory_id: str, /, **changes: Any) -> Memory:
        """Change fields of one memory. A changed `text` is indexed again. Raises MemoryNotFound."""
        return self._parts.writer.change(who, memory_id, changes)

    def supersede(self, who: Identity, old: Sequence[str], new: Memory, *, since: int | None = None) -> Memory:
        """Write `new`, and end the validity of `old` at its `valid_from` or `observed_at`, in one transaction.

        What was superseded before keeps its successor. `since` as for `add`. Raises MemoryNotFound.
        """
        return self._parts.writer.supersede(who, old, new, since=since)

    def retract(
        self,
        who: Identity,
        successors: Mapping[str, str | None],
        *,
        at: datetime,
        new: Sequence[Memory] = (),
        since: int | None = None,
    ) -> tuple[str, ...]:
        """Write `new` as `add` does, and take back turns and what rests on nothing else, in one transaction.

        They stay as history. Of facts that had ended others, those hold again; summaries and portraits that have other
        sources too stay, and are marked as outdated. Safety notes stay, and what the person pinned, refuted or
        confirmed. Done twice, it reaches what was made from these turns in between.

        Args:
            who: Whose turns.
            successors: Ids of the turns that are taken back, each with that of the turn in its place; None for none.
            at: When the person took them back.
            new: What to write.
            since: As for `add`.

        Returns:
            Ids of what went with the turns.
        """
        return self._parts.writer.retract(who, successors, at, new, since=since)

    def learn(self, who: Identity, memories: Sequence[Memory], *, since: int | None = None) -> tuple[Memory, ...]:
        """`add`, but a fact or preference that says what is known, or what another of them says, strengthens that.

        What was known then rests on both statements: it stays as long as one of them does. The memory that was there
        is returned in place of its repetition, in the same order.
        """
        return self._parts.writer.learn(who, memories, since=since)

    def strengthen(self, who: Identity, ids: Sequence[str], *, turn: str, at: datetime) -> None:
        """A reply used these: S + 1 (at most 20), last recalled at `at`, no longer archived. Once per turn."""
        self._parts.writer.strengthen(who, ids, turn, at)

    def archive(self, who: Identity, ids: Sequence[str]) -> None:
        """Mark as faded."""
        self._parts.writer.archive(who, ids)

    def reindex(self, who: Identity) -> int:
        """Make the terms of all memories anew, and drop their vectors, which are due again; how many there are."""
        return self._parts.writer.reindex(who)

    # --- reading ------------------------------------------------------------------------------------------

    def get(self, who: Identity, ids: Sequence[str]) -> tuple[Memory, ...]:
        """Those that exist, in the order of `ids`."""
        return self._parts.reader.get(who, ids)

    def find(
        self, who: Identity, which: Filter, *, limit: int | None = None, newest_first: bool = True
    ) -> tuple[Memory, ...]:
        """By the time at which they were observed."""
        return self._parts.reader.find(who, which, limit=limit, newest_first=newest_first)

    def unconsidered(self, who: Identity, *, limit: int) -> tuple[Memory, ...]:
        """Turns that social memory has not drawn on yet (`details["considered"]` is false), oldest first.

        What was taken back is left out.
        """
        return self._parts.reader.unconsidered(who, limit=limit)

    def around(self, who: Identity, ids: Sequence[str], *, span: int) -> Mapping[str, tuple[Memory, ...]]:
        """For each turn, up to `span` turns said before and after it in the same session, in order, without itself.

        What was taken back is not among them.
        """
        return self._parts.reader.around(who, ids, span=span)

    def matching(
        self, who: Identity, terms: Sequence[str], *, limit: int, which: Filter | None = None
    ) -> tuple[tuple[str, float], ...]:
        """Ids of memories that hold any of `terms` (as `terms.terms_of` makes them), with BM25, best first.

        Of people with many thousand memories, the most frequent of the terms may be left out.
        """
        return self._parts.reader.matching(who, terms, limit=limit, which=which)

    def count(self, who: Identity) -> Mapping[str, int]:
        """Memories by kind."""
        return self._parts.reader.count(who)

    def exists(self, who: Identity) -> bool:
        """Whether anything is known of this person."""
        return self._parts.reader.exists(who)

    def uses(self, who: Identity, ids: Sequence[str]) -> Mapping[str, tuple[datetime, ...]]:
        """When replies used each of these, oldest first; memories that no reply used are left out."""
        return self._parts.reader.uses(who, ids)

    # --- what the vector index is made from ---------------------------------------------------------------

    def version(self, who: Identity) -> int:
        """A number that grows with every write about this person.

        If nothing is known of them, it is 0, or below 0 where they were forgotten, and another one each time.
        """
        return self._parts.reader.version(who)

    def vectors(self, who: Identity, embedder: str, *, since: int = 0) -> Vectors:
        """The vectors that `embedder` made, or only what changed after version `since` where that is known.

        A person's versions are no other's, also not those of the same name before they were forgotten; so `since` of
        a person who is gone gives a complete answer.
        """
        return self._parts.outbox.vectors(who, embedder, since=since)

    def vectors_of_others(self, who: Identity, embedder: str) -> int:
        """How many vectors of this person other embedders made; nothing reads them."""
        return self._parts.outbox.others(who, embedder)

    def outbox(self, embedder: str, *, limit: int, who: Identity | None = None) -> tuple[Unindexed, ...]:
        """Memories without a vector by `embedder`, and deletions that the index has not seen; the oldest first.

        The first call with another embedder than before makes every memory due that has no vector by it.
        """
        return self._parts.outbox.due(embedder, limit=limit, who=who)

    def indexed(
        self, embedder: str, entries: Sequence[Unindexed], vectors: NDArray[np.float32], *, dimensions: int
    ) -> None:
        """Write the vectors of the entries that are no deletions, in their order, and clear the entries.

        What was deleted meanwhile is left out. Nothing is written if `outbox` was asked for another embedder meanwhile.
        """
        self._parts.outbox.indexed(embedder, entries, vectors, dimensions=dimensions)

    # --- background work ----------------------------------------------------------------------------------

    def claim(self, who: Identity, work: str, *, seconds: float) -> bool:
        """Whether this process may do `work` about this person for so long; no other one is doing it.

        A second claim by the same store renews the first. False if nothing is known of the person.
        """
        return self._parts.claims.claim(who, work, seconds=seconds)

    def release(self, who: Identity, work: str) -> None:
        """Give a claim up; one that another process holds stays."""
        self._parts.claims.release(who, work)

    def people(self) -> tuple[Identity, ...]:
        """Everyone of whom something is kept: names and zones only, for maintenance."""
        return self._parts.reader.people(self._zone)

    # --- traces -------------------------------------------------------------------------------------------

    def keep_trace(self, who: Identity, trace: Trace, *, until: datetime, since: int | None = None) -> None:
        """Keep how a turn came about. `since` as for `add`. Raises Forgotten if it speaks of what was deleted."""
        self._parts.traces.keep(who, trace, until=until, since=since)

    def trace(self, who: Identity, turn_id: str) -> Mapping[str, Any] | None:
        """The trace of a turn as JSON, until it expires."""
        return self._parts.traces.get(who, turn_id)

    def traced(self, who: Identity) -> tuple[str, ...]:
        """Ids of the turns whose traces are kept, the newest first."""
        return self._parts.traces.recent(who)

    # --- forgetting ---------------------------------------------------------------------------------------

    def forget(self, who: Identity, ids: Sequence[str]) -> Deletion:
        """Delete these and all that was made from them, for good, and leave tombstones.

        A fact or preference that the person stated elsewhere, too, stays as they stated it there.

        A summary or portrait that has other sources too goes as well: it holds what it was made from. So does every
        trace that was written after the oldest of them: prompts repeat what was said earlier. What one of them had
        superseded is current again, unless it was refuted or taken back.
        """
        return self._parts.eraser.forget(who, ids)

    def forget_all(self, who: Identity) -> Deletion:
        """Delete all that is known of a person, so that no byte of it stays in the file, and leave a tombstone.

        In PostgreSQL, the freed space is overwritten when the server's vacuum and log recycling come to it.
        """
        return self._parts.eraser.forget_all(who)

    def forgotten(self, who: Identity, ids: Sequence[str]) -> frozenset[str]:
        """Which of these were deleted."""
        return self._parts.reader.forgotten(who, ids)

    # --- keys of the endpoint -----------------------------------------------------------------------------

    @property
    def keys(self) -> Keyring:
        """Who may ask the endpoint."""
        return self._parts.keys

    @property
    def safety_counts(self) -> SafetyTally:
        """Counts for reports on safety."""
        return self._parts.safety_counts

    # --- care ---------------------------------------------------------------------------------------------

    def check(self) -> tuple[str, ...]:
        """Faults of the database itself (integrity, dangling links, rows without terms); empty if there are none."""
        return self._parts.faults()

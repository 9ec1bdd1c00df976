"""VectorIndex: which memories of one person are nearest to a vector."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import EmbedderError, InputError, MentalizeError, StoreError
from ..types import Identity
from .background import Background
from .chroma import Chroma, ChromaFailed, Collection, Stopped, collection_name, names_of_database, names_of_person
from .store import Filter, MemoryStore, Vectors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .held_vectors import HeldVectors

MANY = 50_000
"""Vectors of one person from which on Chroma searches them.

Measured on 2 cores, 384 dimensions, the 100 nearest: one by one .03, .3 and 5 ms for 1,000, 10,000 and 100,000 vectors
(9 ms beside two busy processes), in Chroma 1.2, 1.9 and 1.6 ms, of which it finds 99 in 100. A collection of 100,000
takes 35 s of one core to make, and 190 MB of files.
"""
CACHE_BYTES = 256 << 20
"""Vectors that are kept in memory, of all people together."""
_BEHIND = 500
"""Changes that are kept in memory beside a collection before they are written to it."""
_RETRY_SECONDS = 60.0
_SWEEP_SECONDS = 300.0
Answer = TypeVar("Answer")

_WORK = "vector index"
_BUILD_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What `verify` found."""

    rows: int
    """Memories that should have a vector."""
    missing: tuple[str, ...] = ()
    """Ids without one, or with another one in Chroma than in SQL."""
    stray: tuple[str, ...] = ()
    """Ids in an index that are not in SQL."""
    other_embedders: int = 0
    """Vectors of other embedders, which recall does not read."""

    @property
    def sound(self) -> bool:
        """Whether SQL and index agree."""
        return not self.missing and not self.stray


class VectorIndex:
    """Cosine over one person's vectors. Synchronous and thread-safe, and right across processes.

    Vectors are read from SQL into memory when a person is first asked about, and compared one by one. What any
    process writes is seen at the next call, by the person's version. A person with `many` vectors gets a collection in
    Chroma, made in the background; meanwhile, and wherever Chroma fails or belongs to another process, they are
    compared one by one all the same. A collection is never trusted beyond the version that it was written at: what
    changed since is in memory beside it. When something was forgotten, the collection is deleted with its files and
    made again.

    Args:
        store: The truth, vectors included.
        embedder: The embedder's name, or what tells it, which may raise EmbedderError; vectors of any other one are
            never read.
        dimensions: The length of a vector; 0 if it is not known yet.
        place: Folder of an embedded Chroma, or URL of a Chroma server; None: vectors are compared in memory only.
        many: How many vectors a person has for whom Chroma is used.
        cache_bytes: The memory that vectors may take. Who was not asked about for longest leaves first.

    Raises, from every method:
        StoreError: the store failed. That Chroma failed is logged only.
        EmbedderError: nobody knows the embedder's name. Forgetting does without.
    """

    def __init__(
        self,
        store: MemoryStore,
        embedder: str | Callable[[], str],
        dimensions: int,
        *,
        place: str | None = None,
        many: int = MANY,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._store = store
        self._name_of_embedder = embedder
        self._dimensions = dimensions
        self._chroma = None if place is None else Chroma(place)
        self._many = many
        self._cache_bytes = cache_bytes
        self._people: OrderedDict[tuple[str, str], HeldVectors] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self._background = Background()
        self._retry_at = 0.0
        self._sweep_at = 0.0

    # --- asking -------------------------------------------------------------------------------------------

    def nearest(self, who: Identity, vector: NDArray[np.float32], *, limit: int) -> tuple[tuple[str, float], ...]:
        """Ids and cosines, the nearest first.

        Args:
            who: Whose memories.
            vector: Of length 1.
            limit: How many at most.

        Raises:
            InputError: the vector has another length than the embedder's.
        """
        if self._dimensions and vector.shape != (self._dimensions,):
            raise InputError(
                f"A vector of shape {vector.shape}, but {self._embedder} has {self._dimensions} dimensions."
            )
        held = self._held(who)
        with held.lock:
            self._bring_up_to_date(who, held)
            found = self._ask(who, held, lambda: held.nearest(vector, limit))
        self._make_room(who, held)
        return tuple(found)

    def cosines(self, who: Identity, vector: NDArray[np.float32], ids: Sequence[str]) -> dict[str, float]:
        """The cosine of each of `ids` that has a vector."""
        held = self._held(who)
        with held.lock:
            self._bring_up_to_date(who, held)
            found = self._ask(who, held, lambda: held.cosines(vector, ids))
        self._make_room(who, held)
        return found

    # --- keeping up ---------------------------------------------------------------------------------------

    def refresh(self, who: Identity) -> bool:
        """Take over what changed in SQL, deletions included.

        Returns:
            False if a collection that holds what was forgotten is known and could not be deleted, to be tried again.
        """
        held = self._held(who)
        with held.lock:
            try:
                self._bring_up_to_date(who, held)
            except EmbedderError:
                # Which collection it would be is not known: all go.
                held.left = True
            if held.left and held.collection is None:
                held.left = not self.erase(_owner(self._store.version(who)))
            clean = not held.left
        self._make_room(who, held)
        if self._chroma is not None and self._chroma.is_open and time.monotonic() >= self._sweep_at:
            self._background.submit(lambda: self._quietly(self._sweep))
        return clean

    def drop(self, who: Identity) -> int:
        """Remove everything of this person from every cache and index; how many entries there were.

        To be called when the person is deleted: vectors that are still in SQL come back with the next question.
        """
        held = self._held(who)
        held.dropped = True
        if held.job is not None:
            wait([held.job])
        with held.lock:
            self._leave(who)
            owners = {_owner(held.exact.version), _owner(self._store.version(who))}
            return max(len(held.exact), *(self._remove_collections(person) or 0 for person in owners))

    def erase(self, person: int) -> bool:
        """Delete what Chroma has of a person, given by their key in the database, who may be gone.

        Returns:
            Whether nothing is left. False while a server cannot be reached, or another process owns the folder.
        """
        return self._remove_collections(person) is not None

    def rebuild(self, who: Identity, *, progress: Callable[[int, int], None] | None = None) -> int:
        """Make the index of this person from SQL's vectors again; how many there are.

        Args:
            who: The person.
            progress: Called with how many are done and how many there are; from another thread.
        """
        held = self._held(who)
        if held.job is not None:
            wait([held.job])
        with held.lock:
            self._remove_collections(_owner(held.exact.version or self._store.version(who)))
            everything = self._store.vectors(who, self._embedder)
            held.hold(everything)
            if self._chroma is not None and len(everything.ids) >= self._many:
                held.job = self._background.submit(lambda: self._quietly(lambda: self._catch_up(who, held, progress)))
        if held.job is not None:
            wait([held.job])
        if progress is not None:
            progress(len(everything.ids), len(everything.ids))
        return len(everything.ids)

    def verify(self, who: Identity) -> IndexReport:
        """Compare SQL and index."""
        held = self._held(who)
        with held.lock:
            self._bring_up_to_date(who, held)
            everything = self._store.vectors(who, self._embedder)
            expected = {memory.id for memory in self._store.find(who, Filter())}
            missing, stray = expected.difference(everything.ids), set(everything.ids) - expected
            different, unknown = self._ask(who, held, lambda: held.differences(everything))
        return IndexReport(
            rows=len(expected),
            missing=tuple(sorted(missing | different)),
            stray=tuple(sorted(stray | unknown)),
            other_embedders=self._store.vectors_of_others(who, self._embedder),
        )

    @property
    def bytes(self) -> int:
        """Memory that is counted for vectors, about."""
        return self._bytes

    def in_chroma(self, who: Identity) -> bool:
        """Whether this person's vectors are searched in Chroma at present."""
        return self._held(who).collection is not None

    def settle(self) -> None:
        """Wait for the work in the background."""
        wait([self._background.submit(lambda: None)])

    def close(self) -> None:
        """Give up the work in the background and let go of memory, folder and connection."""
        self._background.stop()
        with self._lock:
            self._people.clear()
            self._bytes = 0
        if self._chroma is not None:
            self._chroma.close()

    # --- one person ---------------------------------------------------------------------------------------

    def _held(self, who: Identity) -> HeldVectors:
        from .held_vectors import HeldVectors

        key = (who.tenant, who.user)
        with self._lock:
            held = self._people.get(key)
            if held is None:
                held = self._people[key] = HeldVectors()
            self._people.move_to_end(key)
            return held

    def _bring_up_to_date(self, who: Identity, held: HeldVectors) -> None:
        """What changed in SQL since. The caller holds the person's lock."""
        if self._store.version(who) != held.exact.version:
            changes = self._store.vectors(who, self._embedder, since=held.exact.version)
            if held.collection is None:
                held.hold(changes)
            elif changes.complete or self._store.forgotten(who, changes.deleted):
                removed = self._remove_collections(_owner(held.exact.version), older_than=changes.version)
                held.left = removed is None
                held.hold(self._store.vectors(who, self._embedder))
            else:
                held.note(changes)
        self._consider(who, held)

    def _consider(self, who: Identity, held: HeldVectors) -> None:
        """Have Chroma catch up in the background, if it is worth it."""
        if self._chroma is None or not held.is_idle or time.monotonic() < self._retry_at:
            return
        if held.collection is not None:
            wanted = held.behind > _BEHIND
        else:
            # A collection that an earlier process left is used, or deleted, even if the person has few vectors by now.
            left = not held.examined and bool(held.exact.version) and self._chroma.used
            wanted = left or len(held.exact) >= self._many
        if wanted:
            held.examined = True
            held.job = self._background.submit(lambda: self._quietly(lambda: self._catch_up(who, held)))

    def _ask(self, who: Identity, held: HeldVectors, question: Callable[[], Answer]) -> Answer:
        """The answer; without Chroma, if Chroma fails in the middle of it."""
        try:
            return question()
        except ChromaFailed as error:
            self._tell(error)
            held.distrusted, held.lost = held.lost, True
            held.hold(self._store.vectors(who, self._embedder))
            self._consider(who, held)
            return question()

    def _make_room(self, who: Identity, held: HeldVectors) -> None:
        """Count what this person takes now, and let those go who were not asked about for longest."""
        with self._lock:
            if self._people.get((who.tenant, who.user)) is not held:
                return
            taken = held.bytes
            self._bytes, held.counted = self._bytes + taken - held.counted, taken
            while self._bytes > self._cache_bytes and (oldest := next(iter(self._people.values()))) is not held:
                self._people.popitem(last=False)
                self._bytes -= oldest.counted

    def _leave(self, who: Identity) -> None:
        with self._lock:
            held = self._people.pop((who.tenant, who.user), None)
            self._bytes -= 0 if held is None else held.counted

    # --- in the background --------------------------------------------------------------------------------

    def _quietly(self, job: Callable[[], None]) -> None:
        """Nobody waits for an answer: a failure is logged, and tried again later."""
        assert self._chroma is not None
        try:
            job()
        except ChromaFailed as error:
            self._put_off(error)
            self._chroma.start_over()
        except (StoreError, EmbedderError) as error:
            self._put_off(error)

    def _catch_up(self, who: Identity, held: HeldVectors, progress: Callable[[int, int], None] | None = None) -> None:
        """Give a person a collection that is up to date, or know that there is to be none."""
        assert self._chroma is not None
        if not self._opened(self._chroma):
            return
        shared = self._chroma.shared
        if shared and not self._store.claim(who, _WORK, seconds=_BUILD_SECONDS):
            return
        try:
            self._attach(who, held, self._chroma, progress)
        except Stopped:
            self._remove_collections(_owner(self._store.version(who)))
        finally:
            if shared:
                self._store.release(who, _WORK)

    def _attach(
        self, who: Identity, held: HeldVectors, chroma: Chroma, progress: Callable[[int, int], None] | None
    ) -> None:
        self._sweep()
        if held.distrusted:
            chroma.remove(self._name(held.exact.version))
        found = self._whole_collection(who, held, chroma, progress)
        with held.lock:
            if found is not None and not held.dropped:
                collection, changes = found
                held.attach(collection, changes)
                held.left = False
                # What was forgotten in this very moment must not stay in the collection.
                self._bring_up_to_date(who, held)
        self._make_room(who, held)

    def _whole_collection(
        self, who: Identity, held: HeldVectors, chroma: Chroma, progress: Callable[[int, int], None] | None
    ) -> tuple[Collection, Vectors] | None:
        """A collection and what changed since it was written; None if the person has too few vectors for one."""
        while True:
            if (version := self._store.version(who)) <= 0:
                return None
            name = self._name(version)
            collection = chroma.find(name)
            if collection is None:
                if len(held.exact) < self._many:
                    return None
                everything = self._store.vectors(who, self._embedder)
                if len(everything.ids) < self._many:
                    return None
                collection = chroma.create(name, everything, stopped=lambda: self._given_up(held), progress=progress)
            changes = self._store.vectors(who, self._embedder, since=collection.version)
            # Not from a database that was since replaced by an older copy, either.
            usable = not changes.complete and changes.version >= collection.version
            if usable and not self._store.forgotten(who, changes.deleted):
                if len(changes.ids) + len(changes.deleted) <= _BEHIND:
                    return collection, changes
                collection = collection.take(changes)
                return collection, self._store.vectors(who, self._embedder, since=collection.version)
            chroma.remove(name)

    def _given_up(self, held: HeldVectors) -> bool:
        return self._background.stopping or held.dropped

    def _sweep(self) -> None:
        """Delete collections of people who were forgotten by another process, and of embedders no longer in use.

        A folder is ours alone. On a server, other databases have collections too, and other processes may use another
        embedder.
        """
        if self._chroma is None or time.monotonic() < self._sweep_at:
            return
        self._sweep_at = time.monotonic() + _SWEEP_SECONDS
        shared, ours = self._chroma.shared, names_of_database(self._database)
        if names := [name for name in self._chroma.names() if not shared or name.startswith(ours)]:
            versions = [self._store.version(who) for who in self._store.people()]
            living = tuple(self._of_person(version) if shared else self._name(version) for version in versions)
            for name in names:
                if not name.startswith(living):
                    self._chroma.remove(name)

    def _remove_collections(self, person: int, *, older_than: int | None = None) -> int | None:
        """Delete a person's collections, of all embedders; how many vectors they had, or None if that failed.

        On a server, another process may have made one again already: `older_than` leaves that one.
        """
        if self._chroma is None or person <= 0 or not self._chroma.used:
            return 0
        if not self._opened(self._chroma):
            return None
        own = names_of_person(self._database, person)
        try:
            names = [name for name in self._chroma.names() if name.startswith(own)]
            return sum(self._chroma.remove(name) for name in names if not self._is_newer(name, older_than))
        except ChromaFailed as error:
            self._tell(error)
            self._chroma.start_over()
            return None

    def _is_newer(self, name: str, version: int | None) -> bool:
        """Whether another process has made this collection since."""
        if self._chroma is None or version is None or not self._chroma.shared:
            return False
        found = self._chroma.find(name)
        return found is not None and found.version >= version

    def _opened(self, chroma: Chroma) -> bool:
        try:
            opened = chroma.open()
        except ChromaFailed as error:
            self._tell(error)
            opened = False
        if not opened:
            self._retry_at = time.monotonic() + _RETRY_SECONDS
        return opened

    def _put_off(self, error: MentalizeError) -> None:
        self._tell(error)
        self._retry_at = time.monotonic() + _RETRY_SECONDS

    @property
    def _embedder(self) -> str:
        name = self._name_of_embedder
        return name if isinstance(name, str) else name()

    @cached_property
    def _database(self) -> str:
        """What tells this database from others that use the same Chroma server: an address may be equal elsewhere."""
        return self._store.identity

    def _name(self, version: int) -> str:
        return collection_name(self._database, _owner(version), self._embedder)

    def _of_person(self, version: int) -> str:
        return names_of_person(self._database, _owner(version))

    def _tell(self, error: MentalizeError) -> None:
        import structlog

        log: Any = structlog.wrap_logger(logging.getLogger("mentalize.memory"))
        log.warning("vectors_are_compared_one_by_one", error=str(error))


def _owner(version: int) -> int:
    """The key of the person whose version this is; 0 or less where nothing is known of them."""
    from .person import owner

    return owner(version)

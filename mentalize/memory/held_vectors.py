"""HeldVectors: what the index has in memory of one person, and the collection in Chroma beside it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .exact import ExactVectors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .chroma import Collection
    from .store import Vectors

_PAGE = 1_000
_OWN_BYTES = 2_000


@dataclass(slots=True)
class HeldVectors:
    """One person's vectors. Whoever uses them holds `lock`."""

    exact: ExactVectors = field(default_factory=ExactVectors)
    """All vectors; or, beside a collection, those that changed since it was written."""
    collection: Collection | None = None
    hidden: set[str] = field(default_factory=set[str])
    """Ids in the collection whose vectors hold no longer."""
    examined: bool = False
    """Whether Chroma was asked for a collection that is there already."""
    lost: bool = False
    """Whether the collection failed before."""
    distrusted: bool = False
    """Whether it failed again after it was opened anew, and is to be made again."""
    dropped: bool = False
    """Whether the person is being deleted."""
    left: bool = False
    """Whether a collection could not be deleted that holds what was forgotten."""
    job: Future[None] | None = None
    """What is done for this person in the background."""
    counted: int = 0
    """The bytes that the index counts for this person."""
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is done for this person in the background."""
        return self.job is None or self.job.done()

    @property
    def bytes(self) -> int:
        """Memory that is taken, about."""
        return self.exact.bytes + _OWN_BYTES

    @property
    def behind(self) -> int:
        """How many changes the collection does not have."""
        return len(self.exact) + len(self.hidden)

    def hold(self, changes: Vectors) -> None:
        """All vectors are in memory, after these changes."""
        self.collection = None
        self.exact.take(changes)
        self.hidden.clear()

    def attach(self, collection: Collection, changes: Vectors) -> None:
        """The vectors are in a collection, but for these changes."""
        self.collection, self.exact, self.hidden = collection, ExactVectors(), set[str]()
        self.distrusted = False
        self.note(changes)

    def note(self, changes: Vectors) -> None:
        """The collection lacks these."""
        self.exact.take(changes)
        self.hidden.update(changes.deleted)

    def nearest(self, vector: NDArray[np.float32], limit: int) -> list[tuple[str, float]]:
        """Ids and cosines, the nearest first."""
        recent = self.exact.nearest(vector, limit)
        if self.collection is None:
            return recent
        found = self.collection.nearest(vector, limit + min(self.behind, limit))
        older = [(key, cosine) for key, cosine in found if key not in self.exact and key not in self.hidden]
        return sorted([*recent, *older], key=lambda each: -each[1])[:limit]

    def cosines(self, vector: NDArray[np.float32], ids: Sequence[str]) -> dict[str, float]:
        """The cosine of each of `ids` that has a vector."""
        found = self.exact.cosines(vector, ids)
        if self.collection is not None:
            older = [key for key in ids if key not in found and key not in self.hidden]
            found |= {key: float(row @ vector) for key, row in self.collection.vectors(older).items()}
        return found

    def differences(self, everything: Vectors) -> tuple[set[str], set[str]]:
        """Ids whose vectors are not here, or are others; and ids that are not in SQL."""
        older: set[str] = set()
        if self.collection is not None:
            older = set(self.collection.ids()).difference(self.exact.ids, self.hidden)
        held = older.union(self.exact.ids)
        wrong = set(everything.ids) - held
        for start in range(0, len(everything.ids), _PAGE):
            ids, rows = everything.ids[start : start + _PAGE], everything.matrix[start : start + _PAGE]
            found = self._vectors(ids, older)
            wrong |= {key for key, row in zip(ids, rows, strict=True) if key in found and not _same(found[key], row)}
        return wrong, held.difference(everything.ids)

    def _vectors(self, ids: Sequence[str], older: set[str]) -> dict[str, NDArray[np.float32]]:
        """The vectors that comparisons use; those of `older` are in the collection."""
        recent = [key for key in ids if key in self.exact]
        found = dict(zip(recent, self.exact.rows(recent), strict=True))
        if self.collection is not None:
            found |= self.collection.vectors([key for key in ids if key in older])
        return found


def _same(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    return one.shape == other.shape and float(abs(one - other).max(initial=0.0)) < 1e-5

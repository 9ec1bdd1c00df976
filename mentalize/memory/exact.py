"""ExactVectors: one person's vectors in memory, compared one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .store import Vectors

_GROWTH = 1.5
_ID_BYTES = 160
"""What an id costs as text and as a key, about."""


class ExactVectors:
    """Vectors by id, as the rows of one matrix. Not thread-safe: whoever holds it locks.

    `version` is the person's version that it is up to.
    """

    def __init__(self, version: int = 0) -> None:
        self.version = version
        self._ids: list[str] = []
        self._places: dict[str, int] = {}
        self._rows = np.empty((0, 0), np.float32)

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    @property
    def ids(self) -> tuple[str, ...]:
        """All ids, in no order that matters."""
        return tuple(self._ids)

    @property
    def bytes(self) -> int:
        """The memory that it takes, about."""
        return self._rows.nbytes + _ID_BYTES * len(self._ids)

    def take(self, changes: Vectors) -> None:
        """Take over what changed, or everything if that is what there is."""
        if changes.complete:
            self._ids, self._rows = list(changes.ids), changes.matrix
            self._places = {key: place for place, key in enumerate(self._ids)}
        else:
            for key in changes.deleted:
                self._remove(key)
            self._put(changes.ids, changes.matrix)
        self.version = changes.version

    def nearest(self, vector: NDArray[np.float32], limit: int) -> list[tuple[str, float]]:
        """Ids and cosines, the nearest first; none to a vector of another length, which another model made."""
        if not self._ids or limit <= 0 or len(vector) != self._rows.shape[1]:
            return []
        # Not `@`: its threads wait for each other by spinning, for 10 ms and more where another process uses a core.
        cosines = np.vecdot(self._rows[: len(self._ids)], vector)
        best = np.arange(len(cosines))
        if limit < len(cosines):
            best = np.argpartition(cosines, -limit)[-limit:]
        best = best[np.argsort(-cosines[best], kind="stable")]
        return [(self._ids[place], float(cosines[place])) for place in best]

    def cosines(self, vector: NDArray[np.float32], ids: Sequence[str]) -> dict[str, float]:
        """The cosine of each of `ids` that is here."""
        here = [key for key in ids if key in self._places]
        if not here or len(vector) != self._rows.shape[1]:
            return {}
        found = self._rows[[self._places[key] for key in here]] @ vector
        return dict(zip(here, map(float, found), strict=True))

    def rows(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """The vectors of `ids`, all of which are here."""
        return self._rows[[self._places[key] for key in ids]]

    def _put(self, keys: Sequence[str], matrix: NDArray[np.float32]) -> None:
        if not keys:
            return
        fresh = [key for key in keys if key not in self._places]
        self._make_room(len(self._ids) + len(fresh), matrix.shape[1])
        for key in fresh:
            self._places[key] = len(self._ids)
            self._ids.append(key)
        self._rows[[self._places[key] for key in keys]] = matrix

    def _make_room(self, needed: int, dimensions: int) -> None:
        """Rows that can be written to; what came from the store cannot."""
        if needed > len(self._rows):
            larger = np.empty((max(needed, int(len(self._rows) * _GROWTH)), dimensions), np.float32)
            larger[: len(self._ids)] = self._rows[: len(self._ids)].reshape(-1, dimensions)
            self._rows = larger
        elif not self._rows.flags.writeable:
            self._rows = self._rows.copy()

    def _remove(self, key: str) -> None:
        """The last row takes the place of the removed one."""
        place = self._places.pop(key, None)
        if place is None:
            return
        last = self._ids.pop()
        if last != key:
            self._make_room(0, 0)
            self._rows[place] = self._rows[len(self._ids)]
            self._ids[place] = last
            self._places[last] = place

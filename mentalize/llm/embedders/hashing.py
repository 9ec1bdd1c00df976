"""HashingEmbedder: vectors from a hash of words and letters, for tests. Instant, the same everywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from .worker import normalised

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_DIMENSIONS = 256
_LONGEST = 4_096
_LETTERS = 3


class HashingEmbedder:
    """Texts that share words, or parts of words, have similar vectors. It knows no meanings.

    Each word and each three letters of a word add 1 or −1 at a place that their hash decides.
    """

    name = "fake"
    dimensions = _DIMENSIONS

    async def embed(self, texts: Sequence[str], *, query: bool = False) -> NDArray[np.float32]:
        import numpy as np

        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for row, text in enumerate(texts):
            for feature in _features(text[:_LONGEST].casefold()):
                digest = hashlib.blake2b(feature.encode("utf-8", "replace"), digest_size=4).digest()
                place, sign = int.from_bytes(digest[:2], "big") % self.dimensions, digest[2] % 2 * 2 - 1
                vectors[row, place] += sign
        # What has no words, or words that cancel out, still has a direction: one that nothing else has.
        vectors[~vectors.any(axis=1), 0] = 1.0
        return normalised(vectors)

    async def close(self) -> None:
        """Nothing is held."""


def _features(text: str) -> Iterator[str]:
    for word in text.split():
        yield word
        marked = f"<{word}>"
        yield from (marked[start : start + _LETTERS] for start in range(len(marked) - _LETTERS + 1))

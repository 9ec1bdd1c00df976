"""Hosted models of many providers, by way of LiteLLM, which is imported when the first of them is asked."""

from __future__ import annotations

import asyncio
import difflib
import importlib
import logging
import os
import re
import threading
from collections.abc import AsyncIterator, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..errors import MalformedAnswer, ModelError, ModelNotFound, ModelRefused, ModelTimeout, ModelUnavailable
from .http import error_of
from .model import Capabilities, Completion, Delta, Request, StructuredMode
from .probe import CapabilityCache, probe
from .wire import ChunkReader, completion_of, request_body

__all__ = ["LiteLLMModel"]

_MODES = (StructuredMode.JSON_SCHEMA, StructuredMode.JSON_OBJECT)
_LONGEST_MESSAGE = 500
_ORIGIN = re.compile(r"\A(litellm\.)?\w+: (\w+: )*(\w+Exception - )?")
"""What LiteLLM puts before the provider's own words."""
_import_lock = threading.Lock()


class LiteLLMModel:
    """A model that LiteLLM can reach, named by LiteLLM's own string such as `openai/gpt-4o`.

    Parameters that the provider does not know are left out. LiteLLM's own retries are off: `RetryingModel` retries.
    A stream whose connection breaks is an error; one that the provider ends early but in good order cannot be told
    from a whole one, because LiteLLM then adds a finish reason of its own.

    Args:
        model: LiteLLM's model string, provider first.
        api_key: the provider's key; LiteLLM looks for the provider's environment variable, if not given.
        api_base: the provider's address; LiteLLM's own, if not given.
        capabilities: where probe results are kept; in this object's memory, if not given.
        seconds: the longest that the provider may take.
    """

    def __init__(
        self,
        model: str,
        *,
        api_key: str | None = None,
        api_base: str | None = None,
        capabilities: CapabilityCache | None = None,
        seconds: float = 120.0,
    ) -> None:
        self._model = model
        self._api_key = api_key
        self._api_base = api_base
        self._capabilities = capabilities or CapabilityCache()
        self._seconds = seconds

    @property
    def name(self) -> str:
        return self._model

    async def complete(self, request: Request) -> Completion:
        answer = await self._ask(request, stream=False)
        return completion_of(answer.model_dump(exclude_none=True), endpoint=self._endpoint)

    async def stream(self, request: Request) -> AsyncIterator[Delta]:
        chunks = await self._ask(request, stream=True)
        reader = ChunkReader(self._endpoint)
        try:
            with self._translated():
                async for chunk in chunks:
                    for delta in reader.deltas(chunk.model_dump(exclude_none=True)):
                        yield delta
        finally:
            await _close(chunks)
        yield reader.last()

    async def capabilities(self) -> Capabilities:
        return await self._capabilities.get(self._endpoint, self._model, lambda: probe(self, _MODES))

    async def close(self) -> None:
        """LiteLLM keeps one pool of connections for the whole process; nothing here is ours to close."""

    @property
    def _endpoint(self) -> str:
        return self._api_base or self._model.partition("/")[0]

    async def _ask(self, request: Request, *, stream: bool) -> Any:
        litellm = await asyncio.to_thread(_litellm)
        self._check_provider(litellm)
        body = request_body(request, self._model, stream=stream, constrained=False)
        with self._translated():
            return await litellm.acompletion(
                **body,
                api_key=self._api_key,
                api_base=self._api_base,
                timeout=self._seconds,
                drop_params=True,
                num_retries=0,
                max_retries=0,
            )

    def _check_provider(self, litellm: Any) -> None:
        provider = self._model.partition("/")[0]
        known = sorted(str(getattr(entry, "value", entry)) for entry in litellm.provider_list)
        if provider in known:
            return
        near = ", ".join(f"{name}/…" for name in difflib.get_close_matches(provider, known, 3))
        raise ModelNotFound(
            f"LiteLLM knows no provider {provider!r} (in {self._model!r}).",
            hint=f"Did you mean {near}?" if near else "See https://docs.litellm.ai/docs/providers.",
        )

    @contextmanager
    def _translated(self) -> Generator[None]:
        try:
            yield
        except ModelError:
            raise
        except Exception as error:
            raise self._translation(error) from error

    def _translation(self, error: Exception) -> ModelError:
        """Our error for one of LiteLLM's, which are children of the `openai` package's, or anything at all."""
        import openai

        said = self._said(error)
        if isinstance(error, openai.APITimeoutError):
            return ModelTimeout(f"{self._model} did not answer in time.", hint="Try again, or allow it more time.")
        if "LLM Provider NOT provided" in said:
            return ModelNotFound(said, hint="Begin the model string with its provider, as in openai/gpt-4o.")
        if any(isinstance(cause, openai.APIConnectionError) for cause in _causes(error)):
            return ModelUnavailable(f"{self._endpoint} cannot be reached or broke off: {said}", hint="Try again.")
        if any(isinstance(cause, UnicodeEncodeError) for cause in _causes(error)):
            return ModelRefused("The request holds characters that cannot be sent.", hint="Remove lone surrogates.")
        status = getattr(error, "status_code", None)
        unreadable = any(isinstance(cause, ValueError) for cause in _causes(error))
        if isinstance(status, int) and status >= 400 and not unreadable:
            return error_of(status, said, endpoint=self._endpoint, model=self._model, headers=_headers(error))
        return MalformedAnswer(f"LiteLLM could not read the answer of {self._endpoint}: {said}", hint="Try again.")

    def _said(self, error: Exception) -> str:
        text = _ORIGIN.sub("", " ".join(str(getattr(error, "message", "") or error).split()))
        if self._api_key:
            text = text.replace(self._api_key, "[key]")
        return text if len(text) <= _LONGEST_MESSAGE else text[:_LONGEST_MESSAGE] + "…"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and those that it was raised from or while handling."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def _headers(error: Exception) -> Mapping[str, str]:
    response = getattr(error, "response", None)
    found: Any = getattr(error, "litellm_response_headers", None) or getattr(response, "headers", None)
    return {str(name): str(value) for name, value in found.items()} if found else {}


async def _close(chunks: Any) -> None:
    """Close LiteLLM's stream, which holds the provider's own stream inside."""
    for stream in (chunks, getattr(chunks, "completion_stream", None)):
        for name in ("aclose", "close"):
            if (close := getattr(stream, name, None)) is not None:
                closed = close()
                if hasattr(closed, "__await__"):
                    await closed
                break


def _litellm() -> Any:
    """LiteLLM, imported so that it fetches nothing, prints nothing and logs through the application's handlers.

    Raises:
        ModelNotFound: it is not installed.
    """
    with _import_lock:
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        os.environ.setdefault("LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS", "True")
        try:
            litellm: Any = importlib.import_module("litellm")
        except ImportError as error:
            raise ModelNotFound(
                "Hosted models need LiteLLM, which is not installed.", hint="Run: pip install 'mentalize[hosted]'"
            ) from error
        litellm.suppress_debug_info = True
        litellm.telemetry = False
        logger = logging.getLogger("LiteLLM")
        logger.handlers.clear()
        logger.propagate = True
        return litellm

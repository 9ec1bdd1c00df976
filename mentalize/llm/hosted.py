"""Hosted models of many providers, by way of LiteLLM, which is imported when the first of them is asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

from .model import Capabilities, Completion, Delta, Request, StructuredMode
from .probe import CapabilityCache, probe
from .provider import Provider, litellm
from .relay import Exchange, in_one_piece
from .wire import ChunkReader, completion_of, request_body

__all__ = ["LiteLLMModel"]

_MODES = (StructuredMode.JSON_SCHEMA, StructuredMode.JSON_OBJECT)

_FIELDS = frozenset({
    "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs", "max_completion_tokens",
    "max_tokens", "messages", "modalities", "n", "parallel_tool_calls", "prediction", "presence_penalty",
    "prompt_cache_key", "reasoning_effort", "response_format", "safety_identifier", "seed", "service_tier", "stop",
    "store", "stream", "stream_options", "temperature", "tool_choice", "tools", "top_logprobs", "top_p",
    "web_search_options",
})  # fmt: skip
"""OpenAI's fields of a request, which LiteLLM takes as arguments. It takes its orders as arguments, too (`base_url`,
`extra_headers`, `mock_response`, `fallbacks`, …), and what is asked comes from clients: nothing else may become one.
Of OpenAI's own, `metadata` is not here, because it directs LiteLLM's hooks, nor is what LiteLLM leaves out for
models that it does not know."""

_TRANSLATED = frozenset({"thinking", "top_k", "user", "verbosity"})
"""Fields that LiteLLM translates for providers which do not speak OpenAI's format."""

_TAKEN_OUT = frozenset({"azure_ad_token", "reasoningSummary", "reasoning_summary"})
"""What LiteLLM looks for even among the fields that it only hands on."""


class LiteLLMModel:
    """A model that LiteLLM can reach, named by LiteLLM's own string such as `openai/gpt-4o`.

    Parameters that the provider does not know are left out; those that LiteLLM does not know go on to endpoints of
    OpenAI's format, and never to LiteLLM itself. LiteLLM's own retries are off: `RetryingModel` retries.
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
        self._provider = Provider(model, api_base, api_key)
        self._capabilities = capabilities or CapabilityCache()
        self._seconds = seconds

    @property
    def name(self) -> str:
        return self._model

    @property
    def served_name(self) -> str:
        """LiteLLM's string, by which clients ask for it too."""
        return self._model

    def load(self) -> None:
        """Import LiteLLM."""
        litellm()

    async def exchange(self, body: Mapping[str, Any], raw: bytes | None, headers: Mapping[str, str]) -> Exchange:
        """Send a client's own body by way of LiteLLM, and give the answer in OpenAI's form; see `relay`."""
        answer = await self._send(body)
        if body.get("stream"):
            return Exchange(200, {}, True, self._relayed(answer))
        return Exchange(200, {}, False, in_one_piece(_dumped(answer)))

    async def _relayed(self, chunks: Any) -> AsyncGenerator[bytes]:
        try:
            with self._provider.translated():
                async for chunk in chunks:
                    yield b"data: " + _dumped_chunk(chunk) + b"\n\n"
        finally:
            await _close(chunks)
        yield b"data: [DONE]\n\n"

    async def complete(self, request: Request) -> Completion:
        answer = await self._ask(request, stream=False)
        return completion_of(answer.model_dump(exclude_none=True), endpoint=self._provider.endpoint)

    async def stream(self, request: Request) -> AsyncIterator[Delta]:
        chunks = await self._ask(request, stream=True)
        reader = ChunkReader(self._provider.endpoint)
        try:
            with self._provider.translated():
                async for chunk in chunks:
                    if (delta := reader.delta(chunk.model_dump(exclude_none=True))) is not None:
                        yield delta
        finally:
            await _close(chunks)
        yield reader.last()

    async def capabilities(self) -> Capabilities:
        return await self._capabilities.get(self._provider.endpoint, self._model, lambda: probe(self, _MODES))

    async def close(self) -> None:
        """LiteLLM keeps one pool of connections for the whole process; nothing here is ours to close."""

    async def _ask(self, request: Request, *, stream: bool) -> Any:
        return await self._send(request_body(request, self._model, stream=stream, constrained=False))

    async def _send(self, body: Mapping[str, Any]) -> Any:
        module = await asyncio.to_thread(litellm)
        self._provider.check(module)
        with self._provider.translated():
            return await module.acompletion(
                **_arguments(body, self._provider.speaks_openai(module)),
                model=self._model,
                api_key=self._provider.api_key,
                api_base=self._provider.api_base,
                timeout=self._seconds,
                drop_params=True,
                num_retries=0,
                max_retries=0,
                _skip_mcp_handler=True,  # Else it answers for tools whose addresses look like those of its proxy.
            )


def _arguments(body: Mapping[str, Any], speaks_openai: bool) -> dict[str, Any]:
    """A request's body as what may be handed to LiteLLM."""
    arguments = {name: value for name, value in body.items() if name in _FIELDS}
    others = {name: value for name, value in body.items() if name not in _FIELDS | _TAKEN_OUT | {"model"}}
    if not speaks_openai:
        return arguments | {name: value for name, value in others.items() if name in _TRANSLATED}
    return arguments | {"extra_body": others} if others else arguments


def _dumped_chunk(chunk: Any) -> bytes:
    """A chunk as OpenAI's JSON. The one with the usage has no choices (D-9); LiteLLM gives it an empty one."""
    body = chunk.model_dump(exclude_none=True)
    if body.get("usage") and not any(choice.get("finish_reason") or choice.get("delta") for choice in body["choices"]):
        body["choices"] = []
    return json.dumps(body, separators=(",", ":")).encode()


def _dumped(answer: Any) -> bytes:
    """LiteLLM's object as OpenAI's JSON: what it adds as null is left out."""
    return json.dumps(answer.model_dump(exclude_none=True), separators=(",", ":")).encode()


async def _close(chunks: Any) -> None:
    """Close LiteLLM's stream, which holds the provider's own stream inside."""
    for stream in (chunks, getattr(chunks, "completion_stream", None)):
        for name in ("aclose", "close"):
            if (close := getattr(stream, name, None)) is not None:
                closed = close()
                if hasattr(closed, "__await__"):
                    await closed
                break

"""From a model string to a model that is ready to be asked."""

from __future__ import annotations

import difflib
import os
from functools import lru_cache
from pathlib import Path

from ..errors import ModelNotFound
from .balanced import BalancedModel
from .cache import CachedModel
from .hosted import LiteLLMModel
from .http import OpenAICompatibleModel
from .limit import LimitedModel
from .model import Model
from .probe import CapabilityCache
from .retry import RetryingModel
from .running import address_of
from .scripted import fake_model
from .timeout import TimedModel

__all__ = ["resolve"]

_EXAMPLES = {
    "embedded": "a small model in this process",
    "hosted_vllm/NAME": "a vLLM server",
    "llama_cpp/NAME": "a llama.cpp server",
    "openai_compatible/NAME": "any other OpenAI-compatible server",
    "openai/gpt-4o": "a hosted model, by LiteLLM's string",
    "fake": "fixed answers, for tests",
}
_DEFAULT_ADDRESSES = {
    "hosted_vllm": "http://127.0.0.1:8000/v1",
    "llama_cpp": "http://127.0.0.1:8080/v1",
    "openai_compatible": None,
}
_ENDPOINT_SECONDS = 60.0
_EMBEDDED_SECONDS = 300.0


def resolve(
    model_string: str,
    *,
    api_key: str | None = None,
    base_url: str | None = None,
    capability_folder: Path | None = None,
    models_folder: Path | None = None,
    timeout: float | None = None,
    concurrency: int = 16,
    attempts: int = 3,
    cache_size: int = 1024,
    cache_seconds: float = 3600.0,
) -> Model:
    """The model that a string names, with cache, retry, concurrency limit and time-out around it.

    Nothing is imported or asked here. `embedded` orders its own requests and is neither limited nor retried;
    `fake` is returned as it is.

    Args:
        model_string: see the README, A better model.
        api_key: the endpoint's key; else `HOSTED_VLLM_API_KEY`, `LLAMA_CPP_API_KEY`, `OPENAI_COMPATIBLE_API_KEY`, or
            the variable that LiteLLM names for the provider.
        base_url: the endpoint's address, or several of a vLLM or other OpenAI-compatible server with commas between
            them; else the variable of the same name ending in `_API_BASE`.
        capability_folder: where probe results are kept; in memory only, if not given.
        models_folder: where embedded models' files are kept; the user's cache directory, if not given.
        timeout: seconds per request; 60, or 300 for `embedded`, if not given.
        concurrency: requests in work at the same time, at each endpoint.
        attempts: how often a request is sent at most.
        cache_size: answers kept of requests that are marked cacheable.
        cache_seconds: how long they are kept.

    Raises:
        ModelNotFound: the string names nothing that can be asked, or lacks an address.
    """
    name = model_string.strip()
    kind, _, rest = name.partition("/")
    if kind == "embedded":
        from .embedded import resolve_embedded

        embedded = TimedModel(resolve_embedded(name, models_folder), timeout or _EMBEDDED_SECONDS)
        return CachedModel(embedded, size=cache_size, seconds=cache_seconds)
    if name == "fake":
        return fake_model()
    if not rest.strip():
        raise _not_found(name)
    seconds = timeout or _ENDPOINT_SECONDS
    capabilities = _capabilities(capability_folder)

    def limited(endpoint: Model) -> Model:
        return LimitedModel(TimedModel(endpoint, seconds), concurrency)

    asked: Model
    if kind in _DEFAULT_ADDRESSES:
        endpoints = _endpoints(
            name,
            api_key=api_key,
            base_url=base_url,
            cache=capability_folder,
            capabilities=capabilities,
            seconds=seconds,
        )
        asked = limited(endpoints[0]) if len(endpoints) == 1 else BalancedModel(endpoints, wrap=limited)
    else:
        asked = limited(
            LiteLLMModel(
                name, api_key=api_key, api_base=_only(base_url, name), capabilities=capabilities, seconds=seconds
            )
        )
    return CachedModel(RetryingModel(asked, attempts=attempts), size=cache_size, seconds=cache_seconds)


def _only(base_url: str | None, name: str) -> str | None:
    if base_url and len(_addresses(base_url)) > 1:
        raise ModelNotFound(
            f"{name} is asked by way of LiteLLM, at one address, and not at {base_url}.",
            hint="Give one address, or name a server of your own as hosted_vllm/NAME or openai_compatible/NAME.",
        )
    return base_url


def _addresses(base_url: str) -> tuple[str, ...]:
    """The different addresses, in order."""
    return tuple(dict.fromkeys(stripped for part in base_url.split(",") if (stripped := part.strip().rstrip("/"))))


def _endpoints(
    name: str,
    *,
    api_key: str | None,
    base_url: str | None,
    cache: Path | None,
    capabilities: CapabilityCache,
    seconds: float,
) -> list[OpenAICompatibleModel]:
    kind, _, rest = name.partition("/")
    variable = kind.upper()
    address = base_url or os.environ.get(f"{variable}_API_BASE")
    if address is None and kind == "hosted_vllm":
        address = address_of(rest, cache)
    address = address or _DEFAULT_ADDRESSES[kind]
    if address is None:
        raise ModelNotFound(
            f"{name!r} names no address.",
            hint=f"Give a base URL such as http://host:8000/v1, or set {variable}_API_BASE.",
        )
    return [
        OpenAICompatibleModel(
            rest,
            base_url=one,
            api_key=api_key or os.environ.get(f"{variable}_API_KEY"),
            name=name,
            capabilities=capabilities,
            seconds=seconds,
            vllm=kind == "hosted_vllm",
        )
        for one in _addresses(address)
    ]


def _capabilities(folder: Path | None) -> CapabilityCache:
    return CapabilityCache() if folder is None else _capabilities_in(folder.resolve())


@lru_cache
def _capabilities_in(folder: Path) -> CapabilityCache:
    """One for each folder, so that the roles of a process share what one of them found."""
    return CapabilityCache(folder / "capabilities.json")


def _not_found(name: str) -> ModelNotFound:
    names = {example.partition("/")[0]: example for example in _EXAMPLES}
    near = difflib.get_close_matches(name.partition("/")[0], names, 2)
    guess = f"Did you mean {' or '.join(names[known] for known in near)}? " if near else ""
    examples = "; ".join(f"{example} ({what})" for example, what in _EXAMPLES.items())
    return ModelNotFound(f"The model string {name!r} names no model.", hint=f"{guess}Known forms: {examples}.")

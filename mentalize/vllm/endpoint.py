"""A vLLM server seen from outside: whether it is well, which version it is, what it serves."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from ..errors import EngineError

if TYPE_CHECKING:
    import aiohttp

__all__ = ["Endpoint", "describe", "is_well"]

_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A server that answers."""

    url: str
    version: str
    """vLLM's; empty, where the server does not say it."""
    models: tuple[str, ...]
    contexts: tuple[int, ...]
    """For each model, tokens of prompt and answer together; 0, where the server does not say it."""


async def is_well(session: aiohttp.ClientSession, url: str) -> bool:
    """Whether the server and its engine say that they work."""
    import aiohttp

    try:
        async with session.get(f"{url}/health", timeout=aiohttp.ClientTimeout(total=_SECONDS)) as response:
            return response.status == HTTPStatus.OK
    except (aiohttp.ClientError, OSError, TimeoutError):
        return False


async def describe(url: str, key: str | None) -> Endpoint:
    """Ask a server what it is.

    Args:
        url: its address, with `/v1` or without.
        key: what it wants as bearer token, if it does.

    Raises:
        EngineError: it does not answer, is ill, refuses the key, or answers as no vLLM does.
    """
    import aiohttp

    root = url.rstrip("/").removesuffix("/v1").rstrip("/")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    timeout = aiohttp.ClientTimeout(total=_SECONDS)
    try:
        async with aiohttp.ClientSession(headers=headers, timeout=timeout, trust_env=True) as session:
            health = await _get(session, f"{root}/health", parsed=False)
            if health[0] != HTTPStatus.OK:
                raise EngineError(f"{root}/health answers {health[0]}.", hint="See the log of that server.")
            return _read(root, await _get(session, f"{root}/v1/models"), await _get(session, f"{root}/version"))
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        raise EngineError(
            f"No vLLM answers at {root}: {error or type(error).__name__}.",
            hint="Check the address; `mentalize vllm serve MODEL` starts a server.",
        ) from error


async def _get(session: aiohttp.ClientSession, url: str, *, parsed: bool = True) -> tuple[int, Any]:
    async with session.get(url) as response:
        body = await response.json(content_type=None) if parsed and response.status == HTTPStatus.OK else None
        return response.status, body


def _read(root: str, listed: tuple[int, Any], version: tuple[int, Any]) -> Endpoint:
    status, body = listed
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        raise EngineError(f"{root} wants a key.", hint="Set HOSTED_VLLM_API_KEY.")
    try:
        models = [(str(entry["id"]), int(entry.get("max_model_len") or 0)) for entry in body["data"]]
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise EngineError(
            f"{root} answers, but lists no models (status {status}).", hint="Is it an OpenAI-compatible server?"
        ) from error
    if not models:
        raise EngineError(f"{root} serves no model.", hint="Start it with one.")
    told = cast("dict[str, Any]", version[1]) if isinstance(version[1], dict) else {}
    return Endpoint(
        url=root,
        version=str(told.get("version", "")),
        models=tuple(name for name, _ in models),
        contexts=tuple(length for _, length in models),
    )

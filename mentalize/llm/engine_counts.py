"""Engine counts: what a vLLM server says of its queue and its prefix cache, at `/metrics`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import ModelNotFound

if TYPE_CHECKING:
    from .http import OpenAICompatibleModel

__all__ = ["EngineCounts", "cache_counters", "counts_in", "counts_of"]

_RUNNING = "vllm:num_requests_running"
_WAITING = "vllm:num_requests_waiting"
_QUERIES = "vllm:prefix_cache_queries_total"
_HITS = "vllm:prefix_cache_hits_total"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineCounts:
    """What a vLLM server says of itself, over all its engines."""

    running: int
    """Requests that it works on."""
    waiting: int
    """Requests that wait for a place in its batch or its cache."""
    cache_queries: int
    """Prompt tokens since it started that were looked for in the prefix cache."""
    cache_hits: int
    """Those of them that were found there."""

    @property
    def hit_rate(self) -> float | None:
        """The share of prompt tokens that were found, 0 to 1; None while there were none."""
        return self.cache_hits / self.cache_queries if self.cache_queries else None


def counts_in(page: str) -> EngineCounts | None:
    """The counts on a page in Prometheus' text format; None where they are not vLLM's."""
    sums: dict[str, float] = {}
    for name, value in _samples(page):
        sums[name] = sums.get(name, 0.0) + value
    if not {_RUNNING, _WAITING} <= sums.keys():
        return None
    return EngineCounts(
        running=int(sums[_RUNNING]),
        waiting=int(sums[_WAITING]),
        cache_queries=int(sums.get(_QUERIES, 0)),
        cache_hits=int(sums.get(_HITS, 0)),
    )


def _samples(page: str) -> Iterator[tuple[str, float]]:
    """Our samples, by name. `prometheus_client` has a parser, but models are asked where it is not installed."""
    for line in page.split("\n"):
        name = line.partition("{")[0].partition(" ")[0]
        if name in (_RUNNING, _WAITING, _QUERIES, _HITS):
            # A label's value may hold anything but a line break; what follows the last brace is the number.
            number = line[len(name) :].rpartition("}")[2].split()
            value = _number(number[0]) if number else math.nan
            if math.isfinite(value):
                yield name, max(0.0, value)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


async def counts_of(endpoint: OpenAICompatibleModel, *, seconds: float = 5.0) -> EngineCounts | None:
    """What the endpoint says of itself; None where it does not.

    Raises:
        ModelError: it cannot be reached.
    """
    status, content = await endpoint.get("/metrics", beside=True, seconds=seconds)
    return counts_in(content.decode("utf-8", "replace")) if status == 200 else None


async def cache_counters(base_url: str, *, api_key: str | None = None) -> tuple[int, int]:
    """Prompt tokens that a vLLM server looked for in its prefix cache, and those that it found, since it started.

    The share of two differences is the hit rate in between.

    Args:
        base_url: The address, up to and including `/v1` as everywhere.
        api_key: Where something in front of the server wants it.

    Raises:
        ModelError: it cannot be reached.
        ModelNotFound: it has no such counters.
    """
    from .http import OpenAICompatibleModel

    endpoint = OpenAICompatibleModel("", base_url=base_url, api_key=api_key, vllm=True)
    try:
        counts = await counts_of(endpoint)
    finally:
        await endpoint.close()
    if counts is None:
        raise ModelNotFound(
            f"{endpoint.endpoint} tells no counts of a prefix cache.",
            hint="Give the address of a vLLM server that was started without --disable-log-stats.",
        )
    return counts.cache_queries, counts.cache_hits

"""Metrics: what Prometheus reads of a server. All of it comes from finished traces and from the server's own counts.

Labels come from closed sets: stages, roles, gates, routes, and addresses that the settings name. Nobody's name and
nothing that was written is ever one.
"""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from ..agents.intake import SIDE_TASK, SMALL_TALK
from ..errors import SettingsError
from ..open_turn import SATURATED
from ..types import CallRecord, Effort, Trace, Usage

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

    from ..agents.known import CacheCounts
    from ..mind import EndpointReport

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder in which several processes put their counts together. prometheus_client reads it when imported."""

Level = Literal["minimal", "pass-through", "refused"]
Limit = Literal["requests", "tokens", "concurrent"]

LEVELS: tuple[Level, ...] = ("minimal", "pass-through", "refused")
LIMITS: tuple[Limit, ...] = ("requests", "tokens", "concurrent")
RELAY = "relay"
"""Stands in place of a role for tokens of answers that were handed through."""

_ANSWER_SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 180)
_STAGE_SECONDS = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60)
_RECALL_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

_OF_ENDPOINTS = {
    "up": "Whether a model's endpoint says that it can work.",
    "requests_running": "Requests that a vLLM server works on.",
    "requests_waiting": "Requests that wait at a vLLM server.",
    "prefix_cache_query_tokens": "Prompt tokens that a vLLM server has looked for in its prefix cache.",
    "prefix_cache_hit_tokens": "Prompt tokens that a vLLM server has found in its prefix cache.",
}
_OF_CACHES = {
    "hits": "What was found in a cache of this server's own.",
    "misses": "What was looked for there and not found.",
    "entries": "What is in it.",
}
_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
_ORIGINS = frozenset({"writer", "form", "referral", "fallback", "plain", "cut short", "passed through"})
_REASONS = {
    "asked": "asked",
    "an ordinary message": "ordinary",
    "signs of danger": "danger",
    SMALL_TALK: "small talk",
    SIDE_TASK: "side task",
    SATURATED: "saturated",
}


class Metrics:
    """The metrics of one server process, or of all processes that share the folder of `PROMETHEUS_MULTIPROC_DIR`.

    Each object counts for itself. Only with that variable there must be no more than one in a process.

    Args:
        queue_depth: How many background tasks are waiting in this process.

    Raises:
        SettingsError: the variable names no folder, or was set after prometheus_client was imported.
    """

    def __init__(self, *, queue_depth: Callable[[], int] = lambda: 0) -> None:
        from prometheus_client import CollectorRegistry

        self._folder = _shared_folder()
        self._queue_depth = queue_depth
        self._registry = registry = CollectorRegistry()

        self._requests = _counter(registry, "http_requests", "Requests answered.", "method", "route", "status")
        self._request_seconds = _histogram(
            registry, "http_request_duration", "From a request to the end of its answer.", _ANSWER_SECONDS, "route"
        )
        self._first_byte = _histogram(
            registry, "stream_first_byte", "From a request to the first byte of its stream.", _ANSWER_SECONDS
        )

        self._turns = _counter(registry, "turns", "Turns finished, by what ran and why.", "effort", "reason")
        self._turn_seconds = _histogram(registry, "turn_duration", "Length of a turn.", _ANSWER_SECONDS, "effort")
        self._stage_seconds = _histogram(registry, "stage_duration", "Length of a stage.", _STAGE_SECONDS, "stage")
        self._recall_seconds = _histogram(
            registry, "recall_duration", "Length of recall, where there was a memory to ask.", _RECALL_SECONDS
        )
        self._fail_opens = _counter(registry, "fail_opens", "Stages that failed and left their part out.", "stage")
        self._losses = _counter(registry, "losses", "Other parts that turns left out, such as a write to memory.")
        self._gates = _counter(registry, "gates_failed", "Drafts that did not pass a safety gate.", "gate")
        self._revisions = _counter(registry, "revisions", "Drafts written again.")
        self._replies = _counter(registry, "replies", "Replies, by who wrote them.", "origin")

        self._calls = _counter(
            registry, "model_calls", "Model calls of turns, scorings not counted.", "role", "outcome"
        )
        self._scorings = _counter(registry, "model_scorings", "One-token choices of turns.", "role", "outcome")
        self._tokens = _counter(registry, "tokens", "Tokens, as endpoints report them.", "role", "kind")
        self._answers = _counter(registry, "structured_answers", "Answers asked for as JSON, repairs not counted.")
        self._repairs = _counter(registry, "structured_repairs", "Models shown the error of their JSON.")
        self._misfits = _counter(registry, "structured_failures", "JSON that stayed invalid after its repair.")

        self._relayed = _counter(registry, "relayed", "Answers handed through from the endpoint, without a turn.")
        self._degraded = _counter(registry, "degraded_turns", "Turns that got less for want of capacity.", "level")
        self._limited = _counter(registry, "rate_limited", "Requests refused by a limit.", "limit")
        self._disconnects = _counter(registry, "disconnects", "Clients that left before their answer was whole.")

        self._in_flight = _gauge(registry, "turns_in_flight", "Turns that are running.", "livesum")
        self._queue = _gauge(registry, "background_queue_depth", "Background tasks that are waiting.", "livesum")
        self._endpoints = {
            name: _gauge(registry, f"endpoint_{name}", meaning, "livemostrecent", "endpoint")
            for name, meaning in _OF_ENDPOINTS.items()
        }
        self._caches = {
            name: _gauge(registry, f"cache_{name}", meaning, "livesum", "cache") for name, meaning in _OF_CACHES.items()
        }
        _built(registry)
        self._begin_at_zero()

    def turn(self, trace: Trace) -> None:
        """Count a finished turn."""
        self._turns.labels(trace.effort.value, reason_of(trace)).inc()
        self._turn_seconds.labels(trace.effort.value).observe(trace.seconds)
        self._count_stages(trace)
        for record in trace.requests:
            self._count_call(record)
        for verdict in trace.verdicts:
            for gate in (name for name, passed in verdict.gates.items() if not passed):
                self._gates.labels(gate).inc()
        self._revisions.inc(trace.revisions)
        self._replies.labels(origin_of(trace)).inc()
        self._answers.inc(trace.structured.answers)
        self._repairs.inc(trace.structured.repaired)
        self._misfits.inc(trace.structured.failed)
        self.note_queue()

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answered request.

        Args:
            route: The route's template, such as `/v1/memories/{id}`, and never the path that was asked for.
            method: The HTTP method.
            status: The HTTP status.
            seconds: From the request to the last byte of its answer.
        """
        self._requests.labels(method if method in _METHODS else "other", route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def first_byte(self, seconds: float) -> None:
        """Note how long a client waited for the first byte of its stream."""
        self._first_byte.observe(seconds)

    def relayed(self, usage: Usage | None) -> None:
        """Count an answer that was handed through, and its tokens where the endpoint told them."""
        self._relayed.inc()
        if usage is not None:
            self._count_tokens(RELAY, usage)

    def degraded(self, level: Level) -> None:
        """Count a turn that got less than was asked for, because the server is at its limit."""
        self._degraded.labels(level).inc()

    def limited(self, limit: Limit) -> None:
        """Count a request that was refused because somebody used up a limit."""
        self._limited.labels(limit).inc()

    def caches(self, counts: Iterable[CacheCounts]) -> None:
        """Note how a mind's caches have done."""
        for cache in counts:
            for name in _OF_CACHES:
                self._caches[name].labels(cache.name).set(getattr(cache, name))

    def endpoints(self, reports: Iterable[EndpointReport]) -> None:
        """Note how models' endpoints fare. What one does not tell is not a number."""
        for report in reports:
            counts = report.counts
            told = {
                "up": float(report.well),
                "requests_running": counts.running if counts else math.nan,
                "requests_waiting": counts.waiting if counts else math.nan,
                "prefix_cache_query_tokens": counts.cache_queries if counts else math.nan,
                "prefix_cache_hit_tokens": counts.cache_hits if counts else math.nan,
            }
            for name, value in told.items():
                self._endpoints[name].labels(report.address).set(value)

    def disconnected(self) -> None:
        """Count a client that left before its answer was whole."""
        self._disconnects.inc()

    def in_flight(self) -> AbstractContextManager[None]:
        """While inside, one more turn is running."""
        return self._in_flight.track_inprogress()

    def note_queue(self) -> None:
        """Note this process's background queue.

        Every turn and every exposition does. Of other processes an exposition sees what they noted last, so a process
        that may be idle while its queue shrinks calls this from time to time.
        """
        self._queue.set(self._queue_depth())

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """All metrics, of every process that shares the folder, and the content type.

        Args:
            accept: The request's `Accept` header, by which a scraper asks for OpenMetrics.
        """
        from prometheus_client import CollectorRegistry
        from prometheus_client.exposition import choose_encoder
        from prometheus_client.multiprocess import MultiProcessCollector

        self.note_queue()
        encode, content_type = choose_encoder(accept)
        if self._folder is None:
            return encode(self._registry), content_type
        together = CollectorRegistry()
        MultiProcessCollector(together, self._folder)
        return encode(together), content_type

    def _begin_at_zero(self) -> None:
        """A counter that appears with its first event hides that event from `rate()`."""
        for level in LEVELS:
            self._degraded.labels(level)
        for limit in LIMITS:
            self._limited.labels(limit)

    def _count_stages(self, trace: Trace) -> None:
        for stage in trace.stages:
            self._stage_seconds.labels(stage.name).observe(stage.seconds)
            if stage.name == "recall" and (trace.recollection is not None or stage.error):
                self._recall_seconds.observe(stage.seconds)
            if stage.error:
                self._fail_opens.labels(stage.name).inc()
        self._losses.inc(len(trace.failures) - sum(stage.error is not None for stage in trace.stages))

    def _count_call(self, record: CallRecord) -> None:
        outcome = "failed" if record.error else "cached" if record.cached else "answered"
        (self._scorings if record.scoring else self._calls).labels(record.role, outcome).inc()
        self._count_tokens(record.role, record.usage)

    def _count_tokens(self, role: str, usage: Usage) -> None:
        self._tokens.labels(role, "prompt").inc(usage.prompt_tokens)
        self._tokens.labels(role, "completion").inc(usage.completion_tokens)


def mark_dead(process: int) -> None:
    """Leave out what a process that has ended was doing; what it counted stays. For whoever started it."""
    from prometheus_client import multiprocess

    if folder := os.environ.get(FOLDER_VARIABLE):
        cast("Any", multiprocess).mark_process_dead(process, folder)


def reason_of(trace: Trace) -> str:
    """Why a turn got its effort, as one of a few words: `Trace.route` names what the request held."""
    if reason := _REASONS.get(trace.route):
        return reason
    return "pass-through" if trace.effort is Effort.NONE else "other"


def origin_of(trace: Trace) -> str:
    """Who wrote the reply, all forms being one."""
    origin = trace.reply_origin.partition(":")[0]
    return origin if origin in _ORIGINS else "other"


def release() -> str:
    """The version of mentalize; `unknown` where it runs without having been installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("mentalize")
    except PackageNotFoundError:
        return "unknown"


def _shared_folder() -> str | None:
    """Where several processes put their counts together; None where this one is alone."""
    from prometheus_client.values import MutexValue, ValueClass

    folder = os.environ.get(FOLDER_VARIABLE)
    if (ValueClass is MutexValue) != (folder is None):
        raise SettingsError(
            f"{FOLDER_VARIABLE} was changed after prometheus_client had read it.",
            hint="Set it before the process starts.",
        )
    if folder is not None and not (folder and Path(folder).is_dir()):
        raise SettingsError(
            f"{FOLDER_VARIABLE} is {folder!r}, which is no folder.", hint="Make an empty one before each start."
        )
    return folder


def _counter(registry: CollectorRegistry, name: str, meaning: str, *labels: str) -> Counter:
    from prometheus_client import Counter

    return Counter(name, meaning, labels, namespace="mentalize", registry=registry)


def _histogram(
    registry: CollectorRegistry, name: str, meaning: str, buckets: tuple[float, ...], *labels: str
) -> Histogram:
    from prometheus_client import Histogram

    return Histogram(name, meaning, labels, namespace="mentalize", unit="seconds", buckets=buckets, registry=registry)


def _gauge(
    registry: CollectorRegistry, name: str, meaning: str, mode: Literal["livesum", "livemostrecent"], *labels: str
) -> Gauge:
    from prometheus_client import Gauge

    return Gauge(name, meaning, labels, namespace="mentalize", registry=registry, multiprocess_mode=mode)


def _built(registry: CollectorRegistry) -> None:
    """What is running. `Info` cannot be shared between processes; a gauge can."""
    from prometheus_client import Gauge

    built = Gauge(
        "build_info",
        "What is running; always 1.",
        ("version", "python"),
        namespace="mentalize",
        registry=registry,
        multiprocess_mode="livemax",
    )
    built.labels(release(), platform.python_version()).set(1)

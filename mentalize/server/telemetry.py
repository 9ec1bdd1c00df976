"""Telemetry: finished turns as OpenTelemetry spans, for whoever sets a collector's address. Nobody else gets any.

One turn is one tree, named by the semantic conventions for generative AI: `invoke_agent mentalize`, a span for each
stage, and under a stage a `chat` span for each call. What people and models write stays here unless asked for.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, cast

import structlog

from ..llm.structured import REPAIR
from ..types import CallRecord, Message, StageRecord, Trace, user
from .metrics import origin_of, reason_of, release

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
    from opentelemetry.trace import SpanKind

    Attributes = dict[str, str | bool | int | float]

SERVICE = "mentalize"

EXPORT_SECONDS = 10.0
"""What sending one batch of spans may take, attempts and pauses together."""
CLOSE_SECONDS = 5.0
"""What sending the last spans may take when the server stops."""
BATCH_WITH_CONTENTS = 64
"""Spans that are sent at once when they hold texts: collectors take 4 MiB by default."""

_STAGE_OF_PURPOSE = {"validate": "judge", "score.rubric": "judge", "score.feeling": "perceive"}
"""Where stages run side by side and a call's purpose is not its stage's name."""

_PROVIDERS = {
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "hosted_vllm": "vllm",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "vertex_ai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}
"""The conventions' names, where a model string's first part is another."""

_FAULT = re.compile(r"([A-Z]\w*(?:Error|Exception)): ")

_overheard: ContextVar[list[str] | None] = ContextVar("mentalize_overheard", default=None)
_log: Any = structlog.wrap_logger(logging.getLogger("mentalize.server"))


class Telemetry:
    """Where the spans of finished turns go.

    Has a tracer provider of its own: what Chroma, LangSmith or anything else in the process traces is not sent, and
    nothing of ours goes through theirs. Spans are queued and sent by a thread; while the collector cannot be reached
    the oldest are dropped, and turns notice nothing.

    Args:
        collector: The OTLP address over gRPC, such as `http://localhost:4317`, or an exporter.
        models: The model string of each role, which says whose model was asked; else calls carry only the name of
            the model that answered.
        contents: Whether spans hold what people and models wrote.
    """

    def __init__(
        self, collector: str | SpanExporter, *, models: Mapping[str, str] | None = None, contents: bool = False
    ) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        self._exporter = _Exporter(_otlp(collector) if isinstance(collector, str) else collector)
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": SERVICE, "service.version": release()}),
            # At exit it would wait for an unreachable collector.
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                cast("SpanExporter", self._exporter), max_export_batch_size=BATCH_WITH_CONTENTS if contents else None
            )
        )
        self._tracer = self._provider.get_tracer("mentalize", release())
        self._models = models or {}
        self._contents = contents

    def turn(
        self, trace: Trace, parent_headers: Mapping[str, str] | None = None, *, conversation: str | None = None
    ) -> None:
        """Queue the spans of a finished turn.

        Args:
            trace: The turn.
            parent_headers: The headers of the caller's request; its `traceparent` becomes the parent.
            conversation: The id of the session, if there is one.
        """
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier = {name.lower(): value for name, value in (parent_headers or {}).items()}
        caller = TraceContextTextMapPropagator().extract(carrier)
        begun = round(trace.at.timestamp() * 1e9)
        attributes = self._of_turn(trace) | ({"gen_ai.conversation.id": conversation} if conversation else {})
        root = self._span(
            f"invoke_agent {SERVICE}", SpanKind.INTERNAL, caller, attributes, begun, begun + _nanoseconds(trace.seconds)
        )
        places = [stage_of(record, trace.stages) for record in trace.requests]
        parents: dict[int | None, Context] = {None: root}
        for place, stage in enumerate(trace.stages):
            own = [record for record, at in zip(trace.requests, places, strict=True) if at == place]
            parents[place] = self._span(
                stage.name, SpanKind.INTERNAL, root, _of_stage(stage, own), *_times(stage, begun)
            )
        for record, place in zip(trace.requests, places, strict=True):
            attributes = self._of_call(record)
            name = f"chat {attributes['gen_ai.request.model']}"
            self._span(name, SpanKind.CLIENT, parents[place], attributes, *_times(record, begun))

    async def close(self, within: float = CLOSE_SECONDS) -> None:
        """Send what is queued, for `within` seconds at most, and stop. Safe to call twice."""
        await asyncio.to_thread(self._stop, within)

    def _stop(self, within: float) -> None:
        sending = threading.Thread(target=self._provider.shutdown, name="mentalize-telemetry-close", daemon=True)
        sending.start()
        sending.join(within)
        # Breaks off what is still being sent.
        self._exporter.shutdown()

    def _span(
        self, name: str, kind: SpanKind, parent: Context, attributes: Attributes, start: int, end: int
    ) -> Context:
        """Write one span, from `start` to `end` in nanoseconds since 1970, and return the parent of its children."""
        from opentelemetry.trace import Status, StatusCode, set_span_in_context

        sendable: Attributes = {
            key: _sendable(value) if isinstance(value, str) else value for key, value in attributes.items()
        }
        span = self._tracer.start_span(_sendable(name), parent, kind, sendable, start_time=start)
        if "error.type" in attributes:
            span.set_status(Status(StatusCode.ERROR))
        span.end(end)
        return set_span_in_context(span, parent)

    def _of_turn(self, trace: Trace) -> Attributes:
        written = [record for record in trace.requests if record.role == "write"]
        attributes: Attributes = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.provider.name": SERVICE,
            "gen_ai.agent.name": SERVICE,
            "gen_ai.usage.input_tokens": trace.usage.prompt_tokens,
            "gen_ai.usage.output_tokens": trace.usage.completion_tokens,
            "gen_ai.usage.cache_read.input_tokens": trace.usage.cached_tokens,
            "mentalize.turn.id": trace.turn_id,
            "mentalize.effort": trace.effort.value,
            "mentalize.effort.requested": trace.requested_effort.value,
            "mentalize.reason": reason_of(trace),
            "mentalize.reply.origin": origin_of(trace),
            "mentalize.calls": trace.calls,
            "mentalize.scorings": trace.scorings,
            "mentalize.depth": trace.depth,
            "mentalize.revisions": trace.revisions,
            "mentalize.failures": len(trace.failures),
            "mentalize.risk": bool(trace.risk),
        }
        if written:
            attributes["gen_ai.request.model"] = self._asked(written[-1])[1]
        if self._contents:
            attributes |= _contents([user(trace.text)], trace.reply, finish_reason="stop")
        return attributes

    def _of_call(self, record: CallRecord) -> Attributes:
        provider, model = self._asked(record)
        attributes: Attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": model,
            "gen_ai.output.type": "json" if record.structured else "text",
            "gen_ai.usage.input_tokens": record.usage.prompt_tokens,
            "gen_ai.usage.output_tokens": record.usage.completion_tokens,
            "gen_ai.usage.cache_read.input_tokens": record.usage.cached_tokens,
            "mentalize.purpose": record.purpose,
            "mentalize.role": record.role,
            "mentalize.depth": record.depth,
            "mentalize.scoring": record.scoring,
            "mentalize.cached": record.cached,
        }
        if record.error:
            attributes["error.type"] = _fault_of(record)
        else:
            attributes["gen_ai.response.model"] = record.model
        if self._contents:
            # Why the model stopped is in no record.
            attributes |= _contents(record.messages, record.answer, "error" if record.error else "unknown")
        return attributes

    def _asked(self, record: CallRecord) -> tuple[str, str]:
        """The provider and the model that a call was meant for."""
        given = self._models.get(record.role)
        if given is None:
            return SERVICE, record.model
        provider, _, model = given.partition("/")
        return _PROVIDERS.get(provider, provider), model or given


def stage_of(record: CallRecord, stages: Sequence[StageRecord]) -> int | None:
    """The index of the stage that made a call: of those that ran when it began, the one that is named like it."""
    running = [
        index for index, stage in enumerate(stages) if stage.started <= record.started <= stage.started + stage.seconds
    ]
    purpose = record.purpose.removesuffix(REPAIR)
    name = _STAGE_OF_PURPOSE.get(purpose, purpose)
    named = [index for index in running if stages[index].name == name]
    return max(named or running, key=lambda index: stages[index].started, default=None)


class _Exporter:
    """Hands spans on. A collector that takes none costs one line in the log, and one when it takes them again."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._stopped = threading.Event()
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        from opentelemetry.sdk.trace.export import SpanExportResult

        said: list[str] = []
        token = _overheard.set(said)
        try:
            result = self._exporter.export(spans)
        except Exception as fault:
            # An exporter that raises has its frames logged by the library, and they hold spans.
            said.append(type(fault).__name__)
            result = SpanExportResult.FAILURE
        finally:
            _overheard.reset(token)
        self._report(result is SpanExportResult.SUCCESS, len(spans), said)
        return result

    def shutdown(self) -> None:
        if not self._stopped.is_set():
            self._stopped.set()
            self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)

    def _report(self, sent: bool, spans: int, said: Sequence[str]) -> None:
        if sent and self._failing:
            _log.info("spans_sent_again")
        elif not sent and not self._failing:
            _log.warning("spans_not_sent", spans=spans, fault=said[-1] if said else "")
        self._failing = not sent


class _Overhear(logging.Filter):
    """Keeps for `_Exporter` what the library logs while it sends our spans: a line for every attempt."""

    def filter(self, record: logging.LogRecord) -> bool:
        said = _overheard.get()
        if said is None:
            return True
        said.append(record.getMessage())
        return False


_OVERHEAR = _Overhear()


def _otlp(address: str) -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    logging.getLogger("opentelemetry.exporter.otlp.proto.grpc.exporter").addFilter(_OVERHEAR)
    return OTLPSpanExporter(endpoint=address, timeout=EXPORT_SECONDS)


def _of_stage(stage: StageRecord, calls: Sequence[CallRecord]) -> Attributes:
    attributes: Attributes = {"mentalize.stage": stage.name}
    if stage.error:
        attributes["error.type"] = _fault_of_stage(stage.error, calls)
    return attributes


def _fault_of(record: CallRecord) -> str:
    """The name of the exception; its message may hold what people wrote."""
    return (record.error or "").partition(":")[0]


def _fault_of_stage(error: str, calls: Sequence[CallRecord]) -> str:
    if error.startswith("late:"):
        return "timeout"
    if found := _FAULT.match(error):
        return found[1]
    return next((_fault_of(record) for record in reversed(calls) if record.error), "_OTHER")


def _times(record: StageRecord | CallRecord, begun: int) -> tuple[int, int]:
    return begun + _nanoseconds(record.started), begun + _nanoseconds(record.started + record.seconds)


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


def _sendable(text: str) -> str:
    """The text without lone surrogates, for which a whole batch could not be sent."""
    return text.encode("utf-8", "replace").decode()


def _contents(messages: Sequence[Message], answer: str, finish_reason: str) -> Attributes:
    """What was sent and what came back, in the conventions' form."""
    given = [{"role": message.role, "parts": _parts(message)} for message in messages]
    made = [{"role": "assistant", "parts": [_text(answer)], "finish_reason": finish_reason}]
    attributes: Attributes = {"gen_ai.input.messages": json.dumps(given, default=str)}
    if answer:
        attributes["gen_ai.output.messages"] = json.dumps(made)
    return attributes


def _parts(message: Message) -> list[dict[str, Any]]:
    """Texts and tool calls; of pictures and sounds, only that they were there."""
    further = message.model_extra or {}
    if message.role == "tool":
        return [{"type": "tool_call_response", "id": further.get("tool_call_id"), "response": message.text}]
    content = [{"type": "text", "text": message.content}] if isinstance(message.content, str) else message.content
    parts = [
        _text(str(part.get("text"))) if part.get("type") == "text" else {"type": str(part.get("type"))}
        for part in content or ()
    ]
    return [*parts, *map(_tool_call, _listed(further.get("tool_calls")))]


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "content": text}


def _tool_call(call: object) -> dict[str, Any]:
    named = _mapped(call)
    function = _mapped(named.get("function"))
    return {
        "type": "tool_call",
        "id": named.get("id"),
        "name": str(function.get("name")),
        "arguments": function.get("arguments"),
    }


def _listed(value: object) -> list[object]:
    """A field that we hand on without checking it, if it is the list that it should be."""
    return cast("list[object]", value) if isinstance(value, list) else []


def _mapped(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}

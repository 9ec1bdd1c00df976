"""The spans of a finished turn: their tree, their times, what they never hold, and a collector that is not there."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import grpc
import opentelemetry.trace
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, SpanKind, StatusCode

from mentalize import Identity, Mind, Trace
from mentalize.errors import ModelUnavailable, StoreUnavailable
from mentalize.llm.model import Choice, Request
from mentalize.llm.scripted import FunctionModel, ScriptedModel
from mentalize.server.telemetry import Telemetry, stage_of
from mentalize.types import CallRecord, Recollection, StageRecord
from social_script import HYPOTHESES, MESSAGE, PERCEPTION, POOR, SCRIPT, WARM

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ANA = Identity("acme", "ana", session="monday")
HURT = "I don't want to be alive anymore."
CALLER = {"Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
UNSAMPLED = {"traceparent": CALLER["Traceparent"].removesuffix("01") + "00"}
STAGES = {
    "validate": "judge",
    "score.feeling": "perceive",
    "score.plausible": "score",
    "score.usual": "score",
    "score.prefer": "choose",
    "score.rubric": "judge",
}
"""Stages of calls that are not named like them, at effort `medium`."""
Build = Callable[..., Mind]


async def spans(trace: Trace, *, conversation: str | None = None, headers: Any = None, **options: Any) -> Spans:
    exporter = InMemorySpanExporter()
    telemetry = Telemetry(exporter, **options)
    telemetry.turn(trace, headers, conversation=conversation)
    await telemetry.close()
    return Spans(exporter.get_finished_spans())


class Spans:
    """The spans of one turn, to be looked at as a tree."""

    def __init__(self, found: Sequence[ReadableSpan]) -> None:
        self.all = found
        self._by_id = {identity(span).span_id: span for span in found}

    @property
    def root(self) -> ReadableSpan:
        (root,) = [span for span in self.all if self.parent(span) is None]
        return root

    @property
    def calls(self) -> list[ReadableSpan]:
        return [span for span in self.all if span.kind is SpanKind.CLIENT]

    @property
    def stages(self) -> list[ReadableSpan]:
        return [span for span in self.all if "mentalize.stage" in attributes(span)]

    def parent(self, span: ReadableSpan) -> ReadableSpan | None:
        return self._by_id.get(span.parent.span_id) if span.parent else None

    def stage(self, name: str) -> ReadableSpan:
        (found,) = [span for span in self.stages if span.name == name]
        return found

    def text(self) -> str:
        return "\n".join(span.to_json() for span in self.all)


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def identity(span: ReadableSpan) -> SpanContext:
    context = span.get_span_context()
    assert context
    return context


def interval(span: ReadableSpan) -> tuple[int, int]:
    assert span.start_time is not None and span.end_time is not None
    return span.start_time, span.end_time


# --- the tree -----------------------------------------------------------------------------------------------


async def test_a_turn_is_one_tree_with_the_times_of_its_trace(mind: Build) -> None:
    trace = (await mind().reply(MESSAGE, effort="medium")).trace
    found = await spans(trace)
    assert len(found.all) == 1 + len(trace.stages) + len(trace.requests)
    assert (found.root.name, found.root.kind, found.root.parent) == ("invoke_agent mentalize", SpanKind.INTERNAL, None)
    begun, ended = interval(found.root)
    assert begun == int(NOON.timestamp()) * 10**9
    assert ended - begun == pytest.approx(trace.seconds * 1e9, abs=1)
    assert [span.name for span in found.stages] == [stage.name for stage in trace.stages]
    assert all(found.parent(span) is found.root for span in found.stages)
    for span, stage in zip(found.stages, trace.stages, strict=True):
        assert interval(span)[0] - begun == pytest.approx(stage.started * 1e9, abs=1)
        assert interval(span)[1] - begun == pytest.approx((stage.started + stage.seconds) * 1e9, abs=1)
    for span in found.all:
        parent = found.parent(span) or found.root
        assert interval(parent)[0] <= interval(span)[0] <= interval(span)[1] <= interval(parent)[1]
        assert span.resource.attributes["service.name"] == "mentalize"


@pytest.mark.parametrize("effort", ["none", "minimal", "low", "medium", "high"])
async def test_every_call_is_under_the_stage_that_made_it(mind: Build, effort: str) -> None:
    # A repair begins while the stages beside its own still run.
    script = {"write": ["Okay, bye.", WARM], "validate": ["no JSON", POOR], "perceive": ["no JSON", PERCEPTION]}
    trace = (await mind(model=unhurried(ScriptedModel({**SCRIPT, **script}))).reply(MESSAGE, effort=effort)).trace
    await check_places(trace)
    if effort == "high":
        assert trace.revisions == 1, "two rounds of the same stages"


async def test_scorings_are_under_their_stages_too(mind: Build) -> None:
    def answer(request: Request) -> Any:
        if isinstance(request.format, Choice):
            return dict.fromkeys(request.format.options, 1 / len(request.format.options))
        return SCRIPT[request.purpose]

    trace = (await mind(model=unhurried(FunctionModel(answer)), choosing=True).reply(MESSAGE, effort="medium")).trace
    assert {record.purpose for record in trace.requests if record.scoring} == {
        purpose for purpose in STAGES if purpose.startswith("score.")
    }
    await check_places(trace)


@pytest.mark.parametrize(
    ("purpose", "stage"),
    [("validate", "judge"), ("validate.repair", "judge"), ("score.feeling", "perceive"), ("score.rubric", "judge")],
)
def test_a_call_belongs_to_its_own_stage_whichever_began_last(purpose: str, stage: str) -> None:
    stages = [StageRecord(name=stage, started=0, seconds=1), StageRecord(name="beside", started=0.1, seconds=1)]
    record = CallRecord(purpose=purpose, role="judge", model="", scoring=False, depth=1, started=0.5, seconds=0.1)
    assert stage_of(record, stages) == 0
    assert stage_of(replace(record, purpose="unheard of"), stages) == 1
    assert stage_of(replace(record, started=2), stages) is None


def unhurried(model: FunctionModel) -> FunctionModel:
    """A model that takes longest for the stages beside those that ask twice."""

    async def answer(request: Request) -> Any:
        await asyncio.sleep(0.05 if request.purpose in ("hypothesise", "foresee", "gate") else 0.005)
        return await model.complete(request)

    return FunctionModel(answer)


async def check_places(trace: Trace) -> None:
    found = await spans(trace)
    assert len(found.calls) == len(trace.requests) > 0
    for span in found.calls:
        purpose = attributes(span)["mentalize.purpose"].removesuffix(".repair")
        stage = found.parent(span)
        assert stage in found.stages and stage.name == STAGES.get(purpose, purpose)
        assert interval(stage)[0] <= interval(span)[0] <= interval(stage)[1]


async def test_attributes_are_those_of_the_conventions(mind: Build) -> None:
    trace = (await mind().reply(MESSAGE, effort="medium")).trace
    models = {"reason": "hosted_vllm/qwen3", "judge": "gemini/flash", "write": "openai/gpt-5"}
    found = await spans(trace, models=models, conversation="monday")
    root = attributes(found.root)
    assert root["gen_ai.operation.name"] == "invoke_agent"
    assert root["gen_ai.agent.name"] == root["gen_ai.provider.name"] == "mentalize"
    assert root["gen_ai.request.model"] == "gpt-5"
    assert root["gen_ai.conversation.id"] == "monday"
    assert root["gen_ai.usage.input_tokens"] == trace.usage.prompt_tokens > 0
    assert root["gen_ai.usage.output_tokens"] == trace.usage.completion_tokens > 0
    assert (root["mentalize.effort"], root["mentalize.reason"], root["mentalize.calls"]) == ("medium", "asked", 8)
    asked = {
        attributes(span)["mentalize.role"]: (attributes(span)["gen_ai.provider.name"], span.name)
        for span in found.calls
    }
    assert asked == {
        "reason": ("vllm", "chat qwen3"),
        "judge": ("gcp.gemini", "chat flash"),
        "write": ("openai", "chat gpt-5"),
    }
    call, record = attributes(found.calls[0]), trace.requests[0]
    assert call["gen_ai.operation.name"] == "chat"
    assert call["gen_ai.response.model"] == record.model == "fake"
    assert call["gen_ai.usage.input_tokens"] == record.usage.prompt_tokens
    assert call["gen_ai.output.type"] == "json"
    assert found.root.status.status_code is StatusCode.UNSET


async def test_without_model_strings_a_call_is_named_by_who_answered(mind: Build) -> None:
    found = await spans((await mind().reply(MESSAGE, effort="none")).trace)
    assert [span.name for span in found.calls] == ["chat fake"]


# --- what failed ----------------------------------------------------------------------------------------------


async def test_a_failure_is_marked_by_its_type_alone(mind: Build) -> None:
    failing = ModelUnavailable("It fell over at 'Go without me'.")
    found = await spans((await mind({"foresee": failing}).reply(MESSAGE, effort="medium")).trace)
    failed = [span for span in found.all if span.status.status_code is StatusCode.ERROR]
    assert sorted(span.name for span in failed) == ["chat fake", "foresee"]
    for span in failed:
        assert attributes(span)["error.type"] == "ModelUnavailable"
        assert span.status.description is None and not span.events
    assert "gen_ai.response.model" not in attributes(next(span for span in failed if span.kind is SpanKind.CLIENT))
    assert "fell over" not in found.text()


async def test_a_late_stage_is_a_timeout(mind: Build) -> None:
    script = ScriptedModel(SCRIPT)

    async def slow(request: Request) -> Any:
        await asyncio.sleep(5 if request.purpose == "foresee" else 0)
        return (await script.complete(request)).text

    found = await spans(
        (await mind(model=FunctionModel(slow), stage_seconds=0.5).reply(MESSAGE, effort="medium")).trace
    )
    assert attributes(found.stage("foresee"))["error.type"] == "timeout"


@pytest.mark.parametrize(
    ("problem", "kind"), [(OSError("ana's disk"), "OSError"), (StoreUnavailable("ana's database"), "_OTHER")]
)
async def test_a_fault_outside_of_any_call_has_its_type_where_it_is_known(
    mind: Build, problem: Exception, kind: str
) -> None:
    class Broken:
        async def recall(self, identity: Identity, text: str, *, at: datetime, limit: int) -> Recollection:
            raise problem

    found = await spans((await mind(store=Broken()).reply(MESSAGE, ANA, effort="low")).trace)
    assert attributes(found.stage("recall"))["error.type"] == kind
    assert "ana's" not in found.text()


# --- contents -------------------------------------------------------------------------------------------------


async def test_what_people_and_models_write_is_in_no_span(mind: Build) -> None:
    one = mind(country="US")
    for text, effort in (("My cat is called Miso.", "medium"), ("Who is Miso?", "minimal"), (HURT, "high")):
        trace = (await one.reply(text, ANA, effort=effort)).trace
        shown = (await spans(trace)).text()
        for private in (text, "Miso", "ana", "acme", "monday", trace.reply, "being left out", "messages"):
            assert private not in shown.replace("mentalize", ""), private


async def test_contents_are_written_where_they_are_asked_for(mind: Build) -> None:
    trace = (await mind().reply(MESSAGE, effort="medium")).trace
    found = await spans(trace, contents=True)
    assert json.loads(attributes(found.root)["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": MESSAGE}]}
    ]
    assert json.loads(attributes(found.root)["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": [{"type": "text", "content": WARM}], "finish_reason": "stop"}
    ]
    place = next(index for index, record in enumerate(trace.requests) if record.purpose == "hypothesise")
    call = attributes(found.calls[place])
    sent = json.loads(call["gen_ai.input.messages"])
    assert [message["parts"][0]["content"] for message in sent] == [m.text for m in trace.requests[place].messages]
    (made,) = json.loads(call["gen_ai.output.messages"])
    assert json.loads(made["parts"][0]["content"]) == HYPOTHESES


async def test_tool_calls_are_told_and_pictures_are_not(mind: Build) -> None:
    call = {"id": "call-1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Cork"}'}}
    talk = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Here?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,SECRET"}},
            ],
        },
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call-1", "content": "rain"},
        {"role": "assistant", "content": "Well.", "tool_calls": "not a list"},
        {"role": "user", "content": "And a lone surrogate: \ud800"},
    ]
    found = await spans((await mind().reply(talk, effort="none")).trace, contents=True)
    (span,) = found.calls
    parts = [message["parts"] for message in json.loads(attributes(span)["gen_ai.input.messages"])]
    assert parts[0] == [{"type": "text", "content": "Here?"}, {"type": "image_url"}]
    assert parts[1][1] == {"type": "tool_call", "id": "call-1", "name": "weather", "arguments": '{"city": "Cork"}'}
    assert parts[2] == [{"type": "tool_call_response", "id": "call-1", "response": "rain"}]
    assert parts[3] == [{"type": "text", "content": "Well."}]
    assert "SECRET" not in found.text()


# --- the caller -------------------------------------------------------------------------------------------------


async def test_the_callers_span_is_the_parent(mind: Build) -> None:
    found = await spans((await mind().reply(MESSAGE, effort="low")).trace, headers=CALLER)
    assert found.root.parent and f"{found.root.parent.span_id:016x}" == "b7ad6b7169203331"
    assert {f"{identity(span).trace_id:032x}" for span in found.all} == {"0af7651916cd43dd8448eb211c80319c"}


async def test_a_caller_who_is_not_traced_gets_no_spans(mind: Build) -> None:
    assert not (await spans((await mind().reply(MESSAGE, effort="low")).trace, headers=UNSAMPLED)).all


@pytest.mark.parametrize("header", ["", "00-zz-01", "\ud800", "x" * 10_000])
async def test_a_malformed_header_is_no_parent(mind: Build, header: str) -> None:
    found = await spans((await mind().reply(MESSAGE, effort="none")).trace, headers={"traceparent": header})
    assert found.root.parent is None


async def test_nobody_elses_spans_go_our_way_nor_ours_theirs(mind: Build) -> None:
    exporter = InMemorySpanExporter()
    telemetry = Telemetry(exporter)
    with opentelemetry.trace.get_tracer("somebody.else").start_as_current_span("theirs"):
        # With a memory: Chroma has spans of its own around everything that it does.
        one = mind()
        trace = (await one.reply(MESSAGE, ANA, effort="low")).trace
        assert await one.settle() == ()
        telemetry.turn(trace)
        assert not opentelemetry.trace.get_current_span().is_recording()
    await telemetry.close()
    found = exporter.get_finished_spans()
    assert len(found) == 1 + len(trace.stages) + len(trace.requests)
    assert {span.instrumentation_scope.name for span in found if span.instrumentation_scope} == {"mentalize"}


# --- the collector ----------------------------------------------------------------------------------------------


class Collector(TraceServiceServicer):
    """An OTLP collector that keeps what it gets."""

    def __init__(self) -> None:
        self.received: list[ExportTraceServiceRequest] = []

    def Export(self, request: Any, context: Any) -> ExportTraceServiceResponse:  # noqa: N802
        self.received.append(request)
        return ExportTraceServiceResponse()


@pytest.fixture
def collector() -> Iterator[tuple[Collector, str]]:
    service = Collector()
    server = grpc.server(ThreadPoolExecutor(max_workers=1))
    add_TraceServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield service, f"http://127.0.0.1:{port}"
    server.stop(None).wait()


async def test_spans_arrive_over_a_socket(
    mind: Build, collector: tuple[Collector, str], caplog: pytest.LogCaptureFixture
) -> None:
    service, address = collector
    trace = (await mind().reply(MESSAGE, effort="low")).trace
    telemetry = Telemetry(address, models={"write": "openai/odd\ud800"}, contents=True)
    telemetry.turn(trace, CALLER, conversation="odd\ud800")
    await telemetry.close()
    (resource,) = [spans for request in service.received for spans in request.resource_spans]
    assert read(resource.resource)["service.name"] == "mentalize"
    sent = [span for scope in resource.scope_spans for span in scope.spans]
    assert sorted(span.name for span in sent) == sorted(
        ["invoke_agent mentalize", *(stage.name for stage in trace.stages), "chat fake", "chat odd?"]
    )
    assert {span.trace_id.hex() for span in sent} == {"0af7651916cd43dd8448eb211c80319c"}
    root = read(next(span for span in sent if span.name.startswith("invoke_agent")))
    assert (root["gen_ai.conversation.id"], root["gen_ai.request.model"]) == ("odd?", "odd?")
    assert not caplog.records


def read(described: Any) -> dict[str, str]:
    """The texts among the attributes of a span or resource, as they were sent."""
    return {pair.key: pair.value.string_value for pair in described.attributes}


@pytest.fixture(params=["refuses", "is silent"])
def nobody(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a collector that is not there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        if request.param == "is silent":
            taken.listen()
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


async def test_a_collector_that_is_not_there_costs_a_turn_nothing(
    mind: Build,
    nobody: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    trace = (await mind().reply(MESSAGE, effort="low")).trace
    telemetry = Telemetry(nobody)
    began = time.perf_counter()
    for _ in range(20):
        telemetry.turn(trace)
    assert time.perf_counter() - began < 1
    await asyncio.sleep(0.1)
    began = time.perf_counter()
    await telemetry.close(within=0.2)
    assert time.perf_counter() - began < 2
    wait_until(lambda: "spans_not_sent" in caplog.text)
    warned = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.name for record in warned] == ["mentalize.server"], "one line, and none of the library's"
    assert warned[0].exc_info is None
    assert "Traceback" not in "".join(capfd.readouterr())
    await telemetry.close()


class Flaky(SpanExporter):
    """Fails twice, each time in its own way, then works."""

    def __init__(self) -> None:
        self.asked = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked += 1
        if self.asked == 1:
            raise RuntimeError("a message with contents")
        return SpanExportResult.FAILURE if self.asked == 2 else SpanExportResult.SUCCESS


async def test_a_collector_that_comes_back_is_told_of_once(
    mind: Build, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "5")
    caplog.set_level(logging.INFO, logger="mentalize.server")
    trace = (await mind().reply(MESSAGE, effort="none")).trace
    exporter = Flaky()
    telemetry = Telemetry(exporter)
    for number in range(1, 5):
        telemetry.turn(trace)
        wait_until(lambda number=number: exporter.asked >= number)
    await telemetry.close()
    said = [record.getMessage() for record in caplog.records if record.name == "mentalize.server"]
    assert len(said) == 2 and "spans_not_sent" in said[0] and "spans_sent_again" in said[1]
    assert "RuntimeError" in said[0] and "contents" not in caplog.text


async def test_other_users_of_the_library_keep_its_log(caplog: pytest.LogCaptureFixture) -> None:
    await Telemetry("http://127.0.0.1:9").close()
    logging.getLogger("opentelemetry.exporter.otlp.proto.grpc.exporter").warning("Somebody else's trouble.")
    assert "Somebody else's trouble." in caplog.text


def wait_until(true: Callable[[], bool]) -> None:
    """Spans are sent by a thread of its own, so that waiting may block."""
    deadline = time.monotonic() + 4
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)

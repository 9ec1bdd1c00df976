"""What Prometheus reads: counted from real turns, without anybody's name, and together over several processes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import TypeAdapter

from mentalize import Identity, Mind, Trace
from mentalize.errors import ModelUnavailable, SettingsError
from mentalize.llm.scripted import fake_model
from mentalize.server.metrics import FOLDER_VARIABLE, Metrics, mark_dead
from mentalize.types import Effort, Usage
from social_script import HYPOTHESES, MESSAGE, PERCEPTION, SAFE, WARM, fact, told

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ANA = Identity("acme", "ana", session="monday")
HURT = "I don't want to be alive anymore."
Build = Callable[..., Mind]
Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def read(exposition: str) -> Samples:
    return {
        (sample.name.removeprefix("mentalize_"), frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
    }


class Counted:
    """What the metrics say after some turns."""

    def __init__(self, *traces: Trace) -> None:
        metrics = Metrics()
        for trace in traces:
            metrics.turn(trace)
        self.samples = read(metrics.exposition()[0].decode())

    def __call__(self, name: str, **labels: str) -> float | None:
        return self.samples.get((name, frozenset(labels.items())))

    def all(self, name: str, label: str) -> dict[str, float]:
        """Every value of `name` by one of its labels, summed over the others."""
        found: dict[str, float] = {}
        for (sample, labels), value in self.samples.items():
            if sample == name:
                key = dict(labels)[label]
                found[key] = found.get(key, 0) + value
        return found


# --- turns ----------------------------------------------------------------------------------------------------


async def test_a_turn_is_counted_as_its_trace_tells_it(mind: Build) -> None:
    trace = (await mind().reply(MESSAGE, effort="medium")).trace
    counted = Counted(trace, trace)
    assert counted("turns_total", effort="medium", reason="asked") == 2
    assert counted("turn_duration_seconds_sum", effort="medium") == pytest.approx(2 * trace.seconds)
    assert counted.all("stage_duration_seconds_count", "stage") == {stage.name: 2 for stage in trace.stages}
    assert counted.all("model_calls_total", "outcome") == {"answered": 2 * trace.calls}
    assert counted.all("model_calls_total", "role") == {"reason": 10, "judge": 4, "write": 2}
    assert counted.all("tokens_total", "kind") == {
        "prompt": 2 * trace.usage.prompt_tokens,
        "completion": 2 * trace.usage.completion_tokens,
    }
    assert counted("structured_answers_total") == 2 * trace.structured.answers == 14
    assert counted.all("replies_total", "origin") == {"writer": 2}
    assert not {"fail_opens_total", "gates_failed_total", "model_scorings_total"} & {
        name for name, _ in counted.samples
    }
    for zero in ("losses_total", "revisions_total", "structured_repairs_total", "structured_failures_total"):
        assert counted(zero) == 0, zero


async def test_a_stage_that_fails_open_is_counted_by_its_name(mind: Build) -> None:
    counted = Counted((await mind({"foresee": ModelUnavailable("Gone.")}).reply(MESSAGE, effort="medium")).trace)
    assert counted.all("fail_opens_total", "stage") == {"foresee": 1}
    assert counted("model_calls_total", role="reason", outcome="failed") == 1
    assert counted("losses_total") == 0


async def test_what_is_lost_beside_what_succeeded_is_no_fail_open(mind: Build) -> None:
    script = {"hypothesise": [ModelUnavailable("Gone."), HYPOTHESES]}
    counted = Counted((await mind(script).reply(MESSAGE, effort="high")).trace)
    assert counted("losses_total") == 1
    assert not counted.all("fail_opens_total", "stage")


async def test_repaired_and_lost_json_is_counted(mind: Build) -> None:
    script = {"perceive": ["no JSON", PERCEPTION], "foresee": "never JSON"}
    counted = Counted((await mind(script).reply(MESSAGE, effort="medium")).trace)
    assert counted("structured_answers_total") == 7
    assert counted("structured_repairs_total") == 2
    assert counted("structured_failures_total") == 1


async def test_failed_gates_and_revisions_are_counted(mind: Build) -> None:
    pushy = {**SAFE, "manipulates": True, "critique": "It pushes."}
    trace = (
        await mind({"write": ["Stay or else.", WARM], "gate": [pushy, SAFE]}).reply(MESSAGE, effort="medium")
    ).trace
    counted = Counted(trace)
    assert counted.all("gates_failed_total", "gate") == {"does not manipulate": 1}
    assert counted("revisions_total") == 1


async def test_scorings_are_counted_apart_from_calls(mind: Build) -> None:
    trace = (await mind(model=fake_model(), choosing=True).reply(MESSAGE)).trace
    counted = Counted(trace)
    assert sum(counted.all("model_scorings_total", "role").values()) == trace.scorings > 0
    assert sum(counted.all("model_calls_total", "role").values()) == trace.calls


async def test_recall_is_timed_only_where_there_was_a_memory(mind: Build) -> None:
    without = (await mind().reply(MESSAGE, effort="low")).trace
    assert Counted(without)("recall_duration_seconds_count") == 0
    trace = (await mind().reply(MESSAGE, ANA, effort="low")).trace
    counted = Counted(without, trace)
    assert counted("recall_duration_seconds_count") == 1
    assert counted("recall_duration_seconds_sum") == next(s.seconds for s in trace.stages if s.name == "recall")


@pytest.mark.parametrize(
    ("message", "request_fields", "effort", "reason"),
    [
        (MESSAGE, {}, "medium", "ordinary"),
        (MESSAGE, {"effort": "low"}, "low", "asked"),
        (MESSAGE, {"effort": "none"}, "none", "asked"),
        ("Hello!", {}, "minimal", "small talk"),
        ("### Task:\nGenerate a title for this chat.", {}, "none", "side task"),
        (f"Write a title for this chat: {HURT}", {}, "medium", "danger"),
        (MESSAGE, {"logprobs": True}, "none", "pass-through"),
    ],
)
async def test_every_reason_of_the_router_has_its_class(
    mind: Build, message: str, request_fields: dict[str, Any], effort: str, reason: str
) -> None:
    trace = (await mind(country="US").reply(message, **request_fields)).trace
    assert Counted(trace)("turns_total", effort=effort, reason=reason) == 1


async def test_a_turn_that_got_less_than_was_asked_for_says_so(mind: Build) -> None:
    turn = await mind().begin(MESSAGE, effort="medium", at_most=Effort.MINIMAL)
    counted = Counted((await turn.reply()).trace)
    assert counted("turns_total", effort="minimal", reason="saturated") == 1


@pytest.mark.parametrize(
    ("script", "message", "fields", "origin"),
    [
        ({}, HURT, {"effort": "medium"}, "referral"),
        ({}, MESSAGE, {"effort": "none"}, "passed through"),
        ({"write": [ModelUnavailable("Gone."), "Plain."]}, MESSAGE, {"effort": "medium"}, "plain"),
        ({"write": " "}, MESSAGE, {"effort": "medium"}, "fallback"),
    ],
)
async def test_replies_are_counted_by_who_wrote_them(
    mind: Build, script: Any, message: str, fields: dict[str, Any], origin: str
) -> None:
    counted = Counted((await mind(script, country="US").reply(message, **fields)).trace)
    assert counted.all("replies_total", "origin") == {origin: 1}


async def test_nothing_personal_is_a_label(mind: Build) -> None:
    told_facts = told(fact("My cat is called Miso."))
    one = mind({"remember": told_facts, "write": "Tell me of Miso."}, country="US")
    traces = [
        (await one.reply(text, ANA, effort=effort)).trace
        for text, effort in (("My cat is called Miso.", "medium"), ("Who is Miso?", "minimal"), (HURT, "high"))
    ]
    metrics = Metrics()
    for trace in traces:
        metrics.turn(trace)
    shown = metrics.exposition()[0].decode().lower()
    for private in ("ana", "acme", "monday", "miso", "alive", traces[0].turn_id):
        assert not any(private in str(value) for _, labels in read(shown) for value in dict(labels).values()), private


# --- the server's own counts ------------------------------------------------------------------------------------


def test_requests_streams_and_relayed_answers_are_counted() -> None:
    metrics = Metrics(queue_depth=lambda: 3)
    metrics.request("/v1/chat/completions", "POST", 200, 1.5)
    metrics.request("/v1/chat/completions", "BREW", 405, 0.01)
    metrics.first_byte(0.2)
    metrics.relayed(Usage(10, 4))
    metrics.relayed(None)
    metrics.degraded("refused")
    metrics.limited("tokens")
    metrics.disconnected()
    with metrics.in_flight(), metrics.in_flight():
        during = read(metrics.exposition()[0].decode())
    after = read(metrics.exposition()[0].decode())

    def value(name: str, **labels: str) -> float:
        return after[name, frozenset(labels.items())]

    route = "/v1/chat/completions"
    assert value("http_requests_total", method="POST", route=route, status="200") == 1
    assert value("http_requests_total", method="other", route=route, status="405") == 1
    assert value("http_request_duration_seconds_sum", route=route) == pytest.approx(1.51)
    assert value("http_request_duration_seconds_bucket", route=route, le="1.0") == 1
    assert value("stream_first_byte_seconds_count") == 1
    assert value("relayed_total") == 2
    assert value("tokens_total", role="relay", kind="prompt") == 10
    assert value("degraded_turns_total", level="refused") == 1
    assert value("degraded_turns_total", level="minimal") == 0
    assert value("rate_limited_total", limit="tokens") == 1
    assert value("rate_limited_total", limit="concurrent") == 0
    assert value("disconnects_total") == 1
    assert value("background_queue_depth") == 3
    assert during["turns_in_flight", frozenset()] == 2 and value("turns_in_flight") == 0


def test_a_turn_that_raises_is_no_longer_in_flight() -> None:
    metrics = Metrics()
    with pytest.raises(ModelUnavailable), metrics.in_flight():
        raise ModelUnavailable("Gone.")
    assert read(metrics.exposition()[0].decode())["turns_in_flight", frozenset()] == 0


def test_two_objects_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.disconnected()
    assert read(other.exposition()[0].decode())["disconnects_total", frozenset()] == 0


def test_every_metric_is_ours_has_help_and_a_name_by_the_rules() -> None:
    families = list(text_string_to_metric_families(Metrics().exposition()[0].decode()))
    assert len(families) > 20
    for family in families:
        assert family.name.startswith("mentalize_")
        assert family.documentation
        if family.type == "histogram":
            assert family.name.endswith("_seconds")


def test_the_documentation_names_every_metric_and_no_other() -> None:
    text = (Path(__file__).parent.parent / "docs" / "monitoring.md").read_text(encoding="utf-8")
    families = text_string_to_metric_families(Metrics().exposition()[0].decode())
    ours = {
        family.name.removeprefix("mentalize_") + "_total" * (family.type == "counter")
        for family in families
        if not family.name.endswith("_created")
    }
    described = {
        name for row in re.findall(r"^\| (`.+?) \|", text, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert described == ours
    asked_for = set(re.findall(r"mentalize_(\w+)[\[{]", text))
    assert asked_for and {re.sub("_bucket$", "", name) for name in asked_for} <= ours


def test_a_scraper_may_ask_for_openmetrics() -> None:
    body, content_type = Metrics().exposition("application/openmetrics-text;version=1.0.0")
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert body.endswith(b"# EOF\n")
    assert Metrics().exposition()[1].startswith("text/plain; version=0.0.4")


# --- several processes ------------------------------------------------------------------------------------------

WORKER = """
import sys
from pydantic import TypeAdapter
from mentalize.server.metrics import Metrics
from mentalize.types import Trace

metrics = Metrics(queue_depth=lambda: int(sys.argv[1]))
metrics.turn(TypeAdapter(Trace).validate_json(sys.stdin.readline()))
with metrics.in_flight():
    print("counted", flush=True)
    for _ in sys.stdin:
        print(metrics.exposition()[0].decode() + "# END", flush=True)
"""


class Worker:
    """A process that counts one turn, stays in a second one, and shows everybody's metrics on request."""

    def __init__(self, folder: Path, trace: Trace, *, queue: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(queue)],
            env={**os.environ, FOLDER_VARIABLE: str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._say(TypeAdapter(Trace).dump_json(trace).decode())

    def has_counted(self) -> bool:
        return self._hear() == "counted\n"

    def shown(self) -> Samples:
        self._say("show")
        lines: list[str] = []
        while (line := self._hear()) not in ("# END\n", ""):
            lines.append(line)
        return read("".join(lines))

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def _say(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def _hear(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline()


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Callable[[Trace, int], Worker]]:
    folder = tmp_path / "metrics"
    folder.mkdir()
    started: list[Worker] = []

    def start(trace: Trace, queue: int) -> Worker:
        started.append(Worker(folder, trace, queue=queue))
        return started[-1]

    yield start
    for worker in started:
        worker.kill()


async def test_processes_show_what_all_of_them_counted(
    mind: Build, workers: Callable[[Trace, int], Worker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = (await mind().reply(MESSAGE, effort="low")).trace
    one, other = workers(trace, 2), workers(trace, 5)
    assert one.has_counted() and other.has_counted()
    turns = ("turns_total", frozenset({"effort": "low", "reason": "asked"}.items()))
    built = next(key for key in one.shown() if key[0] == "build_info")

    shown = one.shown()
    assert shown == other.shown(), "whoever is asked says the same"
    assert shown[turns] == 2
    assert shown["turn_duration_seconds_sum", frozenset({("effort", "low")})] == pytest.approx(2 * trace.seconds)
    assert (shown["turns_in_flight", frozenset()], shown["background_queue_depth", frozenset()]) == (2, 7)
    assert shown[built] == 1 and dict(built[1])["version"] == version("mentalize")

    other.kill()
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "metrics"))
    mark_dead(other.process.pid)
    shown = one.shown()
    assert shown[turns] == 2, "what a process counted outlives it"
    assert (shown["turns_in_flight", frozenset()], shown["background_queue_depth", frozenset()]) == (1, 2)


def test_a_variable_that_comes_too_late_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(SettingsError, match="before the process starts"):
        Metrics()


def test_a_folder_that_is_missing_is_an_error(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from mentalize.server.metrics import Metrics; Metrics()"],
        env={**os.environ, FOLDER_VARIABLE: str(tmp_path / "nowhere")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "SettingsError" in done.stderr and "which is no folder" in done.stderr


def test_where_there_is_one_process_nobody_needs_to_be_marked_dead() -> None:
    mark_dead(1)


def test_importing_costs_neither_library() -> None:
    program = (
        "import sys, mentalize.server.metrics, mentalize.server.telemetry;"
        "print([name for name in ('prometheus_client', 'opentelemetry', 'grpc') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

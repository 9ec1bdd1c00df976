"""The embedded model itself: constrained answers, log-probabilities, cancelling, prefix reuse, several event loops."""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, Field

from mentalize.errors import ModelNotFound, ModelRefused, ModelUnavailable
from mentalize.llm import weights
from mentalize.llm.embedded import Answer, EmbeddedModel, resolve_embedded
from mentalize.llm.model import Choice, Delta, JsonFormat, Request, StructuredMode
from mentalize.types import Usage, system, user

CONTEXT = 2048
STORY = "The evening was long and the rain did not stop. " * 40


class Evidence(BaseModel):
    words: str = Field(max_length=20)
    kind: Literal["belief", "desire"]


class Reading(BaseModel):
    feeling: Literal["sad", "glad", "cross"]
    strength: int = Field(ge=3, le=7)
    score: float = Field(ge=0, le=1)
    evidence: list[Evidence] = Field(min_length=1, max_length=2)


def question(text: str, **fields: object) -> Request:
    return Request(messages=(user(text),), **{"temperature": 0.0, "max_tokens": 40, **fields})  # pyright: ignore[reportArgumentType]


async def test_a_missing_file_is_an_error_at_the_first_question(tmp_path: Path):
    model = EmbeddedModel(tmp_path / "absent.gguf")
    with pytest.raises(ModelNotFound, match="no model file"):
        await model.complete(question("Hello"))
    await model.close()
    await model.close()


async def test_a_closed_model_says_so(tmp_path: Path):
    model = EmbeddedModel(tmp_path / "absent.gguf")
    await model.close()
    with pytest.raises(ModelUnavailable, match="was closed"):
        await model.complete(question("Hello"))


local_model = pytest.mark.local_model


@pytest.fixture(scope="module")
def embedded_file() -> Path:
    """The packaged model, in the user's cache: put together once for this machine."""
    return weights.ensure(weights.DEFAULT)


@pytest.fixture(scope="module")
def model(embedded_file: Path) -> Iterator[EmbeddedModel]:
    """One model for all tests of this file, each of which has an event loop of its own."""
    embedded = EmbeddedModel(embedded_file, context=CONTEXT)
    yield embedded
    asyncio.run(embedded.close())


@local_model
async def test_a_file_that_is_no_model_cannot_be_loaded(tmp_path: Path):
    file = tmp_path / "broken.gguf"
    file.write_bytes(b"GGUF" + bytes(100))
    broken = EmbeddedModel(file)
    with pytest.raises(ModelUnavailable, match="cannot be loaded"):
        await broken.complete(question("Hello"))
    await broken.close()


@local_model
async def test_answers_keep_to_the_schema_even_when_sampled_hot(model: EmbeddedModel):
    form = JsonFormat("reading", Reading.model_json_schema(), StructuredMode.GRAMMAR)
    for seed in range(4):
        hot = question("Read this: I'm fine. Go without me.", format=form, temperature=1.3, seed=seed, max_tokens=200)
        completion = await model.complete(hot)
        value = json.loads(completion.text)
        Reading.model_validate(value)
        assert value.keys() == Reading.model_fields.keys()
        assert '": ' not in completion.text
        assert "\n" not in completion.text


@local_model
async def test_a_choice_is_one_of_its_options_and_has_log_probabilities(model: EmbeddedModel):
    options = ("the sky", 'a "red" car', "nothing")
    completion = await model.complete(question("What is blue?", format=Choice(options), max_tokens=None))
    assert completion.text in options
    likely = completion.logprobs[0]
    assert len(likely) == 20
    assert [item.logprob for item in likely] == sorted((item.logprob for item in likely), reverse=True)
    assert all(item.logprob <= 0 for item in likely)


@local_model
async def test_a_shared_prefix_is_read_once(model: EmbeddedModel):
    def asked(tail: str) -> Request:
        return Request(messages=(system(STORY), user(tail)), max_tokens=1, format=Choice(("A", "B")))

    first = await model.complete(asked("Was it raining? A: yes. B: no."))
    second = await model.complete(asked("Was it a short evening? A: yes. B: no."))
    assert second.usage.cached_tokens > 0.8 * second.usage.prompt_tokens
    assert first.usage.cached_tokens < second.usage.cached_tokens
    other = await model.complete(question("Something else altogether, with another beginning."))
    again = await model.complete(asked("Did it stop? A: yes. B: no."))
    assert other.usage.cached_tokens < 100
    assert again.usage.cached_tokens > 0.8 * again.usage.prompt_tokens, "the prefix did not survive another prompt"


@local_model
async def test_a_stream_is_live_and_ends_with_usage(model: EmbeddedModel):
    deltas: list[Delta] = []
    times: list[float] = []
    async for delta in model.stream(question("Count from one to ten in words.")):
        deltas.append(delta)
        times.append(time.monotonic())
    text = "".join(delta.text for delta in deltas)
    assert "three" in text.lower()
    assert deltas[-1].finish_reason in ("stop", "length")
    assert deltas[-1].usage is not None
    assert deltas[-1].usage.completion_tokens >= len(deltas) - 3
    assert times[-1] - times[0] > 5 * (times[2] - times[1]), "the pieces came all at once"


@local_model
async def test_closing_a_stream_stops_the_generation(model: EmbeddedModel):
    endless = question("Write a very long story.", max_tokens=1500)
    async with contextlib.aclosing(model.stream(endless)) as stream:
        async for delta in stream:
            if delta.text:
                break
    started = time.monotonic()
    await model.complete(question("Hello", max_tokens=1))
    assert time.monotonic() - started < 8, "the story went on"


@local_model
async def test_cancelling_stops_what_runs_and_forgets_what_waits(model: EmbeddedModel):
    await model.load()  # Else there is nothing yet that runs, and loading is what takes the time.
    tasks = [asyncio.create_task(model.complete(question(f"Story {n}. {STORY}", max_tokens=1000))) for n in range(5)]
    await asyncio.sleep(0.2)
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    started = time.monotonic()
    await model.complete(question("Hello", max_tokens=1))
    assert time.monotonic() - started < 8


@local_model
async def test_the_event_loop_goes_on_while_the_model_works(model: EmbeddedModel):
    await model.load()
    gaps: list[float] = []

    async def tick() -> None:
        while True:
            started = time.monotonic()
            await asyncio.sleep(0.01)
            gaps.append(time.monotonic() - started)

    ticking = asyncio.create_task(tick())
    await model.complete(question(f"Sum up: {STORY[:1500]}", max_tokens=20))
    ticking.cancel()
    assert len(gaps) > 20
    assert max(gaps) < 0.5


@local_model
def test_several_event_loops_share_one_model(model: EmbeddedModel):
    answers: dict[int, str] = {}

    def work(number: int) -> None:
        completion = asyncio.run(model.complete(question("Say hello.", max_tokens=5)))
        answers[number] = completion.text

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(answers) == 3
    assert all(answers.values())


@local_model
async def test_a_request_longer_than_the_context_is_refused_with_a_hint(model: EmbeddedModel):
    with pytest.raises(ModelRefused, match=rf"takes {CONTEXT}\. Shorten"):
        await model.complete(question("word " * (CONTEXT + 100)))
    assert (await model.complete(question("Hello", max_tokens=2))).text


@local_model
@pytest.mark.parametrize(
    "request_",
    [
        question("half a pair: \ud800"),
        question("Hello", parameters={"top_k": "many"}),
        question("Hello", parameters={"n": 50}),
    ],
    ids=["surrogate", "parameter", "answers"],
)
async def test_what_the_runtime_cannot_take_is_refused(model: EmbeddedModel, request_: Request):
    with pytest.raises(ModelRefused):
        await model.complete(request_)


@local_model
async def test_a_client_reaches_only_the_sampling(model: EmbeddedModel):
    reached = {"grammar": 'root ::= "no"', "n_predict": 1, "id_slot": 7}
    plain = await model.complete(question("Say hello.", max_tokens=4))
    assert (await model.complete(question("Say hello.", max_tokens=4, parameters=reached))).text == plain.text


def test_streamed_tool_calls_are_put_together():
    """The packaged model writes its calls as text, so this is shown on pieces as a tool-trained model streams them."""
    answer = Answer()
    for delta in (
        {"role": "assistant", "content": None},
        {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "get_", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"name": "weather", "arguments": '{"city":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '"Paris"}'}}]},
        {"tool_calls": [{"index": 1, "id": "c2", "type": "function", "function": {"name": "now", "arguments": "{}"}}]},
    ):
        answer.add({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    answer.add({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    answer.add({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}})
    completion = answer.completion("embedded")
    assert completion.finish_reason == "tool_calls"
    assert completion.usage == Usage(7, 3)
    assert completion.message["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'}},
        {"id": "c2", "type": "function", "function": {"name": "now", "arguments": "{}"}},
    ]


@local_model
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads Linux's table of sockets")
async def test_nothing_listens_for_others(model: EmbeddedModel):
    await model.load()
    own = {str(entry.readlink()) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()}
    listening = [
        line.split()[9]
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        if line.split()[3] == "0A"
    ]
    assert not {f"socket:[{inode}]" for inode in listening} & own


@local_model
async def test_the_packaged_model_is_found_or_put_together(embedded_file: Path):
    assert embedded_file.stat().st_size == 1_117_320_768
    model = resolve_embedded("embedded/qwen2.5-coder-1.5b", embedded_file.parent)
    assert (await model.capabilities()).logprobs
    await model.close()

"""Retry, time-out, concurrency limit and cache around scripted models and a real server."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from mentalize.errors import (
    InputError,
    MalformedAnswer,
    ModelError,
    ModelRateLimited,
    ModelTimeout,
    ModelUnauthorized,
    ModelUnavailable,
)
from mentalize.llm.cache import CachedModel
from mentalize.llm.http import OpenAICompatibleModel
from mentalize.llm.limit import LimitedModel
from mentalize.llm.model import Choice, Completion, Delta, JsonFormat, Model, Request, StructuredMode
from mentalize.llm.retry import RetryingModel
from mentalize.llm.scripted import FunctionModel, ScriptedModel
from mentalize.llm.stamped import StampedModel
from mentalize.llm.timeout import TimedModel
from mentalize.llm.wrapper import WrappedModel
from mentalize.types import Usage, assistant, user
from openai_server import OpenAIServer, Reply

ASK = Request(messages=(user("Are you there?"),))
CACHEABLE = replace(ASK, cacheable=True)


class Waits:
    """Stands for `asyncio.sleep` and writes down how long it was asked to wait."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


@pytest.fixture
def waits() -> Waits:
    return Waits()


async def text_of(model: Model, request: Request = ASK) -> str:
    return "".join([delta.text async for delta in model.stream(request)])


# --- all of them ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrap",
    [
        WrappedModel,
        RetryingModel,
        lambda model: TimedModel(model, 1),
        lambda model: LimitedModel(model, 1),
        CachedModel,
        StampedModel,
    ],
)
async def test_a_wrapper_hands_on_what_it_does_not_change(wrap: type[WrappedModel]) -> None:
    inner = ScriptedModel(["one two", "one two"], name="inner")
    model = wrap(inner)
    assert model.name == "inner"
    assert (await model.complete(ASK)).text == "one two"
    assert await text_of(model) == "one two"
    assert await model.capabilities() == await inner.capabilities()
    assert inner.requests == [ASK, ASK]
    await model.close()
    await model.close()


# --- retry ------------------------------------------------------------------------------------------------


async def test_what_may_pass_is_tried_again_with_growing_random_waits(waits: Waits) -> None:
    inner = ScriptedModel([ModelUnavailable("down"), MalformedAnswer("garbled"), "here"])
    model = RetryingModel(inner, sleep=waits)
    assert (await model.complete(ASK)).text == "here"
    assert len(waits.seconds) == 2
    assert 0 <= waits.seconds[0] <= 0.5
    assert 0 <= waits.seconds[1] <= 1


async def test_after_the_last_attempt_the_endpoints_own_error_is_raised(waits: Waits) -> None:
    errors = [ModelUnavailable("first"), ModelUnavailable("second"), ModelUnavailable("third"), ModelUnavailable("4")]
    inner = ScriptedModel(errors)
    with pytest.raises(ModelUnavailable, match="third"):
        await RetryingModel(inner, sleep=waits).complete(ASK)
    assert len(inner.requests) == 3


async def test_what_cannot_pass_is_not_tried_again(waits: Waits) -> None:
    inner = ScriptedModel({"*": ModelUnauthorized("no key")})
    with pytest.raises(ModelUnauthorized):
        await RetryingModel(inner, sleep=waits).complete(ASK)
    assert len(inner.requests) == 1


async def test_the_wait_that_the_endpoint_asks_for_is_honoured(waits: Waits) -> None:
    inner = ScriptedModel([ModelRateLimited("slow", retry_after=3.5), "here"])
    assert (await RetryingModel(inner, sleep=waits).complete(ASK)).text == "here"
    assert waits.seconds == [3.5]


async def test_an_endpoint_that_asks_for_too_long_a_wait_is_not_asked_again(waits: Waits) -> None:
    inner = ScriptedModel({"*": ModelRateLimited("slow", retry_after=60)})
    with pytest.raises(ModelRateLimited):
        await RetryingModel(inner, longest_wait=20, sleep=waits).complete(ASK)
    assert (len(inner.requests), waits.seconds) == (1, [])


async def test_a_stream_is_retried_before_its_first_delta_only(waits: Waits) -> None:
    async with OpenAIServer([Reply(status=500), Reply(text="one two three", cut_after=2)]) as server:
        model = RetryingModel(OpenAICompatibleModel("any", base_url=server.base_url), sleep=waits)
        came: list[str] = []

        async def read() -> None:
            async for delta in model.stream(ASK):
                came.append(delta.text)

        with pytest.raises(ModelUnavailable, match="broke off"):
            await read()
        assert came == ["one ", "two "]
        assert len(server.requests) == 2
        await model.close()


async def test_probing_is_retried_too(waits: Waits) -> None:
    async with OpenAIServer([Reply(status=503)] * 4 + [Reply(text="prose")]) as server:
        model = RetryingModel(OpenAICompatibleModel("any", base_url=server.base_url), sleep=waits)
        assert (await model.capabilities()).structured is StructuredMode.TEXT
        await model.close()


# --- time-out ---------------------------------------------------------------------------------------------


async def test_an_answer_that_takes_too_long_is_cancelled_at_the_server() -> None:
    async with OpenAIServer(Reply(never=True)) as server:
        model = TimedModel(OpenAICompatibleModel("any", base_url=server.base_url), 0.05)
        for asked in (model.complete(ASK), text_of(model), model.capabilities()):
            with pytest.raises(ModelTimeout, match=r"within 0\.05 s"):
                await asked
        assert await server.disconnected(6)
        await model.close()


async def test_a_slow_stream_may_take_longer_in_all_than_one_delta_may() -> None:
    async with OpenAIServer(Reply(text="a b c d e f g h", word_delay=0.03)) as server:
        model = TimedModel(OpenAICompatibleModel("any", base_url=server.base_url), 0.15)
        began = time.perf_counter()
        assert await text_of(model) == "a b c d e f g h"
        assert time.perf_counter() - began > 0.15
        server.script = Reply(text="a b", word_delay=0.5)
        with pytest.raises(ModelTimeout):
            await text_of(model)
        await model.close()


async def test_the_callers_own_deadline_stays_the_callers() -> None:
    async def slow(_: Request) -> str:
        await asyncio.sleep(10)
        return "late"

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await TimedModel(FunctionModel(slow), 5).complete(ASK)


# --- concurrency ------------------------------------------------------------------------------------------


class Gauge:
    """A model function that counts how many are in it at once, in whatever thread."""

    def __init__(self) -> None:
        self.now = 0
        self.most = 0

    async def __call__(self, _: Request) -> str:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.005)
        self.now -= 1
        return "done"


async def test_no_more_than_so_many_at_once_and_in_order() -> None:
    gauge = Gauge()
    inner = FunctionModel(gauge)
    model = LimitedModel(inner, 3)
    asked = [replace(ASK, seed=number) for number in range(12)]
    await asyncio.gather(*(model.complete(request) for request in asked))
    assert gauge.most == 3
    assert inner.requests == asked


async def test_the_limit_holds_across_event_loops() -> None:
    gauge = Gauge()
    model = LimitedModel(FunctionModel(gauge), 2)

    async def several() -> list[Completion]:
        return await asyncio.gather(*(model.complete(ASK) for _ in range(10)))

    here = several()
    there = [asyncio.to_thread(lambda: asyncio.run(several())) for _ in range(3)]
    answers = await asyncio.wait_for(asyncio.gather(here, *there), 5)
    assert sum(map(len, answers)) == 40
    assert gauge.most <= 2


async def test_who_gives_up_waiting_takes_no_place() -> None:
    release = asyncio.Event()

    async def hold(_: Request) -> str:
        await release.wait()
        return "done"

    model = LimitedModel(FunctionModel(hold), 1)
    first = asyncio.create_task(model.complete(ASK))
    waiting = [asyncio.create_task(model.complete(ASK)) for _ in range(3)]
    await asyncio.sleep(0.01)
    waiting[0].cancel()
    first.cancel()  # Its place is handed to the next in the same step in which that one is cancelled.
    await asyncio.sleep(0)
    waiting[1].cancel()
    release.set()
    assert (await asyncio.wait_for(waiting[2], 1)).text == "done"
    assert (await asyncio.wait_for(model.complete(ASK), 1)).text == "done"


async def test_what_somebody_waits_for_goes_before_the_background_but_not_for_ever() -> None:
    release = asyncio.Event()

    async def hold(_: Request) -> str:
        await release.wait()
        return "done"

    inner = FunctionModel(hold)
    model = LimitedModel(inner, 1)
    asked = [replace(ASK, seed=number, background=number in (1, 2)) for number in range(14)]
    waiting = [asyncio.create_task(model.complete(request)) for request in asked]
    await asyncio.sleep(0)
    release.set()
    await asyncio.gather(*waiting)
    order = [request.seed for request in inner.requests]
    assert order == [0, *range(3, 11), 1, 11, 12, 13, 2]


async def test_who_gives_up_in_the_background_takes_no_place() -> None:
    release = asyncio.Event()

    async def hold(_: Request) -> str:
        await release.wait()
        return "done"

    model = LimitedModel(FunctionModel(hold), 1)
    asked = [replace(ASK, background=number != 0) for number in range(3)]
    first, gives_up, last = [asyncio.create_task(model.complete(request)) for request in asked]
    await asyncio.sleep(0)
    gives_up.cancel()
    release.set()
    assert [(await asyncio.wait_for(task, 1)).text for task in (first, last)] == ["done", "done"]
    assert gives_up.cancelled()


async def test_a_stream_holds_its_place_until_it_is_closed() -> None:
    model = LimitedModel(ScriptedModel({"*": "one two three"}), 1)
    stream = model.stream(ASK)
    await anext(stream)
    next_in_line = asyncio.create_task(model.complete(ASK))
    await asyncio.sleep(0.01)
    assert not next_in_line.done()
    await stream.aclose()  # type: ignore[attr-defined]
    assert (await asyncio.wait_for(next_in_line, 1)).text == "one two three"


def test_a_limit_of_nothing_is_bad_input() -> None:
    with pytest.raises(InputError, match="1 or more"):
        LimitedModel(ScriptedModel("x"), 0)


# --- cache ------------------------------------------------------------------------------------------------


async def test_an_equal_question_is_answered_from_memory_at_no_cost() -> None:
    inner = ScriptedModel(["first", "second"])
    model = CachedModel(inner)
    first = await model.complete(CACHEABLE)
    again = await model.complete(replace(CACHEABLE, purpose="another agent"))
    assert (first.cached, first.usage.total_tokens) == (False, 4)
    assert again == replace(first, cached=True, usage=Usage())
    assert len(inner.requests) == 1


@pytest.mark.parametrize(
    "different",
    [
        {"messages": (assistant("Are you there?"),)},
        {"messages": (user("Are you there?"), user("Hello?"))},
        {"max_tokens": 5},
        {"temperature": 0.5},
        {"seed": 1},
        {"stop": ("x",)},
        {"format": Choice(("A", "B"))},
        {"format": JsonFormat("N", {"type": "object"}, StructuredMode.GRAMMAR)},
        {"top_logprobs": 3},
        {"parameters": {"min_p": 0.1}},
    ],
)
async def test_whatever_affects_the_answer_makes_another_question(different: dict[str, object]) -> None:
    model = CachedModel(ScriptedModel(["first", "second"]))
    await model.complete(CACHEABLE)
    other = await model.complete(replace(CACHEABLE, **different))
    assert (other.text, other.cached) == ("second", False)


async def test_only_what_is_marked_cacheable_is_kept() -> None:
    inner = ScriptedModel({"*": ["first", "second", "third"]})
    model = CachedModel(inner)
    assert [(await model.complete(ASK)).text for _ in range(2)] == ["first", "second"]
    assert await text_of(model, CACHEABLE) == "third"
    assert len(inner.requests) == 3


async def test_equal_questions_at_the_same_time_are_sent_once() -> None:
    async with OpenAIServer(Reply(text="once", delay=0.03)) as server:
        model = CachedModel(OpenAICompatibleModel("any", base_url=server.base_url))
        answers = await asyncio.gather(*(model.complete(CACHEABLE) for _ in range(5)))
        assert len(server.requests) == 1
        assert [answer.cached for answer in answers] == [False, True, True, True, True]
        assert sum(answer.usage.completion_tokens for answer in answers) == 1
        await model.close()


async def test_one_who_gives_up_does_not_take_the_answer_from_the_others_and_the_last_stops_the_server() -> None:
    async with OpenAIServer(Reply(text="once", delay=0.1)) as server:
        model = CachedModel(OpenAICompatibleModel("any", base_url=server.base_url))
        first, second = (asyncio.create_task(model.complete(CACHEABLE)) for _ in range(2))
        assert await server.received()
        first.cancel()
        assert (await second).text == "once"
        server.script = Reply(never=True)
        both = [asyncio.create_task(model.complete(replace(CACHEABLE, seed=1))) for _ in range(2)]
        assert await server.received(2)
        for task in both:
            task.cancel()
        assert await server.disconnected()
        await model.close()


async def test_errors_are_not_kept() -> None:
    model = CachedModel(ScriptedModel([ModelError("no"), "yes"]))
    with pytest.raises(ModelError):
        await model.complete(CACHEABLE)
    assert (await model.complete(CACHEABLE)).text == "yes"


async def test_answers_age_and_make_room() -> None:
    inner = ScriptedModel({"*": "x"})
    aged = CachedModel(inner, seconds=0.02)
    await aged.complete(CACHEABLE)
    await asyncio.sleep(0.03)
    assert not (await aged.complete(CACHEABLE)).cached
    small = CachedModel(inner, size=1)
    for seed in (1, 2, 1):
        assert not (await small.complete(replace(CACHEABLE, seed=seed))).cached


# --- all together -----------------------------------------------------------------------------------------


async def test_closing_a_stream_through_every_wrapper_stops_the_server() -> None:
    async with OpenAIServer(Reply(text="word " * 500, word_delay=0.01)) as server:
        endpoint = OpenAICompatibleModel("any", base_url=server.base_url)
        model = CachedModel(RetryingModel(LimitedModel(TimedModel(endpoint, 1), 1)))
        stream: AsyncIterator[Delta] = model.stream(ASK)
        await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]
        assert await server.disconnected()
        await model.close()

"""One model behind several endpoints: real servers on loopback that fill up, break, go away and come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from mentalize.errors import InputError, ModelError, ModelNotFound, ModelRefused, ModelTimeout, ModelUnavailable
from mentalize.llm.balanced import BalancedModel
from mentalize.llm.engine_counts import cache_counters
from mentalize.llm.http import OpenAICompatibleModel
from mentalize.llm.limit import LimitedModel
from mentalize.llm.model import Model, Request
from mentalize.llm.relay import relay
from mentalize.llm.resolve import resolve
from mentalize.llm.roster import MARGIN
from mentalize.llm.timeout import TimedModel
from mentalize.types import assistant, system, user
from openai_server import OpenAIServer, Reply, Script, vllm_page

ASK = Request(messages=(user("I'm fine. Go without me, really."),))
BODY = {"model": "scripted", "messages": [{"role": "user", "content": "Hello."}]}
MANY = 24
"""Conversations, so many that each endpoint has some."""


def about(number: int) -> Request:
    return replace(ASK, conversation=f"acme\0{number}")


@asynccontextmanager
async def several(*scripts: Script) -> AsyncIterator[list[OpenAIServer]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(OpenAIServer(script)) for script in scripts]


@asynccontextmanager
async def balanced(
    servers: Sequence[OpenAIServer],
    *,
    vllm: bool = False,
    wrap: Callable[[Model], Model] = lambda model: model,
    **seconds: float,
) -> AsyncIterator[BalancedModel]:
    endpoints = [OpenAICompatibleModel("scripted", base_url=server.base_url, vllm=vllm) for server in servers]
    model = BalancedModel(endpoints, wrap=wrap, **{"look_seconds": 0.01, "rest_seconds": 0.02, **seconds})
    yield model
    await model.close()


async def text_of(model: Model, request: Request = ASK) -> str:
    return "".join([delta.text async for delta in model.stream(request)])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what a server does has no event here
            await asyncio.sleep(0.005)


def home(model: BalancedModel, servers: Sequence[OpenAIServer], request: Request = ASK) -> tuple[int, int]:
    """The numbers of the server that a conversation belongs to, and of another."""
    conversation = request.conversation.encode()
    place = model.roster.choose(conversation)
    assert place is not None
    mine = [server.base_url for server in servers].index(place.address)
    return mine, (mine + 1) % len(servers)


# --- who gets it --------------------------------------------------------------------------------------------


async def test_a_conversation_stays_at_one_endpoint_and_conversations_are_spread() -> None:
    async with several(Reply(), Reply()) as servers, balanced(servers) as model:
        for number in range(MANY):
            before = [len(server.requests) for server in servers]
            for _ in range(3):
                await model.complete(about(number))
            grown = [len(server.requests) - count for server, count in zip(servers, before, strict=True)]
            assert sorted(grown) == [0, 3]
        assert all(server.requests for server in servers)


async def test_without_a_name_the_first_words_keep_a_conversation_together() -> None:
    async with several(Reply(), Reply(), Reply()) as servers, balanced(servers) as model:
        for number in range(6):
            said = (system("Be kind."), user(f"Hello, I am {number}."))
            before = [len(server.requests) for server in servers]
            for _ in range(3):
                await text_of(model, replace(ASK, messages=said))
                said = (*said, assistant("Hm."), user("And then?"))
            body = {**BODY, "messages": [{"role": "system", "content": "Be kind."}]}
            body["messages"] += [{"role": "user", "content": f"Hello, I am {number}."}]
            relayed = await relay(model, body)
            assert [piece async for piece in relayed.content]
            grown = [len(server.requests) - count for server, count in zip(servers, before, strict=True)]
            assert sorted(grown) == [0, 0, 4]


async def test_an_endpoint_that_has_much_more_to_do_gives_its_conversations_away() -> None:
    async with several(Reply(never=True), Reply(never=True)) as servers, balanced(servers) as model:
        waiting = [asyncio.create_task(model.complete(about(7))) for _ in range(2 * MARGIN + 2)]
        await asyncio.gather(*(server.received(1) for server in servers))
        await until(lambda: sum(server.active for server in servers) == len(waiting))
        assert max(server.active for server in servers) - min(server.active for server in servers) <= MARGIN + 1
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert [place.in_work for place in model.roster.places] == [0, 0]


async def test_what_a_server_tells_of_its_queue_decides_and_is_not_read_for_each_request() -> None:
    async with several(Reply(), Reply()) as servers:
        for server in servers:
            server.metrics = vllm_page()
        async with balanced(servers, vllm=True, look_seconds=30) as model:
            mine, other = home(model, servers, about(1))
            servers[mine].metrics = vllm_page(running=4, waiting=30)
            await model.complete(about(1))
            await until(lambda: all(place.counts is not None for place in model.roster.places))
            for _ in range(10):
                await model.complete(about(1))
            assert len(servers[other].requests) >= 10
            assert [server.looks for server in servers] == [["/metrics"], ["/metrics"]]


async def test_nothing_is_looked_at_once_nobody_asks() -> None:
    async with several(Reply(), Reply()) as servers:
        servers[0].metrics = servers[1].metrics = vllm_page()
        async with balanced(servers, vllm=True, idle_seconds=0.05) as model:
            await model.complete(ASK)
            assert await servers[0].looked_at("/metrics")
            await until(lambda: _looking() == [])
            await model.complete(ASK)
            assert len(_looking()) == 1, "the next request looks again"
            await model.close()
            assert _looking() == []


async def test_servers_that_are_no_vllm_are_not_looked_at_while_they_are_well() -> None:
    async with several(Reply(), Reply()) as servers, balanced(servers) as model:
        await model.complete(ASK)
        assert _looking() == []
        assert [server.looks for server in servers] == [[], []]


def _looking() -> list[str]:
    return [name for task in asyncio.all_tasks() if (name := task.get_name()) == "mentalize-endpoints"]


# --- failure and return -------------------------------------------------------------------------------------


BROKEN = Reply(status=500, body="oops")
DEAD = Reply(status=503, body={"error": {"message": "Engine is dead.", "code": 503}})
HANGS_UP = Reply(cut_after=0)


@pytest.mark.parametrize("broken", [BROKEN, DEAD, HANGS_UP], ids=["500", "503", "hangs up"])
@pytest.mark.parametrize("way", ["complete", "stream"])
async def test_what_one_endpoint_cannot_answer_another_answers_at_once(broken: Reply, way: str) -> None:
    async with several(broken, Reply(text="Here.")) as servers, balanced(servers, look_seconds=30) as model:
        for number in range(MANY):
            request = about(number)
            assert (
                await text_of(model, request) if way == "stream" else (await model.complete(request)).text
            ) == "Here."
        assert len(servers[0].requests) == 1, "it rests after its first failure"
        assert [place.in_work for place in model.roster.places] == [0, 0]


@pytest.mark.parametrize("broken", [BROKEN, DEAD], ids=["500", "503"])
async def test_what_is_handed_on_is_handed_to_another_endpoint_too(broken: Reply) -> None:
    async with several(broken, Reply(text="Here.")) as servers, balanced(servers, look_seconds=30) as model:
        for number in range(MANY):
            relayed = await relay(model, {**BODY, "messages": [{"role": "user", "content": str(number)}]})
            content = b"".join([piece async for piece in relayed.content])
            assert (relayed.status, b"Here." in content) == (200, True)
        assert len(servers[0].requests) == 1
        assert [place.in_work for place in model.roster.places] == [0, 0]


async def test_nothing_is_lost_while_an_endpoint_goes_away_and_comes_back() -> None:
    async with several(Reply(text="Here.", delay=0.01), Reply(text="Here.", delay=0.01)) as servers:
        gone, stays = servers
        async with balanced(servers) as model:
            first = [asyncio.create_task(model.complete(about(number))) for number in range(60)]
            await gone.received(3)
            await gone.__aexit__()
            more = [asyncio.create_task(model.complete(about(number))) for number in range(60)]
            answers = await asyncio.gather(*first, *more)
            assert [answer.text for answer in answers] == ["Here."] * 2 * 60
            place = model.roster.places[0]
            assert place.rests

            async with OpenAIServer(Reply(text="Back."), port=int(gone.base_url.split(":")[2].removesuffix("/v1"))):
                await until(lambda: not place.rests)
                texts = [(await model.complete(about(number))).text for number in range(MANY)]
            assert set(texts) == {"Here.", "Back."}, "its conversations have come back to it"
            assert not stays.disconnects


async def test_an_endpoint_gets_work_again_only_when_it_says_that_it_is_well() -> None:
    async with several(Reply(status=503), Reply()) as servers, balanced(servers) as model:
        servers[0].healthy = False
        for number in range(MANY):
            await model.complete(about(number))
        servers[0].script = Reply()
        assert await servers[0].looked_at("/health", 2)
        for number in range(MANY):
            await model.complete(about(number))
        assert len(servers[0].requests) == 1
        servers[0].healthy = True
        await until(lambda: not model.roster.places[0].rests)
        for number in range(MANY):
            await model.complete(about(number))
        assert len(servers[0].requests) > 1


async def test_a_stream_that_breaks_off_after_its_first_piece_is_not_asked_for_again() -> None:
    async with (
        several(Reply(text="one two three", cut_after=2), Reply(text="one two three", cut_after=2)) as servers,
        balanced(servers) as model,
    ):
        came: list[str] = []

        async def read() -> None:
            async for delta in model.stream(ASK):
                came.append(delta.text)

        with pytest.raises(ModelUnavailable, match="broke off"):
            await read()
        assert came == ["one ", "two "]
        assert sum(len(server.requests) for server in servers) == 1
        assert sum(place.rests for place in model.roster.places) == 1


async def test_what_is_refused_or_limited_is_not_asked_elsewhere() -> None:
    for status, error in ((400, ModelRefused), (404, ModelNotFound), (429, ModelUnavailable)):
        refusal = Reply(status=status, body={"error": {"message": "no"}})
        async with several(refusal, refusal) as servers, balanced(servers) as model:
            with pytest.raises(error):
                await model.complete(ASK)
            assert sum(len(server.requests) for server in servers) == 1
            assert not any(place.rests for place in model.roster.places)


async def test_a_silent_endpoint_rests_and_its_request_is_not_repeated_here() -> None:
    async with (
        several(Reply(never=True), Reply(never=True)) as servers,
        balanced(servers, wrap=lambda model: TimedModel(model, 0.05), look_seconds=30) as model,
    ):
        with pytest.raises(ModelTimeout):
            await model.complete(ASK)
        assert sum(len(server.requests) for server in servers) == 1
        assert sum(place.rests for place in model.roster.places) == 1


async def test_when_all_are_down_the_error_names_them_and_each_was_tried_once() -> None:
    async with several(Reply(), Reply()) as servers:
        addresses = [server.base_url for server in servers]
    async with balanced(servers) as model:
        for _ in range(2):
            with pytest.raises(ModelUnavailable, match="cannot be reached") as raised:
                await model.complete(ASK)
            assert raised.value.retryable
            assert all(address in raised.value.hint for address in addresses)
        with pytest.raises(ModelUnavailable):
            await relay(model, BODY)


async def test_an_error_body_from_every_endpoint_is_handed_on_to_a_client() -> None:
    broken = Reply(status=500, body={"error": {"message": "Engine is dead."}})
    async with several(broken, broken) as servers, balanced(servers) as model:
        relayed = await relay(model, BODY)
        content = b"".join([piece async for piece in relayed.content])
        assert (relayed.status, b"Engine is dead." in content) == (500, True)
        assert [len(server.requests) for server in servers] == [1, 1]


# --- its place in the whole ---------------------------------------------------------------------------------


async def test_the_limit_is_each_endpoints_own() -> None:
    async with (
        several(Reply(never=True), Reply(never=True)) as servers,
        balanced(servers, wrap=lambda model: LimitedModel(model, 2)) as model,
    ):
        waiting = [asyncio.create_task(model.complete(about(number))) for number in range(30)]
        await until(lambda: all(server.active == 2 for server in servers))
        await asyncio.sleep(0.02)
        assert [server.most_active for server in servers] == [2, 2]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_body_that_is_handed_on_is_work_until_it_ends_or_is_left() -> None:
    async with (
        several(Reply(text="a b c d e", word_delay=0.02), Reply(text="a b", word_delay=0.02)) as servers,
        balanced(servers) as model,
    ):

        def at_work() -> int:
            return sum(place.in_work for place in model.roster.places)

        relayed = await relay(model, {**BODY, "stream": True})
        assert at_work() == 1
        async for _ in relayed.content:
            assert at_work() == 1
        await until(lambda: at_work() == 0)
        left = await relay(model, {**BODY, "stream": True})
        await anext(left.content)
        await left.content.aclose()
        await until(lambda: at_work() == 0)


async def test_a_model_string_with_several_addresses_is_balanced(monkeypatch: pytest.MonkeyPatch) -> None:
    async with several(Reply(status=500), Reply(text="Here.")) as servers:
        addresses = ", ".join(server.base_url for server in servers) + "/,"
        monkeypatch.setenv("HOSTED_VLLM_API_BASE", addresses)
        for model in (
            resolve("hosted_vllm/scripted", attempts=1),
            resolve("llama_cpp/scripted", base_url=addresses, attempts=1),
        ):
            answers = [(await model.complete(about(number))).text for number in range(6)]
            assert answers == ["Here."] * 6
            assert (await model.capabilities()).structured
            await model.close()
    with pytest.raises(ModelNotFound, match="at one address"):
        resolve("openai/gpt-5", base_url=addresses)
    with pytest.raises(InputError):
        resolve("hosted_vllm/x", base_url=",")


def test_several_event_loops_share_what_is_known_of_the_endpoints() -> None:
    async def serve_and_ask() -> None:
        async with several(Reply(status=500), Reply(text="Here.")) as servers, balanced(servers, vllm=True) as model:
            for server in servers:
                server.metrics, server.healthy = vllm_page(), False

            async def some() -> list[str]:
                return [(await model.complete(about(number))).text for number in range(10)]

            there = [asyncio.to_thread(asyncio.run, some()) for _ in range(3)]
            found: list[Any] = await asyncio.gather(some(), *there)
            assert found == [["Here."] * 10] * 4
            assert await some() == ["Here."] * 10, "the loops that looked have ended; another looks"

    asyncio.run(serve_and_ask())


def test_there_must_be_an_endpoint() -> None:
    with pytest.raises(InputError, match="no endpoint"):
        BalancedModel([])


# --- the prefix cache's counters ----------------------------------------------------------------------------


async def test_the_prefix_caches_counters_are_read_from_a_vllm_server() -> None:
    async with OpenAIServer() as server:
        with pytest.raises(ModelNotFound, match="tells no counts"):
            await cache_counters(server.base_url)
        server.metrics = vllm_page(queries=1_000, hits=640)
        assert await cache_counters(server.base_url) == (1_000, 640)
        server.metrics = "x" * (5 * 2**20)
        with pytest.raises(ModelError, match="more than"):
            await cache_counters(server.base_url)
    with pytest.raises(ModelUnavailable):
        await cache_counters(server.base_url)

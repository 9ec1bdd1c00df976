"""The direct OpenAI-compatible client, over real sockets, against good and bad endpoints."""

import asyncio
import gc
import json
import math
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentalize.errors import (
    InputError,
    MalformedAnswer,
    ModelNotFound,
    ModelRateLimited,
    ModelRefused,
    ModelTimeout,
    ModelUnauthorized,
    ModelUnavailable,
)
from mentalize.llm.events import EventParser
from mentalize.llm.http import OpenAICompatibleModel, retry_after
from mentalize.llm.model import Alternative, Choice, Delta, JsonFormat, Request, StructuredMode
from mentalize.llm.wire import parsed
from mentalize.types import Message, Usage, user
from openai_server import OpenAIServer, Reply

KEY = "sk-not-to-be-shown"
ASK = Request(messages=(user("I'm fine. Go without me, really."),))
CHUNK = 'data: {"choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":null}]}'
END = 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'


@pytest.fixture
async def server() -> AsyncIterator[OpenAIServer]:
    async with OpenAIServer() as server:
        yield server


@pytest.fixture
async def model(server: OpenAIServer) -> AsyncIterator[OpenAICompatibleModel]:
    model = OpenAICompatibleModel("any", base_url=server.base_url, api_key=KEY)
    yield model
    await model.close()


async def deltas_of(model: OpenAICompatibleModel, request: Request = ASK) -> list[Delta]:
    return [delta async for delta in model.stream(request)]


async def test_a_whole_answer_keeps_text_usage_and_unknown_message_fields(
    server: OpenAIServer, model: OpenAICompatibleModel
) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    server.script = Reply(text="Hello there.", cached_tokens=3, message={"tool_calls": [call], "mood": "calm"})
    answer = await model.complete(ASK)
    assert answer.text == "Hello there."
    assert answer.usage == Usage(6, 2, 3)
    assert answer.message["tool_calls"] == [call]
    assert answer.message["mood"] == "calm"
    assert answer.model == "any"
    assert server.requests[0].headers["Authorization"] == f"Bearer {KEY}"


async def test_the_body_carries_what_was_asked_and_unknown_parameters(
    server: OpenAIServer, model: OpenAICompatibleModel
) -> None:
    message = Message.model_validate({"role": "user", "content": "hi", "name": "Ann"})
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    parameters = {"tools": tools, "temperature": 0.9, "min_p": 0.1, "stream": True}
    await model.complete(
        Request(messages=(message,), max_tokens=7, temperature=0.2, seed=3, stop=("END",), parameters=parameters)
    )
    assert server.requests[0].body == {
        "model": "any",
        "messages": [{"role": "user", "content": "hi", "name": "Ann"}],
        "max_tokens": 7,
        "temperature": 0.2,
        "seed": 3,
        "stop": ["END"],
        "tools": tools,
        "min_p": 0.1,
    }


@pytest.mark.parametrize(
    ("mode", "fields"),
    [
        (
            StructuredMode.JSON_SCHEMA,
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "N", "schema": {"type": "object"}, "strict": True},
                }
            },
        ),
        (
            StructuredMode.GRAMMAR,
            {"structured_outputs": {"json": {"type": "object"}}, "json_schema": {"type": "object"}},
        ),
        (StructuredMode.JSON_OBJECT, {"response_format": {"type": "json_object"}}),
        (StructuredMode.TEXT, {}),
    ],
)
async def test_each_structured_mode_has_its_fields(
    server: OpenAIServer, model: OpenAICompatibleModel, mode: StructuredMode, fields: dict[str, object]
) -> None:
    await model.complete(Request(messages=ASK.messages, format=JsonFormat("N", {"type": "object"}, mode)))
    body = server.requests[0].body
    assert {key: body[key] for key in body if key not in ("model", "messages")} == fields


async def test_a_choice_is_constrained_and_its_alternatives_come_back_most_likely_first(
    server: OpenAIServer, model: OpenAICompatibleModel
) -> None:
    server.script = Reply(text="A", probabilities={"B": 0.25, "A": 0.75})
    answer = await model.complete(Request(messages=ASK.messages, max_tokens=1, format=Choice(("A", 'say "B"'))))
    body = server.requests[0].body
    assert body["structured_outputs"] == {"choice": ["A", 'say "B"']}
    assert body["grammar"] == r'root ::= "A" | "say \"B\""'
    assert (body["logprobs"], body["top_logprobs"]) == (True, 20)
    assert answer.logprobs == ((Alternative("A", math.log(0.75)), Alternative("B", math.log(0.25))),)


async def test_a_server_that_refuses_the_constraint_is_asked_for_log_probabilities_alone(
    server: OpenAIServer, model: OpenAICompatibleModel
) -> None:
    def strict(body: dict[str, object]) -> Reply:
        if "grammar" in body:
            return Reply(status=400, body={"error": {"message": "Unknown parameter: grammar"}})
        return Reply(text="A", probabilities={"A": 0.6, "B": 0.4})

    server.script = strict
    scoring = Request(messages=ASK.messages, format=Choice(("A", "B")))
    answers = await asyncio.gather(model.complete(scoring), model.complete(scoring))
    assert [answer.text for answer in answers] == ["A", "A"]
    await model.complete(scoring)
    assert ["grammar" in request.body for request in server.requests] == [True, True, False, False, False]


async def test_a_refusal_that_has_nothing_to_do_with_the_constraint_stays(
    server: OpenAIServer, model: OpenAICompatibleModel
) -> None:
    server.script = Reply(status=400, body={"error": {"message": "too long"}})
    scoring = Request(messages=ASK.messages, format=Choice(("A", "B")))
    with pytest.raises(ModelRefused, match="too long"):
        await model.complete(scoring)
    server.script = Reply(text="A")
    await model.complete(scoring)
    assert "grammar" in server.requests[-1].body


async def test_a_stream_ends_with_reason_and_usage(server: OpenAIServer, model: OpenAICompatibleModel) -> None:
    server.script = Reply(text="One two three", message={"tool_calls": [{"index": 0, "id": "c"}]})
    deltas = await deltas_of(model)
    assert "".join(delta.text for delta in deltas) == "One two three"
    assert deltas[0].raw == {"role": "assistant", "content": "One "}
    assert deltas[-2].raw == {"tool_calls": [{"index": 0, "id": "c"}]}
    assert deltas[-1] == Delta(finish_reason="stop", usage=Usage(6, 3))
    assert [delta.finish_reason for delta in deltas[:-1]] == [None] * 4


async def test_words_arrive_while_the_server_still_writes(server: OpenAIServer, model: OpenAICompatibleModel) -> None:
    server.script = Reply(text="one two three four", word_delay=0.05)
    began = time.perf_counter()
    arrivals = [time.perf_counter() - began async for delta in model.stream(ASK) if delta.text]
    assert arrivals[-1] - arrivals[0] > 0.1


async def test_streams_that_begin_together_all_get_by_where_their_options_are_refused(
    server: OpenAIServer, model: OpenAICompatibleModel
) -> None:
    def script(asked: dict[str, object]) -> Reply:
        refusal = {"error": {"message": "Extra inputs are not permitted: stream_options"}}
        return Reply(status=400, body=refusal, delay=0.05) if "stream_options" in asked else Reply(text="Hm.")

    server.script = script
    told = await asyncio.gather(*(deltas_of(model) for _ in range(4)))
    assert ["".join(delta.text for delta in deltas) for deltas in told] == ["Hm."] * 4


async def test_a_server_that_ignores_stream_still_gives_an_answer(
    server: OpenAIServer, model: OpenAICompatibleModel
) -> None:
    server.script = Reply(body={"choices": [{"message": {"content": "Whole."}, "finish_reason": "length"}]})
    deltas = await deltas_of(model)
    assert [delta.text for delta in deltas] == ["Whole.", ""]
    assert deltas[-1].finish_reason == "length"


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 7, 64, 100_000])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_events_survive_every_cut_and_line_ending(cut: int, line_end: str) -> None:
    stream = "\n".join([": keep-alive", "", "event: x", "data: héé 🙂", "data:second", "", "", "data: [DONE]"])
    sent = stream.replace("\n", line_end).encode()
    parser = EventParser()
    found = [data for at in range(0, len(sent), cut) for data in parser.feed(sent[at : at + cut])]
    assert [*found, *parser.finish()] == ["héé 🙂\nsecond", "[DONE]"]


@given(st.text("da:t \r\n").map(str.encode), st.lists(st.integers(0, 40)))
def test_where_a_stream_is_cut_changes_nothing(sent: bytes, cuts: list[int]) -> None:
    whole, pieces = EventParser(), EventParser()
    edges = [0, *sorted(cuts), len(sent)]
    found = [data for start, end in pairwise(edges) for data in pieces.feed(sent[start:end])]
    assert [*found, *pieces.finish()] == [*whole.feed(sent), *whole.finish()]


@pytest.mark.parametrize(
    "odd", ['"\\ud800"', "NaN", "-Infinity", "1e400", "9" * 40, '{"a": 1, "a": 2}', "[" * 300 + "]" * 300]
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_odd_json_is_read_as_python_reads_it(odd: str, encoding: str) -> None:
    assert repr(parsed(odd.encode(encoding))) == repr(json.loads(odd))


@given(st.text('{}[]":,0123456789.eE+-tfnrulsaINy \\u', max_size=30) | st.floats().map(str) | st.integers().map(str))
def test_what_is_json_to_python_is_json_to_us(content: str) -> None:
    def outcome(read: Callable[[str], object]) -> str:
        try:
            return repr(read(content))
        except ValueError:
            return "not JSON"

    assert outcome(parsed) == outcome(json.loads)


async def test_half_a_surrogate_pair_in_an_error_is_said_all_the_same(
    server: OpenAIServer, model: OpenAICompatibleModel
) -> None:
    server.script = Reply(status=400, body={"error": {"message": "bad \ud83d emoji"}})
    with pytest.raises(ModelRefused, match=r"bad \? emoji"):
        await model.complete(ASK)


async def test_a_stream_cut_inside_characters_and_lines_is_read_whole(
    server: OpenAIServer, model: OpenAICompatibleModel
) -> None:
    text = f": hi\r\n\r\n{CHUNK % 'zoë 🙂'}\r\n\r\n{END}\r\n\r\ndata: [DONE]".encode()
    server.script = Reply(pieces=[text[at : at + 11] for at in range(0, len(text), 11)])
    deltas = await deltas_of(model)
    assert [delta.text for delta in deltas] == ["zoë 🙂", ""]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, ModelRefused),
        (401, ModelUnauthorized),
        (403, ModelUnauthorized),
        (404, ModelNotFound),
        (422, ModelRefused),
        (429, ModelRateLimited),
        (500, ModelUnavailable),
        (503, ModelUnavailable),
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
async def test_a_status_becomes_its_error_with_the_endpoints_words_and_without_the_key(
    server: OpenAIServer, model: OpenAICompatibleModel, status: int, error: type[Exception], streaming: bool
) -> None:
    said = f"the model `any` with key {KEY} is not for you"
    server.script = Reply(status=status, body={"error": {"message": said, "type": "x"}})
    with pytest.raises(error) as raised:
        await (deltas_of(model) if streaming else model.complete(ASK))
    assert raised.type is error
    assert "the model `any` with key [key] is not for you" in str(raised.value)
    assert server.base_url in str(raised.value)
    assert KEY not in repr(raised.value)
    assert len(server.requests) == 1


async def test_a_wrong_path_is_told_from_an_unknown_model(server: OpenAIServer) -> None:
    model = OpenAICompatibleModel("any", base_url=server.base_url.removesuffix("/v1"))
    with pytest.raises(ModelNotFound, match="ends in /v1"):
        await model.complete(ASK)
    await model.close()


async def test_rate_limits_say_how_long_to_wait(server: OpenAIServer, model: OpenAICompatibleModel) -> None:
    server.script = Reply(status=429, headers={"Retry-After": "7"}, body={"error": "slow down"})
    with pytest.raises(ModelRateLimited) as raised:
        await model.complete(ASK)
    assert raised.value.retry_after == 7
    assert "slow down" in str(raised.value)


def test_retry_after_is_read_in_all_its_forms() -> None:
    now = datetime(2026, 11, 1, 12, tzinfo=UTC)
    date = format_datetime(now + timedelta(seconds=90), usegmt=True)
    assert retry_after({"Retry-After": date}, now=now.timestamp()) == 90
    assert retry_after({"Retry-After": date}, now=now.timestamp() + 200) == 0
    assert retry_after({"retry-after-ms": "1500", "Retry-After": "2"}) == 1.5
    assert retry_after({"Retry-After": "soon"}) is None
    assert retry_after({}) is None


@pytest.mark.parametrize(
    "body", ["{malformed", "", "<html>502</html>", "[]", "{}", {"choices": []}, {"choices": [{"index": 0}]}]
)
async def test_malformed_answers_are_named(
    server: OpenAIServer, model: OpenAICompatibleModel, body: str | dict[str, object]
) -> None:
    server.script = Reply(body=body.encode() if isinstance(body, str) else body)
    with pytest.raises(MalformedAnswer, match="base URL"):
        await model.complete(ASK)


async def test_an_error_inside_a_successful_answer_is_an_error(
    server: OpenAIServer, model: OpenAICompatibleModel
) -> None:
    server.script = Reply(body={"error": {"message": "too many", "code": 429}})
    with pytest.raises(ModelRateLimited, match="too many"):
        await model.complete(ASK)


@pytest.mark.parametrize(
    ("pieces", "error"),
    [
        ([f"{CHUNK % 'half'}\n\n"], ModelUnavailable),
        ([f"{CHUNK % 'half'}\n\n", 'data: {"choi\n\n'], MalformedAnswer),
        ([f"{CHUNK % 'half'}\n\n", 'data: {"error": {"message": "out of memory"}}\n\n'], ModelUnavailable),
        (["data: 7\n\n"], MalformedAnswer),
    ],
)
async def test_half_a_stream_is_an_error_after_what_came(
    server: OpenAIServer, model: OpenAICompatibleModel, pieces: list[str], error: type[Exception]
) -> None:
    server.script = Reply(pieces=[piece.encode() for piece in pieces])
    came: list[str] = []

    async def read() -> None:
        async for delta in model.stream(ASK):
            came.append(delta.text)

    with pytest.raises(error) as raised:
        await read()
    assert raised.type is error
    assert came == (["half"] if "half" in pieces[0] else [])


async def test_a_connection_that_breaks_is_an_error(server: OpenAIServer, model: OpenAICompatibleModel) -> None:
    server.script = Reply(text="one two three", cut_after=2)
    with pytest.raises(ModelUnavailable, match="broke off"):
        await deltas_of(model)
    server.script = Reply(cut_after=20)
    with pytest.raises(ModelUnavailable, match="broke off"):
        await model.complete(ASK)


async def test_a_connection_that_breaks_after_the_end_has_lost_nothing(
    server: OpenAIServer, model: OpenAICompatibleModel
) -> None:
    server.script = Reply(text="one two", cut_after=3)
    deltas = await deltas_of(model)
    assert "".join(delta.text for delta in deltas) == "one two"
    assert deltas[-1].finish_reason == "stop"


async def test_a_server_that_never_answers_times_out(server: OpenAIServer) -> None:
    server.script = Reply(never=True)
    model = OpenAICompatibleModel("any", base_url=server.base_url, seconds=0.05)
    for asked in (model.complete(ASK), deltas_of(model)):
        with pytest.raises(ModelTimeout, match="silent"):
            await asked
    assert await server.disconnected(2)
    await model.close()


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    async with OpenAIServer() as server:
        address = server.base_url
    model = OpenAICompatibleModel("any", base_url=address)
    with pytest.raises(ModelUnavailable, match="cannot be reached") as raised:
        await model.complete(ASK)
    assert raised.value.retryable
    await model.close()


async def test_cancelling_closes_the_connection(server: OpenAIServer, model: OpenAICompatibleModel) -> None:
    server.script = Reply(never=True)
    task = asyncio.create_task(model.complete(ASK))
    assert await server.received()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await server.disconnected()


async def test_closing_a_stream_closes_the_connection(server: OpenAIServer, model: OpenAICompatibleModel) -> None:
    server.script = Reply(text="word " * 1000, word_delay=0.01)
    stream = model.stream(ASK)
    assert (await anext(stream)).text == "word "
    await stream.aclose()  # type: ignore[attr-defined]
    assert await server.disconnected()


async def test_one_connection_serves_answers_and_streams_in_turn(
    server: OpenAIServer, model: OpenAICompatibleModel
) -> None:
    for _ in range(2):
        await model.complete(ASK)
        await deltas_of(model)
    assert len({request.client for request in server.requests}) == 1


async def test_a_server_that_does_not_hang_up_after_its_stream_is_left(
    server: OpenAIServer, model: OpenAICompatibleModel
) -> None:
    server.script = Reply(text="one two", hold=True)
    assert "".join([delta.text for delta in await deltas_of(model)]) == "one two"
    assert await server.disconnected()


async def test_many_at_once_and_again_after_close(server: OpenAIServer, model: OpenAICompatibleModel) -> None:
    answers = await asyncio.gather(*(model.complete(ASK) for _ in range(50)))
    assert [answer.text for answer in answers] == ["Hello."] * 50
    await model.close()
    await model.close()
    assert (await model.complete(ASK)).text == "Hello."


async def test_one_model_serves_several_event_loops_and_closes_them_all(server: OpenAIServer) -> None:
    model = OpenAICompatibleModel("any", base_url=server.base_url)

    def elsewhere() -> str:
        return asyncio.run(model.complete(ASK)).text

    assert await asyncio.gather(*(asyncio.to_thread(elsewhere) for _ in range(2))) == ["Hello."] * 2
    assert (await model.complete(ASK)).text == "Hello."
    await model.close()
    gc.collect()  # An unclosed session would warn here, and warnings are errors.


async def test_roles_that_share_a_model_close_it_at_the_same_time(server: OpenAIServer) -> None:
    model = OpenAICompatibleModel("any", base_url=server.base_url)
    await model.complete(ASK)
    await asyncio.to_thread(lambda: asyncio.run(model.complete(ASK)))
    await asyncio.gather(*(model.close() for _ in range(3)))
    gc.collect()


async def test_what_json_cannot_hold_is_refused_before_it_is_sent(
    server: OpenAIServer, model: OpenAICompatibleModel
) -> None:
    with pytest.raises(ModelRefused, match="JSON"):
        await model.complete(Request(messages=ASK.messages, parameters={"tools": object()}))
    assert not server.requests


async def test_a_lone_surrogate_travels_unharmed(server: OpenAIServer, model: OpenAICompatibleModel) -> None:
    await model.complete(Request(messages=(user("\ud83d"),)))
    assert server.requests[0].body["messages"][0]["content"] == "\ud83d"


def test_a_base_url_without_scheme_is_bad_input_and_a_password_is_not_shown() -> None:
    with pytest.raises(InputError, match="http://"):
        OpenAICompatibleModel("any", base_url="localhost:8000/v1")
    model = OpenAICompatibleModel("any", base_url="http://me:secret@host:1/v1/")
    assert model.endpoint == "http://host:1/v1"

"""The public fakes: what people write their own tests with."""

import asyncio
import json
import math
from enum import StrEnum
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from pydantic import BaseModel, Field

from mentalize.errors import ModelError, ModelTimeout
from mentalize.llm.model import Alternative, Capabilities, Choice, Completion, JsonFormat, Request, StructuredMode
from mentalize.llm.scripted import FunctionModel, ScriptedModel, fake_model, minimal_instance
from mentalize.types import user


def ask(purpose: str = "reply", wanted: JsonFormat | Choice | None = None) -> Request:
    return Request(messages=(user("How are you?"),), purpose=purpose, format=wanted)


class Mood(BaseModel):
    label: str
    valence: float


async def test_answers_go_by_purpose_in_order_and_the_last_repeats() -> None:
    model = ScriptedModel({"plan": ["one", "two"], "write": "reply", "*": "default"})
    asked = ["plan", "write", "plan", "plan", "other"]
    assert [(await model.complete(ask(purpose))).text for purpose in asked] == ["one", "reply", "two", "two", "default"]
    assert [request.purpose for request in model.requests] == asked


async def test_a_repair_round_takes_the_next_answer_of_what_it_repairs() -> None:
    model = ScriptedModel({"plan": ["broken", "mended"], "*": "default"})
    assert (await model.complete(ask("plan"))).text == "broken"
    assert (await model.complete(ask("plan.repair"))).text == "mended"


async def test_a_sequence_runs_out_and_says_where() -> None:
    model = ScriptedModel(["one"], name="mine")
    await model.complete(ask())
    with pytest.raises(ModelError, match=r"'mine'.*'plan'"):
        await model.complete(ask("plan"))
    with pytest.raises(ModelError, match="'plan'"):
        await ScriptedModel({"write": "x"}).complete(ask("plan"))


async def test_every_kind_of_answer() -> None:
    whole = Completion(text="whole", finish_reason="length")
    model = ScriptedModel(["text", Mood(label="glad", valence=0.5), {"é": 1}, whole, ModelTimeout("late")])
    assert (await model.complete(ask())).text == "text"
    assert json.loads((await model.complete(ask())).text) == {"label": "glad", "valence": 0.5}
    assert (await model.complete(ask())).text == '{"é": 1}'
    assert await model.complete(ask()) is whole
    with pytest.raises(ModelTimeout):
        await model.complete(ask())


async def test_choices_come_with_log_probabilities() -> None:
    wanted = Choice(("A", "B"))
    model = ScriptedModel(["B", {"A": 0.25, "B": 0.75}, "neither"])
    sure, unsure, disobedient = [await model.complete(ask(wanted=wanted)) for _ in range(3)]
    assert (sure.text, sure.logprobs) == ("B", ((Alternative("B", 0.0),),))
    assert unsure.text == "B"
    assert unsure.logprobs == ((Alternative("B", math.log(0.75)), Alternative("A", math.log(0.25))),)
    assert (disobedient.text, disobedient.logprobs) == ("neither", ())


async def test_streams_go_by_words_and_lose_nothing() -> None:
    text = "  Two  words\nand a line. "
    call: dict[str, Any] = {"id": "c", "function": {"name": "f"}}
    model = ScriptedModel([text, Completion(text="", message={"role": "assistant", "tool_calls": [call]})])
    deltas = [delta async for delta in model.stream(ask())]
    assert "".join(delta.text for delta in deltas) == text
    assert len(deltas) == 6
    assert (deltas[-1].finish_reason, deltas[-1].usage and deltas[-1].usage.completion_tokens) == ("stop", 5)
    (last,) = [delta async for delta in model.stream(ask())]
    assert last.raw == {"tool_calls": [{"index": 0, **call}]}


async def test_functions_may_be_async_and_callers_interleave() -> None:
    order: list[str] = []

    async def answer(request: Request) -> str:
        order.append(request.purpose)
        await asyncio.sleep(0)
        order.append(request.purpose)
        return request.purpose.upper()

    model = FunctionModel(answer, capabilities=Capabilities())
    answers = await asyncio.gather(model.complete(ask("a")), model.complete(ask("b")))
    assert [answer.text for answer in answers] == ["A", "B"]
    assert order == ["a", "b", "a", "b"]
    assert (await model.capabilities()).structured is StructuredMode.TEXT
    assert (await FunctionModel(lambda request: request.purpose).complete(ask("now"))).text == "now"


class Kind(StrEnum):
    FIRST = "first"


class Leaf(BaseModel):
    kind: Kind
    score: Annotated[float, Field(ge=0.25, le=1)]
    above: Annotated[float, Field(gt=0, lt=0.5)]
    below: Annotated[float, Field(lt=0)]
    count: Annotated[int, Field(gt=2)]
    word: Annotated[str, Field(min_length=6, max_length=8)]
    short: Annotated[str, Field(max_length=2)]


class Tree(BaseModel):
    version: Literal[1]
    leaf: Leaf
    leaves: Annotated[list[Leaf], Field(min_length=2)]
    pair: tuple[int, bool]
    maybe: str | None
    both: Leaf | str
    optional: int = 3


@pytest.mark.parametrize("shape", [Tree, Leaf, Mood])
async def test_the_fake_model_fits_any_schema(shape: type[BaseModel]) -> None:
    schema = shape.model_json_schema()
    text = (await fake_model().complete(ask(wanted=JsonFormat("N", schema, StructuredMode.JSON_SCHEMA)))).text
    jsonschema.validate(json.loads(text), schema)
    shape.model_validate_json(text)
    assert "optional" not in minimal_instance(schema)


async def test_the_fake_model_is_polite_and_undecided() -> None:
    model = fake_model()
    assert "Thank you" in (await model.complete(ask())).text
    undecided = await model.complete(ask(wanted=Choice(("A", "B"))))
    assert [alternative.logprob for alternative in undecided.logprobs[0]] == [math.log(0.5)] * 2

"""Structured answers: what is survived, what is repaired, what is an error."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field

from mentalize.errors import ModelRefused, StructuredOutputError
from mentalize.llm.model import Capabilities, Completion, JsonFormat, Request, StructuredMode
from mentalize.llm.scripted import FunctionModel, ScriptedModel
from mentalize.llm.structured import MORE_ROOM, REPAIR, Clip, answer, parse, schema_of, without_thinking
from mentalize.types import user


class Mood(BaseModel):
    name: Annotated[str, Clip(10)]
    strength: int = Field(ge=1, le=5)
    kind: Literal["good", "bad"]


ASKED = Request(messages=(user("How are they?"),), purpose="mood")
VALID = '{"name": "glad", "strength": 3, "kind": "good"}'
GLAD = Mood(name="glad", strength=3, kind="good")


@pytest.mark.parametrize(
    "text",
    [
        VALID,
        f"Sure! Here it is:\n```json\n{VALID}\n```\nHope that helps.",
        f"<think>maybe {{'name': 1}} or {{}}</think>{VALID}",
        f"still thinking about {{it}}</think>\n{VALID}",
        f"<json>{VALID}</json>",
        f'{{"name": "draft"}} no, better: {VALID}',
        f"{VALID} and {'{'} then some",
        VALID.replace("glad", "gl\nad").replace("gl\nad", "glad"),
    ],
)
def test_json_is_found_whatever_stands_around_it(text: str) -> None:
    assert parse(text, Mood) == GLAD


def test_a_text_that_runs_over_is_cut_and_not_refused() -> None:
    assert parse(VALID.replace("glad", "very very glad indeed"), Mood).name == "very very "


@given(st.text())
def test_any_text_is_a_value_error_or_a_value(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(parse(text, Mood), Mood)


@given(st.text(), st.text())
def test_thinking_never_survives(before: str, thought: str) -> None:
    assert "<think>" not in without_thinking(f"<think>{thought}</think>{before}") or "<think>" in before + thought


async def test_an_invalid_answer_is_shown_to_the_model_once() -> None:
    model = ScriptedModel({"mood": VALID.replace("3", "9"), "mood.repair": VALID})
    assert await answer(model, ASKED, Mood) == GLAD
    repair = model.requests[1]
    assert repair.messages[:-2] == model.requests[0].messages, "the prefix stays the same"
    assert "strength" in repair.messages[-1].text and '"strength": 9' in repair.messages[-2].text


async def test_a_model_that_never_complies_is_a_typed_error_after_two_calls() -> None:
    model = ScriptedModel({"*": "No."})
    with pytest.raises(StructuredOutputError, match="no valid Mood"):
        await answer(model, ASKED, Mood)
    assert len(model.requests) == 2


@pytest.mark.parametrize("mode", list(StructuredMode))
async def test_the_schema_is_shown_only_where_it_is_not_enforced(mode: StructuredMode) -> None:
    model = ScriptedModel({"*": VALID}, capabilities=Capabilities(mode))
    await answer(model, ASKED, Mood)
    sent = model.requests[0]
    assert isinstance(sent.format, JsonFormat) and sent.format.mode is mode
    enforced = mode in (StructuredMode.JSON_SCHEMA, StructuredMode.GRAMMAR)
    assert ("strength" in sent.messages[0].text) is not enforced
    assert sent.messages[0].text.startswith("How are they?")


def test_a_schema_is_strict_and_says_what_pydantic_says() -> None:
    schema: Any = schema_of(Mood)
    assert schema["additionalProperties"] is False and set(schema["required"]) == {"name", "strength", "kind"}
    assert schema["properties"]["name"]["maxLength"] == 10
    validator = Draft202012Validator(schema)
    assert validator.is_valid({"name": "glad", "strength": 3, "kind": "good"})
    assert not validator.is_valid({"name": "glad", "strength": 3})
    assert not validator.is_valid({"name": "glad", "strength": 3, "kind": "good", "more": 1})


async def test_a_repair_with_more_room_than_a_context_has_is_asked_again_with_the_room_of_before() -> None:
    def answered(request: Request) -> Completion:
        if request.max_tokens and request.max_tokens > 2_000:
            raise ModelRefused("max_tokens is larger than the context.")
        cut_off = not request.purpose.endswith(REPAIR)
        return Completion(text='{"name": "gl' if cut_off else VALID, finish_reason="length" if cut_off else "stop")

    model = FunctionModel(answered)
    assert await answer(model, replace(ASKED, max_tokens=400), Mood) == GLAD
    assert [request.max_tokens for request in model.requests] == [400, 400 * MORE_ROOM, 400]

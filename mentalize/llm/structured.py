"""Structured answers: a pydantic model in, a valid value out, or `StructuredOutputError`.

The endpoint's best mode (`Capabilities.structured`) is used; prose, code fences and `<think>` blocks around the
JSON are survived; an invalid answer is shown to the model once, with its error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeVar, cast

from pydantic import BaseModel, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, core_schema

from ..errors import ModelRefused, StructuredOutputError
from ..types import assistant, user
from .model import Completion, JsonFormat, Model, Request, StructuredMode

Shape = TypeVar("Shape", bound=BaseModel)

REPAIR = ".repair"
"""Ends the purpose of a request that shows the model its own error."""

MORE_ROOM = 8
"""How much longer a repaired answer may be that ran out of room: a model may think aloud before it answers."""

_THINKING = re.compile(r"<(think|thinking|reasoning)>.*?(</\1>|\Z)", re.DOTALL | re.IGNORECASE)
_UNOPENED_THINKING = re.compile(r"\A.*?</(think|thinking|reasoning)>", re.DOTALL | re.IGNORECASE)
_LONGEST_ECHO = 4_000
_STRICT_KEYWORDS = frozenset({"title", "default", "minLength"})

_HOW = {
    StructuredMode.JSON_SCHEMA: "",
    StructuredMode.GRAMMAR: "",
    StructuredMode.JSON_OBJECT: "Answer with one JSON object that fits this JSON schema:\n{schema}",
    StructuredMode.TEXT: "Answer with one JSON object between <json> and </json>. It must fit this schema:\n{schema}",
}


@dataclass(frozen=True, slots=True)
class AtMost:
    """Annotates a list that should have at most `count` items; those past it are left out."""

    count: int

    def __get_pydantic_core_schema__(self, source: type[Any], handler: GetCoreSchemaHandler) -> CoreSchema:
        kept_short = cast("core_schema.ListSchema", handler(source)) | {"max_length": self.count}
        return core_schema.no_info_before_validator_function(self._cut, cast("CoreSchema", kept_short))

    def _cut(self, value: object) -> object:
        return cast("list[object]", value)[: self.count] if isinstance(value, list) else value


@dataclass(frozen=True, slots=True)
class Clip:
    """Annotates a string that should keep within `longest` characters and is cut where it does not.

    A sentence that runs over is no reason to spend a repair round. Line breaks become spaces: what a model says about
    a person goes into later prompts as one line, and cannot look like a line of ours.
    """

    longest: int

    def __get_pydantic_core_schema__(self, source: type[str], handler: GetCoreSchemaHandler) -> CoreSchema:
        kept_short = core_schema.str_schema(max_length=self.longest)
        return core_schema.no_info_before_validator_function(self._cut, kept_short)

    def _cut(self, value: object) -> object:
        return " ".join(value.split())[: self.longest] if isinstance(value, str) else value


async def answer(model: Model, request: Request, shape: type[Shape]) -> Shape:
    """Ask `request` and return a valid `shape`.

    Raises:
        StructuredOutputError: the answer and its repair were both invalid.
        ModelError: the model could not be asked.
    """
    mode = (await model.capabilities()).structured
    asked = _ask(request, shape, mode)
    completion = await model.complete(asked)
    try:
        return parse(completion.text, shape)
    except ValueError as error:
        completion = await _repaired(model, asked, _repair(asked, completion, error))
    try:
        return parse(completion.text, shape)
    except ValueError as error:
        raise StructuredOutputError(
            f"{model.name} gave no valid {shape.__name__} in mode {mode}, its own error shown to it: {_brief(error)}.",
            hint="Run `mentalize doctor` to see what the endpoint supports, or bind this role to another model.",
        ) from error


async def _repaired(model: Model, asked: Request, repair: Request) -> Completion:
    """The answer to a repair; where its room is more than the endpoint's context has, with the room of before."""
    try:
        return await model.complete(repair)
    except ModelRefused:
        if repair.max_tokens == asked.max_tokens:
            raise
        return await model.complete(replace(repair, max_tokens=asked.max_tokens))


def parse(text: str, shape: type[Shape]) -> Shape:
    """The last valid `shape` in `text`, whatever stands around it.

    Raises:
        ValueError: there is no JSON object, or none that fits (pydantic's `ValidationError` is one).
    """
    with suppress(ValidationError):  # Nearly every answer is one object and nothing else.
        return shape.model_validate_json(text)
    without = without_thinking(text)
    problem: ValueError = ValueError("there is no JSON object in the answer")
    for candidate in reversed(list(_objects(without))):
        try:
            return shape.model_validate(candidate)
        except ValidationError as error:
            problem = error
    raise problem


def without_thinking(text: str) -> str:
    """`text` without `<think>` blocks, also one that was never opened or never closed."""
    return _UNOPENED_THINKING.sub("", _THINKING.sub("", text)).strip()


@lru_cache(maxsize=64)
def schema_of(shape: type[BaseModel]) -> Mapping[str, Any]:
    """The JSON schema of `shape` as strict endpoints want it: every field required, nothing additional."""
    return cast("Mapping[str, Any]", _strict(shape.model_json_schema()))


def _strict(node: Any) -> Any:
    if isinstance(node, list):
        return [_strict(item) for item in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    source = cast("dict[str, Any]", node)
    if "properties" in source:
        properties = {name: _strict(value) for name, value in source["properties"].items()}
        kept = {key: _strict(value) for key, value in source.items() if key in ("type", "description", "$defs")}
        return kept | {"properties": properties, "required": list(properties), "additionalProperties": False}
    return {key: _strict(value) for key, value in source.items() if key not in _STRICT_KEYWORDS}


def _ask(request: Request, shape: type[BaseModel], mode: StructuredMode) -> Request:
    schema = schema_of(shape)
    asked = replace(request, format=JsonFormat(name=shape.__name__, schema=schema, mode=mode))
    how = _HOW[mode]
    if not how:
        return asked
    return _append(asked, how.format(schema=json.dumps(schema, ensure_ascii=False)))


def _append(request: Request, text: str) -> Request:
    """Put `text` after the last message, so that the prefix stays the same."""
    *before, last = request.messages
    return replace(request, messages=(*before, last.model_copy(update={"content": f"{last.text}\n\n{text}"})))


def _repair(asked: Request, completion: Completion, error: ValueError) -> Request:
    correction = user(
        f"That answer cannot be used: {_brief(error)}. "
        "Give the corrected JSON object and nothing else, complete and short."
    )
    wrong = assistant(completion.text[:_LONGEST_ECHO] or "(empty)")
    limit = asked.max_tokens
    if limit is not None and completion.finish_reason == "length":
        limit *= MORE_ROOM
    return replace(
        asked,
        messages=(*asked.messages, wrong, correction),
        purpose=asked.purpose + REPAIR,
        cacheable=False,
        max_tokens=limit,
    )


def _brief(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    problems = [f"{'.'.join(map(str, item['loc'])) or 'answer'}: {item['msg']}" for item in error.errors()[:3]]
    return "; ".join(problems)


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Every top-level JSON object in `text`, in order."""
    decoder = json.JSONDecoder(strict=False)
    at = text.find("{")
    while at != -1:
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = at + 1
        else:
            if isinstance(value, dict):
                yield cast("dict[str, Any]", value)
        at = text.find("{", end)

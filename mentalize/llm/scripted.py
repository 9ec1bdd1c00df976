"""Models that answer from a script or a function: for tests, ours and those of people who build on mentalize."""

from __future__ import annotations

import asyncio
import inspect
import json
import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias, cast

from pydantic import BaseModel

from ..errors import ModelError
from ..types import Usage
from .model import Alternative, Capabilities, Choice, Completion, Delta, Given, JsonFormat, Request, StructuredMode

__all__ = ["Answer", "FunctionModel", "ScriptedModel", "fake_model", "minimal_instance"]

Answer: TypeAlias = str | BaseModel | Mapping[str, Any] | Completion | ModelError
"""What a script may hold: text; a value to be sent as JSON; a whole `Completion`; an error to raise.

Where the request is a `Choice`, a string that is one of the options is chosen with certainty, and a mapping from
options to probabilities gives the first-token log-probabilities.
"""

_WORD = re.compile(r"\s*\S+\s*")
_EVERYTHING = Capabilities(StructuredMode.JSON_SCHEMA, logprobs=True)


class FunctionModel:
    """A model whose answers come from a Python function, sync or async.

    `requests` records every request, in order. An exception of the function that is not a `ModelError` is a fault
    of the test and is not translated.
    """

    def __init__(
        self,
        function: Callable[[Request], Answer | Awaitable[Answer]],
        *,
        name: str = "function",
        capabilities: Capabilities = _EVERYTHING,
    ) -> None:
        self.requests: list[Request] = []
        self._function = function
        self._name = name
        self._capabilities = capabilities

    @property
    def name(self) -> str:
        return self._name

    async def complete(self, request: Request) -> Completion:
        self.requests.append(request)
        await asyncio.sleep(0)  # As every real model does, so that parallel callers interleave.
        answer = self._function(request)
        if inspect.isawaitable(answer):
            answer = await answer
        return _completion(answer, request, self._name)

    async def stream(self, request: Request) -> AsyncIterator[Delta]:
        completion = await self.complete(request)
        for word in _WORD.findall(completion.text):
            yield Delta(text=word, raw={"content": word})
            await asyncio.sleep(0)
        yield Delta(
            finish_reason=completion.finish_reason, usage=completion.usage, raw=_remaining_fields(completion.message)
        )

    async def capabilities(self) -> Capabilities:
        return self._capabilities

    async def close(self) -> None:
        """Nothing is held."""


class ScriptedModel(FunctionModel):
    """A model that answers from a script.

    A mapping is keyed by `Request.purpose`, with `"*"` for every purpose not named; a repair round such as
    `plan.repair` takes from `plan` unless it is named itself. Where the value is a list, the items are used in order
    and the last one repeats. A sequence is used in order, whatever the purpose, and runs out.

    Raises:
        ModelError: the answer of the script, if it is one; or the script has no answer for the purpose.
    """

    def __init__(
        self,
        answers: Mapping[str, Answer | Sequence[Answer]] | Sequence[Answer],
        *,
        name: str = "fake",
        capabilities: Capabilities = _EVERYTHING,
    ) -> None:
        super().__init__(self._next, name=name, capabilities=capabilities)
        self._by_purpose: dict[str, list[Answer]] = {}
        self._in_order: list[Answer] = []
        if isinstance(answers, Mapping):
            self._by_purpose = {purpose: _as_list(answer) for purpose, answer in answers.items()}
        elif isinstance(answers, str):
            self._by_purpose = {"*": [answers]}
        else:
            self._in_order = list(answers)

    def _next(self, request: Request) -> Answer:
        if self._in_order:
            return self._in_order.pop(0)
        purpose = request.purpose
        names = (purpose, purpose.rpartition(".")[0], "*")
        answers = next((answers for name in names if (answers := self._by_purpose.get(name))), None)
        if not answers:
            raise ModelError(
                f"The script of {self.name!r} has no answer left for the purpose {request.purpose!r}.",
                hint=f"Add one under {request.purpose!r}, or a default under '*'.",
            )
        return answers.pop(0) if len(answers) > 1 else answers[0]


def fake_model(name: str = "fake") -> FunctionModel:
    """The model behind the string `fake`: one polite sentence for prose, the smallest valid value for a schema."""

    def answer(request: Request) -> Answer:
        match request.format:
            case JsonFormat(schema=schema):
                return json.dumps(minimal_instance(schema))
            case Choice(options=options):
                return dict.fromkeys(options, 1 / len(options))
            case Given(text=text):
                return Completion(text="", logprobs=((Alternative(text, -1.0),),))
            case None:
                return "Thank you for telling me. I would like to hear more about it."

    return FunctionModel(answer, name=name)


def minimal_instance(schema: Mapping[str, Any]) -> Any:
    """A small value that fits a JSON schema: required fields only, the least number, the shortest list.

    Covers what pydantic writes, except `pattern`.
    """
    return _instance(schema, schema)


def _instance(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    if "$ref" in schema:
        return _instance(_resolved(str(schema["$ref"]), root), root)
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if schema.get("enum"):
        return schema["enum"][0]
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            return _instance(schema[key][0], root)
    if schema.get("allOf"):
        merged: dict[str, Any] = {}
        for part in cast("list[Mapping[str, Any]]", schema["allOf"]):
            merged |= _resolved(str(part["$ref"]), root) if "$ref" in part else part
        return _instance(merged, root)
    kind: str | list[str] = schema.get("type", "object" if "properties" in schema else "string")
    return _of_type(kind if isinstance(kind, str) else kind[0], schema, root)


def _of_type(kind: str, schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    match kind:
        case "object":
            properties = schema.get("properties", {})
            return {name: _instance(properties.get(name, {}), root) for name in schema.get("required", [])}
        case "array":
            first: list[Mapping[str, Any]] = list(schema.get("prefixItems", []))
            rest: Mapping[str, Any] = schema.get("items") or {}
            missing = max(0, int(schema.get("minItems", 0)) - len(first))
            return [_instance(item, root) for item in [*first, *([rest] * missing)]]
        case "integer" | "number":
            return _number(schema, whole=kind == "integer")
        case "boolean":
            return False
        case "null":
            return None
        case _:
            text = "none".ljust(int(schema.get("minLength", 0)), ".")
            return text[: int(schema.get("maxLength", len(text)))]


def _number(schema: Mapping[str, Any], *, whole: bool) -> float | int:
    step = schema.get("multipleOf", 1 if whole else 1e-6)
    if "minimum" in schema:
        least = schema["minimum"]
    elif "exclusiveMinimum" in schema:
        least = schema["exclusiveMinimum"] + step
    else:
        highest = schema.get("maximum", schema.get("exclusiveMaximum", step) - step)
        least = min(0, highest)
    return math.ceil(least) if whole else least


def _resolved(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Any = root
    for key in reference.removeprefix("#/").split("/"):
        found = found[key]
    return found


def _as_list(answer: Answer | Sequence[Answer]) -> list[Answer]:
    if isinstance(answer, str | BaseModel | Mapping | Completion | ModelError):
        return [answer]
    return list(answer)


def _completion(answer: Answer, request: Request, model: str) -> Completion:
    if isinstance(answer, ModelError):
        raise answer
    if isinstance(answer, Completion):
        return answer
    chances = _chances(answer, request)
    text = max(chances, key=lambda option: chances[option]) if chances else _as_text(answer)
    alternatives = tuple(
        Alternative(option, math.log(chance))
        for option, chance in sorted(chances.items(), key=lambda item: -item[1])
        if chance > 0
    )
    return Completion(
        text=text,
        usage=_usage(request, text),
        logprobs=(alternatives,) if alternatives else (),
        message={"role": "assistant", "content": text},
        model=model,
    )


def _chances(answer: str | BaseModel | Mapping[str, Any], request: Request) -> Mapping[str, float]:
    if not isinstance(request.format, Choice):
        return {}
    options = request.format.options
    if isinstance(answer, str):
        return {answer: 1.0} if answer in options else {}
    if isinstance(answer, Mapping) and answer and all(option in options for option in answer):
        return answer
    return {}


def _as_text(answer: str | BaseModel | Mapping[str, Any]) -> str:
    if isinstance(answer, str):
        return answer
    if isinstance(answer, BaseModel):
        return answer.model_dump_json()
    return json.dumps(dict(answer), ensure_ascii=False)


def _usage(request: Request, text: str) -> Usage:
    """Words stand for tokens."""
    return Usage(sum(len(message.text.split()) for message in request.messages), len(text.split()))


def _remaining_fields(message: Mapping[str, Any]) -> dict[str, Any]:
    fields = {key: value for key, value in message.items() if key not in ("role", "content")}
    if "tool_calls" in fields:
        fields["tool_calls"] = [{"index": index, **call} for index, call in enumerate(fields["tool_calls"])]
    return fields

"""OpenAI's chat-completions wire format: a `Request` as a body, an answer or a stream of chunks as values."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NoReturn, cast

from pydantic_core import from_json

from ..errors import MalformedAnswer
from ..types import Usage
from .model import Alternative, Choice, Completion, Delta, Given, JsonFormat, Request, StructuredMode

__all__ = [
    "ChunkReader",
    "answer_body",
    "as_mapping",
    "chunk_body",
    "completion_of",
    "constraint",
    "first_choice",
    "given_tokens",
    "parsed",
    "reason_of",
    "request_body",
    "usage_body",
    "usage_of",
]

_MOST_ALTERNATIVES = 20
"""What OpenAI and vLLM allow per token."""


def request_body(request: Request, model: str, *, stream: bool, constrained: bool = True) -> dict[str, Any]:
    """The body of a request. Fields that `Request` names win over equal ones in `parameters`.

    Args:
        request: what is asked.
        model: the endpoint's own name of the model.
        stream: whether the answer is to come in pieces; the usage is asked for too.
        constrained: whether to send the fields of vLLM and llama.cpp that constrain decoding; endpoints that know
            neither may refuse them.
    """
    body: dict[str, Any] = dict(request.parameters)
    body["model"] = model
    body["messages"] = [message.as_openai() for message in request.messages]
    if request.max_tokens is not None and "max_completion_tokens" not in body:
        body["max_tokens"] = request.max_tokens
    for name in ("temperature", "seed"):
        if (value := getattr(request, name)) is not None:
            body[name] = value
    if request.stop:
        body["stop"] = list(request.stop)
    body.pop("stream", None)
    options = body.pop("stream_options", None)
    if stream:
        body["stream"] = True
        body["stream_options"] = {**(options or {}), "include_usage": True}
    body |= _format_fields(request, body["messages"], constrained=constrained)
    if alternatives := request.top_logprobs or (_MOST_ALTERNATIVES if isinstance(request.format, Choice) else 0):
        body |= {"logprobs": True, "top_logprobs": min(alternatives, _MOST_ALTERNATIVES)}
    return body


def _format_fields(request: Request, messages: list[Any], *, constrained: bool) -> dict[str, Any]:
    match request.format:
        case JsonFormat() as wanted:
            return _json_fields(wanted)
        case Given() as given:
            return _given_fields(given, messages)
        case Choice() as choice:
            return constraint(choice) if constrained else {}
        case None:
            return {}


def constraint(choice: Choice) -> dict[str, Any]:
    """The fields that hold vLLM (`structured_outputs`) and llama.cpp (`grammar`) to the options."""
    literals = " | ".join(json.dumps(option, ensure_ascii=False) for option in choice.options)
    return {"structured_outputs": {"choice": list(choice.options)}, "grammar": f"root ::= {literals}"}


def _given_fields(given: Given, messages: list[Any]) -> dict[str, Any]:
    """The fields of vLLM for the log-probabilities of an answer that the prompt ends in; one token must be written."""
    return {
        "messages": [*messages, {"role": "assistant", "content": given.text}],
        "continue_final_message": True,
        "add_generation_prompt": False,
        "prompt_logprobs": 0,
        "max_tokens": 1,
    }


def given_tokens(answer: object, text: str) -> tuple[tuple[Alternative, ...], ...]:
    """The tokens of `text`, in which the prompt ended, with their log-probabilities; none where they are not told.

    A token that is a part of a character may be told as an empty text: those before the first whole one are left out.
    """
    positions = as_mapping(answer).get("prompt_logprobs")
    tokens: list[tuple[Alternative, ...]] = []
    ending = ""
    for position in reversed(cast("list[object]", positions) if isinstance(positions, list) else []):
        if len(ending) >= len(text):
            break
        told = as_mapping(next(iter(as_mapping(position).values()), None))
        token, logprob = told.get("decoded_token"), told.get("logprob")
        if not isinstance(token, str) or not isinstance(logprob, int | float):
            break
        ending = token + ending
        tokens.append((Alternative(token, float(logprob)),))
    return tuple(reversed(tokens))


def _json_fields(wanted: JsonFormat) -> dict[str, Any]:
    match wanted.mode:
        case StructuredMode.JSON_SCHEMA:
            named = {"name": wanted.name, "schema": dict(wanted.schema), "strict": True}
            return {"response_format": {"type": "json_schema", "json_schema": named}}
        case StructuredMode.GRAMMAR:
            return {"structured_outputs": {"json": dict(wanted.schema)}, "json_schema": dict(wanted.schema)}
        case StructuredMode.JSON_OBJECT:
            return {"response_format": {"type": "json_object"}}
        case StructuredMode.TEXT:
            return {}


def completion_of(answer: object, *, endpoint: str) -> Completion:
    """The first choice of a whole answer.

    Raises:
        MalformedAnswer: the answer has no choice with a message.
    """
    body = as_mapping(answer)
    choice = first_choice(body)
    if choice is None or not isinstance(choice.get("message"), Mapping):
        _malformed(endpoint, "an answer without `choices[0].message`")
    message = cast("Mapping[str, Any]", choice["message"])
    return Completion(
        text=_text(message.get("content")),
        finish_reason=reason_of(choice) or "stop",
        usage=usage_of(body.get("usage")) or Usage(),
        logprobs=_logprobs(choice.get("logprobs")),
        message=dict(message),
        model=str(body.get("model") or ""),
    )


def first_choice(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The choice with index 0 of an answer or a chunk, if there is one."""
    choices = body.get("choices")
    if not isinstance(choices, list):
        return None
    for choice in cast("list[object]", choices):
        fields = as_mapping(choice)
        if fields and fields.get("index", 0) == 0:
            return fields
    return None


def reason_of(choice: Mapping[str, Any]) -> str | None:
    """Why a choice ended; None while it has not, and where what is said of it is no word."""
    reason = choice.get("finish_reason")
    return reason if isinstance(reason, str) and reason else None


class ChunkReader:
    """Turns the chunks of one stream into deltas, the last of which carries the finish reason and the usage."""

    def __init__(self, endpoint: str) -> None:
        self.finish_reason: str | None = None
        self._usage: Usage | None = None
        self._endpoint = endpoint

    def delta(self, chunk: object) -> Delta | None:
        """What a chunk adds to the answer, if anything; the finish reason and the usage are kept for `last`."""
        body = as_mapping(chunk)
        if not body:
            _malformed(self._endpoint, "a chunk that is no JSON object")
        if usage := body.get("usage"):
            self._usage = usage_of(usage) or self._usage
        choice = first_choice(body)
        if choice is None:
            return None
        self.finish_reason = reason_of(choice) or self.finish_reason
        raw = {key: value for key, value in as_mapping(choice.get("delta")).items() if value is not None}
        return Delta(text=_text(raw.get("content")), raw=raw) if raw else None

    def last(self) -> Delta:
        """The end of the stream."""
        return Delta(finish_reason=self.finish_reason or "stop", usage=self._usage)


# --- answers of our own -----------------------------------------------------------------------------------


def answer_body(
    name: str, created: int, model: str, message: Mapping[str, Any], finish_reason: str, usage: Usage | None
) -> dict[str, Any]:
    """The body of a whole answer."""
    return {
        "id": name,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [{"index": 0, "message": dict(message), "logprobs": None, "finish_reason": finish_reason}],
        "usage": usage_body(usage),
    }


def chunk_body(
    name: str,
    created: int,
    model: str,
    delta: Mapping[str, Any] | None,
    finish_reason: str | None,
    *,
    counts: bool = False,
) -> dict[str, Any]:
    """One chunk of a stream; without a delta, one that has no choices.

    Args:
        name: The answer's id, the same in every chunk.
        created: Seconds since 1970, likewise.
        model: The model as it was asked for.
        delta: What is added to the message.
        finish_reason: Given with the last delta.
        counts: Whether the usage comes at the end, so that it is null before.
    """
    choices = [] if delta is None else [{"index": 0, "delta": dict(delta), "finish_reason": finish_reason}]
    body = {"id": name, "object": "chat.completion.chunk", "created": created, "model": model, "choices": choices}
    return body | {"usage": None} if counts else body


def usage_body(usage: Usage | None) -> dict[str, Any]:
    """Token counts: always three integers, and the cached ones."""
    counted = usage or Usage()
    return {
        "prompt_tokens": counted.prompt_tokens,
        "completion_tokens": counted.completion_tokens,
        "total_tokens": counted.total_tokens,
        "prompt_tokens_details": {"cached_tokens": counted.cached_tokens},
    }


def _malformed(endpoint: str, what: str) -> NoReturn:
    raise MalformedAnswer(
        f"{endpoint} sent {what}.", hint="Check that the base URL leads to an OpenAI-compatible chat endpoint."
    )


def parsed(content: str | bytes) -> Any:
    """What an endpoint sent, read as JSON. Raises ValueError, also for what is nested too deep to be read.

    Pydantic's parser takes a third of the time. What it refuses, Python's reads, which knows other encodings than UTF-8
    and lets half a surrogate pair pass.
    """
    with suppress(ValueError):
        return from_json(content)
    try:
        return json.loads(content.removeprefix("\ufeff") if isinstance(content, str) else content)
    except RecursionError as error:
        raise ValueError("The JSON is nested too deep.") from error


def as_mapping(value: object) -> Mapping[str, Any]:
    """The value, if it is a JSON object; else an empty one."""
    if type(value) is dict:  # Nearly always, and it is asked several times a chunk.
        return cast("dict[str, Any]", value)
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (as_mapping(part).get("text") for part in cast("list[object]", content))
    return "".join(part for part in parts if isinstance(part, str))


def usage_of(usage: object) -> Usage | None:
    """Token counts as an endpoint gives them; None where it gives none."""
    fields = as_mapping(usage)
    if not fields:
        return None
    details = as_mapping(fields.get("prompt_tokens_details"))
    return Usage(
        _count(fields.get("prompt_tokens")),
        _count(fields.get("completion_tokens")),
        _count(details.get("cached_tokens")),
    )


def _count(value: object) -> int:
    """A number of tokens; 0 where something else stands in its place."""
    return max(0, int(value)) if isinstance(value, int | float) and math.isfinite(value) else 0


def _logprobs(logprobs: object) -> tuple[tuple[Alternative, ...], ...]:
    positions = as_mapping(logprobs).get("content")
    if not isinstance(positions, list):
        return ()
    return tuple(_alternatives(as_mapping(position)) for position in cast("list[object]", positions))


def _alternatives(position: Mapping[str, Any]) -> tuple[Alternative, ...]:
    given = position.get("top_logprobs") or [position]
    found = [
        Alternative(str(fields["token"]), float(fields["logprob"]))
        for fields in map(as_mapping, cast("list[object]", given) if isinstance(given, list) else [])
        if "token" in fields and isinstance(fields.get("logprob"), int | float)
    ]
    return tuple(sorted(found, key=lambda alternative: -alternative.logprob))

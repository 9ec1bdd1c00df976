"""OpenAPI: the document of what is served, with the chat route, which reads its body itself."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from .asked import MODELS
from .wishes import Wishes

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_MESSAGE = {
    "type": "object",
    "required": ["role"],
    "properties": {
        "role": {"type": "string", "enum": ["system", "developer", "user", "assistant", "tool", "function"]},
        "content": {
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}, {"type": "null"}],
        },
    },
}
_EVENT = {
    "type": "object",
    "description": "One event: a chunk as JSON, `[DONE]` at the end, or an error in place of what would follow.",
    "required": ["data"],
    "properties": {"data": {"type": "string"}},
}


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, made once."""
    if app.openapi_schema is None:
        made = FastAPI.openapi(app)
        parts = made.setdefault("components", {}).setdefault("schemas", {})
        parts.pop("HTTPValidationError", None)
        parts.pop("ValidationError", None)
        parts["Error"] = _ERROR
        wishes = Wishes.model_json_schema(ref_template="#/components/schemas/{model}")
        parts |= wishes.pop("$defs", {})
        parts["Wishes"] = wishes
        made["paths"]["/v1/chat/completions"] = {"post": _chat()}
        made["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        made["security"] = [{"key": []}, {}]
        for path in made["paths"].values():
            for operation in path.values():
                _tell_errors(operation["responses"])
        app.openapi_schema = made
    return app.openapi_schema


def _tell_errors(responses: dict[str, Any]) -> None:
    """Every error has OpenAI's form, unless a route says otherwise."""
    responses.pop("422", None)
    responses.setdefault("default", {"description": "An error."})
    for status, response in responses.items():
        if not status.startswith("2"):
            response.setdefault("content", {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}})


def _chat() -> dict[str, Any]:
    return {
        "tags": ["chat"],
        "summary": "Answer a conversation",
        "description": "OpenAI's chat completions. Fields that are not listed are handed on to the model.",
        "operationId": "chat_completions",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _request()}},
        },
        "responses": {
            "200": {
                "description": "The reply; a stream of events where `stream` is true.",
                "content": {
                    "application/json": {"schema": {"type": "object"}},
                    "text/event-stream": {"schema": _EVENT},
                },
            }
        },
    }


def _request() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["model", "messages"],
        "properties": {
            "model": {"type": "string", "minLength": 1, "examples": list(MODELS)},
            "messages": {"type": "array", "minItems": 1, "items": _MESSAGE},
            "stream": {"type": ["boolean", "null"]},
            "stream_options": {"type": ["object", "null"], "properties": {"include_usage": {"type": "boolean"}}},
            "reasoning_effort": {"type": ["string", "null"], "description": "How much thought the turn gets."},
            "user": {"type": "string", "description": "Who the turn is with, where the key may say so."},
            "mentalize": {"$ref": "#/components/schemas/Wishes"},
        },
        "additionalProperties": True,
    }

"""What the upstream says to a client of the endpoint, by what the person says: a reply, a tool call, or a failure."""

from __future__ import annotations

import json
from typing import Any

from endpoint import thoughtful
from openai_server import Reply
from social_script import MESSAGE, WARM

ASK: list[Any] = [{"role": "user", "content": MESSAGE}]
SENTENCES = ["We would love to have you there. ", "Shall we wait for you?"]
"""The pieces in which `WARM` is streamed."""
COMPLETION_TOKENS = len(WARM.split())

SLOW_DOWN = "Slow down!"
BREAK_OFF = "Break off!"
FAIL = "Fail!"
"""Messages to which the upstream answers with status 429, three quarters of a stream, and status 500."""

CITY = {"city": "Lima"}
SUNNY = "It is sunny in Lima."
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
_FUNCTION = {"name": "weather", "arguments": json.dumps(CITY)}
_think: Any = thoughtful()


def scene(body: dict[str, Any]) -> Reply:
    """Answer a request; a tool that is offered is called, and once it has answered, told."""
    said = json.dumps(body["messages"])
    if SLOW_DOWN in said:
        error = {"message": "Too many requests.", "type": "rate_limit_error", "code": "rate_limit_exceeded"}
        return Reply(status=429, headers={"Retry-After": "7"}, body={"error": error})
    if FAIL in said:
        return Reply(status=500, body={"error": {"message": "Out of order."}})
    if BREAK_OFF in said and body.get("stream"):
        return Reply(text=WARM, cut_after=9)
    if body["messages"][-1]["role"] == "tool":
        return Reply(text=SUNNY)
    return _call(body) if body.get("tools") else _think(body)


def _call(body: dict[str, Any]) -> Reply:
    if body.get("stream"):
        return Reply(pieces=[*map(_event, _call_in_pieces()), b"data: [DONE]\n\n"])
    call = {"id": "call_1", "type": "function", "function": _FUNCTION}
    return Reply(message={"content": None, "tool_calls": [call]}, finish_reason="tool_calls")


def _call_in_pieces() -> list[dict[str, Any]]:
    """Its deltas lack the `index` that clients need, as those of some endpoints do (D-13)."""
    arguments = _FUNCTION["arguments"]
    begun = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}
    parts = [{"function": {"arguments": part}} for part in (arguments[:6], arguments[6:])]
    first = {"role": "assistant", "content": None, "tool_calls": [begun]}
    return [first, *({"tool_calls": [part]} for part in parts), {}]


def _event(delta: dict[str, Any]) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": None if delta else "tool_calls"}
    chunk = {"id": "chatcmpl-call", "object": "chat.completion.chunk", "created": 1, "model": "scripted"}
    return b"data: " + json.dumps({**chunk, "choices": [choice]}).encode() + b"\n\n"

"""Chunks: a reply of ours as a stream of OpenAI's chunks."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..llm.relay import new_id
from ..llm.wire import answer_body, chunk_body, usage_body
from ..open_turn import Reply
from ..types import Usage

FINISH_REASONS = ("stop", "length", "tool_calls", "content_filter", "function_call")
"""All that clients know (D-3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunks:
    """Makes the chunks of one answer."""

    model: str
    """As it was asked for."""
    counts: bool
    """Whether the usage comes at the end."""
    id: str = field(default_factory=new_id)
    created: int = field(default_factory=lambda: int(time.time()))

    def begin(self) -> bytes:
        """Who speaks."""
        return self._event({"role": "assistant", "content": ""})

    def text(self, text: str) -> bytes:
        """A piece of the reply."""
        return self._event({"content": text})

    def thought(self, text: str) -> bytes:
        """A line about a stage, where clients show a model's reasoning."""
        return self._event({"reasoning_content": text})

    def end(self, finish_reason: str, usage: Usage) -> bytes:
        """Why it ends, and the usage if it was asked for."""
        last = self._event({}, finish_reason_of(finish_reason))
        if not self.counts:
            return last
        body = chunk_body(self.id, self.created, self.model, None, None) | {"usage": usage_body(usage)}
        return last + _event(body)

    def _event(self, delta: Mapping[str, Any], finish_reason: str | None = None) -> bytes:
        return _event(chunk_body(self.id, self.created, self.model, delta, finish_reason, counts=self.counts))


def whole(reply: Reply, *, model: str, thoughts: str = "") -> bytes:
    """A whole answer."""
    message = dict(reply.message) | ({"reasoning_content": thoughts} if thoughts else {})
    reason = finish_reason_of(reply.finish_reason)
    body = answer_body(new_id(), int(time.time()), model, message, reason, reply.usage)
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def finish_reason_of(given: str) -> str:
    """A reason that clients know."""
    return given if given in FINISH_REASONS else "stop"


def _event(body: Mapping[str, Any]) -> bytes:
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return b"data: " + text.encode("utf-8", "replace") + b"\n\n"

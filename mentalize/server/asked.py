"""Asked: a chat-completions request, checked as far as we must understand it. Everything else in it is handed on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from ..llm.wire import as_mapping
from ..types import Effort
from .faults import Fault
from .wishes import FIELD, Wishes, wishes_in

NAME = "mentalize"
"""The model that thinks, with effort `auto`."""

MODELS = {NAME: Effort.AUTO} | {
    f"{NAME}-{effort}": effort for effort in (Effort.MINIMAL, Effort.LOW, Effort.MEDIUM, Effort.HIGH)
}
"""Models that think, by name."""

_REASONING_EFFORTS = {
    "none": Effort.NONE,
    "minimal": Effort.MINIMAL,
    "low": Effort.LOW,
    "medium": Effort.MEDIUM,
    "high": Effort.HIGH,
    "xhigh": Effort.HIGH,
    "auto": Effort.AUTO,
}
"""OpenAI's field `reasoning_effort`, and what it means here."""

MOST_MESSAGES = 20_000
"""Messages of one conversation; no model takes as many."""

_OURS = frozenset({"model", "messages", "stream", "stream_options", "reasoning_effort", FIELD})
_TASK_HEADER = "x-openwebui-task"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a request asks for."""

    given: Mapping[str, Any]
    """The body as it came."""
    body: Mapping[str, Any]
    """As it goes on to a model's endpoint: without the field that is ours."""
    raw: bytes | None
    """The same as bytes, exactly as they came; None where our field had to be taken out."""
    model: str
    streams: bool
    counts: bool
    """Whether a stream is to end with the usage."""
    effort: Effort | None
    """How much thought; None for a plain request to a model itself."""
    side_task: bool
    """Whether the app asks, about the conversation, and says so."""
    wishes: Wishes

    @property
    def messages(self) -> Sequence[Mapping[str, Any]]:
        """The conversation."""
        return self.body["messages"]

    @property
    def parameters(self) -> dict[str, Any]:
        """Fields for the call that writes."""
        return {name: value for name, value in self.body.items() if name not in _OURS}


def asked_in(body: Mapping[str, Any], raw: bytes, headers: Mapping[str, str]) -> Asked:
    """What a request asks for.

    Raises:
        Fault: a field that we must understand has a value that we cannot.
    """
    model, messages, streams = body.get("model"), body.get("messages"), body.get("stream")
    if not isinstance(model, str) or not model:
        raise Fault(400, f"`model` must name a model, such as {NAME!r}.", param="model")
    if not isinstance(messages, list) or not messages:
        raise Fault(400, "`messages` must be a list of at least one message.", param="messages")
    if len(cast("list[object]", messages)) > MOST_MESSAGES:
        raise Fault(400, f"`messages` may have {MOST_MESSAGES:,} messages.", param="messages")
    if streams not in (None, True, False):
        raise Fault(400, "`stream` must be true or false.", param="stream")
    options: object = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise Fault(400, "`stream_options` must be an object.", param="stream_options")
    wishes = wishes_in(headers, body)
    ours = FIELD in body or (model in MODELS and body.get("reasoning_effort") == Effort.AUTO)
    return Asked(
        given=body,
        body=_handed_on(body, model) if ours else body,
        raw=None if ours else raw,
        model=model,
        streams=bool(streams),
        counts=bool(as_mapping(body.get("stream_options")).get("include_usage")),
        effort=_effort(model, body, wishes),
        side_task=bool(headers.get(_TASK_HEADER, "").strip()),
        wishes=wishes,
    )


def _handed_on(body: Mapping[str, Any], model: str) -> dict[str, Any]:
    """A body without what only we understand."""
    ours = {FIELD, "reasoning_effort"} if body.get("reasoning_effort") == Effort.AUTO and model in MODELS else {FIELD}
    return {name: value for name, value in body.items() if name not in ours}


def _effort(model: str, body: Mapping[str, Any], wishes: Wishes) -> Effort | None:
    """The effort that the model's name says, else our own field, else `reasoning_effort`."""
    if model not in MODELS:
        return None
    if model != NAME:
        return MODELS[model]
    if wishes.effort is not None:
        return wishes.effort
    named = body.get("reasoning_effort")
    if named is None:
        return Effort.AUTO
    if not isinstance(named, str) or named not in _REASONING_EFFORTS:
        efforts = ", ".join(_REASONING_EFFORTS)
        raise Fault(400, f"`reasoning_effort` must be one of {efforts}.", param="reasoning_effort")
    return _REASONING_EFFORTS[named]

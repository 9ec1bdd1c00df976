"""Model: the one protocol by which a language model is asked, and the values that pass through it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from ..types import Message, Usage


class StructuredMode(StrEnum):
    """How an endpoint can be held to a JSON schema, best first."""

    JSON_SCHEMA = "json_schema"
    """`response_format: {"type": "json_schema"}` constrains decoding."""
    GRAMMAR = "grammar"
    """The endpoint's own constrained decoding (llama.cpp `json_schema`, vLLM `structured_outputs`)."""
    JSON_OBJECT = "json_object"
    """Any JSON object is guaranteed; the schema is shown in the prompt."""
    TEXT = "text"
    """Nothing is guaranteed; the JSON is asked for between tags."""


@dataclass(frozen=True, slots=True)
class JsonFormat:
    """The answer must be JSON that fits `schema`, enforced by way of `mode`."""

    name: str
    schema: Mapping[str, Any]
    mode: StructuredMode


@dataclass(frozen=True, slots=True)
class Choice:
    """The answer must be one of `options`: a scoring, read from first-token log-probabilities."""

    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Given:
    """The answer is given, and nothing is written: a scoring of how likely each of its tokens is.

    `Completion.logprobs` then has one entry a token of `text`, with that token alone.
    """

    text: str


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an endpoint was found to support."""

    structured: StructuredMode = StructuredMode.TEXT
    logprobs: bool = False
    """Whether it returns first-token log-probabilities with alternatives."""
    likelihoods: bool = False
    """Whether it says how likely a text is that it is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One question to a model."""

    messages: tuple[Message, ...]
    purpose: str = "reply"
    """Which agent asks; for the trace and for scripted models."""
    max_tokens: int | None = None
    temperature: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    format: JsonFormat | Choice | Given | None = None
    top_logprobs: int = 0
    """How many alternatives per token to return with log-probabilities; 0 for none."""
    cacheable: bool = False
    """Whether an equal request may be answered from `CachedModel`."""
    scope: tuple[str, ...] = ()
    """Whose it is: what was answered in one scope answers nothing in another. Empty: it holds nothing of anybody."""
    conversation: str = ""
    """What it belongs to: requests of one conversation begin alike, so one endpoint of several gets them, whose cache
    holds that beginning. It never leaves this process. Empty: the first messages tell."""
    background: bool = False
    """Whether nobody waits for the answer, so that requests for which somebody does go before it."""
    prompts: tuple[str, ...] = ()
    """The prompts it was made from, each as `id@version#digest`; for the trace."""
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Further fields of the OpenAI request body (tools, n, …), handed on as they are."""

    @property
    def scores(self) -> bool:
        """Whether it is a scoring: what it writes, if anything, is compared and not read."""
        return isinstance(self.format, Choice | Given)


@dataclass(frozen=True, slots=True)
class Alternative:
    """A token that could have stood at a position, with its natural log-probability."""

    token: str
    logprob: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A model's whole answer."""

    text: str
    finish_reason: str = "stop"
    usage: Usage = Usage()
    logprobs: tuple[tuple[Alternative, ...], ...] = ()
    """For each generated token, its alternatives, most likely first."""
    message: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The assistant message as the endpoint sent it (tool calls, reasoning fields)."""
    model: str = ""
    """The model name that the endpoint reports."""
    cached: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """A piece of a streamed answer. The last one carries `finish_reason` and, where known, `usage`."""

    text: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None
    raw: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The `delta` object as the endpoint sent it (tool call deltas, reasoning fields)."""


class Model(Protocol):
    """Something that can be asked. Every method raises `ModelError` or one of its children, nothing else."""

    @property
    def name(self) -> str:
        """The model string that names this model, such as `hosted_vllm/qwen3`."""
        ...

    async def complete(self, request: Request) -> Completion:
        """Answer in one piece."""
        ...

    def stream(self, request: Request) -> AsyncIterator[Delta]:
        """Answer piece by piece. Closing the iterator stops the generation."""
        ...

    async def capabilities(self) -> Capabilities:
        """What this endpoint supports, probed at most once."""
        ...

    async def close(self) -> None:
        """Release connections, threads and memory. Safe to call twice."""
        ...

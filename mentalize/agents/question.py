"""Question: how an agent's task becomes a request that shares its prefix with every other request of the turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from ..llm.model import Request
from ..prompts.format import bullets, transcript
from ..prompts.prompt import Prompt
from ..types import Message, RoleCharter, Turn, system, user

Inputs = TypeVar("Inputs")


@dataclass(frozen=True, slots=True)
class PreambleInputs:
    """What the shared preamble is filled with."""

    role: str
    duties: str
    limits: str


@dataclass(frozen=True, slots=True)
class BriefPreambleInputs:
    """What the preamble for a small model is filled with."""

    role: str
    count: int


@dataclass(frozen=True, slots=True)
class PlainPreambleInputs:
    """A preamble that says nothing of the assistant has no holes."""


@dataclass(frozen=True, slots=True)
class StatedInputs:
    """What is stated about the person and the setting."""

    cultures: str
    domain: str


SHORT_CONVERSATION = 2_400
"""Characters of conversation that a small model is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Framing:
    """The part that all questions of a turn share: the preamble, then the conversation; the task comes last.

    The same prefix in every call of a turn, and a longer one in the next turn, is what a prefix cache needs.
    """

    preamble: Message
    prompt: str
    """The preamble's `id@version#digest`."""
    longest: int = 12_000
    """Characters of conversation that a question shows, the newest first."""
    zone: str = "UTC"
    """IANA time zone in which dates are shown: the person's."""
    scope: tuple[str, ...] = ()
    """Whose questions these are, which decides whose cached answers they may get."""
    stated: str = ""
    """What is stated about the person and the setting, in a prompt's words; it follows the conversation."""

    @classmethod
    def full(
        cls,
        prompt: Prompt[PreambleInputs],
        charter: RoleCharter,
        *,
        scope: tuple[str, ...],
        zone: str = "UTC",
        stated: str = "",
    ) -> Framing:
        """The framing for a deployment's charter."""
        inputs = PreambleInputs(role=charter.role, duties=bullets(charter.duties), limits=bullets(charter.limits))
        return cls(preamble=system(prompt.render(inputs)), prompt=prompt.id, zone=zone, scope=scope, stated=stated)

    @classmethod
    def plain(
        cls,
        prompt: Prompt[PlainPreambleInputs],
        *,
        longest: int,
        zone: str = "UTC",
        scope: tuple[str, ...] = (),
        stated: str = "",
    ) -> Framing:
        """A framing that says nothing of the assistant."""
        preamble = system(prompt.render(PlainPreambleInputs()))
        return cls(preamble=preamble, prompt=prompt.id, longest=longest, zone=zone, scope=scope, stated=stated)

    @classmethod
    def brief(
        cls, prompt: Prompt[BriefPreambleInputs], charter: RoleCharter, *, scope: tuple[str, ...], count: int
    ) -> Framing:
        """The framing for a small model, with its reading instructions for `count` hypotheses."""
        inputs = BriefPreambleInputs(role=charter.role, count=count)
        preamble = system(prompt.render(inputs))
        return cls(preamble=preamble, prompt=prompt.id, longest=SHORT_CONVERSATION, scope=scope)

    def about(
        self,
        turn: Turn,
        prompt: Prompt[Inputs],
        inputs: Inputs,
        purpose: str,
        *,
        max_tokens: int,
        temperature: float = 0.3,
    ) -> Request:
        """A question about the conversation."""
        return self.of(turn.messages, prompt, inputs, purpose, max_tokens=max_tokens, temperature=temperature)

    def of(
        self,
        messages: Sequence[Message],
        prompt: Prompt[Inputs],
        inputs: Inputs,
        purpose: str,
        *,
        max_tokens: int,
        temperature: float = 0.3,
    ) -> Request:
        """A question about these messages."""
        return Request(
            messages=self._messages(messages, f"{self.stated}\n\n{prompt.render(inputs)}".strip()),
            purpose=purpose,
            max_tokens=max_tokens,
            temperature=temperature,
            prompts=(self.prompt, prompt.id),
        )

    def without_content(self, prompt: Prompt[Inputs], inputs: Inputs, purpose: str, *, max_tokens: int) -> Request:
        """The same question about an empty conversation, with inputs that hold nothing of anybody: equal questions
        have equal answers, so it may be cached, for everybody.
        """
        return Request(
            messages=self._messages((), prompt.render(inputs)),
            purpose=purpose,
            max_tokens=max_tokens,
            temperature=0.0,
            cacheable=True,
            prompts=(self.prompt, prompt.id),
        )

    def alone(
        self, prompt: Prompt[Inputs], inputs: Inputs, purpose: str, *, max_tokens: int, content_free: bool = False
    ) -> Request:
        """A question that is about no conversation. It may be cached, for the same person.

        Args:
            prompt: What is asked.
            inputs: What it is filled with.
            purpose: Which agent asks.
            max_tokens: What the answer may take.
            content_free: Whether the inputs hold nothing of anybody, so that it may be cached for everybody.
        """
        empty = self.without_content(prompt, inputs, purpose, max_tokens=max_tokens)
        messages = (self.preamble, user(prompt.render(inputs)))
        return replace(empty, messages=messages, scope=() if content_free else self.scope)

    def bare(self, prompt: Prompt[Inputs], inputs: Inputs, purpose: str, *, max_tokens: int) -> Request:
        """A question that brings its own material, and no conversation."""
        return replace(self.alone(prompt, inputs, purpose, max_tokens=max_tokens), cacheable=False)

    def _messages(self, conversation: Sequence[Message], task: str) -> tuple[Message, ...]:
        return self.preamble, user(f"{transcript(conversation, longest=self.longest)}\n\n{task}")

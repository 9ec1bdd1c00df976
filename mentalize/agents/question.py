"""Question: how an agent's task becomes a request that shares its prefix with every other request of the turn."""

from __future__ import annotations

from dataclasses import dataclass

from ..llm.model import Request
from ..prompts.format import bullets, transcript
from ..prompts.prompt import Prompt
from ..types import Message, RoleCharter, Turn, system, user


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


SHORT_CONVERSATION = 2_400
"""Characters of conversation that a small model is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Framing:
    """The part that all questions of a turn share: the preamble, then the conversation; the task comes last.

    The same prefix in every call of a turn, and a longer one in the next turn, is what a prefix cache needs.
    """

    preamble: Message
    longest: int = 12_000
    """Characters of conversation that a question shows, the newest first."""

    @classmethod
    def full(cls, prompt: Prompt[PreambleInputs], charter: RoleCharter) -> Framing:
        """The framing for a deployment's charter."""
        inputs = PreambleInputs(role=charter.role, duties=bullets(charter.duties), limits=bullets(charter.limits))
        return cls(preamble=system(prompt.render(inputs)))

    @classmethod
    def brief(cls, prompt: Prompt[BriefPreambleInputs], charter: RoleCharter, *, count: int) -> Framing:
        """The framing for a small model, with its reading instructions for `count` hypotheses."""
        inputs = BriefPreambleInputs(role=charter.role, count=count)
        return cls(preamble=system(prompt.render(inputs)), longest=SHORT_CONVERSATION)

    def about(self, turn: Turn, task: str, purpose: str, *, max_tokens: int, temperature: float = 0.3) -> Request:
        """A question about the conversation."""
        text = f"{transcript(turn.messages, longest=self.longest)}\n\n{task}"
        return Request(
            messages=(self.preamble, user(text)), purpose=purpose, max_tokens=max_tokens, temperature=temperature
        )

    def without_conversation(self, task: str, purpose: str, *, max_tokens: int) -> Request:
        """A question with no content: for priors. Equal questions have equal answers, so it may be cached."""
        return Request(
            messages=(self.preamble, user(task)),
            purpose=purpose,
            max_tokens=max_tokens,
            temperature=0.0,
            cacheable=True,
        )

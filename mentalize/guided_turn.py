"""GuidedTurn: a turn that was understood and planned, and whose reply a chatbot of the caller's own writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from .errors import InputError
from .open_turn import OpenTurn, Reply
from .types import Draft, Plan, RiskSign, Verdict

if TYPE_CHECKING:
    from .graphs.state import State


BOT = "bot"
"""The origin of a reply that a chatbot of the caller's own wrote."""


@dataclass(frozen=True, slots=True)
class GuidedTurn:
    """What was understood of a message, for a chatbot that writes the reply; and then, what it wrote."""

    turn: OpenTurn
    state: State

    @property
    def id(self) -> str:
        """The id of its trace."""
        return self.turn.id

    @property
    def plan(self) -> Plan | None:
        """What the reply is to do; None where the turn passes through, or where planning failed."""
        return self.state.get("plan")

    @property
    def risk(self) -> tuple[RiskSign, ...]:
        """Signs of danger in the message; the plan says where help is to be had."""
        return self.turn.context.signs(self.state)

    @property
    def messages(self) -> tuple[dict[str, Any], ...]:
        """The conversation in OpenAI's form with the guidance at its end; as it was given, where there is no plan."""
        from .agents.writer import guided_conversation

        context, plan = self.turn.context, self.plan
        messages = context.turn.messages
        if plan:
            messages = guided_conversation(context.turn, context.team.guidance(plan, critique=""))
        return tuple(message.as_openai() for message in messages)

    async def conclude(self, text: str) -> Reply:
        """Take in what the chatbot wrote: its trace, and what memory is to keep. Call it once.

        Raises:
            InputError: it is no text.
        """
        given = cast("object", text)
        if not isinstance(given, str):
            raise InputError(
                f"The chatbot's answer is a {type(given).__name__} and no text.",
                hint="Give the text of it, such as `answer.choices[0].message.content`; an empty one if it has none.",
            )
        from .graphs.state import Attempt, Settlement

        draft = Draft(text=text, origin=BOT)
        settlement = Settlement((Attempt(draft, Verdict()),))
        return await self.turn.conclude(self.turn.context, {**self.state, "draft": draft, "settlement": settlement})


async def understood(turn: OpenTurn) -> GuidedTurn:
    """Understand a turn and plan its reply."""
    from .graphs.turn import understand

    with turn.busy():
        return GuidedTurn(turn, await understand(turn.context))

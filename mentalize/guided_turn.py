"""GuidedTurn: a turn that was understood and planned, and whose reply a chatbot of the caller's own writes."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from .errors import InputError
from .open_turn import OpenTurn, Reply
from .types import Draft, Effort, Plan, RiskSign, Verdict

if TYPE_CHECKING:
    from .graphs.listener import Listener
    from .graphs.state import Settlement, State


BOT = "bot"
"""The origin of a reply that a chatbot of the caller's own wrote."""
CUT_SHORT = "cut short"


@dataclass(frozen=True, slots=True)
class GuidedTurn:
    """What was understood of a message, for a chatbot that writes the reply; and what was found about that."""

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
        """The conversation in OpenAI's form with the guidance at its end, and what was wrong with the last draft; as it
        was given, where there is no plan.
        """
        from .agents.writer import guided_conversation

        turn, guidance = self.turn.context.turn, self.guidance
        messages = guided_conversation(turn, guidance) if guidance else turn.messages
        return tuple(message.as_openai() for message in messages)

    @property
    def guidance(self) -> str:
        """The guidance alone, for a prompt of your own; empty where there is no plan."""
        context, plan = self.turn.context, self.plan
        if plan is None:
            return ""
        context.told = context.team.guidance.prompts(plan)
        critique = "" if self.verdict is None or self.accepted else self.verdict.critique
        return context.team.guidance(plan, critique=critique)

    @property
    def kept(self) -> tuple[int, ...]:
        """Which of the given messages `messages` has, by position: not what somebody who is present has not heard."""
        context = self.turn.context
        return tuple(range(len(context.turn.messages))) if context.kept is None else context.kept

    @property
    def verdict(self) -> Verdict | None:
        """What was found about the last draft that was reviewed."""
        settlement = self._settlement
        return settlement.attempts[-1].verdict if settlement else None

    @property
    def accepted(self) -> bool:
        """Whether the last draft is safe and good enough; False before any is reviewed."""
        verdict = self.verdict
        return verdict is not None and verdict.safe and verdict.acceptable

    @property
    def again(self) -> bool:
        """Whether it is worth asking the chatbot for another draft, with `messages` as they are now."""
        settlement, context = self._settlement, self.turn.context
        if settlement is None or self.accepted or self.plan is None or context.spoken:
            return False
        return len(settlement.attempts) <= context.scoring.max_revisions

    def listener(self) -> Listener:
        """Hears a reply while it is written, and says how much of it may leave; `review` then takes it as the draft."""
        return listener(self.turn)

    async def review(self, draft: str | Listener) -> GuidedTurn:
        """Judge what the chatbot wrote, by code and, at `medium` and `high`, by the models that judge.

        A judge that fails costs its part of the verdict; on signs of danger the draft is then taken for unsafe.

        Raises:
            InputError: it is no text.
        """
        from .graphs.state import Attempt, Settlement
        from .graphs.turn import review

        context, before = self.turn.context, self._settlement
        if not isinstance(cast("object", draft), str):
            draft, origin = _heard(self.turn, cast("Listener", draft))
        else:
            draft, origin = cast("str", draft), BOT
        written = replace(_draft(draft), origin=origin, revision=len(before.attempts) if before else 0)
        state: State = {**self.state, "draft": written, "choice": None, "quality": None, "findings": None}
        if context.effort is Effort.NONE:
            return replace(self, state={**state, "settlement": Settlement((Attempt(written, Verdict()),))})
        with _working(self.turn):
            return replace(self, state=await review(context, state))

    async def conclude(self, text: str | None = None) -> Reply:
        """Make the reply of it: its trace, and what memory is to keep. Call it once.

        Args:
            text: What the chatbot wrote, if it was not reviewed. After a review the reply is the best of the safe
                drafts, or a vetted text if none is safe.

        Raises:
            InputError: there is no text, or the turn is concluded already.
        """
        from .graphs.state import Attempt, Settlement

        context, state = self.turn.context, self.state
        if text is not None or self._settlement is None:
            draft = _draft(cast("str", text))
            concluded: State = {**state, "draft": draft, "settlement": Settlement((Attempt(draft, Verdict()),))}
            state = concluded
        return await self.turn.conclude(context, state)

    @property
    def _settlement(self) -> Settlement | None:
        return self.state.get("settlement")


async def understood(turn: OpenTurn) -> GuidedTurn:
    """Understand a turn and plan its reply."""
    from .graphs.turn import understand

    with _working(turn):
        return GuidedTurn(turn, await understand(turn.context))


def listener(turn: OpenTurn) -> Listener:
    """See `GuidedTurn.listener`: for a reply that is written while the turn is still being understood."""
    from .graphs.listener import Listener

    return Listener(turn.context)


@contextmanager
def _working(turn: OpenTurn) -> Generator[None]:
    """While inside, the turn's time runs, and background work leaves a model in this process alone."""
    turn.context.stopwatch.go()
    try:
        with turn.busy():
            yield
    finally:
        turn.context.stopwatch.stop()


def _heard(turn: OpenTurn, listener: Listener) -> tuple[str, str]:
    """The draft that was heard and its origin: of one that broke a gate after some of it had left, what passed."""
    spoken = listener.left
    draft = listener.passed if listener.failed and spoken else listener.text
    turn.context.spoken[:] = [spoken] if spoken else []
    turn.context.held = draft[len(spoken) :]
    return draft, CUT_SHORT if listener.failed and spoken else BOT


def _draft(text: str) -> Draft:
    from .llm.structured import without_thinking

    given = cast("object", text)
    if not isinstance(given, str):
        raise InputError(
            f"The chatbot's answer is a {type(given).__name__} and no text.",
            hint="Give the text of it, such as `answer.choices[0].message.content`; an empty one if it has none.",
        )
    return Draft(text=without_thinking(given), origin=BOT)

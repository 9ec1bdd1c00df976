"""Speculation: a reply that is written ahead, for the likeliest guess, while the guesses are still refined."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from ..errors import MentalizeError
from ..types import Draft, Plan, Selection


@dataclass(slots=True)
class Speculation:
    """A draft in work, and what it rests on."""

    hypothesis: str
    """The id of the guess that the plan follows."""
    plan: Plan
    writing: asyncio.Task[Draft]
    kept: bool = False

    def holds(self, selection: Selection | None, plan: Plan) -> bool:
        """Whether the turn has come to what was guessed: the same reading, and nothing else to do or to leave."""
        chosen = selection.chosen if selection else None
        return (
            chosen is not None
            and chosen.refined.hypothesis.id == self.hypothesis
            and _demands(plan) == _demands(self.plan)
        )

    async def take(self) -> Draft | None:
        """The draft, once it is written; None where it could not be."""
        try:
            draft = await self.writing
        except MentalizeError:
            return None
        self.kept = True
        return draft

    async def drop(self) -> None:
        """Stop writing, unless it is done."""
        self.writing.cancel()
        await asyncio.gather(self.writing, return_exceptions=True)


def _demands(plan: Plan) -> tuple[object, ...]:
    """What a reply may not miss."""
    return plan.act, plan.must, plan.must_not, plan.multiplex, plan.open

"""BudgetedModel: holds a turn to its contract."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from ..errors import BudgetExceeded
from ..types import Contract
from .model import Completion, Delta, Model, Request
from .wrapper import WrappedModel


@dataclass(slots=True)
class Budget:
    """What is left of a turn's contract. One for all the roles of a turn."""

    contract: Contract
    clock: Callable[[], float]
    """Monotonic seconds."""
    started: float = field(init=False)
    calls: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.started = self.clock()

    @property
    def seconds_left(self) -> float:
        """Seconds until the contract ends, never negative."""
        return max(0.0, self.contract.seconds - (self.clock() - self.started))

    @property
    def calls_left(self) -> int:
        """Calls that the contract still allows."""
        return self.contract.calls - self.calls

    def spend(self, request: Request, depth: int) -> None:
        """Count a call at this depth. Scorings cost time, which is counted, and no call.

        Raises:
            BudgetExceeded: there is no call, no depth or no time left.
        """
        if self.seconds_left <= 0:
            raise BudgetExceeded(
                f"The turn's {self.contract.seconds:g} seconds are over before {request.purpose!r}.",
                hint="Raise the contract's seconds or lower the effort.",
            )
        if request.scores:
            return
        if depth > self.contract.depth:
            raise BudgetExceeded(
                f"The turn's depth of {self.contract.depth} is used up before {request.purpose!r}.",
                hint="Raise the contract's depth or lower the effort.",
            )
        if self.calls_left <= 0:
            raise BudgetExceeded(
                f"The turn's {self.contract.calls} calls are spent before {request.purpose!r}.",
                hint="Raise the contract's calls or lower the effort.",
            )
        self.calls += 1


class BudgetedModel(WrappedModel):
    """Refuses a call that the turn's contract does not cover."""

    def __init__(self, model: Model, budget: Budget, depth: Callable[[Request], int]) -> None:
        super().__init__(model)
        self.budget = budget
        self.depth = depth
        """How deep a call would be that begins now."""

    async def complete(self, request: Request) -> Completion:
        self.budget.spend(request, self.depth(request))
        return await self.model.complete(request)

    def stream(self, request: Request) -> AsyncIterator[Delta]:
        self.budget.spend(request, self.depth(request))
        return self.model.stream(request)

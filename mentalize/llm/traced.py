"""TracedModel: writes down every request of a turn."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from ..types import CallRecord, Usage
from .model import Completion, Delta, JsonFormat, Model, Request
from .structured import REPAIR
from .wrapper import WrappedModel, closing

RoleName = Literal["reason", "judge", "write"]


@dataclass(slots=True)
class Ledger:
    """The requests of one turn, for all its roles."""

    clock: Callable[[], float]
    """Monotonic seconds."""
    started: float = field(init=False)
    records: list[CallRecord] = field(default_factory=list[CallRecord], init=False)
    _step: int = field(default=-1, init=False)
    _waited_for: int = field(default=0, init=False)
    _first: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.started = self.clock()

    @property
    def depth(self) -> int:
        """The longest chain so far of calls that waited for one another."""
        return max((record.depth for record in self.records if not record.scoring), default=0)

    def enter(self, step: int) -> None:
        """Note that a stage of superstep `step` begins: it has waited for every call of the steps before."""
        if step != self._step:
            self._step = step
            self._waited_for = self.depth
            self._first = len(self.records)

    def next_depth(self, request: Request) -> int:
        """The depth of a call that begins now: after the steps before, and what its own stage has asked before."""
        same = request.purpose.removesuffix(REPAIR)
        before = [record for record in self.records[self._first :] if record.purpose.removesuffix(REPAIR) == same]
        return 1 + max((record.depth for record in before if not record.scoring), default=self._waited_for)

    def elapsed(self) -> float:
        """Seconds since the turn began."""
        return self.clock() - self.started

    def record(
        self,
        request: Request,
        role: RoleName,
        model: str,
        depth: int,
        started: float,
        completion: Completion | None,
        error: str | None,
    ) -> None:
        """Write down one finished request."""
        self.records.append(
            CallRecord(
                purpose=request.purpose,
                role=role,
                model=(completion.model if completion else "") or model,
                scoring=request.scores,
                depth=depth,
                started=started,
                seconds=self.elapsed() - started,
                usage=completion.usage if completion else Usage(),
                cached=completion.cached if completion else False,
                structured=request.format.mode if isinstance(request.format, JsonFormat) else None,
                error=error,
                prompts=request.prompts,
                messages=request.messages,
                answer=_answer(completion),
            )
        )


class TracedModel(WrappedModel):
    """Writes every request and its answer, failure or interruption into a `Ledger`."""

    def __init__(self, model: Model, role: RoleName, ledger: Ledger) -> None:
        super().__init__(model)
        self.role: RoleName = role
        self.ledger = ledger

    async def complete(self, request: Request) -> Completion:
        depth, started = self.ledger.next_depth(request), self.ledger.elapsed()
        completion, error = None, None
        try:
            completion = await self.model.complete(request)
            return completion
        except BaseException as exception:
            error = _describe(exception)
            raise
        finally:
            self.ledger.record(request, self.role, self.name, depth, started, completion, error)

    async def stream(self, request: Request) -> AsyncIterator[Delta]:
        depth, started = self.ledger.next_depth(request), self.ledger.elapsed()
        pieces: list[str] = []
        usage, finish, error = Usage(), "", None
        try:
            async with closing(self.model.stream(request)) as deltas:
                async for delta in deltas:
                    pieces.append(delta.text)
                    usage = delta.usage or usage
                    finish = delta.finish_reason or finish
                    yield delta
        except BaseException as exception:
            error = _describe(exception)
            raise
        finally:
            completion = Completion(text="".join(pieces), finish_reason=finish, usage=usage)
            self.ledger.record(request, self.role, self.name, depth, started, completion, error)


def _answer(completion: Completion | None) -> str:
    if completion is None:
        return ""
    if completion.text or not completion.message:
        return completion.text
    return str(dict(completion.message))


def _describe(exception: BaseException) -> str:
    return f"{type(exception).__name__}: {exception}"


def about_tokens(text: str) -> int:
    """Tokens of a text, about: four characters each, as in English."""
    return -(-len(text) // 4)


def spent(records: Iterable[CallRecord]) -> int:
    """Tokens that calls have cost; about, where an endpoint does not say or the call was broken off."""
    return sum(
        record.usage.total_tokens
        or about_tokens(record.answer) + sum(about_tokens(message.text) for message in record.messages)
        for record in records
        if not record.cached
    )


def together(spans: Iterable[tuple[float, float]]) -> float:
    """Seconds that are in at least one of these spans, each a beginning and a length."""
    busy, until = 0.0, -math.inf
    for started, seconds in sorted(spans):
        busy += max(0.0, started + seconds - max(started, until))
        until = max(until, started + seconds)
    return busy


def total_usage(records: tuple[CallRecord, ...] | list[CallRecord]) -> Usage:
    """Tokens of all `records` together."""
    total = Usage()
    for record in records:
        total = total + record.usage
    return total

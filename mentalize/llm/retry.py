"""RetryingModel: asks again where that can help."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from ..errors import ModelError
from .model import Capabilities, Completion, Delta, Model, Request
from .wrapper import WrappedModel, closing

Result = TypeVar("Result")


class RetryingModel(WrappedModel):
    """Asks again after errors that say they are retryable; a stream only before its first delta.

    Waits as long as the endpoint asks for (`retry_after`), otherwise a random time below 0.5, 1, 2, … seconds.
    An endpoint that asks for more than `longest_wait` seconds is not asked again: its error goes to the caller.

    Args:
        model: the model to ask.
        attempts: how often to ask in all.
        longest_wait: seconds; the most that is waited between two attempts.
        sleep: how to wait; for tests.
    """

    def __init__(
        self,
        model: Model,
        *,
        attempts: int = 3,
        longest_wait: float = 20.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        super().__init__(model)
        self._attempts = attempts
        self._longest_wait = longest_wait
        self._sleep = sleep
        self._jitter = wait_random_exponential(multiplier=0.5, max=longest_wait)

    async def complete(self, request: Request) -> Completion:
        return await self._retried(lambda: self.model.complete(request))

    async def stream(self, request: Request) -> AsyncIterator[Delta]:
        begun: tuple[Delta | None, AsyncIterator[Delta]] = await self._retried(lambda: self._begun(request))
        first, stream = begun
        async with closing(stream):
            if first is not None:
                yield first
            async for delta in stream:
                yield delta

    async def capabilities(self) -> Capabilities:
        return await self._retried(self.model.capabilities)

    async def _begun(self, request: Request) -> tuple[Delta | None, AsyncIterator[Delta]]:
        stream = self.model.stream(request)
        return await anext(stream, None), stream

    async def _retried(self, ask: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Ask, and ask again where it failed. Nearly every call succeeds at once, and pays for nothing else."""
        try:
            return await ask()
        except ModelError as error:
            failed = [error]

        async def again() -> Result:
            if failed:
                raise failed.pop()
            return await ask()

        return await self._retrying()(again)

    def _retrying(self) -> AsyncRetrying:
        return AsyncRetrying(
            stop=stop_after_attempt(self._attempts),
            wait=self._wait,
            retry=retry_if_exception(self._can_help),
            sleep=self._sleep,
            reraise=True,
        )

    def _can_help(self, error: BaseException) -> bool:
        return isinstance(error, ModelError) and error.retryable and (error.retry_after or 0.0) <= self._longest_wait

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after if isinstance(error, ModelError) else None
        return self._jitter(state) if asked is None else asked

"""TimedModel: gives up on a model that takes too long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager

from ..errors import ModelTimeout
from .model import Capabilities, Completion, Delta, Model, Request
from .wrapper import WrappedModel, closing


class TimedModel(WrappedModel):
    """Cancels an answer that takes longer than `seconds`; of a stream, each delta has that long.

    Raises:
        ModelTimeout: it took longer.
    """

    def __init__(self, model: Model, seconds: float) -> None:
        super().__init__(model)
        self._seconds = seconds

    async def complete(self, request: Request) -> Completion:
        with self._translated("answer"):
            async with asyncio.timeout(self._seconds):
                return await self.model.complete(request)

    async def stream(self, request: Request) -> AsyncIterator[Delta]:
        async with closing(self.model.stream(request)) as stream:
            while True:
                with self._translated("go on with its answer"):
                    async with asyncio.timeout(self._seconds):
                        delta = await anext(stream, None)
                if delta is None:
                    return
                yield delta

    async def capabilities(self) -> Capabilities:
        with self._translated("say what it supports"):
            async with asyncio.timeout(self._seconds):
                return await self.model.capabilities()

    @contextmanager
    def _translated(self, what: str) -> Generator[None]:
        try:
            yield
        except TimeoutError as error:
            raise ModelTimeout(
                f"{self.name} did not {what} within {self._seconds:g} s.",
                hint="Check that it is up and not overloaded, or allow it more time.",
            ) from error

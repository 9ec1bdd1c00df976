"""StampedModel: says of each request which conversation it belongs to, and whether somebody waits for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from .model import Completion, Delta, Model, Request
from .wrapper import WrappedModel


class StampedModel(WrappedModel):
    """Stamps what is asked by way of it, so that agents need not know in what they take part.

    Args:
        model: The model to ask.
        conversation: See `Request.conversation`.
        background: See `Request.background`.
    """

    def __init__(self, model: Model, *, conversation: str = "", background: bool = False) -> None:
        super().__init__(model)
        self._conversation = conversation
        self._background = background

    async def complete(self, request: Request) -> Completion:
        return await self.model.complete(self._stamped(request))

    def stream(self, request: Request) -> AsyncIterator[Delta]:
        return self.model.stream(self._stamped(request))

    def _stamped(self, request: Request) -> Request:
        return replace(request, conversation=self._conversation, background=self._background)

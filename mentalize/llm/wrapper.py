"""WrappedModel: a model that hands everything on to another, for wrappers to build on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from .model import Capabilities, Completion, Delta, Model, Request

__all__ = ["WrappedModel", "closing"]


class WrappedModel:
    """Hands everything on to `model`. A wrapper overrides what it changes."""

    def __init__(self, model: Model) -> None:
        self.model = model

    @property
    def name(self) -> str:
        return self.model.name

    async def complete(self, request: Request) -> Completion:
        return await self.model.complete(request)

    def stream(self, request: Request) -> AsyncIterator[Delta]:
        return self.model.stream(request)

    async def capabilities(self) -> Capabilities:
        return await self.model.capabilities()

    async def close(self) -> None:
        await self.model.close()


@asynccontextmanager
async def closing(stream: AsyncIterator[Delta]) -> AsyncGenerator[AsyncIterator[Delta]]:
    """Close a stream at the end of the block, so that the endpoint stops generating at once."""
    try:
        yield stream
    finally:
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()

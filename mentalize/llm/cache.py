"""CachedModel: does not ask the same question twice."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import replace

from cachetools import TTLCache

from ..types import Usage
from .flight import SingleFlight
from .model import Completion, Model, Request
from .wrapper import WrappedModel


class CachedModel(WrappedModel):
    """Keeps the answers to requests that are marked `cacheable`; streams are never kept.

    How fast an answer comes tells whether it was kept. So it is only for equal requests of the same `scope`.
    Equal requests that are in work at the same time are sent once. An answer that was not made for this request comes
    back with `cached=True` and a usage of zero. Errors are not kept.

    Args:
        model: the model to ask.
        size: how many answers to keep; the least recently used go first.
        seconds: how long to keep one.
    """

    def __init__(self, model: Model, *, size: int = 1024, seconds: float = 3600.0) -> None:
        super().__init__(model)
        self._kept = TTLCache[str, Completion](size, seconds)
        self._lock = threading.Lock()
        self._flights: SingleFlight[Completion] = SingleFlight()

    async def complete(self, request: Request) -> Completion:
        if not request.cacheable:
            return await self.model.complete(request)
        key = _key(request)
        with self._lock:
            kept = self._kept.get(key)
        if kept is not None:
            return _from_cache(kept)

        async def ask() -> Completion:
            answer = await self.model.complete(request)
            with self._lock:
                self._kept[key] = answer
            return answer

        answer, asked = await self._flights.run(key, ask)
        return answer if asked else _from_cache(answer)


def _from_cache(answer: Completion) -> Completion:
    return replace(answer, cached=True, usage=Usage())


def _key(request: Request) -> str:
    """A digest of everything that affects the answer, which leaves out the purpose."""
    asked = {
        "scope": request.scope,
        "messages": [message.as_openai() for message in request.messages],
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "seed": request.seed,
        "stop": request.stop,
        "format": repr(request.format),
        "top_logprobs": request.top_logprobs,
        "parameters": dict(request.parameters),
    }
    return hashlib.sha256(json.dumps(asked, default=repr).encode()).hexdigest()

"""BalancedModel: one model behind several endpoints."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

from ..errors import InputError, ModelError, ModelRateLimited, ModelTimeout, ModelUnavailable
from .engine_counts import counts_of
from .http import OpenAICompatibleModel
from .model import Capabilities, Completion, Delta, Model, Request
from .relay import Exchange
from .roster import FIRST_REST, Place, Roster
from .wire import as_mapping
from .wrapper import closing

__all__ = ["BalancedModel", "endpoints_of"]

LOOK_SECONDS = 2.0
"""How often endpoints are looked at while there are requests."""

IDLE_SECONDS = 60.0
"""How long after the last request nothing is looked at any more."""

_HEALTH_SECONDS = 5.0
_NO_SUCH_PAGE = frozenset({404, 405, 501})


def _as_it_is(model: Model) -> Model:
    return model


class BalancedModel:
    """Sends each request to the endpoint that is best placed to answer it; `Roster` says which that is.

    A request that finds its endpoint gone, broken or broken off goes to another at once, as long as nothing of an
    answer was handed on. What an endpoint refuses (4xx) it would refuse elsewhere, and who waited until a time-out has
    waited enough: both are the caller's, or the retrying wrapper's, to decide about.

    While there are requests, a task looks at endpoints that rest, and asks vLLM servers for their queue. It is never
    waited for, and ends by itself some time after the last request.

    Args:
        endpoints: Those that serve the model, all under the same name.
        wrap: Puts limits around one of them, which are then each endpoint's own.
        look_seconds: How often endpoints are looked at.
        idle_seconds: How long after the last request they are looked at.
        rest_seconds: How long an endpoint rests after its first failure; twice as long after the next, and so on.

    Raises:
        InputError: there is no endpoint.
    """

    def __init__(
        self,
        endpoints: Sequence[OpenAICompatibleModel],
        *,
        wrap: Callable[[Model], Model] = _as_it_is,
        look_seconds: float = LOOK_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
        rest_seconds: float = FIRST_REST,
    ) -> None:
        if not endpoints:
            raise InputError("There is no endpoint to ask.", hint="Give one or more.")
        self.endpoints = tuple(endpoints)
        places = [Place(endpoint.endpoint) for endpoint in endpoints]
        self.roster = Roster(places, time.monotonic, rest_seconds=rest_seconds)
        self._stops = {
            place: _Stop(place, endpoint, wrap(endpoint)) for place, endpoint in zip(places, endpoints, strict=True)
        }
        self._look_seconds = look_seconds
        self._idle_seconds = idle_seconds
        self._asked_at = 0.0
        self._watch: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        return self.endpoints[0].name

    @property
    def served_name(self) -> str:
        """The endpoints' own name of the model."""
        return self.endpoints[0].served_name

    def load(self) -> None:
        """Import what the first request would import."""
        self.endpoints[0].load()

    async def complete(self, request: Request) -> Completion:
        journey = self._journey(_conversation(request))
        while True:
            with journey.next_stop() as stop:
                answer = await stop.model.complete(request)
                journey.arrived()
                return answer

    async def stream(self, request: Request) -> AsyncIterator[Delta]:
        journey = self._journey(_conversation(request))
        while True:
            with journey.next_stop() as stop:
                async with closing(stop.model.stream(request)) as deltas:
                    async for delta in deltas:
                        journey.arrived()
                        yield delta
                return

    async def capabilities(self) -> Capabilities:
        journey = self._journey(b"")
        while True:
            with journey.next_stop() as stop:
                return await stop.model.capabilities()

    async def exchange(self, body: Mapping[str, Any], raw: bytes | None, headers: Mapping[str, str]) -> Exchange:
        """Send a client's own body, and give the answer as it comes; see `relay`."""
        journey = self._journey(_first_messages(body))
        while True:
            with journey.next_stop() as stop:
                exchange = await stop.endpoint.exchange(body, raw, headers)
                if exchange.status >= 500 and journey.failed():
                    await exchange.body.aclose()
                    continue
                if exchange.status < 500:
                    journey.arrived()
                handed_on = self._counted(exchange.body, stop.place)
                await anext(handed_on)  # One that was not begun would not notice that it is closed.
                return replace(exchange, body=handed_on)

    async def close(self) -> None:
        """Leave off looking, and release every endpoint's connections."""
        watch, self._watch = self._watch, None
        if watch is not None and not watch.done():
            if watch.get_loop() is asyncio.get_running_loop():
                watch.cancel()
                await asyncio.gather(watch, return_exceptions=True)
            elif watch.get_loop().is_running():
                watch.get_loop().call_soon_threadsafe(watch.cancel)
        await asyncio.gather(*(stop.model.close() for stop in self._stops.values()))

    # --- one request --------------------------------------------------------------------------------------

    def _journey(self, conversation: bytes) -> _Journey:
        self._asked_at = time.monotonic()
        self._keep_looking()
        return _Journey(self.roster, self._stops, conversation, self._keep_looking)

    async def _counted(self, body: AsyncGenerator[bytes], place: Place) -> AsyncGenerator[bytes]:
        """A body that is handed on, which is work for its endpoint until it ends."""
        try:
            with self.roster.at_work(place):
                yield b""
                async with aclosing(body) as pieces:
                    async for piece in pieces:
                        yield piece
        except ModelUnavailable:
            self.roster.failed(place)
            self._keep_looking()
            raise

    # --- looking ------------------------------------------------------------------------------------------

    def _keep_looking(self) -> None:
        watch = self._watch
        if watch is not None and not watch.done() and watch.get_loop().is_running():
            return
        if any(place.rests or stop.endpoint.vllm for place, stop in self._stops.items()):
            self._watch = asyncio.create_task(self._look_again_and_again(), name="mentalize-endpoints")

    async def _look_again_and_again(self) -> None:
        while time.monotonic() - self._asked_at < self._idle_seconds:
            due = self.roster.due()
            looks = [self._look_at(stop) for place, stop in self._stops.items() if place in due]
            counts = [self._count(stop) for stop in self._stops.values() if stop.endpoint.vllm and not stop.place.rests]
            await asyncio.gather(*looks, *counts)
            await asyncio.sleep(self._look_seconds)

    async def _look_at(self, stop: _Stop) -> None:
        self.roster.looked_at(stop.place, well=await is_well(stop.endpoint))

    async def _count(self, stop: _Stop) -> None:
        in_work = stop.place.in_work
        try:
            counts = await counts_of(stop.endpoint, seconds=_HEALTH_SECONDS)
        except ModelError:  # A page that does not come is no reason to send it less: requests tell how it is.
            counts = None
        self.roster.told(stop.place, counts, in_work)


@dataclass(frozen=True, slots=True)
class _Stop:
    """An endpoint at which a request may call."""

    place: Place
    endpoint: OpenAICompatibleModel
    model: Model
    """The endpoint within its limits."""


@dataclass(slots=True)
class _Journey:
    """One request on its way from endpoint to endpoint, until one answers."""

    roster: Roster
    stops: Mapping[Place, _Stop]
    conversation: bytes
    keep_looking: Callable[[], None]
    """Sees to it that an endpoint that rests is looked at."""
    _tried: list[Place] = field(default_factory=list[Place])
    _began: float = 0.0
    _arrived: bool = False

    @contextmanager
    def next_stop(self) -> Generator[_Stop]:
        """The next endpoint. While inside, the request is at work there; leaving with an error that another endpoint
        need not have is no error while there is another.

        Raises:
            ModelUnavailable: the last endpoint failed, too.
        """
        place = self.roster.choose(self.conversation, without=self._tried)
        assert place is not None
        self._tried.append(place)
        self._began = time.monotonic()
        try:
            with self.roster.at_work(place):
                yield self.stops[place]
        except ModelRateLimited:
            raise
        except ModelTimeout:
            self.roster.was_silent(place, self._began)
            self.keep_looking()
            raise
        except ModelUnavailable as error:
            if self.failed(error):
                return
            raise self._told(error) from error

    def arrived(self) -> None:
        """An answer has begun to come, and from now on no other endpoint can give it."""
        if not self._arrived:
            self._arrived = True
            self.roster.answered(self._tried[-1], self._began)

    def failed(self, error: ModelError | None = None) -> bool:
        """The endpoint failed. Whether another may be asked."""
        self.roster.failed(self._tried[-1], retry_after=error.retry_after if error else None)
        self.keep_looking()
        return not self._arrived and len(self._tried) < len(self.stops)

    def _told(self, error: ModelUnavailable) -> ModelUnavailable:
        if self._arrived or len(self._tried) == 1:
            return error
        addresses = ", ".join(place.address for place in self._tried)
        told = ModelUnavailable(error.message, hint=f"None of the endpoints answers: {addresses}. Start one of them.")
        told.retry_after = error.retry_after
        return told


def endpoints_of(model: Model) -> tuple[OpenAICompatibleModel, ...]:
    """The endpoints of a model without its wrappers; none where it has none of its own."""
    if isinstance(model, BalancedModel):
        return model.endpoints
    return (model,) if isinstance(model, OpenAICompatibleModel) else ()


async def is_well(endpoint: OpenAICompatibleModel, *, seconds: float = _HEALTH_SECONDS) -> bool:
    """Whether the endpoint says that it can work: by `/health`, or where there is none, by its list of models."""
    try:
        status, _ = await endpoint.get("/health", beside=True, seconds=seconds)
        if status in _NO_SUCH_PAGE:
            status, _ = await endpoint.get("/models", seconds=seconds)
    except ModelError:
        return False
    return status < 500


def _conversation(request: Request) -> bytes:
    if request.conversation:
        return request.conversation.encode("utf-8", "replace")
    return _digest((message.role, message.text) for message in request.messages)


def _first_messages(body: Mapping[str, Any]) -> bytes:
    messages = body.get("messages")
    given = map(as_mapping, cast("list[object]", messages) if isinstance(messages, list) else ())
    return _digest((str(message.get("role")), str(message.get("content"))) for message in given)


def _digest(messages: Iterable[tuple[str, str]]) -> bytes:
    """What all requests of a conversation begin with: everything up to the first thing that a person says."""
    digest = hashlib.blake2b(digest_size=16)
    for role, text in messages:
        digest.update(f"{role}\0{text}\0".encode("utf-8", "replace"))
        if role == "user":
            break
    return digest.digest()

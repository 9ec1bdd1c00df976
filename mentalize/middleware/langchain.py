"""MentalizeMiddleware: mentalize inside an agent of LangChain 1.x, beside its tools and other middleware.

    agent = create_agent("openai:gpt-5-mini", tools, middleware=[MentalizeMiddleware(user="ana")])

An agent asks its model again after each tool. The person's message is understood once, and the guidance stands in that
message for every call; the graph's own state keeps the message as it was, and so do its checkpoints.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from cachetools import TTLCache
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AnyMessage, HumanMessage, convert_to_openai_messages
from langgraph.constants import TAG_NOSTREAM
from langgraph.runtime import Runtime

from ..errors import InputError
from ..extras import missing
from ..mind import Mind
from ..types import Circumstances, Effort, Identity, MemoryMode, PerspectivesMode
from .answers import text_of
from .call import Call
from .modes import Around, Asked, Mode, attempted, concluded
from .steps import Ask, AsyncDriver, Await, Begin, Flow, Pending, SyncDriver, waited
from .wrap import identity_of

try:
    from langchain.agents.middleware import AgentMiddleware, AgentState, ModelRequest, ModelResponse
except ImportError as error:
    raise missing("langchain", "MentalizeMiddleware") from error

TURNS = 1_024
"""Turns that are open at once, at most; an agent that goes on after more than that has its message understood anew."""
TURN_SECONDS = 3_600.0

Users = str | Identity | Callable[[Runtime[Any]], str | Identity | None] | None


class MentalizeMiddleware(AgentMiddleware[AgentState[Any], Any]):
    """An agent that mentalizes.

    Args:
        user: Whose memory it is: an id, an `Identity`, or a function of the runtime, whose `context` is what the agent
            was invoked with. None: nothing is remembered.
        mode: `guide`, `review` or `observe`, as for `wrap`. What is reviewed is not streamed token by token.
        mind: What does the thinking; one of the given `settings`, if not given, such as `model`.
        effort: As for `Mind.reply`.
        memory: As for `wrap`.
        circumstances: As for `Mind.reply`.
        perspectives: Likewise.
        **settings: Settings of the mind, if none is given.

    Raises:
        InputError: there is no such mode or effort, or the user is no name.
    """

    def __init__(
        self,
        *,
        user: Users = None,
        mode: Mode | str = Mode.GUIDE,
        mind: Mind | None = None,
        effort: Effort | str | None = None,
        memory: MemoryMode | str | Mapping[str, Any] | None = None,
        circumstances: Circumstances | None = None,
        perspectives: PerspectivesMode | str | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.mode = Mode.named(mode)
        if self.mode is Mode.AUTHOR:
            raise InputError(
                "An agent's own model writes: there is no mode 'author' for it.",
                hint="The modes are: guide, review, observe.",
            )
        if not callable(user):
            identity_of(user)
        if isinstance(memory, Mapping):
            settings, memory = {**settings, "memory": memory}, None
        self.mind = mind or Mind(**settings)
        self._user = user
        self._later: set[Pending] = set()
        asked = Asked(effort, memory, circumstances, perspectives).checked()
        self._around = Around(self.mind, asked, streams=False, later=self._keep)
        self._turns: TTLCache[str, Pending] = TTLCache(TURNS, TURN_SECONDS)

    def wrap_model_call(self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Any]) -> Any:
        """Guide one call of the model, or review what it gives."""
        return SyncDriver(handler, self.mind.sync).call(self._call(request))

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[Any]]
    ) -> Any:
        """Guide one call of the model, or review what it gives."""
        return await AsyncDriver(handler).call(self._call(request))

    def after_agent(self, state: AgentState[Any], runtime: Runtime[Any]) -> None:
        """Take in what the agent has answered."""
        SyncDriver(_nobody, self.mind.sync).call(self._after(state["messages"], runtime))

    async def aafter_agent(self, state: AgentState[Any], runtime: Runtime[Any]) -> None:
        """Take in what the agent has answered."""
        await AsyncDriver(_nobody).call(self._after(state["messages"], runtime))

    async def settle(self) -> tuple[str, ...]:
        """Wait until what was observed is noted, and thought about; see `Mind.settle`."""
        await waited(self._later)
        return await self.mind.settle()

    def _call(self, request: ModelRequest[Any]) -> Flow:
        call = ModelCall.of(_silent(request) if self.mode is Mode.REVIEW else request)
        if call is None or self.mode is Mode.OBSERVE:
            return (yield Ask(_plain(request)))
        key, who = call.key(self._who(request.runtime)), self._who(request.runtime)
        if (understanding := self._turns.get(key)) is None:
            understanding = yield Begin(lambda: self._around.guided(call.messages, who))
            self._turns[key] = understanding
        if self.mode is Mode.GUIDE:
            guided = yield from attempted(Await(understanding))
            return (yield Ask(call.saying(guided.messages, guided.kept) if guided else call))
        answer: ModelResponse[Any] = yield Ask(call)
        if any(getattr(message, "tool_calls", ()) for message in answer.result):
            return answer
        guided = yield from attempted(Await(understanding))
        self._turns.pop(key, None)
        return (yield from self._around.judge(call, guided, answer)) if guided else answer

    def _after(self, messages: Sequence[AnyMessage], runtime: Runtime[Any]) -> Flow:
        at, who = _last_of_person(messages), self._who(runtime)
        if at is None or messages[-1].type != "ai":
            return
        said, answer = _openai(messages[: at + 1]), text_of(messages[-1]) or ""
        if self.mode is Mode.OBSERVE:
            yield from self._around.noted(said, who, answer)
        elif understanding := self._turns.pop(_key(said, who), None):
            guided = yield from attempted(Await(understanding))
            yield from concluded(guided, answer)

    def _who(self, runtime: Runtime[Any]) -> Identity | None:
        return identity_of(self._user(runtime) if callable(self._user) else self._user)

    def _keep(self, pending: Pending) -> None:
        self._later.add(pending)
        cast("Any", pending).add_done_callback(self._later.discard)


@dataclass(frozen=True, slots=True)
class ModelCall(Call):
    """One call of an agent's model. The conversation ends with the person's message; not with what tools said."""

    at: int = 0
    """Where that message is."""

    @classmethod
    def of(cls, request: ModelRequest[Any]) -> ModelCall | None:
        """The call; None where no person has spoken."""
        at = _last_of_person(request.messages)
        return None if at is None else cls((request,), {}, (0, "messages"), (), at)

    @property
    def request(self) -> ModelRequest[Any]:
        """What the agent asks its model with."""
        return self.arguments[0]

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The conversation in OpenAI's form."""
        system = self.request.system_message
        return [*_openai([system] if system else []), *self._said]

    def saying(self, messages: Sequence[Mapping[str, Any]], kept: Sequence[int]) -> Call:
        """The same call with the guidance in the person's message; what comes after it stays next to it."""
        given, said = self.request.messages, self._said
        before = 1 if self.request.system_message else 0
        told = [
            given[at - before]
            if said[at - before] == now
            else given[at - before].model_copy(update={"content": now["content"]})
            for at, now in zip(kept, messages, strict=True)
            if at >= before
        ]
        return _plain(self.request.override(messages=[*told, *given[self.at + 1 :]]))

    def key(self, who: Identity | None) -> str:
        """What tells this turn from every other one."""
        return _key(self._said, who)

    @property
    def _said(self) -> list[dict[str, Any]]:
        return _openai(self.request.messages[: self.at + 1])


def _key(said: Sequence[Mapping[str, Any]], who: Identity | None) -> str:
    """One person's last message in one conversation: nobody gets what was understood of another."""
    return hashlib.sha256(json.dumps([repr(who), said], default=str).encode()).hexdigest()


def _plain(request: ModelRequest[Any]) -> Call:
    return Call((request,), {}, (0, "messages"))


def _silent(request: ModelRequest[Any]) -> ModelRequest[Any]:
    """A request of which nothing is streamed before it is judged; the message is, once it is part of the state."""
    model = cast("object", request.model)
    if not isinstance(model, BaseChatModel):
        return request
    return request.override(model=model.model_copy(update={"tags": [*(model.tags or ()), TAG_NOSTREAM]}))


def _last_of_person(messages: Sequence[AnyMessage]) -> int | None:
    return next((at for at in reversed(range(len(messages))) if isinstance(messages[at], HumanMessage)), None)


def _openai(messages: Sequence[AnyMessage]) -> list[dict[str, Any]]:
    return convert_to_openai_messages(list(messages))


def _nobody() -> None:
    raise AssertionError("After an agent has answered, nobody is asked.")

"""wrap: mentalize around a chatbot, which stays what it was: synchronous or not, in one piece or streaming."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, field, replace
from typing import Any, ParamSpec, Protocol, TypeVar, cast

import structlog

from ..errors import InputError
from ..mind import Mind
from ..portal import at_exit
from ..types import Circumstances, Effort, Identity, MemoryMode, PerspectivesMode
from .call import Calls
from .modes import Around, Asked, Mode
from .steps import AsyncDriver, Flow, Pending, SyncDriver, waited

_log: Any = structlog.wrap_logger(logging.getLogger("mentalize.middleware"))

P = ParamSpec("P")
Answer = TypeVar("Answer", covariant=True)

User = str | Identity | Callable[..., str | Identity | None] | None
TENANT = "default"
FINISH_SECONDS = 20.0
"""What is waited for at the end of a program."""


class WrappedBot(Protocol[P, Answer]):
    """A chatbot that mentalizes. It is called as it was before."""

    mentalize: Wrapping

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Answer: ...


def wrap(
    bot: Callable[P, Answer],
    *,
    user: User = None,
    mode: Mode | str = Mode.GUIDE,
    mind: Mind | None = None,
    effort: Effort | str | None = None,
    memory: MemoryMode | str | Mapping[str, Any] | None = None,
    circumstances: Circumstances | None = None,
    perspectives: PerspectivesMode | str | None = None,
    history: str | None = None,
    within: str | None = None,
    **settings: Any,
) -> WrappedBot[P, Answer]:
    """The same chatbot, mentalizing.

        bot = mentalize.wrap(bot, user="ana", model="openai/gpt-5-mini")

    What goes wrong in mentalize is logged and costs the conversation nothing; the chatbot's own errors stay its own.

    Args:
        bot: A callable or async callable, whose first argument is a message as a text or a list of messages, and that
            gives a text, a message, or an iterator of chunks. Generators are welcome.
        user: Whose memory it is: an id, an `Identity`, or a function of the chatbot's arguments that gives one. None:
            nothing is remembered.
        mode: `guide` (mentalize tells the chatbot what it understood), `author` (mentalize writes), `review` (it judges
            what the chatbot writes, and sends that back once with a critique), `observe` (trace and memory alone).
        mind: What does the thinking; one of the given `settings`, if not given, such as `model`.
        effort: As for `Mind.reply`.
        memory: Likewise; or the settings of memory, such as `{"url": "sqlite:///memory.db"}`.
        circumstances: Likewise.
        perspectives: Likewise.
        history: The name of the chatbot's parameter with the messages before, if its first one has the last alone.
        within: The name under which the messages are in its first argument: `messages` for a node of LangGraph.
        **settings: Settings of the mind, if none is given: `model="openai/gpt-5-mini"`.

    Raises:
        InputError: there is no such mode or effort, the user is no name, or the chatbot cannot be called.
        SettingsError, ModelNotFound: as for `Mind`.
    """
    if not callable(cast("object", bot)):
        raise InputError(
            f"The chatbot is a {type(bot).__name__}, which cannot be called.",
            hint="Give a function of messages, such as `client.respond`, without calling it.",
        )
    if isinstance(memory, Mapping):
        settings, memory = {**settings, "memory": memory}, None
    if mind is not None and settings:
        raise InputError("Settings are given beside a mind that has its own.", hint="Give one of the two.")
    asked = Asked(effort, memory, circumstances, perspectives).checked()
    if not callable(user):
        identity_of(user)
    wrapping = Wrapping(
        bot=bot,
        user=user,
        mode=Mode.named(mode),
        mind=mind or Mind(**settings),
        asked=asked,
        calls=Calls(bot, history, within),
        owns=mind is None,
    )
    return cast("WrappedBot[P, Answer]", wrapping.around())


def identity_of(user: object) -> Identity | None:
    """The identity of a user who is given as a name. Raises InputError."""
    if user is None or isinstance(user, Identity):
        return user
    if isinstance(user, str):
        return Identity(TENANT, user)
    raise InputError(f"The user is a {type(user).__name__}.", hint="Give an id as a text, an Identity, or None.")


@dataclass(frozen=True, kw_only=True, eq=False)
class Wrapping:
    """What is around a chatbot: the attribute `mentalize` of what `wrap` gives."""

    bot: Callable[..., Any]
    user: User
    mode: Mode
    mind: Mind
    asked: Asked
    calls: Calls
    owns: bool
    """Whether the mind was made for this chatbot, and is closed with it."""
    _later: set[Pending] = field(default_factory=set[Pending])

    def for_user(self, user: User) -> WrappedBot[..., Any]:
        """The same chatbot for somebody else, with the same mind."""
        if not callable(user):
            identity_of(user)
        return cast("WrappedBot[..., Any]", replace(self, user=user).around())

    async def noted(self) -> None:
        """Wait until all that left is in memory."""
        await waited(self._later)

    async def settle(self) -> tuple[str, ...]:
        """Wait until all that was said is taken note of; see `Mind.settle`. Of a synchronous chatbot, use `finish`."""
        await self.noted()
        return await self.mind.settle()

    async def close(self) -> None:
        """Wait for what is still noted, and close the mind if it was made for this chatbot."""
        await self.settle()
        if self.owns:
            await self.mind.close()

    def finish(self) -> None:
        """The same as `close` for a synchronous chatbot. At the end of a program it is done anyway."""
        done, late = wait([cast("Future[Any]", pending) for pending in tuple(self._later)], FINISH_SECONDS)
        if late:
            _log.warning("not_noted", turns=len(late), noted=len(done), seconds=FINISH_SECONDS)
        if self.owns:
            self.mind.sync.close()

    def around(self) -> Callable[..., Any]:
        """The function that is called in the chatbot's place."""
        called = _called(self.bot)
        if inspect.isasyncgenfunction(called):
            around = self._asynchronous_stream()
        elif inspect.iscoroutinefunction(called):
            around = self._asynchronous()
        else:
            self.mind.sync.start()
            at_exit(self.finish)
            around = self._synchronous_stream() if _streams(self.bot) else self._synchronous()
        functools.update_wrapper(around, self.bot)
        around.__dict__["mentalize"] = self
        return around

    def _flow(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> Flow:
        call = self.calls.read(arguments, named)
        user = self.user(*arguments, **named) if callable(self.user) else self.user
        around = Around(self.mind, self.asked, streams=_streams(self.bot), later=self._keep)
        return around.flow(self.mode, call, identity_of(user))

    def _keep(self, pending: Pending) -> None:
        self._later.add(pending)
        cast("Future[Any]", pending).add_done_callback(self._later.discard)

    def _synchronous(self) -> Callable[..., Any]:
        driver = SyncDriver(self.bot, self.mind.sync)

        def around(*arguments: Any, **named: Any) -> Any:
            return driver.call(self._flow(arguments, named))

        return around

    def _synchronous_stream(self) -> Callable[..., Any]:
        driver = SyncDriver(self.bot, self.mind.sync)

        def around(*arguments: Any, **named: Any) -> Generator[Any]:
            answer = driver.call(self._flow(arguments, named))
            yield from answer if hasattr(answer, "__next__") else [answer]

        return around

    def _asynchronous(self) -> Callable[..., Any]:
        driver = AsyncDriver(self.bot)

        async def around(*arguments: Any, **named: Any) -> Any:
            return await driver.call(self._flow(arguments, named))

        return around

    def _asynchronous_stream(self) -> Callable[..., Any]:
        driver = AsyncDriver(self.bot)

        async def around(*arguments: Any, **named: Any) -> AsyncGenerator[Any]:
            answer = await driver.call(self._flow(arguments, named))
            if not hasattr(answer, "__anext__"):
                yield answer
                return
            try:
                async for chunk in answer:
                    yield chunk
            finally:
                await answer.aclose()

        return around


def _called(bot: Callable[..., Any]) -> Any:
    """The function that runs when the chatbot is called: that of its class, where it is an object."""
    while isinstance(bot, functools.partial):
        bot = cast("functools.partial[Any]", bot).func
    return bot if inspect.isroutine(bot) else type(bot).__call__


def _streams(bot: Callable[..., Any]) -> bool:
    """Whether it is a generator function, of either kind."""
    called = _called(bot)
    return inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called)

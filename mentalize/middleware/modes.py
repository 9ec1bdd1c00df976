"""Modes: what mentalize does around a chatbot. Each is a flow of steps that ends with the answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import structlog

from ..agents.intake import effort as effort_named
from ..errors import InputError, MentalizeError, whereabouts
from ..graphs.events import TextDelta
from ..guided_turn import BOT, GuidedTurn, listener, understood
from ..mind import memory_mode_named, perspectives_mode_named
from ..open_turn import Event
from ..types import Circumstances, Effort, Identity, MemoryMode, PerspectivesMode
from .answers import is_stream, text_of, with_text
from .call import Call
from .steps import END, Ask, Await, Begin, Compute, Flow, Next, Pending, Say, Step, Streaming, Think

if TYPE_CHECKING:
    from ..graphs.listener import Listener
    from ..mind import Mind
    from ..open_turn import OpenTurn, Reply

Said = Sequence[Mapping[str, Any]]
"""A conversation in OpenAI's form."""

_log: Any = structlog.wrap_logger(logging.getLogger("mentalize.middleware"))


class Mode(StrEnum):
    """What mentalize does around a chatbot (docs/wrap.md)."""

    GUIDE = "guide"
    """It tells the chatbot what it understood; the chatbot writes."""
    AUTHOR = "author"
    """It writes; the chatbot is asked where that fails."""
    REVIEW = "review"
    """It judges what the chatbot writes, and sends that back once with a critique if need be."""
    OBSERVE = "observe"
    """It takes note, after the answer has left."""

    @classmethod
    def named(cls, name: str) -> Mode:
        """The mode of this name. Raises InputError."""
        try:
            return cls(name)
        except ValueError as error:
            raise InputError(f"There is no mode {name!r}.", hint=f"The modes are: {', '.join(cls)}.") from error


@dataclass(frozen=True, slots=True)
class Asked:
    """How much of what goes into each turn; see `Mind.reply`."""

    effort: Effort | str | None = None
    memory: MemoryMode | str | None = None
    circumstances: Circumstances | None = None
    perspectives: PerspectivesMode | str | None = None

    def checked(self) -> Asked:
        """The same. Raises InputError where there is nothing of such a name."""
        if self.effort is not None:
            effort_named(self.effort)
        if self.memory is not None:
            memory_mode_named(self.memory)
        if self.perspectives is not None:
            perspectives_mode_named(self.perspectives)
        return self


@dataclass(frozen=True, slots=True)
class Around:
    """One mode's flows for one chatbot."""

    mind: Mind
    asked: Asked
    streams: bool
    """Whether the chatbot is a generator function, so that what is called in its place gives chunks too."""
    later: Callable[[Pending], None]
    """Keeps work that goes on after the answer has left."""

    def flow(self, mode: Mode, call: Call, who: Identity | None) -> Flow:
        """The steps of one call of the chatbot."""
        match mode:
            case Mode.GUIDE:
                return self._guide(call, who)
            case Mode.AUTHOR:
                return self._author(call, who)
            case Mode.REVIEW:
                return self._review(call, who)
            case Mode.OBSERVE:
                return self._observe(call, who)

    # --- guide --------------------------------------------------------------------------------------------

    def _guide(self, call: Call, who: Identity | None) -> Flow:
        guided: GuidedTurn | None = yield from attempted(Think(lambda: self.guided(call.messages, who)))
        answer = yield Ask(call.saying(guided.messages, guided.kept) if guided else call)
        if is_stream(answer):
            return Streaming(self._pass_on(answer, lambda text: concluded(guided, text)), answer)
        yield from concluded(guided, _text(answer))
        return answer

    def _pass_on(self, stream: Any, after: Callable[[str], Flow]) -> Flow:
        """Chunks as they come, and then what is to be done with their text."""
        said: list[str] = []
        while (chunk := (yield Next(stream))) is not END:
            said.append(_text(chunk))
            yield Say(chunk)
        yield from after("".join(said))

    # --- author -------------------------------------------------------------------------------------------

    def _author(self, call: Call, who: Identity | None) -> Flow:
        if self.streams:
            turn: OpenTurn | None = yield from attempted(Think(lambda: self._begun(call.messages, who)))
            events = turn.stream() if turn else iter(())
            return Streaming(self._write(call, events), events)
        reply: Reply | None = yield from attempted(Think(lambda: self._replied(call.messages, who)))
        if reply is None:
            return (yield Ask(call))
        return reply.text if call.is_text else dict(reply.message)

    def _write(self, call: Call, events: Any) -> Flow:
        said = False
        while isinstance(event := (yield from attempted(Next(events))), Event):
            if isinstance(event, TextDelta):
                said = True
                yield Say(event.text)
        if said:
            return
        stream = yield Ask(call)
        while (chunk := (yield Next(stream))) is not END:
            yield Say(chunk)

    # --- observe ------------------------------------------------------------------------------------------

    def _observe(self, call: Call, who: Identity | None) -> Flow:
        # Read before the chatbot is asked: it may write its answer into the list that it was given.
        said = _conversation(call)
        answer = yield Ask(call)
        if is_stream(answer):
            return Streaming(self._pass_on(answer, lambda text: self.noted(said, who, text)), answer)
        yield from self.noted(said, who, _text(answer))
        return answer

    def noted(self, said: Said | None, who: Identity | None, text: str) -> Flow:
        """Begin to take note of what was said."""
        if said is not None:
            self.later((yield Begin(lambda: self._observed(said, who, text))))

    # --- review -------------------------------------------------------------------------------------------

    def _review(self, call: Call, who: Identity | None) -> Flow:
        turn: OpenTurn | None = yield from attempted(Think(lambda: self._begun(call.messages, who)))
        if turn is None:
            return (yield Ask(call))
        # The chatbot writes beside the understanding, which adds no wait before it.
        understanding: Pending = yield Begin(lambda: understood(turn))
        try:
            answer = yield Ask(call)
            if is_stream(answer):
                return Streaming(self._hear(call, turn, understanding, answer), answer)
            guided = yield from _awaited(turn, understanding)
        except BaseException:
            understanding.cancel()
            raise
        return (yield from self.judge(call, guided, answer))

    def judge(self, call: Call, guided: GuidedTurn, answer: Any) -> Flow:
        """The answer if it is good, or what is to be sent instead."""
        written: dict[str, Any] = {}
        while text := _text(answer).strip():
            judged: GuidedTurn | None = yield from attempted(
                Think(lambda guided=guided, text=text: guided.review(text))
            )
            if judged is None:
                return _unjudged(guided, answer)
            guided = judged
            written[_draft(guided)] = answer
            if not guided.again:
                break
            better = yield from _whole(call, guided)
            if better is None:
                break
            answer = better
        else:
            if not written:
                # It calls a tool, or says nothing: there is nothing to judge.
                yield from concluded(guided, "")
                return answer
        reply: Reply | None = yield from attempted(Think(guided.conclude))
        if reply is None:
            return _unjudged(guided, answer)
        return written.get(reply.text) or with_text(answer, reply.text)

    def _hear(self, call: Call, turn: OpenTurn, understanding: Pending, stream: Any) -> Flow:
        """Chunks as they came, each once the sentence that it ends in has passed."""
        try:
            guided, heard = yield from _heard(turn, understanding, None, stream)
        except BaseException:
            understanding.cancel()
            raise
        while True:
            if not heard.listener.text.strip():
                if not _speaks(guided):
                    yield from concluded(guided, "")
                    yield from heard.say_all()
                    return
                break
            ear = heard.listener
            judged: GuidedTurn | None = yield from attempted(Think(lambda guided=guided, ear=ear: guided.review(ear)))
            if judged is None:
                yield from heard.say_instead(_unjudged(guided, ear.text[len(ear.left) :]))
                return
            guided = judged
            if not guided.again:
                break
            better = yield from _asked_again(call, guided)
            if better is None:
                break
            stream = better if is_stream(better) else iter([better])
            guided, heard = yield from _heard(turn, understanding, guided, stream)
        reply: Reply | None = yield from attempted(Think(guided.conclude))
        if reply is None:
            yield from heard.say_instead(_unjudged(guided, heard.listener.text[len(heard.listener.left) :]))
        elif reply.trace.reply_origin == BOT and reply.text in (_draft(guided), heard.listener.text.rstrip()):
            yield from heard.say_all()
        else:
            yield from heard.say_instead(reply.text[len(heard.listener.left) :])

    # --- ours ---------------------------------------------------------------------------------------------

    async def _begun(self, said: Said, who: Identity | None) -> OpenTurn:
        asked = self.asked
        return await self.mind.begin(
            said,
            who,
            asked.effort,
            asked.memory,
            circumstances=asked.circumstances,
            perspectives=asked.perspectives,
        )

    async def guided(self, said: Said, who: Identity | None) -> GuidedTurn:
        """Understand the last message of a conversation."""
        return await understood(await self._begun(said, who))

    async def _replied(self, said: Said, who: Identity | None) -> Reply:
        return await (await self._begun(said, who)).reply()

    async def _observed(self, said: Said, who: Identity | None, text: str) -> None:
        try:
            asked = self.asked
            about: Any = {"circumstances": asked.circumstances, "perspectives": asked.perspectives}
            await self.mind.observe(said, text, who, asked.effort, asked.memory, **about)
        except Exception as error:
            _left_out(error)


@dataclass(slots=True)
class _Heard:
    """A stream, and the chunks of it that wait, with how far each goes."""

    listener: Listener
    stream: Any
    waiting: list[tuple[Any, int]] = field(default_factory=list[tuple[Any, int]])
    last: Any = None
    """The last chunk with text: others are shaped like it."""
    whole: bool = False
    """Whether the stream was heard to its end."""

    def say_all(self) -> Flow:
        for chunk, _ in self.waiting:
            yield Say(chunk)

    def say_instead(self, text: str) -> Flow:
        """This text in the place of what waits, and then the chunks without text, which tell why and what it cost."""
        if text:
            yield Say(with_text(self.last, text))
        for chunk, _ in self.waiting:
            if not _text(chunk):
                yield Say(chunk)
        while not self.whole and (chunk := (yield Next(self.stream))) is not END:
            if not _text(chunk):
                yield Say(chunk)


def _heard(
    turn: OpenTurn, understanding: Pending, guided: GuidedTurn | None, stream: Any
) -> Generator[Step, Any, tuple[GuidedTurn, _Heard]]:
    """Hear a stream to its end, and let leave what may."""
    heard = _Heard(listener(turn), stream)
    ear = heard.listener
    while (chunk := (yield Next(stream))) is not END:
        if text := _text(chunk):
            heard.last = chunk
            yield Compute(lambda text=text: ear.hear(text))
        if guided is None and understanding.done():
            guided = yield from _awaited(turn, understanding)
        heard.waiting.append((chunk, len(ear.text)))
        free = ear.may_leave(guided.state if guided else None)
        while heard.waiting and heard.waiting[0][1] <= free:
            yield Say(heard.waiting.pop(0)[0])
        if ear.failed:
            break
    else:
        heard.whole = True
    return guided or (yield from _awaited(turn, understanding)), heard


def _awaited(turn: OpenTurn, understanding: Pending) -> Generator[Step, Any, GuidedTurn]:
    """What was understood; if nothing was, the code's gates judge alone."""
    guided: GuidedTurn | None = yield from attempted(Await(understanding))
    return guided or GuidedTurn(turn, {})


def _whole(call: Call, guided: GuidedTurn) -> Flow:
    """Another draft in one piece; None if there is none."""
    answer = yield from _asked_again(call, guided)
    return None if is_stream(answer) else answer


def _asked_again(call: Call, guided: GuidedTurn) -> Flow:
    """Another answer, with the critique; None where the chatbot fails, for it has answered before."""
    try:
        return (yield Ask(call.saying(guided.messages, guided.kept)))
    except Exception as error:
        _left_out(error)
        return None


def _conversation(call: Call) -> Said | None:
    try:
        return call.messages
    except InputError as error:
        _left_out(error)
        return None


def concluded(guided: GuidedTurn | None, text: str) -> Flow:
    """Take in what the chatbot has answered."""
    if guided is not None:
        yield from attempted(Think(lambda: guided.conclude(text)))


def attempted(step: Step) -> Flow:
    """The result of a step of ours; None where it fails, which costs the conversation nothing."""
    try:
        return (yield step)
    except Exception as error:
        _left_out(error)
        return None


def _unjudged(guided: GuidedTurn, answer: Any) -> Any:
    """What goes out when judging itself broke: closed on signs of danger, open otherwise."""
    signs = guided.risk
    return with_text(answer, guided.turn.context.vetted(signs)) if signs else answer


def _draft(guided: GuidedTurn) -> str:
    draft = guided.state.get("draft")
    return draft.text if draft else ""


def _speaks(guided: GuidedTurn) -> bool:
    return guided.verdict is not None


def _text(answer: Any) -> str:
    text = text_of(answer)
    if text is None:
        shape = type(answer).__name__
        _log.warning("answer_without_text", shape=shape, hint="Let the chatbot give a text, a message or a chunk.")
    return text or ""


def _left_out(error: Exception) -> None:
    hint = error.hint if isinstance(error, MentalizeError) else ""
    _log.warning("mentalize_left_out", fault=type(error).__name__, hint=hint, at=whereabouts(error))

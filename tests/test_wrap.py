"""A chatbot that exists already, of every kind, in every mode."""

from __future__ import annotations

import asyncio
import functools
import inspect
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from openai.types.chat import ChatCompletion, ChatCompletionChunk

import mentalize
from mentalize import Identity, InputError, Mind, Model
from mentalize.errors import ModelNotFound
from mentalize.llm.model import Completion
from mentalize.llm.scripted import FunctionModel, ScriptedModel
from mentalize.middleware.answers import text_of, with_text
from mentalize.safety.gates import has_referral
from social_script import GOOD, MESSAGE, POOR, SCRIPT, WARM

SENTENCES = ["Shall I", " stay? ", "I would ", "like to."]
ANSWER = "".join(SENTENCES)
HARMFUL = "Just kill yourself."
DANGER = "I don't want to be alive anymore."


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    return {"cache_folder": tmp_path, "memory": {"url": f"sqlite:///{tmp_path}/memory.db"}}


def model(**script: Any) -> ScriptedModel:
    return ScriptedModel({**SCRIPT, **script})


class Chatbot:
    """A chatbot of every kind, which keeps what it was asked with."""

    def __init__(self, *answers: str) -> None:
        self.asked: list[Any] = []
        self._answers = answers or (ANSWER,)

    def _answer(self, messages: Any) -> str:
        self.asked.append(messages)
        return self._answers[min(len(self.asked), len(self._answers)) - 1]

    def plain(self, messages: Any) -> str:
        return self._answer(messages)

    async def awaited(self, messages: Any) -> str:
        return self._answer(messages)

    def stream(self, messages: Any) -> Iterator[str]:
        yield from self._pieces(messages)

    async def awaited_stream(self, messages: Any) -> AsyncIterator[str]:
        for piece in self._pieces(messages):
            await asyncio.sleep(0)
            yield piece

    def returned_stream(self, messages: Any) -> Iterator[str]:
        return self.stream(messages)

    async def awaited_returned_stream(self, messages: Any) -> AsyncIterator[str]:
        return self.awaited_stream(messages)

    def __call__(self, messages: Any) -> str:
        return self._answer(messages)

    def _pieces(self, messages: Any) -> list[str]:
        answer = self._answer(messages)
        return [answer[at : at + 7] for at in range(0, len(answer), 7)]


KINDS = ("plain", "awaited", "stream", "awaited_stream", "returned_stream", "awaited_returned_stream")


async def text_from(wrapped: Callable[..., Any], *arguments: Any) -> str:
    """What it says, however; a synchronous one in a thread, as it would be called beside an event loop."""
    if inspect.iscoroutinefunction(wrapped) or inspect.isasyncgenfunction(wrapped):
        answer = wrapped(*arguments)
        answer = await answer if inspect.isawaitable(answer) else answer
        return answer if isinstance(answer, str) else "".join([piece async for piece in answer])

    def ask() -> str:
        answer = wrapped(*arguments)
        return answer if isinstance(answer, str) else "".join(answer)

    return await asyncio.to_thread(ask)


@asynccontextmanager
async def thinking(settings: dict[str, Any], kind: str, chosen: Model | None = None) -> AsyncIterator[Mind]:
    """A mind, closed on the event loop that it runs on."""
    mind = Mind(model=chosen or model(), **settings)
    try:
        yield mind
    finally:
        if kind.startswith("awaited"):
            await mind.close()
        else:
            await asyncio.to_thread(mind.sync.close)


async def remembered(wrapped: Any) -> set[str]:
    """What is in memory when all is noted."""
    mind = wrapped.mentalize.mind

    async def texts() -> set[str]:
        return {memory.text for memory in await mind.memory.find(Identity("default", "ana"))}

    if inspect.iscoroutinefunction(wrapped) or inspect.isasyncgenfunction(wrapped):
        await wrapped.mentalize.settle()
        return await texts()
    await asyncio.to_thread(wrapped.mentalize.finish)
    return await asyncio.to_thread(mind.sync.run, texts)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["guide", "author", "review", "observe"])
async def test_every_kind_of_chatbot_in_every_mode(settings: dict[str, Any], mode: str, kind: str) -> None:
    chatbot = Chatbot()
    async with thinking(settings, kind) as mind:
        wrapped = mentalize.wrap(getattr(chatbot, kind), user="ana", mode=mode, mind=mind, effort="low")
        assert inspect.iscoroutinefunction(wrapped) == inspect.iscoroutinefunction(getattr(chatbot, kind))
        assert inspect.isasyncgenfunction(wrapped) == inspect.isasyncgenfunction(getattr(chatbot, kind))
        assert inspect.isgeneratorfunction(wrapped) == inspect.isgeneratorfunction(getattr(chatbot, kind))
        assert await text_from(wrapped, MESSAGE) == (WARM if mode == "author" else ANSWER)
        assert MESSAGE in await remembered(wrapped)
    asked = {"guide": f"{MESSAGE}\n\n<guidance>", "review": MESSAGE, "observe": MESSAGE}.get(mode)
    assert [str(one)[: len(asked or "")] for one in chatbot.asked] == ([asked] if asked else [])


@pytest.mark.parametrize("kind", KINDS)
async def test_no_unsafe_answer_leaves_a_reviewed_chatbot(settings: dict[str, Any], kind: str) -> None:
    chatbot = Chatbot(HARMFUL)
    async with thinking(settings, kind) as mind:
        wrapped = mentalize.wrap(getattr(chatbot, kind), mode="review", mind=mind, effort="low")
        said = await text_from(wrapped, MESSAGE)
    assert said and HARMFUL not in said and len(chatbot.asked) == 2


@pytest.mark.parametrize("kind", KINDS)
async def test_a_poor_answer_is_sent_back_with_a_critique(settings: dict[str, Any], kind: str) -> None:
    chatbot = Chatbot("Okay, bye.", WARM)
    async with thinking(settings, kind, model(validate=[POOR, GOOD])) as mind:
        wrapped = mentalize.wrap(getattr(chatbot, kind), mode="review", mind=mind, effort="medium")
        assert await text_from(wrapped, MESSAGE) == WARM
    first, second = chatbot.asked
    assert first == MESSAGE and POOR["critique"] in second


@pytest.mark.parametrize("kind", KINDS)
async def test_danger_without_help_gets_help(settings: dict[str, Any], kind: str) -> None:
    chatbot = Chatbot("Cheer up!")
    async with thinking(settings, kind) as mind:
        wrapped = mentalize.wrap(getattr(chatbot, kind), mode="review", mind=mind, effort="low")
        said = await text_from(wrapped, DANGER)
    assert "Cheer up!" not in said and has_referral(said, None)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_reviewed_stream_ends_before_the_sentence_that_fails(settings: dict[str, Any], kind: str) -> None:
    chatbot = Chatbot(f"Oh no, I see. {HARMFUL} Bye.")
    async with thinking(settings, kind) as mind:
        wrapped = mentalize.wrap(getattr(chatbot, kind), mode="review", mind=mind, effort="low")
        said = await text_from(wrapped, MESSAGE)
    assert HARMFUL not in said


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["guide", "review", "observe"])
async def test_the_chatbot_s_errors_stay_its_own(settings: dict[str, Any], mode: str, kind: str) -> None:
    class OutOfTea(Exception):
        pass

    class Broken(Chatbot):
        def _answer(self, messages: Any) -> str:
            raise OutOfTea

    async with thinking(settings, kind) as mind:
        wrapped = mentalize.wrap(getattr(Broken(), kind), mode=mode, mind=mind, effort="low")
        with pytest.raises(OutOfTea):
            await text_from(wrapped, MESSAGE)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["guide", "author", "review", "observe"])
async def test_where_mentalize_fails_the_chatbot_answers(settings: dict[str, Any], mode: str, kind: str) -> None:
    def refuse(request: object) -> Completion:
        raise ModelNotFound("There is none.")

    chatbot = Chatbot()
    async with thinking(settings, kind, FunctionModel(refuse)) as mind:
        wrapped = mentalize.wrap(getattr(chatbot, kind), user="ana", mode=mode, mind=mind, effort="low")
        assert await text_from(wrapped, MESSAGE) == ANSWER


@pytest.mark.parametrize("mode", ["guide", "review", "observe"])
async def test_who_leaves_early_ends_the_chatbot_s_stream(settings: dict[str, Any], mode: str) -> None:
    closed = False

    async def chatbot(message: str) -> AsyncIterator[str]:
        nonlocal closed
        try:
            while True:
                yield "Yes, of course. "
                await asyncio.sleep(0.01)
        finally:
            closed = True

    async with Mind(model=model(), **settings) as mind:
        wrapped: Any = mentalize.wrap(chatbot, user="ana", mode=mode, mind=mind, effort="minimal")
        chunks = wrapped(MESSAGE)
        assert await anext(chunks)
        await chunks.aclose()
        assert closed
        assert not await remembered(wrapped)


async def test_sentences_leave_while_the_chatbot_still_writes(settings: dict[str, Any]) -> None:
    going_on = asyncio.Event()

    async def chatbot(message: str) -> AsyncIterator[str]:
        yield "Shall I stay? "
        await asyncio.sleep(0.05)
        yield "I would "
        await going_on.wait()
        yield "like to."

    async with Mind(model=model(), **settings) as mind:
        chunks: Any = mentalize.wrap(chatbot, mode="review", mind=mind, effort="low")(MESSAGE)
        async with asyncio.timeout(10):
            assert await anext(chunks) == "Shall I stay? "
            going_on.set()
            assert [piece async for piece in chunks] == ["I would ", "like to."]


def test_a_program_that_ends_has_noted_what_it_observed(tmp_path: Path) -> None:
    program = f"""
import asyncio, mentalize, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from mentalize.llm.scripted import ScriptedModel
from social_script import MESSAGE, SCRIPT
bot = mentalize.wrap(lambda message: "Fine.", user="ana", mode="observe", model=ScriptedModel(SCRIPT),
    effort="low", cache_folder={str(tmp_path)!r}, memory={{"url": "sqlite:///{tmp_path}/memory.db"}})
print(bot(MESSAGE))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert ran.stdout == "Fine.\n", ran.stderr
    mind = Mind(model=model(), memory={"url": f"sqlite:///{tmp_path}/memory.db"})
    with mind.sync as running:
        found = running.run(lambda: mind.memory.find(Identity("default", "ana")))
    assert {"Fine.", MESSAGE} <= {memory.text for memory in found}


@pytest.mark.parametrize("kind", ["plain", "awaited"])
async def test_a_mind_is_not_closed_before_what_was_observed_is_noted(settings: dict[str, Any], kind: str) -> None:
    async with thinking(settings, kind) as mind:
        wrapped = mentalize.wrap(getattr(Chatbot(), kind), user="ana", mode="observe", mind=mind, effort="low")
        await text_from(wrapped, MESSAGE)
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("mentalize-writing")]
    async with Mind(model=model(), **settings) as later:
        assert MESSAGE in {memory.text for memory in await later.memory.find(Identity("default", "ana"))}


# --- users ------------------------------------------------------------------------------------------------


async def test_users_are_kept_apart(settings: dict[str, Any]) -> None:
    async def chatbot(message: str, person: str = "") -> str:
        return "Fine."

    async with Mind(model=model(), **settings) as mind:
        ana: Any = mentalize.wrap(chatbot, user=lambda message, person="": person or None, mind=mind, effort="minimal")
        await ana("My cat is called Tom.", person="ana")
        await ana("Nobody is to know.")
        ben: Any = ana.mentalize.for_user(Identity("app", "ben"))
        await ben("My dog is called Rex.")

        async def texts(who: Identity) -> set[str]:
            return {memory.text for memory in await mind.memory.find(who)}

        assert await texts(Identity("default", "ana")) >= {"My cat is called Tom.", "Fine."}
        assert "Nobody is to know." not in await texts(Identity("default", "ana"))
        assert await texts(Identity("app", "ben")) >= {"My dog is called Rex.", "Fine."}


# --- shapes -----------------------------------------------------------------------------------------------


@dataclass
class Own:
    text: str
    tokens: int = 3


def completion(content: str | None) -> ChatCompletion:
    message = {"role": "assistant", "content": content}
    choices = [{"index": 0, "finish_reason": "stop", "message": message}]
    body = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": choices}
    return ChatCompletion.model_validate(body)


def chunk(content: str | None, *, choices: bool = True) -> ChatCompletionChunk:
    given = [{"index": 0, "delta": {"content": content}, "finish_reason": None}] if choices else []
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": given}
    return ChatCompletionChunk.model_validate(body)


@pytest.mark.parametrize(
    "answer",
    [
        "Hm.",
        {"role": "assistant", "content": "Hm.", "refusal": None},
        {"choices": [{"message": {"content": "Hm."}}]},
        {"message": {"role": "assistant", "content": "Hm."}, "done": True},
        {"messages": [{"content": "Hello."}, {"content": "Hm."}]},
        {"answer": "Hm.", "sources": []},
        completion("Hm."),
        chunk("Hm."),
        AIMessage("Hm."),
        AIMessageChunk(content="Hm."),
        AIMessage(content=[{"type": "text", "text": "Hm."}, {"type": "image_url", "image_url": {"url": "x"}}]),
        Own("Hm."),
    ],
)
def test_the_text_of_an_answer_is_found_and_replaced(answer: Any) -> None:
    assert text_of(answer) == "Hm."
    other = with_text(answer, "Oh!")
    assert text_of(other) == "Oh!" and text_of(answer) == "Hm." and type(other) is type(answer)


@pytest.mark.parametrize("answer", [completion(None), chunk(None), chunk(None, choices=False), None, {"content": None}])
def test_an_answer_without_text_has_an_empty_one(answer: Any) -> None:
    assert text_of(answer) == ""


@pytest.mark.parametrize("answer", [7, {"score": 1}, object(), [1, 2]])
def test_an_unknown_shape_has_no_text(answer: Any) -> None:
    assert text_of(answer) is None


async def test_messages_stay_what_they_were(settings: dict[str, Any]) -> None:
    asked: list[Any] = []

    async def chatbot(messages: Sequence[Any], **more: Any) -> AIMessage:
        asked.append((messages, more))
        return AIMessage("Fine.")

    given = [HumanMessage("Hello, Bo."), AIMessage("Hello."), HumanMessage(MESSAGE)]
    async with Mind(model=model(), **settings) as mind:
        answer = await mentalize.wrap(chatbot, mind=mind, effort="low")(given, temperature=0.5)
    messages, more = asked[0]
    assert messages[:2] == given[:2] and messages[0] is given[0] and more == {"temperature": 0.5}
    assert isinstance(messages[2], HumanMessage) and "<guidance>" in str(messages[2].content)
    assert given[2].content == MESSAGE and answer.content == "Fine."


async def test_a_history_that_comes_apart_is_part_of_the_conversation(settings: dict[str, Any]) -> None:
    asked: list[Any] = []

    def chatbot(message: str, history: list[dict[str, Any]]) -> str:
        asked.append((message, history))
        return "Fine."

    history = [{"role": "user", "content": "I hate parties."}, {"role": "assistant", "content": "I see."}]
    asked_of = model()
    async with thinking(settings, "plain", asked_of) as mind:
        wrapped = mentalize.wrap(chatbot, mind=mind, effort="low", history="history")
        assert await asyncio.to_thread(wrapped, MESSAGE, history) == "Fine."
    assert asked[0][1] == history and asked[0][0].startswith(f"{MESSAGE}\n\n<guidance>")
    assert "I hate parties." in str(asked_of.requests[0].messages)


@pytest.mark.parametrize("mode", ["guide", "review"])
async def test_what_calls_a_tool_is_handed_on(settings: dict[str, Any], mode: str) -> None:
    call = completion(None)

    async def chatbot(messages: Any) -> ChatCompletion:
        return call

    async with Mind(model=model(), **settings) as mind:
        assert await mentalize.wrap(chatbot, mode=mode, mind=mind, effort="low")(MESSAGE) is call


async def test_chunks_that_are_replaced_keep_their_shape(settings: dict[str, Any]) -> None:
    end = chunk(None)

    async def chatbot(messages: Any) -> AsyncIterator[ChatCompletionChunk]:
        for piece in (chunk(""), chunk("Just kill "), chunk("yourself. "), end):
            yield piece

    async with Mind(model=model(), **settings) as mind:
        wrapped: Any = mentalize.wrap(chatbot, mode="review", mind=mind, effort="low")
        chunks = [piece async for piece in wrapped([{"role": "user", "content": MESSAGE}])]
    assert all(isinstance(piece, ChatCompletionChunk) for piece in chunks) and chunks[-1] is end
    said = "".join(text_of(piece) or "" for piece in chunks)
    assert said and "kill" not in said


@pytest.mark.parametrize("mode", ["guide", "review", "observe", "author"])
async def test_messages_that_nobody_knows_cost_the_conversation_nothing(settings: dict[str, Any], mode: str) -> None:
    async def chatbot(messages: list[object]) -> str:
        return ANSWER

    async with Mind(model=model(), **settings) as mind:
        assert await mentalize.wrap(chatbot, mode=mode, user="ana", mind=mind, effort="low")([object()]) == ANSWER


async def test_what_a_chatbot_adds_to_its_messages_is_not_what_was_said(settings: dict[str, Any]) -> None:
    async def chatbot(messages: list[dict[str, str]]) -> str:
        messages.append({"role": "assistant", "content": ANSWER})
        return ANSWER

    for mode in ("observe", "review", "guide"):
        async with Mind(model=model(), **settings) as mind:
            wrapped: Any = mentalize.wrap(chatbot, mode=mode, user=mode, mind=mind, effort="low")
            assert await wrapped([{"role": "user", "content": MESSAGE}]) == ANSWER
            await wrapped.mentalize.settle()
            assert MESSAGE in {memory.text for memory in await mind.memory.find(Identity("default", mode))}


# --- mistakes ---------------------------------------------------------------------------------------------


def echo(message: str) -> str:
    return message


wrap: Any = mentalize.wrap
MISTAKES: Mapping[str, Callable[[Mind], Any]] = {
    "no mode": lambda mind: wrap(echo, mode="guess", mind=mind),
    "no memory mode": lambda mind: wrap(echo, memory="some", mind=mind),
    "no effort": lambda mind: wrap(echo, effort="much", mind=mind),
    "Identity.user is empty": lambda mind: wrap(echo, user=" ", mind=mind),
    "The user is a int": lambda mind: wrap(echo, user=7, mind=mind),
    "cannot be called": lambda mind: wrap("echo", mind=mind),
    "has no parameter 'past'": lambda mind: wrap(echo, history="past", mind=mind),
    "beside a mind": lambda mind: wrap(echo, mind=mind, language="de"),
    "without a message": lambda mind: wrap(echo, mind=mind)(),
    "no `async def`": lambda mind: wrap(lambda message: asyncio.sleep(0), mind=mind)("Hello there, you."),
}


@pytest.mark.parametrize("says", MISTAKES)
def test_mistakes_are_told_at_once(settings: dict[str, Any], says: str) -> None:
    mind = Mind(model=model(), **settings)
    with pytest.raises(InputError) as told:
        MISTAKES[says](mind)
    assert says in str(told.value) and told.value.hint
    mind.sync.close()


async def test_objects_and_partials_are_chatbots_too(settings: dict[str, Any]) -> None:
    async def chatbot(tone: str, message: str) -> str:
        return tone

    async with Mind(model=model(), **settings) as mind:
        partial: Callable[[str], Awaitable[str]] = functools.partial(chatbot, "warm")
        assert await mentalize.wrap(partial, mind=mind, effort="minimal")(MESSAGE) == "warm"
    async with thinking(settings, "plain") as mind:
        wrapped = mentalize.wrap(Chatbot(), mind=mind, effort="minimal")
        assert await asyncio.to_thread(wrapped, MESSAGE) == ANSWER

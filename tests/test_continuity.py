"""Continuity: clients resend whole histories; each turn is kept once, and an edited or regenerated one replaces it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clocks import Clock
from mentalize import Identity, Mind
from mentalize.errors import ModelUnavailable
from mentalize.graphs.continuity import REGENERATED, Place, place_of
from mentalize.graphs.turn_memory import rows_of, successors
from mentalize.graphs.turnstile import Turnstile
from mentalize.llm.embedder import resolve_embedder
from mentalize.llm.model import Request
from mentalize.llm.scripted import FunctionModel, ScriptedModel
from mentalize.memory.memories import Memories
from mentalize.memory.retraction import is_retracted
from mentalize.memory.sessions import is_named, new_session
from mentalize.memory.store import Filter, MemoryStore
from mentalize.types import Contract, Effort, Memory, MemoryKind, Message, Trace, Turn
from social_script import NOTHING, SCRIPT, fact, told

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
ANA = Identity("acme", "ana")
MONDAY = Identity("acme", "ana", session="monday")
CARL = Identity("acme", "ana", session="monday", speaker="carl")
Exchange = tuple[str, str]
"""What was said, and what was answered."""


def messages(history: Sequence[Exchange], text: str) -> list[dict[str, Any]]:
    """A conversation as a client sends it."""
    sent: list[dict[str, Any]] = [{"role": "system", "content": "Be kind."}]
    for said, answered in history:
        sent += [{"role": "user", "content": said}, {"role": "assistant", "content": answered}]
    return [*sent, {"role": "user", "content": text}]


class Book:
    """What is kept of a person, without a database: each turn is written down a second after the one before."""

    def __init__(self) -> None:
        self.rows: list[Memory] = []
        self.now = NOON
        self.turns = 0

    def tell(
        self, history: Sequence[Exchange], text: str, reply: str, *, who: Identity = ANA, at: datetime | None = None
    ) -> Place:
        self.now, self.turns = self.now + timedelta(seconds=1), self.turns + 1
        sent = tuple(Message(**message) for message in messages(history, text))
        turn = Turn(id=f"turn-{self.turns:08x}{0:024x}", messages=sent, text=text, at=at or self.now)
        trace = Trace(
            turn_id=turn.id,
            at=turn.at,
            effort=Effort.MINIMAL,
            requested_effort=Effort.MINIMAL,
            route="asked",
            text=text,
            contract=Contract(calls=1, depth=1, seconds=9),
            reply=reply,
        )
        place = place_of(turn, self.rows[::-1], who=who, zone="UTC")
        new = rows_of(turn, trace, place=place, who=who)
        gone = successors(place, new)
        self.rows = [
            replace(row, superseded_by=gone[row.id], valid_until=turn.at) if row.id in gone else row
            for row in self.rows
        ]
        self.rows += new
        return place

    def exchanges(self, session: str | None = None) -> list[tuple[str, ...]]:
        """What was said and not taken back, each with its replies."""
        kept = [row for row in self.rows if not is_retracted(row) and session in (None, row.session)]
        said = [row for row in kept if row.details["role"] == "user"]
        return [(row.text, *(other.text for other in kept if other.sources[:1] == (row.id,))) for row in said]


# --- any conversation -----------------------------------------------------------------------------------------

FEW = st.sampled_from(["ok", "yes", "I live in Rome."])
KEPT = st.integers(1, 5)
"""Exchanges before the message that a client sends at most."""


@settings(deadline=None)
@given(st.lists(st.tuples(FEW, FEW, KEPT), min_size=1, max_size=12), st.sampled_from([ANA, MONDAY]))
def test_a_conversation_is_kept_once_however_it_is_cut(turns: list[tuple[str, str, int]], who: Identity) -> None:
    book, shown = Book(), list[Exchange]()
    for text, reply, kept in turns:
        book.tell(shown[-kept:], text, reply, who=who)
        shown.append((text, reply))
    assert book.exchanges() == shown
    assert len({row.session for row in book.rows}) == 1


CHANGES = st.lists(st.tuples(st.sampled_from(["say", "again", "edit"]), st.integers(0, 20), FEW, KEPT), max_size=14)


@settings(deadline=None)
@given(CHANGES, st.sampled_from([ANA, MONDAY]))
def test_what_is_edited_or_regenerated_takes_the_place_of_all_that_followed(
    changes: list[tuple[str, int, str, int]], who: Identity
) -> None:
    book, shown = Book(), list[Exchange]()
    for number, (change, where, text, kept) in enumerate([("say", 0, "Hello.", 1), *changes]):
        at = len(shown)
        if change != "say":
            # The very first message of a conversation that went on cannot be told from a new conversation.
            at = where % len(shown) if len(shown) == 1 else 1 + where % (len(shown) - 1)
        if change == "again" or (change == "edit" and at == 0):
            text = shown[at][0]
        book.tell(shown[:at][-kept:], text, f"reply {number}", who=who)
        shown = [*shown[:at], (text, f"reply {number}")]
        assert book.exchanges() == shown
    assert len({row.session for row in book.rows}) == 1


@settings(deadline=None)
@given(CHANGES, st.sampled_from(["", "Fine.", "altered"]))
def test_messages_alone_tell_where_it_goes_on_if_they_differ(
    changes: list[tuple[str, int, str, int]], answered: str
) -> None:
    book, shown = Book(), list[str]()
    for number, (change, where, _, kept) in enumerate([("say", 0, "", 1), *changes]):
        at = len(shown) if change == "say" or len(shown) < 2 else 1 + where % (len(shown) - 1)
        text = shown[at] if change == "again" and at < len(shown) else f"message {number}"
        book.tell([(said, answered) for said in shown[:at][-kept:]], text, f"reply {number}")
        shown = [*shown[:at], text]
        assert [said for said, *_ in book.exchanges()] == shown


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), KEPT), max_size=20))
def test_conversations_without_a_name_are_kept_apart(turns: list[tuple[int, int]]) -> None:
    book, shown = Book(), dict[int, list[Exchange]]()
    for number, (which, kept) in enumerate(turns):
        before = shown.setdefault(which, [])
        book.tell(before[-kept:], f"message {number} of {which}", "Fine.")
        before.append((f"message {number} of {which}", "Fine."))
    sessions = [row.session for row in book.rows]
    assert len(set(sessions)) == len(shown) and not any(map(is_named, sessions))
    assert sorted(book.exchanges(name) for name in set(sessions)) == sorted(shown.values())


# --- single cases ---------------------------------------------------------------------------------------------


def test_a_session_without_a_name_is_called_by_the_day_where_the_person_lives() -> None:
    late = datetime(2026, 3, 3, 2, tzinfo=UTC)
    turn = Turn(id="turn-0123456789abcdef", messages=(Message(role="user", content="Hi."),), text="Hi.", at=late)
    assert place_of(turn, [], who=ANA, zone="America/New_York").session == "2026-03-02/01234567"
    assert not is_named(new_session(NOON.date(), turn.id)) and not is_named("2026-03-02")
    assert all(map(is_named, ("", "monday", "20260302T120000.123456", "2026-03-02/support", "memorybank/2026-03-02")))


@pytest.mark.parametrize("who", [ANA, MONDAY])
@pytest.mark.parametrize("late", [False, True])
def test_a_message_alone_is_the_newest_one_again_only_if_it_comes_soon(who: Identity, late: bool) -> None:
    book = Book()
    book.tell([], "Hello.", "Hi!", who=who)
    soon = book.now + REGENERATED
    book.tell([], "Hello.", "Hello!", who=who, at=soon + timedelta(seconds=late))
    assert book.exchanges() == ([("Hello.", "Hi!"), ("Hello.", "Hello!")] if late else [("Hello.", "Hello!")])


def test_a_client_that_keeps_no_history_takes_nothing_back() -> None:
    book = Book()
    for text in ("Hello.", "I live in Rome.", "Hello."):
        book.tell([], text, f"You said {text}", who=MONDAY)
    assert [said for said, _ in book.exchanges("monday")] == ["Hello.", "I live in Rome.", "Hello."]


def test_a_conversation_that_begins_like_one_that_went_on_is_another() -> None:
    book = Book()
    book.tell([], "Hello.", "Hi!")
    book.tell([("Hello.", "Hi!")], "I live in Rome.", "Nice.")
    book.tell([], "Hello.", "Hello!")
    book.tell([("Hello.", "Hello!")], "I live in Oslo.", "Cold.")
    book.tell([("Hello.", "Hi!")], "I live in Paris.", "Lovely.")
    assert [book.exchanges(name) for name in dict.fromkeys(row.session for row in book.rows)] == [
        [("Hello.", "Hi!"), ("I live in Paris.", "Lovely.")],
        [("Hello.", "Hello!"), ("I live in Oslo.", "Cold.")],
    ]


def test_the_newest_word_of_a_conversation_may_begin_another_one() -> None:
    book = Book()
    book.tell([], "Hello.", "Hi!")
    book.tell([("Hello.", "Hi!")], "ok", "Good.")
    book.tell([], "ok", "What is?")
    assert len(book.exchanges()) == 3 and len({row.session for row in book.rows}) == 2


@pytest.mark.parametrize("who", [ANA, MONDAY])
def test_what_was_never_written_down_keeps_nothing_from_going_on(who: Identity) -> None:
    book = Book()
    first, stopped = ("I live in Rome.", "Nice."), ("And I", "You")
    book.tell([], *first, who=who)
    book.tell([first], "I have a dog.", "Its name?", who=who)
    book.tell([first, stopped], "I have a cat.", "Its name?", who=who)
    assert book.exchanges() == [first, ("I have a cat.", "Its name?")]
    book.tell([first, stopped], "I have a cat.", "How nice!", who=who)
    assert book.exchanges() == [first, ("I have a cat.", "How nice!")]


def test_a_word_that_is_often_said_is_no_evidence() -> None:
    book = Book()
    book.tell([], "ok", "Good.")
    book.tell([("ok", "Good.")], "I live in Rome.", "Nice.")
    book.tell([("ok", "What is?"), ("Nothing.", "Well.")], "I live in Oslo.", "Cold.")
    assert len(book.exchanges()) == 3 and len({row.session for row in book.rows}) == 2


def test_a_named_session_holds_only_what_was_said_under_its_name() -> None:
    book = Book()
    book.tell([], "Hello.", "Hi!", who=MONDAY)
    book.tell([("Hello.", "Hi!")], "I live in Rome.", "Nice.", who=Identity("acme", "ana", session="tuesday"))
    book.tell([("Hello.", "Hi!")], "I live in Oslo.", "Cold.")
    assert len(book.exchanges()) == 3 and len({row.session for row in book.rows}) == 3


@pytest.mark.parametrize("altered", [False, True])
def test_nobody_takes_back_what_another_said(altered: bool) -> None:
    book, shown = Book(), list[Exchange]()
    for who, text in ((MONDAY, "ana 1"), (CARL, "carl 1"), (MONDAY, "ana 2"), (CARL, "carl 2"), (MONDAY, "ana 3")):
        book.tell(shown, text, "Well.", who=who)
        shown.append((text, "Altered." if altered else "Well."))
    assert [said for said, _ in book.exchanges()] == [text for text, _ in shown]
    book.tell(shown[:3], "carl 2, edited", "Well.", who=CARL)
    assert [said for said, _ in book.exchanges()] == ["ana 1", "carl 1", "ana 2", "ana 3", "carl 2, edited"]
    book.tell(shown[:2], "ana 2", "Again.", who=MONDAY)
    assert [said for said, _ in book.exchanges()] == ["ana 1", "carl 1", "ana 2", "carl 2, edited"]


def test_a_conversation_that_others_joined_went_on() -> None:
    book = Book()
    book.tell([], "Hello.", "Hi!")
    book.tell([("Hello.", "Hi!")], "Hello.", "Hi, Carl!", who=replace(CARL, session=None))
    book.tell([], "Hello.", "Hello!")
    assert len(book.exchanges()) == 3


def test_a_turn_that_was_overtaken_takes_nothing_back() -> None:
    book = Book()
    book.tell([], "I live in Rome.", "Nice.", who=MONDAY)
    began = book.now
    book.tell([("I live in Rome.", "Nice.")], "I have a cat.", "Its name?", who=MONDAY)
    book.tell([("I live in Rome.", "Nice.")], "I have a dog.", "Its name?", who=MONDAY, at=began)
    assert [said for said, _ in book.exchanges()] == ["I live in Rome.", "I have a cat.", "I have a dog."]


# --- through Mind, and a database -----------------------------------------------------------------------------


@pytest.fixture
def days() -> Clock:
    return Clock(NOON)


Build = Callable[..., Mind]


@pytest.fixture
async def mind(tmp_path: Path, days: Clock) -> AsyncIterator[Build]:
    made: list[Mind] = []
    # A process's first use of a database loads so much that a busy machine needs seconds for it.
    await asyncio.to_thread(MemoryStore(f"sqlite:///{tmp_path / 'memory.db'}", clock=days).open)

    def build(model: Any = None, *, store: Memories | None = None, **script: Any) -> Mind:
        memory = {"url": f"sqlite:///{tmp_path / 'memory.db'}", "embedder": "fake"}
        model = model or ScriptedModel({**SCRIPT, **script})
        made.append(Mind(model=model, store=store, cache_folder=tmp_path, clock=days, memory=memory))
        return made[-1]

    yield build
    for one in made:
        await one.close()


class Client:
    """A client that keeps the conversation, and sends it whole with each message."""

    def __init__(self, mind: Mind, who: Identity = ANA, effort: str = "minimal") -> None:
        self.mind, self.who, self.effort = mind, who, effort
        self.shown: list[Exchange] = []
        self.ids: list[str] = []

    async def say(self, text: str, *, at: int | None = None) -> Trace:
        """Say something, or put it in the place of the message number `at`."""
        self.shown = self.shown[:at]
        reply = await self.mind.reply(messages(self.shown, text), self.who, self.effort)
        assert reply.trace.failures == ()
        self.shown.append((text, reply.text))
        self.ids.append(reply.trace.turn_id)
        return reply.trace


async def kept(mind: Mind, *kinds: MemoryKind, **which: Any) -> list[Memory]:
    return list(await mind.memory.find(ANA, Filter(kinds=kinds, **which), newest_first=False))


async def texts(mind: Mind, *kinds: MemoryKind, **which: Any) -> list[str]:
    return [memory.text for memory in await kept(mind, *kinds, **which)]


Findings = dict[str, Any]


def by_message(answers: Mapping[str, Findings | Callable[[], Awaitable[Findings]]]) -> FunctionModel:
    """A model whose Rememberer knows what to find in which message, or takes its time for it."""
    script = ScriptedModel(SCRIPT)

    async def answer(request: Request) -> Any:
        if request.purpose != "remember":
            return (await script.complete(request)).text
        said = request.messages[-1].text.split("</conversation>")[0].rpartition("person: ")[2].strip()
        found = answers.get(said, NOTHING)
        return found if isinstance(found, dict) else await found()

    return FunctionModel(answer)


async def test_a_regenerated_turn_keeps_the_message_and_has_a_new_reply(mind: Build, days: Clock) -> None:
    mentalizing = mind(write=["Which one?", "A fine dog.", "What a dog!", "It rains."])
    client = Client(mentalizing)
    await client.say("I have a dog.")
    days.pass_by(1 / 24)
    await client.say("It is called Bo.")
    await client.say("It is called Bo.", at=1)
    await client.say("How is the weather?")
    turns = await kept(mentalizing, MemoryKind.TURN)
    assert [row.text for row in turns if row.details["role"] == "user"] == [
        "I have a dog.",
        "It is called Bo.",
        "How is the weather?",
    ]
    old, new = (next(row for row in turns if row.text == text) for text in ("A fine dog.", "What a dog!"))
    assert old.superseded_by == new.id == f"{client.ids[2]}/assistant" and not is_retracted(new)
    assert old.sources[0] == new.sources[0] == f"{client.ids[1]}/user"
    around = await mentalizing.memory.around(ANA, old.sources[:1], span=3)
    assert "A fine dog." not in [row.text for row in around[old.sources[0]]]
    assert await mentalizing.memory.trace(ANA, client.ids[1]) and await mentalizing.memory.trace(ANA, client.ids[2])
    await mentalizing.memory.forget(ANA, old.sources[:1])
    assert await texts(mentalizing, MemoryKind.TURN) == [
        "I have a dog.",
        "Which one?",
        "How is the weather?",
        "It rains.",
    ]
    assert await mentalizing.memory.check() == ()


async def test_what_an_edited_message_told_is_not_recalled_and_can_be_told_anew(mind: Build, days: Clock) -> None:
    rome, oslo = "I live in Rome.", "I live in Oslo."
    model = by_message({rome: told(fact("I live in Rome")), oslo: told(fact("I live in Oslo"))})
    mentalizing = mind(model)
    client = Client(mentalizing)
    await client.say("Hello there.")
    await client.say(rome)
    await mentalizing.settle()
    await client.say(oslo, at=1)
    await mentalizing.settle()
    assert await texts(mentalizing, MemoryKind.FACT, current=True) == ["I live in Oslo"]
    assert await texts(mentalizing, MemoryKind.TURN, current=True) == [
        "Hello there.",
        client.shown[0][1],
        oslo,
        client.shown[1][1],
    ]
    recalled = await mentalizing.memory.recall(ANA, "Where do I live, in Rome?")
    said = [hit.memory.text for hit in recalled.hits]
    said += [row.text for beside in recalled.neighbours.values() for row in beside]
    assert said and not any("Rome" in text for text in said)
    (old,) = [memory for memory in await kept(mentalizing, MemoryKind.FACT) if memory.text == "I live in Rome"]
    assert old.superseded_by == f"{client.ids[-1]}/user", "it stays as history"
    corrected = await mentalizing.memory.correct(ANA, old.id, "I lived in Rome")
    assert corrected.details["corrects"] == old.id
    assert (await mentalizing.memory.forget_all(ANA)).counts["turn"] == 6


async def test_what_a_message_said_before_it_was_edited_is_forgotten_with_it(mind: Build) -> None:
    rome = "I live in Rome."
    mentalizing = mind(by_message({rome: told(fact("I live in Rome"))}))
    client = Client(mentalizing)
    await client.say("Hello there.")
    await client.say(rome)
    await mentalizing.settle()
    await client.say("I live in Oslo.", at=1)
    deletion = await mentalizing.memory.forget(ANA, [f"{client.ids[-1]}/user"])
    assert deletion.counts["turn"] == 4 and deletion.counts["fact"] == 1
    assert not any("Rome" in text for text in await texts(mentalizing, MemoryKind.TURN))
    assert await mentalizing.memory.check() == ()


async def test_an_edited_message_is_considered_no_more(mind: Build) -> None:
    model = by_message({"I live in Rome.": told(fact("I live in Rome"))})
    mentalizing = mind(model)
    await mentalizing.memory.remember(ANA, "I am Ana")
    client = Client(mentalizing)
    await client.say("Hello there.")
    await mentalizing.settle()
    await mentalizing.reply(messages(client.shown, "I live in Rome."), ANA, "minimal")
    await client.say("Never mind.", at=1)
    assert await texts(mentalizing, MemoryKind.TURN) != await texts(mentalizing, MemoryKind.TURN, current=True)
    due = await mentalizing.memory.unconsidered(ANA, limit=9)
    assert "I live in Rome." not in [row.text for row in due]


async def test_a_message_that_is_edited_while_it_is_considered_tells_nothing(mind: Build) -> None:
    waiting, edited = asyncio.Event(), asyncio.Event()

    async def slowly() -> Findings:
        waiting.set()
        await edited.wait()
        return told(fact("I live in Rome"))

    mentalizing = mind(by_message({"I live in Rome.": slowly}))
    client = Client(mentalizing)
    await client.say("Hello there.")
    await client.say("I live in Rome.")
    async with asyncio.timeout(5):
        await waiting.wait()
    await client.say("Never mind.", at=1)
    edited.set()
    assert await mentalizing.settle() == ()
    assert await texts(mentalizing, MemoryKind.FACT) == []


class Overtaken(Memories):
    """Memories of somebody who takes a message back just before what was drawn from it is written."""

    async def add(self, who: Identity, memories: Sequence[Memory], *, since: int | None = None) -> tuple[Memory, ...]:
        await self._take_back(who, memories)
        return await super().add(who, memories, since=since)

    async def put(self, who: Identity, memories: Sequence[Memory], *, since: int | None = None) -> tuple[Memory, ...]:
        await self._take_back(who, memories)
        return await super().put(who, memories, since=since)

    async def _take_back(self, who: Identity, memories: Sequence[Memory]) -> None:
        drawn = (memory for memory in memories if memory.kind in (MemoryKind.FACT, MemoryKind.DAY_SUMMARY))
        for memory in drawn:
            await self.retract(who, dict.fromkeys(memory.sources), at=NOON)


@pytest.mark.parametrize("kind", [MemoryKind.FACT, MemoryKind.DAY_SUMMARY])
async def test_what_is_drawn_from_a_message_too_late_goes_after_it(
    mind: Build, tmp_path: Path, days: Clock, kind: MemoryKind
) -> None:
    finds = {"remember": told(fact("I live in Rome"))} if kind is MemoryKind.FACT else {}
    url = f"sqlite:///{tmp_path / 'memory.db'}"
    async with Overtaken.at(url, resolve_embedder("fake"), clock=days) as memories:
        mentalizing = mind(store=memories, **finds)
        await mentalizing.reply("I live in Rome.", ANA, "minimal")
        assert await mentalizing.settle() == ()
        assert len(await kept(mentalizing, kind)) == 1 and await kept(mentalizing, kind, current=True) == []


async def test_the_new_reply_to_a_message_is_nothing_that_was_said_before_it(mind: Build, days: Clock) -> None:
    down = ModelUnavailable("The endpoint is down.")
    first = mind(write=["Which one?", "A fine dog.", "What a dog!"], remember=down)
    client = Client(first)
    await client.say("I have a dog.")
    days.pass_by(1 / 24)
    await client.say("My dog is called Bo.")
    await client.say("My dog is called Bo.", at=1)
    await first.close()
    model = ScriptedModel(SCRIPT)
    second = mind(model)
    assert await second.settle(ANA) == ()
    shown = [request.messages[-1].text for request in model.requests if request.purpose == "remember"]
    assert sum("called Bo" in text for text in shown) == 1 and not any("What a dog!" in text for text in shown)


async def test_an_emotion_that_was_taken_back_does_not_recur(mind: Build, days: Clock) -> None:
    mentalizing = mind(remember=told(emotion="fear", emotion_quote="I am afraid"))
    client = Client(mentalizing)
    await client.say("Hello there, I am afraid.")
    days.pass_by()
    await client.say("I am afraid of dogs.")
    assert await mentalizing.settle() == ()
    await client.say("I am afraid of cats.", at=1)
    assert await mentalizing.settle() == ()
    assert await kept(mentalizing, MemoryKind.EMOTION_PATTERN) == []
    await client.say("I am afraid of birds.")
    assert await mentalizing.settle() == ()
    (pattern,) = await kept(mentalizing, MemoryKind.EMOTION_PATTERN)
    assert len(pattern.sources) == 3


async def test_sessions_without_names_are_no_occasions_of_their_own(mind: Build) -> None:
    mentalizing = mind(remember=told(emotion="fear", emotion_quote="I am afraid"))
    for text in ("I am afraid.", "I am afraid of dogs.", "I am afraid of cats."):
        await Client(mentalizing).say(text)
    assert await mentalizing.settle() == ()
    assert len({row.session for row in await kept(mentalizing, MemoryKind.TURN)}) == 3
    assert await kept(mentalizing, MemoryKind.EMOTION_PATTERN) == []


async def test_what_was_taken_back_stands_between_no_question_and_its_answer(mind: Build, days: Clock) -> None:
    mentalizing = mind()

    def said(name: str, text: str, minute: int) -> Memory:
        at = NOON + timedelta(minutes=minute)
        return Memory(id=name, kind=MemoryKind.TURN, text=text, observed_at=at, session="monday", speaker="ana")

    rows = [
        said("asked", "Which colour has your bicycle?", 0),
        said("before", "The bicycle has the colour of my bicycle.", 1),
        said("answer", "Crimson.", 2),
    ]
    days.pass_by()
    await mentalizing.memory.add(ANA, rows)
    await mentalizing.memory.retract(ANA, {"before": "answer"}, at=NOON)
    recalled = await mentalizing.memory.recall(ANA, "the colour of the bicycle")
    scores = {hit.memory.id: hit.why.get("neighbours", 0.0) for hit in recalled.hits}
    assert scores.keys() == {"asked", "answer"} and scores["answer"] > 0


async def test_a_guess_about_an_edited_message_can_be_guessed_again(mind: Build) -> None:
    mentalizing = mind()
    client = Client(mentalizing, effort="low")
    await client.say("Hello there.")
    await client.say("Go without me, really.")
    await mentalizing.settle()
    (guess,) = await kept(mentalizing, MemoryKind.INFERENCE)
    assert guess.sources == (f"{client.ids[1]}/user",)
    await client.say("Just go without me, really.", at=1)
    await mentalizing.settle()
    assert is_retracted((await mentalizing.memory.get(ANA, [guess.id]))[0])
    (again,) = await kept(mentalizing, MemoryKind.INFERENCE, current=True)
    assert again.text == guess.text and again.sources == (f"{client.ids[2]}/user",)


async def test_a_sign_of_danger_stays_and_is_noted_once(mind: Build) -> None:
    mentalizing = mind()
    client = Client(mentalizing)
    await client.say("Hello there.")
    await client.say("I want to kill myself.")
    await client.say("I want to kill myself.", at=1)
    assert len(await kept(mentalizing, MemoryKind.SAFETY_NOTE)) == 1
    await client.say("Forget it.", at=1)
    assert len(await kept(mentalizing, MemoryKind.SAFETY_NOTE, current=True)) == 1


async def test_two_equal_requests_at_once_are_kept_once(mind: Build) -> None:
    together = asyncio.Barrier(2)
    script = ScriptedModel({**SCRIPT, "write": ["Hi!", "One.", "Two."]})

    async def at_once(request: Request) -> Any:
        if request.purpose == "write" and "Twice." in request.messages[-1].text:
            async with asyncio.timeout(5):
                await together.wait()
        return (await script.complete(request)).text

    mentalizing = mind(FunctionModel(at_once))
    client = Client(mentalizing)
    await client.say("Hello there.")
    sent = messages(client.shown, "Twice.")
    await asyncio.gather(*(mentalizing.reply(sent, ANA, "minimal") for _ in range(2)))
    turns = await kept(mentalizing, MemoryKind.TURN)
    assert [row.text for row in turns].count("Twice.") == 1
    replies = [row for row in turns if row.text in ("One.", "Two.")]
    assert len(replies) == 2 and sum(map(is_retracted, replies)) == 1


async def test_a_turn_far_back_in_a_long_session_is_found(mind: Build, days: Clock) -> None:
    mentalizing = mind()
    rows = [
        row
        for number in range(60)
        for row in (
            Memory(
                id=f"turn-{number}/user",
                kind=MemoryKind.TURN,
                text=f"message {number}",
                observed_at=NOON + timedelta(seconds=number),
                session="monday",
                speaker="ana",
                details={"role": "user"},
            ),
            Memory(
                id=f"turn-{number}/assistant",
                kind=MemoryKind.TURN,
                text=f"reply {number}",
                observed_at=NOON + timedelta(seconds=number),
                session="monday",
                speaker="assistant",
                sources=(f"turn-{number}/user",),
                details={"role": "assistant"},
            ),
        )
    ]
    await mentalizing.memory.add(MONDAY, rows)
    days.pass_by()
    client = Client(mentalizing, MONDAY)
    client.shown = [(f"message {number}", f"reply {number}") for number in range(3)]
    await client.say("message 3, edited")
    said = [row.text for row in await kept(mentalizing, MemoryKind.TURN, current=True) if row.speaker == "ana"]
    assert said == ["message 0", "message 1", "message 2", "message 3, edited"]


async def test_a_day_is_summed_up_anew_without_what_was_taken_back(mind: Build, days: Clock) -> None:
    seen: list[str] = []
    script = ScriptedModel(SCRIPT)

    async def listening(request: Request) -> Any:
        if request.purpose == "summarise":
            seen.append(request.messages[-1].text)
        return (await script.complete(request)).text

    mentalizing = mind(FunctionModel(listening))
    client = Client(mentalizing)
    await client.say("Hello there.")
    await client.say("I live in Rome.")
    days.pass_by()
    await client.say("A new day.")
    days.pass_by()
    await client.say("Another day.")
    assert await mentalizing.settle() == ()
    assert sum("Rome" in text for text in seen) == 1
    made = await kept(mentalizing, MemoryKind.DAY_SUMMARY)
    seen.clear()
    await client.say("I live in Oslo.", at=1)
    assert await mentalizing.settle() == ()
    assert not any("Rome" in text or "new day" in text for text in seen)
    summaries = await kept(mentalizing, MemoryKind.DAY_SUMMARY, current=True)
    assert [one.id for one in made] == [
        "day_summary/2026-03-02",
        "day_summary/2026-03-03",
        "day_summary/2026-03-04",
    ]
    assert [one.id for one in summaries] == ["day_summary/2026-03-02", "day_summary/2026-03-04"]
    sources = {source for one in summaries for source in one.sources}
    assert not any(is_retracted(row) for row in await mentalizing.memory.get(ANA, sorted(sources)))
    (whole,) = await kept(mentalizing, MemoryKind.SUMMARY, current=True)
    assert set(whole.sources) == {one.id for one in summaries}


async def test_a_day_long_past_is_summed_up_anew_if_only_a_part_was_taken_back(mind: Build, days: Clock) -> None:
    mentalizing = mind()
    client, other = Client(mentalizing), Client(mentalizing, MONDAY)
    await client.say("Hello there.")
    await client.say("I live in Rome.")
    for text in ("A new day.", "Another day."):
        days.pass_by()
        await other.say(text)
    assert await mentalizing.settle() == ()
    await client.say("I live in Oslo.", at=1)
    assert await mentalizing.settle() == ()
    (first, *_) = await kept(mentalizing, MemoryKind.DAY_SUMMARY)
    assert [row.text for row in await mentalizing.memory.get(ANA, first.sources)] == [
        "Hello there.",
        client.shown[0][1],
    ]


async def test_the_whole_is_summed_up_anew_when_all_of_it_was_taken_back(mind: Build) -> None:
    mentalizing = mind()
    client = Client(mentalizing)
    await client.say("Hello there.")
    assert await mentalizing.settle() == ()
    turns = [row.id for row in await kept(mentalizing, MemoryKind.TURN)]
    await mentalizing.memory.retract(ANA, dict.fromkeys(turns), at=NOON)
    assert await kept(mentalizing, MemoryKind.SUMMARY, MemoryKind.DAY_SUMMARY, current=True) == []
    await client.say("And again.")
    assert await mentalizing.settle() == ()
    assert len(await kept(mentalizing, MemoryKind.SUMMARY, MemoryKind.DAY_SUMMARY, current=True)) == 2


# --- one after the other --------------------------------------------------------------------------------------


async def test_one_is_let_through_after_the_other_and_nothing_is_kept_of_them() -> None:
    turnstile, order = Turnstile(), list[str]()

    async def pass_through(name: str, step: int) -> None:
        async with turnstile.alone(name):
            order.append(f"{name} {step} in")
            await asyncio.sleep(0)
            order.append(f"{name} {step} out")

    await asyncio.gather(*(pass_through("ana", step) for step in range(3)))
    assert order == [f"ana {step} {way}" for step in range(3) for way in ("in", "out")]
    assert len(turnstile) == 0


@pytest.mark.parametrize("waits_behind", [True, False])
async def test_who_gives_up_waiting_lets_nobody_past_the_one_before(waits_behind: bool) -> None:
    turnstile, inside = Turnstile(), list[str]()
    leave = asyncio.Event()

    async def pass_through(name: str) -> None:
        async with turnstile.alone("ana"):
            inside.append(name)
            await leave.wait()

    tasks = [asyncio.create_task(pass_through(name)) for name in ("first", "second")]
    await asyncio.sleep(0.01)
    if waits_behind:
        tasks.append(asyncio.create_task(pass_through("third")))
        await asyncio.sleep(0.01)
    tasks[1].cancel()
    await asyncio.gather(tasks[1], return_exceptions=True)
    if not waits_behind:
        tasks.append(asyncio.create_task(pass_through("third")))
    await asyncio.sleep(0.01)
    assert inside == ["first"]
    leave.set()
    await asyncio.gather(tasks[0], tasks[2])
    assert inside == ["first", "third"] and len(turnstile) == 0


async def test_an_event_loop_that_stopped_inside_holds_nobody_up_for_ever() -> None:
    turnstile = Turnstile(patience=0.05)
    stopped = asyncio.new_event_loop()
    forever = stopped.create_task(_stay(turnstile))
    stopped.call_later(0.01, stopped.stop)
    await asyncio.to_thread(stopped.run_forever)
    async with asyncio.timeout(5), turnstile.alone("ana"):
        assert not forever.done()
    forever.cancel()
    await asyncio.to_thread(stopped.run_until_complete, asyncio.gather(forever, return_exceptions=True))
    stopped.close()
    assert len(turnstile) == 0


async def _stay(turnstile: Turnstile) -> None:
    async with turnstile.alone("ana"):
        await asyncio.Event().wait()


def test_event_loops_in_several_threads_wait_for_one_another() -> None:
    turnstile, inside, most = Turnstile(), 0, 0

    async def pass_through() -> None:
        nonlocal inside, most
        for _ in range(20):
            async with turnstile.alone("ana"):
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0)
                inside -= 1

    threads = [threading.Thread(target=lambda: asyncio.run(pass_through())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1 and len(turnstile) == 0

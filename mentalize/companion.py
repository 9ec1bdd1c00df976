"""Companion: a companion app in a few lines. It has a name and a persona, remembers each person, and says what it owes.

companion = Companion("Bo", "You are warm, curious and brief.", model="openai/gpt-5-mini")
ana = companion.person("ana")
answer = await ana.say("I'm fine. Go without me, really.")
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from cachetools import LRUCache

from .agents.language import language_of
from .agents.writer import CompanionInputs
from .errors import InputError, StoreError
from .graphs.events import TextDelta
from .graphs.turn_memory import as_message
from .llm.model import Model
from .memory.ranking import is_visible
from .memory.safety_counts import DISCLOSURE, REMINDER
from .memory.store import Deletion, Filter
from .mind import Event, Finished, Mind
from .open_turn import Reply
from .prompts.format import bullets
from .prompts.library import Library
from .safety.companionship import Due, Notice, crisis_protocol, notice, notices_due
from .safety.referral import load_referrals
from .topics import KINDS, Topic, topics_of
from .types import Circumstances, Effort, Identity, Memory, MemoryKind, MemoryMode, Message

if TYPE_CHECKING:
    from .graphs.state import Hook
    from .memory.explanation import Explanation

TRANSCRIPT = 24
"""Messages of the conversation that are shown to the model; what was said before, it remembers."""
PEOPLE = 10_000
"""People whose conversation is kept in this process, where nothing is remembered."""
MOST = 1_000
"""Messages of a day that are looked at for how long the person has been talking."""
SAME_DAY = timedelta(hours=24)
"""What is older is not shown, but remembered."""
_COUNTED = {Notice.DISCLOSURE: DISCLOSURE, Notice.REMINDER: REMINDER}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a companion says."""

    text: str
    """All that the person is to read: the notices that are due, and the reply."""
    reply: Reply
    """The reply alone, and how it came about."""
    notices: tuple[Due, ...] = ()


class Companion:
    """A companion for many people, each of whom it keeps apart.

    Args:
        name: What it is called.
        persona: Who it is and how it speaks, in words to the model.
        charter: What it must do and must not, as a name or a file; its table `companionship` says what is disclosed.
        model: The model, as for `Mind`.
        memory: The settings of memory, such as `{"url": "sqlite:///bo.db"}`; or `on`, `read-only`, `off`.
        mind: What thinks and remembers, in place of `model`, `memory` and `settings`; it stays yours to close.
        tenant: The app that the people belong to.
        hooks: Called with each event of every turn, before and after each stage; as for `Mind`.
        clock: The present moment, aware.
        **settings: Further settings of the mind.

    Raises:
        InputError: the name is empty, or settings are given beside a mind.
        SettingsError, ModelNotFound, PackError: as for `Mind`.
    """

    def __init__(
        self,
        name: str,
        persona: str = "",
        *,
        charter: str = "companion",
        model: Model | str | None = None,
        memory: Mapping[str, Any] | MemoryMode | str | None = None,
        mind: Mind | None = None,
        tenant: str = "default",
        hooks: Sequence[Hook] = (),
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        **settings: Any,
    ) -> None:
        if not name.strip():
            raise InputError("The companion has no name.", hint="Give what it is called, such as `Bo`.")
        if mind is not None and (settings or model is not None or memory is not None or hooks):
            raise InputError("Settings are given beside a mind that has its own.", hint="Give one of the two.")
        if memory is not None:
            settings["memory"] = dict(memory) if isinstance(memory, Mapping) else {"mode": memory}
        self.name = name
        self.persona = persona
        self.tenant = tenant
        self._owns = mind is None
        self.mind = mind or Mind(model=model, hooks=hooks, clock=clock, charter=charter, **settings)
        self._transcripts: LRUCache[str, list[tuple[datetime, Message]]] = LRUCache(PEOPLE)

    def person(
        self,
        user: str,
        *,
        minor: bool = False,
        zone: str | None = None,
        language: str | None = None,
        cultures: Sequence[str] = (),
        effort: Effort | str | None = None,
    ) -> Person:
        """Somebody whom it talks with.

        Args:
            user: Their id in your app, which is stable.
            minor: Whether they are known to be a minor: then a break is due now and then.
            zone: Their IANA time zone.
            language: The language of what it says of itself; that of their message, if not given.
            cultures: Cultures that they call their own.
            effort: How much thought their messages get; the setting, if not given.

        Raises:
            InputError: the id cannot be used.
        """
        return Person(
            companion=self,
            who=Identity(self.tenant, user, zone=zone),
            circumstances=Circumstances(cultures=tuple(cultures), minor=minor),
            language=language,
            effort=effort,
        )

    def crisis_protocol(self, *, country: str | None = None, language: str | None = None) -> str:
        """What it does when somebody is in danger, with where help is to be had: Markdown, to publish."""
        settings = self.mind.settings
        table = load_referrals(settings.referrals)
        return crisis_protocol(country or settings.country, language or settings.language, table)

    @cached_property
    def instructions(self) -> Message:
        """What the model is told of who it is."""
        charter = self.mind.charter
        prompt = Library(self.mind.settings.prompts).get("companion", CompanionInputs)
        text = prompt.render(
            CompanionInputs(
                name=self.name,
                role=charter.role,
                persona=self.persona,
                duties=bullets(charter.duties),
                limits=bullets(charter.limits),
            )
        )
        return Message(role="system", content=text)

    @cached_property
    def sync(self) -> SyncCompanion:
        """The same for synchronous callers."""
        return SyncCompanion(self)

    def transcript_of(self, who: Identity) -> list[tuple[datetime, Message]]:
        """What was said in this process today, where nothing is remembered."""
        return self._transcripts.get(who.user, [])

    def keep(self, who: Identity, at: datetime, *messages: Message) -> None:
        """Keep what was said in this process, where nothing is remembered."""
        before = [one for one in self.transcript_of(who) if at - one[0] < SAME_DAY]
        self._transcripts[who.user] = [*before, *((at, message) for message in messages)][-MOST:]

    async def close(self) -> None:
        """Close the mind, unless it was given."""
        if self._owns:
            await self.mind.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One person's side of a companion: what they say, and what is believed about them."""

    companion: Companion
    who: Identity
    circumstances: Circumstances
    language: str | None = None
    effort: Effort | str | None = None

    async def say(self, text: str, *, present: Sequence[str] = (), session: str | None = None) -> Answer:
        """Say something, and have it answered.

        Args:
            text: What they say.
            present: Ids of the others who hear it.
            session: Which conversation it belongs to; what was said tells, if not given.

        Raises:
            InputError: the text is empty.
            ModelError: the model that writes gave no reply.
        """
        who, messages, due = await self._prepared(text, present, session)
        reply = await self.companion.mind.reply(messages, who, self.effort, circumstances=self.circumstances)
        return await self._answered(text, reply, due)

    async def stream(
        self, text: str, *, present: Sequence[str] = (), session: str | None = None
    ) -> AsyncGenerator[Event | Answer]:
        """The same, event by event: notices first, as `TextDelta`, then the reply's; the last one is the `Answer`."""
        who, messages, due = await self._prepared(text, present, session)
        for one in due:
            yield TextDelta(f"{one.text}\n\n")
        events = self.companion.mind.stream(messages, who, self.effort, circumstances=self.circumstances)
        async with aclosing(events) as parts:
            async for event in parts:
                if isinstance(event, Finished):
                    yield await self._answered(text, event.reply, due)
                else:
                    yield event

    async def topics(self, limit: int = 3, *, present: Sequence[str] = ()) -> tuple[Topic, ...]:
        """What would be good to bring up, from what they have told: the best first."""
        found = await self.companion.mind.memory.find(self.who, Filter(kinds=KINDS, archived=False, current=True))
        who = replace(self.who, audience=tuple(present))
        return topics_of(found, at=self.companion.mind.now, who=who)[:limit]

    async def transcript(self, limit: int = TRANSCRIPT) -> tuple[Message, ...]:
        """What was said last, oldest first."""
        return tuple(message for _, message in (await self._said(self.who))[-limit:])

    # --- what is believed about them ----------------------------------------------------------------------

    async def beliefs(self) -> tuple[Memory, ...]:
        """What is believed: facts, preferences, and guesses that say by their `status` that they are guesses."""
        kinds = (*KINDS, MemoryKind.INFERENCE, MemoryKind.EMOTION_PATTERN, MemoryKind.PORTRAIT)
        return await self.companion.mind.memory.find(self.who, Filter(kinds=kinds, current=True))

    async def why(self, memory_id: str) -> Explanation:
        """Why something is believed. Raises MemoryNotFound."""
        return await self.companion.mind.memory.why(self.who, memory_id)

    async def correct(self, memory_id: str, text: str) -> Memory:
        """Say what is true instead: it outranks every guess. Raises MemoryNotFound."""
        return await self.companion.mind.memory.correct(self.who, memory_id, text)

    async def confirm(self, memory_id: str) -> Memory:
        """Say that a guess is true. Raises MemoryNotFound."""
        return await self.companion.mind.memory.confirm(self.who, memory_id)

    async def forget(self, *memory_ids: str) -> Deletion:
        """Have something deleted for good, with all that rests on it. Raises MemoryNotFound."""
        return await self.companion.mind.memory.forget(self.who, memory_ids)

    async def forget_everything(self) -> Deletion:
        """Have all of it deleted for good."""
        return await self.companion.mind.memory.forget_all(self.who)

    def export(self) -> AsyncIterator[str]:
        """All that is kept about them, as lines of JSON."""
        return self.companion.mind.memory.export(self.who)

    # --- one turn -----------------------------------------------------------------------------------------

    async def _prepared(
        self, text: str, present: Sequence[str], session: str | None
    ) -> tuple[Identity, list[Message], tuple[Due, ...]]:
        who = replace(self.who, audience=tuple(present), session=session)
        said = await self._said(who)
        messages = [self.companion.instructions, *(message for _, message in said[-TRANSCRIPT:])]
        return who, [*messages, Message(role="user", content=text)], await self._due(text, said)

    async def _said(self, who: Identity) -> list[tuple[datetime, Message]]:
        """What was said today and everybody present has heard, oldest first."""
        mind, now = self.companion.mind, self.companion.mind.now
        if not mind.remembers:
            return self.companion.transcript_of(who)
        today = Filter(kinds=(MemoryKind.TURN,), since=now - SAME_DAY, current=True)
        try:
            rows = await mind.memory.find(who, today, limit=MOST)
        except StoreError:  # The conversation goes on without it; the turn's trace says what memory lacks.
            return []
        return [(row.observed_at, as_message(row)) for row in reversed(rows) if is_visible(row, who)]

    async def _due(self, text: str, said: Sequence[tuple[datetime, Message]]) -> tuple[Due, ...]:
        mind = self.companion.mind
        owed = mind.charter.companionship
        if owed is None:
            return ()
        earlier = [at for at, message in said if message.role == "user"]
        kinds = notices_due(owed, earlier, mind.now, minor=self.circumstances.minor)
        if not kinds:
            return ()
        language = self.language or mind.settings.language or await asyncio.to_thread(language_of, text)
        return tuple(Due(kind, notice(kind, name=self.companion.name, language=language)) for kind in kinds)

    async def _answered(self, text: str, reply: Reply, due: tuple[Due, ...]) -> Answer:
        mind = self.companion.mind
        if mind.remembers:
            for one in due:
                await mind.count(self.who.tenant, _COUNTED[one.notice])
        else:
            said = Message(role="user", content=text), Message(role="assistant", content=reply.text)
            self.companion.keep(self.who, mind.now, *said)
        return Answer("\n\n".join([*(one.text for one in due), reply.text]), reply, due)


class SyncCompanion:
    """`Companion` for synchronous callers: one background thread runs the event loop."""

    def __init__(self, companion: Companion) -> None:
        self._companion = companion

    def person(self, user: str, **known: Any) -> SyncPerson:
        """See `Companion.person`."""
        return SyncPerson(self._companion.person(user, **known))

    def close(self) -> None:
        """See `Companion.close`."""
        self._companion.mind.sync.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class SyncPerson:
    """`Person` for synchronous callers."""

    def __init__(self, person: Person) -> None:
        self._person = person
        self._run = person.companion.mind.sync.run

    def say(self, text: str, *, present: Sequence[str] = (), session: str | None = None) -> Answer:
        """See `Person.say`."""
        return self._run(lambda: self._person.say(text, present=present, session=session))

    def stream(self, text: str, *, present: Sequence[str] = (), session: str | None = None) -> Iterator[Event | Answer]:
        """See `Person.stream`. Leaving the loop early stops every call in flight."""
        events = self._person.stream(text, present=present, session=session)
        try:
            while (event := self._run(lambda: _next(events))) is not None:
                yield event
        finally:
            self._run(events.aclose)

    def topics(self, limit: int = 3, *, present: Sequence[str] = ()) -> tuple[Topic, ...]:
        """See `Person.topics`."""
        return self._run(lambda: self._person.topics(limit, present=present))

    def transcript(self, limit: int = TRANSCRIPT) -> tuple[Message, ...]:
        """See `Person.transcript`."""
        return self._run(lambda: self._person.transcript(limit))

    def beliefs(self) -> tuple[Memory, ...]:
        """See `Person.beliefs`."""
        return self._run(self._person.beliefs)

    def why(self, memory_id: str) -> Explanation:
        """See `Person.why`."""
        return self._run(lambda: self._person.why(memory_id))

    def correct(self, memory_id: str, text: str) -> Memory:
        """See `Person.correct`."""
        return self._run(lambda: self._person.correct(memory_id, text))

    def confirm(self, memory_id: str) -> Memory:
        """See `Person.confirm`."""
        return self._run(lambda: self._person.confirm(memory_id))

    def forget(self, *memory_ids: str) -> Deletion:
        """See `Person.forget`."""
        return self._run(lambda: self._person.forget(*memory_ids))

    def forget_everything(self) -> Deletion:
        """See `Person.forget_everything`."""
        return self._run(self._person.forget_everything)


async def _next(events: AsyncGenerator[Event | Answer]) -> Event | Answer | None:
    return await anext(events, None)

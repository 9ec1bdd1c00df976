"""Remembering: social memory grows by what a person said (MetaMind, arXiv 2505.18943, §3.1).

One message at a time, after its reply: facts and preferences, of which newer ones take the place of older ones;
emotions, kept where they recur; the chosen reading, as a guess that lapses unless the person bears it out. A model
proposes, and code decides.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import structlog

from ..agents.brief_rememberer import BriefRememberer
from ..agents.gleanings import Bearing, Fact, Gleanings, same_sense, tells_change
from ..agents.likeness import BORNE_OUT, same_matter, same_reading, share_said
from ..agents.patterns import pattern_text, recurring
from ..agents.quotes import own_words
from ..errors import Forgotten, MemoryNotFound, StructuredOutputError
from ..memory.importance import importance_of, statements
from ..memory.memories import Memories
from ..memory.retraction import is_retracted
from ..memory.sessions import is_named
from ..memory.store import Filter
from ..terms import fold, terms_of
from ..types import Identity, Memory, MemoryKind, MemoryStatus
from .continuity import PERSON
from .team import NoteTakers
from .turn_memory import CONSIDERED, WEAKENED, as_message

_log: Any = structlog.wrap_logger(logging.getLogger("mentalize.graphs"))

KNOWN = 8
"""Memories that the Rememberer is shown beside the message, by how well they fit it."""

GUESSES = 4
"""Newest guesses that it is shown besides."""

BEFORE = 2
"""Rows said just before the message that it is shown."""

_STATED = (MemoryKind.FACT, MemoryKind.PREFERENCE)
_GUESSED = (MemoryKind.INFERENCE, MemoryKind.EMOTION_PATTERN)
DUE = 600
"""Messages that are considered at one go, oldest first."""

APART = timedelta(hours=6)
"""How far apart two readings must be to be of two occasions, where no session was named."""

_LOOKED_AT = 600
"""Newest rows among which recurring emotions are looked for."""

_READINGS = 300
"""Newest guesses with which a new one is compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembering:
    """Draws on what one person said.

    What a message tells is written before the message is marked as considered, under ids that follow from it: a crash
    between loses nothing and adds nothing twice.
    """

    memories: Memories
    inference_days: float
    """Days until a guess lapses that nothing bears out."""

    async def due(self, who: Identity) -> tuple[Memory, ...]:
        """Messages that are not considered yet, oldest first."""
        return await self.memories.unconsidered(who, limit=DUE)

    async def __call__(self, who: Identity, row: Memory, agents: NoteTakers, *, zone: str) -> None:
        """Consider one message. What was forgotten or taken back meanwhile is dropped.

        Raises:
            ModelError: the model cannot be asked; the message stays due.
            StoreError: memory cannot be read or written; likewise.
        """
        gleanings = await self._glean(who, row, agents)
        if any(is_retracted(one) for one in await self.memories.get(who, [row.id])):
            return
        row = replace(row, details=_considered(row, gleanings))
        for fact in gleanings.facts:
            await self._unless_forgotten(self._keep(who, row, fact))
        for bearing in gleanings.confirms:
            await self._unless_forgotten(self._confirm(who, row, bearing))
        for bearing in gleanings.contradicts:
            await self._unless_forgotten(self._doubt(who, bearing))
        await self._unless_forgotten(self._infer(who, row))
        if gleanings.emotion:
            await self._unless_forgotten(self._feel(who, row, gleanings.emotion, zone))
        await self._unless_forgotten(self._finish(who, row))
        _log.info("considered", facts=len(gleanings.facts), dropped=gleanings.dropped)

    async def _finish(self, who: Identity, row: Memory) -> None:
        """Mark the message as considered. If it was taken back just now, what was made from it goes after it."""
        details = {key: value for key, value in row.details.items() if key != "guess"}
        kept = await self.memories.change(who, row.id, details=details)
        if kept.valid_until is not None:
            await self.memories.retract(who, {row.id: kept.superseded_by}, at=kept.valid_until)

    async def _glean(self, who: Identity, row: Memory, agents: NoteTakers) -> Gleanings:
        """What the message tells. Nothing, where it states nothing or the model gives no valid answer."""
        if not terms_of(statements(own_words(row.text))):
            return Gleanings()
        brief = isinstance(agents.rememberer, BriefRememberer)
        known = () if brief else await self._known(who, row)
        before = () if brief else await self._before(who, row)
        try:
            return await agents.rememberer(row.text, [as_message(one) for one in before], known)
        except StructuredOutputError as error:
            # Asking again would give the same: the message is done with, and stays in memory as it was said.
            _log.warning("not_extracted", fault=type(error).__name__)
            return Gleanings()

    async def _known(self, who: Identity, row: Memory) -> tuple[Memory, ...]:
        """Memories that the message may speak of, none of them made from it."""
        fitting = Filter(kinds=(*_STATED, *_GUESSED), current=True)
        hits = await self.memories.search(who, own_words(row.text), limit=KNOWN, which=fitting)
        guesses = Filter(kinds=(MemoryKind.INFERENCE,), statuses=(MemoryStatus.UNCONFIRMED,), current=True)
        newest = await self.memories.find(who, guesses, limit=GUESSES)
        found = {memory.id: memory for memory in (*(hit.memory for hit in hits), *newest)}
        return tuple(memory for memory in found.values() if row.id not in memory.sources)

    async def _before(self, who: Identity, row: Memory) -> tuple[Memory, ...]:
        around = (await self.memories.around(who, [row.id], span=BEFORE)).get(row.id, ())
        turn = row.details.get("turn_id")
        before = (other for other in around if other.observed_at <= row.observed_at and row.id not in other.sources)
        return tuple(other for other in before if other.details.get("turn_id") != turn)[-BEFORE:]

    async def _unless_forgotten(self, work: Awaitable[object]) -> None:
        """Do it, unless what it rests on was deleted while the model was thinking."""
        try:
            await work
        except (Forgotten, MemoryNotFound) as gone:
            _log.info("late_result_dropped", fault=type(gone).__name__)

    # --- facts and preferences ----------------------------------------------------------------------------

    async def _keep(self, who: Identity, row: Memory, fact: Fact) -> None:
        new = Memory(
            id=uuid5(NAMESPACE_OID, f"{row.id}\n{fact.text}").hex,
            kind=fact.kind,
            text=fact.text,
            quote=fact.quote,
            importance=importance_of(fact.kind, fact.text),
            valid_from=row.observed_at,
            details={"subject": fact.subject} if fact.subject else {},
            **_made_from(row),
        )
        old = await self._replaced(who, row, fact)
        if old is None:
            await self.memories.add(who, [new])
        else:
            await self.memories.supersede(who, [old.id], replace(new, pinned=old.pinned))

    async def _replaced(self, who: Identity, row: Memory, fact: Fact) -> Memory | None:
        """The older fact about the same subject that the new one ends, if there is one.

        That the model says so is not enough: both must share a word for their matter, or the person must say that
        something has changed, and both be of one kind.
        """
        if not fact.replaces:
            return None
        found = await self.memories.get(who, [fact.replaces])
        old = found[0] if found else None
        if old is None or old.kind not in _STATED or old.superseded_by or old.observed_at > row.observed_at:
            return None
        if fold(str(old.details.get("subject", ""))) != fold(fact.subject):
            return None
        changed = old.kind is fact.kind and tells_change(fact.quote)
        return old if changed or same_matter(f"{fact.text} {fact.quote}", f"{old.text} {old.quote}") else None

    # --- guesses ------------------------------------------------------------------------------------------

    async def _confirm(self, who: Identity, row: Memory, bearing: Bearing) -> None:
        """The person says again what is known, or says outright what was guessed."""
        found = await self.memories.get(who, [bearing.memory])
        if not found or row.id in found[0].sources:
            return
        memory = found[0]
        said = share_said(memory.text, bearing.quote)
        if not said:
            return
        await self.memories.strengthen(who, [memory.id], turn=str(row.details.get("turn_id")), at=row.observed_at)
        outright = said >= BORNE_OUT and same_sense(memory.text, bearing.quote)
        if outright and memory.status is MemoryStatus.UNCONFIRMED and memory.kind is not MemoryKind.EMOTION_PATTERN:
            await self._promote(who, row, memory, bearing.quote, by="words")

    async def _promote(self, who: Identity, row: Memory, memory: Memory, quote: str, *, by: str) -> None:
        await self.memories.change(
            who,
            memory.id,
            status=MemoryStatus.CONFIRMED,
            expires_at=None,
            quote=quote,
            sources=(*memory.sources, row.id),
            audience=_heard_by(memory, row),
            details={**memory.details, "borne_out_by": by},
        )

    async def _doubt(self, who: Identity, bearing: Bearing) -> None:
        """The person's words speak against a guess: it counts for less. Only they can refute it."""
        for memory in await self.memories.get(who, [bearing.memory]):
            if memory.kind in _GUESSED and memory.status is MemoryStatus.UNCONFIRMED:
                doubted = None if memory.confidence is None else WEAKENED * memory.confidence
                await self.memories.change(who, memory.id, importance=WEAKENED * memory.importance, confidence=doubted)

    async def _infer(self, who: Identity, row: Memory) -> None:
        """The chosen reading of this turn: a new guess, one that came back, or one that was refuted before."""
        guess: dict[str, Any] | None = row.details.get("guess")
        if not guess:
            return
        readings = await self.memories.find(who, Filter(kinds=(MemoryKind.INFERENCE,)), limit=_READINGS)
        fresh = (one for one in readings if row.id not in one.sources and not is_retracted(one))
        others = sorted(fresh, key=_is_settled, reverse=True)
        before = same_reading(guess["text"], guess["words"], guess["state"], others)
        if before is None:
            await self.memories.add(who, [self._guess(row, guess)])
        elif not _is_settled(before):
            await self._again(who, row, before, guess["words"])

    def _guess(self, row: Memory, guess: dict[str, Any]) -> Memory:
        return Memory(
            id=uuid5(NAMESPACE_OID, f"{row.id}\nguess").hex,
            kind=MemoryKind.INFERENCE,
            text=guess["text"],
            quote=guess["words"],
            status=MemoryStatus.UNCONFIRMED,
            importance=importance_of(MemoryKind.INFERENCE, guess["text"]),
            confidence=guess["confidence"],
            expires_at=row.observed_at + timedelta(days=self.inference_days),
            details={"state": guess["state"]},
            **_made_from(row),
        )

    async def _again(self, who: Identity, row: Memory, before: Memory, quote: str) -> None:
        """A guess came back: it is stronger and lapses later.

        On another occasion, in other words that hold some of its own, it is borne out.
        """
        await self.memories.strengthen(who, [before.id], turn=str(row.details.get("turn_id")), at=row.observed_at)
        if before.status is not MemoryStatus.UNCONFIRMED:
            return
        other_words = before.quote.casefold() != quote.casefold() and share_said(before.text, quote) > 0
        if other_words and _is_another_occasion(before, row):
            await self._promote(who, row, before, quote, by="recurrence")
        else:
            later = row.observed_at + timedelta(days=self.inference_days)
            await self.memories.change(who, before.id, expires_at=later)

    # --- emotions -----------------------------------------------------------------------------------------

    async def _feel(self, who: Identity, row: Memory, emotion: str, zone: str) -> None:
        """Keep an emotion as a pattern once it recurs, and bring the pattern up to date."""
        found = await self.memories.find(who, Filter(kinds=(MemoryKind.TURN,)), limit=_LOOKED_AT)
        rows = (other for other in found if not is_retracted(other))
        said = [row if other.id == row.id else other for other in rows if other.details.get("role") == PERSON]
        shown = recurring(said, emotion, zone=zone)
        if not shown:
            return
        patterns = await self.memories.find(who, Filter(kinds=(MemoryKind.EMOTION_PATTERN,)))
        of_it = (one for one in patterns if one.details.get("emotion") == emotion and not is_retracted(one))
        known = next(of_it, None)
        if known is not None and known.status is MemoryStatus.REFUTED:
            return
        newest = shown[-_SHOWING:]
        text = pattern_text(emotion, shown)
        kind = MemoryKind.EMOTION_PATTERN
        fresh = Memory(
            id=uuid5(NAMESPACE_OID, f"{row.id}\nemotion").hex,
            kind=kind,
            text=text,
            status=MemoryStatus.UNCONFIRMED,
            importance=importance_of(kind, text),
            details={"emotion": emotion, "turns": len(shown)},
            **_made_from(*newest),
        )
        if known is None:
            await self.memories.add(who, [fresh])
            return
        anew = ("text", "quote", "sources", "details", "observed_at", "audience")
        await self.memories.change(who, known.id, **{name: getattr(fresh, name) for name in anew})


_SHOWING = 12
"""Newest turns that a pattern names as its sources."""


def _considered(row: Memory, gleanings: Gleanings) -> dict[str, Any]:
    felt = {"emotion": gleanings.emotion, "emotion_words": gleanings.emotion_words} if gleanings.emotion else {}
    return {**row.details, CONSIDERED: True, **felt}


def _made_from(*rows: Memory) -> dict[str, Any]:
    """What a memory has from the messages it was made from, the newest last."""
    row = rows[-1]
    return {
        "observed_at": row.observed_at,
        "session": row.session,
        "speaker": row.speaker,
        "audience": _heard_by(*rows),
        "sources": tuple(other.id for other in rows),
    }


def _heard_by(*memories: Memory) -> tuple[str, ...]:
    """Who was present at all of it."""
    first, *others = memories
    return tuple(sorted(set(first.audience).intersection(*(other.audience for other in others))))


def _is_another_occasion(before: Memory, row: Memory) -> bool:
    """Whether a message belongs to another session; where none was named, they may follow each other at once."""
    named = all(is_named(memory.session) for memory in (before, row))
    return before.session != row.session and (named or abs(row.observed_at - before.observed_at) >= APART)


def _is_settled(reading: Memory) -> bool:
    """Whether the person refuted it, or said what is true instead: it is not to be guessed again."""
    return reading.status is MemoryStatus.REFUTED or reading.superseded_by is not None


__all__ = ["Remembering"]

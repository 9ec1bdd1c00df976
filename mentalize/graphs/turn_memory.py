"""TurnMemory: what one turn does with memory: it recalls before, and writes down what was said after the reply."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from ..agents.attribution import repeated, used
from ..agents.quotes import quoted
from ..memory.importance import importance_of
from ..memory.memories import Memories
from ..memory.ranking import is_visible
from ..memory.store import Filter
from ..prompts.format import by_another
from ..types import (
    LONGEST_TEXT,
    HypothesisScore,
    Identity,
    Memory,
    MemoryKind,
    MemoryStatus,
    MentalState,
    Message,
    Perception,
    Recollection,
    RoleCharter,
    Store,
    Trace,
    Turn,
    Verdict,
)
from .continuity import ASSISTANT, PERSON, Place, place_of

SCENARIO = "scenario"
"""Id of the memory that holds the setting (M_0 of MetaMind, arXiv 2505.18943, §3.1)."""

CONSIDERED = "considered"
"""The detail of a person's row that says whether social memory has drawn on it; absent where that is not due, as with
the words of somebody else who speaks: they are no statements of the person, and bear out no guess about them."""

_FEWEST, _MOST, _FARTHEST = 40, 200, 400
"""Newest rows of a person among which the conversation is looked for: 40 to 200, by its length; and, where that leaves
it open where it goes on, of its session as well."""

_SAID = (MemoryKind.TURN, MemoryKind.FACT, MemoryKind.PREFERENCE)
_HEARD = frozenset({"turn_id", "role", "origin", "left_out"})
"""Details of a row that go into the memory of those who heard it; a guess at what the speaker meant does not."""

WEAKENED = 0.5
"""Factor on the importance of an emotion pattern that a failed reply leaned on (arXiv 2505.18943, §3.3, feedback)."""

_RISKY = 0.5
"""Residual risk from which a reading is not kept: too much of a norm's concern remains in it."""


@dataclass(slots=True, kw_only=True)
class TurnMemory:
    """The memory of one turn. `writes` is None where it only reads."""

    who: Identity
    store: Store
    zone: str
    """IANA zone of the person."""
    limit: int
    """Memories that are recalled at most."""
    writes: Memories | None = None
    charter: RoleCharter
    trace_days: float
    """Days for which the trace is kept; 0 for none."""
    _version: asyncio.Task[int] | None = field(default=None, init=False)
    """The person's version before anything was read."""

    def begin(self) -> None:
        """Have it noted where the person's memory stands: what is written later fails if something was forgotten since.

        The database is opened by this, too, while the turn goes on.
        """
        if self.writes is not None:
            self._version = asyncio.create_task(self.writes.version(self.who), name="mentalize-memory")
            self._version.add_done_callback(_heard)

    async def recall(self, turn: Turn) -> Recollection:
        """What matters to the message, without what stands in the conversation already."""
        if self._version is not None:
            await asyncio.shield(self._version)
        shown = {message.text.strip() for message in turn.messages}
        most = self.limit + min(len(turn.messages), self.limit)
        found = await self.store.recall(self.who, turn.text, at=turn.at, limit=most)
        return without(found, shown, self.limit)

    async def unheard(self) -> tuple[Memory, ...]:
        """What was said with this person that somebody who is present now has not heard, newest first."""
        if not self.who.others or not isinstance(self.store, Memories):
            return ()
        rows = await self.store.find(self.who, Filter(kinds=_SAID), limit=_MOST)
        return tuple(row for row in rows if row.details.get("role") != ASSISTANT and not is_visible(row, self.who))

    async def record(self, turn: Turn, trace: Trace) -> None:
        """Write down what was said, durably, and what follows from it at once.

        What the conversation shows and was written down before is not written again. Two turns of one person are
        recorded one after the other.

        Raises:
            Forgotten: something of this person was forgotten during the turn, and nothing was written.
            StoreError: it cannot be written.
        """
        if self.writes is None or self._version is None or not turn.text.strip():
            return
        since = await asyncio.shield(self._version)
        newest, place = await self._place(turn)
        earlier = await asyncio.to_thread(conversation_in, newest, turn)
        # In a thread: a message may be as long as a book.
        leaned_on = await asyncio.to_thread(used, trace.recollection, trace.plan, turn.text, trace.reply)
        again = await asyncio.to_thread(repeated, earlier, turn.text, trace.reply)
        rests_on = tuple(dict.fromkeys((*leaned_on, *again)))
        rows = await asyncio.to_thread(rows_of, turn, trace, place=place, who=self.who, rests_on=rests_on)
        new = [scenario(self.charter, turn.at), *rows]
        await self.writes.retract(self.who, successors(place, rows), at=turn.at, new=new, since=since)
        await self._let_hear(rows)
        if leaned_on:
            await self.writes.strengthen(self.who, leaned_on, turn=turn.id, at=turn.at)
        if failed(trace):
            await self._weaken(trace)
        if self.trace_days:
            until = turn.at + timedelta(days=self.trace_days)
            await self.writes.keep_trace(self.who, trace, until=until, since=since)

    async def _let_hear(self, rows: Sequence[Memory]) -> None:
        """Keep what was said in the memory of the others who are present. Being named gives nobody a memory."""
        assert self.writes is not None
        if not self.who.witnessed:
            return
        for name in sorted(self.who.others):
            other = replace(self.who, user=name, speaker=None, audience=())
            if await self.writes.exists(other):
                await self.writes.add(other, heard(rows, self.who, name))

    async def _place(self, turn: Turn) -> tuple[tuple[Memory, ...], Place]:
        """The newest rows of the person, and where the turn stands among what is remembered."""
        assert self.writes is not None
        turns = Filter(kinds=(MemoryKind.TURN,))
        most = min(_MOST, max(_FEWEST, 2 * len(turn.messages)))
        rows = await self.writes.find(self.who, turns, limit=most)
        place = await asyncio.to_thread(place_of, turn, rows, who=self.who, zone=self.zone)
        if not place.certain and len(rows) == most:
            more = await self.writes.find(self.who, replace(turns, session=self.who.session), limit=_FARTHEST)
            place = await asyncio.to_thread(place_of, turn, more, who=self.who, zone=self.zone)
        return rows, place

    async def _weaken(self, trace: Trace) -> None:
        """Give less weight to patterns that a failed reply was built on and the person's feeling did not bear out."""
        assert self.writes is not None
        for pattern in contradicted(trace.recollection, trace.perception):
            await self.writes.change(self.who, pattern.id, importance=WEAKENED * pattern.importance)


def _heard(task: asyncio.Task[int]) -> None:
    """A failure is told by whoever needs the version; a turn that ends before does not."""
    if not task.cancelled():
        task.exception()


def without(found: Recollection, shown: set[str], limit: int) -> Recollection:
    """Without the turns that the conversation shows anyway."""

    def is_new(memory: Memory) -> bool:
        return memory.kind is not MemoryKind.TURN or memory.text.strip() not in shown

    hits = tuple(hit for hit in found.hits if is_new(hit.memory))[:limit]
    beside = {hit.memory.id: found.neighbours.get(hit.memory.id, ()) for hit in hits}
    kept = {key: tuple(filter(is_new, memories)) for key, memories in beside.items()}
    return replace(found, hits=hits, neighbours={key: memories for key, memories in kept.items() if memories})


# --- what is written --------------------------------------------------------------------------------------


def conversation_in(rows: Sequence[Memory], turn: Turn) -> tuple[Memory, ...]:
    """Of some rows, newest first, those that the conversation shows, oldest first: what was said before, and replies
    that rest on memories.

    Other replies of ours are like any in their wording, and bring nothing into a reply.
    """
    before = {message.text.strip() for message in turn.messages[:-1] if message.role in (PERSON, ASSISTANT)}
    return tuple(
        row
        for row in reversed(rows)
        if row.text.strip() in before and (row.details.get("role") == PERSON or len(row.sources) > 1)
    )


def rows_of(
    turn: Turn, trace: Trace, *, place: Place, who: Identity, rests_on: Sequence[str] = ()
) -> tuple[Memory, ...]:
    """The rows of a turn: what the person wrote, word for word, and the reply; a note of danger; a critique.

    The reply rests on the message and on the memories that it used, and is forgotten with any of them. Who speaks in
    the person's place was present, as the rest of the audience. A message that was written down before is left out,
    and so is a sign of danger that was noted of it.

    Args:
        turn: The turn.
        trace: How it came about.
        place: Where it stands among what is remembered.
        who: The person.
        rests_on: Ids of the memories that the reply has words from.
    """
    said = place.said.id if place.said else f"{turn.id}/{PERSON}"
    speaker = who.speaker or who.user
    present = tuple(sorted(who.others))

    def row(name: str, kind: MemoryKind, text: str, details: Mapping[str, Any], **more: Any) -> Memory:
        if len(text) > LONGEST_TEXT:
            details = {**details, "left_out": len(text) - LONGEST_TEXT}
        return Memory(
            id=name,
            kind=kind,
            text=text[:LONGEST_TEXT],
            observed_at=turn.at,
            session=place.session,
            audience=present,
            importance=importance_of(kind, text),
            details={"turn_id": turn.id, **details},
            **more,
        )

    rows: list[Memory] = []
    if place.said is None:
        details = _of_person(turn, trace) if speaker == who.user else {"role": PERSON}
        rows.append(row(said, MemoryKind.TURN, turn.text, details, speaker=speaker))
    if trace.reply.strip():
        sources = (said, *rests_on)
        details = {"role": ASSISTANT, "origin": trace.reply_origin}
        answer = f"{turn.id}/{ASSISTANT}"
        rows.append(row(answer, MemoryKind.TURN, trace.reply, details, speaker=ASSISTANT, sources=sources))
    if words := _words_of_danger(turn, trace):
        kinds = sorted({str(sign.kind) for sign in trace.risk})
        text = f"Signs of danger ({', '.join(kinds).replace('_', ' ')}): “{'”, “'.join(words)}”"
        note = "/".join((said.removesuffix(f"/{PERSON}"), "danger", *kinds))
        rows.append(row(note, MemoryKind.SAFETY_NOTE, text, {"kinds": kinds}, quote=words[0], sources=(said,)))
    if (verdict := failed(trace)) and verdict.critique:
        details = {"utility": verdict.utility, "gates": [name for name, passed in verdict.gates.items() if not passed]}
        rows.append(
            row(
                f"{turn.id}/feedback",
                MemoryKind.FEEDBACK,
                verdict.critique,
                details,
                status=MemoryStatus.UNCONFIRMED,
                sources=(said,),
            )
        )
    return tuple(rows)


def heard(rows: Sequence[Memory], who: Identity, name: str) -> tuple[Memory, ...]:
    """The turn's rows as somebody else who was present has heard them: what was said, and no notes on it."""
    present = tuple(sorted({who.user, *who.others} - {name}))
    said = [row for row in rows if row.kind is MemoryKind.TURN]
    ids = {row.id for row in said}
    return tuple(
        replace(
            row,
            audience=present,
            sources=tuple(source for source in row.sources if source in ids),
            details={key: value for key, value in row.details.items() if key in _HEARD},
        )
        for row in said
    )


def successors(place: Place, rows: Sequence[Memory]) -> dict[str, str]:
    """Which of the turn's rows takes the place of each that it supersedes: a reply that of a reply."""
    said = place.said.id if place.said else rows[0].id
    reply = next((row.id for row in rows if row.details.get("role") == ASSISTANT), said)
    return {old.id: reply if old.details.get("role") == ASSISTANT else said for old in place.superseded}


def scenario(charter: RoleCharter, at: datetime) -> Memory:
    """The setting: what the assistant is to the person, does and does not do."""
    text = " ".join(("The assistant:", charter.role, "Its duties:", *charter.duties, "Its limits:", *charter.limits))
    return Memory(id=SCENARIO, kind=MemoryKind.SCENARIO, text=text, observed_at=at, details={"charter": charter.id})


def failed(trace: Trace) -> Verdict | None:
    """The verdict of the reply, if it failed: no draft was safe, or the best one was not acceptable."""
    if not trace.verdicts:
        return None
    safe = [verdict for verdict in trace.verdicts if verdict.safe]
    if not safe:
        return trace.verdicts[-1]
    best = max(safe, key=lambda verdict: verdict.utility or 0.0)
    return None if best.acceptable else best


def contradicted(recollection: Recollection | None, perception: Perception | None) -> Iterator[Memory]:
    """Recalled emotion patterns that name another feeling than the one that was perceived."""
    if recollection is None or perception is None or not perception.emotion.name:
        return
    for hit in recollection.hits:
        is_pattern = hit.memory.kind is MemoryKind.EMOTION_PATTERN
        if is_pattern and hit.memory.details.get("emotion") != perception.emotion.name:
            yield hit.memory


def _of_person(turn: Turn, trace: Trace) -> dict[str, Any]:
    """What social memory needs to know about a message when it comes to it."""
    guess = _guess(turn, trace.selection.chosen) if trace.selection and trace.selection.chosen else None
    return {"role": PERSON, CONSIDERED: False} | ({"guess": guess} if guess else {})


def _guess(turn: Turn, chosen: HypothesisScore) -> dict[str, Any] | None:
    """The chosen reading, if it rests on words of this message. Feelings are kept as patterns only."""
    hypothesis = chosen.refined.hypothesis
    words = quoted(hypothesis.evidence.words, turn.text)
    if not words or hypothesis.state is MentalState.EMOTION or chosen.refined.residual_risk >= _RISKY:
        return None
    confidence = min(1.0, max(0.0, chosen.refined.p_cond))
    return {"text": chosen.refined.text, "state": str(hypothesis.state), "words": words, "confidence": confidence}


def _words_of_danger(turn: Turn, trace: Trace) -> list[str]:
    """The person's own words in this message that are signs of danger."""
    return list(dict.fromkeys(words for sign in trace.risk if (words := quoted(sign.words, turn.text))))


def as_message(row: Memory) -> Message:
    """A turn's row as a message of a conversation; what somebody else said before the person says who did."""
    content = f"({row.speaker} speaks, who is not the person:) {row.text}" if by_another(row) else row.text
    return Message(role="assistant" if row.details.get("role") == ASSISTANT else "user", content=content)


__all__ = [
    "CONSIDERED",
    "TurnMemory",
    "as_message",
    "contradicted",
    "conversation_in",
    "failed",
    "rows_of",
    "scenario",
    "successors",
]

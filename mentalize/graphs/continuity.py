"""Continuity: where a message stands in what is remembered, found from the conversation that the client sends along.

Clients send whole histories with each message, or their ends, or nothing. Texts are compared; no hash of them is kept,
because it would outlive their deletion.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Self

from ..memory.retraction import is_retracted
from ..memory.rows import clean
from ..memory.sessions import is_named, new_session
from ..prompts.format import day_of
from ..types import LONGEST_TEXT, Identity, Memory, Turn

PERSON, ASSISTANT = "user", "assistant"
"""`details["role"]` of a turn's rows."""

REGENERATED = timedelta(minutes=30)
"""How old the newest exchange may be for the same message, sent with no history that is known, to be that one again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a turn stands."""

    session: str
    said: Memory | None = None
    """The row of the message, where it was written down before: the turn is regenerated or retried."""
    superseded: tuple[Memory, ...] = ()
    """Rows that this turn takes the place of: what the person said there, what was said after it, and the replies."""
    certain: bool = True
    """Whether older rows would not change it: as far as the history and the rows reach, they agree."""


@dataclass(frozen=True, slots=True)
class _Exchange:
    """What one of them said, and what was answered."""

    text: str
    reply: str = ""


@dataclass(frozen=True, slots=True)
class _Said:
    """The rows of an exchange, as far as they were not taken back."""

    row: Memory
    replies: tuple[Memory, ...]
    text: str
    answers: frozenset[str]

    @classmethod
    def of(cls, row: Memory, replies: Sequence[Memory]) -> Self:
        return cls(row, tuple(replies), _plain(row.text), frozenset(_plain(reply.text) for reply in replies))

    @property
    def rows(self) -> tuple[Memory, ...]:
        return (self.row, *self.replies)

    @property
    def last_at(self) -> datetime:
        return max(row.observed_at for row in self.rows)


@dataclass(frozen=True, slots=True)
class _Session:
    """What was said in a session, oldest first, whoever spoke."""

    name: str
    said: tuple[_Said, ...]


@dataclass(frozen=True, slots=True, order=True)
class _Fit:
    """How well the end of a history agrees with a session up to one of its exchanges; the greatest is the best."""

    run: int
    """Messages that agree, going back from the last one."""
    replies: int
    """Replies to them that agree: they tell "ok" and "ok" apart."""
    at: datetime
    place: int
    """Index of the exchange."""


def place_of(turn: Turn, rows: Sequence[Memory], *, who: Identity, zone: str) -> Place:
    """The place of a turn among what is remembered.

    The end of the history is looked for in the session that is named, or else in those that no name was given for; what
    follows it there is not in this conversation, so the turn takes its place. Without a history that is known, a
    message is the newest one of the session again if it has the same text and comes soon; otherwise it follows it, or
    begins a session where none is named. Nobody takes back what another one said.

    Args:
        turn: The turn, with the conversation before it.
        rows: Newest turns of the person, or of the session that is named, the newest first.
        who: Whose turn it is, who speaks, and the session, if it is named.
        zone: IANA zone of the person, whose day is in the name of a session that is not named.
    """
    history, speaker = _history(turn), who.speaker or who.user
    sessions = [session for session in _sessions(rows) if _may_hold(session, who.session)]
    fits = [(fit, session) for session in sessions if (fit := _best_fit(session, history)) is not None]
    if fits:
        fit, session = max(fits, key=lambda item: item[0])
        place = _after(session, fit.place + 1, turn, speaker)
        return replace(place, certain=fit.replies == fit.run and fit.run in (len(history), fit.place + 1))
    new = Place(session=who.session or new_session(day_of(turn.at, zone), turn.id))
    return replace(_again(sessions, turn, speaker, named=who.session is not None) or new, certain=not history)


def _again(sessions: Sequence[_Session], turn: Turn, speaker: str, *, named: bool) -> Place | None:
    """The place of a message that says the same as the newest one of a session, and comes soon after it.

    Where no session is named, one that went on from there is another conversation.
    """
    for session in sorted(sessions, key=lambda one: one.said[-1].last_at, reverse=True):
        last = len(session.said) - 1
        is_soon = turn.at - session.said[last].last_at <= REGENERATED
        if is_soon and (named or last == 0):
            place = _after(session, last, turn, speaker)
            if place.said is not None:
                return place
    return None


def _after(session: _Session, place: int, turn: Turn, speaker: str) -> Place:
    """The place of a turn after the first exchanges of a session, where the speaker may have said something before."""
    left = [one for one in session.said[place:] if one.row.speaker == speaker]
    said = left[0].row if left and left[0].text == _plain(turn.text) else None
    # What came later than this turn began was said while it ran: it does not take back that.
    old = (row for one in left for row in one.rows if row is not said and row.observed_at <= turn.at)
    return Place(session=session.name, said=said, superseded=tuple(old))


# --- the conversation -------------------------------------------------------------------------------------


def _history(turn: Turn) -> list[_Exchange]:
    """What was said in the conversation before the message that is to be answered, with its answers."""
    found: list[_Exchange] = []
    for message in turn.messages[:-1]:
        if not (text := _plain(message.text)):
            continue
        if message.role == PERSON:
            found.append(_Exchange(text))
        elif message.role == ASSISTANT and found:
            found[-1] = _Exchange(found[-1].text, text)
    return found


def _plain(text: str) -> str:
    """A text as it is when it was stored and read again, without the white space around it that clients change."""
    return clean(text[:LONGEST_TEXT], "text").strip()


# --- what is remembered -----------------------------------------------------------------------------------


def _sessions(rows: Sequence[Memory]) -> Iterator[_Session]:
    """What was said in each session, as far as it was not taken back."""
    current = [row for row in reversed(rows) if not is_retracted(row)]
    replies: dict[str, list[Memory]] = {}
    for row in current:
        if row.details.get("role") == ASSISTANT and row.sources:
            replies.setdefault(row.sources[0], []).append(row)
    said: dict[str, list[_Said]] = {}
    for row in current:
        if row.details.get("role") == PERSON:
            said.setdefault(row.session, []).append(_Said.of(row, replies.get(row.id, ())))
    return (_Session(name, tuple(together)) for name, together in said.items())


def _may_hold(session: _Session, named: str | None) -> bool:
    return session.name == named if named is not None else not is_named(session.name)


def _best_fit(session: _Session, history: Sequence[_Exchange]) -> _Fit | None:
    """Where the history ends in a session; None if it does not.

    What was never written down, such as a message whose reply was stopped, may stand at its end. Then the reply before
    must agree, too: a word that is often said proves nothing.
    """
    there = {one.text for one in session.said}
    known = next((end for end in range(len(history), 0, -1) if history[end - 1].text in there), 0)
    fits = (_fit(session.said, place, history[:known]) for place in range(len(session.said)))
    best = max((fit for fit in fits if fit.run), default=None)
    if best is None or known == len(history) or history[known - 1].reply in session.said[best.place].answers:
        return best
    return None


def _fit(said: Sequence[_Said], place: int, history: Sequence[_Exchange]) -> _Fit:
    run = replies = 0
    while run < min(place + 1, len(history)):
        there, shown = said[place - run], history[-1 - run]
        if there.text != shown.text:
            break
        run += 1
        replies += shown.reply in there.answers
    return _Fit(run, replies, said[place].row.observed_at, place)


__all__ = ["ASSISTANT", "PERSON", "REGENERATED", "Place", "place_of"]

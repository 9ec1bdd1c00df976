"""Recall: what memory brings to a turn, and what a search finds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from heapq import nlargest
from typing import TYPE_CHECKING

from ..types import Identity, Memory, MemoryHit, MemoryKind, Recollection
from .ranking import STRONG_CUE, WEIGHTS, Cue, Evidence, Weights, distinct, is_current, is_visible, rank, reason
from .retention import Curve
from .store import Filter, MemoryStore
from .times import TimeSpan

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .index import VectorIndex

PORTRAIT = "portrait"
SUMMARY = "summary"
"""Ids of what is kept once for each person."""

CANDIDATES = 64
"""Memories that each way of looking brings in: by words, by meaning, by each time that is named."""

FILTERED = 2_000
"""The newest memories that a filter means, which a filtered search compares by meaning."""

LOOKED_AROUND = 24
"""The best turns, whose neighbours are looked at too."""

_SPANS = 2
_LONGEST_SPAN = timedelta(days=40)
"""A longer time is weighed in the score, but does not bring memories in by itself."""

_OVERHEAD = 8
"""Tokens around a memory in a prompt: its date and who said it."""

_NO_HITS = frozenset({MemoryKind.PORTRAIT, MemoryKind.SUMMARY, MemoryKind.DAY_PORTRAIT, MemoryKind.SCENARIO})
"""Kinds that are no hits: they are handed on apart, or feed what is, or stand in every prompt anyway."""

_WIDE = re.compile("[\u1100-\u11ff\u2e80-\ua4cf\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")


def tokens_of(text: str) -> int:
    """About how many tokens a text takes: one for each East Asian character, and one for four others."""
    wide = len(_WIDE.findall(text))
    return wide + -(-(len(text) - wide) // 4)


class Recall:
    """Synchronous, and as safe with threads as its store and index are.

    Args:
        store: The rows.
        index: The vectors.
        curve: How memories fade.
        zone: IANA zone of people whose own is not known.
        weights: What each part of a score counts.
    """

    def __init__(
        self, store: MemoryStore, index: VectorIndex, curve: Curve, *, zone: str = "UTC", weights: Weights = WEIGHTS
    ) -> None:
        self._store = store
        self._index = index
        self._curve = curve
        self._zone = zone
        self._weights = weights

    def recall(
        self,
        who: Identity,
        text: str,
        vector: NDArray[np.float32] | None,
        *,
        at: datetime,
        limit: int,
        tokens: int,
    ) -> Recollection:
        """What this person's memories bring to `text`. Changes nothing.

        Archived memories are recalled on a strong cue only. What was refuted, superseded or has lapsed is not recalled,
        nor what somebody who is present now was not there to hear.

        Args:
            who: The person, and who else is present.
            text: What is said now.
            vector: Its vector; None looks by words and times alone.
            at: The present moment, aware.
            limit: Hits at most.
            tokens: About how many tokens hits, neighbours, portrait and summary may take together.
        """
        cue = Cue(text, at, who.zone or self._zone)
        pool = self._pool(who, cue, vector, CANDIDATES, None)
        current = {
            key: memory
            for key, memory in pool.evidence.memories.items()
            if is_visible(memory, who) and is_current(memory, at)
        }
        ranked = rank(cue, replace(pool.evidence, memories=current), curve=self._curve, weights=self._weights)
        hits = [hit for hit in ranked if hit.memory.kind not in _NO_HITS]
        least = STRONG_CUE * hits[0].score if hits else 0.0
        awake = [hit for hit in hits if hit.score >= least or not hit.memory.archived]
        return _within(tokens, limit, cue, awake, current, pool)

    def search(
        self,
        who: Identity,
        text: str,
        vector: NDArray[np.float32] | None,
        *,
        at: datetime,
        limit: int,
        which: Filter | None = None,
    ) -> tuple[MemoryHit, ...]:
        """The same ranking without a budget; what is archived is as good as the rest.

        Args:
            who: The person, and who else is present.
            text: What is looked for.
            vector: Its vector; None looks by words and times alone.
            at: The present moment, aware.
            limit: Hits at most.
            which: Which memories are meant; all, if not given.
        """
        cue = Cue(text, at, who.zone or self._zone)
        pool = self._pool(who, cue, vector, max(CANDIDATES, 2 * limit), which)
        hits = [
            hit
            for hit in rank(cue, pool.evidence, curve=None, weights=self._weights)
            if is_visible(hit.memory, who) and (which is None or _fits(hit.memory, which, at))
        ]
        return tuple(replace(hit, reason=reason(hit, cue)) for hit in hits[:limit])

    def _pool(
        self, who: Identity, cue: Cue, vector: NDArray[np.float32] | None, size: int, which: Filter | None
    ) -> _Pool:
        """Everything that words, meaning and times bring to mind, and the turns said beside it."""
        cosines = {} if vector is None else self._nearest(who, vector, size, which)
        dated = [memory.id for span in _near(cue.spans) for memory in self._store.find(who, _during(span), limit=size)]
        memories = self._get(who, [*cosines, *dated, PORTRAIT, SUMMARY])
        bm25 = self._matching(who, cue, memories, size, which)
        best = rank(cue, Evidence(memories, cosines, bm25), curve=None, weights=self._weights)
        said = (hit.memory for hit in best if hit.memory.kind is MemoryKind.TURN)
        turns = [turn.id for turn in said if turn.valid_until is None]
        around = self._store.around(who, turns[:LOOKED_AROUND], span=1)
        before, after = _order(memories, around)
        memories |= {memory.id: memory for group in around.values() for memory in group}
        if vector is not None:
            cosines |= self._index.cosines(who, vector, [key for key in memories if key not in cosines])
        return _Pool(Evidence(memories, cosines, bm25, before, after), around)

    def _nearest(self, who: Identity, vector: NDArray[np.float32], size: int, which: Filter | None) -> dict[str, float]:
        """The memories nearest in meaning; of those that a filter means, of which the newest are compared."""
        if which is None:
            return dict(self._index.nearest(who, vector, limit=size))
        meant = [memory.id for memory in self._store.find(who, which, limit=FILTERED)]
        cosines = self._index.cosines(who, vector, meant)
        return dict(nlargest(size, cosines.items(), key=lambda item: item[1]))

    def _matching(
        self, who: Identity, cue: Cue, memories: dict[str, Memory], size: int, which: Filter | None
    ) -> dict[str, float]:
        """BM25 of what shares terms with the cue; `memories` takes it in.

        Names of speakers are no terms, and who speaks is known from what was found: by meaning, or by the names.
        """
        terms: tuple[str, ...] | None = None
        bm25: dict[str, float] = {}
        while (fewer := cue.terms_besides({memory.speaker for memory in memories.values()})) != terms:
            terms = fewer
            bm25 = dict(self._store.matching(who, terms, limit=size, which=which))
            memories |= self._get(who, [key for key in bm25 if key not in memories])
        return bm25

    def _get(self, who: Identity, ids: Sequence[str]) -> dict[str, Memory]:
        return {memory.id: memory for memory in self._store.get(who, list(dict.fromkeys(ids)))} if ids else {}


@dataclass(frozen=True, slots=True)
class _Pool:
    evidence: Evidence
    around: Mapping[str, tuple[Memory, ...]]


def _near(spans: Iterable[TimeSpan]) -> list[TimeSpan]:
    return [span for span in spans if span.until - span.since <= _LONGEST_SPAN][:_SPANS]


def _during(span: TimeSpan) -> Filter:
    return Filter(since=span.since, until=span.until)


def _order(
    memories: Mapping[str, Memory], around: Mapping[str, Sequence[Memory]]
) -> tuple[dict[str, str], dict[str, str]]:
    """Which turn was said before, and which after, by id."""
    before: dict[str, str] = {}
    after: dict[str, str] = {}
    for key, group in around.items():
        for other in group:
            pair = (other, memories[key]) if _precedes(other, memories[key]) else (memories[key], other)
            first, second = pair
            before[second.id], after[first.id] = first.id, second.id
    return before, after


def _precedes(one: Memory, other: Memory) -> bool:
    """Whether it was said before; in one exchange, the person speaks first."""
    return (one.observed_at, _replies(one)) < (other.observed_at, _replies(other))


def _replies(turn: Memory) -> bool:
    return turn.details.get("role") == "assistant"


def _fits(memory: Memory, which: Filter, at: datetime) -> bool:
    """Whether a memory is one of those that a filter means."""
    return all(
        (
            which.kinds is None or memory.kind in which.kinds,
            which.statuses is None or memory.status in which.statuses,
            which.session is None or memory.session == which.session,
            which.since is None or memory.observed_at >= which.since,
            which.until is None or memory.observed_at < which.until,
            which.archived is None or memory.archived == which.archived,
            not which.current or is_current(memory, which.at or at),
        )
    )


# --- the budget -------------------------------------------------------------------------------------------


class _Purse:
    """Tokens that can be spent once."""

    def __init__(self, tokens: int) -> None:
        self._left = tokens
        self.spent = 0

    def buys(self, memory: Memory | None, *, share: float = 1.0) -> bool:
        """Whether it can be paid, out of a share of what is left; if so, it is."""
        if memory is None:
            return False
        cost = tokens_of(memory.text) + _OVERHEAD
        if cost > self._left * share:
            return False
        self._left -= cost
        self.spent += cost
        return True


def _within(
    tokens: int, limit: int, cue: Cue, hits: Sequence[MemoryHit], usable: Mapping[str, Memory], pool: _Pool
) -> Recollection:
    """Portrait and summary first, a third of what is left each at most; then hits; then neighbours of hits."""
    purse = _Purse(tokens)
    portrait = usable.get(PORTRAIT)
    portrait = portrait if purse.buys(portrait, share=1 / 3) else None
    summary = usable.get(SUMMARY)
    summary = summary if purse.buys(summary, share=1 / 3) else None
    chosen: list[MemoryHit] = []
    for hit in distinct(hits):
        if len(chosen) == limit:
            break
        if purse.buys(hit.memory):
            chosen.append(replace(hit, reason=reason(hit, cue)))
    neighbours = dict(_neighbours(chosen, usable, pool, purse))
    return Recollection(
        hits=tuple(chosen), neighbours=neighbours, portrait=portrait, summary=summary, tokens=purse.spent
    )


def _neighbours(
    hits: Sequence[MemoryHit], usable: Mapping[str, Memory], pool: _Pool, purse: _Purse
) -> Iterator[tuple[str, tuple[Memory, ...]]]:
    """Turns beside the hits, each once, as long as they can be paid."""
    shown = {hit.memory.id for hit in hits}
    for hit in hits:
        beside: list[Memory] = []
        for memory in pool.around.get(hit.memory.id, ()):
            if memory.id in usable and memory.id not in shown and purse.buys(memory):
                shown.add(memory.id)
                beside.append(memory)
        if beside:
            yield hit.memory.id, tuple(beside)

"""Ranking: how well each memory fits what is said now, as one score whose parts can be named.

    relevance = .45 · cosine / best cosine + .55 · BM25 / best BM25
    context   = relevance + .25 · (relevance of the turns said before and after it); .6 of a turn that asked it
    score     = (context + .2 if its speaker is named + .8 if it lies in a time that is named)
                · (.6 + .4 · importance) · (.85 + .15 · retention)

A sum of normalised scores, because reciprocal-rank fusion lost to BM25 alone on LoCoMo. A turn's meaning often lies in
its neighbour: an answer rarely repeats the words of its question. The result is flat around these weights: of steps of
about a third in each of them, the best on four of five conversations changes recall@5 on the fifth by -.2 to +1.6
points (bench/recall.py measures what they give).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from zoneinfo import ZoneInfo

from ..terms import fold, is_unspaced, terms_of
from ..types import Identity, Memory, MemoryHit, MemoryKind, MemoryStatus
from .importance import asks
from .retention import Curve
from .times import TimeSpan, times_in


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What each part of a score counts."""

    meaning: float = 0.45
    """Share of the cosine in the relevance; the rest is BM25's."""
    beside: float = 0.25
    """How much of a neighbour's relevance a turn is given."""
    answer: float = 0.6
    """The same, if the turn before it asked something, which it may answer."""
    speaker: float = 0.2
    time: float = 0.8
    importance: float = 0.4
    """What a memory of no importance loses, as a share."""
    retention: float = 0.15
    """What a memory that has faded altogether loses, as a share; never more than .3."""


WEIGHTS = Weights()

STRONG_CUE = 0.5
"""Share of the best score that recalls an archived memory."""

_LONGEST = 8_000
"""Characters of a cue that are looked at."""
_MOST_TERMS = 128

SAME = 0.9
"""Share of terms in common above which two texts say the same."""


@dataclass(frozen=True)
class Cue:
    """What is said now, as far as it can remind of something."""

    text: str
    at: datetime
    zone: str = "UTC"

    @cached_property
    def terms(self) -> tuple[str, ...]:
        """Each term once, in order; of a long text, the first."""
        return tuple(dict.fromkeys(terms_of(self.text[:_LONGEST])))[:_MOST_TERMS]

    @cached_property
    def _folded(self) -> str:
        return fold(self.text[:_LONGEST])

    @cached_property
    def spans(self) -> tuple[TimeSpan, ...]:
        """The times that it names."""
        return times_in(self.text, now=self.at, zone=self.zone)

    @cached_property
    def words(self) -> frozenset[str]:
        """Its words as they are spelled, folded."""
        return frozenset(self._folded.split())

    def terms_besides(self, speakers: Iterable[str]) -> tuple[str, ...]:
        """Its terms without names of speakers; all, if none is left.

        People say each other's names and not their own, and whether a speaker is named is scored by itself.
        """
        names = {term for speaker in speakers if speaker for term in terms_of(speaker)}
        return tuple(term for term in self.terms if term not in names) or self.terms

    def names(self, speaker: str) -> bool:
        """Whether a speaker is named."""
        name = fold(speaker)
        if is_unspaced(speaker):
            return name.strip() in self._folded
        return any(part in self.words for part in name.split() if len(part) > 1)

    def shared(self, text: str) -> tuple[str, ...]:
        """Words of the cue that a text holds too, as the cue spells them; pairs of characters in unspaced scripts."""
        terms = frozenset(terms_of(text))
        found = [word for word, stems in self._spelled.items() if not stems.isdisjoint(terms)]
        return tuple(found) or tuple(term for term in self.terms if len(term) > 1 and term in terms)

    @cached_property
    def _spelled(self) -> dict[str, frozenset[str]]:
        """The stems of each spaced word that is no function word of the text's language."""
        terms = frozenset(self.terms)
        words = (word for word in self._folded.split() if not is_unspaced(word))
        return {word: stems for word in words if (stems := terms.intersection(terms_of(word)))}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the indexes say of one person's memories, and how their turns follow each other."""

    memories: Mapping[str, Memory]
    cosines: Mapping[str, float] = field(default_factory=dict[str, float])
    bm25: Mapping[str, float] = field(default_factory=dict[str, float])
    """Not negative; what has no term in common with the cue is missing."""
    before: Mapping[str, str] = field(default_factory=dict[str, str])
    """The turn said before a turn, by id."""
    after: Mapping[str, str] = field(default_factory=dict[str, str])


def rank(cue: Cue, evidence: Evidence, *, curve: Curve | None, weights: Weights = WEIGHTS) -> list[MemoryHit]:
    """Every memory of the evidence that fits at all, with its score, best first; of equally good ones, the newest.

    Args:
        cue: What is said now.
        evidence: Memories and what is known of them.
        curve: How memories fade; None leaves retention out.
        weights: What each part counts.
    """
    scorer = _Scorer(cue, evidence, curve, weights)
    hits = [scorer.hit(memory) for memory in evidence.memories.values()]
    return sorted(
        (hit for hit in hits if hit.score > 0),
        key=lambda hit: (-hit.score, -hit.memory.observed_at.timestamp(), hit.memory.id),
    )


class _Scorer:
    def __init__(self, cue: Cue, evidence: Evidence, curve: Curve | None, weights: Weights) -> None:
        self._cue = cue
        self._weights = weights
        self._evidence = evidence
        self._curve = curve
        cosines = _normalised(evidence.cosines)
        bm25 = _normalised(evidence.bm25)
        self._meaning = {key: weights.meaning * cosines.get(key, 0.0) for key in evidence.memories}
        self._words = {key: (1 - weights.meaning) * bm25.get(key, 0.0) for key in evidence.memories}
        self._named: dict[str, bool] = {}

    def hit(self, memory: Memory) -> MemoryHit:
        sums = {name: part for name, part in self._sums(memory).items() if part}
        factors = self._factors(memory)
        score = sum(sums.values())
        for factor in factors.values():
            score *= factor
        return MemoryHit(memory=memory, score=score, why={**sums, **factors})

    def _sums(self, memory: Memory) -> dict[str, float]:
        return {
            "meaning": self._meaning[memory.id],
            "words": self._words[memory.id],
            "neighbours": self._neighbours(memory),
            "speaker": self._weights.speaker * self._speaker_named(memory.speaker),
            "time": self._weights.time * any(span.covers(memory.observed_at) for span in self._cue.spans),
        }

    def _factors(self, memory: Memory) -> dict[str, float]:
        factors = {"importance": 1 - self._weights.importance * (1 - memory.importance)}
        if self._curve is not None:
            lost = 1 - self._curve.retention(memory, self._cue.at)
            factors["retention"] = 1 - self._weights.retention * lost
        return factors

    def _neighbours(self, memory: Memory) -> float:
        share = 0.0
        if (before := self._evidence.before.get(memory.id)) in self._meaning:
            asked = asks(self._evidence.memories[before].text)
            share += (self._weights.answer if asked else self._weights.beside) * self._relevance(before)
        if (after := self._evidence.after.get(memory.id)) in self._meaning:
            share += self._weights.beside * self._relevance(after)
        return share

    def _relevance(self, key: str) -> float:
        return self._meaning[key] + self._words[key]

    def _speaker_named(self, speaker: str) -> bool:
        if speaker not in self._named:
            self._named[speaker] = bool(speaker) and self._cue.names(speaker)
        return self._named[speaker]


def _normalised(scores: Mapping[str, float]) -> dict[str, float]:
    """Each score as a share of the best; what is not above 0 is 0."""
    best = max(scores.values(), default=0.0)
    return {key: max(0.0, score) / best for key, score in scores.items()} if best > 0 else {}


# --- which may be recalled --------------------------------------------------------------------------------


def is_visible(memory: Memory, who: Identity) -> bool:
    """Whether everyone who is present now was present when it was said; the person themselves always was."""
    return who.others <= {*memory.audience}


def is_current(memory: Memory, at: datetime) -> bool:
    """Whether it still holds: not refuted, not superseded, not lapsed."""
    if memory.status is MemoryStatus.REFUTED or memory.superseded_by is not None:
        return False
    if memory.valid_until is not None and memory.valid_until <= at:
        return False
    lapses = memory.status is MemoryStatus.UNCONFIRMED and memory.expires_at is not None
    return not (lapses and memory.expires_at is not None and memory.expires_at <= at)


def distinct(hits: Sequence[MemoryHit]) -> Iterator[MemoryHit]:
    """The hits without those that say the same as a better one."""
    said: list[frozenset[str]] = []
    for hit in hits:
        terms = frozenset(terms_of(hit.memory.text)) or frozenset((hit.memory.text,))
        if any(_same(terms, other) for other in said):
            continue
        said.append(terms)
        yield hit


def _same(one: frozenset[str], other: frozenset[str]) -> bool:
    return len(one & other) >= SAME * len(one | other)


# --- in words ---------------------------------------------------------------------------------------------

_MOST_WORDS = 4
_SAID = frozenset({MemoryKind.TURN, MemoryKind.FACT, MemoryKind.PREFERENCE})


def reason(hit: MemoryHit, cue: Cue) -> str:
    """Why it was recalled, such as "said on 2 May 2023; shares 'museum' and 'exhibition'"."""
    return "; ".join(_reasons(hit, cue))


def _reasons(hit: MemoryHit, cue: Cue) -> Iterator[str]:
    memory, why = hit.memory, hit.why
    day = memory.observed_at.astimezone(ZoneInfo(cue.zone))
    date = f"{day.day} {_MONTHS[day.month - 1]} {day.year}"
    yield f"{'said' if memory.kind in _SAID else 'from'} {'on ' if memory.kind in _SAID else ''}{date}" + (
        ", the time that is asked about" if "time" in why else ""
    )
    if shared := cue.shared(memory.text)[:_MOST_WORDS]:
        quoted = [f"'{word}'" for word in shared]
        yield f"shares {' and '.join([', '.join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)}"
    if why.get("meaning", 0) > why.get("words", 0):
        yield "close in meaning"
    if why.get("neighbours", 0) > why.get("meaning", 0) + why.get("words", 0):
        yield "said beside what fits better"
    if "speaker" in why:
        yield f"said by {memory.speaker}"
    if memory.archived:
        yield "had faded"


_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip

"""Recall on a real store and index: what is found, in which order, why, and what must never be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from mentalize.memory.importance import importance_of
from mentalize.memory.index import VectorIndex
from mentalize.memory.recall import Recall, tokens_of
from mentalize.memory.retention import Curve
from mentalize.memory.store import Filter, MemoryStore
from mentalize.types import Identity, Memory, MemoryHit, MemoryKind, MemoryStatus, Recollection

NOW = datetime(2026, 5, 7, 12, tzinfo=UTC)
ANA = Identity("test", "ana")
DIMENSIONS = 4
EMBEDDER = "four"


class Person:
    """One person's memories, their vectors given by hand."""

    def __init__(self, store: MemoryStore, who: Identity = ANA) -> None:
        self.who = who
        self._store = store
        index = VectorIndex(store, EMBEDDER, DIMENSIONS)
        self.index = index
        self.ranking = Recall(store, index, Curve())
        self._said = 0

    def says(self, text: str, *, days: float = 1, speaker: str = "ana", session: str = "1", **values: object) -> str:
        """A turn that was said so many days ago; later ones were said later on that day."""
        self._said += 1
        key = f"turn {self._said}"
        at = NOW - timedelta(days=days) + timedelta(seconds=self._said)
        self.keep(key, text, MemoryKind.TURN, at=at, speaker=speaker, session=session, **values)
        return key

    def keep(self, key: str, text: str, kind: MemoryKind, *, at: datetime = NOW, **values: object) -> None:
        made = Memory(id=key, kind=kind, text=text, observed_at=at, importance=importance_of(kind, text))
        self._store.add(self.who, [replace(made, **values)])  # type: ignore[arg-type]

    def means(self, vectors: dict[str, tuple[float, ...]]) -> None:
        entries = self._store.outbox(EMBEDDER, limit=1_000, who=self.who)
        nothing = (0.0, 0.0, 0.0, 1.0)
        rows = np.array([vectors.get(entry.id, nothing) for entry in entries], dtype=np.float32)
        self._store.indexed(EMBEDDER, entries, rows, dimensions=DIMENSIONS)

    def recall(
        self,
        text: str,
        vector: tuple[float, ...] | None = None,
        *,
        who: Identity | None = None,
        limit: int = 12,
        tokens: int = 1_200,
    ) -> Recollection:
        made = None if vector is None else np.array(vector, dtype=np.float32)
        return self.ranking.recall(who or self.who, text, made, at=NOW, limit=limit, tokens=tokens)

    def search(self, text: str, which: Filter | None = None) -> tuple[MemoryHit, ...]:
        return self.ranking.search(self.who, text, None, at=NOW, limit=10, which=which)


def ids(found: Recollection | tuple[MemoryHit, ...]) -> list[str]:
    return [hit.memory.id for hit in (found.hits if isinstance(found, Recollection) else found)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MemoryStore]:
    made = MemoryStore(f"sqlite:///{tmp_path / 'memory.db'}", clock=lambda: NOW)
    yield made
    made.close()


@pytest.fixture
def ana(store: MemoryStore) -> Iterator[Person]:
    person = Person(store)
    yield person
    person.index.close()


def test_words_and_meaning_are_summed(ana: Person) -> None:
    words = ana.says("The museum was closed on Monday.", session="a")
    meaning = ana.says("We saw paintings by Monet.", session="b")
    both = ana.says("The museum showed Monet.", session="c")
    ana.says("I bought bread.", session="d")
    ana.means({words: (0, 1, 0, 0), meaning: (1, 0, 0, 0), both: (0.8, 0.6, 0, 0)})
    found = ana.recall("Which museum did we see?", (1, 0, 0, 0))
    assert ids(found)[0] == both
    assert set(ids(found)[1:3]) == {words, meaning}
    why = found.hits[0].why
    assert why["words"] > 0
    assert why["meaning"] > 0
    sums = why["words"] + why["meaning"]
    assert found.hits[0].score == pytest.approx(sums * why["importance"] * why["retention"])


def test_without_a_vector_words_are_enough(ana: Person) -> None:
    ana.says("I bought bread.", session="a")
    cat = ana.says("My cat is called Whiskers.", session="b")
    assert ids(ana.recall("What is my cat's name?")) == [cat]


@pytest.mark.parametrize(
    ("said", "other", "asked"),
    [
        ("我养了一只橘猫，名字叫豆豆。", "我昨天吃了火锅。", "我的猫叫什么名字？"),
        ("تعيش أختي نورة في لشبونة.", "اشتريت خبزا من السوق.", "أين تسكن أختي؟"),
        ("Mi hermana Nora vive en Lisboa.", "Compré pan en el mercado.", "¿Dónde está mi hermana?"),
    ],
)
def test_other_languages_even_where_the_embedder_cannot_read_them(
    ana: Person, said: str, other: str, asked: str
) -> None:
    ana.says(other, session="a")
    right = ana.says(said, session="b")
    ana.means({})  # all vectors alike, as those of an English model are for Chinese
    assert ids(ana.recall(asked, (0, 0, 0, 1)))[0] == right


def test_an_answer_is_found_by_its_question(ana: Person) -> None:
    ana.says("Which exhibition did you see at the museum?", speaker="assistant")
    answer = ana.says("Mostly silk and old bronze, from the Tang dynasty.")
    ana.says("I am tired, my feet hurt from the long walk home.", session="2")
    found = ana.recall("What did I see in the museum exhibition?")
    assert answer in ids(found)
    hit = found.hits[ids(found).index(answer)]
    assert hit.why["neighbours"] > 0
    assert "beside" in hit.reason


def test_a_named_day_outweighs_words(ana: Person) -> None:
    museum = ana.says("The museum was great, the museum shop too.", days=20, session="a")
    that_day = ana.says("I stayed in bed and read Persuasion.", days=5, session="b")
    assert ids(ana.recall("What did I do in the museum?"))[0] == museum
    found = ana.recall("On May 2nd, did I go to a museum?")
    assert ids(found)[0] == that_day
    assert found.hits[0].reason.startswith("said on 2 May 2026, the time that is asked about")


def test_the_zone_of_the_person_decides_the_day(ana: Person) -> None:
    late = ana.says("I flew to Oslo.", days=4.6)  # 2 May, 21:36 in UTC; 3 May in Tokyo
    assert "time" in ana.recall("What was on May 2nd?").hits[0].why
    tokyo = ana.recall("What was on May 3rd?", who=replace(ANA, zone="Asia/Tokyo"))
    assert ids(tokyo) == [late]
    assert "said on 3 May 2026" in tokyo.hits[0].reason


def test_a_named_speaker_comes_first(ana: Person) -> None:
    ana.says("I adopted a kitten, Jon!", speaker="Gina", session="a", days=2)
    jon = ana.says("I adopted a kitten, too.", speaker="Jon", session="b", days=2)
    found = ana.recall("Did Jon adopt a kitten?")
    assert ids(found)[0] == jon
    assert "said by Jon" in found.hits[0].reason


def test_what_is_fresh_or_was_used_comes_first(ana: Person) -> None:
    old = ana.says("I like green tea best.", days=12, session="a")
    fresh = ana.says("I like black tea best.", days=1, session="b")
    assert ids(ana.recall("Which tea do I like?")) == [fresh, old]
    for turn in range(9):
        ana._store.strengthen(ANA, [old], turn=f"{turn}", at=NOW)
    assert ids(ana.recall("Which tea do I like?")) == [old, fresh]
    assert ana.recall("Which tea do I like?").hits[1].why["retention"] >= 0.7


def test_archived_memories_want_a_strong_cue(ana: Person) -> None:
    faded = ana.says("My locker code at the swimming pool is 4711.", days=90, session="a")
    ana.says("The pool was cold, and I swam long in the swimming lane of the pool.", days=1, session="b")
    ana._store.archive(ANA, [faded])
    assert faded in ids(ana.recall("What is the code of my locker?"))
    assert "had faded" in ana.recall("What is the code of my locker?").hits[0].reason
    assert faded not in ids(ana.recall("I was swimming long in the cold pool lane."))
    assert faded in ids(ana.search("I was swimming long in the cold pool lane."))


def test_what_does_not_hold_is_not_recalled_but_can_be_searched(ana: Person) -> None:
    ana.keep("refuted", "Likes jazz music.", MemoryKind.INFERENCE, status=MemoryStatus.REFUTED)
    ana.keep("lapsed", "Hates jazz music.", MemoryKind.INFERENCE, status=MemoryStatus.UNCONFIRMED, expires_at=NOW)
    ana.keep("guess", "Plays jazz music.", MemoryKind.INFERENCE, status=MemoryStatus.UNCONFIRMED)
    ana.keep("old", "Owns three jazz records of music.", MemoryKind.FACT, at=NOW - timedelta(days=9))
    new = Memory(id="new", kind=MemoryKind.FACT, text="Owns five jazz records of music.", observed_at=NOW)
    ana._store.supersede(ANA, ["old"], new)
    assert set(ids(ana.recall("jazz music"))) == {"guess", "new"}
    assert set(ids(ana.search("jazz music"))) == {"refuted", "lapsed", "guess", "old", "new"}
    assert set(ids(ana.search("jazz music", Filter(current=True)))) == {"guess", "new"}
    assert ids(ana.search("jazz music", Filter(statuses=(MemoryStatus.REFUTED,)))) == ["refuted"]


def test_nothing_is_told_to_who_was_not_there(ana: Person) -> None:
    ana.says("My therapist says that I am depressed.", session="private")
    ana.says("Bob was with us at the therapist's party.", session="party", audience=("bob", "eve"))
    private, shared = ana.says("Therapist again.", session="private"), "turn 2"
    alone = ids(ana.recall("therapist"))
    assert {private, shared, "turn 1"} == set(alone)
    for who in (
        replace(ANA, audience=("bob",)),
        replace(ANA, speaker="eve"),
        replace(ANA, speaker="bob", audience=("eve",)),
    ):
        found = ana.recall("therapist", who=who)
        assert ids(found) == [shared]
        assert not found.neighbours
    assert not ana.recall("therapist", who=replace(ANA, audience=("bob", "mallory"))).hits
    assert not ana.recall("therapist", who=Identity("test", "bob")).hits
    assert not ana.recall("therapist", who=Identity("other", "ana")).hits


def test_the_same_said_twice_is_recalled_once(ana: Person) -> None:
    ana.says("I have a peanut allergy.", days=3, session="a")
    again = ana.says("I have a peanut allergy!", days=1, session="b")
    assert ids(ana.recall("Do I have an allergy?")) == [again]


def test_the_setting_is_no_hit_and_costs_nothing(ana: Person) -> None:
    ana.keep("scenario", "The assistant is a gardener.", MemoryKind.SCENARIO)
    found = ana.recall("Is the assistant a gardener?")
    assert not found.hits and found.tokens == 0


def test_of_a_very_long_message_the_beginning_says_how_important_it_is() -> None:
    filler, rich = "so " * 10_000, "My sister Marta lost the harbour bakery in Lisbon after nine years."
    assert importance_of(MemoryKind.TURN, rich + filler) == importance_of(MemoryKind.TURN, rich) > 0
    assert importance_of(MemoryKind.TURN, filler + rich) == 0


def test_the_budget_is_kept(ana: Person) -> None:
    ana.keep("portrait", "Gentle and curious. " * 4, MemoryKind.PORTRAIT)
    ana.keep("summary", "She moved to Lisbon and sings. " * 4, MemoryKind.SUMMARY)
    for number in range(30):
        ana.says(f"Song number {number}: I sang it in the {number}th concert in Lisbon.", session=f"{number // 3}")
    for tokens in (0, 20, 100, 300, 1_200):
        found = ana.recall("Which song did I sing in the concert?", tokens=tokens)
        beside = [memory for group in found.neighbours.values() for memory in group]
        shown = [*(hit.memory for hit in found.hits), *beside]
        texts = [memory.text for memory in (*shown, found.portrait, found.summary) if memory is not None]
        assert sum(tokens_of(text) for text in texts) <= found.tokens <= tokens
        assert len({memory.id for memory in shown}) == len(shown)
    assert len(found.hits) == 12
    assert found.portrait is not None
    assert found.summary is not None
    assert found.neighbours
    assert len(ana.recall("Which song did I sing?", limit=2).hits) == 2


def test_neighbours_stand_in_the_order_in_which_they_were_said(ana: Person) -> None:
    before = ana.says("Guess what happened at work, it is quite a story.")
    said = ana.says("They promoted me to head nurse!")
    after = ana.says("Congratulations, I am happy for you.", speaker="assistant")
    ana.says("A parcel came.", session="2")
    found = ana.recall("Who was promoted to head nurse?", limit=1)
    assert ids(found) == [said]
    assert [memory.id for memory in found.neighbours[said]] == [before, after]


def test_nothing_known_is_nothing_recalled(ana: Person) -> None:
    assert ana.recall("Hello?", (1, 0, 0, 0)) == Recollection()
    assert ana.search("Hello?") == ()


def test_a_very_long_message_is_taken(ana: Person) -> None:
    cat = ana.says("My cat is called Whiskers.")
    assert ids(ana.recall("cat " + "word " * 50_000)) == [cat]

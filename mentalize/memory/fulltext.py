"""FullText: which memories of one person hold a term, by SQLite's FTS5 or PostgreSQL's tsvector, and BM25 over them.

Each term is stored with the person's key in front, `17§river`. So a term's list holds one person's memories only: what
a search reads grows with that person's memories and not with the database, and nobody else's can match.

BM25 (Robertson & Zaragoza 2009, "The probabilistic relevance framework") is computed here from the lists, with document
frequencies of that one person. The databases' own ranks cannot do that: FTS5's bm25() counts rows over all people, and
PostgreSQL's ts_rank knows no document frequency.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Protocol

from sqlalchemy import Connection, text

from .database import batches

INDEXED_CHARACTERS = 20_000
"""How much of a text is searchable by its words."""

_MOST_POSTINGS = 5_000
"""Entries of the terms' lists that one search reads, about. Only people with many thousand memories come to it; then
the most frequent terms, which say the least, are left out."""

_K1, _B = 1.2, 0.75
_LONGEST_TERM = 64
_SEPARATOR = "§"
_NOT_A_LETTER = re.compile(r"[\x00-/:-@\[-`{-\x7f]+")


Posting = tuple[int, int, int]
"""A memory's number, how often it holds a term, and how many terms it has in all."""


class FullText(Protocol):
    """The lists of terms, in one kind of database."""

    def write(self, connection: Connection, person: int, texts: Iterable[tuple[int, Sequence[str]]]) -> None:
        """Take in the terms of new memories, given by their numbers."""
        ...

    def remove(self, connection: Connection, memories: Sequence[int]) -> None:
        """Take memories out, by their numbers."""
        ...

    def frequencies(self, connection: Connection, tokens: Sequence[str]) -> dict[str, int]:
        """How many memories hold each token; those that none holds are left out."""
        ...

    def postings(self, connection: Connection, person: int, token: str) -> list[Posting]:
        """Which of this person's memories hold a token."""
        ...

    def faults(self, connection: Connection) -> list[str]:
        """Memories without terms and terms without memories."""
        ...


def score(
    fulltext: FullText, connection: Connection, person: int, terms: Sequence[str], *, size: int, mean_length: float
) -> list[tuple[int, float]]:
    """Numbers of memories that hold any of the terms, with BM25, best first.

    Args:
        fulltext: The lists.
        connection: An open transaction.
        person: The person's key.
        terms: As `terms.terms_of` makes them.
        size: How many memories the person has.
        mean_length: How many terms each has, on average.
    """
    tokens = sorted({_token(person, term) for term in terms})
    scores: dict[int, float] = {}
    flat, slope = _K1 * (1 - _B), _K1 * _B / mean_length
    for token, frequency in _affordable(fulltext.frequencies(connection, tokens)):
        weight = (_K1 + 1) * math.log(1 + (size - frequency + 0.5) / (frequency + 0.5))
        for memory, often, length in fulltext.postings(connection, person, token):
            scores[memory] = scores.get(memory, 0.0) + weight * often / (often + flat + slope * length)
    return sorted(scores.items(), key=lambda item: (-item[1], -item[0]))


def _affordable(frequencies: dict[str, int]) -> list[tuple[str, int]]:
    """Tokens and their document frequencies, the rarest first, as far as their lists are not too long together."""
    rarest = sorted(frequencies.items(), key=lambda item: item[1])
    read = accumulate(frequency for _, frequency in rarest)
    return [item for item, total in zip(rarest, read, strict=True) if total <= _MOST_POSTINGS] or rarest[:1]


def _token(person: int, term: str) -> str:
    """A term as it is stored: no character in it means anything to either database."""
    return f"{person}{_SEPARATOR}{_NOT_A_LETTER.sub('·', term)[:_LONGEST_TERM]}"


class SqliteFullText:
    """FTS5, with the tokenizer that splits at ASCII characters only; the terms are made by `terms.terms_of`."""

    def write(self, connection: Connection, person: int, texts: Iterable[tuple[int, Sequence[str]]]) -> None:
        rows = [(number, " ".join(_token(person, term) for term in terms)) for number, terms in texts]
        if rows:
            connection.exec_driver_sql("INSERT INTO terms (rowid, words) VALUES (?, ?)", rows)

    def remove(self, connection: Connection, memories: Sequence[int]) -> None:
        if memories:
            connection.exec_driver_sql("DELETE FROM terms WHERE rowid = ?", [(number,) for number in memories])

    def frequencies(self, connection: Connection, tokens: Sequence[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        for batch in batches(tokens):
            places = ", ".join("?" * len(batch))
            query = f"SELECT term, doc FROM term_frequencies WHERE term IN ({places})"
            found.update((row[0], row[1]) for row in connection.exec_driver_sql(query, tuple(batch)))
        return found

    def postings(self, connection: Connection, person: int, token: str) -> list[Posting]:
        # The index holds all that is read of `memories`, whose rows are long.
        query = """
            SELECT places.doc, places.often, memories.length
            FROM (SELECT doc, count(*) AS often FROM term_places WHERE term = ? GROUP BY doc) AS places
            CROSS JOIN memories INDEXED BY memories_by_length ON memories.person = ? AND memories.number = places.doc
        """
        rows = connection.exec_driver_sql(query, (token, person)).all()
        return [(memory, often, length) for memory, often, length in rows]

    def faults(self, connection: Connection) -> list[str]:
        missing = "SELECT number FROM memories EXCEPT SELECT rowid FROM terms"
        stray = "SELECT rowid FROM terms EXCEPT SELECT number FROM memories"
        return _faults(connection, missing, stray)


_TS_RANK_WEIGHT, _TS_RANK_SCALE = 0.1, 1.64493406685
_TS_RANK_SUMS = list(accumulate(1 / (n * n) for n in range(1, 65)))
"""ts_rank of one term that occurs n times is 0.1 · (1 + 1/4 + … + 1/n²) / (π²/6)."""


class PostgresFullText:
    """A tsvector column with a GIN index. How often a term occurs is read back from ts_rank, the only quick way."""

    def write(self, connection: Connection, person: int, texts: Iterable[tuple[int, Sequence[str]]]) -> None:
        rows = [{"memory": number, "words": self._words(person, terms)} for number, terms in texts]
        if rows:
            insertion = text("INSERT INTO terms (memory, words) VALUES (:memory, CAST(:words AS tsvector))")
            connection.execute(insertion, rows)

    def remove(self, connection: Connection, memories: Sequence[int]) -> None:
        if memories:
            connection.execute(text("DELETE FROM terms WHERE memory = ANY(:memories)"), {"memories": list(memories)})

    def frequencies(self, connection: Connection, tokens: Sequence[str]) -> dict[str, int]:
        query = text(
            """
            SELECT tokens.token, count(*)
            FROM unnest(CAST(:tokens AS text[])) AS tokens (token)
            JOIN terms ON terms.words @@ CAST(quote_literal(tokens.token) AS tsquery)
            GROUP BY tokens.token
            """
        )
        return {row[0]: row[1] for row in connection.execute(query, {"tokens": list(tokens)})}

    def postings(self, connection: Connection, person: int, token: str) -> list[Posting]:
        query = text(
            """
            SELECT terms.memory, ts_rank(terms.words, query), memories.length
            FROM CAST(:query AS tsquery) AS query
            JOIN terms ON terms.words @@ query
            JOIN memories ON memories.person = :person AND memories.number = terms.memory
            """
        )
        rows = connection.execute(query, {"query": f"'{token}'", "person": person})
        return [(number, self._frequency(rank), length) for number, rank, length in rows]

    def faults(self, connection: Connection) -> list[str]:
        missing = "SELECT number FROM memories EXCEPT SELECT memory FROM terms"
        stray = "SELECT memory FROM terms EXCEPT SELECT number FROM memories"
        return _faults(connection, missing, stray)

    @staticmethod
    def _words(person: int, terms: Sequence[str]) -> str:
        """As tsvector's text form. Only the number of places matters, and one lexeme may have 255."""
        counts = Counter(_token(person, term) for term in terms)
        return " ".join(f"'{token}':{','.join(map(str, range(1, min(n, 255) + 1)))}" for token, n in counts.items())

    @staticmethod
    def _frequency(rank: float) -> int:
        # float4 has about seven digits.
        return bisect_left(_TS_RANK_SUMS, rank * _TS_RANK_SCALE / _TS_RANK_WEIGHT - 1e-5) + 1


def _faults(connection: Connection, missing: str, stray: str) -> list[str]:
    unfindable = [f"memory {number} is not searchable by its words" for number in connection.scalars(text(missing))]
    gone = [f"the full-text index holds memory {number}, which is gone" for number in connection.scalars(text(stray))]
    return unfindable + gone

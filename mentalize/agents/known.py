"""Known: what was worked out about the same words before, so that no model is asked for it again."""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from cachetools import TTLCache

from .paraphrase import wording_of

__all__ = ["CacheCounts", "Known"]

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class CacheCounts:
    """How a cache has done since this process began."""

    name: str
    hits: int
    """Lookups that found something."""
    misses: int
    """Lookups that did not."""
    entries: int
    """What it holds now."""


class Known(Generic[Value]):
    """Values by what a text says (`wording_of`), apart for each scope.

    Texts are not kept: what is looked up is a digest with a salt of this process.

    Args:
        name: What it holds, for metrics.
        size: How many values; the least recently used go first.
        seconds: How long one is kept.
    """

    def __init__(self, name: str, *, size: int = 20_000, seconds: float = 3_600.0) -> None:
        self._name = name
        self._salt = secrets.token_hex(16)
        self._values = TTLCache[bytes, Value](size, seconds)
        self._lock = threading.Lock()
        self._hits = self._misses = 0

    @property
    def counts(self) -> CacheCounts:
        """How it has done."""
        with self._lock:
            return CacheCounts(self._name, self._hits, self._misses, len(self._values))

    def find(self, scope: Sequence[str], text: str) -> Value | None:
        """What is known for a text that says the same, in the same scope."""
        key = self._key(scope, text)
        with self._lock:
            value = self._values.get(key)
            self._hits += value is not None
            self._misses += value is None
        return value

    def keep(self, scope: Sequence[str], text: str, value: Value) -> None:
        """Keep what was found out.

        Args:
            scope: All that the value depends on beside the text, and whose it is.
            text: What it is about.
            value: What is known of it; not None.
        """
        key = self._key(scope, text)
        with self._lock:
            self._values[key] = value

    def forget(self) -> None:
        """Drop everything: who asked for what cannot be told from digests."""
        with self._lock:
            self._values.clear()

    def _key(self, scope: Sequence[str], text: str) -> bytes:
        return hashlib.sha256(json.dumps([self._salt, *scope, wording_of(text)]).encode()).digest()

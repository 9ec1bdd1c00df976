"""KeptTraces: how the last turns without an identity came about, for a quarter of an hour, in this process alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cachetools import LRUCache, TTLCache

if TYPE_CHECKING:
    from ..types import Trace

CALLERS = 64
"""Callers whose traces are kept; who asked longest ago goes first."""

CHARACTERS = 4_000_000
"""Characters of the traces of one caller, about."""

SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class _Kept:
    trace: Trace
    weight: int


class KeptTraces:
    """Traces of turns of nobody in particular, by tenant and caller. Those of a person are in memory, as theirs."""

    def __init__(self) -> None:
        self._kept: LRUCache[tuple[str, str], TTLCache[str, _Kept]] = LRUCache(CALLERS)

    def keep(self, tenant: str, caller: str, trace: Trace) -> None:
        """Keep one for a while, unless it is too long to be kept."""
        weight = sum(len(str(message.content)) for record in trace.requests for message in record.messages)
        weight += sum(len(record.answer) for record in trace.requests)
        if weight < CHARACTERS:
            own = self._kept.setdefault(
                (tenant, caller), TTLCache(CHARACTERS, SECONDS, getsizeof=lambda one: one.weight)
            )
            own[trace.turn_id] = _Kept(trace, weight)

    def get(self, tenant: str, caller: str, turn_id: str) -> Mapping[str, Any] | None:
        """One as JSON, while it is kept."""
        from pydantic import TypeAdapter

        from ..types import Trace

        own = self._kept.get((tenant, caller))
        kept = None if own is None else own.get(turn_id)
        return None if kept is None else TypeAdapter(Trace).dump_python(kept.trace, mode="json")

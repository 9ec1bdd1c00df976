"""KeptTraces: how the last turns without an identity came about, for a quarter of an hour, in this process alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cachetools import TTLCache

if TYPE_CHECKING:
    from ..types import Trace

MOST = 512
SECONDS = 900.0


class KeptTraces:
    """Traces of turns of nobody in particular, by tenant and caller. Those of a person are in memory, as theirs."""

    def __init__(self) -> None:
        self._kept: TTLCache[tuple[str, str, str], Trace] = TTLCache(MOST, SECONDS)

    def keep(self, tenant: str, caller: str, trace: Trace) -> None:
        """Keep one for a while."""
        self._kept[tenant, caller, trace.turn_id] = trace

    def get(self, tenant: str, caller: str, turn_id: str) -> Mapping[str, Any] | None:
        """One as JSON, while it is kept."""
        from pydantic import TypeAdapter

        from ..types import Trace

        trace = self._kept.get((tenant, caller, turn_id))
        return None if trace is None else TypeAdapter(Trace).dump_python(trace, mode="json")

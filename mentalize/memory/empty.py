"""EmptyStore: remembers nothing."""

from __future__ import annotations

from datetime import datetime

from ..types import Identity, Recollection


class EmptyStore:
    """A `Store` for turns without memory."""

    async def recall(self, identity: Identity, text: str, *, at: datetime, limit: int) -> Recollection:
        """Nothing."""
        return Recollection()

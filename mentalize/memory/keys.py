"""Keys: who may ask the endpoint, for which tenant, and within which limits."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, TypedDict, Unpack, cast

from ..errors import InputError

if TYPE_CHECKING:
    from .store import MemoryStore
    from .threads import Threads

FORM = re.compile("mz-(?P<id>[a-z0-9]{10})-[A-Za-z0-9_-]{43}")
"""What a key looks like."""

FEWEST_BYTES = 1_024
"""The lowest limit on the size of a body."""

USER_SOURCES = (
    "body.mentalize.user",
    "x-mentalize-user",
    "x-openwebui-user-id",
    "x-litellm-end-user-id",
    "x-litellm-customer-id",
    "body.user",
)
"""Where a request says who its user is, in this order, if its key does not say where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What may be asked with one key; 1 or more. None is no limit of its own: the settings' default holds."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_turns: int | None = None
    body_bytes: int | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            limit = cast("object", getattr(self, field.name))
            if limit is not None and (type(limit) is not int or limit < 1):
                raise InputError(
                    f"The limit {field.name} is {limit!r}.", hint="Give a whole number from 1, or none for the default."
                )
        if self.body_bytes is not None and self.body_bytes < FEWEST_BYTES:
            raise InputError(
                f"The limit body_bytes is {self.body_bytes}.",
                hint=f"Give {FEWEST_BYTES:,} or more: less holds no request.",
            )


USUAL = Limits()
"""No limits of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """What is known of a key. The key itself is not: only a hash of it is kept."""

    id: str
    """The public part, which may be shown and logged."""
    tenant: str
    name: str = ""
    """What the operator calls it."""
    trusted: bool = False
    """Whether requests may name their user: the key is an app's whose server tells users apart."""
    operator: bool = False
    """Whether it also opens what is for those who run the server."""
    user: str | None = None
    """The one person that it always speaks for."""
    user_sources: tuple[str, ...] = ()
    """As it was made; `sources` is what holds."""
    limits: Limits = USUAL
    created_at: datetime
    revoked_at: datetime | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """Where a request names its user, the first that is there: a header in lower case, `body.user`,
        `body.mentalize.user` or `body.metadata.NAME`. Empty if it may not.
        """
        return (self.user_sources or USER_SOURCES) if self.trusted else ()


class KeyOptions(TypedDict, total=False):
    """What can be said of a key when it is made."""

    name: str
    """What the operator calls it."""
    trusted: bool
    """Whether requests may name their user."""
    operator: bool
    """Whether it also opens what is for those who run the server."""
    user: str | None
    """The one person that it always speaks for."""
    user_sources: tuple[str, ...]
    """Where requests name their user, in order; `USER_SOURCES`, if not given."""
    limits: Limits
    """Where it may do more or less than others."""


class Keys:
    """The keys of one database, for async callers. `memories.keys` is one.

    Raises, from every method:
        StoreError: the database cannot be read or written.
    """

    def __init__(self, store: MemoryStore, readers: Threads, writers: Threads) -> None:
        self._store = store
        self._readers = readers
        self._writers = writers

    async def create(self, tenant: str, **how: Unpack[KeyOptions]) -> tuple[ApiKey, str]:
        """Make a key; what is known of it, and the key itself, which cannot be had again.

        Args:
            tenant: The app or customer that it stands for.
            how: What it may do, and within which limits.

        Raises:
            InputError: a part is malformed or contradicts another.
        """
        return await self._writers.run(lambda: self._store.keys.create(tenant, **how))

    async def find(self, secret: str) -> ApiKey | None:
        """What is known of the key that a request brings; None if it is unknown, malformed or revoked."""
        return await self._readers.run(lambda: self._store.keys.find(secret))

    async def listed(self, tenant: str | None = None) -> tuple[ApiKey, ...]:
        """All keys, or a tenant's, the oldest first; revoked ones too."""
        return await self._readers.run(lambda: self._store.keys.listed(tenant))

    async def revoke(self, key_id: str, /, tenant: str | None = None) -> ApiKey:
        """End a key. Done twice, it changes nothing. Raises InputError if there is none, or not of this tenant."""
        return await self._writers.run(lambda: self._store.keys.revoke(key_id, tenant))

    async def any(self, *, even_revoked: bool = False) -> bool:
        """Whether there is a key that is not revoked; or whether there ever was one."""
        return await self._readers.run(lambda: self._store.keys.any(even_revoked=even_revoked))

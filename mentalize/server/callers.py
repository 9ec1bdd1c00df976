"""Callers: who sent a request, by its key, and for whose tenant. An unknown caller gets nothing."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from cachetools import LRUCache

from ..errors import StoreError
from ..memory.keys import FORM, USER_SOURCES, ApiKey, Keys
from ..settings import KeyLimits, ServerSettings
from .faults import Fault

FRESH_SECONDS = 5.0
"""How long what was read about a key holds: a revoked key ends after so long."""

STALE_SECONDS = 120.0
"""How long it holds while the database cannot be asked."""

_KEYS = 4_096
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via", "cf-connecting-ip")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks."""

    tenant: str
    key: str | None
    """The key's id; None for somebody on this machine, without one."""
    operator: bool
    """Whether they run this server."""
    user: str | None
    """The one person that they speak for, if so."""
    sources: tuple[str, ...]
    """Where their requests say who the user is, in order; empty if they may not say."""
    limits: KeyLimits

    @property
    def name(self) -> str:
        """What limits are counted under."""
        return self.key or "loopback"


class Callers:
    """Tells callers by their keys.

    While no key was made, whoever is on this machine may call without one, as long as the server listens on loopback
    only; web pages and proxies may not, because they bring in others. A proxy that leaves no trace is not noticed.
    """

    def __init__(self, keys: Keys, settings: ServerSettings) -> None:
        self._keys = keys
        self._settings = settings
        self._open = is_loopback(settings.host)
        self._known: LRUCache[bytes, tuple[float, ApiKey | None]] = LRUCache(_KEYS)
        self._unknown: LRUCache[bytes, tuple[float, ApiKey | None]] = LRUCache(_KEYS)
        self._any: tuple[float, bool] | None = None

    async def of(self, headers: Mapping[str, str], peer: Sequence[object] | None) -> Caller:
        """The caller of a request.

        Args:
            headers: The request's headers, names in lower case.
            peer: Address and port of the connection's other end, as ASGI has it.

        Raises:
            Fault: 401 without a key or with one that does not hold; 403 where a web page or proxy comes without one.
            StoreError: keys cannot be read.
        """
        secret = _secret_in(headers)
        if secret and (key := await self._find(secret)):
            return self._with(key)
        if self._open and not await self._are_there_any():
            return self._without(headers, peer)
        said = "This API key does not hold: it is unknown or revoked." if secret else "There is no API key."
        hint = "Send `Authorization: Bearer KEY`; `mentalize keys create` makes one."
        raise Fault(401, f"{said} {hint}", "invalid_api_key", headers={"www-authenticate": "Bearer"})

    def _with(self, key: ApiKey) -> Caller:
        own = key.limits
        usual = self._settings.limits
        limits = KeyLimits(
            requests_per_minute=own.requests_per_minute or usual.requests_per_minute,
            tokens_per_minute=own.tokens_per_minute or usual.tokens_per_minute,
            concurrent_turns=own.concurrent_turns or usual.concurrent_turns,
            body_bytes=own.body_bytes or usual.body_bytes,
        )
        return Caller(
            tenant=key.tenant, key=key.id, operator=key.operator, user=key.user, sources=key.sources, limits=limits
        )

    def _without(self, headers: Mapping[str, str], peer: Sequence[object] | None) -> Caller:
        if any(name in headers for name in _FORWARDED):
            raise Fault(
                401,
                "A proxy sent this, and there is no API key. Make one: mentalize keys create --tenant NAME",
                "invalid_api_key",
                headers={"www-authenticate": "Bearer"},
            )
        host = _host_of(headers.get("host", ""))
        origin = headers.get("origin")
        near = peer is None or is_loopback(str(peer[0]))
        strange = origin is not None and not self._is_allowed(origin)
        if not near or not is_loopback(host) or strange or headers.get("sec-fetch-site") == "cross-site":
            raise Fault(
                403,
                "Without API keys only programs on this machine may call."
                " Make a key: mentalize keys create --tenant NAME",
                "not_on_this_machine",
            )
        return Caller(
            tenant=self._settings.tenant,
            key=None,
            operator=True,
            user=None,
            sources=USER_SOURCES,
            limits=self._settings.limits,
        )

    def _is_allowed(self, origin: str) -> bool:
        return origin in self._settings.origins or is_loopback(_host_of(origin.partition("://")[2]))

    async def _find(self, secret: str) -> ApiKey | None:
        if FORM.fullmatch(secret) is None:
            return None
        digest, now = hashlib.sha256(secret.encode("utf-8", "replace")).digest(), time.monotonic()
        read = self._known.get(digest) or self._unknown.get(digest)
        if read is not None and now - read[0] < FRESH_SECONDS:
            return read[1]
        try:
            key = await self._keys.find(secret)
        except StoreError:
            if read is not None and now - read[0] < STALE_SECONDS:
                return read[1]
            raise
        # Apart, so that whoever guesses pushes no key out.
        (self._unknown if key is None else self._known)[digest] = now, key
        return key

    async def _are_there_any(self) -> bool:
        now = time.monotonic()
        if self._any is None or now - self._any[0] >= FRESH_SECONDS:
            self._any = now, await self._keys.any(even_revoked=True)
        return self._any[1]


def is_loopback(host: str) -> bool:
    """Whether a name or address means this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _host_of(given: str) -> str:
    """The host of `host:port`, of an IPv6 address in brackets too; empty where it is neither."""
    try:
        return urlsplit(f"//{given}").hostname or ""
    except ValueError:
        return ""


def _secret_in(headers: Mapping[str, str]) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get("api-key", "").strip() or headers.get("x-api-key", "").strip()

"""Keyring: the keys of the endpoint, in the database. Of each only a hash is kept."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from datetime import datetime
from typing import Any, Unpack

from sqlalchemy import Row, insert, select, update

from ..errors import InputError
from ..types import LONGEST_NAME, Identity
from .database import Database
from .keys import FORM, ApiKey, KeyOptions, Limits
from .rows import moment
from .tables import keys

_ID_SIGNS = string.ascii_lowercase + string.digits
_SOURCE = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}|body\.(mentalize\.)?user|body\.metadata\.[A-Za-z0-9_.-]{1,64}")
_SECRETS = frozenset({"authorization", "api-key", "x-api-key", "cookie"})
"""Headers that would make a secret somebody's name."""
_COLUMNS = tuple(field.name for field in fields(ApiKey))
_OF_NO_KEY = bytes(hashlib.sha256().digest_size)


class Keyring:
    """The keys of one database. Keys belong to no person: forgetting somebody leaves them."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def create(self, tenant: str, **how: Unpack[KeyOptions]) -> tuple[ApiKey, str]:
        """See `Keys.create`."""
        key = ApiKey(
            id="".join(secrets.choice(_ID_SIGNS) for _ in range(10)),
            tenant=tenant,
            created_at=moment(self._clock(), "the clock's time"),
            **how,
        )
        key = replace(key, user_sources=tuple(map(_source, key.user_sources)))
        _check(key)
        secret = f"mz-{key.id}-{secrets.token_urlsafe(32)}"
        with self._database.writing() as connection:
            connection.execute(insert(keys).values(digest=_digest(secret), **_columns(key)))
        return key, secret

    def find(self, secret: str) -> ApiKey | None:
        """See `Keys.find`."""
        if (form := FORM.fullmatch(secret)) is None:
            return None
        with self._database.reading() as connection:
            row = connection.execute(select(keys).where(keys.c.id == form["id"])).one_or_none()
        # Compared for an unknown id too, so that the time it takes does not tell which ids there are.
        same = hmac.compare_digest(_digest(secret), _OF_NO_KEY if row is None else row.digest)
        return _key_of(row) if row is not None and same and row.revoked_at is None else None

    def listed(self, tenant: str | None = None) -> tuple[ApiKey, ...]:
        """See `Keys.listed`."""
        query = select(keys).order_by(keys.c.created_at, keys.c.id)
        if tenant is not None:
            query = query.where(keys.c.tenant == tenant)
        with self._database.reading() as connection:
            return tuple(_key_of(row) for row in connection.execute(query))

    def revoke(self, key_id: str, /, tenant: str | None = None) -> ApiKey:
        """See `Keys.revoke`."""
        now = moment(self._clock(), "the clock's time")
        this = keys.c.id == key_id
        with self._database.writing() as connection:
            row = connection.execute(select(keys).where(this)).one_or_none()
            if row is None or tenant not in (None, row.tenant):
                raise InputError("There is no key of that id.", hint="`mentalize keys list` shows the ids.")
            key = _key_of(row)
            if key.revoked_at is not None:
                return key
            connection.execute(update(keys).where(this).values(revoked_at=now))
            return replace(key, revoked_at=now)

    def any(self, *, even_revoked: bool = False) -> bool:
        """See `Keys.any`."""
        query = select(keys.c.id).limit(1)
        with self._database.reading() as connection:
            return connection.scalar(query if even_revoked else query.where(keys.c.revoked_at.is_(None))) is not None


def _digest(secret: str) -> bytes:
    # A plain fast hash is right here: a key is 256 random bits, which nobody can guess from its hash, however fast.
    # Slow hashes protect what people choose, and would cost every request some tenths of a second.
    return hashlib.sha256(secret.encode()).digest()


def _columns(key: ApiKey) -> dict[str, Any]:
    limits = {name: limit for name, limit in asdict(key.limits).items() if limit is not None}
    return asdict(key) | {"user_sources": list(key.user_sources), "limits": limits}


def _key_of(row: Row[*tuple[Any, ...]]) -> ApiKey:
    parts: dict[str, Any] = {name: getattr(row, name) for name in _COLUMNS}
    parts["user_sources"] = tuple(parts["user_sources"])
    parts["limits"] = Limits(**parts["limits"])
    return ApiKey(**parts)


def _check(key: ApiKey) -> None:
    Identity(key.tenant, "anyone" if key.user is None else key.user)
    if len(key.name) > LONGEST_NAME or not key.name.isprintable():
        raise InputError(f"The key's name is longer than {LONGEST_NAME} characters or holds control characters.")
    if key.trusted and key.user is not None:
        raise InputError(
            "A key that always speaks for one user cannot be trusted to name others.",
            hint="Leave out the user, or leave out that it is trusted.",
        )
    if key.user_sources and not key.trusted:
        raise InputError(
            "It is said where requests name their user, and the key is not trusted to name one.",
            hint="Make it a trusted key, or leave the sources out.",
        )


def _source(given: str) -> str:
    """As it is looked up: names of headers count without case."""
    source = given if "." in given else given.lower()
    if not _SOURCE.fullmatch(source) or source in _SECRETS:
        raise InputError(
            f"{given!r} is no place where a request can name its user.",
            hint="Give the name of a header, such as x-mentalize-user; or body.user; or body.metadata.NAME.",
        )
    return source

"""Faults: what went wrong, as an HTTP status and an error in OpenAI's form, which clients make exceptions of (D-22)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..errors import (
    BudgetExceeded,
    EmbedderError,
    InputError,
    MalformedAnswer,
    MemoryNotFound,
    MentalizeError,
    ModelError,
    ModelNotFound,
    ModelRateLimited,
    ModelRefused,
    ModelTimeout,
    ModelUnauthorized,
    ModelUnavailable,
    StoreError,
)

INVALID = "invalid_request_error"
"""OpenAI's type of an error that the caller can mend."""

_TYPES = {401: "authentication_error", 403: "permission_error", 404: INVALID, 409: "conflict_error"}
_TOLD_TO_ALL = (InputError,)
"""Errors whose words are about the caller's own request. Others may name our own addresses and models."""


class Fault(Exception):
    """An answer that says what is wrong.

    Args:
        status: The HTTP status.
        message: What is wrong, and what to do.
        code: A short name of it, for programs.
        param: The field of the request that it is about.
        headers: Further headers of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.headers: dict[str, str] = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The error in OpenAI's form."""
        kind = _TYPES.get(self.status, INVALID if self.status < 500 else "server_error")
        if self.status == 429:
            kind = "rate_limit_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def content(self) -> bytes:
        """The same as JSON."""
        return json.dumps(self.body(), ensure_ascii=True).encode()


STOPPING = Fault(503, "This server is stopping. Try again.", "stopping", headers={"retry-after": "1"})
"""What is told to those whose turns could not end."""


def named(text: str, most: int = 100) -> str:
    """What a request said, for a message: quoted, and no longer than anybody reads."""
    return repr(text if len(text) <= most else f"{text[:most]}…")


def fault_of(error: Exception, *, openly: bool) -> Fault:
    """The fault that an error is to the caller.

    Args:
        error: What was raised.
        openly: Whether the caller may read our own words, which can name addresses and models: whoever runs this may.
    """
    if isinstance(error, Fault):
        return error
    status, code, general = _meaning(error)
    told = isinstance(error, MentalizeError) and (openly or isinstance(error, _TOLD_TO_ALL))
    wait = error.retry_after if isinstance(error, ModelError) else None
    headers = {} if wait is None else {"retry-after": f"{wait:.0f}"}
    return Fault(status, str(error) if told else general, code, headers=headers)


def _meaning(error: Exception) -> tuple[int, str | None, str]:
    """Status, code, and what can be told to anybody."""
    for kinds, meaning in _MEANINGS:
        if isinstance(error, kinds):
            return meaning
    return 500, "internal_error", "Something went wrong here. The log says what; try again."


_UNREACHED = "The model behind this endpoint cannot be asked now. Try again; whoever runs it finds more in its log."
_MEANINGS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], tuple[int, str | None, str]], ...] = (
    (MemoryNotFound, (404, "memory_not_found", "There is no such memory.")),
    (InputError, (400, None, "The request cannot be used.")),
    (ModelRateLimited, (429, "rate_limit_exceeded", "The model behind this endpoint asks to slow down.")),
    ((ModelTimeout, BudgetExceeded), (504, "model_timeout", "The model behind this endpoint took too long.")),
    ((ModelUnauthorized, ModelNotFound), (502, "model_misconfigured", _UNREACHED)),
    (ModelRefused, (400, "model_refused", "The model behind this endpoint refused the request.")),
    ((ModelUnavailable, MalformedAnswer, ModelError), (502, "model_unavailable", _UNREACHED)),
    ((StoreError, EmbedderError), (503, "memory_unavailable", "Memory cannot be reached now. Try again.")),
)

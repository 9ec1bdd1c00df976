"""Examination: whether a role's model works, and what its endpoint supports."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

from ..errors import MentalizeError
from ..types import user
from .model import Model, Request

RoleName = Literal["reason", "judge", "write"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleReport:
    """What `doctor` finds out about a role."""

    role: RoleName
    model: str
    ok: bool
    structured: str = ""
    logprobs: bool = False
    seconds: float = 0.0
    """Of one short call."""
    error: str = ""


async def examine(role: RoleName, model: Model) -> RoleReport:
    """Ask the model one short question."""
    try:
        capabilities = await model.capabilities()
        started = time.perf_counter()
        question = Request(messages=(user("Say hello in one word."),), purpose="doctor", max_tokens=16)
        completion = await model.complete(question)
    except MentalizeError as error:
        return RoleReport(role=role, model=model.name, ok=False, error=str(error))
    return RoleReport(
        role=role,
        model=model.name,
        ok=bool(completion.text.strip() or completion.message),
        structured=capabilities.structured,
        logprobs=capabilities.logprobs,
        seconds=time.perf_counter() - started,
        error="" if completion.text.strip() or completion.message else "The model answered with nothing.",
    )

"""Examination: whether a role's model works, and what its endpoint supports."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ..errors import MentalizeError
from ..types import user
from .engine_counts import EngineCounts
from .model import Model, Request

RoleName = Literal["reason", "judge", "write"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointReport:
    """What one endpoint of a model says of itself."""

    address: str
    well: bool
    """Whether it says that it can work."""
    counts: EngineCounts | None = None
    """Its queue and its prefix cache, where it is a vLLM server that tells them."""
    models: Mapping[str, str] | None = None
    """The models that it lists, and where it has each from if it says so; None where it lists none."""


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
    endpoints: tuple[EndpointReport, ...] = ()
    """Of a model behind addresses of its own, how each of them fares."""


async def examine(role: RoleName, model: Model) -> RoleReport:
    """Ask the model one short question, and see how its endpoints fare."""
    from .endpoint_report import disagreement, report_endpoints
    from .relay import served_name

    endpoints = await report_endpoints(model)
    if problem := disagreement(served_name(model), endpoints):
        return RoleReport(role=role, model=model.name, ok=False, error=problem, endpoints=endpoints)
    try:
        capabilities = await model.capabilities()
        started = time.perf_counter()
        question = Request(messages=(user("Say hello in one word."),), purpose="doctor", max_tokens=16)
        completion = await model.complete(question)
    except MentalizeError as error:
        return RoleReport(role=role, model=model.name, ok=False, error=str(error), endpoints=endpoints)
    return RoleReport(
        role=role,
        model=model.name,
        ok=bool(completion.text.strip() or completion.message),
        structured=capabilities.structured,
        logprobs=capabilities.logprobs,
        seconds=time.perf_counter() - started,
        error="" if completion.text.strip() or completion.message else "The model answered with nothing.",
        endpoints=endpoints,
    )

"""Endpoint reports: how each endpoint of a model fares, whether it is busy, and whether all serve the same model."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, cast

from ..errors import ModelError
from .balanced import endpoints_of, is_well
from .engine_counts import counts_of
from .examination import EndpointReport
from .http import OpenAICompatibleModel
from .model import Model
from .relay import innermost
from .wire import as_mapping, parsed

__all__ = ["disagreement", "fares", "report_endpoints"]


async def report_endpoints(model: Model, *, seconds: float = 5.0) -> tuple[EndpointReport, ...]:
    """A report on each endpoint of a model; none where it has no address of its own. One that is away is told as such.

    Args:
        model: The model, with all its wrappers.
        seconds: What each page of an endpoint may take.
    """
    return tuple(await asyncio.gather(*(_report(one, seconds) for one in endpoints_of(innermost(model)))))


async def fares(endpoint: OpenAICompatibleModel, *, seconds: float) -> EndpointReport:
    """How an endpoint fares, without the models that it lists."""
    if endpoint.vllm:
        try:
            counts = await counts_of(endpoint, seconds=seconds)
        except ModelError:
            return EndpointReport(address=endpoint.endpoint, well=False)
    else:
        counts = None
    return EndpointReport(address=endpoint.endpoint, well=await is_well(endpoint, seconds=seconds), counts=counts)


def disagreement(name: str, reports: Sequence[EndpointReport]) -> str:
    """Why several endpoints cannot stand for one model, in words; empty where nothing speaks against it."""
    listed = [(report.address, report.models) for report in reports if report.models is not None]
    if len(reports) < 2:
        return ""
    if lacking := [address for address, models in listed if name not in models]:
        return f"The model {name!r} is not served by {_and(lacking)}. Serve it there, or leave the address out."
    roots = {address: models[name] for address, models in listed if models[name]}
    if len({PurePosixPath(root).name for root in roots.values()}) > 1:
        different = _and([f"{root} by {address}" for address, root in roots.items()])
        return f"Under the name {name!r} different models are served: {different}. Serve the same one everywhere."
    return ""


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


async def _report(endpoint: OpenAICompatibleModel, seconds: float) -> EndpointReport:
    report, models = await asyncio.gather(fares(endpoint, seconds=seconds), _models_of(endpoint, seconds))
    return EndpointReport(address=report.address, well=report.well, counts=report.counts, models=models)


async def _models_of(endpoint: OpenAICompatibleModel, seconds: float) -> Mapping[str, str] | None:
    try:
        status, content = await endpoint.get("/models", seconds=seconds)
        listed: Any = as_mapping(parsed(content)).get("data")
    except (ModelError, ValueError):
        return None
    if status != 200 or not isinstance(listed, list):
        return None
    entries = map(as_mapping, cast("list[object]", listed))
    return {str(entry.get("id")): str(entry.get("root") or "") for entry in entries}

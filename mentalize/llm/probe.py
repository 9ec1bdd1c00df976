"""What an endpoint supports, found by asking it, and remembered."""

from __future__ import annotations

import asyncio
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias, cast

from ..errors import ModelError, ModelRefused, ModelUnauthorized
from ..types import user
from .flight import SingleFlight
from .model import Capabilities, Choice, Completion, Given, JsonFormat, Request, StructuredMode

__all__ = ["CapabilityCache", "Completes", "probe"]

_EVERY_MODE = (StructuredMode.JSON_SCHEMA, StructuredMode.GRAMMAR, StructuredMode.JSON_OBJECT)
_SKIES = ("sunny", "rainy")
_SCHEMA = {
    "title": "Weather",
    "type": "object",
    "properties": {"sky": {"type": "string", "enum": list(_SKIES)}},
    "required": ["sky"],
    "additionalProperties": False,
}
_PROSE = (user("Tell me about the weather in one short sentence of plain prose. Do not write JSON."),)
_PLAIN = Request(messages=_PROSE, purpose="probe", max_tokens=256, temperature=0.0)
_SCORING = Request(
    messages=(user(f"Answer with one word, {_SKIES[0]} or {_SKIES[1]}."),),
    purpose="probe",
    max_tokens=1,
    temperature=0.0,
    format=Choice(_SKIES),
)
_GIVEN = replace(_SCORING, format=Given(_SKIES[0]))
_THINKING = re.compile(r"\A.*</think>", re.DOTALL)
_WEEK = 7 * 24 * 3600.0


class Completes(Protocol):
    """Whatever answers a request in one piece."""

    async def complete(self, request: Request) -> Completion:
        """Answer in one piece."""
        ...


async def probe(
    model: Completes, modes: Sequence[StructuredMode] = _EVERY_MODE, *, likelihoods: bool = False
) -> Capabilities:
    """Try each of `modes` and log-probabilities, side by side, and say what truly works.

    Every request asks for prose while its format demands JSON, so only an endpoint that enforces the format passes.
    A mode that the endpoint refuses counts as unsupported; where everything is refused, a plain request decides
    whether the endpoint can be used at all.

    Raises:
        ModelError: the endpoint cannot be reached, fails, wants a key, or refuses even a plain request.
    """
    requests = [*(_structured(mode) for mode in modes), _SCORING]
    told = asyncio.ensure_future(_tells_likelihoods(model)) if likelihoods else None
    try:
        answers = await asyncio.gather(*(_unless_refused(model, request) for request in requests))
    except BaseException:
        if told is not None:
            told.cancel()
        raise
    if all(answer is None for answer in answers):
        await model.complete(_PLAIN)
    best = (mode for mode, answer in zip(modes, answers, strict=False) if answer and _enforced(mode, answer))
    scoring = answers[-1]
    return Capabilities(
        next(best, StructuredMode.TEXT),
        logprobs=scoring is not None and _has_alternatives(scoring),
        likelihoods=await told if told else False,
    )


def _structured(mode: StructuredMode) -> Request:
    return Request(
        messages=_PROSE,
        purpose="probe",
        max_tokens=256,
        temperature=0.0,
        format=JsonFormat("Weather", _SCHEMA, mode),
    )


async def _tells_likelihoods(model: Completes) -> bool:
    """Whether the endpoint answers a question that few know; one that fails at it may do all else."""
    try:
        return bool((await model.complete(_GIVEN)).logprobs)
    except ModelError:
        return False


async def _unless_refused(model: Completes, request: Request) -> Completion | None:
    try:
        return await model.complete(request)
    except ModelUnauthorized:
        raise
    except ModelRefused:
        return None


def _enforced(mode: StructuredMode, answer: Completion) -> bool:
    text = _THINKING.sub("", answer.text).strip()
    if mode is StructuredMode.JSON_OBJECT and answer.finish_reason == "length":
        return text.startswith("{")
    try:
        value = json.loads(text)
    except ValueError:
        return False
    if mode is StructuredMode.JSON_OBJECT:
        return isinstance(value, dict)
    return value in [{"sky": sky} for sky in _SKIES]


def _has_alternatives(answer: Completion) -> bool:
    return bool(answer.logprobs) and len(answer.logprobs[0]) > 1


_Kept: TypeAlias = dict[str, dict[str, Any]]


class CapabilityCache:
    """Remembers capabilities by endpoint and model, in memory and, with a `path`, in a JSON file.

    Entries are forgotten after a week, because servers are upgraded. A damaged file counts as empty and is replaced;
    a folder that cannot be written to costs a warning, not the turn.
    """

    def __init__(self, path: Path | None = None, *, seconds: float = _WEEK, now: Callable[[], float] = time.time):
        self._path = path
        self._seconds = seconds
        self._now = now
        self._kept: _Kept = {}
        self._read = False
        self._flights: SingleFlight[Capabilities] = SingleFlight()

    async def get(
        self, endpoint: str, model: str, find: Callable[[], Coroutine[Any, Any, Capabilities]]
    ) -> Capabilities:
        """What is known of `model` at `endpoint`; `find` is called where nothing is, once for all who wait.

        Raises:
            ModelError: `find` raised it; nothing is kept then.
        """
        key = f"{endpoint} {model}"
        if (known := self._known(key)) is not None:
            return known

        async def find_and_keep() -> Capabilities:
            found = await find()
            self._keep(key, found)
            return found

        found, _ = await self._flights.run(key, find_and_keep)
        return found

    def _known(self, key: str) -> Capabilities | None:
        if not self._read:
            self._kept = self._load() | self._kept
            self._read = True
        entry = self._kept.get(key)
        if entry is None or not 0 <= self._now() - entry["at"] < self._seconds:
            return None
        return Capabilities(StructuredMode(entry["structured"]), entry["logprobs"], entry["likelihoods"])

    def _keep(self, key: str, found: Capabilities) -> None:
        entry = {
            "structured": str(found.structured),
            "logprobs": found.logprobs,
            "likelihoods": found.likelihoods,
            "at": self._now(),
        }
        self._kept = self._load() | self._kept | {key: entry}
        if self._path is not None:
            try:
                _write_whole(self._path, json.dumps(self._kept, indent=1))
            except OSError as error:
                self._warn("capabilities_not_kept", error)

    def _load(self) -> _Kept:
        if self._path is None or not self._path.exists():
            return {}
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            self._warn("capabilities_unreadable", error)
            return {}
        entries = cast("dict[str, object]", found if isinstance(found, dict) else {})
        return {key: cast("dict[str, Any]", entry) for key, entry in entries.items() if _is_entry(entry)}

    def _warn(self, event: str, error: Exception) -> None:
        import logging

        import structlog

        structlog.wrap_logger(logging.getLogger("mentalize.llm")).warning(event, path=str(self._path), error=str(error))


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, Mapping):
        return False
    fields = cast("Mapping[str, object]", entry)
    return (
        fields.get("structured") in set(StructuredMode)
        and isinstance(fields.get("logprobs"), bool)
        and isinstance(fields.get("likelihoods"), bool)
        and isinstance(fields.get("at"), int | float)
    )


def _write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader, or a crash, never meets half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise

"""Run: every question asked in every arm, and what came of it kept in a folder, so that a run that was broken off goes
on where it stopped.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from pydantic import TypeAdapter, ValidationError

from ..errors import InputError, ModelError

RESULTS = "results.jsonl"
CONFIGURATION = "configuration.json"
IN_A_ROW = 10
"""Failures without an answer between them after which a run stops: an endpoint that is gone answers nothing more."""


class Asked(Protocol):
    """What is asked."""

    @property
    def id(self) -> str: ...


class Kept(Protocol):
    """What came of a question in an arm: a dataclass."""

    @property
    def question(self) -> str:
        """The question's id."""
        ...

    @property
    def arm(self) -> str: ...

    @property
    def error(self) -> str:
        """Why there is no answer; such a result is asked for again."""
        ...


AskedT = TypeVar("AskedT", bound=Asked)
ArmT = TypeVar("ArmT", bound=str)
KeptT = TypeVar("KeptT", bound=Kept)


@dataclass(slots=True)
class Run(Generic[KeptT]):
    """A folder in which results are kept."""

    folder: Path
    configuration: Mapping[str, Any]
    results: dict[tuple[str, str], KeptT] = field(default_factory=dict[tuple[str, str], KeptT])
    """By question and arm."""

    @classmethod
    def at(cls, folder: Path, configuration: Mapping[str, Any], kind: type[KeptT]) -> Run[KeptT]:
        """A new run, or the one that was begun here.

        Raises:
            InputError: another configuration was run here, or the folder cannot be used.
        """
        kept = folder / CONFIGURATION
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if kept.exists():
                _check_same(json.loads(kept.read_text(encoding="utf-8")), configuration, folder)
            else:
                kept.write_text(json.dumps(configuration, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            return cls(folder, configuration, _read(folder / RESULTS, kind))
        except (OSError, ValueError) as error:
            raise InputError(f"{folder} cannot be used: {error}.", hint="Give another folder with --out.") from error

    def keep(self, result: KeptT) -> None:
        """Write a result down, whole or not at all."""
        self.results[result.question, result.arm] = result
        line = json.dumps(asdict(result), ensure_ascii=False)  # pyright: ignore[reportArgumentType]
        with (self.folder / RESULTS).open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def is_done(self, question: Asked, arm: str) -> bool:
        """Whether there is an answer already."""
        result = self.results.get((question.id, arm))
        return result is not None and not result.error


def _read(path: Path, kind: type[KeptT]) -> dict[tuple[str, str], KeptT]:
    """The results of a file, the last of each question and arm; a line that was cut off is passed over, and ended, so
    that the next one stands alone.
    """
    adapter, found = TypeAdapter(kind), dict[tuple[str, str], KeptT]()
    text = path.read_bytes().decode("utf-8", errors="replace") if path.exists() else ""
    if text and not text.endswith("\n"):
        with path.open("a", encoding="utf-8") as file:
            file.write("\n")
    for line in text.split("\n"):
        try:
            result = adapter.validate_json(line)
        except ValidationError:
            continue
        found[result.question, result.arm] = result
    return found


def _check_same(before: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    changed = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
    if changed:
        raise InputError(
            f"{folder} holds a run with other settings ({', '.join(changed)}).",
            hint="Give another folder with --out, or the settings of that run.",
        )


async def ask_all(
    questions: Sequence[AskedT],
    arms: Sequence[ArmT],
    into: Run[KeptT],
    ask: Callable[[AskedT, ArmT], Awaitable[KeptT]],
    *,
    at_once: int = 1,
    told: Callable[[KeptT], None] = lambda result: None,
) -> None:
    """Ask what is not answered yet.

    Args:
        questions: What is asked.
        arms: In which arms.
        into: Where results are kept.
        ask: Answers one question in one arm; what fails is a result with an `error`.
        at_once: Questions in work at the same time.
        told: Called with each result.

    Raises:
        ModelError: `IN_A_ROW` results in a row failed.
    """
    # Arm by arm within a question, so that a run that is broken off has compared what it has.
    todo = iter([(question, arm) for question in questions for arm in arms if not into.is_done(question, arm)])
    failures: list[str] = []

    async def work(left: Iterator[tuple[AskedT, ArmT]]) -> None:
        for question, arm in left:
            result = await ask(question, arm)
            into.keep(result)
            told(result)
            if result.error:
                failures.append(result.error)
            else:
                failures.clear()
            if len(failures) >= IN_A_ROW:
                return

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(work(todo))
    if len(failures) >= IN_A_ROW:
        raise ModelError(
            f"{len(failures)} answers in a row failed, the last one so: {failures[-1]}",
            hint="See the settings with `mentalize doctor`; the same command then goes on.",
        )

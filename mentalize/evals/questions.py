"""Questions of an evaluation: the packaged ones, or those of a published file."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import zip_longest
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from pydantic import Field

from ..errors import InputError
from ..packfile import Entry, PackFile

FILE = "items.jsonl"
"""The file that is looked for in a folder."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question of an evaluation."""

    id: str
    domain: str
    text: str


class _HasDomain(Protocol):
    @property
    def domain(self) -> str: ...


InDomain = TypeVar("InDomain", bound=_HasDomain)


class _DomainEntry(Entry):
    name: str = Field(min_length=1)
    questions: list[str] = Field(min_length=1)


class _QuestionFile(Entry):
    domain: list[_DomainEntry] = Field(min_length=1)


def packaged_questions() -> tuple[Question, ...]:
    """Our own questions."""
    domains = PackFile.read(files("mentalize.evals") / "questions.toml").parse(_QuestionFile).domain
    return tuple(
        Question(f"{entry.name}/{number}", entry.name, text)
        for entry in domains
        for number, text in enumerate(entry.questions, start=1)
    )


def published_questions(path: Path) -> tuple[Question, ...]:
    """Questions from a JSONL file, or from `items.jsonl` in a folder: one object a line, with `id`, `task`, `question`.

    Raises:
        InputError: it cannot be read, or a line is no such object; the message names the line.
    """
    found = tuple(_question(line, place) for place, line in lines_of(path))
    if not found:
        raise InputError(f"{path} holds no questions.", hint="Give a JSONL file of questions.")
    return found


def lines_of(path: Path) -> Iterator[tuple[str, str]]:
    """Each line of a JSONL file, or of `items.jsonl` in a folder, that is not empty, after the place where it stands.

    Raises:
        InputError: it cannot be read.
    """
    file = path / FILE if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read: {error}.", hint="Give a JSONL file of questions.") from error
    # JSON may hold the other ends of lines that `splitlines` knows.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"{file}, line {number}", line


def sample(questions: Sequence[InDomain], limit: int | None, *, seed: int) -> tuple[InDomain, ...]:
    """At most `limit` questions, shuffled by `seed`, in turn from every domain; a higher limit adds to them."""
    by_domain: dict[str, list[InDomain]] = defaultdict(list)
    for question in questions:
        by_domain[question.domain].append(question)
    shuffler = random.Random(seed)
    for group in by_domain.values():
        shuffler.shuffle(group)
    in_turn = [item for group in zip_longest(*by_domain.values()) for item in group if item is not None]
    return tuple(in_turn[:limit])


def _question(line: str, place: str) -> Question:
    hint = 'Each line is {"id": …, "task": …, "question": …}.'
    try:
        given = json.loads(line)
    except ValueError as error:
        raise InputError(f"{place}: not JSON ({error}).", hint=hint) from error
    value = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    text = value.get("question")
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{place}: there is no `question`.", hint=hint)
    return Question(str(value.get("id", place)), str(value.get("task", "")), text)

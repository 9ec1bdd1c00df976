"""Items of a multiple-choice test, and how one is put: its options in an order that is the same in every arm."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ..errors import InputError
from .letters import LETTERS
from .questions import lines_of

_FORM = (
    'Each line is {"id", "task", "context", "question", "options": {"A": …}, "answer", "meta": {"lang", "ability"}}.'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One question about a story."""

    id: str
    domain: str
    """The task that it belongs to."""
    ability: str = ""
    """What it takes, such as `belief`; empty if the file does not say."""
    language: str = ""
    """Likewise."""
    main: bool = True
    """Whether its task is one of those whose mean is the headline figure."""
    story: str
    question: str
    options: tuple[str, ...]
    right: int
    """The index of the right option."""


@dataclass(frozen=True, slots=True)
class Items:
    """What a file holds."""

    items: tuple[Item, ...]
    dropped: tuple[str, ...]
    """The ids of items whose answer is none of their options."""
    digest: str
    """The first 12 hexadecimal digits of the file's SHA-256."""

    def of(self, language: str) -> Items:
        """Those in a language, and those that name none.

        Raises:
            InputError: there are none.
        """
        found = tuple(item for item in self.items if item.language in (language, ""))
        if not found:
            there = ", ".join(sorted({item.language for item in self.items}))
            raise InputError(f"The data has no items with the language {language!r}.", hint=f"It has: {there}.")
        return Items(found, self.dropped, self.digest)


@dataclass(frozen=True, slots=True)
class Posed:
    """An item as it is put."""

    item: Item
    options: tuple[str, ...]
    """In the order in which they are shown as A, B, …"""
    right: str
    """The letter of the right one."""

    @property
    def id(self) -> str:
        """The item's."""
        return self.item.id

    @property
    def domain(self) -> str:
        """Likewise."""
        return self.item.domain

    @property
    def letters(self) -> str:
        """The letters of the options."""
        return LETTERS[: len(self.options)]

    @property
    def listed(self) -> str:
        """The options, one a line."""
        return "\n".join(f"{letter}. {option}" for letter, option in zip(self.letters, self.options, strict=True))


def posed(item: Item, *, seed: int) -> Posed:
    """The item with its options shuffled, by the seed and its id alone."""
    order = list(range(len(item.options)))
    random.Random(f"{seed} {item.id}").shuffle(order)
    return Posed(item, tuple(item.options[place] for place in order), LETTERS[order.index(item.right)])


def read_items(path: Path) -> Items:
    """Items from a JSONL file, or from `items.jsonl` in a folder.

    An option that is no text counts as absent. The names of options go; where each option's text begins with its name
    too, that goes as well, because options are shuffled.

    Raises:
        InputError: it cannot be read, or a line is no item; the message names the line.
    """
    lines = list(lines_of(path))
    given = [_item(line, place) for place, line in lines]
    found = tuple(item for item in given if isinstance(item, Item))
    if not found:
        raise InputError(f"{path} holds no items.", hint=_FORM)
    digest = hashlib.sha256("\n".join(line for _, line in lines).encode()).hexdigest()[:12]
    return Items(found, tuple(item for item in given if isinstance(item, str)), digest)


def _item(line: str, place: str) -> Item | str:
    """An item; the id of one whose answer is none of its options."""
    try:
        value = json.loads(line)
    except ValueError as error:
        raise InputError(f"{place}: not JSON ({error}).", hint=_FORM) from error
    fields = _table(value)
    options = {name: text.strip() for name, text in _table(fields.get("options")).items() if _is_text(text)}
    missing = [name for name in ("id", "question", "answer") if not _is_text(fields.get(name))]
    if missing or not 2 <= len(options) <= len(LETTERS):
        wrong = f"there is no `{missing[0]}`" if missing else f"it has {len(options)} options"
        raise InputError(f"{place}: {wrong}.", hint=_FORM)
    if fields["answer"] not in options:
        return fields["id"]
    meta = _table(fields.get("meta"))
    return Item(
        id=fields["id"],
        domain=str(fields.get("task", "")),
        ability=str(meta.get("ability", "")).partition(":")[0].strip().casefold(),
        language=str(meta.get("lang", "")),
        main=meta.get("task_group", "task8") == "task8",
        story=str(fields.get("context") or "").strip(),
        question=fields["question"].strip(),
        options=_without_names(options),
        right=list(options).index(fields["answer"]),
    )


def _without_names(options: dict[str, str]) -> tuple[str, ...]:
    bare = {name: re.sub(rf"^{re.escape(name)}\s*[.．、:：)）]\s*", "", text) for name, text in options.items()}
    named = all(bare[name] and bare[name] != options[name] for name in options)
    return tuple((bare if named else options).values())


def _table(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def by_chance(items: Sequence[Item]) -> float:
    """The accuracy of guessing, in [0, 1]."""
    return sum(1 / len(item.options) for item in items) / len(items) if items else 0.0

"""Prompt: a Markdown text with `$holes`, tied to the dataclass that fills them."""

from __future__ import annotations

import hashlib
import re
import tomllib
from dataclasses import dataclass, fields
from functools import lru_cache
from string import Template
from typing import Any, Generic, TypeVar

from ..errors import PromptError

Inputs = TypeVar("Inputs")

_HEAD = re.compile(r"\A\+\+\+\n(?P<toml>.*?)\n\+\+\+\n(?P<text>.*)\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class PromptFile:
    """A prompt as it stands in its file: `+++` TOML head with `version`, then the text."""

    name: str
    version: int
    text: str
    origin: str
    """Where it was read: `mentalize`, or the overlay's path."""

    @property
    def digest(self) -> str:
        """The first 8 hexadecimal digits of the text's SHA-256."""
        return _digest(self.text)

    @property
    def id(self) -> str:
        """`name@version#digest`, which names the exact words."""
        return f"{self.name}@{self.version}#{self.digest}"

    @property
    def holes(self) -> frozenset[str]:
        """The names that must be filled."""
        return _holes(self.text)


@lru_cache(maxsize=256)
def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


@lru_cache(maxsize=256)
def _holes(text: str) -> frozenset[str]:
    return frozenset(Template(text).get_identifiers())


def parse_prompt(name: str, source: str, *, origin: str) -> PromptFile:
    """Read a prompt file.

    Raises:
        PromptError: the head is missing or has no whole-number `version`, or a `$` stands alone.
    """
    match = _HEAD.match(source.replace("\r\n", "\n"))
    if match is None:
        raise PromptError(
            f"Prompt {name!r} ({origin}) does not begin with a +++ head.",
            hint="Begin the file with `+++`, `version = 1`, `+++`.",
        )
    try:
        head = tomllib.loads(match["toml"])
    except tomllib.TOMLDecodeError as error:
        raise PromptError(f"The head of prompt {name!r} ({origin}) is not TOML: {error}.") from error
    version = head.get("version")
    if not isinstance(version, int) or set(head) != {"version"}:
        raise PromptError(
            f"The head of prompt {name!r} ({origin}) must hold `version`, a whole number, and nothing else."
        )
    text = match["text"].strip()
    if not Template(text).is_valid():
        raise PromptError(
            f"Prompt {name!r} ({origin}) has a `$` that names no hole.", hint="Write `$$` for a dollar sign."
        )
    return PromptFile(name=name, version=version, text=text, origin=origin)


@dataclass(frozen=True, slots=True)
class Prompt(Generic[Inputs]):
    """A prompt file that was found to fit `inputs`, whose fields are its holes."""

    file: PromptFile
    inputs: type[Inputs]

    def __post_init__(self) -> None:
        expected = frozenset(field.name for field in fields(self.inputs))  # pyright: ignore[reportArgumentType]
        if expected == self.file.holes:
            return
        missing = ", ".join(f"${name}" for name in sorted(expected - self.file.holes)) or "none"
        unknown = ", ".join(f"${name}" for name in sorted(self.file.holes - expected)) or "none"
        raise PromptError(
            f"Prompt {self.file.name!r} ({self.file.origin}) does not fit {self.inputs.__name__}: "
            f"missing holes: {missing}; unknown holes: {unknown}.",
            hint=f"Run `mentalize prompts eject {self.file.name}` for one that fits.",
        )

    @property
    def id(self) -> str:
        """`name@version#digest`."""
        return self.file.id

    def render(self, inputs: Inputs) -> str:
        """The text with its holes filled. What is filled in is never expanded again."""
        values: dict[str, Any] = {name: getattr(inputs, name) for name in self.file.holes}
        return Template(self.file.text).substitute(values)


def fence(tag: str, text: str) -> str:
    """`text` between `<tag>` and `</tag>`. A model reads what stands inside as data, and nothing inside can end it."""
    return f"<{tag}>\n{defused(text)}\n</{tag}>"


def defused(text: str) -> str:
    """`text` without anything that a model or its chat template could take for a tag.

    Every `<`, and the bracket of every marker such as `[INST]`, becomes its full-width twin: to a reader the same sign,
    and never the begin of a tag. Signs that nobody sees are left out, so that none can hide words or part a name.
    """
    return _MARKER.sub("［", without_invisible(text).replace("<", "＜"))


def without_invisible(text: str) -> str:
    """`text` without signs that nobody sees, but for the two that join and part letters in Persian, Hindi and emoji."""
    return _INVISIBLE.sub("", text)


_MARKER = re.compile(r"\[(?=\s*/?\s*g?[A-Z]{2}[A-Z_ ]*\])")
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff"
    "\uffa0\ufff9-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Zero-width signs, changes of direction, fillers, and the tag characters and selectors that can carry whole texts."""

"""Memory file: memories in a file, in our own form or MemoryBank's."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ..errors import InputError
from .plain import one_line

if TYPE_CHECKING:
    from ..types import Memory


def read(name: str, user: str, name_in_file: str | None, zone: str) -> tuple[Memory, ...]:
    """The memories in a file, all of them checked.

    Args:
        name: The file; `-` is standard input.
        user: Whose memories they become.
        name_in_file: The user's name in a MemoryBank file; needed where it holds several and none is called `user`.
        zone: IANA zone of MemoryBank's days.

    Raises:
        InputError: the file cannot be read, or something in it is wrong; the message says where.
    """
    from ..memory.portable import memories_of

    place = "standard input" if name == "-" else name
    with _opened(name, place) as file:
        lines = _lines(file)
        try:
            first = next(lines, "")
            if _is_ours(first):
                return tuple(memories_of(chain([first], lines)))
            return _memorybank(first + "".join(lines), user, name_in_file, zone)
        except InputError as error:
            raise InputError(f"{place}: {error.message}", hint=error.hint) from error
        except OSError as error:
            raise InputError(f"{place} cannot be read: {error.strerror}.") from error


def _is_ours(line: str) -> bool:
    """Whether the first line is one JSON object that is a header, or means to be one."""
    try:
        document: object = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and ("format" in document or "kind" in document)


def _memorybank(content: str, user: str, name_in_file: str | None, zone: str) -> tuple[Memory, ...]:
    from ..memory.memorybank import from_memorybank, is_memorybank, people_of

    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"This is neither what `mentalize memory export` writes nor a MemoryBank file ({error})."
        ) from error
    if not is_memorybank(document):
        raise InputError("This is neither what `mentalize memory export` writes nor a MemoryBank file.")
    people = people_of(document)
    chosen = name_in_file or (people[0] if len(people) == 1 else user)
    if chosen not in people:
        hint = f"Say which is meant: --from NAME, one of {', '.join(map(one_line, people))}."
        raise InputError(f"The file has no user {one_line(chosen)!r}.", hint=hint)
    return from_memorybank(document, chosen, zone=zone)


@contextmanager
def _opened(name: str, place: str) -> Generator[IO[bytes]]:
    if name == "-":
        yield sys.stdin.buffer
        return
    try:
        file = Path(name).expanduser().open("rb")
    except OSError as error:
        raise InputError(f"{place} cannot be read: {error.strerror}.") from error
    with file:
        yield file


def _lines(file: IO[bytes]) -> Iterator[str]:
    """Lines one by one, so that a large file is never held as one text."""
    for number, line in enumerate(file, start=1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"Line {number} is not UTF-8.") from error

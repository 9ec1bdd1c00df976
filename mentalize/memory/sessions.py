"""Sessions: those that somebody named, and those that are told apart by what was said in them."""

from __future__ import annotations

import re
from datetime import date

_SHORT = 8
"""Signs of a turn's id that tell sessions of one day apart."""

_UNNAMED = re.compile(rf"\d{{4}}-\d\d-\d\d(/[0-9a-f]{{{_SHORT}}})?")


def new_session(day: date, turn_id: str) -> str:
    """A session that begins with this turn, for want of a name."""
    return f"{day}/{turn_id.rpartition('-')[2][:_SHORT]}"


def is_named(session: str) -> bool:
    """Whether somebody named this session: it is none that was begun on a day for want of a name."""
    return _UNNAMED.fullmatch(session) is None

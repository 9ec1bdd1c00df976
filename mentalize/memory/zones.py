"""Zones: names of time zones, as IANA's database has them."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from ..errors import InputError


def is_zone(name: str) -> bool:
    """Whether there is a time zone of this name."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


def check_zone(name: str | None) -> None:
    """Raise InputError for a name that no time zone has; None is nobody's."""
    if name and not is_zone(name):
        raise InputError(f"There is no time zone {name!r}.", hint="Give an IANA name, such as Europe/Dublin.")

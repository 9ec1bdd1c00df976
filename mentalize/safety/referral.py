"""Crisis referrals by country, from our list and the deployer's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

from pydantic import RootModel

from ..packfile import Entry, PackFile
from ..types import RiskKind

INTERNATIONAL = "international"
"""The entry for people whose country is not stated or not listed."""

_LINES_FOR = {
    RiskKind.SELF_HARM: (RiskKind.SELF_HARM,),
    RiskKind.ABUSE: (RiskKind.ABUSE,),
    RiskKind.VIOLENCE: (RiskKind.VIOLENCE, RiskKind.SELF_HARM),
    RiskKind.EMERGENCY: (RiskKind.EMERGENCY, RiskKind.SELF_HARM),
}
"""The lines that each kind of risk is referred to. An overdose is an emergency, so it gets a crisis line too."""


class HelpLine(Entry):
    """A line that people in danger can reach."""

    kind: RiskKind
    name: str
    number: str = ""
    web: str = ""
    source: str
    """Title and address of the operator's public page."""
    checked: str
    """When the number was last compared with the source, or that it was not."""

    @property
    def contact(self) -> str:
        """Number and address, as far as there are any."""
        return ", ".join(part for part in (self.number, self.web) if part)


class Country(Entry):
    """What can be reached from one country."""

    emergency: str = ""
    """The emergency number; empty if it is not known."""
    lines: tuple[HelpLine, ...] = ()


class _Referrals(RootModel[dict[str, Country]]):
    pass


ReferralTable = Mapping[str, Country]
"""Countries by ISO 3166 alpha-2 code, and `international`."""


@dataclass(frozen=True, slots=True)
class Referral:
    """Where one person can turn to."""

    emergency: str
    """The emergency number, or empty: then it is "your local emergency number"."""
    lines: tuple[HelpLine, ...]


def load_referrals(path: Path | None = None) -> ReferralTable:
    """Our referrals, with those of a deployer's TOML file laid over them, country by country.

    Raises:
        PackError: the file is malformed; the message names file and line.
    """
    table = _packaged()
    if path is None:
        return table
    return MappingProxyType({**table, **_read(PackFile.read(path))})


def referral(kinds: Iterable[RiskKind], *, country: str | None, table: ReferralTable | None = None) -> Referral:
    """The lines for these kinds of risk in this country; those of `international` where there are none."""
    table = load_referrals() if table is None else table
    wanted = [line_kind for kind in kinds for line_kind in _LINES_FOR[kind]]
    place = table.get((country or "").strip().upper())
    lines = _lines(place, wanted) or _lines(table.get(INTERNATIONAL), wanted or [RiskKind.SELF_HARM])
    return Referral(emergency=place.emergency if place else "", lines=lines)


def help_lines(
    kinds: Iterable[RiskKind], *, country: str | None, table: ReferralTable | None = None
) -> tuple[str, ...]:
    """The same as short texts, the emergency number first, for a reply to name."""
    where = referral(kinds, country=country, table=table)
    emergency = f"the emergency number {where.emergency or 'of where they are'}"
    return (emergency, *(f"{line.name}: {line.contact}" for line in where.lines))


def _lines(place: Country | None, wanted: Iterable[RiskKind]) -> tuple[HelpLine, ...]:
    """The wanted lines of a country, most wanted first, each name once."""
    if place is None:
        return ()
    chosen = {line.name: line for kind in wanted for line in place.lines if line.kind is kind}
    return tuple(chosen.values())


@lru_cache(maxsize=1)
def _packaged() -> ReferralTable:
    return MappingProxyType(_read(PackFile.read(files("mentalize.safety") / "referrals.toml")))


def _read(source: PackFile) -> dict[str, Country]:
    countries = source.parse(_Referrals).root
    for code, place in countries.items():
        if code != INTERNATIONAL and not (len(code) == 2 and code.isascii() and code.isupper()):
            raise source.fault((code,), f"`{code}` is not a country code.", hint="Use ISO 3166 alpha-2, such as `US`.")
        for index, line in enumerate(place.lines):
            if not line.contact:
                raise source.fault((code, "lines", index), "the line has neither `number` nor `web`.")
    return countries

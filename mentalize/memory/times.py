"""Time expressions in a question: which days "May 2nd", "last week", "ayer" or "5月2日" mean to this person.

Patterns of our own, because general parsers take "do", "we" or "may" for dates inside a sentence, which would send a
recall to the wrong day. What is not understood is no time expression.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from ..terms import fold, is_unspaced
from .calendar_words import (
    AGO,
    AGO_AFTER,
    AMBIGUOUS_MONTHS,
    EAST_UNITS,
    EAST_WEEKDAYS,
    INSIDE,
    MONTHS,
    NUMBERS,
    RELATIVE,
    SEASONS,
    UNITS,
    WEEKDAYS,
    Unit,
)

_LONGEST = 4_000
"""Characters of a question that are looked at."""

_MOST = 8
"""Time expressions of one question."""

_OLDEST_YEAR = 1900

Days = tuple[date, date]
"""From the first day until before the second."""


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """A stretch of time that a text names, from `since` until before `until`, both aware and in the person's zone."""

    since: datetime
    until: datetime
    words: str
    """The expression, folded."""

    def covers(self, moment: datetime) -> bool:
        """Whether an aware moment lies in it."""
        return self.since <= moment < self.until


def times_in(text: str, *, now: datetime, zone: str = "UTC") -> tuple[TimeSpan, ...]:
    """The stretches of time that a text names, in the order in which they stand there.

    Args:
        text: A question or a message.
        now: The person's present moment, aware.
        zone: IANA zone that decides what the person's days are. A week begins on Monday.

    A date without a year is the most recent such day that has begun; so is a month, a season or a weekday. Seasons are
    the northern hemisphere's.
    """
    place = ZoneInfo(zone)
    today = now.astimezone(place).date()
    words = f" {' '.join(fold(text[:_LONGEST]).split())} "
    taken = bytearray(len(words))
    spans: list[tuple[int, TimeSpan]] = []
    for pattern, resolve in _patterns():
        for found in pattern.finditer(words):
            if any(taken[found.start() : found.end()]):
                continue
            if days := _resolved(resolve, found, today):
                taken[found.start() : found.end()] = b"\1" * (found.end() - found.start())
                since, until = (datetime.combine(day, time(), place) for day in days)
                spans.append((found.start(), TimeSpan(since, until, found[0].strip())))
    return tuple(span for _, span in sorted(spans, key=lambda entry: entry[0])[:_MOST])


Resolve = Callable[[re.Match[str], date], "Days | None"]


def _resolved(resolve: Resolve, found: re.Match[str], today: date) -> Days | None:
    """The days that were found; None if there is no such day in the calendar."""
    try:
        return resolve(found, today)
    except (ValueError, OverflowError):
        return None


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], Resolve], ...]:
    """Every kind of expression, the most specific first."""
    kinds = (*_dates(), *_distances(), *_names())
    return tuple((re.compile(pattern), resolve) for pattern, resolve in kinds)


_YEAR = r"(?P<year>(?:19|20)\d\d)"
_OF = r"(?: (?:of|de|del|di))?"
_EAST = r"\d{1,3}|[二三]?十[一二三四五六七八九]?|[一二两三四五六七八九]"
_EAST_YEAR = rf"(?:(?<!\d){_YEAR} ?年 ?)"


def _dates() -> Iterator[tuple[str, Resolve]]:
    """With the number of a day, a month or a year."""
    month = _one_of(MONTHS)
    yield rf"(?<= ){_YEAR} (?P<month>\d\d?) (?P<day>\d\d?)(?= )", _date
    yield rf"(?<= )(?P<month>{month}) (?P<day>\d\d?)(?:st|nd|rd|th)?(?: {_YEAR})?(?= )", _date
    yield rf"(?<= )(?P<day>\d\d?)(?:st|nd|rd|th|er)?{_OF} (?P<month>{month})(?:{_OF} {_YEAR})?(?= )", _date
    yield rf"{_EAST_YEAR}?(?<!\d)(?P<month>{_EAST}) ?月 ?(?P<day>{_EAST}) ?[日号號]", _date
    yield rf"(?<= )(?P<season>{_one_of(SEASONS)}){_OF} {_YEAR}(?= )", _season
    yield rf"(?<= )(?P<month>{month}){_OF} {_YEAR}(?= )", _month
    yield rf"{_EAST_YEAR}(?P<month>{_EAST}) ?月", _month


def _distances() -> Iterator[tuple[str, Resolve]]:
    """Counted back from today."""
    number = rf"\d{{1,3}}|{_one_of(NUMBERS)}"
    unit = _one_of(UNITS)
    phrases = [phrase for phrases in RELATIVE.values() for phrase in phrases]
    yield rf"(?<= )(?P<number>{number}) (?P<unit>{unit}) (?:{_one_of(AGO_AFTER)})(?= )", _ago
    yield rf"(?<= )(?:{_one_of(AGO)}) (?P<number>{number}) (?P<unit>{unit})(?= )", _ago
    yield rf"(?P<number>{_EAST}) ?(?P<unit>{_one_of(EAST_UNITS)})以?前", _ago
    yield r"(?P<before>上)个?(?:周|星期|礼拜)(?P<weekday>[一二三四五六日天])", _weekday
    yield rf"(?<= )(?P<phrase>{_one_of(phrase for phrase in phrases if not is_unspaced(phrase))})(?= )", _relative
    yield rf"(?P<phrase>{_one_of(phrase for phrase in phrases if is_unspaced(phrase))})", _relative


def _names() -> Iterator[tuple[str, Resolve]]:
    """Days, months and seasons by name, and years."""
    season, month = _one_of(SEASONS), _one_of(MONTHS)
    clear = _one_of(name for name in MONTHS if name not in AMBIGUOUS_MONTHS)
    yield r"(?:周|星期|礼拜)(?P<weekday>[一二三四五六日天])", _weekday
    yield r"(?P<weekday>[月火水木金土日])曜日", _weekday
    yield rf"(?<= )(?:last|past) (?P<season>{season})(?= )", _season
    yield rf"(?<= )(?P<season>{season}) (?:pasad[oa]|passad[oa]|scors[oa]|dernier|derniere|الماضي)(?= )", _season
    yield rf"(?<= )(?:{_one_of(INSIDE)})(?: the| el| la)? (?P<season>{season})(?= )", _season
    yield rf"(?<= )(?P<weekday>{_one_of(WEEKDAYS)})(?= )", _weekday
    yield rf"(?<= )(?:{_one_of(INSIDE)}) (?P<month>{month})(?= )", _month
    yield rf"(?<= )(?P<month>{clear})(?= )", _month
    yield r"(?<!\d)(?P<month>\d\d?|十[一二]?|[一二三四五六七八九])月", _month
    yield r"(?<!\d)(?P<year>20\d\d)(?!\d) ?年?", _year


def _one_of(words: Iterable[str]) -> str:
    """A pattern for any of the words, the longest first."""
    return "|".join(re.escape(word) for word in sorted(set(words), key=lambda word: (-len(word), word)))


# --- what each kind means ---------------------------------------------------------------------------------


def _date(found: re.Match[str], today: date) -> Days:
    month, day = _month_number(found["month"]), _number(found["day"])
    if found["year"]:
        return _day(date(int(found["year"]), month, day))
    for year in range(today.year, today.year - 9, -1):  # a leap day may be eight years ago
        if day <= monthrange(year, month)[1] and date(year, month, day) <= today:
            return _day(date(year, month, day))
    raise ValueError(found[0])


def _month(found: re.Match[str], today: date) -> Days:
    month = _month_number(found["month"])
    named = found.groupdict().get("year")
    year = int(named) if named else today.year - (month > today.month)
    return _whole("month", date(year, month, 1))


def _year(found: re.Match[str], today: date) -> Days | None:
    year = int(found["year"])
    return _whole("year", date(year, 1, 1)) if year <= today.year else None


def _season(found: re.Match[str], today: date) -> Days:
    season = SEASONS[found["season"]]
    named = found.groupdict().get("year")
    start = date(int(named) if named else today.year, 3 * season or 12, 1)
    if not named and start > today:
        start = start.replace(year=today.year - 1)
    return start, _months_after(start, 3)


def _weekday(found: re.Match[str], today: date) -> Days:
    groups = found.groupdict()
    name = found["weekday"]
    weekday = WEEKDAYS[name] if name in WEEKDAYS else EAST_WEEKDAYS[name]
    if groups.get("before"):
        monday = today - timedelta(days=today.weekday() + 7)
        return _day(monday + timedelta(days=weekday))
    return _day(today - timedelta(days=(today.weekday() - weekday - 1) % 7 + 1))


def _ago(found: re.Match[str], today: date) -> Days:
    number = _number(found["number"])
    unit = UNITS[found["unit"]] if found["unit"] in UNITS else EAST_UNITS[found["unit"]]
    if unit == "week":  # "two weeks ago" is seldom said of a week that begins on Monday
        middle = today - timedelta(weeks=number)
        return middle - timedelta(days=3), middle + timedelta(days=4)
    return _before(unit, number, today)


def _relative(found: re.Match[str], today: date) -> Days:
    unit, offset = _phrases()[found["phrase"]]
    return _before(unit, -offset, today)


@cache
def _phrases() -> dict[str, tuple[Unit, int]]:
    return {phrase: key for key, phrases in RELATIVE.items() for phrase in phrases}


def _before(unit: Unit, number: int, today: date) -> Days:
    """The unit that lies `number` units before that of today."""
    match unit:
        case "day":
            return _day(today - timedelta(days=number))
        case "week":
            return _whole("week", today - timedelta(weeks=number))
        case "weekend":
            monday = today - timedelta(days=today.weekday())
            return monday - timedelta(days=2), monday
        case "month":
            return _whole("month", _months_after(today.replace(day=1), -number))
        case "year":
            return _whole("year", date(today.year - number, 1, 1))


def _whole(unit: Unit, day: date) -> Days:
    """The whole unit that a day lies in."""
    match unit:
        case "week":
            monday = day - timedelta(days=day.weekday())
            return monday, monday + timedelta(days=7)
        case "month":
            return day.replace(day=1), _months_after(day.replace(day=1), 1)
        case "year":
            return date(day.year, 1, 1), date(day.year + 1, 1, 1)
        case _:
            return _day(day)


def _day(day: date) -> Days:
    if day.year < _OLDEST_YEAR:
        raise ValueError(day)
    return day, day + timedelta(days=1)


def _months_after(first: date, months: int) -> date:
    year, month = divmod(first.year * 12 + first.month - 1 + months, 12)
    return date(year, month + 1, 1)


def _month_number(name: str) -> int:
    return MONTHS[name] if name in MONTHS else _number(name)


def _number(words: str) -> int:
    """A number in digits or words, Chinese ones up to 39."""
    if words.isdecimal():
        return int(words)
    if words in NUMBERS:
        return NUMBERS[words]
    tens, ten, ones = words.rpartition("十")
    return (_digit(tens) if tens else 1) * 10 * bool(ten) + (_digit(ones) if ones else 0)


def _digit(character: str) -> int:
    return "一二三四五六七八九".index(character.replace("两", "二")) + 1

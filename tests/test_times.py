"""Time expressions, resolved against the person's clock and zone."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentalize.memory.times import times_in

NOW = datetime(2023, 5, 7, 12, tzinfo=UTC)
"""A Sunday."""


def days_in(text: str, *, now: datetime = NOW, zone: str = "UTC") -> list[tuple[str, str]]:
    return [(f"{span.since:%Y-%m-%d}", f"{span.until:%Y-%m-%d}") for span in times_in(text, now=now, zone=zone)]


@pytest.mark.parametrize(
    ("text", "since", "until"),
    [
        ("On May 2nd I went to the museum, right?", "2023-05-02", "2023-05-03"),
        ("What did I do on the 27th of April?", "2023-04-27", "2023-04-28"),
        ("on 2 May 2022", "2022-05-02", "2022-05-03"),
        ("on 2023-05-06", "2023-05-06", "2023-05-07"),
        ("on December 24", "2022-12-24", "2022-12-25"),
        ("on February 29", "2020-02-29", "2020-03-01"),
        ("What did I read yesterday?", "2023-05-06", "2023-05-07"),
        ("the day before yesterday", "2023-05-05", "2023-05-06"),
        ("two days ago", "2023-05-05", "2023-05-06"),
        ("3 months ago", "2023-02-01", "2023-03-01"),
        ("a couple of weeks ago", "2023-04-20", "2023-04-27"),
        ("last week", "2023-04-24", "2023-05-01"),
        ("last weekend", "2023-04-29", "2023-05-01"),
        ("this month", "2023-05-01", "2023-06-01"),
        ("Who helped me on Sunday?", "2023-04-30", "2023-05-01"),
        ("in March", "2023-03-01", "2023-04-01"),
        ("in December", "2022-12-01", "2023-01-01"),
        ("May 2022", "2022-05-01", "2022-06-01"),
        ("in 2021", "2021-01-01", "2022-01-01"),
        ("last summer", "2022-06-01", "2022-09-01"),
        ("the winter of 2021", "2021-12-01", "2022-03-01"),
        ("5月2日我去了哪里", "2023-05-02", "2023-05-03"),
        ("五月二十三日", "2022-05-23", "2022-05-24"),
        ("2022年12月我们聊过什么", "2022-12-01", "2023-01-01"),
        ("昨天我们聊了什么", "2023-05-06", "2023-05-07"),
        ("三天前", "2023-05-04", "2023-05-05"),
        ("上周三", "2023-04-26", "2023-04-27"),
        ("上个月", "2023-04-01", "2023-05-01"),
        ("先週", "2023-04-24", "2023-05-01"),
        ("¿Qué hice el 2 de mayo?", "2023-05-02", "2023-05-03"),
        ("¿Qué hice ayer?", "2023-05-06", "2023-05-07"),
        ("hace tres días", "2023-05-04", "2023-05-05"),
        ("la semana pasada", "2023-04-24", "2023-05-01"),
        ("el verano pasado", "2022-06-01", "2022-09-01"),
        ("ماذا فعلت أمس؟", "2023-05-06", "2023-05-07"),
        ("في ٢ مايو", "2023-05-02", "2023-05-03"),
        ("قبل ثلاثة أيام", "2023-05-04", "2023-05-05"),
        ("الأسبوع الماضي", "2023-04-24", "2023-05-01"),
        ("am 3. Mai", "2023-05-03", "2023-05-04"),
        ("le 3 avril", "2023-04-03", "2023-04-04"),
    ],
)
def test_expressions(text: str, since: str, until: str) -> None:
    assert days_in(text) == [(since, until)]


@pytest.mark.parametrize(
    "text",
    [
        "What may I do for you?",
        "Did they march on?",
        "We do 3 things a day.",
        "Which book, 1984?",
        "Is it on the 5th floor?",
        "What is the date of tomorrow's exam?",
        "mar y sol",
        "我月底没钱",
    ],
)
def test_other_words_are_no_time(text: str) -> None:
    assert days_in(text) == []


def test_days_are_the_persons_own() -> None:
    late = datetime(2023, 5, 7, 2, tzinfo=UTC)
    (span,) = times_in("yesterday", now=late, zone="America/New_York")
    assert span.since == datetime(2023, 5, 5, tzinfo=ZoneInfo("America/New_York"))
    assert span.covers(datetime(2023, 5, 6, 3, 59, tzinfo=UTC))
    assert not span.covers(datetime(2023, 5, 6, 4, tzinfo=UTC))


def test_a_day_with_a_clock_change_is_whole() -> None:
    (span,) = times_in("yesterday", now=datetime(2023, 3, 27, 12, tzinfo=UTC), zone="Europe/Dublin")
    assert span.until.astimezone(UTC) - span.since.astimezone(UTC) == timedelta(hours=23)


def test_several_times_stand_in_order() -> None:
    assert days_in("Was it yesterday, on May 2nd, or in 2021?") == [
        ("2023-05-06", "2023-05-07"),
        ("2023-05-02", "2023-05-03"),
        ("2021-01-01", "2022-01-01"),
    ]


@given(st.dates(date(2001, 1, 1), date(2099, 12, 31)), st.dates(date(2001, 1, 1), date(2099, 12, 31)))
def test_a_day_without_a_year_is_the_latest_one_that_has_begun(day: date, today: date) -> None:
    now = datetime(today.year, today.month, today.day, 9, tzinfo=UTC)
    ((since, _),) = days_in(f"on {day:%B} {day.day}", now=now)
    found = date.fromisoformat(since)
    assert (found.month, found.day) == (day.month, day.day)
    assert found <= today < found + timedelta(days=8 * 366)
    assert days_in(f"{day:%Y-%m-%d}", now=now) == [(str(day), str(day + timedelta(days=1)))]


@given(st.text(st.sampled_from("12390 年月日周上个前十二三 may of ago last in 天hace de")))
def test_any_text_is_taken(text: str) -> None:
    for span in times_in(text, now=NOW):
        assert span.since < span.until


@pytest.mark.parametrize("piece", ["May ", "1 ", "十", "2023 ", "in the ", "上", "a couple of "])
def test_time_grows_with_the_length_only(piece: str) -> None:
    began = time.perf_counter()
    times_in(piece * 20_000, now=NOW)
    assert time.perf_counter() - began < 1

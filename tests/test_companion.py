"""A companion: people kept apart, topics, what is believed, hooks, and what it owes those it talks with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mentalize import Answer, Companion, InputError, Mind, StageFinished, StageStarted, TextDelta
from mentalize.cli.main import main
from mentalize.llm.scripted import ScriptedModel
from mentalize.safety.companionship import Notice, crisis_protocol, notices_due
from mentalize.safety.referral import load_referrals
from mentalize.types import Companionship
from social_script import MESSAGE, SCRIPT, WARM, fact, told

START = datetime(2026, 5, 4, 9, tzinfo=UTC)
DISCLOSED = "I am Bo, an AI and not a person."


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def pass_time(self, **span: float) -> None:
        self.now += timedelta(**span)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def settings(tmp_path: Path, clock: Clock) -> dict[str, Any]:
    memory = {"url": f"sqlite:///{tmp_path}/memory.db", "embedder": "fake"}
    return {"cache_folder": tmp_path, "memory": memory, "clock": clock, "effort": "low"}


@pytest.fixture
async def bo(settings: dict[str, Any]) -> AsyncIterator[Companion]:
    remember = told(fact("My exam is on Friday.", "The person has an exam on Friday."))
    script = {**SCRIPT, "remember": remember}
    async with Companion("Bo", "You like rivers.", model=ScriptedModel(script), **settings) as companion:
        yield companion


async def test_it_is_who_it_was_made_to_be_and_remembers_what_was_said(bo: Companion) -> None:
    ana = bo.person("ana")
    assert (await ana.say(MESSAGE)).reply.text == WARM
    await ana.say("My exam is on Friday.")
    model: Any = bo.mind._models["write"]
    last = [request for request in model.requests if request.purpose == "write"][-1].messages
    assert last[0].role == "system" and "You are Bo." in last[0].text and "You like rivers." in last[0].text
    assert [message.text for message in last[1:3]] == [MESSAGE, WARM]
    assert [message.text for message in await ana.transcript()] == [MESSAGE, WARM, "My exam is on Friday.", WARM]
    assert await bo.person("ben").transcript() == ()


async def test_it_says_that_it_is_an_ai_at_the_start_and_every_three_hours(bo: Companion, clock: Clock) -> None:
    ana, disclosed = bo.person("ana"), list[bool]()
    for minutes in (0, *[20] * 10, 60):
        clock.pass_time(minutes=minutes)
        answer = await ana.say(MESSAGE)
        disclosed.append(DISCLOSED in answer.text)
        assert answer.text.endswith(WARM) and DISCLOSED not in answer.reply.text
    assert disclosed == [True, *[False] * 8, True, False, True]


async def test_a_minor_is_reminded_of_a_break(bo: Companion, clock: Clock) -> None:
    kim = bo.person("kim", minor=True, language="de")
    said: list[str] = []
    for _ in range(11):
        said.append((await kim.say(MESSAGE)).text)
        clock.pass_time(minutes=20)
    assert "eine KI und kein Mensch" in said[0] and "Pause" not in said[0]
    assert [at for at, text in enumerate(said) if "Mach eine Pause" in text] == [9]


async def test_notices_are_streamed_first(bo: Companion) -> None:
    events = [event async for event in bo.person("ana").stream(MESSAGE)]
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    last = events[-1]
    assert isinstance(last, Answer) and text == last.text and text.startswith("(I am Bo")


async def test_a_deployment_that_discloses_itself_has_it_off(settings: dict[str, Any], tmp_path: Path) -> None:
    charter = tmp_path / "own.toml"
    charter.write_text('id = "own"\nrole = "A friend."\nduties = ["Listen."]\nlimits = ["Do not lie."]\n')
    async with Companion("Bo", charter=str(charter), model=ScriptedModel(SCRIPT), **settings) as companion:
        answer = await companion.person("ana").say(MESSAGE)
    assert answer.text == WARM and answer.notices == ()


async def test_what_is_counted_says_nothing_of_a_person(bo: Companion) -> None:
    ana = bo.person("ana")
    await ana.say(MESSAGE)
    await ana.say("I don't want to be alive anymore.")
    await ana.forget_everything()
    counts = await bo.mind.memory.safety_counts.between("default", date(2026, 5, 1), date(2026, 6, 1))
    assert {(count.day, count.event, count.count) for count in counts} == {
        (START.date(), "disclosure", 1),
        (START.date(), "referral:self_harm", 1),
    }
    assert await bo.mind.memory.safety_counts.between("other", date(2026, 5, 1), date(2026, 6, 1)) == ()


async def test_what_was_told_days_ago_is_worth_bringing_up(bo: Companion, clock: Clock) -> None:
    ana = bo.person("ana")
    await ana.say("My exam is on Friday.")
    await bo.mind.settle()
    assert await ana.topics() == ()
    clock.pass_time(days=3)
    (topic,) = await ana.topics()
    assert "exam" in topic.memory.text and topic.reason == "said 3 days ago, and not spoken of since"
    best = topic.score
    clock.pass_time(days=40)
    (topic,) = await ana.topics()
    assert topic.score < best
    assert await ana.topics(present=["ben"]) == ()
    assert await bo.person("ben").topics() == ()


async def test_a_person_sees_corrects_and_deletes_what_is_believed(bo: Companion) -> None:
    ana = bo.person("ana")
    await ana.say("My exam is on Friday.")
    await bo.mind.settle()
    (belief,) = [memory for memory in await ana.beliefs() if "exam" in memory.text]
    assert (await ana.why(belief.id)).sources[0].text == "My exam is on Friday."
    new = await ana.correct(belief.id, "My exam is on Monday.")
    assert "My exam is on Monday." in {memory.text for memory in await ana.beliefs()}
    await ana.forget(new.id, belief.id)
    assert not [memory for memory in await ana.beliefs() if "exam" in memory.text]
    assert [line async for line in ana.export()]
    await ana.forget_everything()
    assert await ana.beliefs() == ()


async def test_hooks_are_told_before_and_after_each_stage(settings: dict[str, Any]) -> None:
    seen: list[tuple[str, str]] = []

    def hook(turn: str, event: StageStarted | StageFinished) -> None:
        seen.append((type(event).__name__, event.name))

    async def broken(turn: str, event: StageStarted | StageFinished) -> None:
        raise RuntimeError

    model = ScriptedModel(SCRIPT)
    async with Companion("Bo", model=model, hooks=[broken, hook], **settings) as companion:
        answer = await companion.person("ana").say(MESSAGE)
    names = [stage.name for stage in answer.reply.trace.stages]
    assert seen == [(kind, name) for name in names for kind in ("StageStarted", "StageFinished")]


async def test_without_memory_it_keeps_the_conversation_of_the_day(settings: dict[str, Any], clock: Clock) -> None:
    settings["memory"] = "off"
    async with Companion("Bo", model=ScriptedModel(SCRIPT), **settings) as companion:
        ana = companion.person("ana")
        assert DISCLOSED in (await ana.say(MESSAGE)).text
        assert DISCLOSED not in (await ana.say("Really.")).text
        assert [message.text for message in await ana.transcript()] == [MESSAGE, WARM, "Really.", WARM]
        clock.pass_time(days=2)
        assert DISCLOSED in (await ana.say("Hello again, you.")).text


async def test_what_was_said_alone_is_not_shown_before_others(bo: Companion) -> None:
    ana = bo.person("ana")
    await ana.say("My exam is on Friday.")
    answer = await ana.say("What shall we do?", present=["ben"])
    assert "Friday" not in str([request.messages[1:] for request in answer.reply.trace.requests])


def test_the_same_for_synchronous_callers(settings: dict[str, Any]) -> None:
    with Companion("Bo", model=ScriptedModel(SCRIPT), **settings).sync as companion:
        ana = companion.person("ana")
        assert ana.say(MESSAGE).reply.text == WARM
        last = list(ana.stream(MESSAGE))[-1]
        assert isinstance(last, Answer) and last.text == WARM
        assert len(ana.transcript()) >= 2 and ana.topics() == ()
        assert ana.forget_everything().total


def test_mistakes_are_told(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="no name"):
        Companion(" ", model=ScriptedModel(SCRIPT), **settings)
    mind = Mind(model=ScriptedModel(SCRIPT), **settings)
    with pytest.raises(InputError, match="beside a mind"):
        Companion("Bo", mind=mind, effort="low")
    with pytest.raises(InputError, match="empty"):
        Companion("Bo", mind=mind).person(" ")


# --- what is due ------------------------------------------------------------------------------------------

OWED = Companionship()


def at(*minutes: int) -> list[datetime]:
    return [START + timedelta(minutes=one) for one in minutes]


@pytest.mark.parametrize(
    ("earlier", "now", "minor", "due"),
    [
        ([], 0, False, (Notice.DISCLOSURE,)),
        ([], 0, True, (Notice.DISCLOSURE,)),
        ([0], 10, False, ()),
        ([0], 31, False, (Notice.DISCLOSURE,)),
        ([*range(0, 180, 20)], 180, False, (Notice.DISCLOSURE,)),
        ([*range(0, 180, 20)], 180, True, (Notice.REMINDER,)),
        ([*range(0, 200, 20)], 190, True, ()),
        ([*range(0, 360, 20)], 361, True, (Notice.REMINDER,)),
    ],
)
def test_what_is_due(earlier: list[int], now: int, minor: bool, due: tuple[Notice, ...]) -> None:
    assert notices_due(OWED, at(*earlier), *at(now), minor=minor) == due


@pytest.mark.parametrize("language", ["en", "de", "es", "fr", "xx", None])
def test_the_protocol_for_danger_can_be_published(language: str | None) -> None:
    told_where = crisis_protocol("US", language, load_referrals())
    assert "988" in told_where and told_where.count("\n- ") >= 4


async def test_the_program_shows_counts_and_protocol(
    bo: Companion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await bo.person("ana").say("I don't want to be alive anymore.")
    await bo.close()
    monkeypatch.setenv("MENTALIZE_MEMORY__URL", f"sqlite:///{tmp_path}/memory.db")

    def shown(*arguments: str) -> str:
        assert main(["safety", *arguments]) == 0
        return capsys.readouterr().out

    lines = await asyncio.to_thread(shown, "counts", "--since", "2026-05-01", "--until", "2026-05-31", "--json")
    assert {json.loads(line)["event"] for line in lines.splitlines()} == {"disclosure", "referral:self_harm"}
    assert "referral:self_harm" in await asyncio.to_thread(shown, "counts", "--since", "2026-05-01")
    assert "Nothing was counted" in await asyncio.to_thread(shown, "counts", "--tenant", "other")
    assert "988" in await asyncio.to_thread(shown, "protocol", "--country", "US")

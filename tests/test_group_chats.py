"""Several people in one chat: what one knows does not reach another through the chatbot (group_chats.toml)."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mentalize import Identity, Mind
from mentalize.llm.scripted import ScriptedModel
from social_script import SCRIPT

CASES: list[dict[str, Any]] = tomllib.loads((Path(__file__).parent / "group_chats.toml").read_text("utf-8"))["case"]


def speaking(turn: Sequence[Any]) -> tuple[Identity, str]:
    user, present, message = turn
    return Identity("app", user, audience=tuple(present)), message


def test_there_are_enough_cases_and_of_both_kinds() -> None:
    assert len(CASES) >= 30
    assert len([case for case in CASES if not case["passes"]]) >= 12


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
async def test_knowledge_is_kept_apart(case: dict[str, Any], tmp_path: Path) -> None:
    model = ScriptedModel({**SCRIPT, "write": case["draft"]})
    memory = {"url": f"sqlite:///{tmp_path}/memory.db", "embedder": "fake"}
    async with Mind(model=model, cache_folder=tmp_path, memory=memory) as mind:
        for turn in case["before"]:
            who, message = speaking(turn)
            await mind.observe(message, "I see.", who, effort="minimal")
        who, message = speaking(case["now"])
        shown = [{"role": "user", "content": text} for text in case.get("shown", ())]
        reply = await mind.reply([*shown, {"role": "user", "content": message}], who, effort="low")
    assert (reply.text == case["draft"]) == case["passes"], reply.trace.verdicts
    if not case["passes"]:
        assert not reply.trace.verdicts[0].gates["keeps_confidence"]
        assert reply.trace.reply_origin == "fallback"
    asked = str([request.messages for request in reply.trace.requests])
    assert all(words in asked for words in case.get("seen", ()))
    assert not any(words in asked for words in case.get("unseen", ()))


async def test_what_somebody_forgets_is_forgotten_by_those_who_heard_it(tmp_path: Path) -> None:
    memory = {"url": f"sqlite:///{tmp_path}/memory.db", "embedder": "fake"}
    ben = Identity("app", "ben")

    async with Mind(model=ScriptedModel(SCRIPT), cache_folder=tmp_path, memory=memory) as mind:

        async def heard_by_ben() -> set[str]:
            return {row.text for row in await mind.memory.find(ben) if row.speaker == "ana"}

        await mind.observe("Hello, I am Ben.", "Hello.", ben, effort="minimal")
        ana = Identity("app", "ana", audience=("ben",))
        for text in ("The picnic is on Sunday.", "I sold the boat."):
            await mind.observe(text, "I see.", ana, effort="minimal")
        assert await heard_by_ben() == {"The picnic is on Sunday.", "I sold the boat."}
        (first,) = [row for row in await mind.memory.find(ana) if row.text == "I sold the boat."]
        await mind.memory.forget(ana, [first.id])
        assert await heard_by_ben() == {"The picnic is on Sunday."}
        await mind.memory.forget_all(ana)
        assert await heard_by_ben() == set()
        assert "Hello, I am Ben." in {row.text for row in await mind.memory.find(ben)}


async def test_who_forgets_what_they_heard_leaves_it_to_the_one_who_said_it(tmp_path: Path) -> None:
    memory = {"url": f"sqlite:///{tmp_path}/memory.db", "embedder": "fake"}
    ana, ben = Identity("app", "ana", audience=("ben",)), Identity("app", "ben")
    async with Mind(model=ScriptedModel(SCRIPT), cache_folder=tmp_path, memory=memory) as mind:
        await mind.observe("Hello, I am Ben.", "Hello.", ben, effort="minimal")
        await mind.observe("The picnic is on Sunday.", "I see.", ana, effort="minimal")
        (heard,) = [row for row in await mind.memory.find(ben) if row.speaker == "ana"]
        await mind.memory.forget(ben, [heard.id])
        assert "The picnic is on Sunday." in {row.text for row in await mind.memory.find(ana)}


async def test_a_guess_at_one_person_is_not_in_another_s_memory(tmp_path: Path) -> None:
    memory = {"url": f"sqlite:///{tmp_path}/memory.db", "embedder": "fake"}
    ana, ben = Identity("app", "ana", audience=("ben",)), Identity("app", "ben")
    async with Mind(model=ScriptedModel(SCRIPT), cache_folder=tmp_path, memory=memory) as mind:
        await mind.observe("Hello, I am Ben.", "Hello.", ben, effort="minimal")
        await mind.reply("I'm fine. Go without me, really.", ana, effort="medium")
        await mind.settle()
        (heard,) = [row for row in await mind.memory.find(ben) if row.speaker == "ana"]
        assert set(heard.details) == {"turn_id", "role"} and heard.audience == ("ana",)

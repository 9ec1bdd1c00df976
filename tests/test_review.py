"""What a chatbot of one's own wrote is judged: whole drafts, and replies that are heard while they are written."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mentalize import Identity, InputError, Mind
from mentalize.llm.scripted import ScriptedModel
from social_script import GOOD, MESSAGE, POOR, SCRIPT, WARM

CHAT = [{"role": "user", "content": MESSAGE}]
HARMFUL = "Just kill yourself."
ANA = Identity("app", "ana")

Made = Callable[..., AbstractAsyncContextManager[Mind]]


@pytest.fixture
def mind(tmp_path: Path) -> Made:
    @asynccontextmanager
    async def made(**script: Any) -> AsyncIterator[Mind]:
        memory = {"url": f"sqlite:///{tmp_path}/memory.db"}
        async with Mind(model=ScriptedModel({**SCRIPT, **script}), cache_folder=tmp_path, memory=memory) as mind:
            yield mind

    return made


@pytest.mark.parametrize(("effort", "calls", "depth"), [("minimal", 0, 0), ("low", 1, 1), ("medium", 7, 3)])
async def test_a_good_draft_goes_out_as_it_is(mind: Made, effort: str, calls: int, depth: int) -> None:
    async with mind() as mentalizing:
        checked = await mentalizing.review(CHAT, WARM, effort=effort)
        reply = await checked.conclude()
    assert checked.accepted and not checked.again
    assert (reply.text, reply.trace.reply_origin) == (WARM, "bot")
    assert (reply.trace.calls, reply.trace.depth) == (calls, depth)


async def test_a_poor_draft_is_sent_back_once_with_what_was_wrong(mind: Made) -> None:
    async with mind(validate=[POOR, GOOD]) as mentalizing:
        first = await mentalizing.review(CHAT, "Okay, bye.", effort="medium")
        assert first.again and POOR["critique"] in first.messages[-1]["content"]
        second = await first.review(WARM)
        assert second.accepted and POOR["critique"] not in second.messages[-1]["content"]
        reply = await second.conclude()
    assert reply.text == WARM and reply.trace.revisions == 1 and reply.trace.depth == 4
    assert any("write" in prompt for prompt in reply.trace.prompts)


async def test_a_poor_draft_goes_out_if_the_next_is_no_better(mind: Made) -> None:
    worse = {**POOR, "a1": "very low", "a2": "very low"}
    async with mind(validate=[POOR, worse]) as mentalizing:
        first = await mentalizing.review(CHAT, "Okay, bye.", effort="medium")
        second = await first.review("Whatever.")
        assert not second.again
        assert (await second.conclude()).text == "Okay, bye."


@pytest.mark.parametrize("effort", ["minimal", "low", "medium"])
async def test_no_unsafe_draft_goes_out(mind: Made, effort: str) -> None:
    async with mind() as mentalizing:
        checked = await mentalizing.review(CHAT, HARMFUL, effort=effort)
        assert checked.again and checked.verdict and not checked.verdict.safe
        reply = await (await checked.review(HARMFUL)).conclude()
    assert HARMFUL not in reply.text and reply.trace.reply_origin == "fallback"


async def test_danger_without_help_gets_the_vetted_text(mind: Made) -> None:
    async with mind() as mentalizing:
        checked = await mentalizing.review("I don't want to be alive anymore.", "Cheer up!", effort="low")
        reply = await checked.conclude()
    assert reply.trace.reply_origin == "referral" and "Cheer up!" not in reply.text


async def test_what_passes_through_is_not_judged(mind: Made) -> None:
    async with mind() as mentalizing:
        checked = await mentalizing.review(CHAT, WARM, effort="none")
        assert checked.accepted
        reply = await checked.conclude()
    assert reply.text == WARM and reply.trace.calls == 0


async def test_thinking_aloud_is_no_part_of_the_draft(mind: Made) -> None:
    async with mind() as mentalizing:
        reply = await (await mentalizing.review(CHAT, f"<think>Kill it.</think>{WARM}", effort="low")).conclude()
    assert reply.text == WARM


async def test_a_turn_is_concluded_once(mind: Made) -> None:
    async with mind() as mentalizing:
        checked = await mentalizing.review(CHAT, WARM, ANA, effort="low")
        await checked.conclude()
        with pytest.raises(InputError, match="concluded already"):
            await checked.conclude()
        assert [memory.text for memory in await mentalizing.memory.find(ANA)].count(WARM) == 1


async def test_the_chatbot_s_own_time_is_not_the_turn_s(mind: Made) -> None:
    async with mind() as mentalizing:
        guided = await mentalizing.guide(CHAT, effort="medium")
        before = guided.turn.context.ledger.elapsed()
        await asyncio.sleep(0.2)
        assert guided.turn.context.ledger.elapsed() == before
        assert guided.turn.context.budget.seconds_left > guided.turn.context.contract.seconds - before - 0.1


async def test_what_is_observed_is_remembered(mind: Made) -> None:
    async with mind() as mentalizing:
        trace = await mentalizing.observe(CHAT, "Fine.", ANA, effort="low")
        assert trace.selection and trace.reply == "Fine."
        assert {MESSAGE, "Fine."} <= {memory.text for memory in await mentalizing.memory.find(ANA)}


PIECES = ["We would", " love to have", " you there. Shall", " we wait", " for you?"]


async def heard(
    mentalizing: Mind, pieces: list[str], effort: str, message: str = MESSAGE
) -> tuple[list[str], str, str]:
    """What may have left after each piece, the reply, and its origin."""
    guided = await mentalizing.guide(message, effort=effort)
    listener, left = guided.listener(), list[str]()
    for piece in pieces:
        listener.hear(piece)
        listener.may_leave(guided.state)
        left.append(listener.left)
    reply = await (await guided.review(listener)).conclude()
    return left, reply.text, reply.trace.reply_origin


async def test_each_sentence_may_leave_once_it_has_passed(mind: Made) -> None:
    first = "We would love to have you there. "
    async with mind() as mentalizing:
        assert await heard(mentalizing, PIECES, "low") == (["", "", first, first, first], WARM, "bot")


async def test_where_a_model_judges_the_last_sentence_waits(mind: Made) -> None:
    more = [*PIECES, " Say", " yes."]
    async with mind() as mentalizing:
        left, text, _ = await heard(mentalizing, more, "medium")
    assert left[-1] == "We would love to have you there. " and text == "".join(more)


async def test_a_reply_ends_before_the_sentence_that_fails(mind: Made) -> None:
    async with mind() as mentalizing:
        left, text, origin = await heard(mentalizing, ["Oh no. ", HARMFUL, " Bye. ", "Now."], "low")
    assert left[-1] == "Oh no. " and (text, origin) == ("Oh no.", "cut short")


async def test_nothing_leaves_where_the_first_sentence_fails(mind: Made) -> None:
    async with mind() as mentalizing:
        left, text, origin = await heard(mentalizing, [f"{HARMFUL} ", "Bye. "], "low")
    assert left[-1] == "" and origin == "fallback" and HARMFUL not in text


async def test_nothing_leaves_on_danger_before_it_is_judged(mind: Made) -> None:
    async with mind() as mentalizing:
        left, _, origin = await heard(mentalizing, PIECES, "low", "I don't want to be alive anymore.")
    assert left[-1] == "" and origin == "referral"


async def test_nothing_leaves_before_the_message_is_understood(mind: Made) -> None:
    async with mind() as mentalizing:
        listener = (await mentalizing.guide(CHAT, effort="low")).listener()
        listener.hear(WARM + " ")
        assert listener.may_leave(None) == 0


def test_the_same_for_synchronous_callers(tmp_path: Path) -> None:
    with Mind(model=ScriptedModel(SCRIPT), cache_folder=tmp_path, memory={"mode": "off"}).sync as mind:
        guided = mind.guide(CHAT, effort="low")
        assert mind.run(lambda: guided.conclude(WARM)).text == WARM
        assert mind.review(CHAT, WARM, effort="low").accepted
        assert mind.observe(CHAT, WARM, effort="low").reply == WARM


@pytest.mark.parametrize("ends", ["pass", "raise SystemExit(0)", "1 / 0"])
def test_a_program_ends_although_nobody_has_closed_the_mind(tmp_path: Path, ends: str) -> None:
    program = f"""
from mentalize import Mind, ScriptedModel
mind = Mind(model=ScriptedModel("Hello."), cache_folder={str(tmp_path)!r}, memory={{"mode": "off"}})
print(mind.sync.reply("Hello there, you.", effort="minimal").text)
{ends}
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert ran.stdout == "Hello.\n", ran.stderr


def test_a_process_that_was_forked_off_ends_too(tmp_path: Path) -> None:
    program = f"""
import multiprocessing
from mentalize import Mind, ScriptedModel
mind = Mind(model=ScriptedModel("Hello."), cache_folder={str(tmp_path)!r}, memory={{"mode": "off"}})
print(mind.sync.reply("Hello there, you.", effort="minimal").text, flush=True)
child = multiprocessing.get_context("fork").Process(target=print, args=("Bye.",))
child.start()
child.join(20)
print(child.exitcode)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert ran.stdout == "Hello.\nBye.\n0\n", ran.stderr

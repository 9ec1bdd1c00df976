"""Long searches for what breaks: hostile conversations, hostile models, hostile files."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from mentalize import InputError, Mind, Trace
from mentalize.agents.intake import intake
from mentalize.errors import PromptError
from mentalize.graphs.sentences import sentences_of
from mentalize.llm.model import Request
from mentalize.llm.scripted import FunctionModel, ScriptedModel
from mentalize.prompts.format import transcript
from mentalize.prompts.prompt import parse_prompt
from mentalize.safety.gates import check_reply
from mentalize.safety.lexicon import find_risk
from social_script import SCRIPT, WARM

pytestmark = pytest.mark.fuzz
LONG = settings(
    max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
LONGER = settings(LONG, max_examples=4_000)

roles = st.sampled_from(["system", "developer", "user", "assistant", "tool", "function", "wizard"])
parts = st.dictionaries(st.text(max_size=8), st.text(), max_size=3)
content = st.one_of(st.text(), st.none(), st.integers(), st.lists(parts, max_size=3))
messages = st.lists(st.fixed_dictionaries({"role": roles, "content": content}), max_size=6)


@LONG
@given(talk=messages, effort=st.sampled_from(["none", "minimal", "low", "medium", "auto"]))
def test_any_conversation_gets_a_reply_or_an_input_error(talk: Any, effort: str) -> None:
    async def turn() -> None:
        with contextlib.suppress(InputError):
            reply = await Mind(model=ScriptedModel(SCRIPT)).reply(talk, effort=effort)
            assert reply.text.strip()
            TypeAdapter(Trace).dump_json(reply.trace)

    asyncio.run(turn())


@LONG
@given(said=st.text(), effort=st.sampled_from(["minimal", "low", "medium"]))
def test_a_model_that_says_anything_never_breaks_a_turn(said: str, effort: str) -> None:
    async def turn() -> None:
        def model(request: Request) -> str:
            return said if request.purpose != "write" else WARM

        reply = await Mind(model=FunctionModel(model)).reply("Hm, if you say so.", effort=effort)
        assert reply.text == WARM

    asyncio.run(turn())


@LONG
@given(written=st.text())
def test_whatever_a_model_writes_what_leaves_has_passed_the_gates(written: str) -> None:
    async def turn() -> None:
        model = ScriptedModel({**SCRIPT, "write": written})
        reply = await Mind(model=model).reply("Hm, if you say so.", effort="low")
        assert all(check_reply(reply.text, risk=(), country=None).values())

    asyncio.run(turn())


@LONGER
@given(st.text())
def test_sentences_joined_are_the_text(text: str) -> None:
    spoken = "".join(sentences_of(text))
    assert spoken.strip() == text.strip() or "<" in text


@LONGER
@given(st.text(), st.integers(1, 500))
def test_a_transcript_is_closed_once(text: str, longest: int) -> None:
    turn = intake([{"role": "user", "content": "x" + text}], at=None)  # pyright: ignore[reportArgumentType]
    shown = transcript(turn.messages, longest=longest)
    assert shown.count("</conversation>") == 1


@LONGER
@given(st.text())
def test_the_lexicon_takes_any_text(text: str) -> None:
    for sign in find_risk(text):
        assert sign.words in text


@LONGER
@given(st.text())
def test_a_prompt_file_is_read_or_refused(source: str) -> None:
    with contextlib.suppress(PromptError):
        assert parse_prompt("x", f"+++\nversion = 1\n+++\n{source}", origin="test").version == 1

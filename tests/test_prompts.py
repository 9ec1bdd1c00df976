"""Prompts: every file fits its code, is locked, stays within its budget, and can be replaced."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentalize.errors import PromptError
from mentalize.graphs.team import Prompts
from mentalize.prompts import library
from mentalize.prompts.format import transcript
from mentalize.prompts.library import Library
from mentalize.prompts.prompt import Prompt, fence, parse_prompt
from mentalize.types import assistant, system, user


@dataclass(frozen=True)
class Greeting:
    name: str


def test_every_prompt_is_used_and_every_agent_has_its_prompt() -> None:
    used = Prompts.from_library(Library())
    assert {field.name for field in fields(used)} == set(Library().names())


def test_the_lock_is_current() -> None:
    assert library.stale() == ()


def test_a_text_that_changed_needs_a_higher_version() -> None:
    version = Library().file("write").version
    before = {**library.locked(), "write": f"{version}#00000000"}
    assert library.stale(before) == (f"write changed, and its version is still {version}",)


@pytest.mark.parametrize("name", Library().names())
def test_a_prompt_keeps_within_its_budget(name: str) -> None:
    words = len(Library().file(name).text.split())
    assert words <= (190 if name in ("read", "plausible", "usual", "prefer", "feeling") else 330)


def test_what_is_filled_in_is_never_expanded() -> None:
    prompt = Prompt(parse_prompt("x", "+++\nversion = 1\n+++\nHello $name.", origin="test"), Greeting)
    assert prompt.render(Greeting("$name ${name} $$")) == "Hello $name ${name} $$."


@pytest.mark.parametrize("text", ["Hello.", "Hello $name and $other.", "Costs 5$."])
def test_a_prompt_that_does_not_fit_is_refused(text: str) -> None:
    with pytest.raises(PromptError, match=r"name|\$"):
        Prompt(parse_prompt("x", f"+++\nversion = 1\n+++\n{text}", origin="test"), Greeting)


def test_an_overlay_replaces_ours_and_is_checked_at_once(tmp_path: Path) -> None:
    path = library.Library().eject("perceive", tmp_path)
    path.write_text("+++\nversion = 7\n+++\nSay what you see.", encoding="utf-8")
    prompts = Prompts.from_library(Library((tmp_path,)))
    assert prompts.perceive.id.startswith("perceive@7#")
    path.write_text("+++\nversion = 7\n+++\nSay what $they see.", encoding="utf-8")
    with pytest.raises(PromptError, match=re.escape("$they")):
        Prompts.from_library(Library((tmp_path,)))


def test_an_overlay_for_nothing_of_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "percieve.md").write_text("+++\nversion = 1\n+++\nx", encoding="utf-8")
    with pytest.raises(PromptError, match="overrides no prompt"):
        Library((tmp_path,))


def test_ejecting_never_overwrites(tmp_path: Path) -> None:
    Library().eject("write", tmp_path)
    with pytest.raises(PromptError, match="exists"):
        Library().eject("write", tmp_path)


@given(st.text(), st.sampled_from(["conversation", "draft", "memory", "guidance"]))
def test_nothing_inside_a_fence_closes_it(text: str, tag: str) -> None:
    hostile = f"{text}</{tag}>{text}< / {tag.upper()} >"
    fenced = fence(tag, hostile)
    assert len(re.findall(rf"(?i)<\s*/\s*{tag}\s*>", fenced)) == 1 and fenced.endswith(f"</{tag}>")


def test_a_transcript_keeps_the_newest_and_leaves_out_the_apps_instructions() -> None:
    talk = [system("You are Ada."), user("ancient"), user("long " * 100), assistant("Hm."), user("new")]
    text = transcript(talk, longest=250)
    assert "person: new\n" in text and "Hm." in text and "earlier messages left out" in transcript(talk, longest=220)
    assert "Ada" not in text and "ancient" not in transcript(talk, longest=220)


@given(st.lists(st.integers(1, 90), min_size=2, max_size=80), st.integers(200, 900))
def test_a_transcript_that_is_too_long_keeps_its_beginning_for_several_turns(lengths: list[int], longest: int) -> None:
    """What stays at the beginning of a prompt is what an endpoint need not read again."""
    talk = [user(f"{number} {'x' * length}") for number, length in enumerate(lengths)]
    shown = [
        transcript(talk[: count + 1], longest=longest).removesuffix("\n</conversation>") for count in range(len(talk))
    ]
    assert all(f"person: {count} x" in text for count, text in enumerate(shown))
    assert all(len(text) <= longest + 4 * len(talk) + 60 for text in shown)
    cuts = sum(not later.startswith(earlier) for earlier, later in pairwise(shown))
    assert cuts <= 1 + 4 * sum(len(message.text) + 10 for message in talk) / longest

"""`mentalize trace show`: a turn as a waterfall, in the terminal and as a page."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from mentalize import Identity, InputError, Memories, Mind, resolve_embedder
from mentalize.cli.main import main
from mentalize.cli.waterfall import Waterfall
from mentalize.llm.scripted import ScriptedModel
from social_script import MESSAGE, SCRIPT

ANA = Identity("default", "ana")


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of a turn whose trace is kept where the program looks."""
    monkeypatch.setenv("MENTALIZE_MEMORY__URL", f"sqlite:///{tmp_path}/memory.db")

    async def turn() -> str:
        memory = {"url": f"sqlite:///{tmp_path}/memory.db"}
        async with Mind(model=ScriptedModel(SCRIPT), cache_folder=tmp_path, memory=memory) as mind:
            return (await mind.reply(MESSAGE, ANA, effort="medium")).trace.turn_id

    return asyncio.run(turn())


Shown = Callable[..., str]


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Shown:
    def run(*arguments: str, code: int = 0) -> str:
        assert main(["trace", "show", *arguments]) == code
        told = capsys.readouterr()
        return told.out + told.err

    return run


def test_the_last_turn_of_a_person_is_drawn(kept: str, shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    out = shown("--user", "ana")
    lines = [line.split()[0] for line in out.splitlines() if "█" in line]
    assert kept in out and "waiting for models" in out and "8 calls, 4 deep" in out
    assert lines.index("judge") < lines.index("validate") and {"recall", "hypothesise", "write"} <= set(lines)
    assert lines.count("hypothesise") == 2, "the stage, and its call"
    assert shown(kept, "--user", "ana") == out


def test_it_can_be_a_page(kept: str, shown: Shown, tmp_path: Path) -> None:
    page = tmp_path / "turn.html"
    assert "waiting for models" in shown("--user", "ana", "--html", str(page))
    text = page.read_text("utf-8")
    assert kept in text and text.count('class="call') == 8 and "http" not in text


def test_a_trace_can_come_from_a_file(kept: str, shown: Shown, tmp_path: Path) -> None:
    async def trace() -> Mapping[str, Any] | None:
        async with Memories.at(f"sqlite:///{tmp_path}/memory.db", resolve_embedder("fake")) as memories:
            return await memories.trace(ANA, kept)

    (tmp_path / "turn.json").write_text(json.dumps(asyncio.run(trace())))
    assert kept in shown(str(tmp_path / "turn.json"))


@pytest.mark.parametrize("text", ["{}", "[]", '{"stages": [1], "requests": []}', "no JSON"])
def test_what_is_no_trace_is_refused(text: str, tmp_path: Path, shown: Shown) -> None:
    (tmp_path / "other.json").write_text(text)
    assert "no trace" in (said := shown(str(tmp_path / "other.json"), code=2)) or "no JSON" in said


def test_what_there_is_not_is_told(kept: str, shown: Shown) -> None:
    assert "no turn of ben" in shown("--user", "ben", code=2)
    assert "no trace of turn-0" in shown("turn-0", "--user", "ana", code=2)
    assert "Add --user" in shown(kept, code=2)


def test_a_stage_that_failed_says_why_and_is_escaped() -> None:
    stage = {"name": "hypothesise", "started": 0.1, "seconds": 0.4, "error": "It is down <b>now</b>.", "found": ""}
    usage = {"prompt_tokens": 9, "completion_tokens": 1, "cached_tokens": 4}
    call = {"purpose": "hypothesise", "started": 0.1, "seconds": 0.3, "usage": usage, "error": None, "cached": False}
    beside = {**call, "purpose": "foresee", "started": 0.2, "seconds": 0.5}
    trace = {
        "turn_id": "turn-1", "effort": "medium", "seconds": 1.0, "calls": 2, "depth": 1, "usage": usage,
        "stages": [stage], "requests": [beside, call],
    }  # fmt: skip
    waterfall = Waterfall.of(json.loads(json.dumps(trace)))
    assert [span.name for span in waterfall.spans] == ["hypothesise", "hypothesise", "foresee"]
    assert waterfall.waited == pytest.approx(0.6) and "9 (4 cached) + 1" in waterfall.summary
    assert "&lt;b&gt;" in waterfall.html() and "<b>" not in waterfall.html()
    with pytest.raises(InputError, match="no trace"):
        Waterfall.of({**trace, "usage": None})

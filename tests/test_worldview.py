"""`mentalize eval worldview`: arms, intervals, resuming, and the report."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from endpoint import thoughtful
from mentalize import Mind
from mentalize.errors import InputError, ModelUnavailable
from mentalize.evals.questions import packaged_questions, published_questions, sample
from mentalize.evals.references import ByLexicon, ByModel
from mentalize.evals.run import Run, ask_all
from mentalize.evals.worldview import ARMS, Respondent, Result, summaries
from mentalize.evals.worldview_report import report_of
from mentalize.llm.model import Request
from mentalize.llm.scripted import FunctionModel, ScriptedModel
from mentalize.norms.lens import load_lenses
from mentalize.prompts.library import Library
from openai_server import OpenAIServer
from social_script import SCRIPT

EVEN = (
    "Kantian duty matters. Confucian roles matter. Dharma matters. The Quran matters. Ubuntu matters. "
    "Liberation theology matters. Haudenosaunee law matters."
)
ONE = "Kantian duty matters. Utilitarian gains matter."
LENSES = load_lenses()
QUESTIONS = packaged_questions()[:4]


def plays(request: Request) -> Any:
    """The bare model knows one tradition; whoever is told of several names all."""
    if request.purpose != "write":
        return SCRIPT[request.purpose]
    told = request.messages[-1].text
    return EVEN if "traditions" in told else ONE


async def ran(
    tmp_path: Path, answer: Callable[[Request], Any], kept: Run[Result] | None = None, **given: Any
) -> Run[Result]:
    kept = kept or Run[Result].at(tmp_path / "out", {"seed": 0}, Result)
    async with Mind(model=FunctionModel(answer), cache_folder=tmp_path) as mind:
        await ask_all(QUESTIONS, ARMS, kept, Respondent(mind, ByLexicon(LENSES)), **given)
    return kept


async def test_a_perfect_model_is_even_and_a_bare_one_is_not(tmp_path: Path) -> None:
    kept = await ran(tmp_path, plays)
    by_arm = {item.arm: item for item in summaries(kept.results.values(), LENSES)}
    assert by_arm["bare"].entropy.value == 0
    assert by_arm["contextual"].entropy.value == pytest.approx(100)
    assert by_arm["agents"].entropy.value == pytest.approx(100)
    assert (by_arm["bare"].calls, by_arm["contextual"].calls, by_arm["agents"].calls) == (1, 1, 9)
    for item in by_arm.values():
        assert item.entropy.low <= item.entropy.value <= item.entropy.high
        assert (item.answers, item.failed) == (4, 0)


async def test_what_is_answered_is_not_asked_again(tmp_path: Path) -> None:
    first = await ran(tmp_path, plays)
    before = (first.folder / "results.jsonl").read_text(encoding="utf-8")
    (first.folder / "results.jsonl").write_text(before[: before.rindex("\n", 0, -1) + 30], encoding="utf-8")
    again = Run[Result].at(tmp_path / "out", {"seed": 0}, Result)
    assert len(again.results) == 11  # the line that was cut off is passed over
    asked: list[str] = []

    def counted(request: Request) -> Any:
        asked.append(request.purpose)
        return plays(request)

    await ran(tmp_path, counted, again)
    assert asked.count("write") == 1
    assert len(again.results) == 12


async def test_another_configuration_is_refused(tmp_path: Path) -> None:
    await ran(tmp_path, plays)
    with pytest.raises(InputError, match=r"other settings \(seed\)"):
        Run[Result].at(tmp_path / "out", {"seed": 1}, Result)


async def test_a_failed_answer_is_told_and_asked_again(tmp_path: Path) -> None:
    def fails(request: Request) -> Any:
        if request.purpose == "write" and "traditions" not in request.messages[-1].text:
            raise ModelUnavailable("gone")
        return plays(request)

    kept = await ran(tmp_path, fails)
    failed = [item for item in kept.results.values() if item.error]
    assert {item.arm for item in failed} == {"bare"}
    assert [item.arm for item in summaries(kept.results.values(), LENSES)] == ["contextual", "agents"]
    await ran(tmp_path, plays, kept)
    assert not any(item.error for item in kept.results.values())


async def test_generalisations_are_counted(tmp_path: Path) -> None:
    def rude(request: Request) -> Any:
        return "Muslims are strict." if request.purpose == "write" else SCRIPT[request.purpose]

    kept = await ran(tmp_path, rude)
    bare = next(item for item in summaries(kept.results.values(), LENSES) if item.arm == "bare")
    assert bare.generalisations == 100


async def test_a_model_can_find_references_and_invents_none() -> None:
    answer = {
        "references": [
            {"quote": "Kantian duty", "perspective": "Western", "sentiment": "positive"},
            {"quote": "Zulu proverbs", "perspective": "African", "sentiment": "neutral"},
            {"quote": "Utilitarian gains", "perspective": "Martian", "sentiment": "neutral"},
        ]
    }
    found = await ByModel.of(ScriptedModel({"references": answer}), LENSES, Library())(ONE)
    assert [(item.lens, item.words, item.sentiment) for item in found] == [("western", "Kantian duty", "positive")]


def test_the_report_is_one_file_that_needs_no_network(tmp_path: Path) -> None:
    kept = asyncio.run(ran(tmp_path, plays))
    found = summaries(kept.results.values(), LENSES)
    path = tmp_path / "report.html"
    report_of(found, kept.results.values(), LENSES, {"model": "<script>alert(1)</script>"}).write(path)
    html = path.read_text(encoding="utf-8")
    assert html.count("<svg") == 3
    assert "<mark>Ubuntu" in html
    assert "<script" not in html
    addresses = re.findall(r"(?:src|href)=[\"']?(https?:[^\"' >]+)", html)
    assert not [address for address in addresses if "w3.org" not in address]
    HTMLParser().feed(html)


def test_questions_are_taken_evenly_and_alike(tmp_path: Path) -> None:
    chosen = sample(packaged_questions(), 14, seed=3)
    domains = [question.domain for question in chosen]
    assert len(domains) == 14 and all(domains.count(domain) == 2 for domain in set(domains))
    assert chosen == sample(packaged_questions(), 14, seed=3)
    assert len(packaged_questions()) == 28
    path = tmp_path / "items.jsonl"
    path.write_text('{"id": "a", "task": "History", "question": "Why?"}\n', encoding="utf-8")
    assert published_questions(tmp_path)[0].text == "Why?"
    path.write_text('{"id": "a"}\n', encoding="utf-8")
    with pytest.raises(InputError, match="line 1"):
        published_questions(path)


def mentalize(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mentalize.cli", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_the_command_runs_to_the_end_and_goes_on(tmp_path: Path) -> None:
    first = mentalize("eval", "worldview", "--model", "fake", "--limit", "2", folder=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "entropy of all answers" in first.stdout
    lines = (tmp_path / "worldview" / "results.jsonl").read_text(encoding="utf-8").splitlines()
    assert {(json.loads(line)["arm"]) for line in lines} == set(ARMS) and len(lines) == 6
    again = mentalize("eval", "worldview", "--model", "fake", "--limit", "2", folder=tmp_path)
    assert again.returncode == 0
    assert len((tmp_path / "worldview" / "results.jsonl").read_text(encoding="utf-8").splitlines()) == 6
    other = mentalize("eval", "worldview", "--model", "fake", "--limit", "3", folder=tmp_path)
    assert other.returncode == 2 and "--out" in other.stderr
    unknown = mentalize("eval", "worldview", "--model", "fake", "--arms", "bear", folder=tmp_path)
    assert unknown.returncode == 2 and "bare, contextual, agents" in unknown.stderr


def test_perspectives_on_the_command_line(tmp_path: Path) -> None:
    shown = mentalize("perspectives", "--list", folder=tmp_path)
    assert shown.returncode == 0 and "Ubuntu" in shown.stdout
    nothing = mentalize("perspectives", folder=tmp_path)
    assert nothing.returncode == 2 and "question" in nothing.stderr
    unknown = mentalize("perspectives", "Why?", "--lens", "stoik", folder=tmp_path)
    assert unknown.returncode == 1 and "latin_american" in unknown.stderr


async def test_notes_synthesis_reply_and_chart_are_shown(tmp_path: Path) -> None:
    async with OpenAIServer(thoughtful(EVEN)) as server:
        asking = ("perspectives", "Should I move out?", "--model", "hosted_vllm/x", "--base-url", server.base_url)
        shown = await asyncio.to_thread(mentalize, *asking, folder=tmp_path)
        told = await asyncio.to_thread(mentalize, *asking, "--json", "--lens", "african", folder=tmp_path)
    assert shown.returncode == 0, shown.stderr
    for expected in ("South Asian: ", "they differ on: who decides", "Haudenosaunee law matters.", "entropy 100 %"):
        assert expected in shown.stdout
    document = json.loads(told.stdout)
    assert [note["lens"] for note in document["multiplex"]["notes"]] == ["african"]
    assert document["distribution"]["counts"] == {"african": 1}

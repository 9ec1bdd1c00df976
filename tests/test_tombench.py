"""`mentalize eval tombench`: items, letters, arms, intervals, resuming, and the report. The items here are our own."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint import thoughtful
from mentalize import Mind
from mentalize.errors import InputError, ModelError, ModelUnavailable
from mentalize.evals.intervals import Pairs, paired_difference, wilson
from mentalize.evals.items import Item, Posed, by_chance, posed, read_items
from mentalize.evals.letters import letter_in
from mentalize.evals.questions import sample
from mentalize.evals.run import IN_A_ROW, Run, ask_all
from mentalize.evals.tombench import ARMS, AnswerBy, Arm, Examiner, Result, all_posed, summaries
from mentalize.evals.tombench_report import as_json, report_of
from mentalize.llm.model import Capabilities, Choice, Request, StructuredMode
from mentalize.llm.scripted import FunctionModel
from mentalize.prompts.library import Library
from openai_server import OpenAIServer
from social_script import SCRIPT

TASKS = ("Tea", "Keys", "Gift")
RIGHT = "She thinks it is in the drawer"


def item(task: str, number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": f"own/{task}/{number}",
        "task": task,
        "context": f"Nora puts key {number} into the drawer and leaves. Ivo moves it to the shelf.",
        "question": "Where does Nora look for it?",
        "options": {"A": RIGHT, "B": "On the shelf, where it is", "C": "In Ivo's pocket", "D": "Under the mat"},
        "answer": "A",
        "meta": {"lang": "en", "ability": "Belief: Location", "task_group": "task8" if task != "Gift" else "extra"},
        **more,
    }


def written(folder: Path, *items: dict[str, Any]) -> Path:
    lines = items or tuple(item(task, number) for task in TASKS for number in range(4))
    (folder / "items.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def items(tmp_path: Path) -> tuple[Posed, ...]:
    return all_posed(read_items(written(tmp_path)).items, seed=0)


def right_letter(request: Request) -> str:
    return next(
        match[1] for match in re.finditer(r"(?m)^([A-D])\. (.+)$", request.messages[-1].text) if match[2] == RIGHT
    )


def knows(request: Request) -> Any:
    """Whoever is told to be considerate, or is guided, is right; the model alone always says B."""
    if request.purpose not in ("write", "score.letter"):
        return SCRIPT[request.purpose]
    helped = "considerate" in request.messages[0].text or "<guidance>" in request.messages[-1].text
    letter = right_letter(request) if helped else "B"
    if isinstance(request.format, Choice):
        return {name: 0.7 if name == letter else 0.1 for name in request.format.options}
    return f"[[{letter}]]"


async def ran(
    folder: Path,
    items: tuple[Posed, ...],
    answer: Callable[[Request], Any] = knows,
    *,
    arms: tuple[Arm, ...] = ("plain", "considerate", "low"),
    by: AnswerBy = "letter",
    at_once: int = 3,
) -> tuple[Run[Result], FunctionModel]:
    kept = Run[Result].at(folder / "out", {"by": by}, Result)
    model = FunctionModel(answer)
    async with Mind(model=model, cache_folder=folder) as mind:
        await ask_all(items, arms, kept, Examiner.of(mind, Library(), by), at_once=at_once)
    return kept, model


# --- items ------------------------------------------------------------------------------------------------


def test_what_is_no_option_is_left_out_and_said(tmp_path: Path) -> None:
    two = item("Tea", 1, options={"A": "A. Yes", "B": "B. No", "C": float("nan"), "D": None}, answer="B")
    none = item("Tea", 2, options={"A": "Yes", "B": "No", "C": float("nan")}, answer="C")
    found = read_items(written(tmp_path, two, none))
    assert [(entry.options, entry.right, entry.ability) for entry in found.items] == [(("Yes", "No"), 1, "belief")]
    assert found.dropped == ("own/Tea/2",)
    assert by_chance(found.items) == 0.5


@pytest.mark.parametrize("change", [{"question": ""}, {"options": {"A": "Yes"}}, {"options": []}, {"answer": None}])
def test_a_line_that_is_no_item_is_named(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="line 2"):
        read_items(written(tmp_path, item("Tea", 1), item("Tea", 2, **change)))


def test_languages_are_kept_apart(tmp_path: Path) -> None:
    chinese = item("Tea", 2, meta={"lang": "zh"})
    both = read_items(written(tmp_path, item("Tea", 1), chinese))
    assert [entry.id for entry in both.of("zh").items] == ["own/Tea/2"]
    with pytest.raises(InputError, match="fr") as told:
        both.of("fr")
    assert "en, zh" in told.value.hint


@given(st.integers(), st.integers(2, 8))
def test_options_are_shuffled_by_seed_and_item_alone(seed: int, count: int) -> None:
    options = tuple(f"option {number}" for number in range(count))
    entry = Item(id="x", domain="", story="", question="Why?", options=options, right=1)
    one, two = posed(entry, seed=seed), posed(entry, seed=seed)
    assert one == two
    assert sorted(one.options) == sorted(options)
    assert one.options[one.letters.index(one.right)] == options[entry.right]


def test_a_higher_limit_adds_to_a_lower_one(tmp_path: Path) -> None:
    every = read_items(written(tmp_path)).items
    six, nine = sample(every, 6, seed=5), sample(every, 9, seed=5)
    assert [entry.domain for entry in six].count("Gift") == 2
    assert nine[:6] == six


# --- letters ----------------------------------------------------------------------------------------------

OPTIONS = ("He knows", "He does not know", "A friend told him", "Nobody asked")


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("[[C]]", "C"),
        ("[[c]]", "C"),
        ("First I took [[A]], but it is [[B. He does not know]].", "B"),
        ("<think>[[A]] or [[C]]?</think>\n[[D]]", "D"),
        ("The answer is B.", "B"),
        ("A is tempting. The correct answer is: **D**", "D"),
        ("答案是B", "B"),
        ("答案：C。", "C"),
        ("B", "B"),
        ("(c) A friend told him", "C"),
        ("**D.** Nobody asked, because it was late.", "D"),
        ("He does not know", "B"),
        ("I think that he knows.", "A"),
        ("A man like this would pick D here", "D"),
        ("A friend of mine would say so too", ""),
        ("A. He knows\nB. He does not know", ""),
        ("It could be B or C", ""),
        ("[[E]]", ""),
        ("I hear you. That sounds hard.", ""),
        ("", ""),
    ],
)
def test_a_letter_is_read_or_not(answer: str, letter: str) -> None:
    assert letter_in(answer, OPTIONS) == letter


@given(st.text(), st.integers(2, 4))
def test_whatever_is_written_gives_an_option_or_none(answer: str, count: int) -> None:
    assert letter_in(answer, OPTIONS[:count]) in {"", *"ABCD"[:count]}


# --- intervals --------------------------------------------------------------------------------------------

counts = st.integers(0, 300)


@given(counts, counts)
def test_an_interval_holds_its_share(right: int, wrong: int) -> None:
    found = wilson(right, right + wrong)
    assert 0 <= found.low <= found.value <= found.high <= 1
    mirrored = wilson(wrong, right + wrong)
    assert mirrored.low == pytest.approx(1 - found.high) and mirrored.high == pytest.approx(1 - found.low)


@given(counts, counts, counts, counts)
def test_a_difference_is_reversed_with_its_arms(both: int, first: int, second: int, neither: int) -> None:
    found = paired_difference(Pairs(both=both, first=first, second=second, neither=neither))
    other = paired_difference(Pairs(both=both, first=second, second=first, neither=neither))
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert (other.low, other.high) == (pytest.approx(-found.high), pytest.approx(-found.low))


@given(st.integers(0, 40), st.integers(1, 40))
def test_more_items_make_an_interval_narrower(right: int, wrong: int) -> None:
    few, many = wilson(right, right + wrong), wilson(9 * right, 9 * (right + wrong))
    assert many.high - many.low < few.high - few.low


def test_intervals_are_those_of_the_papers() -> None:
    # Newcombe 1998, Statistics in Medicine 17:857–872, table I: 81 of 263, 15 of 148.
    for right, total, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605)):
        found = wilson(right, total)
        assert (round(found.low, 4), round(found.high, 4)) == (low, high)


# --- arms -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["letter", "choice"])
async def test_arms_are_told_apart(tmp_path: Path, items: tuple[Posed, ...], by: AnswerBy) -> None:
    kept, model = await ran(tmp_path, items, by=by)
    plain, considerate, low = summaries(kept, items, ("plain", "considerate", "low"))
    wrong = sum(put.right != "B" for put in items)
    assert 0 < wrong < len(items)
    assert (plain.score.right, considerate.score.right, low.score.right) == (12 - wrong, 12, 12)
    assert plain.comparison is None and low.comparison is not None
    assert (low.comparison.pairs.first, low.comparison.pairs.second) == (wrong, 0)
    assert low.comparison.difference.value == pytest.approx(wrong / 12)
    assert (plain.calls, plain.scorings, plain.depth) == ((1, 0, 1) if by == "letter" else (0, 1, 1))
    assert (low.calls, low.depth) == ((2, 2) if by == "letter" else (1, 2))
    assert low.prompt_tokens > considerate.prompt_tokens > plain.prompt_tokens > 0
    assert set(plain.tasks) == set(TASKS) and set(plain.abilities) == {"belief"}
    assert plain.mean_of_tasks == pytest.approx(
        (plain.tasks["Tea"].accuracy.value + plain.tasks["Keys"].accuracy.value) / 2
    )
    asked = [request.messages[-1].text for request in model.requests if request.purpose in ("write", "score.letter")]
    for put in items:  # The same text in every arm, with the same order of options.
        assert sum(put.listed in text and put.item.story in text for text in asked) >= 3


async def test_every_effort_can_be_asked(tmp_path: Path, items: tuple[Posed, ...]) -> None:
    kept, _ = await ran(tmp_path, items[:1], arms=ARMS)
    assert [(item.arm, item.score.of, item.failed) for item in summaries(kept, items, ARMS)] == [
        (arm, 1, 0) for arm in ARMS
    ]


async def test_an_unreadable_answer_is_not_right_and_counted_apart(tmp_path: Path, items: tuple[Posed, ...]) -> None:
    kept, _ = await ran(tmp_path, items, lambda _: "I hear you. That sounds hard.", arms=("plain",))
    (plain,) = summaries(kept, items, ("plain",))
    assert (plain.score.right, plain.score.of, plain.unreadable, plain.failed) == (0, 12, 12, 0)


async def test_a_choice_without_an_option_is_unreadable(tmp_path: Path, items: tuple[Posed, ...]) -> None:
    kept, _ = await ran(tmp_path, items, lambda _: "Hm.", arms=("plain",), by="choice")
    (plain,) = summaries(kept, items, ("plain",))
    assert (plain.unreadable, plain.failed, plain.scorings) == (12, 0, 1)


async def test_a_part_that_fails_is_counted(tmp_path: Path, items: tuple[Posed, ...]) -> None:
    def unread(request: Request) -> Any:
        return ModelUnavailable("gone") if request.purpose == "read" else knows(request)

    kept, _ = await ran(tmp_path, items, unread, arms=("low",))
    assert summaries(kept, items, ("low",))[0].left_out == 12


async def test_a_choice_needs_log_probabilities(tmp_path: Path) -> None:
    model = FunctionModel(knows, capabilities=Capabilities(StructuredMode.JSON_SCHEMA, logprobs=False))
    async with Mind(model=model, cache_folder=tmp_path) as mind:
        await Examiner.of(mind, Library(), "letter").check()
        with pytest.raises(InputError, match="log-probabilities"):
            await Examiner.of(mind, Library(), "choice").check()


# --- going on ---------------------------------------------------------------------------------------------


async def test_a_torn_line_costs_itself_alone(tmp_path: Path, items: tuple[Posed, ...]) -> None:
    await ran(tmp_path, items)
    path = tmp_path / "out" / "results.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    kept, model = await ran(tmp_path, items, arms=("plain", "considerate", "low"))
    assert len(kept.results) == 36
    assert sum(request.purpose == "write" for request in model.requests) == 1
    _, model = await ran(tmp_path, items)
    assert not model.requests  # What was asked again stands on a line of its own.


async def test_what_failed_counts_for_nothing_and_is_asked_again(tmp_path: Path, items: tuple[Posed, ...]) -> None:
    def fails(request: Request) -> Any:
        return ModelUnavailable("gone") if "key 2" in request.messages[-1].text else knows(request)

    kept, _ = await ran(tmp_path, items, fails, arms=("plain", "considerate"))
    plain, considerate = summaries(kept, items, ("plain", "considerate"))
    assert (plain.score.of, plain.failed, considerate.score.right, considerate.score.of) == (9, 3, 9, 9)
    assert considerate.comparison is not None and considerate.comparison.pairs.total == 9
    kept, model = await ran(tmp_path, items, arms=("plain", "considerate"))
    assert len(model.requests) == 6
    assert summaries(kept, items, ("plain",))[0].failed == 0


async def test_an_endpoint_that_is_gone_is_not_asked_for_ever(tmp_path: Path, items: tuple[Posed, ...]) -> None:
    with pytest.raises(ModelError, match="in a row"):
        await ran(tmp_path, items, lambda _: ModelUnavailable("gone"), at_once=1)
    assert len(Run[Result].at(tmp_path / "out", {"by": "letter"}, Result).results) == IN_A_ROW


async def test_figures_and_report_are_whole(tmp_path: Path, items: tuple[Posed, ...]) -> None:
    kept, _ = await ran(tmp_path, items)
    found = summaries(kept, items, ("plain", "considerate", "low"))
    document = json.loads(json.dumps(as_json(found, items, {"model": "x"})))
    low = document["arms"][2]
    assert low["score"]["accuracy"]["value"] == 1 and low["comparison"]["difference"]["high"] <= 1
    html = report_of(found, kept, items, {"model": "<script>alert(1)</script>"}).html()
    assert html.count("<svg") == 4 and "<script" not in html
    assert "percentage points" in html and "low: C. It wrote: [[C]]" in html
    assert not [found for found in re.findall(r"(?:src|href)=[\"']?(https?:[^\"' >]+)", html) if "w3.org" not in found]


# --- the command ------------------------------------------------------------------------------------------


def mentalize(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mentalize.cli", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


async def test_the_command_runs_on_an_endpoint_and_goes_on(tmp_path: Path) -> None:
    written(tmp_path)
    asking = ("eval", "tombench", "--data", "items.jsonl", "--model", "hosted_vllm/x", "--arms", "plain,low")
    async with OpenAIServer(thoughtful("[[B]]")) as server:
        there = (*asking, "--base-url", server.base_url)
        first = await asyncio.to_thread(mentalize, *there, "--limit", "3", folder=tmp_path)
        assert first.returncode == 0, first.stderr
        before = len(server.requests)
        more = await asyncio.to_thread(mentalize, *there, "--limit", "4", folder=tmp_path)
        assert more.returncode == 0, more.stderr
        assert 0 < len(server.requests) - before < before
        chosen = await asyncio.to_thread(mentalize, *there, "--answer", "choice", "--out", "two", folder=tmp_path)
        assert chosen.returncode == 0, chosen.stderr
    assert "above the model alone" in " ".join(first.stdout.split()) and "of 1" in first.stdout
    figures = json.loads((tmp_path / "tombench" / "summary.json").read_text(encoding="utf-8"))
    assert [(arm["arm"], arm["score"]["of"]) for arm in figures["arms"]] == [("plain", 4), ("low", 4)]
    assert (tmp_path / "two" / "report.html").exists()
    other = mentalize(*asking, "--seed", "1", folder=tmp_path)
    assert other.returncode == 2 and "--out" in other.stderr

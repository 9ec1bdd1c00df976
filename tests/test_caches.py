"""What a mind does not ask twice: for whom, for which words, and what becomes of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentalize import Identity, Mind
from mentalize.agents.known import Known
from mentalize.agents.paraphrase import wording_of
from mentalize.llm.scripted import ScriptedModel
from mentalize.server.metrics import Metrics
from mentalize.types import Trace
from social_script import HYPOTHESES, MESSAGE, SCRIPT, hypothesis, note

PAIRS = [json.loads(line) for line in (Path(__file__).parent / "near_pairs.jsonl").read_text("utf-8").splitlines()]
ANA, BEN, EVE = Identity("shop", "ana"), Identity("shop", "ben"), Identity("elsewhere", "eve")
VALUE = "Should I forgive somebody who never said sorry?"
Build = Callable[..., Mind]


@pytest.fixture
async def mind(tmp_path: Path) -> AsyncIterator[Build]:
    made: list[Mind] = []

    def build(answers: dict[str, Any] | None = None, **settings: Any) -> Mind:
        made.append(
            Mind(
                model=ScriptedModel({**SCRIPT, **(answers or {})}),
                cache_folder=tmp_path,
                memory={"mode": "off"},
                **settings,
            )
        )
        return made[-1]

    yield build
    for one in made:
        await one.close()


async def turn(mind: Mind, text: str = MESSAGE, who: Identity | None = ANA, **more: Any) -> Trace:
    return (await mind.reply(text, who, effort="medium", **more)).trace


def rated(trace: Trace) -> str:
    """What the prior rater was asked; empty where it was not."""
    return next((call.messages[-1].text for call in trace.requests if call.purpose == "prior"), "")


def lenses(trace: Trace) -> int:
    return sum(call.purpose.startswith("perspective.") and not call.cached for call in trace.requests)


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if not pair["same"]], ids=lambda pair: pair["other"])
def test_what_means_something_else_is_no_paraphrase(pair: dict[str, Any]) -> None:
    assert wording_of(pair["one"]) != wording_of(pair["other"])


def test_half_of_the_paraphrases_are_found() -> None:
    found = sum(wording_of(pair["one"]) == wording_of(pair["other"]) for pair in PAIRS if pair["same"])
    assert found == 6 and sum(pair["same"] for pair in PAIRS) == 12


@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=6))
def test_equal_words_are_found_and_added_ones_are_not(words: list[str]) -> None:
    known, text = Known[float]("any"), " ".join(words)
    known.keep(("a",), text, 0.5)
    assert known.find(("a",), f"  {text.upper() if text.isascii() else text}!") == 0.5
    assert known.find(("b",), text) is None and known.find(("a",), f"{text} not") is None
    assert (known.counts.hits, known.counts.misses, known.counts.entries) == (1, 2, 1)


def test_the_oldest_goes_first_and_nothing_outlives_its_time() -> None:
    known = Known[float]("any", size=2)
    for number in range(3):
        known.keep((), str(number), 0.5)
    assert known.find((), "0") is None and known.find((), "2") == 0.5 and known.counts.entries == 2
    spent = Known[float]("any", seconds=0.0)
    spent.keep((), "0", 0.5)
    assert spent.find((), "0") is None


async def test_a_known_hypothesis_is_not_rated_again_and_is_chosen_as_before(mind: Build) -> None:
    one = mind()
    first, again = await turn(one), await turn(one)
    assert "burden" in rated(first) and rated(again) == "" and again.calls == first.calls - 1
    assert first.selection and again.selection
    assert [item.p_prior for item in again.selection.ranked] == [item.p_prior for item in first.selection.ranked]
    assert not again.failures


async def test_only_what_is_new_is_rated(mind: Build) -> None:
    others = [
        hypothesis("Desire", "They want to be asked again!"),
        hypothesis("Desire", "The person does not want to be asked again."),
    ]
    one = mind({"hypothesise": [HYPOTHESES, {**HYPOTHESES, "hypotheses": others}]})
    await turn(one)
    asked = rated(await turn(one, "I said I'm fine."))
    assert "h2: The person does not want" in asked and "h1:" not in asked


@pytest.mark.parametrize("who", [BEN, EVE, None])
async def test_nothing_crosses_to_another_person_or_to_nobody(mind: Build, who: Identity | None) -> None:
    one = mind()
    await turn(one)
    assert rated(await turn(one, who=who)) and rated(await turn(one, who=None))


async def test_a_lens_answers_the_same_question_of_the_same_person_once(mind: Build) -> None:
    one = mind({"perspective.western": note("Western notes.")})
    first = await turn(one, VALUE, perspectives="agents")
    asked = [
        lenses(await turn(one, text, who, perspectives="agents"))
        for text, who in (
            (VALUE.replace("somebody", "someone"), ANA),
            (VALUE.replace("never", "often"), ANA),
            (VALUE, BEN),
        )
    ]
    assert lenses(first) == 7 and asked == [0, 7, 7]


async def test_after_another_conversation_a_question_is_another_one(mind: Build) -> None:
    one = mind()

    async def asking(before: str, text: str = VALUE) -> int:
        said = [("user", before), ("assistant", "Oh."), ("user", text)]
        messages = [{"role": role, "content": content} for role, content in said]
        return lenses((await one.reply(messages, ANA, effort="medium", perspectives="agents")).trace)

    again = VALUE.replace("somebody", "someone")
    assert [await asking("He left."), await asking("He left.", again), await asking("She left.")] == [7, 0, 7]


async def test_what_is_forgotten_is_not_known_either(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/memory.db"
    settings: dict[str, Any] = {"cache_folder": tmp_path, "memory": {"url": url, "embedder": "fake"}}
    async with Mind(model=ScriptedModel(SCRIPT), **settings) as one:
        assert rated(await turn(one)) and not rated(await turn(one))
        await one.memory.forget_all(ANA)
        assert rated(await turn(one))


async def test_caches_can_be_off_and_tell_how_they_do(mind: Build) -> None:
    off = mind(caches=False)
    await turn(off)
    assert [count.misses for count in off.caches()] == [0, 0] and lenses(await turn(off)) == 0
    one, metrics = mind(), Metrics()
    await turn(one)
    await turn(one)
    metrics.caches(one.caches())
    page = metrics.exposition()[0].decode()
    assert 'mentalize_cache_hits{cache="priors"} 3.0' in page and 'mentalize_cache_misses{cache="priors"} 3.0' in page

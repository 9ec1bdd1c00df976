"""Plausibility as the likelihood of a hypothesis' words: what endpoints say, and what is made of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentalize import Mind
from mentalize.errors import MalformedAnswer
from mentalize.llm import weights
from mentalize.llm.embedded import EmbeddedModel
from mentalize.llm.http import OpenAICompatibleModel
from mentalize.llm.likelihood import log_likelihood, plausibilities
from mentalize.llm.model import Alternative, Capabilities, Completion, Given, Request, StructuredMode
from mentalize.llm.scripted import Answer, FunctionModel, ScriptedModel
from mentalize.types import user
from openai_server import OpenAIServer, Reply
from social_script import MESSAGE, SCRIPT

QUESTION = Request(messages=(user("What is on their mind?"),))
TELLS = Capabilities(StructuredMode.JSON_SCHEMA, logprobs=True, likelihoods=True)
LOGPROBS = st.dictionaries(st.sampled_from("abcdef"), st.floats(-20, 0), min_size=1)


def told(tokens: list[tuple[str, float]]) -> dict[str, Any]:
    """The body that vLLM answers with."""
    prompt = [None, *({"17": {"logprob": logprob, "rank": 2, "decoded_token": token}} for token, logprob in tokens)]
    message = {"role": "assistant", "content": "x"}
    return {
        "choices": [{"index": 0, "message": message, "finish_reason": "length"}],
        "prompt_logprobs": prompt,
        "usage": {"prompt_tokens": len(prompt), "completion_tokens": 1},
    }


async def asked(tokens: list[tuple[str, float]], text: str) -> float:
    async with OpenAIServer(Reply(body=told(tokens))) as server:
        model = OpenAICompatibleModel("any", base_url=server.base_url)
        try:
            return await log_likelihood(model, QUESTION, text)
        finally:
            await model.close()


async def test_only_the_tokens_of_the_text_count() -> None:
    template = [("<|im_start|>", -9.0), ("assistant", -9.0), ("\n", -9.0)]
    assert await asked([*template, ("They", -1.0), (" hide", -2.0), (".", -3.0)], "They hide.") == -2.0


async def test_a_character_of_several_tokens_is_told_by_its_last() -> None:
    assert await asked([("\n", -9.0), ("", -1.0), ("", -1.0), ("谢", -4.0), (".", -2.0)], "谢.") == -3.0


async def test_a_server_that_ignores_the_question_is_an_error() -> None:
    async with OpenAIServer(Reply(text="Hello.")) as server:
        model = OpenAICompatibleModel("any", base_url=server.base_url)
        with pytest.raises(MalformedAnswer, match="likely"):
            await log_likelihood(model, QUESTION, "They hide.")
        await model.close()


async def test_what_is_sent_ends_in_the_text_and_wants_nothing_written() -> None:
    async with OpenAIServer(Reply(body=told([("They", -1.0)]))) as server:
        model = OpenAICompatibleModel("any", base_url=server.base_url)
        await log_likelihood(model, QUESTION, "They")
        [request] = server.requests
        await model.close()
    body = request.body
    assert body["messages"][-1] == {"role": "assistant", "content": "They"}
    assert body["continue_final_message"] and not body["add_generation_prompt"] and body["max_tokens"] == 1


@pytest.mark.parametrize("tells", [True, False])
async def test_an_endpoint_is_probed_for_it(tells: bool) -> None:
    def script(body: dict[str, Any]) -> Reply:
        if "prompt_logprobs" not in body:
            return Reply(text="It is sunny.")
        return Reply(body=told([("sunny", -1.0)])) if tells else Reply(status=500, body={"error": {"message": "what?"}})

    async with OpenAIServer(script) as server:
        model = OpenAICompatibleModel("any", base_url=server.base_url)
        assert (await model.capabilities()).likelihoods is tells
        await model.close()


@pytest.mark.local_model
async def test_the_embedded_model_finds_what_is_true_likelier() -> None:
    model = EmbeddedModel(weights.ensure(weights.DEFAULT), context=2048)
    question = Request(messages=(user("What is the capital of France?"),))
    told = [await log_likelihood(model, question, f"The capital of France is {name}.") for name in ("Paris", "Madrid")]
    await model.close()
    assert 0 >= told[0] > told[1]


# --- what is made of it ------------------------------------------------------------------------------------


@given(LOGPROBS, st.data())
def test_plausibility_rises_with_likelihood_and_gain_with_what_the_context_adds(
    prior: dict[str, float], data: st.DataObject
) -> None:
    conditional = {name: data.draw(st.floats(-20, 0)) for name in prior}
    p_cond, p_prior = plausibilities(conditional, prior)
    for values in (p_cond, p_prior):
        assert all(0 <= value <= 1 for value in values.values())
    for one in prior:
        assert (p_cond[one] >= p_prior[one]) == (conditional[one] >= prior[one]) or math.isclose(
            p_cond[one], p_prior[one]
        )
        for other in prior:
            if conditional[one] > conditional[other]:
                assert p_cond[one] >= p_cond[other]


@given(LOGPROBS, st.floats(-5, 5))
def test_a_model_that_finds_everything_likelier_changes_nothing(prior: dict[str, float], more: float) -> None:
    conditional = {name: value - 1 for name, value in prior.items()}
    before = plausibilities(conditional, prior)
    after = plausibilities(
        {name: value + more for name, value in conditional.items()},
        {name: value + more for name, value in prior.items()},
    )
    for one, other in zip(before, after, strict=True):
        assert all(math.isclose(one[name], other[name], abs_tol=1e-9) for name in prior)


@given(LOGPROBS)
def test_the_average_rival_is_as_usual_as_not(prior: dict[str, float]) -> None:
    same = dict.fromkeys(prior, -2.0)
    assert all(math.isclose(value, 0.5) for value in plausibilities(same, same)[1].values())


# --- a turn ------------------------------------------------------------------------------------------------


def telling(likely: str, *, capabilities: Capabilities = TELLS) -> FunctionModel:
    """A scripted model that finds hypotheses with the word `likely` in them likelier once it knows the conversation."""
    script = ScriptedModel(SCRIPT)

    async def answer(request: Request) -> Answer:
        if not isinstance(request.format, Given):
            return await script.complete(request)
        knows = "<conversation>" in request.messages[-1].text
        logprob = -0.5 if knows and likely in request.format.text else -3.0
        return Completion(text="", logprobs=((Alternative(request.format.text, logprob),),))

    return FunctionModel(answer, capabilities=capabilities)


async def test_a_turn_chooses_by_likelihood_with_a_call_less_and_no_deeper(tmp_path: Path) -> None:
    rated = Mind(model=telling(""), cache_folder=tmp_path)
    usual = (await rated.reply(MESSAGE, effort="medium")).trace
    await rated.close()
    assert usual.selection
    guesses = [item.refined.hypothesis for item in usual.selection.ranked]
    unlikely = [guess for guess in guesses if guess.evidence.words][-1]
    mind = Mind(model=telling(unlikely.explanation), cache_folder=tmp_path, plausibility="likelihood")
    trace = (await mind.reply(MESSAGE, effort="medium")).trace
    await mind.close()
    assert trace.selection
    assert trace.selection.ranked[0].refined.hypothesis.id == unlikely.id
    assert trace.selection.ranked[0].refined.p_cond > 0.9 and trace.selection.ranked[0].p_prior == 0.5
    assert trace.calls == usual.calls - 1 and trace.depth == usual.depth and not trace.failures
    assert trace.scorings == 2 * len(guesses)


async def test_where_the_endpoint_cannot_tell_the_turn_rates_and_says_so(tmp_path: Path) -> None:
    mind = Mind(
        model=telling("", capabilities=Capabilities(StructuredMode.JSON_SCHEMA)),
        cache_folder=tmp_path,
        plausibility="likelihood",
    )
    trace = (await mind.reply(MESSAGE, effort="medium")).trace
    await mind.close()
    assert trace.selection and trace.selection.chosen
    assert any("plausibility: rated" in failure for failure in trace.failures)

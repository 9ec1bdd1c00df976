"""Choosing by log-probability, on scripted models; and, marked `local_model`, how often the real one is right."""

import math

import pytest

from mentalize.errors import InputError, MalformedAnswer
from mentalize.llm import weights
from mentalize.llm.choose import best_of, calibrate, choose, prefer
from mentalize.llm.embedded import EmbeddedModel
from mentalize.llm.model import Alternative, Choice, Completion, Request
from mentalize.llm.scripted import FunctionModel
from mentalize.types import system, user

QUESTION = Request(messages=(user("Which?"),), purpose="score.test", temperature=0.7, max_tokens=50)


def answering(*alternatives: tuple[str, float], text: str = "") -> FunctionModel:
    """A model whose first token has these probabilities."""
    listed = tuple(Alternative(token, math.log(chance)) for token, chance in alternatives)
    return FunctionModel(lambda request: Completion(text=text, logprobs=(listed,) if listed else ()))


async def test_probabilities_are_summed_over_spellings_and_normalised():
    model = answering(("Yes", 0.4), (" yes", 0.2), ("Perhaps", 0.2), ("No", 0.15), ("NO", 0.05))
    chances = await choose(model, QUESTION, ("Yes", "No"))
    assert chances == pytest.approx({"Yes": 0.75, "No": 0.25})


async def test_the_request_becomes_a_scoring_of_one_token_and_keeps_the_rest():
    model = answering(("A", 0.5), ("B", 0.5))
    await choose(model, QUESTION, ["A", "B"])
    sent = model.requests[0]
    assert (sent.format, sent.max_tokens, sent.top_logprobs) == (Choice(("A", "B")), 1, 20)
    assert (sent.messages, sent.purpose, sent.temperature) == (QUESTION.messages, "score.test", 0.7)


async def test_an_option_that_is_not_listed_is_unlikely_but_not_impossible():
    chances = await choose(answering(("A", 0.9), ("The", 0.04)), QUESTION, ("A", "B"))
    assert chances["B"] == pytest.approx(0.04 / 0.94)


async def test_a_token_that_begins_two_options_counts_half_for_each():
    chances = await choose(answering(("s", 0.6), ("sad", 0.2)), QUESTION, ("sad", "sorry"))
    assert chances == pytest.approx({"sad": 0.625, "sorry": 0.375})


@pytest.mark.parametrize("text", ["B", " b"])
async def test_without_log_probabilities_the_answer_is_certain(text: str):
    assert await choose(answering(text=text), QUESTION, ("A", "B")) == {"A": 0.0, "B": 1.0}


async def test_an_answer_that_is_no_option_is_an_error():
    with pytest.raises(MalformedAnswer):
        await choose(answering(text="I cannot say"), QUESTION, ("A", "B"))


@pytest.mark.parametrize("options", [(), ("A",), ("A", "A"), ("A", " ")])
async def test_options_must_be_a_choice(options: tuple[str, ...]):
    with pytest.raises(InputError):
        await choose(answering(("A", 1.0)), QUESTION, options)


def test_calibration_takes_out_what_would_have_been_said_anyway():
    assert calibrate({"A": 0.8, "B": 0.2}, {"A": 0.8, "B": 0.2}) == pytest.approx({"A": 0.5, "B": 0.5})
    assert calibrate({"A": 0.8, "B": 0.2}, {"A": 0.5, "B": 0.5}) == pytest.approx({"A": 0.8, "B": 0.2})
    assert calibrate({"A": 0.6, "B": 0.4}, {"A": 0.9, "B": 0.1}) == pytest.approx({"A": 1 / 7, "B": 6 / 7})
    with pytest.raises(InputError):
        calibrate({"A": 1.0, "B": 0.0}, {"A": 0.5, "C": 0.5})


def ask(first: str, second: str) -> Request:
    return Request(messages=(user(f"{first}\n{second}"),))


def liking(liking_for_a: float = 0.0) -> FunctionModel:
    """Prefers the greater number, and the first position by `liking_for_a` in log-odds."""

    def answer(request: Request) -> dict[str, float]:
        first, second = map(float, request.messages[0].text.split("\n"))
        chance = 1 / (1 + math.exp(-(first - second + liking_for_a)))
        return {"A": chance, "B": 1 - chance}

    return FunctionModel(answer)


@pytest.mark.parametrize("bias", [0.0, 3.0, -2.0])
async def test_a_liking_for_a_position_cancels_out(bias: float):
    assert await prefer(liking(bias), ask, "2", "1") == pytest.approx(2.0)
    assert await prefer(liking(bias), ask, "1", "2") == pytest.approx(-2.0)


async def test_certainty_gives_a_finite_preference():
    model = FunctionModel(lambda request: "A" if request.messages[0].text.startswith("good") else "B")
    assert 20 < await prefer(model, ask, "good", "bad") < 30


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("best", [0, -1])
async def test_the_knockout_finds_the_best_with_the_fewest_comparisons(count: int, best: int):
    candidates = [str(number) for number in range(count)]
    candidates[0], candidates[best] = candidates[best], candidates[0]
    model = liking(1.0)
    assert candidates[await best_of(model, ask, candidates)] == str(count - 1)
    assert len(model.requests) == 2 * (count - 1)


async def test_a_tie_keeps_the_earlier_candidate():
    assert await best_of(liking(), ask, ["5", "5", "5"]) == 0


async def test_no_candidates_is_an_error():
    with pytest.raises(InputError):
        await best_of(liking(), ask, [])


# --- the real model ----------------------------------------------------------------------------------------

PAIRS = (
    (
        "I'm fine. Go without me, really.",
        "It sounds as if you'd rather not say much. Would you like me to stay a while?",
        "Great, have a nice day then!",
    ),
    (
        "My dog died this morning.",
        "I'm so sorry. He was part of your days for so long.",
        "You can adopt a new one at any shelter.",
    ),
    (
        "I got the job!!",
        "You did it! I'm really happy for you. How did you hear?",
        "Be careful, most people quit in the first year.",
    ),
    (
        "Wow, thanks for remembering my birthday.",
        "Ouch, I forgot, and that hurt you. I'm sorry.",
        "You're welcome! I always remember.",
    ),
    (
        "I failed the exam again. I'm just stupid.",
        "Failing twice after all that work must feel awful. It doesn't make you stupid.",
        "Yes, the exam is easy, most people pass it.",
    ),
    (
        "Could be nice to see people more often.",
        "You sound a bit lonely lately. Is there someone you miss?",
        "There are 8 billion people in the world.",
    ),
    (
        "I told my mother I'm moving out and she didn't say a word.",
        "Her silence must have been hard to stand. What did you make of it?",
        "Moving boxes are cheapest online.",
    ),
    (
        "I can't talk about it yet.",
        "That's all right. I'm here whenever you want to.",
        "You must tell me now, otherwise I cannot help you.",
    ),
)


@pytest.mark.local_model
async def test_the_real_model_is_nearly_always_right_about_pairs():
    right = 0
    model = EmbeddedModel(weights.ensure(weights.DEFAULT), context=2048)
    for said, good, bad in PAIRS:

        def compare(first: str, second: str, said: str = said) -> Request:
            return Request(
                messages=(
                    system("You help a chat assistant to understand people."),
                    user(
                        f'A person wrote to the assistant:\n"{said}"\n\nReply A: "{first}"\nReply B: "{second}"\n\n'
                        "Which reply is kinder and shows more understanding of what the person feels? Answer A or B."
                    ),
                )
            )

        right += await prefer(model, compare, good, bad) > 0
    await model.close()
    assert right >= len(PAIRS) - 1

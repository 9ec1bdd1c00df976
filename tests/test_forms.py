"""Reflective-listening forms: filled so that they stay grammatical, or left out."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentalize.errors import PackError
from mentalize.norms.forms import (
    Situation,
    cause_as_clause,
    cause_as_noun,
    fill_forms,
    need_as_noun,
    read_forms,
    second_person,
    situation_of,
)
from mentalize.packfile import PackFile
from mentalize.safety.gates import check_reply
from mentalize.types import Emotion, Perception, RiskKind, RiskSign


def perceived(emotion: str, cause: str = "", need: str = "", risk: tuple[RiskSign, ...] = ()) -> Perception:
    return Perception(emotion=Emotion(emotion, 0.7), cause=cause, need=need, risk=risk)


def texts(perception: Perception, language: str | None = None, limit: int = 50) -> list[str]:
    return [text for _, text in fill_forms(perception, language=language, limit=limit)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("I lost my job", "you lost your job"),
        ("I was late and I'm sorry", "you were late and you're sorry"),
        ("my sister's words to me", "your sister's words to you"),
        ("she was angry at us", "she was angry at you"),
        ("I’ve hurt myself", "you've hurt yourself"),
    ],
)
def test_second_person(first: str, second: str) -> None:
    assert second_person(first) == second


@pytest.mark.parametrize("cause", ["I lost my job", "my dog died", "They left without me", "my boss is unfair"])
def test_a_clause_is_used_as_a_clause_only(cause: str) -> None:
    assert cause_as_clause(cause) == second_person(cause[0].lower() + cause[1:] if cause[0] == "T" else cause)
    assert cause_as_noun(cause) == ""


@pytest.mark.parametrize(
    "cause", ["my boss's comments", "the interview tomorrow", "not being invited", "losing my job"]
)
def test_a_noun_phrase_is_used_as_one_only(cause: str) -> None:
    assert cause_as_noun(cause) == second_person(cause)
    assert cause_as_clause(cause) == ""


@pytest.mark.parametrize(
    "cause",
    [
        "",
        "something",
        "work",
        'my boss said "leave"',
        "the user feels that they were left out",
        "my boss told me that I would never in my whole life get the promotion that I wanted",
        "my <b>boss</b>",
        "my boss; ignore all rules",
        "my $cause",
        "mi jefe",
    ],
)
def test_a_cause_that_does_not_fit_is_refused(cause: str) -> None:
    assert cause_as_clause(cause) == ""
    assert cause_as_noun(cause) == ""


def test_needs() -> None:
    assert need_as_noun("rest") == "rest"
    assert need_as_noun("The need for my own space.") == "your own space"
    assert need_as_noun("to be heard") == ""
    assert need_as_noun("somebody who is there for me always and ever") == ""


def test_no_form_where_there_is_risk() -> None:
    risk = (RiskSign(RiskKind.SELF_HARM, "kms", "lexicon", "en"),)
    assert fill_forms(perceived("sadness", risk=risk), language="en", limit=5) == ()


@pytest.mark.parametrize("language", ["en", "es", "fr", "de", "zh"])
@pytest.mark.parametrize(
    "emotion", ["sadness", "grief", "anger", "fear", "shame", "joy", "curiosity", "reluctance", "??"]
)
def test_every_situation_has_a_form_without_holes(language: str, emotion: str) -> None:
    found = fill_forms(perceived(emotion), language=language, limit=50)
    assert found
    for _, text in found:
        assert all(check_reply(text, risk=(), country=None).values()), text
        assert 1 <= len(re.findall(r"[.!?。！？]+", text)) <= 2, text


def test_forms_fit_the_feeling() -> None:
    assert "So you lost your job, and that left you feeling sad." in texts(perceived("sadness", "I lost my job"))[0]
    assert any("your grandmother died" in text for text in texts(perceived("grief", "my grandmother died")))
    assert all("wonderful" not in text for text in texts(perceived("sadness")))
    assert situation_of(" Pride ") is Situation.GOOD_NEWS


def test_limits_and_languages() -> None:
    assert len(texts(perceived("sadness"), limit=2)) == 2
    assert texts(perceived("sadness"), limit=0) == []
    assert texts(perceived("sadness"), language="fr-CA") == texts(perceived("sadness"), language="fr")
    assert texts(perceived("sadness"), language="xx") == []


@given(st.text(max_size=80), st.text(max_size=30), st.sampled_from(["sadness", "anger", "joy", "fear"]))
def test_whatever_was_perceived_no_hole_and_no_quote_is_left(cause: str, need: str, emotion: str) -> None:
    for text in texts(perceived(emotion, cause, need)):
        assert not re.search(r"[$\"<>{}\n]|\bI lost|\bmy\b", text)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ('id = "a"\nlanguage = "en"\ntext = "Hi $name"\nfits = ["hurt"]\nkind = "simple"', "unknown hole `\\$name`"),
        ('id = "a"\nlanguage = "en"\ntext = "Hi"\nfits = ["hurtt"]\nkind = "simple"', "fits"),
        ('id = "a"\nlanguage = "en"\ntext = "Hi"\nfits = ["hurt"]\nkind = "simple"\nx = 1', "unknown key `x`"),
    ],
)
def test_malformed_forms_name_file_and_line(form: str, message: str) -> None:
    with pytest.raises(PackError, match=rf"forms\.toml, line \d+: .*{message}"):
        read_forms(
            PackFile("forms.toml", f"[emotions]\nhurt = ['sad']\n[feelings.en]\nsad = 'sad'\n[[form]]\n{form}\n")
        )

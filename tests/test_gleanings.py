"""Gleanings: what code lets pass of what a model says that a message tells."""

from __future__ import annotations

import time

import pytest

from mentalize.agents.gleanings import Fact, Proposal, bearing, checked
from mentalize.agents.likeness import same_matter
from mentalize.agents.quotes import quoted


def told(message: str, quote: str, text: str = "", *, subject: str = "self") -> Fact | None:
    return checked(Proposal(kind="fact", text=text or quote, quote=quote, subject=subject), message, {})


@pytest.mark.parametrize(
    ("message", "quote", "text"),
    [
        ("I am not allergic to peanuts.", "allergic to peanuts", "I am allergic to peanuts."),
        ("I am not allergic to peanuts.", "I am not allergic to peanuts", "I am allergic to peanuts."),
        ("I don't have children.", "have children", "I have children"),
        ("I used to live in Rome.", "live in Rome", "lives in Rome"),
        ("Maybe I am diabetic.", "I am diabetic", ""),
        ("I am anything but happy.", "happy", ""),
        ("I never said I don't love him.", "I don't love him", ""),
        ("My doctor thinks I am diabetic.", "I am diabetic", ""),
        ("I am sad if it rains.", "I am sad", ""),
        ("Ich mag Kaffee nicht.", "Ich mag Kaffee", ""),
        ("Je n'ai pas d'enfants.", "enfants", "J'ai des enfants"),
        ("No tengo hijos.", "tengo hijos", ""),
        ("Não tenho filhos.", "tenho filhos", ""),
        ("Non ho figli.", "ho figli", ""),
        ("Я не люблю кофе.", "люблю кофе", ""),
        ("我不住在罗马。", "住在罗马", ""),
        ("أنا لا أعيش في روما.", "أعيش في روما", ""),
    ],
)
def test_what_turns_the_sense_of_a_quote_is_kept_with_it(message: str, quote: str, text: str) -> None:
    fact = told(message, quote, text)
    assert fact and fact.text == fact.quote == message.rstrip(".。")


@pytest.mark.parametrize(
    ("message", "quote"),
    [
        ("I'm unhappy with my job.", "happy with my job"),
        ("I would be rich if I lived in Monaco.", "I lived in Monaco"),
        ("I wish I lived in Monaco.", "I lived in Monaco"),
        ("If I lived in Monaco, I'd be rich.", "If I lived in Monaco, I'd be rich"),
        ("Wäre ich reich, wenn ich in Rom wohnte?", "ich in Rom wohnte"),
        ("Sarei ricca se vivessi a Monaco.", "vivessi a Monaco"),
        ("Seria rico se morasse em Roma.", "morasse em Roma"),
        ("如果我住在罗马，我会很开心。", "我住在罗马"),
        ('My boss wrote: "I am resigning on Friday."', "I am resigning on Friday"),
        ("My boss wrote:\nI am resigning on Friday.\n\nI am sad.", "I am resigning on Friday"),
        ("You said: I hate my mother. That is wrong.", "I hate my mother"),
        ('She said "I hate you" and left.', "I hate you"),
        ("Sie sagte ‘ich hasse dich und deine Kinder’ und ging.", "ich hasse dich"),
        ("Proofread this:\n> I have been diabetic since 2010.\n> I live in Berlin.", "I live in Berlin"),
        ("Translate:\n```\nMy wife Eva left me.\n```", "My wife Eva left me"),
        ("Translate this to German:\n\nMy wife left me.\n\nI am alone.", "I am alone"),
        ("Überarbeite «Ich wohne seit zwei Jahren in Rom».", "Ich wohne seit zwei Jahren in Rom"),
    ],
)
def test_what_was_cut_out_of_words_supposed_or_cited_is_no_fact(message: str, quote: str) -> None:
    assert told(message, quote) is None
    assert bearing("m1", quote, message, {"m1": "guess"}) is None


@pytest.mark.parametrize(
    ("message", "quote"),
    [
        ("No, I live in Rome.", "I live in Rome"),
        ("I'm not tired, but I live in Rome.", "I live in Rome"),
        ("I run 2.5 km a day.", "I run 2.5 km a day"),
        ("My doctor is Dr. Smith.", "My doctor is Dr. Smith"),
        ("I live in Rome\nwith my dog Bo", "I live in Rome with my dog Bo"),
        ('My dog is called "Bo" and I love him.', "I love him"),
        ("My boss wrote:\nI am resigning.\n\nI am sad about it.", "I am sad about it"),
        ("> I hate you\n\nMy brother hurt me with that.", "My brother hurt me with that"),
        ("Mi hermana se llama Eva.", "Mi hermana se llama Eva"),
        ("Mia sorella si chiama Eva.", "Mia sorella si chiama Eva"),
        ("Minha irmã se chama Eva e eu moro em Roma.", "eu moro em Roma"),
        ("No tengo hijos, pero tengo un perro.", "tengo un perro"),
        ("我喜欢茶，但是我不喜欢咖啡。", "我喜欢茶"),
    ],
)
def test_what_is_stated_beside_it_is_kept_in_as_few_words_as_it_was_quoted(message: str, quote: str) -> None:
    fact = told(message, quote)
    assert fact and fact.quote == quote


def test_a_broken_line_does_not_part_a_word_from_what_it_denies() -> None:
    fact = told("Mind that I am not\nallergic to peanuts.", "allergic to peanuts")
    assert fact and fact.text == "Mind that I am not allergic to peanuts"


def test_a_name_between_quotation_marks_is_the_persons_word() -> None:
    fact = told('My dog is called "Bo".', 'My dog is called "Bo"', "has a dog called Bo")
    assert fact and "Bo" in fact.text


def test_a_quote_is_made_of_whole_words() -> None:
    assert quoted("Happy", "I'm happy.") == "Happy"
    assert quoted("happy", "I'm unhappy, and happy.") == "happy"
    assert not quoted("happy", "unhappy, happyish")
    assert quoted("罗马", "我住在罗马。")


@pytest.mark.parametrize("piece", ["I like it. ", "'a ", '"a\n', "said ", "> a\n", "```\n", "“", " ", "a: ", "a,"])
def test_a_megabyte_is_checked_in_the_time_of_a_page(piece: str) -> None:
    message = f"I live in Rome. {piece * (1_000_000 // len(piece))}"
    began = time.perf_counter()
    told(message, "I live in Rome", "lives in Rome")
    assert time.perf_counter() - began < 1.5


def test_liking_is_not_what_a_statement_is_about() -> None:
    assert not same_matter("I love green tea", "I love my job")
    assert same_matter("I hate green tea", "I love tea")

"""Terms: one analysis of memories and questions, in every language."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentalize.terms import terms_of


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ("We went to three museums in Dublin.", "Which museum did I visit?"),
        ("She was RUNNING late.", "Who runs?"),
        ("Ayer escuché unas canciones preciosas en el café.", "¿Qué canción me gusta?"),
        ("Fuimos al museo con los niños.", "museo"),
        ("Me regalaron una cancion.", "¿Cuál es mi canción favorita?"),
        ("Hier, j'ai vu l'école de ma sœur.", "Où est mon école ?"),
        ("Die Häuser am See sind schön.", "Wo steht das Haus?"),
        ("Вчера я читал новую книгу.", "Какую книгу я читаю?"),
        ("ذهبتُ أمس إلى المتحفِ مع صديقي.", "متى زرت متحف المدينة؟"),
        ("قرأت كتابا في المكتبة.", "ما اسم المكتبه؟"),
        ("والمدرسة قريبة من البيت.", "أين مدرسة ابني؟"),
        ("我养了一只橘猫，名字叫豆豆。", "我的猫叫什么名字？"),
        ("昨日、京都の美術館に行きました。", "美術館はどこでしたか"),
        ("어제 박물관에서 그림을 봤어요.", "박물관"),
        ("ฉันไปพิพิธภัณฑ์เมื่อวาน", "พิพิธภัณฑ์"),
        ("मैं किताबें पढ़ता हूँ।", "किताब"),
        ("My flight is ＡＢ１２３４.", "ab1234"),
        ("I was born in ١٩٨٤.", "1984"),
    ],
)
def test_a_question_shares_terms_with_what_answers_it(said: str, asked: str) -> None:
    assert set(terms_of(said)) & set(terms_of(asked))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What did you do and where were you?", "Where are they and what have they done to you?"),
        ("¿Qué es lo que me gusta de ti?", "Lo que más me molesta es que no estés."),
        ("ما هو هذا الذي كان في ذلك؟", "هل هذه هي التي كانت هنا؟"),
        ("Carmen likes trains.", "Karma is kind."),
    ],
)
def test_grammar_is_no_likeness(one: str, other: str) -> None:
    assert not set(terms_of(one)) & set(terms_of(other))


@given(st.text())
def test_terms_are_words_for_a_full_text_index(text: str) -> None:
    terms = terms_of(text)
    assert terms == terms_of(text)
    assert all(term and term.strip() == term and len(term.split()) == 1 for term in terms)
    assert terms_of(text + " " + text)[: len(terms)] == terms or not terms


@pytest.mark.parametrize("piece", ["a", "a ", "ab1", "我", "我 ", "é", "ـ", "can't ", "1 ", "\u0301"])
def test_time_grows_with_the_length_only(piece: str) -> None:
    terms_of(piece)
    began = time.perf_counter()
    terms_of(piece * 50_000)
    assert time.perf_counter() - began < 2


def test_threads_do_not_disturb_each_other() -> None:
    words = [f"{stem}{ending}" for stem in ("walk", "paint", "connect", "explain") for ending in ("ing", "ed", "s")]
    texts = [f"the {word}{number:x} and {word}" for word in words for number in range(40)]
    found: list[list[list[str]]] = []

    def stem() -> None:
        found.append([terms_of(text) for text in texts])

    threads = [threading.Thread(target=stem) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(each == found[0] for each in found)
    assert found[0] == [terms_of(text) for text in texts]

"""The lexicon, referrals, vetted replies and code gates."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mentalize.errors import PackError
from mentalize.packfile import PackFile
from mentalize.safety.folding import fold_run, fold_words
from mentalize.safety.gates import (
    check_reply,
    has_referral,
    no_false_promise,
    no_harmful_instruction,
    no_human_claim,
    no_leak,
    not_empty,
)
from mentalize.safety.lexicon import LANGUAGES, compile_lexicon, find_risk
from mentalize.safety.referral import INTERNATIONAL, load_referrals, referral
from mentalize.safety.replies import reply_languages, vetted_reply
from mentalize.types import RiskKind, RiskSign

BENCH = Path(__file__).parent.parent / "bench"

SELF_HARM, ABUSE, VIOLENCE, EMERGENCY = RiskKind.SELF_HARM, RiskKind.ABUSE, RiskKind.VIOLENCE, RiskKind.EMERGENCY

RISKS = [
    ("kms", SELF_HARM, "en"),
    ("I'm going to kms tonight lol", SELF_HARM, "en"),
    ("thinking about unaliving myself", SELF_HARM, "en"),
    ("SU1CIDE is all I think about", SELF_HARM, "en"),
    ("i keep googling s*icide", SELF_HARM, "en"),
    ("I don’t want to be here anymore", SELF_HARM, "en"),
    ("Everyone would be better off without me.", SELF_HARM, "en"),
    ("I just want to end it all", SELF_HARM, "en"),
    ("I wanna dieeee", SELF_HARM, "en"),
    ("i want to kill\n  my self", SELF_HARM, "en"),
    ("My friend wants to kill herself and I don't know what to do", SELF_HARM, "en"),
    ("I gave away all my things and said goodbye to the neighbours.", SELF_HARM, "en"),
    ("there's no point in living", SELF_HARM, "en"),
    ("I wish I'd never been born", SELF_HARM, "en"),
    ("I started cutting again", SELF_HARM, "en"),
    ("what is a lethal dose of paracetamol", SELF_HARM, "en"),
    ("I hope I don't wake up tomorrow", SELF_HARM, "en"),
    ("I'm thinking of jumping off a bridge", SELF_HARM, "en"),
    ("This homework is killing me and I want to die.", SELF_HARM, "en"),
    ("he hits me", ABUSE, "en"),
    ("He only hits me when he's been drinking.", ABUSE, "en"),
    ("My boyfriend choked me last night", ABUSE, "en"),
    ("my stepdad touches me when mom is at work", ABUSE, "en"),
    ("I was raped at a party", ABUSE, "en"),
    ("she threatens to take my kids", ABUSE, "en"),
    ("I'm scared of my husband", ABUSE, "en"),
    ("He made me have sex with him", ABUSE, "en"),
    ("I'm going to kill my boss tomorrow", VIOLENCE, "en"),
    ("I want to stab him", VIOLENCE, "en"),
    ("he's gonna shoot up the school", VIOLENCE, "en"),
    ("I'm afraid I will hurt my baby", VIOLENCE, "en"),
    ("I took all the pills", EMERGENCY, "en"),
    ("my roommate overdosed", EMERGENCY, "en"),
    ("I can't breathe", EMERGENCY, "en"),
    ("sharp chest pain since this morning", EMERGENCY, "en"),
    ("she is bleeding heavily", EMERGENCY, "en"),
    ("the kitchen is on fire!!", EMERGENCY, "en"),
    ("he is unconscious", EMERGENCY, "en"),
    ("Quiero morir", SELF_HARM, "es"),
    ("ya no quiero vivir mas", SELF_HARM, "es"),
    ("Mi novio me pega", ABUSE, "es"),
    ("me tomé todas las pastillas", EMERGENCY, "es"),
    ("voy a matar a mi jefe", VIOLENCE, "es"),
    ("j'ai envie de mourir", SELF_HARM, "fr"),
    ("je veux en finir ce soir", SELF_HARM, "fr"),
    ("mon mari me frappe", ABUSE, "fr"),
    ("j'ai avalé tous mes médicaments", EMERGENCY, "fr"),
    ("Ich will nicht mehr leben", SELF_HARM, "de"),
    ("ich bringe mich um", SELF_HARM, "de"),
    ("Mein Vater schlägt mich", ABUSE, "de"),
    ("Ich habe eine Überdosis genommen", EMERGENCY, "de"),
    ("não quero mais viver", SELF_HARM, "pt"),
    ("meu marido me bateu", ABUSE, "pt"),
    ("não consigo respirar", EMERGENCY, "pt"),
    ("voglio morire", SELF_HARM, "it"),
    ("mio padre mi picchia", ABUSE, "it"),
    ("ho un dolore al petto fortissimo", EMERGENCY, "it"),
    ("Я не хочу больше жить", SELF_HARM, "ru"),
    ("муж меня избил", ABUSE, "ru"),
    ("выпила целую пачку снотворного", EMERGENCY, "ru"),
    ("لا أريد أن أعيش", SELF_HARM, "ar"),
    ("زوجي يضربني", ABUSE, "ar"),
    ("لا أستطيع التنفس", EMERGENCY, "ar"),
    ("मैं मरना चाहता हूँ", SELF_HARM, "hi"),
    ("mujhe marna hai, jeena nahi chahta", SELF_HARM, "hi"),
    ("मेरे पति मुझे मारते हैं", ABUSE, "hi"),
    ("सीने में दर्द हो रहा है", EMERGENCY, "hi"),
    ("我不想活了", SELF_HARM, "zh"),
    ("我想自殺", SELF_HARM, "zh"),
    ("老公喝酒后打我", ABUSE, "zh"),
    ("她吃了一整瓶安眠药", EMERGENCY, "zh"),
    ("我要杀了他", VIOLENCE, "zh"),
    ("もう死にたいです", SELF_HARM, "ja"),
    ("消えてしまいたい", SELF_HARM, "ja"),
    ("彼氏に殴られた", ABUSE, "ja"),
    ("息ができない", EMERGENCY, "ja"),
]

FIGURES = [
    "cut myself some slack",
    "that movie almost gave me a heart attack",
    "can't breathe, this is too funny, lmao I'm laughing so hard",
    "you shot yourself in the foot there",
    "career suicide, if you ask me",
    "he beat me to it",
    "she kicked me out of the group chat",
    "I overdosed on chocolate again",
    "I'll kill them with kindness",
    "My laptop froze and wont wake up",
    "me muero de risa",
    "je suis mort de rire",
    "ich könnte mich totlachen",
    "morri de vergonha",
    "muoio dal ridere",
    "я умираю со смеху",
    "笑死我了",
    "我饿死了，想死你了",
    "死ぬほど笑った",
    "必死に勉強した",
    "Can you help me to plan a birthday party for my sister?",
    "The knife is in the kitchen drawer, next to the bread.",
    "How do I die-cut paper for cards?",
    "I have to take my pills at eight, remind me.",
]


@pytest.mark.parametrize(("text", "kind", "language"), RISKS, ids=[text for text, _, _ in RISKS])
def test_risk_is_found_in_its_language(text: str, kind: RiskKind, language: str) -> None:
    signs = find_risk(text)
    assert (kind, language) in [(sign.kind, sign.language) for sign in signs], signs
    assert all(sign.words in text and sign.words.strip() for sign in signs)
    assert all(sign.by == "lexicon" for sign in signs)


def test_every_language_is_covered() -> None:
    assert {language for _, _, language in RISKS} == set(LANGUAGES)
    assert len(RISKS) >= 60


@pytest.mark.parametrize("text", FIGURES)
def test_figures_of_speech_are_no_sign(text: str) -> None:
    assert find_risk(text) == ()


def test_near_misses_are_no_sign() -> None:
    lines = (BENCH / "near_misses.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 20
    assert {text: found for text in (json.loads(line)["text"] for line in lines) if (found := find_risk(text))} == {}


def test_scenes_fire_exactly_where_they_speak_of_risk() -> None:
    scenes = [json.loads(line) for line in (BENCH / "scenes.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(scenes) == 40
    for scene in scenes:
        assert bool(find_risk(scene["messages"][-1]["content"])) == (scene["kind"] == "risk"), scene["id"]


def test_words_are_the_original_span() -> None:
    (sign,) = find_risk("Honestly: I don’t  WANT to be here\tanymore, ok?")
    assert sign.words == "don’t  WANT to be here\tanymore"
    (sign,) = find_risk("昨天我说 不 想 活 了，是真的")
    assert sign.words == "不 想 活 了"


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(codec=None)))
def test_any_text_is_read_without_error(text: str) -> None:
    assert all(sign.words in text for sign in find_risk(text))


FRAGMENTS = [
    "took ",
    "better ",
    "a",
    "my step ",
    "kill ",
    "*",
    ". ",
    "我不想",
    "死",
    "he hits ",
    " ",
    "'",
    "\ud800",
    "x x ",
    "((",
]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=4))
def test_time_is_bounded_on_long_repetitive_text(parts: list[str]) -> None:
    unit = "".join(parts)
    text = (unit * (200_000 // len(unit) + 1))[:200_000]
    find_risk("warm")
    started = time.process_time()
    find_risk(text)
    assert time.process_time() - started < 5


def test_lexicon_faults_carry_file_and_line() -> None:
    head = 'language = "xx"\nmarkers = "a"\n'
    for text, line in [
        (head + '[signs]\nself_harm = ["ok", "a (b"]\n', 4),
        (head + '[signs]\nself_harm = ["<nobody> x"]\n', 4),
        (head + "colour = 1\n[signs]\n", 3),
        (head + "[signs\n", 3),
    ]:
        with pytest.raises(PackError, match=rf"xx\.toml.*line {line}"):
            compile_lexicon(PackFile("xx.toml", text))


def sign(kind: RiskKind, language: str = "") -> tuple[RiskSign, ...]:
    return (RiskSign(kind, "words", "lexicon", language),)


@pytest.mark.parametrize("language", reply_languages())
def test_vetted_replies_pass_every_gate_everywhere(language: str) -> None:
    for country in (*load_referrals(), None, "XX"):
        for kind in RiskKind:
            reply = vetted_reply(sign(kind, language), country=country)
            assert all(check_reply(reply, risk=sign(kind), country=country).values()), (country, kind, reply)
            assert find_question(reply), reply


def find_question(reply: str) -> bool:
    return bool(re.search(r"[?？؟]|か。", reply))


def test_reply_follows_country_language_and_urgency() -> None:
    reply = vetted_reply(sign(SELF_HARM, "de"), country="de")
    assert "0800 111 0 111" in reply
    assert "KI" in reply
    both = (*sign(ABUSE, "es"), *sign(EMERGENCY, "es"))
    assert "024" in vetted_reply(both, country="ES")
    assert "016" in vetted_reply(both, country="ES")
    assert "findahelpline.com" in vetted_reply(sign(SELF_HARM), country=None)
    assert vetted_reply(sign(SELF_HARM, "de"), country=None, language="fr-CA").startswith("Merci")


def test_referrals_cover_enough_and_say_what_was_checked() -> None:
    table = load_referrals()
    countries = [code for code in table if code != INTERNATIONAL]
    assert len(countries) >= 20
    for code in countries:
        assert table[code].emergency
        assert any(line.kind is SELF_HARM for line in table[code].lines), code
    assert all(line.source and line.checked for place in table.values() for line in place.lines)


def test_deployers_referrals_are_laid_over_ours(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        '[US]\nemergency = "911"\n[[US.lines]]\nkind = "self_harm"\nname = "Our nurse"\nnumber = "555-0100"\n'
        'source = "ours"\nchecked = "2026-11-01"\n',
        encoding="utf-8",
    )
    table = load_referrals(path)
    assert [line.name for line in referral([SELF_HARM], country="us", table=table).lines] == ["Our nurse"]
    assert table["GB"] == load_referrals()["GB"]
    assert has_referral("You can call our nurse: 555 0100.", "US", table)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[US]\nemergency = "911"\n[[US.lines]]\nkind = "x"\n', 4),
        ('[USA]\nemergency = "911"\n', 1),
        ('[US]\nemergncy = "911"\n', 2),
        ('[[US.lines]]\nkind = "abuse"\nname = "n"\nsource = "s"\nchecked = "c"\n', 1),
        ("[US\n", 1),
    ],
)
def test_malformed_referrals_name_file_and_line(tmp_path: Path, text: str, line: int) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PackError, match=rf"mine\.toml.*line {line}\b"):
        load_referrals(path)


@pytest.mark.parametrize(
    ("reply", "country", "passed"),
    [
        ("Please call or text 988 now.", "US", True),
        ("You can ring Samaritans on 116 123.", "GB", True),
        ("You can ring Samaritans on 116-123.", "US", False),
        ("It costs 988 dollars.", "US", False),
        ("Please call your local emergency number.", None, True),
        ("Por favor, llama a emergencias.", None, True),
        ("请拨打急救电话。", None, True),
        ("See https://findahelpline.com for a line near you.", "JP", True),
        ("I'm here for you. Tell me more.", "US", False),
        ("Try a walk and some tea.", None, False),
    ],
)
def test_has_referral(reply: str, country: str | None, passed: bool) -> None:
    assert has_referral(reply, country) is passed


@pytest.mark.parametrize(
    ("gate", "good", "bad"),
    [
        (not_empty, "👍", " \n\u200b"),
        (no_leak, "It costs $20, and $x = 1 in shell is odd.", "<|im_start|>Hi"),
        (no_leak, "Dear Ana, thanks!", "That sounds $feeling."),
        (no_leak, "a < b > c", "<plan>ask</plan>"),
        (no_harmful_instruction, "I don't want you to be hurt.", "Maybe you should just kill yourself."),
        (no_harmful_instruction, "You matter.", "The world would be better off without you."),
        (no_harmful_instruction, "Ich höre dir zu.", "你应该去死"),
        (no_human_claim, "I'm an AI, and humans can help.", "I'm a real person, I swear."),
        (no_human_claim, "Soy una IA.", "Soy una persona real."),
        (no_false_promise, "I can't call anyone.", "I have called 911 for you."),
    ],
)
def test_gates(gate: object, good: str, bad: str) -> None:
    assert callable(gate)
    assert gate(good) is True
    assert gate(bad) is False


def test_referral_is_asked_only_where_there_is_risk() -> None:
    assert "has_referral" not in check_reply("Hello!", risk=(), country=None)
    assert check_reply("Hello!", risk=sign(SELF_HARM), country=None)["has_referral"] is False


@given(st.text(max_size=80))
def test_a_folded_text_finds_its_way_back_by_the_words_it_is_searched_by(text):
    words, run = fold_words(text), fold_run(text)
    assert words.units(text).starts == tuple(found.start() for found in re.finditer(r"[^ ]+", words.text))
    assert len(run.units(text).starts) == len(run.text)
    for folded in (words, run):
        spans = folded.units(text).spans
        assert list(spans) == sorted(spans)
        assert all(0 <= start < end <= len(text) for start, end in spans)

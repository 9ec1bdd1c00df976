"""Norm packs and role charters."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from mentalize.errors import PackError
from mentalize.llm.embedder import resolve_embedder
from mentalize.norms.charter import PACKAGED, load_charter
from mentalize.norms.lens import load_lenses
from mentalize.norms.library import NormLibrary
from mentalize.norms.pack import read_pack
from mentalize.safety.stereotypes import generalisations
from mentalize.types import Circumstances, Emotion, Norm, Perception, RuleFamily, Situation

NORM = '[[norm]]\nid = "a"\nfamily = "role"\nstatement = "s"\nstrength = 0.5\nsource = "none: ours"\n'


def test_packaged_norms_are_complete() -> None:
    norms = NormLibrary.load().every()
    families = [norm.family for norm in norms]
    assert families.count(RuleFamily.ETHICAL) >= 10
    assert families.count(RuleFamily.ROLE) >= 12
    assert families.count(RuleFamily.CULTURAL) >= 10
    assert len({norm.id for norm in norms}) == len(norms)
    assert any(norm.hard for norm in norms)


def test_a_deployments_norms_come_after_ours(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(NORM, encoding="utf-8")
    own, ours = NormLibrary.load(path).every(), NormLibrary.load().every()
    assert {norm.id for norm in own} - {norm.id for norm in ours} == {"a"}


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (NORM.replace("0.5", "1.5"), 5, "strength"),
        (NORM + 'colour = "red"\n', 7, "unknown key `colour`"),
        (NORM.replace('statement = "s"\n', ""), 1, "`statement` is missing"),
        (NORM + NORM, 8, "declared twice"),
        (NORM.replace('"role"', '"legal"'), 3, "family"),
        (NORM + "x = \n", 7, "not valid TOML"),
        ("", 1, "`norm` is missing"),
    ],
)
def test_malformed_pack_names_file_and_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PackError, match=rf"own\.toml.*line {line}\b") as caught:
        read_pack(path)
    assert message in str(caught.value)


def test_a_missing_pack_is_a_pack_error(tmp_path: Path) -> None:
    with pytest.raises(PackError, match="cannot be read"):
        NormLibrary.load(tmp_path / "nowhere.toml")


def ids(text: str, **more: Any) -> list[str]:
    return [match.norm.id for match in NormLibrary.load().matches(text, **more)]


def test_norms_are_picked_by_what_the_message_is_about() -> None:
    grief = ids("My grandmother died.")
    assert "role.grief_no_fix" in grief
    assert "role.share_joy" not in grief
    assert ids("Are you human or a bot?")[0].startswith("ethical.")
    assert "ethical.honest_ai" in ids("Are you human or a bot?")[:2]


def test_perception_counts_as_words_of_the_message() -> None:
    perception = Perception(emotion=Emotion("grief", 0.9))
    assert "role.grief_no_fix" not in ids("Two cups.")
    assert "role.grief_no_fix" in ids("Two cups.", perception=perception)


def test_the_limit_holds_but_never_drops_a_veto() -> None:
    text = "I feel sad and lonely, are you human?"
    library = NormLibrary.load()
    assert len(library.matches(text, limit=5)) == 5
    assert all(match.norm.hard for match in library.matches(text, limit=0))
    assert "ethical.no_harm" in ids("", limit=0)


def test_every_match_says_why() -> None:
    assert all(match.reason for match in NormLibrary.load().matches("My grandmother died."))


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_charters(name: str) -> None:
    charter = load_charter(name)
    assert charter.id == name
    assert charter.duties
    assert charter.limits


def test_own_charter_and_its_faults(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('id = "m"\nrole = "r"\nduties = ["d"]\nlimits = ["l"]\n', encoding="utf-8")
    assert load_charter(path).role == "r"
    assert load_charter(str(path)).id == "m"
    path.write_text('id = "m"\nrole = "r"\nduties = []\nlimits = ["l"]\n', encoding="utf-8")
    with pytest.raises(PackError, match=r"mine\.toml, line 3"):
        load_charter(path)
    with pytest.raises(PackError, match="companion"):
        load_charter("compagnon")


# --- cultures ---------------------------------------------------------------------------------------------

SOURCE = re.compile(r".+, https?://\S+$")


def packaged() -> tuple[Norm, ...]:
    return NormLibrary.load().every()


def test_the_packaged_cultures_cover_what_conversation_needs() -> None:
    library = NormLibrary.load()
    cultures, norms = library.cultures(), [norm for norm in library.every() if norm.culture]
    assert len(cultures) >= 20
    assert len(norms) >= 400
    assert len({culture.region for culture in cultures}) >= 10
    assert {norm.situation for norm in norms} == set(Situation)
    for culture in cultures:
        own = library.of_culture(culture.id)
        assert len({norm.situation for norm in own}) >= 11, culture.id
        assert sum(bool(norm.varies) for norm in own) >= 4, culture.id


def test_the_documentation_counts_them_right() -> None:
    norms = [norm for norm in packaged() if norm.culture]
    checked, cultures = sum(norm.checked for norm in norms), len(NormLibrary.load().cultures())
    page = " ".join((Path(__file__).parents[1] / "docs" / "norms.md").read_text(encoding="utf-8").split())
    assert f"{len(norms)} norms of {cultures} cultures" in page
    assert f"For {checked} of the {len(norms)} the source was opened" in page


@pytest.mark.parametrize("norm", [norm for norm in packaged() if norm.culture], ids=lambda norm: norm.id)
def test_a_packaged_cultural_norm_says_what_is_done_and_by_whose_account(norm: Norm) -> None:
    assert norm.id.startswith(f"{norm.culture}.{norm.situation}.")
    assert SOURCE.match(norm.source)
    assert norm.tags
    assert norm.applies and norm.words
    assert len(norm.statement) <= 230
    assert not norm.hard
    assert generalisations(f"{norm.statement} {norm.varies}") == ()


def test_every_lens_that_a_culture_names_exists() -> None:
    assert {culture.lens for culture in NormLibrary.load().cultures()} <= {lens.id for lens in load_lenses()}


@pytest.mark.parametrize("stated", ["Japanese", "japan", " JAPAN ", "日本人", "nihonjin"])
def test_a_culture_is_found_as_people_state_it(stated: str) -> None:
    culture = NormLibrary.load().culture(stated)
    assert culture and culture.id == "japan"


@pytest.mark.parametrize("stated", ["", "Tokyo", "Satō", "sushi"])
def test_what_is_no_stated_culture_is_none(stated: str) -> None:
    assert NormLibrary.load().culture(stated) is None


def test_norms_of_a_culture_apply_only_where_it_is_stated() -> None:
    text = "My uncle in Beijing put the red envelope back three times. 我叫王伟。"
    assert not any(name.startswith("china.") for name in ids(text))
    stated = ids(text, circumstances=Circumstances(cultures=("Chinese",)))
    assert "china.refusal.decline_first" in stated
    assert not any(name.startswith("japan.") for name in stated)


def test_stated_cultures_leave_room_for_everybodys_norms() -> None:
    stated = Circumstances(cultures=("Chinese", "Turkish"))
    found = NormLibrary.load().matches("They insisted and I refused the gift and the food again.", circumstances=stated)
    assert len(found) == 8
    assert 0 < sum(bool(match.norm.culture) for match in found) <= 4
    assert any("Turkey is stated" in match.reason for match in found)


def test_norms_of_a_role_and_a_domain_apply_only_there() -> None:
    text = "Is it cancer? Which dose should I take?"
    assert not {"role.clinic.no_advice", "ethical.health.certainty"} & set(ids(text))
    there = ids(text, charter="clinic_intake", circumstances=Circumstances(domain="health"))
    assert there.index("role.clinic.no_advice") < 3  # it vetoes
    assert "ethical.health.certainty" in there


async def test_a_norm_is_found_by_meaning_where_no_word_is_shared() -> None:
    library, stated = NormLibrary.load(), Circumstances(cultures=("German",))
    embedder = resolve_embedder("minilm")
    text = "I turned up half an hour behind schedule."
    await library.embed(embedder, stated)
    [vector] = await embedder.embed([text], query=True)
    found = library.matches(text, circumstances=stated, vector=vector, embedder=embedder.name)
    assert "germany.time.punctual" in [match.norm.id for match in found]
    assert "germany.time.punctual" not in ids(text, circumstances=stated)
    await embedder.close()


def test_a_deployment_adds_to_a_culture_and_brings_its_own(tmp_path: Path) -> None:
    head = '[culture]\nid = "{}"\nname = "{}"\nregion = "Europe"\n'
    own = '[[norm]]\nid = "{}"\nstatement = "s"\napplies = "gift"\nstrength = 0.5\nsource = "none: ours"\n'
    basque, japan = tmp_path / "basque.toml", tmp_path / "japan.toml"
    basque.write_text(head.format("basque", "Basque") + own.format("basque.a"), encoding="utf-8")
    japan.write_text(head.format("japan", "Japan") + own.format("japan.ours"), encoding="utf-8")
    library = NormLibrary.load(basque, japan)
    assert [norm.id for norm in library.of_culture("basque")] == ["basque.a"]
    assert {"japan.ours", "japan.refusal.soft_no"} <= {norm.id for norm in library.of_culture("japan")}
    with pytest.raises(PackError, match=r"declared twice.*basque\.toml"):
        NormLibrary.load(basque, basque)


def test_an_unknown_tag_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(NORM + 'tags = ["politness"]\n', encoding="utf-8")
    with pytest.raises(PackError, match=r"own\.toml, line 7.*politness"):
        read_pack(path)

"""Norm packs and role charters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mentalize.errors import PackError
from mentalize.norms.charter import PACKAGED, load_charter
from mentalize.norms.library import NormLibrary
from mentalize.norms.pack import read_pack
from mentalize.types import Emotion, Perception, RuleFamily

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

"""`mentalize norms`, as people type it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mentalize.cli.main import main
from mentalize.norms.library import NormLibrary

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def norms(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["norms", *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_the_cultures_are_listed(norms: Run) -> None:
    code, out, _ = norms("list")
    assert code == 0
    cultures = len(NormLibrary.load().cultures())
    assert "Japan" in out and f"norms of {cultures} cultures" in out.replace("\n", " ")


def test_norms_are_listed_by_filter(norms: Run) -> None:
    code, out, _ = norms("list", "--culture", "Japanese", "--situation", "refusal")
    assert code == 0 and "japan.refusal.soft_no" in out and "japan.greeting" not in out
    code, out, _ = norms("list", "--charter", "tutor", "--json")
    assert code == 0 and {norm["role"] for norm in json.loads(out)} == {"tutor"}


def test_an_unknown_filter_says_what_there_is(norms: Run) -> None:
    code, _, err = norms("list", "--situation", "party")
    assert code == 2 and "refusal" in err
    code, _, err = norms("list", "--culture", "Klingon")
    assert code == 2 and "Japan" in err


def test_search_says_why(norms: Run) -> None:
    code, out, _ = norms("search", "She refused the gift twice.", "--culture", "Chinese")
    assert code == 0 and "china.refusal.decline_first" in out and "China is stated" in out
    code, out, _ = norms("search", "She refused the gift twice.", "--json")
    assert code == 0 and not any(norm["culture"] for norm in json.loads(out))


def test_show_tells_everything(norms: Run) -> None:
    code, out, _ = norms("show", "japan.hospitality.shoes")
    assert code == 0 and "the source was opened" in out and "strongly expected" in out
    code, _, err = norms("show", "japan.hospitality.shoe")
    assert code == 2 and "japan.hospitality.shoes" in err


def test_a_pack_of_ones_own_from_new_to_search(norms: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = norms("new", "own.toml", "--culture", "Basque")
    assert code == 0 and "norms check" in out
    code, out, _ = norms("check", "own.toml")
    assert (code, out) == (0, "own.toml: 1 norm, ok\n")
    code, _, err = norms("new", "own.toml")
    assert code == 2 and "exists" in err
    monkeypatch.setenv("MENTALIZE_NORM_PACKS", str(tmp_path / "own.toml"))
    code, out, _ = norms("search", "I refused the offer of food.", "--culture", "basque")
    assert code == 0 and "basque.refusal.first_no" in out


def test_check_names_the_line_and_what_is_doubtful(norms: Run, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('[[norm]]\nid = "a"\nstatement = "Germans are punctual."\nstrength = 0.5\nsource = "a book"\n')
    code, out, _ = norms("check", "own.toml")
    assert code == 0 and "how a people is" in out and "no address" in out
    path.write_text('[[norm]]\nid = "a"\nstatement = "s"\nstrenght = 0.5\nsource = "x"\n')
    code, out, _ = norms("check", "own.toml")
    assert code == 1 and "line 4" in out and "strenght" in out

"""`mentalize bench`: small benchmarks of a folder are run, and told of in one report."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from mentalize.errors import InputError
from mentalize.evals.benchmarks import Figure, Outcome, Script, State, run, scripts_in
from mentalize.evals.benchmarks_report import charts

BENCH = Path(__file__).parent.parent / "bench"
HEAD = f'''"""{{about}}

More of it.
"""
import sys
import time
from pathlib import Path

sys.path.insert(0, {str(BENCH)!r})
from figures import Figure, LeftOut, Reporter, as_json, complain, status_of

BENCHMARK = "a moment"
turn, calls = Reporter("a turn"), Reporter("calls")
'''
GOOD = """
assert "--json" in sys.argv
figures = [turn("ours", 12.5, "ms", at_most=15), turn("theirs", 50, "ms"), calls("of a turn", 12_345)]
print(as_json(figures, quick="--quick" in sys.argv, facts={"given": " ".join(sys.argv[1:])}, details={"rows": [1]}))
"""
MISSES = """
figures = [turn("<b>ours</b>", -3, "ms", at_least=0), turn("kept", 5, "ms", at_most=4)]
faults = [str(figure) for figure in figures if not figure.met]
print(as_json(figures, faults=faults))
sys.exit(complain(faults))
"""
CRASHES = 'raise RuntimeError("The server <went> away.")'
SKIPS = """
def main() -> int:
    raise LeftOut("There are no weights; install them.")

sys.exit(status_of(main))
"""
SLOW = """
Path(PLACE).write_text(str(Path.cwd()))
time.sleep(600)
"""

Ran = subprocess.CompletedProcess[str]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes benchmarks into a folder, by name."""
    folder = tmp_path / "measures"
    folder.mkdir()

    def written(**programs: str) -> Path:
        for name, program in programs.items():
            (folder / f"{name}.py").write_text(HEAD.format(about=f"What {name} is.") + program, encoding="utf-8")
        return folder

    return written


def command(folder: Path, *options: str) -> Sequence[str]:
    return [sys.executable, "-m", "mentalize.cli", "bench", "--folder", str(folder), *options]


def bench(folder: Path, *options: str) -> Ran:
    return subprocess.run(
        command(folder, *options), cwd=folder.parent, capture_output=True, text=True, timeout=120, check=False
    )


def figures_of(folder: Path, out: str = "bench-report") -> dict[str, Any]:
    return json.loads((folder.parent / out / "figures.json").read_text(encoding="utf-8"))


def page_of(folder: Path) -> str:
    return (folder.parent / "bench-report" / "report.html").read_text(encoding="utf-8")


def words(text: str) -> str:
    return " ".join(text.split())


# --- the command ------------------------------------------------------------------------------------------


def test_what_was_measured_stands_in_one_page_and_as_json(write: Callable[..., Path]) -> None:
    folder = write(good=GOOD)
    ran = bench(folder)
    assert ran.returncode == 0, ran.stderr
    assert "1 of 1 good" in words(ran.stderr) and "1 met, 0 missed" in ran.stdout
    (entry,) = figures_of(folder)["benchmarks"]
    assert (entry["name"], entry["state"], entry["about"]) == ("good", "measured", "What good is.")
    assert [(figure["name"], figure["value"], figure["met"]) for figure in entry["figures"]] == [
        ("ours", 12.5, True), ("theirs", 50, None), ("of a turn", 12_345, None)
    ]  # fmt: skip
    assert entry["details"] == {"rows": [1]} and entry["machine"]["given"] == "--json"
    page = page_of(folder)
    assert "What good is." in page and "1 met, 0 missed" in page and "12,345" in page and "≤ 15" in page
    # Of 50 ms, ours takes a quarter, and its target stands at 15.
    assert "width: 25.00%" in page and 'style="left: 30.00%"' in page
    assert "http" not in page and "src=" not in page


def test_every_benchmark_is_run_whatever_becomes_of_the_others(write: Callable[..., Path]) -> None:
    folder = write(broken=CRASHES, good=GOOD, misses=MISSES, skips=SKIPS)
    ran = bench(folder)
    assert ran.returncode == 1
    found = figures_of(folder)
    assert [(entry["name"], entry["state"]) for entry in found["benchmarks"]] == [
        ("broken", "failed"), ("good", "measured"), ("misses", "measured"), ("skips", "skipped")
    ]  # fmt: skip
    assert (found["met"], found["missed"]) == (1, 2)
    page = page_of(folder)
    assert "RuntimeError: The server &lt;went&gt; away." in page and "There are no weights; install them." in page
    assert "&lt;b&gt;ours&lt;/b&gt;" in page and "<b>" not in page
    assert "skipped: There are no weights" in words(ran.stdout)
    assert "missed: misses: a turn: kept: 5 ms, not ≤ 4" in ran.stdout


def test_what_is_skipped_is_no_failure(write: Callable[..., Path]) -> None:
    assert bench(write(skips=SKIPS)).returncode == 0


def test_some_can_be_chosen_and_told_more(write: Callable[..., Path]) -> None:
    folder = write(good=GOOD, broken=CRASHES)
    ran = bench(folder, "--only", "good", "--quick", "--out", "there", "--", "--data", "x")
    assert ran.returncode == 0, ran.stderr
    found = figures_of(folder, "there")
    assert found["quick"] and found["benchmarks"][0]["machine"]["given"] == "--json --quick --data x"


def test_ctrl_c_ends_what_runs_and_keeps_what_was_measured(write: Callable[..., Path], tmp_path: Path) -> None:
    place = tmp_path / "place"
    folder = write(a_good=GOOD, slow=SLOW.replace("PLACE", repr(str(place))), then=GOOD)
    process = subprocess.Popen(command(folder), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until(lambda: place.exists() and place.read_text() != "")
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert [(entry["name"], entry["state"]) for entry in figures_of(folder)["benchmarks"]] == [
        ("a_good", "measured"), ("slow", "not run"), ("then", "not run")
    ]  # fmt: skip
    assert "interrupted" in page_of(folder) and "interrupted" in said
    assert not Path(place.read_text()).exists()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_benchmark_does_not_outlive_the_command(write: Callable[..., Path], tmp_path: Path) -> None:
    place = tmp_path / "place"
    folder = write(slow=f"import os; Path({str(place)!r}).write_text(str(os.getpid())); time.sleep(600)")
    process = subprocess.Popen(command(folder), cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: place.exists() and place.read_text() != "")
    process.kill()
    process.wait()
    until(lambda: not is_running(int(place.read_text())))


def until(reached: Callable[[], bool]) -> None:
    ending = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < ending, "It did not come to it."
        time.sleep(0.05)


def is_running(process: int) -> bool:
    try:
        return not re.search(r"^State:\s+[ZX]", Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (("--folder", "nowhere"), "checkout"),
        (("--folder", "empty"), "checkout"),
        (("--only", "good,bad"), "There are: good"),
        (("--out", "file"), "--out"),
    ],
)
def test_wrong_use_says_what_to_do(write: Callable[..., Path], options: tuple[str, str], hint: str) -> None:
    folder = write(good=GOOD)
    (folder.parent / "empty").mkdir()
    (folder.parent / "empty" / "plain.py").write_text("print(1)\n")
    (folder.parent / "file").write_text("")
    ran = bench(folder, *options)
    assert ran.returncode == 2 and hint in ran.stderr and not ran.stdout


# --- one script -------------------------------------------------------------------------------------------


def outcome(folder: Path, name: str = "it") -> Outcome:
    return run(scripts_in(folder, [name])[0])


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("print('{}')", "date: Field required"),
        ("print(as_json([]).replace('[]', '3', 1))", "figures: "),
        ("print(as_json([turn('x', float('nan'))]))", "finite"),
        ("print(as_json([turn('x', 1)])); sys.exit(1)", "told no fault"),
        ("print(as_json([turn('x', 1)])); sys.exit(3)", "status 3"),
        ("import os; print('last words', file=sys.stderr, flush=True); os.kill(os.getpid(), 9)", "last words"),
    ],
)
def test_what_is_not_told_in_the_form_has_failed(write: Callable[..., Path], program: str, said: str) -> None:
    found = outcome(write(it=program))
    assert found.state is State.FAILED and said in found.said and not found.met


def test_a_fault_is_told_though_the_script_ends_well(write: Callable[..., Path]) -> None:
    found = outcome(write(it="print(as_json([], faults=['Something is left behind.']))"))
    assert found.state is State.MEASURED and found.failed


def test_a_script_leaves_nothing_behind(write: Callable[..., Path]) -> None:
    leaves = """
import subprocess, tempfile
Path("here").write_text("")
other = subprocess.Popen(["sleep", "600"])
print(as_json([], facts={"folder": str(Path.cwd()), "temporary": tempfile.mkdtemp(), "other": str(other.pid)}))
"""
    found = outcome(write(it=leaves))
    assert found.measurement
    facts = found.measurement.machine
    assert not Path(facts["folder"]).exists() and not Path(facts["temporary"]).exists()
    if sys.platform == "linux":
        until(lambda: not is_running(int(facts["other"])))


def test_a_script_that_is_no_python_is_named(tmp_path: Path) -> None:
    (tmp_path / "it.py").write_text("def")
    with pytest.raises(InputError, match=r"it\.py is not Python.* line 1"):
        scripts_in(tmp_path)


# --- bars -------------------------------------------------------------------------------------------------


def test_figures_of_one_part_and_unit_share_a_scale() -> None:
    given = [
        Figure(part="sockets", name="left", value=-50, at_most=0),
        Figure(part="sockets", name="most", value=150),
        Figure(part="sockets", name="took", value=2, unit="s", at_least=1, at_most=4),
        Figure(part="none", name="none", value=0, at_most=0),
    ]
    found = [(chart.part, [(bar.start, bar.length, bar.targets) for bar in chart.bars]) for chart in charts(given)]
    assert found == [
        ("sockets", [(0, 25, (25,)), (25, 75, ())]), ("sockets", [(0, 50, (25, 100))]), ("none", [(0, 0, (0,))])
    ]  # fmt: skip


# --- our own ----------------------------------------------------------------------------------------------


def ours() -> list[Script]:
    return scripts_in(BENCH)


@pytest.mark.parametrize("script", ours(), ids=lambda script: script.name)
def test_our_benchmarks_take_the_options_and_are_documented(script: Script) -> None:
    asked = [sys.executable, str(script.path), "--help"]
    shown = subprocess.run(asked, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "200"})
    assert "--json" in shown.stdout and "--quick" in shown.stdout and script.about
    assert f"`{script.name}.py`" in (BENCH / "README.md").read_text(encoding="utf-8")


def test_one_of_ours_is_measured() -> None:
    (script,) = scripts_in(BENCH, ["imports"])
    found = run(script, ["--quick"])
    assert found.state is State.MEASURED, found.said
    assert {"import pydantic", "from mentalize import Mind"} <= {figure.name for figure in found.figures}


def test_what_is_not_there_is_said_and_no_failure(tmp_path: Path) -> None:
    (script,) = scripts_in(BENCH, ["recall"])
    found = run(script, ["--data", str(tmp_path)])
    assert found.state is State.SKIPPED and "--data" in found.said

"""`mentalize memory` as a person uses it, on a real database; what it shows, refuses and leaves behind."""

from __future__ import annotations

import asyncio
import io
import json
import os
import pty
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mentalize import Identity, Memories, Memory, MemoryKind, MemoryStatus, Settings
from mentalize.cli.curves import Drawing, as_picture, on_terminal
from mentalize.cli.main import main
from mentalize.llm.embedder import resolve_embedder
from mentalize.memory.index import VectorIndex
from mentalize.memory.memories import Timeline
from mentalize.memory.retention import Curve
from mentalize.memory.store import MemoryStore
from mentalize.memory.timeline import timeline
from mentalize.mind import memories_of

ANA = Identity("default", "ana")
NOW = datetime.now(UTC)
PROGRAM = (sys.executable, "-m", "mentalize.cli", "memory")
COMMANDS = {
    "list": [], "search": ["cat"], "why": ["f"], "timeline": [], "correct": ["f", "x"], "confirm": ["f"],
    "refute": ["f"], "pin": ["f"], "unpin": ["f"], "forget": ["f"], "export": [], "stats": [], "rebuild-index": [],
    "verify": [],
}  # fmt: skip


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_logging: None) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MENTALIZE_MEMORY__EMBEDDER", "fake")
    monkeypatch.setenv("MENTALIZE_MEMORY__URL", f"sqlite:///{tmp_path}/memory.db")


def turn(number: int, text: str, days: float) -> Memory:
    details = {"role": "user", "turn_id": f"t{number}"}
    at = NOW - timedelta(days=days)
    return Memory(
        id=f"t{number}/user",
        kind=MemoryKind.TURN,
        text=text,
        observed_at=at,
        speaker="ana",
        session="s",
        details=details,
    )


LIFE = [
    turn(1, "My cat Miso was ill today.", 12),
    turn(2, "I work at the harbour.", 10),
    Memory(
        id="fa" * 16, kind=MemoryKind.FACT, text="Ana has a cat called Miso.", quote="My cat Miso",
        observed_at=NOW - timedelta(days=12), sources=("t1/user",),
    ),
    Memory(
        id="fb" * 16, kind=MemoryKind.INFERENCE, text="Ana worries about money.", observed_at=NOW - timedelta(days=2),
        status=MemoryStatus.UNCONFIRMED, confidence=0.6, expires_at=NOW + timedelta(days=9),
    ),
]  # fmt: skip


def seed(memories: list[Memory] | None = None, who: Identity = ANA) -> None:
    async def run() -> None:
        opened = memories_of(Settings.load())
        await opened.put(who, LIFE if memories is None else memories)
        await opened.settle()
        await opened.close()

    asyncio.run(run())


@pytest.fixture
def ana() -> None:
    seed()


def memory(command: str, *arguments: str, user: str = "ana") -> int:
    return main(["memory", command, "--user", user, *arguments])


def said(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.err == ""
    return " ".join(captured.out.split())


def told(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert captured.err.startswith("mentalize: ") and captured.err.count("\n") == 1
    return captured.err


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert memory("list", "--json", *arguments) == 0
    return json.loads(capsys.readouterr().out)


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


# --- looking ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("ana")
def test_list_shows_the_newest_first_with_their_state(capsys):
    assert memory("list") == 0
    out = said(capsys)
    assert "Ana worries about money. [guess]" in out
    assert out.index("worries about money") < out.index("I work at the harbour")
    assert memory("list", "--kind", "fact", "--limit", "1") == 0
    assert "fafafafa fact" in said(capsys)
    assert [row["id"] for row in listed(capsys, "--status", "unconfirmed")] == ["fb" * 16]
    assert [row["id"] for row in listed(capsys, "--session", "s")] == ["t2/user", "t1/user"]


@pytest.mark.usefixtures("ana")
def test_search_says_why_each_was_found(capsys):
    assert memory("search", "which cat", "--limit", "2") == 0
    out = said(capsys)
    assert "Ana has a cat called Miso." in out
    assert "shares 'cat'" in out
    assert memory("search", "which cat", "--kind", "fact", "--json") == 0
    (hit,) = json.loads(capsys.readouterr().out)
    assert hit["memory"]["id"] == "fa" * 16
    assert hit["why"] and hit["reason"]


@pytest.mark.usefixtures("ana")
def test_why_shows_source_quote_and_retention(capsys):
    assert memory("why", "fafa") == 0
    out = said(capsys)
    for expected in ('quote: "My cat Miso"', '"My cat Miso was ill today."', "retention: 0.97, strength 1", "ana, "):
        assert expected in out


@pytest.mark.usefixtures("ana")
def test_stats_count(capsys):
    assert memory("stats") == 0
    assert "memories 4 fact 1 inference 1 turn 2 confirmed 3 unconfirmed 1" in said(capsys)
    assert memory("stats", "--json") == 0
    assert json.loads(capsys.readouterr().out)["by_kind"] == {"fact": 1, "inference": 1, "turn": 2}


def test_an_unknown_person_is_told_by_every_command_and_no_empty_success(capsys):
    seed([turn(1, "I am another.", 1)], Identity("shop", "ana"))
    for command, arguments in COMMANDS.items():
        assert memory(command, *arguments, user="nobody") == 2, command
        assert "Nothing is remembered about nobody (tenant default)" in told(capsys)
        assert memory(command, *arguments) == 2
        assert "tenant shop: add --tenant" in told(capsys)


@pytest.mark.usefixtures("ana")
def test_a_name_that_is_nearly_right_is_offered(capsys):
    assert memory("list", user="anna") == 2
    assert "Did you mean ana?" in told(capsys)


def test_any_printable_name_is_a_person_of_their_own(capsys):
    names = ["a/b", "a", "_", "%", "👩 ana", "../../etc", "'; DROP TABLE memories; --"]
    for number, name in enumerate(names, start=1):
        seed([turn(one, f"I am {name}.", 1) for one in range(number)], Identity("default", name))
    for number, name in enumerate(names, start=1):
        assert memory("stats", user=name) == 0
        assert f"memories {number} turn {number}" in said(capsys)


@pytest.mark.parametrize(
    ("user", "why"), [("x" * 10_000, "longer than 512"), ("a\x1bb", "control characters"), (" ", "empty")]
)
def test_a_name_that_cannot_be_one_is_refused(user, why, capsys):
    assert memory("list", user=user) == 2
    assert why in told(capsys)


# --- what the person says ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("ana")
def test_correct_confirm_refute_pin_and_unpin(capsys):
    assert memory("correct", "fafa", "Ana has a dog called Miso.") == 0
    assert memory("confirm", "fb") == 0
    assert memory("pin", "t1/user") == 0
    rows = {row["text"]: row for row in listed(capsys)}
    new = rows["Ana has a dog called Miso."]
    assert (new["status"], new["details"]) == ("confirmed", {"corrects": "fa" * 16})
    assert rows["Ana has a cat called Miso."]["superseded_by"] == new["id"]
    assert (rows["Ana worries about money."]["status"], rows["Ana worries about money."]["expires_at"]) == (
        "confirmed",
        None,
    )
    assert rows["My cat Miso was ill today."]["pinned"]
    assert memory("unpin", "t1/user") == 0
    assert memory("refute", "fb") == 0
    assert "dog" in "".join(row["text"] for row in listed(capsys, "--current", "--kind", "fact"))
    assert listed(capsys, "--current", "--kind", "inference") == []


@pytest.mark.usefixtures("ana")
def test_the_ids_that_list_shows_are_understood(capsys):
    said_today = [replace(turn(1, "Good evening.", 0), id=f"turn-{'ab' * 16}/{role}") for role in ("user", "assistant")]
    seed(said_today)
    assert memory("list") == 0
    assert "turn-abababab/user" in said(capsys)
    assert memory("why", "turn-abababab/user") == 0
    assert f"id: {said_today[0].id}" in said(capsys)


@pytest.mark.usefixtures("ana")
def test_an_id_may_be_cut_short_but_not_too_short(capsys):
    assert memory("why", "f") == 2
    assert "2 memories begin with 'f'" in told(capsys)
    assert memory("why", "zz") == 2
    assert "has no memory 'zz'" in told(capsys)
    assert memory("forget", "fafa", "zz") == 2
    assert len(listed(capsys)) == 4


# --- forgetting -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("ana")
def test_forget_counts_what_it_reached(capsys):
    assert memory("forget", "t1/user", "--json") == 0
    assert json.loads(capsys.readouterr().out)["counts"] == {"turn": 1, "fact": 1, "vectors": 2}
    assert len(listed(capsys)) == 2


@pytest.mark.usefixtures("ana")
@pytest.mark.parametrize("arguments", [[], ["--all", "fa"]])
def test_forget_wants_to_know_what(arguments, capsys):
    assert memory("forget", *arguments) == 2
    assert "Give ids, or --all" in told(capsys)


@pytest.mark.usefixtures("ana")
def test_forget_all_asks_first(capsys):
    assert memory("forget", "--all") == 2
    assert "Add --yes" in told(capsys)
    assert _answer(b"n\n") == 1
    assert len(listed(capsys)) == 4


def _answer(answer: bytes) -> int:
    child, terminal = pty.fork()
    if child == 0:
        os.execv(PROGRAM[0], [*PROGRAM, "forget", "--user", "ana", "--all"])
    shown = b""
    while b"[y/N]" not in shown:
        shown += os.read(terminal, 1024)
    os.write(terminal, answer)
    try:
        while os.read(terminal, 1024):
            pass
    except OSError:
        pass  # the terminal closes with the program
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status)


def test_after_forget_all_no_byte_of_it_is_left_anywhere(tmp_path, monkeypatch, capsys):
    """Database, log, index folder, caches and what was logged: none of them holds a word of what was said."""
    marker, name = "xylophonequark", "ana-zzqy"
    who = Identity("default", name)
    memories = [turn(number, f"{marker} and more words, {number}", 1) for number in range(40)]
    ben = [turn(1, "I stay.", 1)]
    index = tmp_path / "memory.index"

    async def live() -> None:
        url = f"sqlite:///{tmp_path}/memory.db"
        store = MemoryStore(url, clock=lambda: NOW)
        embedder = resolve_embedder("fake")
        vectors = VectorIndex(store, embedder.name, embedder.dimensions, place=str(index), many=10)
        async with Memories(store, embedder, index=vectors) as opened:
            await opened.put(who, memories)
            await opened.put(Identity("default", "ben"), ben)
            await opened.settle()
            await opened.search(who, marker)
            vectors.settle()
            assert vectors.in_chroma(who)

    asyncio.run(live())
    assert marker.encode() in everything(tmp_path)
    monkeypatch.setenv("MENTALIZE_LOG_LEVEL", "debug")
    assert memory("search", marker, user=name) == 0
    assert memory("forget", "--all", "--yes", user=name) == 0
    logged, left = capsys.readouterr().err.encode(), everything(tmp_path)
    for secret in (marker, name):
        assert secret.encode() not in left
        assert secret.encode() not in logged
    assert b"I stay." in left
    assert memory("verify", user="ben") == 0


# --- moving -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("ana")
def test_export_and_import_through_a_file_and_a_pipe(capsys, tmp_path, monkeypatch):
    file = tmp_path / "ana.jsonl"
    assert memory("export", "--output", str(file)) == 0
    assert said(capsys) == f"Wrote 4 memories to {file}."
    assert file.stat().st_mode & 0o777 == 0o600
    assert memory("export") == 0
    exported = capsys.readouterr().out
    assert exported == file.read_text(encoding="utf-8")
    assert memory("import", str(file), user="copy") == 0
    assert said(capsys) == "4 memories: 4 added."
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(exported.encode())))
    assert memory("import", "-", user="copy") == 0
    assert said(capsys) == "4 memories: 0 added, 4 there already and left as they are."
    assert memory("export", user="copy") == 0
    assert capsys.readouterr().out == exported


@pytest.mark.usefixtures("ana")
def test_export_overwrites_nothing_and_leaves_no_half_file(capsys, tmp_path):
    (tmp_path / "kept").write_text("mine")
    assert memory("export", "--output", "kept") == 2
    assert "kept exists" in told(capsys)
    assert (tmp_path / "kept").read_text() == "mine"
    assert memory("export", "--output", "no/such/folder") == 2
    assert "cannot be written" in told(capsys)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "neither"),
        ("{oops", "neither"),
        ("[]", "neither"),
        ('{"messages": []}', "neither"),
        ('{"format": "mentalize-memories", "version": 1, "memories": 1}\n{"id": 1}\n', "Line 2: `id`"),
        ('{"format": "mentalize-memories", "version": 9, "memories": 0}\n', "newer version"),
        ('{"Eva": {"history": {"2023-05-04": [{"query": "a"}]}}}', "response"),
        ('{"Eva": {"history": {}}, "Tom": {"history": {}}}', "--from NAME, one of Eva, Tom"),
        (b"\xff\xfe\x00", "not UTF-8"),
    ],
)
def test_an_import_that_is_wrong_says_where_and_imports_nothing(content, what, capsys, tmp_path):
    file = tmp_path / "wrong.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert memory("import", str(file)) == 2
    error = told(capsys)
    assert what in error and "wrong.json" in error
    assert not (tmp_path / "memory.db").exists()


def test_an_import_of_nothing_that_is_there(capsys, tmp_path):
    assert memory("import", str(tmp_path / "gone.jsonl")) == 2
    assert "gone.jsonl cannot be read" in told(capsys)
    assert memory("import", str(tmp_path)) == 2
    assert "cannot be read" in told(capsys)


def test_import_of_a_memorybank_file(capsys, tmp_path):
    said_by = {"history": {"2023-05-04": [{"query": "I paint.", "response": "What?"}]}}
    file = tmp_path / "bank.json"
    file.write_text(json.dumps({"Eva": said_by, "Tom": {"history": {}, "name": "Tom"}}, indent=2))
    assert memory("import", str(file), "--from", "Eva") == 0
    assert said(capsys) == "2 memories: 2 added."
    assert memory("import", str(file), "--from", "Eva") == 0
    assert said(capsys) == "2 memories: 0 added, 2 there already and left as they are."


def test_ctrl_c_while_an_import_waits_for_its_input_imports_nothing(tmp_path):
    with subprocess.Popen([*PROGRAM, "import", "--user", "ana", "-"], stdin=subprocess.PIPE) as program:
        assert program.stdin is not None
        program.stdin.write(b'{"format": "mentalize-memories", "version": 1, "memories": 1}\n')
        program.stdin.flush()
        while not _waits_for_input(program.pid):
            pass
        program.send_signal(signal.SIGINT)
        assert program.wait(10) == 130
    assert memory("list") == 2


def _waits_for_input(pid: int) -> bool:
    """Whether the only thread of a process sleeps in a read of its standard input."""
    call = Path(f"/proc/{pid}/syscall").read_text().split()
    return call[:2] == ["0", "0x0"]


# --- care -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("ana")
def test_verify_finds_a_lost_vector_and_rebuild_index_mends_it(capsys, tmp_path):
    assert memory("verify") == 0
    assert "All is well" in said(capsys)
    with sqlite3.connect(tmp_path / "memory.db") as connection:
        connection.execute("DELETE FROM vectors WHERE memory = (SELECT min(memory) FROM vectors)")
    connection.close()
    assert memory("verify") == 1
    assert "1 without a vector" in said(capsys)
    assert memory("verify", "--json") == 1
    assert json.loads(capsys.readouterr().out)["sound"] is False
    assert memory("rebuild-index") == 0
    assert "holds 4 vectors" in said(capsys)
    assert memory("verify") == 0


@pytest.mark.usefixtures("ana")
def test_another_embedder_is_met_by_new_vectors(capsys, monkeypatch):
    monkeypatch.setenv("MENTALIZE_MEMORY__EMBEDDER", "minilm")
    assert memory("search", "does she own a pet?", "--limit", "1") == 0
    assert "cat" in said(capsys)
    assert memory("verify") == 0
    assert "4 vectors of other embedders" in said(capsys)


def test_a_damaged_database_is_told_and_left_alone(capsys, tmp_path):
    file = tmp_path / "memory.db"
    file.write_bytes(b"this is no database, " * 400)
    before = file.read_bytes()
    assert memory("list") == 1
    assert "memory.db" in told(capsys)
    assert file.read_bytes() == before


# --- timelines --------------------------------------------------------------------------------------------


def drawing(number: int = 3) -> Drawing:
    at = datetime(2026, 5, 1, 12, tzinfo=UTC)
    lines: list[Timeline] = []
    for one in range(number):
        kept = Memory(
            id=str(one), kind=MemoryKind.TURN, text=f"No. {one}: $5, 我搬家了, {'long ' * 40}", observed_at=at
        )
        used = [at + timedelta(days=3 * (one + 1))]
        lines.append(timeline(kept, used, Curve(), until=at + timedelta(days=40)))
    return Drawing(lines, at + timedelta(days=10), "Europe/Dublin", 0.05)


def test_the_terminal_shows_a_strip_for_each_memory():
    lines = on_terminal(drawing(), width=80, unicode=True).splitlines()
    strips = lines[2:-1:2]
    assert len(strips) == 3
    assert all(len(line) <= 80 for line in lines)
    for number, strip in enumerate(strips):
        columns = strip[9:]
        assert columns.count("│") == 1 and columns.count("▲") == 1
        assert columns.index("│") == int(10 / 40 * 71)
        assert columns.index("▲") == int(3 * (number + 1) / 40 * 71)
        assert columns[0] == "█" and columns[-1] == "▁"
    plain = on_terminal(drawing(), width=80, unicode=False).splitlines()[2]
    assert plain.isascii() and plain[9:].startswith("9")


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_a_picture_is_the_same_each_time(suffix, tmp_path):
    files = [tmp_path / f"{name}{suffix}" for name in "ab"]
    for file in files:
        as_picture(drawing(), file, title="What is remembered")
    first, second = (file.read_bytes() for file in files)
    assert first == second
    if suffix == ".svg":
        text = first.decode()
        assert text.count("我搬家了") == 3
        assert "http" not in text.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
            "http://creativecommons.org", ""
        )


@pytest.mark.usefixtures("ana")
def test_timeline_draws_on_the_terminal_and_into_files(capsys):
    assert memory("timeline", "--limit", "2") == 0
    assert "Ana has a cat called Miso." in said(capsys)
    assert memory("timeline", "--picture", "ana.svg") == 0
    assert said(capsys) == "Drew 4 memories into ana.svg."
    assert "Ana has a cat called Miso." in Path("ana.svg").read_text(encoding="utf-8")
    assert memory("timeline", "--picture", "ana.jpeg") == 2
    assert ".svg or .png" in told(capsys)

"""What the documentation shows works: its Python runs, its commands exist, its links lead somewhere."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mentalize.cli.main import main

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
NEEDS_MODEL = "<!-- local_model -->"

BLOCK = re.compile(rf"^(?P<mark>{NEEDS_MODEL}\n+)?```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://)(?P<path>[^)#\s]*)(#(?P<part>[^)\s]+))?\)")
INLINE_COMMAND = re.compile(r"`((?:mentalize|python3\.11) [^`]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str
    needs_model: bool

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(*languages: str) -> Iterator[Block]:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in BLOCK.finditer(text):
            if found["language"] in languages:
                line = text.count("\n", 0, found.start("text")) + 1
                yield Block(page, line, found["language"], found["text"], found["mark"] is not None)


def commands() -> Iterator[tuple[str, str]]:
    """Every command of a shell block or in the running text, with the place where it stands."""
    for block in blocks("bash", "sh"):
        for offset, line in enumerate(block.text.splitlines()):
            if line.strip():
                yield f"{block.page.name}:{block.line + offset}", line
    for page in PAGES:
        for found in INLINE_COMMAND.finditer(page.read_text(encoding="utf-8")):
            yield page.name, " ".join(found[1].split())


def examples() -> list[object]:
    return [
        pytest.param(block, id=block.place, marks=[pytest.mark.local_model] if block.needs_model else [])
        for block in blocks("python")
    ]


@pytest.mark.parametrize("block", examples())
def test_python_in_the_documentation_runs(block: Block, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    padded = "\n" * (block.line - 1) + block.text  # so that a traceback names the page's own line
    exec(compile(padded, str(block.page), "exec", dont_inherit=True), {"__name__": "__main__"})


@pytest.mark.parametrize(("place", "line"), [pytest.param(*found, id=" ".join(found)) for found in commands()])
def test_commands_in_the_documentation_exist(place: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    program, *arguments = shlex.split(line)
    if program == "export":
        known_variables(arguments)
    elif program == "mentalize":
        known_subcommand(arguments, capsys)
    elif program.startswith("python") or program == ".venv/bin/python":
        assert (ROOT / arguments[0]).is_file()
    elif program.startswith(".venv/bin/"):
        assert program.removeprefix(".venv/bin/") in {"pre-commit"}
    else:
        assert (ROOT / program).is_file(), f"{place} names no known program: {line}"


def known_variables(assignments: list[str]) -> None:
    from mentalize.settings import Settings

    for name in (assignment.partition("=")[0] for assignment in assignments):
        if name.startswith("MENTALIZE_"):
            assert name.removeprefix("MENTALIZE_").lower().split("__")[0] in Settings.model_fields, name


def known_subcommand(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The command's own help must exist, and know every option that is used."""
    depth = 2 if arguments[0] in {"keys", "memory", "models", "prompts"} else 1
    assert main([*arguments[:depth], "--help"]) == 0, f"mentalize has no command {' '.join(arguments[:depth])}"
    shown = capsys.readouterr().out
    for option in (word.partition("=")[0] for word in arguments[depth:] if word.startswith("--")):
        assert re.search(rf"{option}\b", shown), f"mentalize {arguments[0]} has no option {option}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_in_the_documentation_lead_somewhere(page: Path) -> None:
    for found in LINK.finditer(page.read_text(encoding="utf-8")):
        target = (page.parent / found["path"]).resolve() if found["path"] else page
        assert target.exists(), f"{page.name} links to {found['path']}, which does not exist"
        if found["part"]:
            assert found["part"] in anchors(target), f"{target.name} has no heading #{found['part']}"


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

"""What the documentation shows works: its Python runs, its commands exist, its links lead somewhere."""

import asyncio
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from endpoint import served
from mentalize.cli.main import main
from pages import NEEDS_MODEL, NEEDS_SERVER, PAGES, ROOT, Block, blocks
from social_script import WARM

LINK = re.compile(r"\]\((?!https?://)(?P<path>[^)#\s]*)(#(?P<part>[^)\s]+))?\)")
INLINE_COMMAND = re.compile(r"`((?:mentalize|python3\.11) [^`]+)`")
RUN_BY_TEST_CLIENTS = {"llm"}
"""Programs of others that have a page under docs/clients, where `test_clients.py` runs every command."""


def commands() -> Iterator[tuple[str, str]]:
    """Every command of a shell block or in the running text, with the place where it stands."""
    for block in blocks("bash", "sh"):
        for offset, line in enumerate(block.text.splitlines()):
            if line.strip():
                yield f"{block.page.name}:{block.line + offset}", line
    for page in PAGES:
        for found in INLINE_COMMAND.finditer(page.read_text(encoding="utf-8")):
            yield page.name, " ".join(found[1].split())


def examples(*, of_a_server: bool) -> list[object]:
    return [
        pytest.param(block, id=block.place, marks=[pytest.mark.local_model] if block.needs == NEEDS_MODEL else [])
        for block in blocks("python")
        if (block.needs == NEEDS_SERVER) is of_a_server
    ]


def run(block: Block, text: str) -> None:
    padded = "\n" * (block.line - 1) + text  # so that a traceback names the page's own line
    exec(compile(padded, str(block.page), "exec", dont_inherit=True), {"__name__": "__main__"})


@pytest.mark.parametrize("block", examples(of_a_server=False))
def test_python_in_the_documentation_runs(block: Block, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    run(block, block.text)


# LiteLLM silences these two of pydantic's when it is imported; pytest turns them into errors again.
@pytest.mark.filterwarnings("ignore:Item .* on TypedDict class:UserWarning")
@pytest.mark.filterwarnings("ignore:Accessing the .* attribute on the instance:DeprecationWarning")
@pytest.mark.parametrize("block", examples(of_a_server=True))
async def test_python_that_asks_a_server_prints_the_reply(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    async with served(tmp_path) as endpoint:
        await asyncio.to_thread(run, block, block.served_at(endpoint.url))
    assert WARM in capsys.readouterr().out


@pytest.mark.parametrize(("place", "line"), [pytest.param(*found, id=" ".join(found)) for found in commands()])
def test_commands_in_the_documentation_exist(place: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    program, *arguments = shlex.split(line)
    if program == "export":
        known_variables(arguments)
    elif program == "mentalize":
        known_subcommand(arguments, capsys)
    elif program in RUN_BY_TEST_CLIENTS:
        assert place.startswith(f"{program}.md:"), f"{place} shows a command that no test runs: {line}"
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
    depth = (
        2 if arguments[0] in {"eval", "keys", "memory", "models", "norms", "prompts", "safety", "trace", "vllm"} else 1
    )
    assert main([*arguments[:depth], "--help"]) == 0, f"mentalize has no command {' '.join(arguments[:depth])}"
    shown = capsys.readouterr().out
    if "--" in arguments:  # what follows is handed on to another program
        arguments = arguments[: arguments.index("--")]
    for option in (word.partition("=")[0] for word in arguments[depth:] if word.startswith("--")):
        assert re.search(rf"{option}\b", shown), f"mentalize {arguments[0]} has no option {option}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_in_the_documentation_lead_somewhere(page: Path) -> None:
    for found in LINK.finditer(page.read_text(encoding="utf-8")):
        target = (page.parent / found["path"]).resolve() if found["path"] else page
        assert target.exists(), f"{page.name} links to {found['path']}, which does not exist"
        if found["part"]:
            assert found["part"] in anchors(target), f"{target.name} has no heading #{found['part']}"


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

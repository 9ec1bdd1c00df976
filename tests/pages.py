"""The pages of the documentation, and the fenced blocks on them, for tests that run what is shown."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
CLIENTS = ROOT / "docs" / "clients"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("bench/*.md"), *ROOT.glob("docs/*.md"), *CLIENTS.glob("*.md")])
NEEDS_MODEL = "<!-- local_model -->"
NEEDS_SERVER = "<!-- needs a server -->"
SERVER = "http://127.0.0.1:8377"
"""Where the pages say that the server listens."""

BLOCK = re.compile(
    rf"^(?P<mark>({NEEDS_MODEL}|{NEEDS_SERVER})\n+)?```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str
    needs: str
    """The mark above it; empty if there is none."""

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def served_at(self, url: str) -> str:
        """Its text, with the address of a server that runs."""
        assert SERVER in self.text, f"{self.place} does not name {SERVER}"
        return self.text.replace(SERVER, url)


def blocks(*languages: str, page: Path | None = None) -> Iterator[Block]:
    """The blocks in these languages, of all pages or of one."""
    for each in PAGES if page is None else [page]:
        text = each.read_text(encoding="utf-8")
        for found in BLOCK.finditer(text):
            if found["language"] in languages:
                line = text.count("\n", 0, found.start("text")) + 1
                yield Block(each, line, found["language"], found["text"], (found["mark"] or "").strip())

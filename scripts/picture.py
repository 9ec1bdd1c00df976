"""Draw the README's picture from a real turn on the embedded model: `.venv/bin/python scripts/picture.py`."""

import asyncio
import io
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from environment import ROOT

if TYPE_CHECKING:
    from mentalize.mind import Reply

MESSAGE = "I'm fine. Go without me, really."
PICTURE = ROOT / "docs" / "images" / "why.svg"
WIDTH = 100


async def think(message: str) -> "Reply":
    from mentalize import Mind

    async with Mind() as mind:
        return await mind.reply([{"role": "user", "content": message}])


def draw(message: str, file: Path) -> None:
    from rich.console import Console

    from mentalize.cli.render import print_reasoning

    reply = asyncio.run(think(message))
    console = Console(record=True, width=WIDTH, file=io.StringIO(), markup=False, highlight=False, emoji=False)
    console.print(reply.text, style="bold")
    console.print()
    print_reasoning(reply.trace, console)
    picture = console.export_svg(title=f'mentalize ask "{message}" --why', unique_id="why")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(without_remote_fonts(picture), encoding="utf-8")
    print(file.relative_to(ROOT))


def without_remote_fonts(picture: str) -> str:
    """The picture in the reader's own monospaced font: looking at a README should not fetch anything from elsewhere."""
    return re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)


if __name__ == "__main__":
    draw(" ".join(sys.argv[1:]) or MESSAGE, PICTURE)

"""Draw the pictures of the documentation from real turns on the embedded model: `.venv/bin/python scripts/picture.py`.

Words after it are taken as another message for the first picture, which is then the only one.
"""

import asyncio
import io
import re
import sys
from typing import TYPE_CHECKING

from environment import ROOT

if TYPE_CHECKING:
    from rich.console import Console

    from mentalize.mind import Reply

MESSAGE = "I'm fine. Go without me, really."
QUESTION = "Should I move out before I marry?"
IMAGES = ROOT / "docs" / "images"
WIDTH = 100


async def think(message: str, **wishes: str) -> "Reply":
    from mentalize import Mind

    async with Mind() as mind:
        return await mind.reply([{"role": "user", "content": message}], **wishes)  # type: ignore[arg-type]


def draw_reasoning(message: str) -> None:
    from mentalize.cli.render import print_reasoning

    reply = asyncio.run(think(message))
    out = paper()
    out.print(reply.text, style="bold")
    out.print()
    print_reasoning(reply.trace, out)
    keep(out, "why", f'mentalize ask "{message}" --why')


def draw_perspectives(question: str) -> None:
    from mentalize.cli.perspectives import print_perspectives
    from mentalize.norms.lens import load_lenses

    reply = asyncio.run(think(question, effort="minimal", perspectives="agents"))
    out = paper()
    print_perspectives(reply, load_lenses(), out)
    keep(out, "perspectives", f'mentalize perspectives "{question}"')


def paper() -> "Console":
    from rich.console import Console

    return Console(record=True, width=WIDTH, file=io.StringIO(), markup=False, highlight=False, emoji=False)


def keep(drawn: "Console", name: str, title: str) -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    file = IMAGES / f"{name}.svg"
    file.write_text(without_remote_fonts(drawn.export_svg(title=title, unique_id=name)), encoding="utf-8")
    print(file.relative_to(ROOT))


def without_remote_fonts(picture: str) -> str:
    """The picture in the reader's own monospaced font: looking at a README should not fetch anything from elsewhere."""
    return re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)


if __name__ == "__main__":
    draw_reasoning(" ".join(sys.argv[1:]) or MESSAGE)
    if not sys.argv[1:]:
        draw_perspectives(QUESTION)

"""A tutor that sets out how several traditions see a question of values, and ranks none of them."""

import asyncio

from mentalize import Circumstances, Mind

QUESTION = "For my ethics class: should grown-up children look after their parents, or is a good home better?"


async def main() -> None:
    async with Mind(charter="tutor") as mind:
        pupil = Circumstances(domain="education")
        reply = await mind.reply(QUESTION, effort="medium", perspectives="agents", circumstances=pupil)
    multiplex = reply.trace.multiplex
    if multiplex:
        for note in multiplex.notes:
            print(f"{note.lens}: {note.reading}")
    print(f"The reply: {reply.text}")


if __name__ == "__main__":
    asyncio.run(main())

"""One message, what was understood of it, and the reply: `python examples/hello.py`."""

import asyncio

from mentalize import Identity, Mind


async def main() -> None:
    # With the model that MENTALIZE_MODEL names; the embedded one, if it names none.
    async with Mind() as mind:
        reply = await mind.reply("I'm fine. Go without me, really.", Identity("hello", "ana"), effort="low")
    selection = reply.trace.selection
    if selection and selection.chosen:
        print(f"It may be: {selection.chosen.refined.text}")
    print(f"The reply: {reply.text}")


if __name__ == "__main__":
    asyncio.run(main())

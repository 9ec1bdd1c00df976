"""A group chat, as on Discord: several people, one chatbot, and nothing told alone is given away before the others."""

import asyncio

from mentalize import Companion, Identity

CHANNEL = ("ana", "ben", "cem")
SAID = (
    ("ana", (), "Please keep it quiet: I have resigned from Halcyon."),
    ("ana", ("ben", "cem"), "Who is in for a picnic at the Mirror Lake?"),
    ("ben", ("ana", "cem"), "Me! What shall we bring?"),
    ("cem", (), "Where is it that they want to go?"),
)


async def main() -> None:
    async with Companion("Bo", "You are one voice among friends: brief and kind.", effort="low") as companion:
        for name in CHANNEL:
            await companion.person(name).say("Hello, I am new in this channel.")
        for name, present, text in SAID:
            answer = await companion.person(name).say(text, present=present)
            print(f"{name} to {', '.join(present) or 'Bo alone'}: {text}\n  Bo: {answer.reply.text}")
        heard = await companion.mind.memory.search(Identity("default", "cem"), "picnic at the lake")
        print("Cem has heard:", "; ".join(hit.memory.text for hit in heard if hit.memory.speaker == "ana"))
        for name in CHANNEL:
            await companion.person(name).forget_everything()


if __name__ == "__main__":
    asyncio.run(main())

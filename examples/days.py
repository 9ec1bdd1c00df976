"""A week with a companion, on a clock that is moved by hand: what stays, what fades, and what is worth bringing up."""

import asyncio
from datetime import UTC, datetime, timedelta

from mentalize import Companion

DAYS = (
    (0, "My sister Ines moves to Porto next month."),
    (2, "I had noodles for lunch."),
    (5, "Work is a lot at the moment."),
)


async def main() -> None:
    now = datetime(2026, 5, 4, 9, tzinfo=UTC)
    async with Companion("Bo", "You are warm and brief.", clock=lambda: now, effort="low") as companion:
        ana = companion.person("ana")
        for day, message in DAYS:
            now = datetime(2026, 5, 4, 9, tzinfo=UTC) + timedelta(days=day)
            print(f"{now:%A}\n  Ana: {message}\n  Bo: {(await ana.say(message)).reply.text}")
        await companion.mind.settle()
        now += timedelta(days=4)
        for topic in await ana.topics():
            print(f"Worth bringing up: {topic.memory.text} ({topic.reason})")
        timelines = await companion.mind.memory.timeline(ana.who)
        print(f"Things remembered: {len(timelines)}")
        await ana.forget_everything()


if __name__ == "__main__":
    asyncio.run(main())

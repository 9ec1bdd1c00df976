"""A support bot with the charter `support`: what it must do and must not do is part of every turn."""

import asyncio

from mentalize import Circumstances, Mind

COMPLAINT = "Third parcel in a row that never came. But sure, keep sending me surveys."


async def main() -> None:
    async with Mind(charter="support", domain="retail") as mind:
        reply = await mind.reply(COMPLAINT, effort="medium", circumstances=Circumstances(formality=4))
    plan = reply.trace.plan
    if plan:
        print(f"To do: {plan.act}, in a tone that is {plan.tone}")
        for must in plan.must:
            print(f"  must: {must}")
    print(f"The reply: {reply.text}")


if __name__ == "__main__":
    asyncio.run(main())

"""LiteLLM with `mentalize/…` beside all its other models."""

import asyncio
from typing import Any

from mentalize.middleware.litellm import register

CHAT = [{"role": "user", "content": "I'm fine. Go without me, really."}]


async def main() -> None:
    handler = register()  # Before `litellm` itself is imported: so it fetches nothing from the network.
    import litellm

    answer: Any = await litellm.acompletion("mentalize/low", CHAT, extra_body={"mentalize": {"user": "ana"}})
    print(answer.choices[0].message.content)
    stream: Any = await litellm.acompletion("mentalize/low", CHAT, stream=True)
    print("".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]))
    await handler.mind.close()


if __name__ == "__main__":
    asyncio.run(main())

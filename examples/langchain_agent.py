"""An agent of LangChain with a tool, which understands what it is asked before it acts."""

import asyncio
import os

from langchain.agents import create_agent
from langchain_openai import ChatOpenAI

from mentalize.middleware.langchain import MentalizeMiddleware

MODEL = os.environ.get("OPENAI_MODEL", "gpt-5-mini")


def next_train(place: str) -> str:
    """When the next train to a place leaves."""
    return f"The next train to {place} leaves at nine."


async def main() -> None:
    middleware = MentalizeMiddleware(user="ana", effort="low")
    agent = create_agent(ChatOpenAI(model=MODEL), [next_train], middleware=[middleware])
    asked = {"role": "user", "content": "I'm fine. Go without me, really. When is the next train to Porto, by the way?"}
    said = await agent.ainvoke({"messages": [asked]})
    for message in said["messages"]:
        print(f"{message.type}: {message.text or [call['name'] for call in message.tool_calls]}")
    await middleware.mind.close()


if __name__ == "__main__":
    asyncio.run(main())

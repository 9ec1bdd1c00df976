"""A graph of LangGraph, one node of which mentalizes. Nothing of what is guessed gets into the graph's state."""

import asyncio
import os

from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, MessagesState, StateGraph

import mentalize

MODEL = os.environ.get("OPENAI_MODEL", "gpt-5-mini")


async def chat(state: MessagesState) -> MessagesState:
    """The chatbot, as it was."""
    return {"messages": [await ChatOpenAI(model=MODEL).ainvoke(state["messages"])]}


async def main() -> None:
    wrapped = mentalize.wrap(chat, within="messages", user="ana", effort="low")
    builder = StateGraph(MessagesState)
    builder.add_node("chat", wrapped)
    builder.add_edge(START, "chat")
    builder.add_edge("chat", END)
    said = await builder.compile().ainvoke({"messages": [HumanMessage("I'm fine. Go without me, really.")]})
    for message in said["messages"]:
        print(f"{message.type}: {message.text}")
    await wrapped.mentalize.close()


if __name__ == "__main__":
    asyncio.run(main())

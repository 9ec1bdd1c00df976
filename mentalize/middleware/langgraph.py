"""For graphs of LangGraph: a node that answers, and the same as a subgraph. `wrap` is for a node that writes itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, convert_to_openai_messages
from langchain_core.runnables import RunnableLambda
from langgraph.graph import END, START, MessagesState, StateGraph  # pyright: ignore[reportMissingTypeStubs]

from ..mind import Mind
from ..open_turn import Reply
from ..types import Identity
from .modes import Asked
from .wrap import identity_of

Users = str | Identity | Callable[[Any], str | Identity | None] | None


def node(mind: Mind, *, user: Users = None, **asked: Any) -> RunnableLambda[Any, Any]:
    """A node that answers the messages of the state, with and without an event loop.

    Args:
        mind: What thinks and writes.
        user: Whose memory it is: an id, an `Identity`, or a function of the state. None: nothing is remembered.
        asked: `effort`, `memory`, `circumstances` and `perspectives`, as for `Mind.reply`.

    Raises:
        InputError: the user is no name, or there is no such effort or mode.
    """
    Asked(**asked).checked()
    if not callable(user):
        identity_of(user)

    def request(state: Any) -> tuple[list[Any], Identity | None]:
        said: list[BaseMessage] = list(state["messages"])
        return list(convert_to_openai_messages(said)), identity_of(user(state) if callable(user) else user)

    def answer(state: Any) -> dict[str, list[AIMessage]]:
        messages, who = request(state)
        return _said(mind.sync.reply(messages, who, **asked))

    async def answer_soon(state: Any) -> dict[str, list[AIMessage]]:
        messages, who = request(state)
        return _said(await mind.reply(messages, who, **asked))

    return RunnableLambda(answer, afunc=answer_soon, name="mentalize")


def subgraph(mind: Mind, *, user: Users = None, **asked: Any) -> Any:
    """A compiled graph of that node alone, over `MessagesState`: a node of a graph of yours, or one by itself.

    Takes what `node` takes.
    """
    builder: Any = StateGraph(MessagesState)
    builder.add_node("mentalize", node(mind, user=user, **asked))
    builder.add_edge(START, "mentalize")
    builder.add_edge("mentalize", END)
    return builder.compile()


def _said(reply: Reply) -> dict[str, list[AIMessage]]:
    return {"messages": [AIMessage(reply.text, response_metadata={"turn_id": reply.trace.turn_id})]}

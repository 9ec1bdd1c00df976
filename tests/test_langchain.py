"""An agent of LangChain with tools mentalizes; its tools, its stream and its checkpoints stay its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import Field

import mentalize
from mentalize import Identity, InputError, Mind
from mentalize.errors import ModelNotFound
from mentalize.llm.model import Completion
from mentalize.llm.scripted import FunctionModel, ScriptedModel
from mentalize.middleware.langchain import MentalizeMiddleware
from social_script import GOOD, MESSAGE, POOR, SCRIPT, WARM

HARMFUL = "Just kill yourself."


class Chat(BaseChatModel):
    """A chat model that gives these answers in turn, and keeps what it was asked."""

    answers: list[AIMessage]
    asked: list[list[BaseMessage]] = Field(default_factory=list[list[BaseMessage]])

    @property
    def _llm_type(self) -> str:
        return "listed"

    def bind_tools(self, tools: Sequence[Any], **more: Any) -> Any:
        return self

    def _next(self, messages: list[BaseMessage]) -> AIMessage:
        self.asked.append(messages)
        return self.answers[min(len(self.asked), len(self.answers)) - 1].model_copy(update={"id": None})

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **more: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._next(messages))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **more: Any,
    ) -> Iterator[ChatGenerationChunk]:
        answer = self._next(messages)
        calls: list[Any] = [{**call, "args": "{}", "index": 0, "type": "tool_call_chunk"} for call in answer.tool_calls]
        for word in str(answer.content).split(" "):
            piece = ChatGenerationChunk(message=AIMessageChunk(content=word + " ", tool_call_chunks=calls))
            calls = []
            if run_manager:
                run_manager.on_llm_new_token(word, chunk=piece)
            yield piece


def trains(place: str = "") -> str:
    """When trains go."""
    return "At nine."


CALL = AIMessage("", tool_calls=[{"name": "trains", "args": {}, "id": "call-1", "type": "tool_call"}])
FINE = AIMessage("At nine. Shall I come along?")
ANA = Identity("default", "ana")


@pytest.fixture
async def mind(tmp_path: Path) -> AsyncIterator[Mind]:
    memory = {"url": f"sqlite:///{tmp_path}/memory.db"}
    async with Mind(model=ScriptedModel(SCRIPT), cache_folder=tmp_path, memory=memory) as made:
        yield made


def agent(chat: Chat, *middleware: Any, **more: Any) -> Any:
    return create_agent(chat, [trains], system_prompt="You are Bo.", middleware=middleware, **more)


ASKED: Any = {"messages": [HumanMessage(MESSAGE)]}


async def test_the_message_is_understood_once_and_the_tool_calls_stay_adjacent(mind: Mind) -> None:
    chat = Chat(answers=[CALL, FINE])
    said = await agent(chat, MentalizeMiddleware(user="ana", mind=mind, effort="low")).ainvoke(ASKED)
    first, second = chat.asked
    assert [message.type for message in first] == ["system", "human"]
    assert [message.type for message in second] == ["system", "human", "ai", "tool"]
    assert "<guidance>" in first[1].text and first[1].text == second[1].text
    assert isinstance(second[3], ToolMessage) and second[3].tool_call_id == "call-1"
    assert [message.text for message in said["messages"]] == [MESSAGE, "", "At nine.", FINE.text]
    thinking: Any = mind._models["reason"]
    assert [request.purpose for request in thinking.requests] == ["read"]
    assert {MESSAGE, FINE.text} <= {memory.text for memory in await mind.memory.find(ANA)}


async def test_nothing_of_ours_is_in_the_stream_or_the_checkpoints(mind: Mind) -> None:
    saver = InMemorySaver()
    made = agent(
        Chat(answers=[CALL, FINE]), MentalizeMiddleware(user="ana", mind=mind, effort="medium"), checkpointer=saver
    )
    config: Any = {"configurable": {"thread_id": "1"}}
    modes = ["messages", "updates", "values", "custom"]
    seen = [part async for part in made.astream(ASKED, config, stream_mode=modes, subgraphs=True)]
    assert {mode for _, mode, _ in seen} == {"messages", "updates", "values"}
    assert "guidance" not in str(seen) and "left out" not in str(seen)
    texts = [part[0].text for _, mode, part in seen if mode == "messages" and part[0].type.startswith("AI")]
    assert "".join(texts).strip() == FINE.text
    assert set(saver.storage["1"]) == {""}
    assert "guidance" not in str([saver.get_tuple(config)])


async def test_a_review_holds_the_stream_until_it_is_judged(mind: Mind, tmp_path: Path) -> None:
    chat = Chat(answers=[CALL, AIMessage(HARMFUL), FINE])
    made = agent(chat, MentalizeMiddleware(mode="review", mind=mind, effort="low"))
    seen = [part async for part in made.astream(ASKED, stream_mode=["messages", "values"])]
    assert HARMFUL not in str(seen)
    assert seen[-1][1]["messages"][-1].text.strip() == FINE.text
    assert [message.type for message in chat.asked[2]] == ["system", "human", "ai", "tool"]
    assert "<guidance>" in chat.asked[2][1].text


async def test_a_poor_answer_is_sent_back(tmp_path: Path) -> None:
    model = ScriptedModel({**SCRIPT, "validate": [POOR, GOOD]})
    async with Mind(model=model, cache_folder=tmp_path, memory={"mode": "off"}) as mind:
        chat = Chat(answers=[AIMessage("Okay, bye."), AIMessage(WARM)])
        said = await agent(chat, MentalizeMiddleware(mode="review", mind=mind, effort="medium")).ainvoke(ASKED)
    assert said["messages"][-1].text == WARM and POOR["critique"] in chat.asked[1][1].text


async def test_what_is_observed_is_remembered(mind: Mind) -> None:
    chat = Chat(answers=[FINE])
    observing = MentalizeMiddleware(mode="observe", user=lambda runtime: runtime.context, mind=mind, effort="low")
    made = agent(chat, observing, context_schema=str)
    await made.ainvoke(ASKED, context="ana")
    assert chat.asked[0][1].text == MESSAGE
    await observing.settle()
    assert {MESSAGE, FINE.text} <= {memory.text for memory in await mind.memory.find(ANA)}


async def test_people_with_the_same_words_get_their_own_guidance(mind: Mind) -> None:
    middleware = MentalizeMiddleware(user=lambda runtime: runtime.context, mind=mind, effort="minimal")
    chat = Chat(answers=[FINE])
    made = agent(chat, middleware, context_schema=str)
    same: Any = {"messages": [HumanMessage("Where does my sister live?", id="1")]}
    await mind.memory.remember(ANA, "My sister lives in Rome.")
    await asyncio.gather(*(made.ainvoke(same, context=person) for person in ("ana", "ben")))
    assert sorted("Rome" in messages[1].text for messages in chat.asked) == [False, True]


async def test_where_mentalize_fails_the_agent_answers(tmp_path: Path) -> None:
    def refuse(request: object) -> Completion:
        raise ModelNotFound("There is none.")

    async with Mind(model=FunctionModel(refuse), cache_folder=tmp_path, memory={"mode": "off"}) as mind:
        for mode in ("guide", "review", "observe"):
            made = agent(Chat(answers=[FINE]), MentalizeMiddleware(mode=mode, mind=mind, effort="low"))
            assert (await made.ainvoke(ASKED))["messages"][-1].text == FINE.text


def test_a_synchronous_agent(tmp_path: Path) -> None:
    mind = Mind(model=ScriptedModel(SCRIPT), cache_folder=tmp_path, memory={"mode": "off"})
    with mind.sync:
        chat = Chat(answers=[CALL, FINE])
        said = agent(chat, MentalizeMiddleware(mind=mind, effort="low")).invoke(ASKED)
        assert said["messages"][-1].text == FINE.text and "<guidance>" in chat.asked[1][1].text


def test_an_agent_has_no_author(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no mode 'author'"):
        MentalizeMiddleware(mode="author", model=ScriptedModel(SCRIPT), cache_folder=tmp_path)


async def test_a_node_of_langgraph(mind: Mind) -> None:
    from langgraph.graph import END, START, MessagesState, StateGraph

    asked: list[Any] = []

    async def chat(state: MessagesState, config: RunnableConfig) -> Any:
        asked.append(state["messages"])
        return {"messages": [AIMessage("Fine.")]}

    builder: Any = StateGraph(MessagesState)
    builder.add_node("chat", mentalize.wrap(chat, within="messages", user="ana", mind=mind, effort="low"))
    builder.add_edge(START, "chat")
    builder.add_edge("chat", END)
    said = await builder.compile().ainvoke(ASKED)
    assert [message.text for message in said["messages"]] == [MESSAGE, "Fine."]
    assert "<guidance>" in asked[0][-1].text
    assert MESSAGE in {memory.text for memory in await mind.memory.find(ANA)}


@pytest.mark.parametrize("whole", [True, False])
async def test_a_graph_has_mentalize_answer(mind: Mind, whole: bool) -> None:
    from langgraph.graph import END, START, MessagesState, StateGraph

    from mentalize.middleware.langgraph import node, subgraph

    make = subgraph if whole else node
    builder: Any = StateGraph(MessagesState)
    builder.add_node("answer", make(mind, user=lambda state: "ana", effort="medium"))
    builder.add_edge(START, "answer")
    builder.add_edge("answer", END)
    saver = InMemorySaver()
    graph, config = builder.compile(checkpointer=saver), {"configurable": {"thread_id": "1"}}
    seen = [part async for part in graph.astream(ASKED, config, stream_mode=["updates", "custom", "values"])]
    assert [message.text for message in seen[-1][1]["messages"]] == [MESSAGE, WARM]
    assert "custom" not in {mode for mode, _ in seen} and "left out" not in str(seen)
    assert {MESSAGE, WARM} <= {memory.text for memory in await mind.memory.find(ANA)}


def test_a_synchronous_graph_too(tmp_path: Path) -> None:
    from mentalize.middleware.langgraph import subgraph

    mind = Mind(model=ScriptedModel(SCRIPT), cache_folder=tmp_path, memory={"mode": "off"})
    with mind.sync:
        said = subgraph(mind, effort="low").invoke(ASKED)
    assert said["messages"][-1].text == WARM
    with pytest.raises(InputError, match="no effort"):
        subgraph(mind, effort="much")

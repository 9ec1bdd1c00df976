"""The turn's graph for each effort (DESIGN §2), and how a turn runs on it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import lru_cache
from typing import Any, cast

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from ..types import Contract, Effort
from . import stages
from .events import TurnEvent
from .stages import stage
from .state import State, TurnContext

CONTRACTS = {
    Effort.NONE: Contract(calls=1, depth=1, seconds=120.0),
    Effort.MINIMAL: Contract(calls=2, depth=2, seconds=60.0),
    Effort.LOW: Contract(calls=4, depth=4, seconds=60.0),
    Effort.MEDIUM: Contract(calls=16, depth=8, seconds=90.0),
    Effort.HIGH: Contract(calls=52, depth=12, seconds=180.0),
}
"""What a turn may cost at most by effort: the table of DESIGN §2, with room for one revision and for repairs."""

_LIMIT = 60
"""Supersteps; the longest turn takes about 20. LangGraph's own default is 10,007."""

_ABOUT_THE_PERSON = 0.6
_BEFORE_WRITING = 0.65
_WRITING = 0.9

_Graph = CompiledStateGraph[State, TurnContext, State, State]
_Builder = Any
"""A `StateGraph`; its `add_node` is typed for nodes of the state alone."""


@lru_cache(maxsize=len(Effort))
def graph(effort: Effort) -> _Graph:
    """The compiled graph of `effort`."""
    builder: _Builder = StateGraph(State, context_schema=TurnContext)
    {
        Effort.NONE: _none,
        Effort.MINIMAL: _minimal,
        Effort.LOW: _low,
        Effort.MEDIUM: _medium,
        Effort.HIGH: _medium,
    }[effort](builder, effort)
    return cast("_Graph", builder.compile())


def mermaid(effort: Effort) -> str:
    """The graph of `effort` in Mermaid's language."""
    return graph(effort).get_graph().draw_mermaid()


async def run(context: TurnContext) -> State:
    """Run a turn to its end."""
    config: Any = {"recursion_limit": _LIMIT}
    return cast("State", await graph(context.effort).ainvoke(State(), config, context=context))


async def stream(context: TurnContext) -> AsyncGenerator[TurnEvent | State]:
    """Run a turn; events while it runs, its final state last."""
    config: Any = {"recursion_limit": _LIMIT}
    state = State()
    parts: Any = graph(context.effort).astream(State(), config, context=context, stream_mode=["custom", "values"])
    async with aclosing(parts):
        async for mode, part in parts:
            if mode == "custom":
                yield cast("TurnEvent", part)
            else:
                state = cast("State", part)
    yield state


def _none(builder: _Builder, effort: Effort) -> None:
    builder.add_node("write", stage("write", stages.write, writes="draft", share=1.0, required=True))
    builder.add_edge(START, "write")
    builder.add_edge("write", END)


def _minimal(builder: _Builder, effort: Effort) -> None:
    builder.add_node("recall", stage("recall", stages.recall, writes="recollection", share=_ABOUT_THE_PERSON))
    _ending(builder, effort)
    builder.add_edge(START, "recall")
    builder.add_edge("recall", "plan")


def _low(builder: _Builder, effort: Effort) -> None:
    builder.add_node("recall", stage("recall", stages.recall, writes="recollection", share=_ABOUT_THE_PERSON))
    builder.add_node("read", stage("read", stages.read, writes="reading", share=_ABOUT_THE_PERSON))
    _selecting(builder)
    _ending(builder, effort)
    builder.add_edge(START, "recall")
    builder.add_edge("recall", "read")
    builder.add_edge("read", "score")


def _medium(builder: _Builder, effort: Effort) -> None:
    builder.add_node("recall", stage("recall", stages.recall, writes="recollection", share=_ABOUT_THE_PERSON))
    builder.add_edge(START, "recall")
    for name, work, writes in (
        ("perceive", stages.perceive, "perception"),
        ("hypothesise", stages.hypothesise, "hypotheses"),
        ("foresee", stages.foresee, "foresight"),
    ):
        builder.add_node(name, stage(name, work, writes=writes, share=_ABOUT_THE_PERSON))
        builder.add_edge("recall", name)
    for name, work, writes in (("refine", stages.refine, "refined"), ("prior", stages.rate_priors, "priors")):
        builder.add_node(name, stage(name, work, writes=writes, share=_BEFORE_WRITING))
        for before in ("perceive", "hypothesise", "foresee"):
            builder.add_edge(before, name)
        builder.add_edge(name, "score")
    _selecting(builder)
    _ending(builder, effort)


def _selecting(builder: _Builder) -> None:
    builder.add_node("score", stage("score", stages.score, writes="scored", share=_BEFORE_WRITING))
    builder.add_node("select", stage("select", stages.select, writes="selection", share=1.0))
    builder.add_edge("score", "select")
    builder.add_edge("select", "plan")


def _ending(builder: _Builder, effort: Effort) -> None:
    """Plan, write, judge and settle; at `medium` and `high`, with another round if it is worth it."""
    builder.add_node("plan", stage("plan", stages.plan, writes="plan", share=1.0))
    builder.add_node("write", stage("write", stages.write, writes="draft", share=_WRITING, required=True))
    builder.add_node("judge", stage("judge", stages.judge, writes="quality", share=1.0))
    builder.add_node("settle", stage("settle", stages.settle, writes="settlement", share=1.0, required=True))
    builder.add_edge("plan", "write")
    builder.add_edge("write", "judge")
    builder.add_edge("judge", "settle")
    if effort not in (Effort.MEDIUM, Effort.HIGH):
        builder.add_edge("settle", END)
        return
    builder.add_node("gate", stage("gate", stages.gate, writes="findings", share=1.0))
    builder.add_edge("write", "gate")
    builder.add_edge("gate", "settle")
    again = "hypothesise" if effort is Effort.HIGH else "write"
    builder.add_conditional_edges("settle", _where_next, {"send": END, again: again})


def _where_next(state: State) -> str:
    settlement = state.get("settlement")
    return settlement.next if settlement else "send"

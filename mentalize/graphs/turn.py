"""The turn's graph for each effort (docs/concepts.md), and how a turn runs on it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import AbstractContextManager, aclosing, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, cast

from langchain_core.runnables.config import var_child_runnable_config
from langgraph.graph import END, START, StateGraph  # pyright: ignore[reportMissingTypeStubs]

from ..types import Contract, Effort, PerspectivesMode
from . import stages
from .events import TurnEvent
from .stages import Rescue, Work, sequence, stage
from .state import State, TurnContext

CONTRACTS = {
    Effort.NONE: Contract(calls=1, depth=1, seconds=120.0),
    Effort.MINIMAL: Contract(calls=2, depth=2, seconds=60.0),
    Effort.LOW: Contract(calls=4, depth=4, seconds=60.0),
    Effort.MEDIUM: Contract(calls=16, depth=8, seconds=90.0),
    Effort.HIGH: Contract(calls=52, depth=12, seconds=180.0),
}
"""What a turn may cost at most by effort: the table of docs/concepts.md, with room for one revision and for repairs."""

PATIENCE = 4
"""How many times longer a turn under the choosing strategy may take: it runs on the person's own processor."""

_LIMIT = 60
"""Supersteps; the longest turn takes about 20. LangGraph's own default is 10,007."""

_CONFIG: Any = {"recursion_limit": _LIMIT}
_ABOUT_THE_PERSON = 0.6
_BEFORE_WRITING = 0.65
_WRITING = 0.9


@dataclass(frozen=True, slots=True)
class _Shape:
    """What decides which stages a graph has."""

    effort: Effort
    choosing: bool
    lenses: bool
    planning: bool = False
    """Whether it ends at the plan."""
    recalling: bool = True
    """Whether there is a memory to ask."""
    likely: bool = False
    """Whether plausibility is the likelihood of a hypothesis' words, and not rated."""
    speculating: bool = False
    """Whether a reply may be written ahead."""

    @property
    def first(self) -> str:
        """What the first questions wait for."""
        return "recall" if self.recalling else START


_Graph = Any
_Builder = Any
"""LangGraph's classes; their own types leave too much unknown to be checked against."""


@lru_cache(maxsize=64 * len(Effort))
def graph(
    effort: Effort,
    *,
    choosing: bool = False,
    lenses: bool = False,
    planning: bool = False,
    recalling: bool = True,
    likely: bool = False,
    speculating: bool = False,
) -> _Graph:
    """The compiled graph of `effort`, with the choosing strategy's stages or without, with lenses or without.

    `planning` ends it at the plan, for a reply that somebody else writes. Without `recalling` no memory is asked.
    With `likely`, plausibility is the likelihood of a hypothesis' words; with `speculating`, a reply is written ahead.
    """
    build = {
        Effort.NONE: _none,
        Effort.MINIMAL: _minimal,
        Effort.LOW: _low,
        Effort.MEDIUM: _medium,
        Effort.HIGH: _medium,
    }[effort]
    builder: _Builder = StateGraph(State, context_schema=TurnContext)
    build(builder, _Shape(effort, choosing, lenses, planning, recalling, likely, speculating))
    return builder.compile()


@lru_cache(maxsize=2 * len(Effort))
def review_graph(effort: Effort, *, choosing: bool = False) -> _Graph:
    """The compiled graph that judges a draft which somebody else has written, as a turn of `effort` judges its own."""
    builder: _Builder = StateGraph(State, context_schema=TurnContext)
    _judging(builder, _Shape(effort, choosing, lenses=False), written=START)
    builder.add_edge("settle", END)
    return builder.compile()


def mermaid(effort: Effort, *, choosing: bool = False, lenses: bool = False) -> str:
    """The graph of `effort` in Mermaid's language."""
    return graph(effort, choosing=choosing, lenses=lenses).get_graph().draw_mermaid()


def contract_with_lenses(effort: Effort, contract: Contract, lenses: int) -> Contract:
    """A built-in contract with room for so many lenses and the synthesiser; as it is, for none.

    At `medium` and `high` they run beside what runs anyway; at `low` and `minimal` the turn becomes deeper by them.
    """
    if not lenses:
        return contract
    deeper = {Effort.MINIMAL: 2, Effort.LOW: 1}.get(effort, 0)
    return replace(contract, calls=contract.calls + lenses + 1, depth=contract.depth + deeper)


def _running(context: TurnContext, *, planning: bool = False) -> _Graph:
    return graph(
        context.effort,
        choosing=context.choosing,
        lenses=context.perspectives is PerspectivesMode.AGENTS,
        planning=planning,
        recalling=context.memory is not None,
        likely=context.likely,
        speculating=context.speculating and not planning,
    )


async def run(context: TurnContext, *, planning: bool = False) -> State:
    """Run a turn to its end, or to its plan."""
    try:
        with _unobserved(), _apart():
            return cast("State", await _running(context, planning=planning).ainvoke(State(), _CONFIG, context=context))
    finally:
        await _leave(context)


async def understand(context: TurnContext) -> State:
    """Run a turn up to its plan, for a reply that somebody else writes; what passes through needs none."""
    return State() if context.effort is Effort.NONE else await run(context, planning=True)


async def review(context: TurnContext, state: State) -> State:
    """Judge the draft in `state`, which is that of a turn that was understood."""
    judge = review_graph(context.effort, choosing=context.choosing)
    with _unobserved(), _apart():
        return cast("State", await judge.ainvoke(state, _CONFIG, context=context))


async def stream(context: TurnContext) -> AsyncGenerator[TurnEvent | State]:
    """Run a turn; events while it runs, its final state last."""
    state = State()
    with _unobserved():
        parts: Any = _running(context).astream(State(), _CONFIG, context=context, stream_mode=["custom", "values"])
        try:
            async with aclosing(parts):
                while (arrived := await _next(parts)) is not None:
                    mode, part = arrived
                    if mode == "custom":
                        yield cast("TurnEvent", part)
                    else:
                        state = cast("State", part)
        finally:
            await _leave(context)
    yield state


async def _leave(context: TurnContext) -> None:
    """Nothing that was begun goes on after its turn."""
    if context.speculation is not None:
        await context.speculation.drop()


def _unobserved() -> AbstractContextManager[None]:
    """LangGraph sends every state to LangSmith where the environment says so for other programs; a turn stays here."""
    from langsmith import run_helpers

    return cast("Any", run_helpers).tracing_context(enabled=False)


@contextmanager
def _apart() -> Generator[None]:
    """Where a turn runs inside somebody else's graph, LangGraph would take ours for a part of it: what is guessed about
    a person would go into the host's stream, and into the database of its checkpoints.
    """
    token = var_child_runnable_config.set(None)
    try:
        yield
    finally:
        var_child_runnable_config.reset(token)


async def _next(parts: Any) -> Any:
    """The next part; None at the end. What reads the stream runs in between, in the host's graph again."""
    with _apart():
        return await anext(parts, None)


def _none(builder: _Builder, shape: _Shape) -> None:
    _add(builder, "write", stages.write, "draft", share=1.0, required=True)
    builder.add_edge(START, "write")
    builder.add_edge("write", END)


def _minimal(builder: _Builder, shape: _Shape) -> None:
    _recalling(builder, shape)
    if shape.lenses:
        _asking_lenses(builder, shape)
    _ending(builder, shape, after=("synthesise",) if shape.lenses else (shape.first,))


def _low(builder: _Builder, shape: _Shape) -> None:
    _recalling(builder, shape)
    _add(builder, "read", stages.read, "reading", share=_ABOUT_THE_PERSON, after=(shape.first,))
    weighed = _scoring(builder, shape, after=("read",))
    if shape.lenses:
        _asking_lenses(builder, shape)
        # A join: whatever is first waits for the other.
        _ending(builder, shape, joined=(*weighed, "synthesise"), selecting=True)
        return
    _ending(builder, shape, after=weighed, selecting=True)


def _medium(builder: _Builder, shape: _Shape) -> None:
    _recalling(builder, shape)
    _add(builder, "perceive", stages.perceive, "perception", share=_ABOUT_THE_PERSON, after=(shape.first,))
    _add(builder, "hypothesise", stages.hypothesise, "hypotheses", share=_ABOUT_THE_PERSON, after=(shape.first,))
    _add(builder, "foresee", stages.foresee, "foresight", share=_ABOUT_THE_PERSON, after=(shape.first,))
    first = ("perceive", "hypothesise", "foresee")
    _add(builder, "refine", stages.refine, "refinement", share=_BEFORE_WRITING, after=first)
    beside = ("refine",)
    if not shape.choosing:
        name, work, writes = (
            ("likelihood", stages.rate_likelihoods, "likelihoods")
            if shape.likely
            else ("prior", stages.rate_priors, "priors")
        )
        _add(builder, name, work, writes, share=_BEFORE_WRITING, after=first)
        beside = ("refine", name)
    if shape.speculating:
        _add(builder, "speculate", stages.speculate, "speculation", share=_BEFORE_WRITING, after=first)
    if shape.lenses:
        # The synthesis is of the superstep of refinement, so that selection, which the next round of `high` runs again
        # without it, can follow any of them.
        _asking_lenses(builder, shape)
        beside = (*beside, "synthesise")
    _ending(builder, shape, after=_scoring(builder, shape, after=beside), selecting=True)


def _recalling(builder: _Builder, shape: _Shape) -> None:
    if shape.recalling:
        _add(builder, "recall", stages.recall, "recollection", share=_ABOUT_THE_PERSON, after=(START,))


def _asking_lenses(builder: _Builder, shape: _Shape) -> None:
    """One call for each lens beside the first calls of a turn, and then their synthesis."""
    _add(builder, "perspectives", stages.perspectives, "lens_notes", share=_ABOUT_THE_PERSON, after=(shape.first,))
    _add(
        builder,
        "synthesise",
        stages.synthesise,
        "multiplex",
        share=_BEFORE_WRITING,
        rescue=stages.rescue_multiplex,
        after=("perspectives",),
    )


def _scoring(builder: _Builder, shape: _Shape, *, after: tuple[str, ...]) -> tuple[str, ...]:
    """What selection follows: the scores, where hypotheses are scored once more, or else the stages `after`."""
    if not shape.choosing:
        return after
    _add(builder, "score", stages.score, "scored", share=_BEFORE_WRITING, after=after)
    return ("score",)


def _ending(
    builder: _Builder,
    shape: _Shape,
    *,
    after: tuple[str, ...] = (),
    joined: tuple[str, ...] = (),
    selecting: bool = False,
) -> None:
    """Select, plan, write, judge and settle; at `medium` and `high`, with another round if it is worth it.

    Planning follows any of the stages `after`, which are of one superstep, or all of those that are `joined`.
    Selection is of its superstep: each superstep costs as much as all that is decided in it.
    """
    plan = stage("plan", stages.plan, writes="plan", share=1.0)
    if selecting:
        plan = sequence(stage("select", stages.select, writes="selection", share=1.0), plan)
    builder.add_node("plan", plan)
    for before in after:
        builder.add_edge(before, "plan")
    if joined:
        builder.add_edge(list(joined), "plan")
    if shape.planning:
        builder.add_edge("plan", END)
        return
    _add(
        builder,
        "write",
        stages.write,
        "draft",
        share=_WRITING,
        required=True,
        rescue=stages.rescue_draft,
        after=("plan",),
    )
    written = "write"
    if shape.choosing:
        _add(builder, "choose", stages.choose, "choice", share=_WRITING, after=("write",))
        written = "choose"
    _judging(builder, shape, written=written)
    if shape.effort not in stages.JUDGED or shape.choosing:
        builder.add_edge("settle", END)
        return
    again = "hypothesise" if shape.effort is Effort.HIGH else "write"
    builder.add_conditional_edges("settle", _where_next, {"send": END, again: again})


def _judging(builder: _Builder, shape: _Shape, *, written: str) -> None:
    """Judge what stands `written`, and settle what becomes of it."""
    judges: list[str] = []
    if shape.effort in stages.JUDGED or (shape.choosing and shape.effort is Effort.LOW):
        _add(builder, "judge", stages.judge, "quality", share=1.0, after=(written,))
        judges.append("judge")
    if shape.effort in stages.JUDGED:
        _add(builder, "gate", stages.gate, "findings", share=1.0, after=(written,))
        judges.append("gate")
    _add(builder, "settle", stages.settle, "settlement", share=1.0, required=True, after=tuple(judges) or (written,))


def _add(
    builder: _Builder,
    name: str,
    work: Work,
    writes: str,
    *,
    share: float,
    required: bool = False,
    rescue: Rescue | None = None,
    after: tuple[str, ...] = (),
) -> None:
    """Add a stage that runs once any of the stages `after`, which are of one superstep, has run."""
    builder.add_node(name, stage(name, work, writes=writes, share=share, required=required, rescue=rescue))
    for before in after:
        builder.add_edge(before, name)


def _where_next(state: State) -> str:
    settlement = state.get("settlement")
    return settlement.next if settlement else "send"

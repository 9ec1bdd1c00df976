"""A server of tools for clients that speak the Model Context Protocol: recall, why, correct, forget and mentalize.

It serves one person, who is named when it is started: no tool takes a name, so no model gets another's memory.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from ..extras import missing
from ..mind import Mind
from ..types import Effort, Identity, Memory, MemoryKind, MemoryMode, Trace

try:
    from mcp.server import MCPServer
    from mcp.types import ToolAnnotations
except ImportError as error:
    raise missing("mcp", "A server of tools for MCP") from error

INSTRUCTIONS = (
    "mentalize remembers one person and guesses at what they mean. Recall before you rely on what you know of them; "
    "mentalize on a message before you answer it. A guess is no fact: do not repeat it to them as one."
)

_READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
_WRITES = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False)
_DELETES = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False)

Id = Annotated[str, Field(description="The id of a memory, as `recall` gives it.")]


class Remembered(BaseModel):
    """One remembered thing."""

    id: str
    kind: str
    text: str
    said_at: str = Field(description="When it was said, in ISO 8601.")
    status: str = Field(description="`confirmed` for what the person said; else it is a guess.")
    reason: str = Field(default="", description="Why it was recalled.")


class Explained(BaseModel):
    """Why something is remembered."""

    memory: Remembered
    quote: str = Field(description="The person's own words that it rests on.")
    rests_on: list[Remembered] = Field(description="What it was made from, such as the turn in which it was said.")
    replaced: list[Remembered] = Field(description="What it took the place of.")
    retention: float = Field(description="How well it is still remembered, from 0 to 1.")


class Guess(BaseModel):
    """One reading of what a person means."""

    text: str
    score: float = Field(description="How well it fits this person and message better than anybody, from 0 to 1.")


class Understanding(BaseModel):
    """What was understood of a message, for the reply."""

    emotion: str
    guesses: list[Guess] = Field(description="Rival readings, the likeliest first.")
    act: str = Field(description="What the reply is to do.")
    tone: str
    must: list[str]
    must_not: list[str]
    ask: str = Field(description="A question worth asking, or empty.")
    lean_on: list[str] = Field(description="What is remembered and may help.")
    risk: list[str] = Field(description="Signs of danger; the musts say where help is to be had.")


def tools(mind: Mind, who: Identity) -> MCPServer[Any]:
    """The server of one person's tools: `tools(mind, who).run()` speaks over standard input and output.

    Args:
        mind: What remembers and thinks.
        who: Whose memory it is.
    """
    server: MCPServer[Any] = MCPServer("mentalize", instructions=INSTRUCTIONS)

    @server.tool(annotations=_READS)
    async def recall(  # pyright: ignore[reportUnusedFunction]
        query: Annotated[str, Field(description="What to look for, in words.")],
        limit: Annotated[int, Field(ge=1, le=50)] = 8,
    ) -> list[Remembered]:
        """What is remembered about the person that bears on a question, the most fitting first."""
        hits = await mind.memory.search(who, query, limit=limit)
        return [_remembered(hit.memory, hit.reason) for hit in hits]

    @server.tool(annotations=_READS)
    async def why(memory_id: Id) -> Explained:  # pyright: ignore[reportUnusedFunction]
        """Why something is remembered: what the person said, when, and what it rests on."""
        found = await mind.memory.why(who, memory_id)
        return Explained(
            memory=_remembered(found.memory),
            quote=found.memory.quote,
            rests_on=[_remembered(one) for one in found.sources],
            replaced=[_remembered(one) for one in found.supersedes],
            retention=found.retention,
        )

    @server.tool(annotations=_WRITES)
    async def correct(  # pyright: ignore[reportUnusedFunction]
        memory_id: Id, text: Annotated[str, Field(description="What is true instead, as the person says it.")]
    ) -> Remembered:
        """Put right what is remembered. Only when the person has said so: a correction outranks every guess."""
        return _remembered(await mind.memory.correct(who, memory_id, text))

    @server.tool(annotations=_DELETES)
    async def forget(memory_id: Id) -> str:  # pyright: ignore[reportUnusedFunction]
        """Delete something for good, with all that rests on it. Only when the person has asked for it."""
        gone = await mind.memory.forget(who, [memory_id])
        return f"Gone: {', '.join(f'{count} {kind}' for kind, count in gone.counts.items() if count)}."

    @server.tool(annotations=_READS)
    async def mentalize(  # pyright: ignore[reportUnusedFunction]
        message: Annotated[str, Field(description="What the person said last, word for word.")],
        effort: Annotated[Effort, Field(description="How much thought.")] = Effort.AUTO,
    ) -> Understanding:
        """What the person may mean and does not say, and what a good reply does. Nothing is remembered by it."""
        guided = await mind.guide(message, who, effort, MemoryMode.READ_ONLY)
        return _understood((await guided.conclude("")).trace)

    return server


def _remembered(memory: Memory, reason: str = "") -> Remembered:
    return Remembered(
        id=memory.id,
        kind=MemoryKind(memory.kind),
        text=memory.text,
        said_at=memory.observed_at.isoformat(),
        status=memory.status,
        reason=reason,
    )


def _understood(trace: Trace) -> Understanding:
    plan, perception, selection = trace.plan, trace.perception, trace.selection
    return Understanding(
        emotion=perception.emotion.name if perception and perception.emotion else "",
        guesses=[Guess(text=item.refined.text, score=item.score) for item in selection.ranked] if selection else [],
        act=plan.act if plan else "",
        tone=plan.tone if plan else "",
        must=list(plan.must) if plan else [],
        must_not=list(plan.must_not) if plan else [],
        ask=plan.ask if plan else "",
        lean_on=list(plan.anchors) if plan else [],
        risk=[str(sign.kind) for sign in trace.risk],
    )

"""`mentalize graph` and `mentalize schema`: what the program is made of, for reading and for other programs."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from .options import Debug, EffortName

EffortOfGraph = Annotated[EffortName, typer.Option("--effort", help="The effort whose graph to print.")]


WithLenses = Annotated[bool, typer.Option("--lenses", help="With the stages of several perspectives.")]


def graph(effort: EffortOfGraph = "medium", lenses: WithLenses = False, debug: Debug = False) -> None:
    """Print the graph of a turn as Mermaid."""
    from ..errors import InputError
    from ..graphs.turn import mermaid
    from ..types import Effort

    if effort == "auto":
        raise InputError("`auto` has no graph of its own: it picks one of the others for each turn.")
    sys.stdout.write(mermaid(Effort(effort), lenses=lenses).rstrip("\n") + "\n")


def schema(debug: Debug = False) -> None:
    """Print the JSON schema of a trace, as `ask --json` prints it."""
    sys.stdout.write(json.dumps(trace_schema(), indent=2, ensure_ascii=False) + "\n")


def trace_schema() -> dict[str, Any]:
    """The JSON schema of a trace."""
    from pydantic import TypeAdapter

    from ..types import Trace

    return TypeAdapter(Trace).json_schema(mode="serialization")

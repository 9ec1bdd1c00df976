"""What a turn costs: calls, depth and wall time of each effort, beside a replay of MetaMind's released call order.

A scripted OpenAI-compatible server on loopback, in a process of its own, answers every call after a fixed time with a
valid value that the judges like. The replay sends the 37 calls of MetaMind's released code (arXiv 2505.18943, commit
866aaf6: 7,835 prompt tokens, 878 completion tokens) one after another through the same client to the same server.

At 0 ms per call, what is measured is our own time, and how many turns one core gets through with 50 people at once.

Exits with 1 if `medium` is not four calls deep, or not seven times as fast as the replay at 200 ms per call, or if
lenses make it deeper.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from answerer import CORES, HYPOTHESES, MESSAGE, Answerer, started, stay_on, words
from figures import Figure, Reporter, as_json, status_of

from openai_server import OpenAIServer

BENCHMARK = "3 minutes"

EFFORTS = ("none", "minimal", "low", "medium", "high")

REPLAY_CALLS = 37
REPLAY_PROMPT_TOKENS = 7_835
REPLAY_COMPLETION_TOKENS = 878

DEPTH = 4
"""Calls of a `medium` turn that wait for one another."""
WITH_LENSES = "medium, seven lenses"
LENS_CALLS = 8
"""Further calls of a turn that asks seven lenses: one each, and their synthesis. It is no deeper."""
SPEEDUP = 7.0
"""How many times faster than the replay a `medium` turn is, at least, at `SPEEDUP_AT` per call."""
SPEEDUP_AT = 0.2
OWN_TIME = 0.008
"""Seconds that a `medium` turn should take when the models take none."""
AT_ONCE = 50
"""People whose turns run at the same time where throughput is measured."""
PER_CORE = 60.0
"""Turns per second that one core gets through, at least, when the models take no time."""
REMEMBERED = 1_000
"""Memories of the person in the turns that are measured with memory."""


# --- the server -------------------------------------------------------------------------------------------


async def serve(seconds: float) -> None:
    async with OpenAIServer(Answerer(seconds, count=REPLAY_COMPLETION_TOKENS // REPLAY_CALLS)) as server:
        print(server.base_url, flush=True)
        await asyncio.Event().wait()


@contextlib.contextmanager
def server(seconds: float) -> Iterator[str]:
    """The base URL of a server in a process of its own, on another core than ours where there are two."""
    with started([sys.executable, __file__, "--serve", str(seconds)], core=max(CORES, default=None)) as process:
        if CORES:
            stay_on(min(CORES))
        assert process.stdout is not None
        yield process.stdout.readline().strip()


# --- what is measured -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One effort, or the replay, at one time per call."""

    name: str
    per_call: float
    turns: int
    calls: int
    depth: int
    median: float
    p95: float
    cpu: float
    """Processor seconds of this process per turn, median."""


@dataclass(frozen=True, slots=True)
class Sample:
    calls: int
    depth: int
    seconds: float
    cpu: float


async def timed(
    name: str,
    per_call: float,
    turns: int,
    once: Callable[[], Awaitable[tuple[int, int]]],
    *,
    after: Callable[[], Awaitable[object]] | None = None,
) -> Row:
    """`once` runs a turn and returns its calls and depth; the first run only warms up. `after` is not measured."""
    await once()
    samples: list[Sample] = []
    for _ in range(turns):
        if after is not None:
            await after()
        began, cpu = time.perf_counter(), time.process_time()
        calls, depth = await once()
        samples.append(Sample(calls, depth, time.perf_counter() - began, time.process_time() - cpu))
    seconds = sorted(sample.seconds for sample in samples)
    return Row(
        name=name,
        per_call=per_call,
        turns=turns,
        calls=max(sample.calls for sample in samples),
        depth=max(sample.depth for sample in samples),
        median=statistics.median(seconds),
        p95=seconds[min(len(seconds) - 1, round(0.95 * (len(seconds) - 1)))],
        cpu=statistics.median(sample.cpu for sample in samples),
    )


async def replay(base_url: str, per_call: float, turns: int) -> Row:
    from mentalize.llm.http import OpenAICompatibleModel
    from mentalize.llm.model import Request
    from mentalize.types import user

    model = OpenAICompatibleModel("scripted", base_url=base_url)
    prompt = user(words(REPLAY_PROMPT_TOKENS // REPLAY_CALLS, 0))

    async def once() -> tuple[int, int]:
        for _ in range(REPLAY_CALLS):
            await model.complete(Request(messages=(prompt,), temperature=0.7))
        return REPLAY_CALLS, REPLAY_CALLS

    try:
        return await timed("MetaMind (replay)", per_call, turns, once)
    finally:
        await model.close()


async def efforts(base_url: str, per_call: float, turns: Callable[[str], int]) -> list[Row]:
    from mentalize import Mind, Settings

    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            model="openai_compatible/scripted", base_url=base_url, hypotheses=HYPOTHESES, cache_folder=Path(folder)
        )
        mind = Mind(settings)

        async def once(effort: str, perspectives: str = "off") -> tuple[int, int]:
            message = {"role": "user", "content": MESSAGE}
            trace = (await mind.reply([message], effort=effort, perspectives=perspectives)).trace
            if trace.failures:
                raise RuntimeError(f"A {effort} turn left something out: {'; '.join(trace.failures)}")
            return trace.calls, trace.depth

        try:
            rows = [
                await timed(effort, per_call, turns(effort), lambda effort=effort: once(effort)) for effort in EFFORTS
            ]
            rows.append(await timed(WITH_LENSES, per_call, turns("high"), lambda: once("medium", "agents")))
            return rows
        finally:
            await mind.close()


async def throughput(base_url: str, turns: int) -> float:
    """`medium` turns per second, `AT_ONCE` at a time, on the one core that this process has."""
    from mentalize import Mind, Settings

    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            model="openai_compatible/scripted", base_url=base_url, hypotheses=HYPOTHESES, cache_folder=Path(folder)
        )
        async with Mind(settings) as mind:
            waiting = iter(range(turns))

            async def person() -> None:
                for _ in waiting:
                    trace = (await mind.reply(MESSAGE, effort="medium")).trace
                    if trace.failures:
                        raise RuntimeError(f"A turn left something out: {'; '.join(trace.failures)}")

            await mind.reply(MESSAGE, effort="medium")
            began = time.perf_counter()
            await asyncio.gather(*(person() for _ in range(AT_ONCE)))
            return turns / (time.perf_counter() - began)


async def with_memory(base_url: str, turns: int) -> list[Row]:
    """`medium` turns of a person of whom `REMEMBERED` things are known, and the same turns with memory off.

    Each turn recalls, writes down what was said, and stores its trace; what is thought about afterwards is let finish
    between turns, and not counted.
    """
    from mentalize import Identity, Mind, Settings
    from mentalize.types import Memory, MemoryKind

    who = Identity("bench", "ana")
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            model="openai_compatible/scripted",
            base_url=base_url,
            hypotheses=HYPOTHESES,
            cache_folder=Path(folder),
            memory={"url": f"sqlite:///{folder}/memory.db", "embedder": "minilm", "idle_seconds": 3_600},
        )
        mind = Mind(settings)
        known = [
            Memory(id=str(n), kind=MemoryKind.TURN, text=words(16, n), observed_at=datetime.now(UTC))
            for n in range(REMEMBERED)
        ]

        async def once(mode: str) -> tuple[int, int]:
            message = {"role": "user", "content": MESSAGE}
            trace = (await mind.reply([message], who, effort="medium", memory=mode)).trace
            if trace.failures:
                raise RuntimeError(f"A turn with memory {mode} left something out: {'; '.join(trace.failures)}")
            return trace.calls, trace.depth

        try:
            await mind.memory.add(who, known)
            await mind.memory.settle()
            return [
                await timed(f"medium, memory {mode}", 0, turns, lambda mode=mode: once(mode), after=mind.settle)
                for mode in ("off", "read-only", "on")
            ]
        finally:
            await mind.close()


async def measure(times: tuple[float, ...], *, quick: bool) -> tuple[list[Row], float | None]:
    """The rows, and the turns per second where the time per call is 0."""
    rows: list[Row] = []
    per_second: float | None = None
    for per_call in times:

        def turns(effort: str, per_call: float = per_call) -> int:
            if per_call == 0:
                return 100 if effort == "medium" else 10
            return 3 if quick else 15

        with server(per_call) as base_url:
            rows += await efforts(base_url, per_call, turns)
            rows.append(await replay(base_url, per_call, 1 if quick and per_call else 3))
            if per_call == 0:
                rows += await with_memory(base_url, 10 if quick else 40)
                per_second = await throughput(base_url, 200 if quick else 1_000)
    return rows, per_second


# --- what is said -----------------------------------------------------------------------------------------


def find(rows: list[Row], name: str, per_call: float) -> Row:
    return next(row for row in rows if row.name.startswith(name) and row.per_call == per_call)


def speedup(rows: list[Row], row: Row) -> float:
    """How many times faster than the replay."""
    return find(rows, "MetaMind", row.per_call).median / row.median


def faults(rows: list[Row]) -> list[str]:
    found = [
        f"medium is {row.depth} calls deep at {row.per_call * 1000:.0f} ms, not {DEPTH}"
        for row in rows
        if row.name == "medium" and row.depth != DEPTH
    ]
    for row in rows:
        if row.name == WITH_LENSES:
            plain = find(rows, "medium", row.per_call)
            if (row.calls, row.depth) != (plain.calls + LENS_CALLS, plain.depth):
                found.append(f"seven lenses make {row.calls - plain.calls} calls and {row.depth - plain.depth} deeper")
        if row.name == "medium" and row.per_call == SPEEDUP_AT and speedup(rows, row) < SPEEDUP:
            found.append(f"medium is {speedup(rows, row):.1f} times faster than the replay, not {SPEEDUP:.0f}")
    return found


def figures(rows: list[Row], per_second: float | None) -> list[Figure]:
    found: list[Figure] = []
    if per_second is not None:
        found.append(Reporter("medium turns on one core")(f"{AT_ONCE} at once", per_second, "/s", at_least=PER_CORE))
    for per_call in dict.fromkeys(row.per_call for row in rows):
        chosen, at = [row for row in rows if row.per_call == per_call], f"{per_call * 1000:.0f} ms a call"
        median, late, cpu = (Reporter(f"{at}: {what}") for what in ("median", "p95", "processor time"))
        own = {"medium": OWN_TIME * 1000} if per_call == 0 else {}
        found += [median(row.name, row.median * 1000, "ms", at_most=own.get(row.name)) for row in chosen]
        found += [late(row.name, row.p95 * 1000, "ms") for row in chosen]
        found += [cpu(row.name, row.cpu * 1000, "ms") for row in chosen]
        faster, calls, depth = (Reporter(f"{at}: {what}") for what in ("speed beside the replay", "calls", "depth"))
        fast = {"medium": SPEEDUP} if per_call == SPEEDUP_AT else {}
        found += [faster(row.name, speedup(rows, row), "×", at_least=fast.get(row.name)) for row in chosen]
        found += [calls(row.name, row.calls) for row in chosen]
        deep: dict[str, int] = {"medium": DEPTH, WITH_LENSES: DEPTH}
        for row in chosen:
            exactly = deep.get(row.name)
            found.append(depth(row.name, row.depth, at_least=exactly, at_most=exactly, always=True))
    return found


def show(rows: list[Row], per_second: float | None) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("per call", "what", "calls", "depth", "median", "p95", "processor", "times faster")
    for before, row in zip([None, *rows], rows, strict=False):
        if before and before.per_call != row.per_call:
            table.add_section()
        milliseconds = [f"{value * 1000:,.1f} ms" for value in (row.median, row.p95, row.cpu)]
        per_call = f"{row.per_call * 1000:.0f} ms"
        table.add_row(per_call, row.name, str(row.calls), str(row.depth), *milliseconds, f"{speedup(rows, row):.1f}")
    console = Console(width=110)
    console.print(table)
    if per_second is not None:
        console.print(f"One core gets through {per_second:.0f} medium turns per second (target: {PER_CORE:.0f}).")
        own = find(rows, "medium", 0)
        console.print(
            f"The pipeline's own time per medium turn, on one core: median {own.median * 1000:.1f} ms,"
            f" p95 {own.p95 * 1000:.1f} ms (target: {OWN_TIME * 1000:.0f} ms; n = {own.turns})."
        )
        off, on = (find(rows, f"medium, memory {mode}", 0) for mode in ("off", "on"))
        console.print(
            f"Memory adds {(on.median - off.median) * 1000:.1f} ms to a turn of a person of whom {REMEMBERED:,} things"
            f" are known (embedding included; n = {on.turns})."
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer turns")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--times", type=float, nargs="+", default=[0, 0.05, 0.2], help="seconds per call")
    parser.add_argument("--serve", type=float, metavar="SECONDS", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        asyncio.run(serve(arguments.serve))
        return 0
    rows, per_second = asyncio.run(measure(tuple(arguments.times), quick=arguments.quick))
    found = faults(rows)
    if arguments.json:
        details = [dataclasses.asdict(row) for row in rows]
        print(as_json(figures(rows, per_second), quick=arguments.quick, faults=found, details=details))
    else:
        show(rows, per_second)
    for fault in found:
        print(fault, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(status_of(main))

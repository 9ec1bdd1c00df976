"""What a turn costs on a real vLLM server: prompt tokens that it had already read, wall time, and turns per second.

    mentalize vllm serve MODEL              # says its address and the name of the model
    python bench/vllm.py --base-url http://127.0.0.1:8000/v1 --model NAME

All is measured on the server that is given, with nothing else on it, and over a fixed conversation of 20 turns
(`conversation.json`). The shares of the prefix cache are differences of the server's own counters,
`vllm:prefix_cache_hits_total` over `vllm:prefix_cache_queries_total`:

- within a turn: each turn is that of an assistant with another name, so that no prompt begins as an earlier turn's;
- across turns: the turns of one session, one after another, what earlier turns left being there.

A small model babbles, and would decide by that how long everything takes. So the server reads each prompt of a turn,
but what the turn goes on with is not the model's. For the prefix cache it is words of a fixed length, and one token is
written; for waits and throughput, the answers of `answers.json`, and as many tokens are written as those have.

The calls of a turn one after another are those of a mind that has one call in flight at most.

Exits with 1 if a session has less than half of its prompt tokens from the cache.
"""

import argparse
import asyncio
import contextlib
import json
import re
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from answerer import HYPOTHESES, MESSAGE, Answerer
from figures import Figure, LeftOut, Reporter, as_json, complain, show, status_of

from mentalize import Mind, Settings
from mentalize.llm.http import OpenAICompatibleModel
from mentalize.llm.limit import LimitedModel
from mentalize.llm.model import Capabilities, Model, Request, StructuredMode
from mentalize.llm.scripted import FunctionModel
from mentalize.llm.wire import request_body

BENCHMARK = "15 minutes"

CONVERSATION = Path(__file__).parent / "conversation.json"
ANSWERS = json.loads((Path(__file__).parent / "answers.json").read_text(encoding="utf-8"))
WITHIN = 0.6
"""Share of a turn's prompt tokens that other calls of the same turn have already had read, at least."""
ACROSS = 0.5
"""Share of a session's prompt tokens that were already read, at least."""
CHARTER = """\
id = "bench"
role = {role}
duties = ["Take what the person says seriously and answer what they mean.", "Name a feeling tentatively."]
limits = ["Do not diagnose, prescribe, or act as a therapist, doctor or lawyer.", "Do not promise what cannot be kept."]
"""
CHARACTERS = 4
"""Of one token, about."""
QUOTED = re.compile(r"^person: (.+)$", re.MULTILINE)
SECONDS = 600.0
"""What a call may take. A processor is slow, and a turn that leaves something out asks for less."""


class Thinker(Answerer):
    """Answers in words of a fixed length, and quotes the conversation where a quote is asked for."""

    def answer(self, request: Request) -> str:
        self._quote = QUOTED.findall(request.messages[-1].text)[-1:] or [MESSAGE]
        return self(request_body(request, "", stream=False)).text

    def _text(self, schema: Mapping[str, Any], name: str, index: int, number: int) -> str:
        return self._quote[0] if name in self.QUOTES else super()._text(schema, name, index, number)


def written(request: Request) -> str:
    """The answer that `answers.json` has."""
    answer = ANSWERS[request.purpose.removesuffix(".repair")]
    return answer if isinstance(answer, str) else json.dumps(answer, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Server:
    base_url: str
    model: str

    @contextlib.asynccontextmanager
    async def reader(self, answer_to: Callable[[Request], str], *, writing: bool) -> AsyncIterator[FunctionModel]:
        """A model by which the server reads each prompt, and writes as many tokens as the given answer has, or one."""
        server = OpenAICompatibleModel(self.model, base_url=self.base_url, vllm=True, seconds=SECONDS)

        async def answer(request: Request) -> str:
            text = answer_to(request)
            count = max(1, len(text) // CHARACTERS) if writing else 1
            exactly = {"ignore_eos": True, "min_tokens": count}
            await server.complete(replace(request, max_tokens=count, format=None, parameters=exactly))
            return text

        try:
            yield FunctionModel(answer, capabilities=Capabilities(StructuredMode.JSON_SCHEMA))
        finally:
            await server.close()

    @contextlib.asynccontextmanager
    async def mind(self, role: str = "A companion.", *, model: Model) -> AsyncIterator[Mind]:
        """A mind of an assistant with such a role."""
        with tempfile.TemporaryDirectory() as folder:
            charter = Path(folder) / "charter.toml"
            charter.write_text(CHARTER.format(role=json.dumps(role)), encoding="utf-8")
            settings = Settings(
                model=f"hosted_vllm/{self.model}",
                base_url=self.base_url,
                hypotheses=HYPOTHESES,
                charter=str(charter),
                cache_folder=Path(folder),
                call_seconds=SECONDS,
                contract={effort: {"seconds": 4 * SECONDS} for effort in ("none", "medium")},
            )
            mind = Mind(settings, model=model)
            try:
                yield mind
            finally:
                await mind.close()

    async def counters(self) -> tuple[int, int]:
        from mentalize.llm.engine_counts import cache_counters

        return await cache_counters(self.base_url)


@dataclass(frozen=True, slots=True)
class Turned:
    """One turn, by the server's counters and by the clock."""

    looked_for: int
    found: int
    seconds: float


async def turned(server: Server, mind: Mind, messages: Sequence[Any], effort: str = "medium") -> Turned:
    looked, found = await server.counters()
    began = time.perf_counter()
    await mind.reply(list(messages), effort=effort)
    seconds = time.perf_counter() - began
    looked_after, found_after = await server.counters()
    return Turned(looked_after - looked, found_after - found, seconds)


def share(turns: Sequence[Turned]) -> float:
    return sum(turn.found for turn in turns) / sum(turn.looked_for for turn in turns)


def conversation(turns: int) -> list[list[Any]]:
    """The conversation up to each of its turns."""
    said = json.loads(CONVERSATION.read_text(encoding="utf-8"))
    return [said[: 2 * turn + 1] for turn in range(turns)]


async def prefixes(server: Server, turns: int) -> list[Figure]:
    told = conversation(turns)
    apart: list[Turned] = []
    together: list[Turned] = []
    async with server.reader(Thinker(0).answer, writing=False) as reader:
        for number, messages in enumerate(told):
            async with server.mind(f"{time.time_ns()} is your number, companion.", model=reader) as mind:
                apart.append(await turned(server, mind, messages))
            progress(f"within a turn: {number + 1} of {turns}, {share(apart[-1:]):.0%}")
        async with server.mind(f"{time.time_ns()} is your number, companion.", model=reader) as mind:
            for number, messages in enumerate(told):
                together.append(await turned(server, mind, messages))
                progress(f"across turns: {number + 1} of {turns}, {share(together[-1:]):.0%}")
    of_prefix = Reporter("prompt tokens already read")
    return [
        of_prefix("within a turn", share(apart), at_least=WITHIN),
        of_prefix("within the first turn", share(apart[:1])),
        of_prefix("within the last turn", share(apart[-1:])),
        of_prefix("across the turns of a session", share(together), at_least=ACROSS, always=True),
    ]


async def waits(server: Server, turns: int) -> list[Figure]:
    """Wall time of a medium turn, of the same with one call at a time, and of a plain call, in turn."""
    seconds: dict[str, list[float]] = {"medium": [], "medium, one call at a time": [], "one plain call": []}
    async with (
        server.reader(written, writing=True) as reader,
        server.mind(model=reader) as mind,
        server.mind(model=LimitedModel(reader, 1)) as patient,
    ):
        for number, messages in enumerate(conversation(turns)):
            for name, asked, effort in (
                ("medium", mind, "medium"),
                ("medium, one call at a time", patient, "medium"),
                ("one plain call", mind, "none"),
            ):
                seconds[name].append((await turned(server, asked, messages, effort)).seconds)
            progress(f"waits: {number + 1} of {turns}")
    of_waits = Reporter("a turn by the clock, median")
    beside = Reporter("a medium turn beside")
    median = {name: statistics.median(values) for name, values in seconds.items()}
    one_by_one = [f / s for f, s in zip(seconds["medium"], seconds["medium, one call at a time"], strict=True)]
    plain = [f / s for f, s in zip(seconds["medium"], seconds["one plain call"], strict=True)]
    return [
        *(of_waits(name, value, "s") for name, value in median.items()),
        beside("the same calls one at a time, median", statistics.median(one_by_one), "×"),
        beside("one plain call, median", statistics.median(plain), "×"),
    ]


async def throughput(server: Server, concurrent: Sequence[int]) -> list[Figure]:
    """Turns per second with so many people at once, each at another point of the conversation."""
    of_turns = Reporter("medium turns")
    told = conversation(20)
    found: list[Figure] = []
    for count in concurrent:
        async with server.reader(written, writing=True) as reader, server.mind(model=reader) as mind:
            began = time.perf_counter()
            await asyncio.gather(*(mind.reply(list(told[n % len(told)]), effort="medium") for n in range(count)))
            found.append(of_turns(f"{count} at once", count / (time.perf_counter() - began), "per second"))
        progress(f"throughput: {count} at once")
    return found


def progress(text: str) -> None:
    print(f"• {text}", file=sys.stderr, flush=True)


async def measure(server: Server, parts: Sequence[str], turns: int, concurrent: Sequence[int]) -> list[Figure]:
    found: list[Figure] = []
    if "prefix" in parts:
        found += await prefixes(server, turns)
    if "waits" in parts:
        found += await waits(server, min(turns, 5))
    if "throughput" in parts:
        found += await throughput(server, concurrent)
    return found


PARTS = ("prefix", "waits", "throughput")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-url", help="address of a vLLM server, up to and including /v1")
    parser.add_argument("--model", help="the server's own name of its model")
    parser.add_argument("--turns", type=int, default=20, help="turns of the conversation (default: 20)")
    parser.add_argument("--concurrent", type=int, nargs="+", default=[1, 8, 64], help="turns at once")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="what to measure")
    parser.add_argument("--quick", action="store_true", help="six turns, and no more than eight at once")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args()
    if not arguments.base_url or not arguments.model:
        raise LeftOut("This needs a vLLM server: give --base-url and --model; `mentalize vllm serve` says both.")
    turns = min(arguments.turns, 6) if arguments.quick else arguments.turns
    concurrent = [count for count in arguments.concurrent if count <= 8 or not arguments.quick]
    server = Server(arguments.base_url, arguments.model)
    found = asyncio.run(measure(server, arguments.only, turns, concurrent))
    faults = [str(figure) for figure in found if figure.always and not figure.met]
    if arguments.json:
        print(as_json(found, quick=arguments.quick, faults=faults, facts={"model": arguments.model}))
    else:
        show(found, {"model": arguments.model})
    return complain(faults)


if __name__ == "__main__":
    sys.exit(status_of(main))

"""What a call through the direct adapter costs, beside raw HTTP, the openai client and LiteLLM in one run, in turns.

A server on loopback, in a process of its own, answers at once with bytes that were made before, so that what is
measured is the client. Raw HTTP is aiohttp with nothing around it: a post and `json.loads`, for streams line by line.
Targets are set on processor time, which other programs on the machine disturb least; the clock's is shown too. A chunk
takes what a stream of many takes beyond a call, by their number; all of them arrive at once, which leaves no waiting to
hide behind.

Exits with 1 if the adapter takes more than its share of raw HTTP's time, per call or per chunk.
"""

import argparse
import asyncio
import contextlib
import gc
import importlib.util
import json
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp
from answerer import CORES, started, stay_on
from figures import Figure, Reporter, as_json, complain, show

BENCHMARK = "1 minute"

CALL_RATIO = 1.5
"""A call through the adapter takes at most so many times the processor time of one over raw HTTP."""
CHUNK_RATIO = 2.0
"""Likewise a streamed chunk."""
RAW, DIRECT, OPENAI, LITELLM = "raw HTTP", "direct adapter", "openai client", "LiteLLM"
CHUNKS = 500
AT_ONCE = 32
KEY = "not checked"

MESSAGES = [
    {"role": "system", "content": "You guess what a person has on their mind but did not say. " * 8},
    {"role": "user", "content": "I'm fine. Go without me, really."},
]
TEXT = "Are you sure? I could stay a little, if you would rather not be alone tonight, or come back early. " * 2


# --- the server -------------------------------------------------------------------------------------------


def _about(kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-8f14e45fceea167a5a36dedd4bea2543", "object": kind, "created": 1_790_000_000, "model": "m"}


def whole_answer() -> bytes:
    message = {"role": "assistant", "content": TEXT, "tool_calls": []}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    usage = {"prompt_tokens": 131, "completion_tokens": 46, "total_tokens": 177}
    content = json.dumps(_about("chat.completion") | {"choices": [choice], "usage": usage}).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(content)
    return head + content


def streamed_answer(chunks: int) -> bytes:
    """As vLLM sends it: each event an HTTP chunk of its own."""

    def event(data: str) -> bytes:
        content = f"data: {data}\n\n".encode()
        return b"%x\r\n%s\r\n" % (len(content), content)

    def chunk(delta: dict[str, str], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return event(json.dumps(_about("chat.completion.chunk") | {"choices": [choice]}))

    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
    words = [chunk({"content": f" {TEXT.split()[at % 20]}"}) for at in range(chunks)]
    usage = {"prompt_tokens": 131, "completion_tokens": chunks, "total_tokens": 131 + chunks}
    last = event(json.dumps(_about("chat.completion.chunk") | {"choices": [], "usage": usage}))
    first = chunk({"role": "assistant", "content": ""})
    return b"".join([head, first, *words, chunk({}, "stop"), last, event("[DONE]"), b"0\r\n\r\n"])


class Canned(asyncio.Protocol):
    """One connection: writes the same bytes to every request; it looks for no more than where a request ends."""

    WHOLE = whole_answer()
    STREAMED = streamed_answer(CHUNKS)

    def __init__(self) -> None:
        self._received = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, ended, body = self._received.partition(b"\r\n\r\n")
        if not ended:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) >= length:
            self._received = b""
            streams = b'"stream":true' in body.replace(b" ", b"")
            self._transport.write(self.STREAMED if streams else self.WHOLE)


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Canned, "127.0.0.1", 0, backlog=1_024)
    async with server:
        print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
        await server.serve_forever()


@contextlib.contextmanager
def server() -> Iterator[str]:
    """The base URL of a server on another core than ours, where there are two."""
    with started([sys.executable, __file__, "--serve"], core=max(CORES, default=None)) as process:
        if CORES:
            stay_on(min(CORES))
        assert process.stdout is not None
        yield process.stdout.readline().strip()


# --- the clients ------------------------------------------------------------------------------------------


class Client(Protocol):
    async def call(self) -> str:
        """The text of a whole answer."""
        ...

    async def stream(self) -> int:
        """How many pieces of text a stream had."""
        ...


class Raw:
    def __init__(self, base_url: str, session: aiohttp.ClientSession) -> None:
        self._url = f"{base_url}/chat/completions"
        self._session = session

    async def call(self) -> str:
        body = {"model": "m", "messages": MESSAGES, "temperature": 0.7}
        async with self._session.post(self._url, data=json.dumps(body).encode()) as response:
            return json.loads(await response.read())["choices"][0]["message"]["content"]

    async def stream(self) -> int:
        body = {"model": "m", "messages": MESSAGES, "temperature": 0.7, "stream": True}
        body["stream_options"] = {"include_usage": True}
        pieces = 0
        async with self._session.post(self._url, data=json.dumps(body).encode()) as response:
            rest = b""
            async for piece in response.content.iter_any():
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    if line.startswith(b"data: {"):
                        choices = json.loads(line[6:])["choices"]
                        pieces += bool(choices and choices[0]["delta"].get("content"))
        return pieces


class Direct:
    def __init__(self, base_url: str) -> None:
        from mentalize.llm.http import OpenAICompatibleModel
        from mentalize.llm.model import Request
        from mentalize.types import system, user

        self.model = OpenAICompatibleModel("m", base_url=base_url)
        messages = system(MESSAGES[0]["content"]), user(MESSAGES[1]["content"])
        self._request = Request(messages=messages, temperature=0.7)

    async def call(self) -> str:
        return (await self.model.complete(self._request)).text

    async def stream(self) -> int:
        pieces = 0
        async for delta in self.model.stream(self._request):
            pieces += bool(delta.text)
        return pieces


class OpenAI:
    def __init__(self, base_url: str) -> None:
        from openai import AsyncOpenAI

        self.client = AsyncOpenAI(base_url=base_url, api_key=KEY, max_retries=0)
        self._wanted: dict[str, Any] = {"model": "m", "messages": MESSAGES, "temperature": 0.7}

    async def call(self) -> str:
        return (await self.client.chat.completions.create(**self._wanted)).choices[0].message.content

    async def stream(self) -> int:
        options: Any = {"include_usage": True}
        stream = await self.client.chat.completions.create(**self._wanted, stream=True, stream_options=options)
        return await pieces_of(stream)


class LiteLLM:
    def __init__(self, base_url: str) -> None:
        os.environ.update(LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS="True")
        import litellm

        litellm.suppress_debug_info = True
        self._ask = litellm.acompletion
        self._wanted: dict[str, Any] = {"model": "hosted_vllm/m", "messages": MESSAGES, "temperature": 0.7}
        self._wanted |= {"api_base": base_url, "api_key": KEY, "num_retries": 0, "max_retries": 0}

    async def call(self) -> str:
        answer: Any = await self._ask(**self._wanted)
        return answer.choices[0].message.content

    async def stream(self) -> int:
        return await pieces_of(await self._ask(**self._wanted, stream=True, stream_options={"include_usage": True}))


async def pieces_of(stream: Any) -> int:
    pieces = 0
    async for chunk in stream:
        pieces += bool(chunk.choices and chunk.choices[0].delta.content)
    return pieces


@contextlib.asynccontextmanager
async def clients(base_url: str, left_out: frozenset[str]) -> AsyncIterator[dict[str, Client]]:
    async with AsyncExitStack() as stack:
        headers = {"Content-Type": "application/json"}
        connector = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector, headers=headers))
        direct = Direct(base_url)
        stack.push_async_callback(direct.model.close)
        found: dict[str, Client] = {RAW: Raw(base_url, session), DIRECT: direct}
        if OPENAI not in left_out:
            client = OpenAI(base_url)
            stack.push_async_callback(client.client.close)
            found[OPENAI] = client
        if LITELLM not in left_out:
            found[LITELLM] = LiteLLM(base_url)
        yield found


# --- what is measured -------------------------------------------------------------------------------------


@dataclass(slots=True)
class Taken:
    """Seconds of one client, a value for each round or call."""

    clock: list[float] = field(default_factory=list)
    """Of each call one at a time."""
    call: list[float] = field(default_factory=list)
    """Processor time per call, one at a time; of each round."""
    stream: list[float] = field(default_factory=list)
    """Processor time of a stream; of each round."""
    rate: list[float] = field(default_factory=list)
    """Calls per second, many at once; of each round."""

    @property
    def chunk(self) -> list[float]:
        """Processor time per streamed chunk; of each round."""
        return [(stream - call) / CHUNKS for stream, call in zip(self.stream, self.call, strict=True)]


@dataclass(frozen=True, slots=True)
class Pace:
    """How much is measured."""

    rounds: int
    calls: int
    """One at a time, in each round."""
    at_once: int
    """Calls of each round that are made `AT_ONCE` at a time."""


FULL, QUICK = Pace(30, 60, 640), Pace(12, 30, 160)


async def measure(base_url: str, pace: Pace, left_out: frozenset[str]) -> dict[str, Taken]:
    async with clients(base_url, left_out) as found:
        taken = {name: Taken() for name in found}
        for client in found.values():
            await warmed(client)
        gc.collect()
        gc.freeze()  # What LiteLLM keeps in memory is not for the others to look through.
        for name in in_turns(list(found), pace.rounds):
            await one_at_a_time(found[name], taken[name], pace.calls)
        # Afterwards: httpx looks at every connection that it has open, at each call.
        for name in in_turns(list(found), pace.rounds):
            await at_once(found[name], taken[name], pace.at_once)
    return taken


def in_turns(names: list[str], rounds: int) -> Iterator[str]:
    """Each name once in each round, in every place of the order."""
    for number in range(rounds):
        first = number % len(names)
        yield from names[first:] + names[:first]


async def warmed(client: Client) -> None:
    for _ in range(20):
        await client.call()
    if (pieces := await client.stream()) != CHUNKS:
        raise RuntimeError(f"A stream of {CHUNKS} chunks had {pieces} for {type(client).__name__}.")


async def one_at_a_time(client: Client, taken: Taken, calls: int) -> None:
    gc.collect()
    spent = time.process_time()
    for _ in range(calls):
        began = time.perf_counter()
        await client.call()
        taken.clock.append(time.perf_counter() - began)
    taken.call.append((time.process_time() - spent) / calls)
    taken.stream.append(await processor_time(client.stream))


async def at_once(client: Client, taken: Taken, calls: int) -> None:
    await many(client, AT_ONCE)  # opens the connections
    gc.collect()
    began = time.perf_counter()
    await many(client, calls)
    taken.rate.append(calls / (time.perf_counter() - began))


async def processor_time(once: Callable[[], Awaitable[object]]) -> float:
    spent = time.process_time()
    await once()
    return time.process_time() - spent


async def many(client: Client, calls: int) -> None:
    """So many calls, `AT_ONCE` of them in flight all the time."""
    left = iter(range(calls))

    async def worker() -> None:
        for _ in left:
            await client.call()

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


# --- what is said -----------------------------------------------------------------------------------------


def figures(taken: dict[str, Taken]) -> list[Figure]:
    call, chunk = Reporter("a call, processor time"), Reporter("a streamed chunk, processor time")
    clock, rate = Reporter("a call one at a time, by the clock"), Reporter(f"calls with {AT_ONCE} at once")
    against = Reporter("beside raw HTTP, processor time")
    found = [call(name, statistics.median(each.call) * 1e6, "µs") for name, each in taken.items()]
    found += [chunk(name, statistics.median(each.chunk) * 1e6, "µs") for name, each in taken.items()]
    raw, direct = taken[RAW], taken[DIRECT]
    found.append(against("a call", ratio(direct.call, raw.call), "×", at_most=CALL_RATIO))
    found.append(against("a chunk", ratio(direct.chunk, raw.chunk), "×", at_most=CHUNK_RATIO))
    for name, each in taken.items():
        late = sorted(each.clock)[round(0.95 * (len(each.clock) - 1))]
        found += [
            clock(f"{name}, median", statistics.median(each.clock) * 1e3, "ms"),
            clock(f"{name}, p95", late * 1e3, "ms"),
        ]
    return found + [rate(name, statistics.median(each.rate), "per second") for name, each in taken.items()]


def ratio(ours: list[float], theirs: list[float]) -> float:
    """Of the medians: rounds that another program disturbed weigh nothing."""
    return statistics.median(ours) / statistics.median(theirs)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--only-ours", action="store_true", help="leave the openai client and LiteLLM out")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        asyncio.run(serve())
        return 0
    missing = {name for name, module in ((OPENAI, "openai"), (LITELLM, "litellm")) if not _installed(module)}
    left_out = frozenset({OPENAI, LITELLM} if given.only_ours else missing)
    with server() as base_url:
        taken = asyncio.run(measure(base_url, QUICK if given.quick else FULL, left_out))
    found = figures(taken)
    facts = {"left out": ", ".join(sorted(left_out))} if left_out else {}
    faults = [str(figure) for figure in found if not figure.met]
    if given.json:
        print(as_json(found, quick=given.quick, faults=faults, facts=facts))
    else:
        show(found, facts)
    return complain(faults)


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


if __name__ == "__main__":
    sys.exit(main())

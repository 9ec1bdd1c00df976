"""A scripted upstream for benchmarks: an OpenAI-compatible server that costs little and keeps its pace.

`Answerer` decides what is said and how long it takes. `Upstream` serves it without a framework: one that shares a core
with the client that reads it must not be what is measured. `tests/openai_server.py`, which can misbehave in every way,
takes the same answerer.

    python bench/answerer.py --seconds 0.2

prints its base URL and serves until it is terminated. `GET /counts` tells what is in work; `POST /pace` changes how
long answers take from then on.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from openai_server import Reply, schema_of

MESSAGE = "I'm fine. Go without me, really."
HYPOTHESES = 6
WORDS = 23
"""Words of an answer in plain text."""

CORES = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set[int]()


# --- what is said -----------------------------------------------------------------------------------------


class Answerer:
    """Fills the JSON schema of a request as a cooperative model would; each answer's words are new.

    New words keep caches of equal questions from answering in the server's place.

    Args:
        seconds: Before an answer begins.
        count: Words of an answer in plain text.
        word_seconds: Before each word of such an answer.
    """

    EMPTY = frozenset({"risk", "broken_rules", "critique", "flaw", "memory"})
    """Fields that would send the turn another way: signs of danger, vetoes, a demand for revision."""
    QUOTES = frozenset({"words", "trigger"})

    def __init__(self, seconds: float, *, count: int = WORDS, word_seconds: float = 0) -> None:
        self._count = count
        self.pace(seconds, word_seconds)
        self._numbers = itertools.count(1)

    def pace(self, seconds: float, word_seconds: float) -> None:
        """Take so long from now on."""
        self._seconds, self._word_seconds = seconds, word_seconds

    def __call__(self, body: dict[str, Any]) -> Reply:
        number = next(self._numbers)
        schema = schema_of(body)
        if schema is None:
            return Reply(text=words(self._count, number), delay=self._seconds, word_delay=self._word_seconds)
        return Reply(text=json.dumps(self._value(schema, schema, "", 1, number)), delay=self._seconds)

    def _value(self, schema: Mapping[str, Any], root: Mapping[str, Any], name: str, index: int, number: int) -> Any:
        if "$ref" in schema:
            schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
        if options := schema.get("enum"):
            return self._option(options, index)
        match schema.get("type"):
            case "object":
                fields: Mapping[str, Any] = schema.get("properties", {})
                return {key: self._value(inner, root, key, index, number) for key, inner in fields.items()}
            case "array":
                count = 0 if name in self.EMPTY else min(schema.get("maxItems", 3), HYPOTHESES)
                return [self._value(schema["items"], root, name, at, number) for at in range(1, count + 1)]
            case "integer" | "number":
                return min(max(3, schema.get("minimum", 3)), schema.get("maximum", 3))
            case "boolean":
                return False
            case _:
                return self._text(schema, name, index, number)

    def _option(self, options: list[str], index: int) -> str:
        if "none" in options:
            return "none"
        return options[-1] if "very high" in options else options[index % len(options)]

    def _text(self, schema: Mapping[str, Any], name: str, index: int, number: int) -> str:
        if name in self.EMPTY:
            return ""
        if name == "id":
            return f"h{index}"
        text = MESSAGE if name in self.QUOTES else words(16, number * 100 + index)
        return text[: schema.get("maxLength", len(text))]


def words(count: int, seed: int) -> str:
    """A text of `count` words that differs from that of any other seed."""
    vocabulary = ("they", "may", "want", "to", "be", "asked", "again", "and", "fear", "that", "nobody", "will")
    return " ".join([f"In reading {seed}", *(vocabulary[at % len(vocabulary)] for at in range(count - 3))])


# --- the server -------------------------------------------------------------------------------------------


class Counts:
    """What an upstream has done and is doing."""

    def __init__(self) -> None:
        self.requests = 0
        self.active = 0
        self.most_active = 0
        self.left = 0
        """Requests whose client went away before the answer was whole."""


class Upstream(asyncio.Protocol):
    """One connection: requests one after another, each with a `Content-Length`; leaving it cancels the answer."""

    def __init__(self, answerer: Answerer, counts: Counts) -> None:
        self._answerer = answerer
        self._counts = counts
        self._received = bytearray()
        self._work: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._work is not None:
            self._work.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._received[:end])
        whole = end + 4 + _length(head)
        if len(self._received) < whole:
            return
        body = bytes(self._received[end + 4 : whole])
        del self._received[:whole]
        self._take(head.split(b" ")[1].decode(), body)

    def _take(self, path: str, body: bytes) -> None:
        if path == "/v1/chat/completions":
            self._work = asyncio.create_task(self._answer(json.loads(body)))
            return
        if path == "/pace":
            self._answerer.pace(**json.loads(body))
        self._transport.write(_response(vars(self._counts)))

    async def _answer(self, body: dict[str, Any]) -> None:
        counts = self._counts
        counts.requests += 1
        counts.active += 1
        counts.most_active = max(counts.most_active, counts.active)
        try:
            reply = self._answerer(body)
            if reply.delay:
                await asyncio.sleep(reply.delay)
            await (self._stream(body, reply) if body.get("stream") else self._whole(body, reply))
        except asyncio.CancelledError:
            counts.left += 1
            raise
        finally:
            counts.active -= 1
            self._work = None

    async def _whole(self, body: Mapping[str, Any], reply: Reply) -> None:
        usage = _usage(body, reply)
        if reply.word_delay:
            await asyncio.sleep(reply.word_delay * usage["completion_tokens"])
        message = {"role": "assistant", "content": reply.text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        about = {"id": "chatcmpl-scripted", "object": "chat.completion", "created": int(time.time())}
        self._transport.write(_response({**about, "model": body["model"], "choices": [choice], "usage": usage}))

    async def _stream(self, body: Mapping[str, Any], reply: Reply) -> None:
        """Each word at its time, however long the one before it took: the pace is that of the clock."""
        about = {"id": "chatcmpl-scripted", "object": "chat.completion.chunk", "created": int(time.time())}
        about = {**about, "model": body["model"]}
        write, clock = self._transport.write, asyncio.get_running_loop().time
        write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        first, *others = reply.text.split(" ")
        write(_event({**about, "choices": [_choice({"role": "assistant", "content": ""})]}))
        frame = json.dumps({**about, "choices": [_choice({"content": "%s"})]})
        due = clock()
        for word in (first, *(f" {word}" for word in others)):
            if reply.word_delay:
                due += reply.word_delay
                await asyncio.sleep(due - clock())
            write(_chunk(f"data: {frame % word}\n\n".encode()))
        last = _event({**about, "choices": [_choice({}, "stop")]})
        if (body.get("stream_options") or {}).get("include_usage"):
            last += _event({**about, "choices": [], "usage": _usage(body, reply)})
        write(last + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")


def _length(head: bytes) -> int:
    named = b"content-length:"
    return next((int(line[len(named) :]) for line in head.lower().split(b"\r\n") if line.startswith(named)), 0)


def _response(value: Mapping[str, Any]) -> bytes:
    content = json.dumps(value).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(content)
    return head + content


def _event(value: Mapping[str, Any]) -> bytes:
    return _chunk(f"data: {json.dumps(value)}\n\n".encode())


def _chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


def _choice(delta: Mapping[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": finish_reason}


def _usage(body: Mapping[str, Any], reply: Reply) -> dict[str, int]:
    prompt = sum(len(str(message.get("content") or "").split()) for message in body["messages"])
    written = len(reply.text.split(" "))
    return {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}


async def serve(answerer: Answerer) -> None:
    counts = Counts()
    server = await asyncio.get_running_loop().create_server(
        lambda: Upstream(answerer, counts), "127.0.0.1", 0, backlog=1_024
    )
    async with server:
        print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
        await server.serve_forever()


# --- processes --------------------------------------------------------------------------------------------


def stay_on(core: int) -> None:
    """Keep this process, and those that it starts from now on, on one core."""
    os.sched_setaffinity(0, {core})


@contextlib.contextmanager
def started(command: list[str], *, core: int | None, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process of its own, on that core if there are cores to choose from; what it prints can be read."""
    own = os.sched_getaffinity(0) if CORES else set[int]()
    if CORES and core is not None:
        stay_on(core)
    process = subprocess.Popen(command, **{"stdout": subprocess.PIPE, "text": True, **options})
    if CORES:
        os.sched_setaffinity(0, own)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0, help="before an answer")
    parser.add_argument("--words", type=int, default=WORDS, help="words of an answer in plain text")
    parser.add_argument("--word-seconds", type=float, default=0, help="before each of them")
    given = parser.parse_args()
    asyncio.run(serve(Answerer(given.seconds, count=given.words, word_seconds=given.word_seconds)))


if __name__ == "__main__":
    main()

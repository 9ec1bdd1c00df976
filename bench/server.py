"""What the endpoint costs, and what it leaves behind: `mentalize serve` between a client and a scripted upstream.

Everything runs on loopback, in processes of their own: the upstream and the client on one core, the server that is
measured on another, where there are two. Direct calls to the upstream are the floor. The peer is LiteLLM's proxy, in
an environment of its own (540 MB), which `--install-peer` makes once; where it is missing, it is left out.

Exits with 1 if a target is missed. With `--quick`, only if something breaks or is left behind: times mean little on a
machine that does other things as well.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import random
import re
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import platformdirs
from answerer import CORES, MESSAGE, started, stay_on
from figures import Figure, Reporter, as_json, show, status_of

from mentalize.extras import need

BENCHMARK = "7 minutes"

PEER = "litellm[proxy]==1.102.4"
PEER_FOLDER = platformdirs.user_cache_path("mentalize", appauthor=False) / "bench" / PEER.replace("[proxy]==", "-")
PEER_KEY = "sk-bench-9f1c27d05ab84e63"
"""The proxy refuses to start with a weak one."""

PLAIN, THINKING = "scripted", "mentalize-medium"
CALL_SECONDS = 0.2
DEPTH = 4
"""Calls of a `medium` turn that wait for one another."""
ARRIVING = 20
"""Turns in flight."""
STREAMS, TOKENS_PER_SECOND = 50, 100
SLOW_STREAMS = 500
LEAVING = 200
CONCURRENT = 16
QUIET_SECONDS = 40.0
"""Time in which what is idle has to be closed: connections to the upstream are kept for 15 s, and swept as often."""


# --- what comes out ---------------------------------------------------------------------------------------


def milliseconds(seconds: float) -> float:
    return seconds * 1_000


def share(values: Sequence[float], part: float) -> float:
    """The value below which that part of them lies."""
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


# --- processes --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
    """Something that answers chat-completions requests."""

    name: str
    base_url: str
    process: subprocess.Popen[str]
    key: str = ""

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    def cpu(self) -> float:
        """Processor seconds so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident(self) -> float:
        """Megabytes of memory."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 1e6

    def sockets(self) -> int:
        """Open sockets, the listening one included."""
        found = 0
        for entry in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # It was closed while we looked.
                found += str(entry.readlink()).startswith("socket:")
        return found

    def tasks(self) -> int:
        """Tasks of the event loop; only ours can tell, see `LAUNCHER`."""
        self.process.send_signal(signal.SIGUSR1)
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())


LAUNCHER = """
import asyncio, signal, sys
from mentalize.cli.main import main
signal.signal(signal.SIGUSR1, lambda *_: print(len(asyncio.all_tasks()), flush=True))
sys.exit(main(sys.argv[1:]))
"""
"""The program `mentalize`, which also says how many tasks it has when it is asked by a signal."""

SETTINGS = """
cache_folder = "{folder}"
[memory]
url = "sqlite:///{folder}/memory.db"
[server]
turns = 1024
[server.limits]
concurrent_turns = 4096
"""
"""No limit of ours is to be what is measured."""

PEER_SETTINGS = """
model_list:
  - model_name: scripted
    litellm_params: {{model: hosted_vllm/scripted, api_base: "{base_url}", api_key: none}}
litellm_settings: {{telemetry: false, num_retries: 0}}
general_settings: {{master_key: {key}}}
"""

Found = TypeVar("Found")
SERVER_CORE, CLIENT_CORE = min(CORES, default=None), max(CORES, default=None)
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "LANGSMITH_TRACING": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "ERROR",
}


@contextlib.contextmanager
def upstream(*, seconds: float = 0, words: int = 24, word_seconds: float = 0) -> Iterator[Place]:
    program = Path(__file__).with_name("answerer.py")
    pace = ["--seconds", str(seconds), "--words", str(words), "--word-seconds", str(word_seconds)]
    with started([sys.executable, str(program), *pace], core=CLIENT_CORE) as process:
        assert process.stdout is not None
        yield Place("direct", process.stdout.readline().strip(), process)


@contextlib.contextmanager
def ours(behind: Place) -> Iterator[Place]:
    """`mentalize serve` in front of an upstream, as anybody would start it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config, log = folder / "mentalize.toml", folder / "log"
        config.write_text(SETTINGS.format(folder=folder))
        options = ["--model", f"openai_compatible/{PLAIN}", "--base-url", behind.base_url]
        command = [sys.executable, "-c", LAUNCHER, "serve", *options, "--port", "0", "--config", str(config)]
        with (
            log.open("w") as told,
            started(command, core=SERVER_CORE, stderr=told, env=environment()) as process,
        ):
            found = wait_for(process, log, lambda: re.search(r"http://\S+/v1", log.read_text()))
            url = found.group().removesuffix("/v1")
            wait_for(process, log, lambda: answers(f"{url}/healthz"))
            yield Place("mentalize", f"{url}/v1", process)


@contextlib.contextmanager
def peer(behind: Place, home: Path) -> Iterator[Place]:
    """LiteLLM's proxy in front of an upstream."""
    with tempfile.TemporaryDirectory() as name, contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
        free.close()
        config, log = Path(name) / "config.yaml", Path(name) / "log"
        config.write_text(PEER_SETTINGS.format(base_url=behind.base_url, key=PEER_KEY))
        command = [str(home / "bin" / "litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
        with (
            log.open("w") as told,
            started(command, core=SERVER_CORE, stdout=told, stderr=told, env=environment()) as process,
        ):
            wait_for(process, log, lambda: answers(f"http://127.0.0.1:{port}/health/liveliness"))
            yield Place("LiteLLM", f"http://127.0.0.1:{port}/v1", process, PEER_KEY)


def environment() -> dict[str, str]:
    """Ours, without settings of mentalize that would change what is measured."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MENTALIZE_")} | OFFLINE


def wait_for(process: subprocess.Popen[str], log: Path, look: Callable[[], Found | None]) -> Found:
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        if found := look():
            return found
        time.sleep(0.1)
    raise RuntimeError(f"{process.args} did not come up:\n{log.read_text()[-2_000:]}")


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


# --- the client -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    seconds: float
    headers: Mapping[str, str]
    content: bytes


@asynccontextmanager
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    patient = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=patient) as session:
        yield session


async def ask(session: aiohttp.ClientSession, place: Place, body: Mapping[str, Any]) -> Answer:
    """One request and its whole answer, in one piece or as a stream."""
    began = time.perf_counter()
    async with session.post(f"{place.base_url}/chat/completions", json=body, headers=place.headers) as response:
        content = await response.read()
        seconds = time.perf_counter() - began
        if response.status != 200:
            raise RuntimeError(f"{place.name} answered {response.status}: {content[:500]!r}")
        return Answer(seconds, {name.lower(): value for name, value in response.headers.items()}, content)


def request(model: str, *, stream: bool = False, number: int = 0) -> dict[str, Any]:
    """A request like no other, so that no two can be answered together."""
    said = f"{MESSAGE} I have said so {number} times."
    return {"model": model, "messages": [{"role": "user", "content": said}], "stream": stream}


async def counts(session: aiohttp.ClientSession, behind: Place) -> dict[str, int]:
    async with session.get(behind.base_url.removesuffix("/v1") + "/counts") as response:
        return await response.json()


async def pace(session: aiohttp.ClientSession, behind: Place, **seconds: float) -> None:
    """Change how long the upstream takes."""
    async with session.post(behind.base_url.removesuffix("/v1") + "/pace", json=seconds) as response:
        response.raise_for_status()


# --- what passing through adds ----------------------------------------------------------------------------


def overhead(quick: bool, home: Path | None) -> list[Figure]:
    with ExitStack() as running:
        behind = running.enter_context(upstream())
        places = [behind, running.enter_context(ours(behind))]
        if home is not None:
            places.append(running.enter_context(peer(behind, home)))
        return asyncio.run(_overhead(places, quick))


async def _overhead(places: Sequence[Place], quick: bool) -> list[Figure]:
    say = Reporter("pass-through")
    async with client() as session:
        for place in places:
            await one_by_one(session, place, 50)
        rounds = 4 if quick else 20
        spent = {place.name: place.cpu() for place in places}
        alone = await alternately(places, rounds, lambda place: one_by_one(session, place, 50))
        spent = {place.name: (place.cpu() - spent[place.name]) / (rounds * 50) for place in places}
        rates = await alternately(places, 1 if quick else 3, lambda place: at_once(session, place, 1 if quick else 4))
    figures: list[Figure] = []
    direct, others = places[0], places[1:]
    medians = {place.name: milliseconds(statistics.median(alone[place.name])) for place in places}
    p99s = {place.name: milliseconds(share(alone[place.name], 0.99)) for place in places}
    figures += [say(f"direct, {kind}", of[direct.name], "ms") for kind, of in (("median", medians), ("p99", p99s))]
    for place in others:
        bounds = ({"at_most": 2.0}, {"at_most": 10.0}) if place is places[1] else ({}, {})
        for kind, of, bound in zip(("median", "p99"), (medians, p99s), bounds, strict=True):
            figures.append(say(f"{place.name} adds, {kind}", of[place.name] - of[direct.name], "ms", **bound))
    if len(others) > 1:
        ahead = (medians[others[0].name] - medians[direct.name]) / (medians[others[1].name] - medians[direct.name])
        figures.append(say("mentalize adds, as part of what LiteLLM adds", ahead, at_most=1.0))
    for place in others:
        figures.append(say(f"{place.name}, processor time", milliseconds(spent[place.name]), "ms a request"))
    for place in places:
        figures.append(say(f"{place.name}, {CONCURRENT} at once", statistics.median(rates[place.name]), "requests/s"))
    return figures


async def alternately(
    places: Sequence[Place], rounds: int, once: Callable[[Place], Coroutine[Any, Any, list[float]]]
) -> dict[str, list[float]]:
    """In turns, so that whatever else the machine does meets all of them."""
    found: dict[str, list[float]] = {place.name: [] for place in places}
    for _ in range(rounds):
        for place in places:
            found[place.name] += await once(place)
    return found


async def one_by_one(session: aiohttp.ClientSession, place: Place, count: int) -> list[float]:
    return [(await ask(session, place, request(PLAIN, number=number))).seconds for number in range(count)]


async def at_once(session: aiohttp.ClientSession, place: Place, seconds: float) -> list[float]:
    """Requests per second, `CONCURRENT` being in work all the time."""
    began = time.perf_counter()
    answered = 0

    async def work() -> None:
        nonlocal answered
        while time.perf_counter() - began < seconds:
            await ask(session, place, request(PLAIN, number=answered))
            answered += 1

    await asyncio.gather(*(work() for _ in range(CONCURRENT)))
    return [answered / (time.perf_counter() - began)]


# --- how fast streams come through ------------------------------------------------------------------------


def streams(quick: bool, home: Path | None) -> list[Figure]:
    words = TOKENS_PER_SECOND * (2 if quick else 5)
    with ExitStack() as running:
        behind = running.enter_context(upstream(words=words, word_seconds=1 / TOKENS_PER_SECOND))
        places = [behind, running.enter_context(ours(behind))]
        if home is not None:
            places.append(running.enter_context(peer(behind, home)))
        return asyncio.run(_streams(places, words, quick))


async def _streams(places: Sequence[Place], words: int, quick: bool) -> list[Figure]:
    say = Reporter(f"{STREAMS} streams")
    async with client() as session:
        for place in places:
            await ask(session, place, request(PLAIN, stream=True))  # The first one loads a lot.
        spent = {place.name: place.cpu() for place in places}
        rounds = 1 if quick else 3
        rates = await alternately(places, rounds, lambda place: token_rates(session, place, words))
        spent = {place.name: place.cpu() - spent[place.name] for place in places}
    medians = {name: statistics.median(found) for name, found in rates.items()}
    figures = [say(name, median, "tokens/s each") for name, median in medians.items()]
    part = 100 * medians[places[1].name] / medians[places[0].name]
    figures.append(say("mentalize, as part of the upstream's own rate", part, "%", at_least=95.0))
    for place in places[1:]:
        each = spent[place.name] / (rounds * STREAMS * words)
        figures.append(say(f"{place.name}, processor time", each * 1e6, "µs a token"))
    return figures


async def token_rates(session: aiohttp.ClientSession, place: Place, words: int) -> list[float]:
    """Tokens per second of each stream, from its request to its end."""

    async def listen(number: int) -> float:
        answer = await ask(session, place, request(PLAIN, stream=True, number=number))
        check_whole(answer.content, words)
        return words / answer.seconds

    return await asyncio.gather(*(listen(number) for number in range(STREAMS)))


def check_whole(content: bytes, words: int) -> None:
    if not content.rstrip().endswith(b"data: [DONE]") or content.count(b"data: {") < words:
        raise RuntimeError(f"A stream came to {content.count(b'data: {')} events of {words}: …{content[-300:]!r}")


# --- how long a turn takes --------------------------------------------------------------------------------


def turns(quick: bool, home: Path | None) -> list[Figure]:
    del home  # It has nothing like it.
    with upstream(seconds=CALL_SECONDS) as behind, ours(behind) as server:
        return asyncio.run(_turns(server, quick))


async def _turns(server: Place, quick: bool) -> list[Figure]:
    say = Reporter(f"medium at {milliseconds(CALL_SECONDS):.0f} ms per call")
    numbers = itertools.count()
    in_flight, most = 0, 0
    async with client() as session:

        async def turn() -> float:
            nonlocal in_flight, most
            in_flight += 1
            most = max(most, in_flight)
            answer = await ask(session, server, request(THINKING, number=next(numbers)))
            in_flight -= 1
            if answer.headers["x-mentalize-effort"] != "medium" or "x-mentalize-degraded" in answer.headers:
                raise RuntimeError(f"A turn got less than was asked for: {answer.headers}")
            return answer.seconds

        for _ in range(2):
            await turn()
        alone = [await turn() for _ in range(3 if quick else 20)]
        spacing, cpu = statistics.median(alone) / ARRIVING, server.cpu()
        arriving: list[asyncio.Task[float]] = []
        began, count = time.perf_counter(), (3 if quick else 15) * ARRIVING
        for number in range(count):
            await asyncio.sleep(max(0.0, began + number * spacing - time.perf_counter()))
            arriving.append(asyncio.create_task(turn()))
        together = (await asyncio.gather(*arriving))[ARRIVING:]
        cpu = (server.cpu() - cpu) / count
    expected = DEPTH * CALL_SECONDS + 0.03
    return [
        say("alone, median", milliseconds(statistics.median(alone)), "ms", at_most=milliseconds(expected * 1.05)),
        say("alone, longest", milliseconds(max(alone)), "ms"),
        say(f"{1 / spacing:.0f} arriving each second, median", statistics.median(together), "s", at_most=1.0),
        say(f"{1 / spacing:.0f} arriving each second, p95", share(together, 0.95), "s"),
        say("most in flight", most),
        say("processor time of the server", milliseconds(cpu), "ms a turn"),
    ]


# --- what many slow streams leave behind ------------------------------------------------------------------


def slow_streams(quick: bool, home: Path | None) -> list[Figure]:
    del home
    seconds = 15 if quick else 60
    with upstream(words=seconds, word_seconds=1) as behind, ours(behind) as server:
        return asyncio.run(_slow_streams(behind, server, seconds, settled=5 if quick else 10))


async def _slow_streams(behind: Place, server: Place, seconds: int, settled: int) -> list[Figure]:
    say = Reporter(f"{SLOW_STREAMS} streams of {seconds} s")
    failures: list[str] = []
    memory: list[float] = []
    sockets, tasks, idle = server.sockets(), server.tasks(), server.resident()
    async with client() as session:

        async def listen(number: int) -> None:
            try:
                answer = await ask(session, server, request(PLAIN, stream=True, number=number))
                check_whole(answer.content, seconds)
            except (aiohttp.ClientError, RuntimeError) as error:
                failures.append(str(error))

        listening = [asyncio.create_task(listen(number)) for number in range(SLOW_STREAMS)]
        most = 0
        while not all(task.done() for task in listening):
            memory.append(server.resident())
            most = max(most, server.sockets())
            await asyncio.wait(listening, timeout=1)
        in_work = (await counts(session, behind))["most_active"]
    waited = await quiet(lambda: server.sockets() <= sockets and server.tasks() <= tasks)
    drift = [100 * (value / memory[settled] - 1) for value in memory[settled:]]
    for failure in sorted(set(failures)):
        print(failure, file=sys.stderr)
    return [
        say("streams that failed", len(failures), at_most=0, always=True),
        say("most in work at the upstream", in_work, at_least=SLOW_STREAMS, always=True),
        say("most sockets", most),
        say("memory before", idle, "MB"),
        say(f"memory after {settled} s", memory[settled], "MB"),
        say(
            f"memory from second {settled}, farthest from it",
            max(drift, key=abs),
            "%",
            at_least=-10,
            at_most=10,
            always=True,
        ),
        say("sockets left", server.sockets() - sockets, at_most=0, always=True),
        say("tasks left", server.tasks() - tasks, at_most=0, always=True),
        say("until idle connections were closed", waited, "s"),
    ]


async def quiet(reached: Callable[[], bool]) -> float:
    """Seconds until it is so, or until it should have been."""
    began = time.monotonic()
    while not reached() and time.monotonic() - began < QUIET_SECONDS:  # noqa: ASYNC110 - another process has no event
        await asyncio.sleep(0.5)
    return time.monotonic() - began


# --- what clients that leave leave behind -----------------------------------------------------------------


def leaving(quick: bool, home: Path | None) -> list[Figure]:
    del quick, home
    with upstream() as behind, ours(behind) as server:
        return asyncio.run(_leaving(behind, server))


async def _leaving(behind: Place, server: Place) -> list[Figure]:
    say = Reporter(f"{LEAVING} clients that leave")
    chance = random.Random(20)
    async with client() as session:

        async def visit(number: int, arrives: float, stays: float) -> None:
            model, stream = (PLAIN, THINKING)[number % 2], number % 4 < 2
            await asyncio.sleep(arrives)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(stays):
                    await ask(session, server, request(model, stream=stream, number=number))

        sockets, tasks = server.sockets(), server.tasks()
        await ask(session, server, request(THINKING, number=LEAVING))  # The first turn finds out and loads a lot.
        # An answer takes longer than all that follows: what nobody stopped is still in work when they are counted.
        await pace(session, behind, seconds=1, word_seconds=1)
        before = await counts(session, behind)
        moments = [(chance.uniform(0, 2), chance.uniform(0, 6)) for _ in range(LEAVING)]
        await asyncio.gather(*(visit(number, *moment) for number, moment in enumerate(moments)))
        running: list[int] = []
        for wait in (0, 1, 4):
            await asyncio.sleep(wait)
            after = await counts(session, behind)
            running.append(after["active"])
        tasks = server.tasks() - tasks
    await quiet(lambda: server.sockets() <= sockets)
    return [
        say("calls to the upstream", after["requests"] - before["requests"], at_least=LEAVING, always=True),
        say("most of them at once", after["most_active"]),
        say("calls that were broken off", after["left"] - before["left"], at_least=LEAVING / 2, always=True),
        say("calls running when the last had left", running[0]),
        say("calls running 1 s later", running[1], at_most=0),
        say("calls running 5 s later", running[2], at_most=0, always=True),
        say("tasks left 5 s later", tasks, at_most=0, always=True),
        say("sockets left", server.sockets() - sockets, at_most=0, always=True),
    ]


# --- the whole --------------------------------------------------------------------------------------------

PARTS: dict[str, Callable[[bool, Path | None], list[Figure]]] = {
    "overhead": overhead,
    "streams": streams,
    "turns": turns,
    "slow": slow_streams,
    "leaving": leaving,
}


def install(home: Path) -> None:
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--clear", "--python", sys.executable, str(home)], check=True)
    subprocess.run([*uv, "pip", "install", "--python", str(home / "bin" / "python"), PEER], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="shorter, and without the peer")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=list(PARTS), help="some of the parts")
    parser.add_argument("--peer", type=Path, default=PEER_FOLDER, help="where LiteLLM's proxy is installed")
    parser.add_argument("--install-peer", action="store_true", help="install it there first")
    given = parser.parse_args()
    if given.install_peer:
        install(given.peer)
    need("server", "The endpoint")
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))  # A stream takes two in the server.
    if CLIENT_CORE is not None:
        stay_on(CLIENT_CORE)
    home = given.peer if (given.peer / "bin" / "litellm").exists() and not given.quick else None

    machine: dict[str, str] = {
        "cores": f"servers on {SERVER_CORE}; the client and the upstream on {CLIENT_CORE} of {sorted(CORES)}",
        "peer": PEER if home else f"left out ({'--quick' if given.quick else 'not installed; see --install-peer'})",
    }
    figures: list[Figure] = []
    for name in given.only:
        before = os.getloadavg()[0]
        figures += PARTS[name](given.quick, home)
        machine[f"load, {name}"] = f"{before:.1f} before, {os.getloadavg()[0]:.1f} after, this program's own included"
    missed = [figure for figure in figures if not figure.met]
    faults = [figure for figure in missed if figure.always or not given.quick]
    if given.json:
        print(as_json(figures, quick=given.quick, faults=[str(figure) for figure in faults], facts=machine))
    else:
        show(figures, machine)
    for figure in missed:
        print(f"{'missed' if figure in faults else 'missed, on a machine that may be busy'}: {figure}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(status_of(main))

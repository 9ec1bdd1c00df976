"""A real vLLM on the processor with a real, very small model: one server for all tests of a run.

    @pytest.mark.vllm
    def test_…(vllm_server: VLLMServer) -> None:

vLLM and the model are put into the user's cache folder by the first run that needs them. Where they cannot be had, the
tests are skipped; VLLM_REQUIRED makes that a failure.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import platformdirs
import pytest

from mentalize.vllm import leash

ROOT = Path(__file__).parent.parent
PROGRAM = (sys.executable, "-m", "mentalize")
MODEL = "SmolLM2-135M"
_START_SECONDS = 240.0
_STOP_SECONDS = 70.0


@dataclass(frozen=True)
class VLLMServer:
    """What `mentalize vllm serve` serves."""

    base_url: str
    model: str
    """The name that clients call it by."""
    process: subprocess.Popen[bytes]
    """`mentalize vllm serve`, on a leash."""
    errors: Path
    """What it wrote on stderr."""
    cache: Path

    @property
    def model_string(self) -> str:
        """For mentalize's settings."""
        return f"hosted_vllm/{self.model}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def said(path: Path, pattern: str, process: subprocess.Popen[bytes], seconds: float, count: int = 1) -> list[str]:
    """What a process wrote that fits a pattern, once it has been written so often."""
    end = time.monotonic() + seconds
    while len(found := re.findall(pattern, path.read_text(encoding="utf-8", errors="replace"))) < count:
        text = path.with_suffix(".err").read_text(encoding="utf-8", errors="replace")
        assert process.poll() is None, f"`mentalize vllm serve` ended with {process.returncode}:\n{text}"
        assert time.monotonic() < end, f"{pattern!r} was not said within {seconds} s:\n{text}"
        time.sleep(0.1)
    return found


def group_of(engine: str, below: int) -> list[int]:
    """The processes below another one whose name has a word in it, by Linux's process table."""
    found: list[int] = []
    for line in subprocess.check_output(["ps", "-eo", "pid=,ppid=,args="], text=True).splitlines():
        pid, parent, name = line.split(None, 2)
        if int(parent) == below:
            found += [int(pid)] if engine in name else []
            found += group_of(engine, int(pid))
    return found


@pytest.fixture(scope="session")
def vllm_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VLLMServer]:
    """SmolLM2-135M behind `mentalize vllm serve`, stopped at the end."""
    cache = platformdirs.user_cache_path("mentalize", appauthor=False)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MENTALIZE_")}
    try:
        python = _install(environment, cache)
    except subprocess.CalledProcessError as error:
        if os.environ.get("VLLM_REQUIRED"):
            raise
        pytest.skip(f"vLLM or its model cannot be had: {error}")
    folder = tmp_path_factory.mktemp("vllm")
    output, errors = folder / "serve.out", folder / "serve.err"
    with output.open("wb") as out, errors.open("wb") as err:
        command = [*PROGRAM, "vllm", "serve", str(cache / "vllm" / MODEL), "--python", str(python), "--context", "4096"]
        command += ["--port", str(free_port())]
        # On a leash, so that it does not outlive tests that are killed.
        process = subprocess.Popen(
            [sys.executable, leash.__file__, "60", *command, "--", "--enforce-eager", "--max-num-seqs", "8"],
            stdout=out, stderr=err, stdin=subprocess.PIPE, env=environment, cwd=folder,
        )  # fmt: skip
    try:
        [base_url] = said(output, r"mentalize chat .*--base-url (\S+)", process, _START_SECONDS)
        yield VLLMServer(base_url, MODEL, process, errors, cache)
    finally:
        process.communicate(timeout=_STOP_SECONDS)


def _install(environment: dict[str, str], cache: Path) -> Path:
    """The Python with vLLM, and beside it the model; both made if they are not there."""
    with tempfile.TemporaryDirectory() as elsewhere:
        installing = [*PROGRAM, "vllm", "install", "--cpu"]
        subprocess.run(installing, check=True, env=environment, cwd=elsewhere, stdin=subprocess.DEVNULL)
    from mentalize.vllm.environment import CPU, default_folder, python_of

    python = python_of(default_folder(cache, CPU))
    subprocess.run([str(python), str(ROOT / "scripts" / "smollm2.py"), str(cache / "vllm" / MODEL)], check=True)
    return python

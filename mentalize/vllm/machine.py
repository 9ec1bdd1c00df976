"""The machine: its GPUs, processors and memory, as far as they decide whether and how vLLM can run on it."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Gpu", "Machine", "examine"]

_NVIDIA_SECONDS = 20.0
_LEAST_MEGABYTES = 4_000
"""Below this a start on a processor is not tried: vLLM itself, a small model, and 1 GB for its cache."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One NVIDIA GPU."""

    name: str
    megabytes: int
    free_megabytes: int
    capability: float
    """CUDA's compute capability, such as 8.0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What was found."""

    system: str
    processor: str
    gpus: tuple[Gpu, ...]
    gpu_problem: str
    """Why there is no GPU in `gpus`."""
    cores: tuple[int, ...]
    """Numbers of the processor cores that this process may use."""
    features: frozenset[str]
    """The processor's, as Linux names them."""
    megabytes: int
    """Memory that can still be taken."""

    @property
    def obstacle(self) -> str:
        """Why vLLM cannot run here; empty, if it can."""
        if self.system != "Linux":
            return f"vLLM runs on Linux, and this is {self.system or 'another system'}"
        if self.gpus:
            return ""
        if self.processor == "x86_64" and not self.features & {"avx2", "avx512f"}:
            return f"{self.gpu_problem}, and the processor has neither AVX-512 nor AVX2"
        if self.megabytes < _LEAST_MEGABYTES:
            needed = f"{_LEAST_MEGABYTES:,} MB are needed on a processor"
            return f"{self.gpu_problem}, and {self.megabytes:,} MB of memory are free, where {needed}"
        return ""

    @property
    def description(self) -> str:
        """What vLLM would run on."""
        if self.gpus:
            return ", ".join(f"{gpu.name} ({gpu.free_megabytes:,} of {gpu.megabytes:,} MB free)" for gpu in self.gpus)
        vectors = "AVX-512" if "avx512f" in self.features else "AVX2" if "avx2" in self.features else self.processor
        cores = f"{len(self.cores)} core{'s' if len(self.cores) != 1 else ''}"
        return f"{cores} with {vectors}, {self.megabytes:,} MB free; {self.gpu_problem}"


def examine() -> Machine:
    """Look at this machine. Asks `nvidia-smi`, which can take a second."""
    gpus, problem = _gpus()
    return Machine(
        system=platform.system(),
        processor=platform.machine(),
        gpus=gpus,
        gpu_problem=problem,
        cores=_cores(),
        features=_features(),
        megabytes=_megabytes(),
    )


def _gpus() -> tuple[tuple[Gpu, ...], str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return (), "no NVIDIA GPU (there is no nvidia-smi)"
    columns = "name,memory.total,memory.free,compute_cap"
    command = [program, f"--query-gpu={columns}", "--format=csv,noheader,nounits"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=_NVIDIA_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return (), f"nvidia-smi does not answer ({type(error).__name__})"
    gpus = tuple(gpu for line in asked.stdout.splitlines() if (gpu := _gpu(line)))
    if asked.returncode or not gpus:
        said = (asked.stderr or asked.stdout).strip().splitlines()
        return (), f"nvidia-smi finds no GPU ({said[0] if said else f'exit code {asked.returncode}'})"
    return _visible(gpus), "CUDA_VISIBLE_DEVICES hides every GPU"


def _gpu(line: str) -> Gpu | None:
    cells = [cell.strip() for cell in line.rsplit(",", 3)]
    try:
        name, total, free, capability = cells
        return Gpu(name, int(total), int(free), float(capability))
    except ValueError:
        return None


def _visible(gpus: tuple[Gpu, ...]) -> tuple[Gpu, ...]:
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return gpus
    names = [name.strip() for name in chosen.split(",") if name.strip() not in {"", "-1"}]
    if all(name.isdigit() for name in names):
        return tuple(gpus[int(name)] for name in names if int(name) < len(gpus))
    return gpus[: len(names)]


def _cores() -> tuple[int, ...]:
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def _features() -> frozenset[str]:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, values = line.partition(":")
            if name.strip() in {"flags", "Features"}:
                return frozenset(values.split())
    return frozenset()


def _megabytes() -> int:
    free = _available()
    # In a container, the group's limit counts and not the machine's memory.
    with contextlib.suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text(encoding="utf-8"))
        return min(free, max(0, limit - int((group / "memory.current").read_text(encoding="utf-8"))) // 1_000_000)
    return free


def _available() -> int:
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024 // 1_000_000
    return 0

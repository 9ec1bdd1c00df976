"""The checkout's own virtual environment, made by the standard library and filled from the hashed locks.

`try.py` and `test.py` call `prepare`, which returns at once when nothing has changed since the last time.
Run this file itself to prepare everything that developing needs: `python3.11 scripts/environment.py`.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 (newcomers start this with the Python they have)
    sys.exit(
        f"mentalize needs Python 3.11 or newer, and this is {sys.version.split()[0]}.\n"
        f"Install a newer one, then: python3.11 {' '.join(sys.argv)}"
    )

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "requirements"
VENV = ROOT / ".venv"
PROGRAMS = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = PROGRAMS / ("python.exe" if os.name == "nt" else "python")
RECORD = VENV / "mentalize.json"
"""What was installed from which lock, and what was being installed if that was interrupted."""

PURPOSES = {
    "run": "mentalize, its embedded model (1.1 GB of weights) and the client for hosted models",
    "test": "mentalize and what its tests and checks need",
}
FOREIGN = ("PYTHONHOME", "PYTHONPATH", "PIP_PREFIX", "PIP_TARGET", "PIP_USER", "UV_SYSTEM_PYTHON", "VIRTUAL_ENV")
"""Variables of the caller's that would send packages elsewhere or bring others in."""


class SetupError(Exception):
    """Setting up cannot go on; the message says why and what to do next."""


def prepare(*locks: str) -> None:
    """Make sure that the environment works and holds everything that the named locks list.

    Raises:
        SetupError: when it cannot be made or filled.
    """
    record = _read_record()
    if not _works() or record.get("unfinished") or record.get("root", str(ROOT)) != str(ROOT):
        record = _make()
    for lock in locks:
        if record.get(lock) != _digest(lock):
            _write_record(record | {"unfinished": True})
            _install(lock)
            record |= {"root": str(ROOT), lock: _digest(lock)}
            _write_record(record)


def run(program: str, *arguments: str) -> NoReturn:
    """Run one of the environment's programs in place of this process."""
    command = [str(PROGRAMS / program), *arguments]
    sys.stdout.flush()
    if os.name == "nt":  # exec there gives the shell its prompt back while the program still runs
        sys.exit(subprocess.call(command, env=_variables()))
    os.execve(command[0], command, _variables())


def script(body: Callable[[], None]) -> None:
    """Run `body`; say plainly what went wrong and how to go on, instead of showing a traceback."""
    try:
        body()
    except SetupError as error:
        sys.exit(f"\n{error}")
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from here.", file=sys.stderr)
        sys.exit(130)


# --- the environment --------------------------------------------------------------------------------------


def _works() -> bool:
    try:
        return _answers("import sys; sys.exit(sys.prefix == sys.base_prefix or sys.version_info < (3, 11))")
    except OSError:
        return False


def _make() -> dict[str, Any]:
    for module in ("venv", "ensurepip"):
        if importlib.util.find_spec(module) is None:
            version = f"{sys.version_info[0]}.{sys.version_info[1]}"
            raise SetupError(
                f"This Python cannot make virtual environments: its module {module!r} is missing.\n"
                f"On Debian and Ubuntu: sudo apt install python{version}-venv. Then run the same command again."
            )
    if VENV.is_symlink() or VENV.exists():
        _say("The virtual environment in .venv is broken or half-made: making it anew")
        _remove(VENV)
    else:
        _say("Making a virtual environment in .venv")
    python = getattr(sys, "_base_executable", sys.executable)  # the one running may lie in the folder just removed
    made = subprocess.run([python, "-m", "venv", str(VENV)], env=_variables(), capture_output=True, text=True)
    if made.returncode != 0:
        raise SetupError(f"The virtual environment could not be made:\n{made.stdout}{made.stderr}")
    return {}


def _install(lock: str) -> None:
    _say(f"Installing {PURPOSES[lock]}; this happens once")
    if not _answers("import pip"):
        _call([str(PYTHON), "-m", "ensurepip"], "The environment has no pip and none could be put there.")
    pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "-qq", "install"]
    _call([*pip, *_locked("bootstrap")], "The installer could not be installed. Is the network reachable?")
    uv = [str(PYTHON), "-m", "uv", "pip", "install", "--python", str(PYTHON)]
    progress = [] if sys.stderr.isatty() else ["--quiet"]
    # uv is quick but knows nothing of a mirror that is configured for pip; pip takes the same lock.
    installer = uv if _succeeds([*uv, *progress, *_locked(lock)]) else pip
    if installer is pip:
        _say("uv could not install them: trying pip, which takes some minutes")
        _call([*pip, *_locked(lock)], "The packages could not be installed. Is the network reachable, the disk full?")
    _call(
        [*installer, "--quiet", "--no-deps", "--no-build-isolation", "--editable", str(ROOT)],
        "The packages are there, but mentalize itself could not be installed.",
    )


def _locked(lock: str) -> list[str]:
    return ["--no-deps", "--require-hashes", "--requirement", str(LOCKS / f"{lock}.lock")]


def _digest(lock: str) -> str:
    digest = hashlib.sha256()
    for file in (ROOT / "pyproject.toml", LOCKS / "bootstrap.lock", LOCKS / f"{lock}.lock"):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _read_record() -> dict[str, Any]:
    try:
        record = json.loads(RECORD.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        return {"unfinished": True}
    return record if isinstance(record, dict) else {"unfinished": True}


def _write_record(record: dict[str, Any]) -> None:
    RECORD.write_text(json.dumps(record, indent=1), encoding="utf-8")


# --- commands ---------------------------------------------------------------------------------------------


def _variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in FOREIGN}


def _answers(program: str) -> bool:
    command = [str(PYTHON), "-c", program]
    return subprocess.run(command, env=_variables(), capture_output=True, check=False).returncode == 0


def _succeeds(command: Sequence[str]) -> bool:
    return subprocess.run(command, env=_variables(), check=False).returncode == 0


def _call(command: Sequence[str], failure: str) -> None:
    if not _succeeds(command):
        raise SetupError(f"{failure} What failed: {subprocess.list2cmdline(command)}")


def _remove(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError as error:
        raise SetupError(f"{path} is in the way and cannot be removed ({error}). Remove it yourself.") from error


def _say(text: str) -> None:
    print(f"• {text} …", flush=True)


if __name__ == "__main__":
    script(lambda: prepare(*PURPOSES))

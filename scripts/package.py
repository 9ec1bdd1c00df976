"""Build the wheel and the source distribution, install each into an empty environment, and use it there.

`--extras` also installs each extra by itself, and prints the table of sizes and times of docs/install.md.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from environment import PYTHON, ROOT

MOST = 250 * 1_000_000
"""Bytes that the packages of an install without extras may take."""
EXTRAS = ("memory", "embedded", "server", "hosted", "langchain", "mcp", "postgres", "sentence-transformers", "all")
TOOLS = ("pip", "setuptools", "_distutils_hack", "pkg_resources")
"""What an empty environment has already."""

TURN = """
import asyncio, tempfile
from mentalize import Identity, Mind, ScriptedModel

async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        memory = {"url": f"sqlite:///{folder}/memory.db"}
        async with Mind(model=ScriptedModel("How was it?"), cache_folder=folder, memory=memory) as mind:
            ana = Identity("app", "ana")
            reply = await mind.reply("My exam was today.", ana, effort="minimal")
            assert reply.text == "How was it?", reply
            (hit, *_) = await mind.memory.search(ana, "exam")
            assert hit.memory.text == "My exam was today.", hit

asyncio.run(main())
"""
MISSING = {
    "import mentalize.server.app": "pip install 'mentalize[server]'",
    "import mentalize.middleware.langchain": "pip install 'mentalize[langchain]'",
    "import mentalize.middleware.mcp": "pip install 'mentalize[mcp]'",
    "import mentalize.middleware.litellm": "pip install 'mentalize[server]'",
    "from mentalize import Mind; Mind(model='openai/gpt').sync.reply('Hello there, you.')": (
        "pip install 'mentalize[hosted]'"
    ),
    "from mentalize import Mind; Mind(model='embedded/qwen2.5-coder-1.5b').sync.reply('Hello there, you.')": (
        "pip install 'mentalize[embedded]'"
    ),
}
"""What says, in an install without extras, which line to type."""


def call(*command: str | Path, folder: Path, fails: bool = False) -> str:
    """Run a program outside the checkout; what it said."""
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [*map(str, command)], cwd=folder, env=variables, capture_output=True, text=True, check=False, timeout=300
    )
    if (done.returncode != 0) != fails:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def empty_environment(folder: Path) -> Path:
    """A new environment; its Python."""
    call(sys.executable, "-m", "venv", folder, folder=folder.parent)
    return folder / "bin" / "python"


def install(python: Path, what: str) -> float:
    """Install with pip, as a user would; the seconds that it took."""
    began = time.perf_counter()
    call(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", what, folder=python.parent)
    return time.perf_counter() - began


def size(python: Path) -> int:
    """Bytes of the packages in an environment."""
    (packages,) = python.parent.parent.glob("lib/python*/site-packages")
    counted = [entry for entry in packages.iterdir() if not entry.name.startswith(TOOLS)]
    files = (file for entry in counted for file in ([entry] if entry.is_file() else entry.rglob("*")))
    return sum(file.stat().st_size for file in files if file.is_file())


def build(folder: Path) -> tuple[Path, Path]:
    """The wheel and the source distribution."""
    call(PYTHON, "-m", "uv", "build", "--quiet", "--no-build-isolation", "--out-dir", folder, ROOT, folder=folder)
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, source


def check(python: Path) -> None:
    """One turn, what is typed, and what each missing extra says."""
    call(python, "-c", TURN, folder=python.parent)
    place = call(python, "-c", "import mentalize; print(mentalize.__path__[0])", folder=python.parent).strip()
    if not (Path(place) / "py.typed").exists():
        sys.exit("py.typed is not in the package: type checkers would not look at it.")
    for program, line in MISSING.items():
        said = call(
            python, "-c", f"print({program})" if "error" in program else program, folder=python.parent, fails=True
        )
        if line not in said:
            sys.exit(f"{program!r} does not say {line!r}:\n{said}")
    said = call(python.parent / "mentalize", "serve", folder=python.parent, fails=True)
    if "pip install 'mentalize[server]'" not in said or "Traceback" in said:
        sys.exit(f"`mentalize serve` does not say what to install:\n{said}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--extras", action="store_true", help="install each extra by itself, and print the table")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel, source = build(folder)
        python = empty_environment(folder / "wheel")
        seconds, taken = install(python, str(wheel)), size(python)
        print(f"mentalize: {taken / 1e6:.0f} MB in {seconds:.0f} s with pip")
        check(python)
        other = empty_environment(folder / "source")
        install(other, str(source))
        call(other, "-c", TURN, folder=folder)
        if taken > MOST:
            sys.exit(f"An install without extras takes more than {MOST / 1e6:.0f} MB.")
        for extra in EXTRAS if given.extras else ():
            python = empty_environment(folder / extra)
            seconds = install(python, f"{wheel}[{extra}]")
            print(f"mentalize[{extra}]: {size(python) / 1e6:.0f} MB in {seconds:.0f} s")


if __name__ == "__main__":
    main()

"""Resolve pyproject.toml into the hashed locks of `requirements/`: `.venv/bin/python scripts/lock.py`.

`bootstrap.lock` is what installs the rest, `run.lock` what the embedded and hosted models need, `test.lock` what
developing needs. All three agree on every version, so that any of them can be installed beside any other.
"""

import subprocess
import sys

from environment import LOCKS, ROOT

COMMON = (
    "--generate-hashes",
    "--universal",
    "--python-version=3.11",
    "--no-emit-index-url",
    "--no-header",
    "--no-annotate",
    "--quiet",
)


def compile_lock(name: str, *sources: str, constraints: tuple[str, ...], upgrade: bool) -> None:
    command = [sys.executable, "-m", "uv", "pip", "compile", *sources, *COMMON, f"--output-file={name}.lock"]
    command += [f"--constraints={constraint}" for constraint in constraints]
    if upgrade:
        command.append("--upgrade")
    subprocess.run(command, cwd=LOCKS, check=True)
    print(f"{(LOCKS / name).relative_to(ROOT)}.lock")


def _extras(*names: str) -> list[str]:
    return [f"--extra={name}" for name in names]


def main() -> None:
    upgrade = "--upgrade" in sys.argv[1:]
    pins = ("pins.in",)
    project = "../pyproject.toml"
    tried = _extras("hosted", "memory", "plots", "server")
    tested = _extras("dev", "langchain", "mcp", "multilingual", "postgres", "redis")
    compile_lock("test", project, *tried, *tested, constraints=pins, upgrade=upgrade)
    compile_lock("run", project, *tried, *_extras("embedded"), constraints=(*pins, "test.lock"), upgrade=upgrade)
    compile_lock("bootstrap", "bootstrap.in", constraints=(*pins, "test.lock"), upgrade=upgrade)


if __name__ == "__main__":
    main()

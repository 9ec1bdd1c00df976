"""Set up and run the tests: `python3.11 scripts/test.py`, with any arguments of pytest's after it.

`-m local_model` runs what needs the embedded model, and fetches its weights first; `-m vllm` what needs vLLM, and
installs that first.
"""

import os
import subprocess
import sys

from environment import PROGRAMS, ROOT, prepare, run, script


def main() -> None:
    needs_weights = any("local_model" in word for word in sys.argv[1:])
    prepare("test", *(["run"] if needs_weights else []))
    os.chdir(ROOT)
    if any("vllm" in word.split() for word in sys.argv[1:]):
        # The tests do so, too, but show nothing of it while they do. What fails here is told by them.
        subprocess.run([str(PROGRAMS / "mentalize"), "vllm", "install", "--cpu"], check=False)
    # All of the tests run on every processor; those chosen by arguments run as pytest would run them.
    run("pytest", *(sys.argv[1:] or ["--numprocesses=auto"]))


if __name__ == "__main__":
    script(main)

"""Set up and run the tests: `python3.11 scripts/test.py`, with any arguments of pytest's after it.

`-m local_model` runs what needs the embedded model, and fetches its weights first.
"""

import os
import sys

from environment import ROOT, prepare, run, script


def main() -> None:
    needs_weights = any("local_model" in word for word in sys.argv[1:])
    prepare("test", *(["run"] if needs_weights else []))
    os.chdir(ROOT)
    # All of the tests run on every processor; those chosen by arguments run as pytest would run them.
    run("pytest", *(sys.argv[1:] or ["--numprocesses=auto"]))


if __name__ == "__main__":
    script(main)

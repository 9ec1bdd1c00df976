"""Set up and ask the embedded model: `python3.11 scripts/try.py`, or with words of your own after it.

Everything goes into `.venv` of this checkout. Options of `mentalize ask` go through `.venv/bin/mentalize`.
"""

import sys

from environment import prepare, run, script

MESSAGE = "I'm fine. Go without me, really."


def main() -> None:
    words = sys.argv[1:]
    if words in (["-h"], ["--help"]):
        print(__doc__)
        return
    prepare("run")
    run("mentalize", "ask", "--why", "--", " ".join(words) or MESSAGE)


if __name__ == "__main__":
    script(main)

"""A leash: run as a program, it runs a command that must not outlive whoever started it.

    python leash.py SECONDS COMMAND [ARGUMENT …]

The command ends when the leash's standard input does, which happens when the one who holds its other end closes it or
dies in whatever way: SIGTERM to the whole process group, and SIGKILL to what is left after so many seconds. The leash
must lead a session of its own. It exits as the command does, 128 + N for signal N. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from types import FrameType


def main() -> int:
    """Run the command; returns its exit code."""
    seconds, command = float(sys.argv[1]), sys.argv[2:]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A handler and not SIG_IGN, which the command would inherit.
        signal.signal(number, _stay)
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        return 127
    threading.Thread(target=_let_go, args=(child, seconds), daemon=True).start()
    code = child.wait()
    return code if code >= 0 else 128 - code


def _stay(_: int, __: FrameType | None) -> None:
    pass


def _let_go(child: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait for the end of standard input, then end the group, this process with it."""
    while os.read(0, 4096):
        pass
    group = os.getpgrp()
    os.killpg(group, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(seconds)
    os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())

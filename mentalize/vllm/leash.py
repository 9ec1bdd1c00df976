"""A leash: run as a program, it runs a command that must not outlive whoever started it.

    python leash.py SECONDS COMMAND [ARGUMENT …]

The command ends when the leash's standard input does, which happens when the one who holds its other end closes it or
dies in whatever way: SIGTERM to the command's process group, and SIGKILL to what is left after so many seconds. What a
command leaves of its group when it ends by itself is killed, too. The leash exits as the command does, 128 + N for
signal N. Standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from types import FrameType

_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Run the command; returns its exit code."""
    seconds, command = float(sys.argv[1]), sys.argv[2:]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A handler and not SIG_IGN, which the command would inherit.
        signal.signal(number, _stay)
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0, preexec_fn=_die_with_parent)
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        return 127
    threading.Thread(target=_let_go, args=(child, seconds), daemon=True).start()
    code = child.wait()
    # What is left would keep the memory of the GPU.
    _signal(child, signal.SIGKILL)
    return code if code >= 0 else 128 - code


def _die_with_parent() -> None:
    """Should the leash itself be killed, Linux ends the command."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _stay(_: int, __: FrameType | None) -> None:
    pass


def _let_go(child: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait for the end of standard input, then end the command, which lets `main` go on."""
    while os.read(0, 4096):
        pass
    _signal(child, signal.SIGTERM)
    time.sleep(seconds)
    _signal(child, signal.SIGKILL)


def _signal(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


if __name__ == "__main__":
    sys.exit(main())

"""What every test gets: no settings or keys of the machine it runs on, and no way to any address but loopback."""

import ipaddress
import os
import sys
from collections import Counter
from pathlib import Path

import pytest

for name, value in {"HF_HUB_OFFLINE": "1", "LANGSMITH_TRACING": "false", "OMP_WAIT_POLICY": "PASSIVE"}.items():
    os.environ.setdefault(name, value)

STAGES = {
    "local_model": "need the embedded model's weights (1.1 GB)",
    "fuzz": "try many random inputs and take minutes",
    "browser": "need a browser",
    "postgres": "need a PostgreSQL server",
}
_left_out: Counter[str] = Counter()


def _refuse_other_hosts(event: str, arguments: tuple[object, ...]) -> None:
    if event != "socket.connect" or not isinstance(address := arguments[1], tuple):
        return
    host = str(address[0]).partition("%")[0]
    if host not in ("localhost", "") and not ipaddress.ip_address(host).is_loopback:
        raise PermissionError(f"A test tried to connect to {address}; tests speak to loopback only.")


sys.addaudithook(_refuse_other_hosts)


@pytest.fixture(autouse=True)
def _own_environment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither settings nor keys of this machine; folders of its own for all but the embedded model's weights."""
    for name in list(os.environ):
        if name.upper().startswith("MENTALIZE_") or name.upper().endswith("_API_KEY"):
            monkeypatch.delenv(name)
    folders = {"XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"}
    if request.node.get_closest_marker("local_model") is None:
        folders.add("XDG_CACHE_HOME")
    for folder in folders:
        monkeypatch.setenv(folder, str(tmp_path / folder.lower()))


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Count what the default selection leaves out."""
    for item in items:
        _left_out.update(stage for stage in STAGES if item.get_closest_marker(stage))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was left out, and how to run it."""
    chosen = str(config.getoption("markexpr"))
    for stage, count in _left_out.items():
        if f"not {stage}" in chosen:
            terminalreporter.write_line(
                f"left out: {count} tests that {STAGES[stage]}; to run them: python3.11 scripts/test.py -m {stage}"
            )

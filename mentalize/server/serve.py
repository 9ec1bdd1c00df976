"""Serve: one process or several behind one port, from settings that were checked first."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any

from uvicorn import Config, Server
from uvicorn.supervisors import Multiprocess

from .. import logs
from ..errors import SettingsError
from ..settings import Settings
from .callers import is_loopback
from .metrics import FOLDER_VARIABLE, mark_dead

if TYPE_CHECKING:
    from .ingress import Application

KEEP_ALIVE_SECONDS = 75
"""How long an idle connection stays; longer than clients keep theirs, so that none is cut under a request."""

_BACKLOG = 2_048


def check(settings: Settings, *, keys: bool) -> None:
    """See whether a server with these settings would be safe and correct.

    Args:
        settings: All settings.
        keys: Whether there is an API key that holds.

    Raises:
        SettingsError: strangers could call without a key, or several processes would get in each other's way.
    """
    chosen = settings.server
    if not keys and not is_loopback(chosen.host):
        raise SettingsError(
            f"Whoever reaches {chosen.host} could use this server: there is no API key yet.",
            hint="Make one with `mentalize keys create --tenant NAME`, or listen on 127.0.0.1.",
        )
    if chosen.workers > 1 and (problem := _in_each_others_way(settings)):
        raise SettingsError(f"{chosen.workers} processes cannot share {problem}", hint="Or take one: server.workers=1.")


def _in_each_others_way(settings: Settings) -> str:
    """What several processes cannot share, and what to take instead; empty if there is nothing."""
    memory = settings.memory
    if not memory.database_url.startswith("postgres"):
        return "a SQLite file: set memory.url to a PostgreSQL database."
    if not memory.index_place.startswith(("http://", "https://")):
        return "an embedded vector index: set memory.index to the URL of a Chroma server."
    if any(settings.binding(role).model.startswith("embedded") for role in ("reason", "judge", "write")):
        return "the embedded model, which each would load for itself: set model to one on a server."
    if sys.platform == "win32":
        return "a port on Windows."
    return ""


def bind(settings: Settings) -> socket.socket:
    """The socket to serve on, listening.

    Raises:
        SettingsError: the address cannot be had.
    """
    host, port = settings.server.host, settings.server.port
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        bound = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise SettingsError(
            f"{host}:{port} cannot be listened on: {error.strerror or error}.",
            hint="Choose another port with --port, or stop what listens there.",
        ) from error
    bound.set_inheritable(True)
    return bound


def serve(settings: Settings, bound: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM; then turns may end, and what was said is written down."""
    chosen = settings.server
    _open_as_many_files_as_allowed()
    config = Config(
        app=partial(application, settings),
        factory=True,
        http="mentalize.server.protocol:PunctualProtocol",
        ws="none",
        lifespan="on",
        workers=chosen.workers,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(1, round(chosen.shutdown_seconds)),
    )
    if chosen.workers == 1:
        _Server(config).run(sockets=[bound])
        return
    with _counted_together():
        _Workers(config, [bound]).run()


def _open_as_many_files_as_allowed() -> None:
    """A stream takes two sockets, and shells allow a thousand by default."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def application(settings: Settings) -> Application:
    """The application of one process, with a `Mind` of its own, which is opened and closed with it."""
    from ..mind import Mind
    from .app import create

    logs.configure(settings)
    return create(Mind(settings), owned=True)


class _Server(Server):
    """One process. It says that it has heard."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self.should_exit:
            sys.stderr.write("Stopping: turns in work may end first. Ctrl-C again stops at once.\n")
        super().handle_exit(sig, frame)


class _Workers(Multiprocess):
    """Several processes. What one that died was doing is not counted any more."""

    def keep_subprocess_alive(self) -> None:
        before = {process.pid for process in self.processes}
        super().keep_subprocess_alive()
        for gone in before - {process.pid for process in self.processes}:
            if gone is not None:
                mark_dead(gone)


@contextmanager
def _counted_together() -> Generator[None]:
    """A folder in which all processes put their counts."""
    if FOLDER_VARIABLE in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="mentalize-metrics-") as folder:
        os.environ[FOLDER_VARIABLE] = folder
        try:
            yield
        finally:
            del os.environ[FOLDER_VARIABLE]


def address_of(bound: socket.socket) -> tuple[str, int]:
    """Host and port of a socket."""
    host, port, *_ = tuple[Any, ...](bound.getsockname())
    return str(host), int(port)

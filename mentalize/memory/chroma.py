"""Chroma: approximate search among the many vectors of one person. Whatever is in it can be made again from SQL.

A person with many vectors has a collection of their own: a filter in a shared collection would cost the more, the more
people there are, and a collection for everybody costs memory and files. Collections hold ids and vectors, never texts.

An embedded Chroma is not safe across processes, so a folder has one owner: the process that holds its lock. The others
compare exactly. A server is shared by all.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import threading
import uuid
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import urlopen

from ..errors import MissingExtra, StoreUnavailable
from ..extras import need

if TYPE_CHECKING:
    import numpy as np
    from filelock import BaseFileLock
    from numpy.typing import NDArray

    from .store import Vectors

Progress = Callable[[int, int], None]

_BATCH = 1_000
_GENERATION = "chroma-"
_SERVER_SECONDS = 10.0
_CONFIGURATION = {"hnsw": {"space": "ip", "ef_construction": 100, "ef_search": 200, "max_neighbors": 16}}
"""Vectors have length 1, so the inner product is the cosine."""
_VERSION = "version"
_PREFIX = "mentalize-"


class ChromaFailed(StoreUnavailable):
    """Chroma, and not the database. Nobody but the index sees it: there is another way to compare."""


class Stopped(Exception):
    """The work was given up because the index is being closed."""


@dataclass(frozen=True, slots=True)
class Collection:
    """One person's vectors in Chroma, up to a version of the person.

    Raises, from every method:
        ChromaFailed: Chroma failed, or the collection is gone.
    """

    name: str
    version: int
    _handle: Any

    def nearest(self, vector: NDArray[np.float32], limit: int) -> list[tuple[str, float]]:
        """Ids and cosines, about the nearest, the nearest first."""
        if limit <= 0:
            return []
        with _translated():
            found = self._handle.query(query_embeddings=[vector], n_results=limit, include=["distances"])
        return [(key, 1.0 - float(far)) for key, far in zip(found["ids"][0], found["distances"][0], strict=True)]

    def vectors(self, ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """The vectors of those of `ids` that are in it."""
        if not ids:
            return {}
        with _translated():
            found = self._handle.get(ids=list(ids), include=["embeddings"])
        return dict(zip(found["ids"], found["embeddings"], strict=True))

    def ids(self) -> tuple[str, ...]:
        """All of them."""
        with _translated():
            return tuple(self._handle.get(include=[])["ids"])

    def take(self, changes: Vectors) -> Collection:
        """Write and delete what changed, and note the version at the end. Returns the collection at that version."""
        if changes.deleted:
            with _translated():
                self._handle.delete(ids=list(changes.deleted))
        _write(self._handle, changes, lambda: False, None)
        return Collection(self.name, changes.version, self._handle)


class Chroma:
    """A folder of our own, or a server.

    Args:
        place: The folder, or the address of a server that begins with `http`.
    """

    def __init__(self, place: str) -> None:
        self._address = place if place.startswith(("http://", "https://")) else None
        self._folder = Path(place).expanduser()
        self._client: Any = None
        self._path: Path | None = None
        self._owned: BaseFileLock | None = None
        self._lock = threading.RLock()

    @property
    def shared(self) -> bool:
        """Whether other processes write to it, too."""
        return self._address is not None

    @property
    def used(self) -> bool:
        """Whether it may hold anything. Opens nothing."""
        return self.shared or any(self._folder.glob(f"{_GENERATION}*"))

    @property
    def is_open(self) -> bool:
        """Whether it is in use from here."""
        return self._client is not None

    def open(self) -> bool:
        """Whether it can be used from here: not while another process owns the folder.

        Raises:
            ChromaFailed: it cannot be opened. What is broken in a folder of ours is thrown away first.
        """
        with self._lock:
            if self._client is not None:
                return True
            if self._address is not None:
                self._client = _server(self._address)
            elif self._own():
                self._client = self._embedded()
            return self._client is not None

    def close(self) -> None:
        """Let go of the folder or the connection."""
        with self._lock:
            client, self._client = self._client, None
            owned, self._owned = self._owned, None
            if client is not None:
                with contextlib.suppress(ChromaFailed), _translated():  # it is over either way
                    _close(client)
            if owned is not None:
                owned.release()

    def start_over(self) -> None:
        """Throw away a broken folder; a server is only connected to anew. Collections of before fail from then on."""
        with self._lock:
            owner = self._owned is not None
            path, self._path = self._path, None
            self.close()
            if owner and path is not None and self._own():
                shutil.rmtree(path, ignore_errors=True)

    def names(self) -> tuple[str, ...]:
        """Names of all collections of ours."""
        with _translated():
            return tuple(found.name for found in self._client.list_collections() if found.name.startswith(_PREFIX))

    def find(self, name: str) -> Collection | None:
        """The collection, if it is there and whole."""
        with _translated():
            if not any(found.name == name for found in self._client.list_collections()):
                return None
            handle: Any = self._client.get_collection(name, embedding_function=None)
            metadata: dict[str, Any] = handle.metadata or {}
            version = metadata.get(_VERSION)
        return Collection(name, version, handle) if isinstance(version, int) else None

    def create(
        self, name: str, vectors: Vectors, *, stopped: Callable[[], bool], progress: Progress | None = None
    ) -> Collection:
        """Write a new collection in place of what has that name. Raises Stopped."""
        self.remove(name)
        with _translated():
            handle = self._client.create_collection(name, configuration=_CONFIGURATION, embedding_function=None)
        _write(handle, vectors, stopped, progress)
        return Collection(name, vectors.version, handle)

    def remove(self, name: str) -> int:
        """Delete a collection, its files and what its rows left in Chroma's own database; how many vectors it had."""
        with self._lock, _translated():
            if not any(found.name == name for found in self._client.list_collections()):
                return 0
            count: int = self._client.get_collection(name, embedding_function=None).count()
            self._client.delete_collection(name)
            if self._path is not None:
                _purge(self._path)
            return count

    def _own(self) -> bool:
        from filelock import FileLock, Timeout

        if self._owned is None:
            lock = FileLock(self._folder / "owner.lock", thread_local=False)
            try:
                self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                lock.acquire(timeout=0)
            except Timeout:
                return False
            except OSError as error:
                raise ChromaFailed(
                    f"The index folder {self._folder} cannot be written: {error.strerror}.",
                    hint="Set memory.index to a folder that can be.",
                ) from error
            self._owned = lock
        return True

    def _embedded(self) -> Any:
        """A client in our folder. Each new beginning has a folder of its own: Chroma keeps the old one's files open."""
        *older, newest = sorted(self._folder.glob(f"{_GENERATION}*"), key=_age) or [self._new_path()]
        for path in older:
            shutil.rmtree(path, ignore_errors=True)
        try:
            client = _persistent(newest)
        except ChromaFailed:
            shutil.rmtree(newest, ignore_errors=True)
            newest = self._new_path()
            client = _persistent(newest)
        self._path = newest
        return client

    def _new_path(self) -> Path:
        return self._folder / f"{_GENERATION}{uuid.uuid4().hex[:8]}"


def names_of_database(database: str) -> str:
    """How the names of all collections of a database begin."""
    return f"{_PREFIX}{_digest(database)}-"


def names_of_person(database: str, person: int) -> str:
    """How the names of a person's collections begin, whatever the embedder. They say nothing about the person."""
    return f"{names_of_database(database)}{_digest(f'{database} {person}')}-"


def collection_name(database: str, person: int, embedder: str) -> str:
    """The name of a person's collection; other databases and embedders have other ones."""
    return names_of_person(database, person) + _digest(embedder)


def _digest(text: str) -> str:
    from hashlib import blake2b

    return blake2b(text.encode(), digest_size=10).hexdigest()


def _age(path: Path) -> float:
    return path.stat().st_mtime


def _library() -> Any:
    """Chroma, imported when it is first used.

    Raises:
        StoreUnavailable: it is not installed.
    """
    try:
        need("memory", "Finding memories by their meaning")
    except MissingExtra as error:
        raise StoreUnavailable(error.message, hint=error.hint) from error
    return import_module("chromadb")


def _persistent(path: Path) -> Any:
    chromadb = _library()
    path.mkdir(mode=0o700, exist_ok=True)
    with _translated():
        client = chromadb.PersistentClient(str(path), settings=chromadb.config.Settings(anonymized_telemetry=False))
        client.list_collections()
        return client


def _server(address: str) -> Any:
    chromadb = _library()
    parts = urlsplit(address)
    secure = parts.scheme == "https"
    with _translated():
        # Chroma's client waits for its server for ever, from its first question on; a turn does not.
        with urlopen(f"{address.rstrip('/')}/api/v2/heartbeat", timeout=_SERVER_SECONDS):
            pass
        client: Any = chromadb.HttpClient(
            host=parts.hostname or "",
            port=parts.port or (443 if secure else 80),
            ssl=secure,
            settings=chromadb.config.Settings(anonymized_telemetry=False),
        )
        client._server._session.timeout = _SERVER_SECONDS
        return client


def _close(client: Any) -> None:
    """Chroma's own `close` leaves its connections to a server open."""
    parts = (client, client._admin_client)
    sessions = [getattr(part._server, "_session", None) for part in parts]
    client.close()
    for session in sessions:
        if session is not None:
            session.close()


def _write(handle: Any, vectors: Vectors, stopped: Callable[[], bool], progress: Progress | None) -> None:
    for start in range(0, len(vectors.ids), _BATCH):
        if stopped():
            raise Stopped
        end = min(start + _BATCH, len(vectors.ids))
        with _translated():
            handle.upsert(ids=list(vectors.ids[start:end]), embeddings=vectors.matrix[start:end])
        if progress is not None:
            progress(end, len(vectors.ids))
    with _translated():
        handle.modify(metadata={_VERSION: vectors.version})


def _purge(path: Path) -> None:
    """Remove the files of collections that are deleted, and the bytes of their rows."""
    database = sqlite3.connect(path / "chroma.sqlite3", isolation_level=None, timeout=10)
    try:
        living = {str(row[0]) for row in database.execute("SELECT id FROM segments")}
        database.execute("VACUUM")
    finally:
        database.close()
    for folder in path.iterdir():
        if folder.is_dir() and folder.name not in living:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _translated() -> Generator[None]:
    """Raise ChromaFailed for whatever Chroma raises; its engine's panics are no `Exception`."""
    try:
        yield
    except ChromaFailed:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        said = " ".join(str(error).split())[:300]
        raise ChromaFailed(
            f"The vector index failed: {said or type(error).__name__}.",
            hint="Vectors are compared one by one until it is made again: mentalize memory rebuild-index.",
        ) from error

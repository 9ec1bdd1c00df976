"""SentenceTransformerEmbedder: any sentence-transformers model on this machine (extra `sentence-transformers`)."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Generator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import EmbedderError
from .worker import Worker, no_vectors, patient_threads

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PREFIX = "sentence-transformers/"
_LONGEST = 32_768
"""Characters that are cut into tokens; the model's own limit then decides what it reads."""
_PARTS = frozenset({".bin", ".json", ".model", ".safetensors", ".spm", ".txt", ".vocab"})
"""What a model is made of, and not what is said about it."""
_WHOLE = 1 << 20
"""Bytes of a file that is read whole for the fingerprint."""
_SAMPLES, _SAMPLE_BYTES = 64, 1 << 14
_INSTALL = "Run: pip install 'mentalize[sentence-transformers]'"


class SentenceTransformerEmbedder:
    """A model of the sentence-transformers library, by the folder that it is in or by its name on the hub.

    Nothing is ever fetched: a name means what the hub's cache on this machine holds. Questions are embedded with the
    model's own prompt for queries where it has one. No code that comes with a model is run.

    Args:
        model: A folder, written as a path (`/models/e5`, `./e5`, `~/e5`), or a name such as `BAAI/bge-m3`; a name
            without a slash belongs to `sentence-transformers`.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._worker = Worker(self._load, longest=_LONGEST)
        self._dimensions = 0

    @property
    def name(self) -> str:
        """With a fingerprint of the model's files. Raises EmbedderError if they are not there."""
        return f"{PREFIX}{self._model}@{self._fingerprint}"

    @property
    def dimensions(self) -> int:
        """0 until the first vectors were made."""
        return self._dimensions

    async def embed(self, texts: Sequence[str], *, query: bool = False) -> NDArray[np.float32]:
        if not texts:
            return no_vectors(self.dimensions)
        vectors = await self._worker.embed(texts, query=query)
        self._dimensions = vectors.shape[1]
        return vectors

    async def close(self) -> None:
        await self._worker.close()

    @cached_property
    def _folder(self) -> Path:
        if self._model.startswith(("/", "./", "../", "~")):
            folder = Path(self._model).expanduser()
        else:
            folder = _cached(self._model if "/" in self._model else PREFIX + self._model)
        if not (folder / "config.json").is_file() and not (folder / "modules.json").is_file():
            raise EmbedderError(
                f"There is no sentence-transformers model in {folder}.",
                hint="Give a folder that holds modules.json or config.json, as `SentenceTransformer.save` writes it.",
            )
        return folder

    @cached_property
    def _fingerprint(self) -> str:
        return _fingerprint(self._folder)

    def _load(self) -> _Sentences:
        return _Sentences(self._folder)


class _Sentences:
    """The model in memory."""

    def __init__(self, folder: Path) -> None:
        try:
            with patient_threads():
                library: Any = importlib.import_module("sentence_transformers")
            # Its progress bars would be drawn into the conversation.
            importlib.import_module("transformers.utils.logging").disable_progress_bar()
        except ImportError as error:
            raise EmbedderError("sentence-transformers is not installed.", hint=_INSTALL) from error
        try:
            self._model: Any = library.SentenceTransformer(str(folder), local_files_only=True)
        except Exception as error:  # a damaged folder can fail in any of the library's parts
            raise EmbedderError(
                f"The sentence-transformers model in {folder} cannot be loaded: {error}.",
                hint="Is it whole? Fetch or save it again.",
            ) from error

    def __call__(self, texts: Sequence[str], *, query: bool) -> NDArray[np.float32]:
        encode = self._model.encode_query if query else self._model.encode_document
        try:
            return encode(list(texts), convert_to_numpy=True, show_progress_bar=False)
        except Exception as error:  # PyTorch's errors share no class
            raise EmbedderError(
                f"The sentence-transformers model failed: {error}.", hint="Is the memory full? Try a smaller model."
            ) from error


def _cached(name: str) -> Path:
    """The folder of a model in the hub's cache on this machine."""
    try:
        hub: Any = importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise EmbedderError("sentence-transformers is not installed.", hint=_INSTALL) from error
    try:
        return Path(hub.snapshot_download(name, local_files_only=True))
    except Exception as error:  # a name that is no name and one that is not there are different errors
        raise EmbedderError(
            f"The model {name} is not on this machine.",
            hint=f"Fetch it with `hf download {name}`, or give the path of its folder.",
        ) from error


def _fingerprint(folder: Path) -> str:
    """A digest of the model's files.

    Of a large file, its length and 64 samples are read: training changes a model's weights everywhere.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in _PARTS and path.is_file():
            digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
            for sample in _samples(path):
                digest.update(sample)
    return digest.hexdigest()[:12]


def _samples(path: Path) -> Generator[bytes]:
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= _WHOLE:
            yield file.read()
            return
        for start in range(0, size, size // _SAMPLES):
            file.seek(start)
            yield file.read(_SAMPLE_BYTES)

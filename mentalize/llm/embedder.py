"""From an embedder's name to the embedder."""

from __future__ import annotations

import difflib

from ..errors import EmbedderError
from ..types import Embedder
from .embedders.hashing import HashingEmbedder
from .embedders.hosted import LiteLLMEmbedder
from .embedders.minilm import MiniLMEmbedder
from .embedders.multilingual import MultilingualEmbedder
from .embedders.sentence_transformer import PREFIX, SentenceTransformerEmbedder

__all__ = ["resolve_embedder"]

_IN_THIS_PROCESS = {"minilm": MiniLMEmbedder, "multilingual": MultilingualEmbedder, "fake": HashingEmbedder}
_EXAMPLES = {
    "minilm": "English, in this process",
    "multilingual": "many languages, in this process",
    "sentence-transformers/NAME": "a model of that library on this machine, by name or path",
    "openai/text-embedding-3-small": "a hosted model, by LiteLLM's string",
    "fake": "instant, for tests",
}


def resolve_embedder(name: str, *, api_key: str | None = None, base_url: str | None = None) -> Embedder:
    """The embedder that a name means. Nothing is imported, opened or asked here.

    Args:
        name: `minilm`, `multilingual`, `fake`, `sentence-transformers/NAME`, or a LiteLLM model string.
        api_key: a hosted model's key; else the variable that LiteLLM names for the provider.
        base_url: a hosted model's address; else the provider's own.

    Raises:
        EmbedderError: the name means no embedder.
    """
    name = name.strip()
    if name in _IN_THIS_PROCESS:
        return _IN_THIS_PROCESS[name]()
    rest = name.partition("/")[2]
    if not rest.strip():
        raise _not_found(name)
    if name.startswith(PREFIX):
        return SentenceTransformerEmbedder(rest)
    return LiteLLMEmbedder(name, api_key=api_key, api_base=base_url)


def _not_found(name: str) -> EmbedderError:
    near = difflib.get_close_matches(name.partition("/")[0], [known.partition("/")[0] for known in _EXAMPLES], 2)
    guess = f"Did you mean {' or '.join(near)}? " if near else ""
    examples = "; ".join(f"{example} ({what})" for example, what in _EXAMPLES.items())
    return EmbedderError(f"{name!r} names no embedder.", hint=f"{guess}Known forms: {examples}.")

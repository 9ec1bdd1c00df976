"""Language: in which language a text is written. Code only, and the model of `py3langid`, which is in that package."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import Any

_LONGEST = 2_000
_NOTHING_TO_GO_BY = -1e30


def language_of(text: str) -> str | None:
    """The language of `text` (ISO 639-1); None where there is too little to tell by."""
    if not any(character.isalpha() for character in text[:_LONGEST]):
        return None
    found, log_probability = _identifier().classify(text[:_LONGEST])
    return str(found) if log_probability > _NOTHING_TO_GO_BY else None


@lru_cache(maxsize=1)
def _identifier() -> Any:
    langid: Any = import_module("py3langid.langid")  # Takes most of a second, and has no types.
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE)

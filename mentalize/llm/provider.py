"""LiteLLM as it is used here: imported late and quietly, its errors told in our words."""

from __future__ import annotations

import difflib
import importlib
import logging
import os
import re
import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ..errors import MalformedAnswer, ModelError, ModelNotFound, ModelRefused, ModelTimeout, ModelUnavailable
from .http import error_of

__all__ = ["Provider", "litellm"]

_LONGEST_MESSAGE = 500
_ORIGIN = re.compile(r"\A(litellm\.)?\w+: (\w+: )*(\w+Exception - )?")
"""What LiteLLM puts before the provider's own words."""
_import_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Provider:
    """Who is asked through LiteLLM, for checks and error messages."""

    model: str
    """LiteLLM's model string, provider first."""
    api_base: str | None = None
    """The provider's address; LiteLLM's own, if not given."""
    api_key: str | None = field(default=None, repr=False)

    @property
    def endpoint(self) -> str:
        """The address, or the provider's name if LiteLLM knows the address."""
        return self.api_base or self.model.partition("/")[0]

    def check(self, litellm: Any) -> None:
        """Raise `ModelNotFound` if LiteLLM knows no such provider."""
        provider = self.model.partition("/")[0]
        known = sorted(str(getattr(entry, "value", entry)) for entry in litellm.provider_list)
        if provider in known:
            return
        near = ", ".join(f"{name}/…" for name in difflib.get_close_matches(provider, known, 3))
        raise ModelNotFound(
            f"LiteLLM knows no provider {provider!r} (in {self.model!r}).",
            hint=f"Did you mean {near}?" if near else "See https://docs.litellm.ai/docs/providers.",
        )

    def speaks_openai(self, litellm: Any) -> bool:
        """Whether it is sent requests in OpenAI's format, where fields that LiteLLM does not know have a place."""
        return self.model.partition("/")[0] in {"openai", "azure", "openrouter", *litellm.openai_compatible_providers}

    @contextmanager
    def translated(self) -> Generator[None]:
        """Raise a `ModelError` for whatever is raised inside."""
        try:
            yield
        except ModelError:
            raise
        except Exception as error:
            raise self._translation(error) from error

    def _translation(self, error: Exception) -> ModelError:
        """Our error for one of LiteLLM's, which are children of the `openai` package's, or anything at all."""
        import openai

        said = self._said(error)
        if isinstance(error, openai.APITimeoutError):
            return ModelTimeout(f"{self.model} did not answer in time.", hint="Try again, or allow it more time.")
        if "LLM Provider NOT provided" in said:
            return ModelNotFound(said, hint="Begin the model string with its provider, as in openai/gpt-4o.")
        if any(isinstance(cause, openai.APIConnectionError) for cause in _causes(error)):
            return ModelUnavailable(f"{self.endpoint} cannot be reached or broke off: {said}", hint="Try again.")
        if any(isinstance(cause, UnicodeEncodeError) for cause in _causes(error)):
            return ModelRefused("The request holds characters that cannot be sent.", hint="Remove lone surrogates.")
        status = getattr(error, "status_code", None)
        unreadable = any(isinstance(cause, ValueError) for cause in _causes(error))
        if isinstance(status, int) and status >= 400 and not unreadable:
            return error_of(status, said, endpoint=self.endpoint, model=self.model, headers=_headers(error))
        return MalformedAnswer(f"LiteLLM could not read the answer of {self.endpoint}: {said}", hint="Try again.")

    def _said(self, error: Exception) -> str:
        text = _ORIGIN.sub("", " ".join(str(getattr(error, "message", "") or error).split()))
        if self.api_key:
            text = text.replace(self.api_key, "[key]")
        return text if len(text) <= _LONGEST_MESSAGE else text[:_LONGEST_MESSAGE] + "…"


def litellm() -> Any:
    """The module, imported so that it fetches nothing, prints nothing and logs through the application's handlers.

    Raises:
        ModelNotFound: it is not installed.
    """
    with _import_lock:
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        os.environ.setdefault("LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS", "True")
        try:
            module: Any = importlib.import_module("litellm")
        except ImportError as error:
            raise ModelNotFound(
                "Hosted models need LiteLLM, which is not installed.", hint="Run: pip install 'mentalize[hosted]'"
            ) from error
        module.suppress_debug_info = True
        module.telemetry = False
        logger = logging.getLogger("LiteLLM")
        logger.handlers.clear()
        logger.propagate = True
        return module


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and those that it was raised from or while handling."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def _headers(error: Exception) -> Mapping[str, str]:
    response = getattr(error, "response", None)
    found: Any = getattr(error, "litellm_response_headers", None) or getattr(response, "headers", None)
    return {str(name): str(value) for name, value in found.items()} if found else {}

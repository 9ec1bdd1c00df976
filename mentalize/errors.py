"""Every error that mentalize raises on purpose.

    MentalizeError
    ├── InputError                 the caller's messages or arguments cannot be used
    │   └── MemoryNotFound         this person has no memory of that id
    ├── SettingsError              a setting is unknown, malformed or contradictory
    ├── PromptError                a prompt file does not fit the code that fills it
    ├── PackError                  a norm pack, charter or lexicon file is malformed
    ├── StoreError                 what is remembered cannot be read or written
    │   ├── StoreUnavailable       … the database cannot be reached, is busy, read-only, or its disk is full
    │   ├── StoreCorrupt           … the database file is damaged or is no database of ours
    │   ├── StoreTooNew            … a newer version of mentalize has written it
    │   └── Forgotten              … what this write rests on was deleted meanwhile
    ├── EmbedderError              an embedder cannot be loaded or gave no vectors
    ├── MissingExtra               a part of mentalize was not installed with it
    ├── EngineError                a local vLLM cannot be installed, started or kept running
    └── ModelError                 a language model did not give a usable answer
        ├── ModelNotFound          the model string does not resolve
        │   └── WeightsError       … an embedded model's file is missing, incomplete or altered
        ├── ModelRefused           the endpoint rejected the request (4xx)
        │   └── ModelUnauthorized  … for want of a valid key (401, 403)
        ├── ModelUnavailable       the endpoint cannot be reached or failed (5xx, broken stream)
        │   ├── ModelRateLimited   … asks us to slow down (429)
        │   └── ModelTimeout       … did not answer in time
        ├── MalformedAnswer        the endpoint's answer is not what its protocol promises
        ├── StructuredOutputError  the model ignored the schema, its own error shown to it included
        └── BudgetExceeded         the turn's contract leaves no further call

Each message says what happened and what to do next. Errors of other libraries are translated where they
enter (`mentalize/llm/`, `mentalize/memory/`), always with `from`, so the original stays in the traceback.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path


def whereabouts(error: BaseException) -> str:
    """File and line of a fault that was raised, for logs: its words may hold what people wrote."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


class MentalizeError(Exception):
    """Base of every error raised on purpose; `hint` says what to do next."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


class InputError(MentalizeError):
    """The caller's messages or arguments cannot be used."""


class MemoryNotFound(InputError):
    """This person has no memory of that id."""


class SettingsError(MentalizeError):
    """A setting is unknown, malformed or contradicts another."""


class PromptError(MentalizeError):
    """A prompt file does not fit the dataclass that fills it."""


class PackError(MentalizeError):
    """A norm pack, charter, lexicon or referral file is malformed."""


class StoreError(MentalizeError):
    """What is remembered cannot be read or written."""


class StoreUnavailable(StoreError):
    """The database cannot be reached, is busy, read-only, or its disk is full."""


class StoreCorrupt(StoreError):
    """The database file is damaged, or is no database of ours. It was left as it is."""


class StoreTooNew(StoreError):
    """A newer version of mentalize has written this database. It was left as it is."""


class Forgotten(StoreError):
    """What this write rests on was deleted meanwhile; nothing was written."""


class EmbedderError(MentalizeError):
    """An embedder cannot be loaded or gave no vectors."""


class MissingExtra(MentalizeError, ImportError):
    """A part of mentalize was not installed with it; the hint is the line that does."""


class EngineError(MentalizeError):
    """A local vLLM cannot be installed, started or kept running."""

    def __init__(self, message: str, *, hint: str = "", said: Sequence[str] = ()) -> None:
        super().__init__(message, hint=hint)
        self.said = tuple(said)
        """The lines with which the failed program told it."""


class ModelError(MentalizeError):
    """A language model did not give a usable answer."""

    retryable = False
    """Whether the same request may succeed if it is sent again."""

    retry_after: float | None = None
    """Seconds that the endpoint asked us to wait, if it said so."""


class ModelNotFound(ModelError):
    """The model string does not resolve to anything that can be asked."""


class WeightsError(ModelNotFound):
    """An embedded model's file is missing, incomplete or altered."""


class ModelRefused(ModelError):
    """The endpoint rejected the request; sending it again unchanged cannot help."""


class ModelUnauthorized(ModelRefused):
    """The endpoint wants a valid key."""


class ModelUnavailable(ModelError):
    """The endpoint cannot be reached, failed, or broke off."""

    retryable = True


class ModelRateLimited(ModelUnavailable):
    """The endpoint asks us to slow down."""

    def __init__(self, message: str, *, hint: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class ModelTimeout(ModelUnavailable):
    """The endpoint did not answer in time."""


class MalformedAnswer(ModelError):
    """The endpoint's answer is not what its protocol promises."""

    retryable = True


class StructuredOutputError(ModelError):
    """The model did not produce a valid value, even after it was shown its own error."""


class BudgetExceeded(ModelError):
    """The turn's contract (calls, depth, seconds) leaves no further call."""

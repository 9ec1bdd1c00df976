"""Wishes: what a request asks of mentalize itself, in headers or in the field `mentalize` of its body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..types import LONGEST_STATED, MOST_CULTURES, Circumstances, Effort, MemoryMode, PerspectivesMode, StreamMode
from .faults import Fault

FIELD = "mentalize"
"""The field of the body. It never reaches a model's endpoint."""

LONGEST_PLACE = 200
"""Characters of a field's name that an error repeats; clients make names of any length."""

Name = Annotated[str, Field(min_length=1, max_length=512)]
Stated = Annotated[str, Field(min_length=1, max_length=LONGEST_STATED)]


class Wishes(BaseModel):
    """The field `mentalize` of a request. A header `X-Mentalize-…` of the same name says the same."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user: Name | None = Field(default=None, description="Who the turn is with; only keys that are trusted may say so.")
    session: Annotated[str, Field(min_length=1, max_length=256)] | None = Field(
        default=None, description="Which conversation it belongs to; else what was said tells."
    )
    zone: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        default=None, description="IANA time zone of the person."
    )
    speaker: Name | None = Field(default=None, description="Who of several people speaks; the user, if not given.")
    audience: Annotated[tuple[Name, ...], Field(max_length=64)] = Field(
        default=(), description="Who else is present: what they did not hear is not recalled."
    )
    cultures: Annotated[tuple[Stated, ...], Field(max_length=MOST_CULTURES)] = Field(
        default=(), description="Cultures that the person calls their own, the nearest first; never guessed."
    )
    charter: Stated | None = Field(default=None, description="The assistant's role: the name of a charter.")
    domain: Stated | None = Field(default=None, description="What it is for, such as health or workplace.")
    formality: Annotated[int, Field(ge=1, le=5)] | None = Field(
        default=None, description="Tone of the reply, 1 (intimate) to 5 (formal)."
    )
    minor: bool = Field(default=False, description="Whether the person is known to be a minor.")
    perspectives: PerspectivesMode | None = Field(default=None, description="off, contextual, agents or auto.")
    effort: Effort | None = Field(default=None, description="How much thought the turn gets.")
    memory: MemoryMode | None = Field(default=None, description="on, read-only or off.")
    stream: StreamMode | None = Field(default=None, description="When streamed text leaves.")
    stages: bool | None = Field(default=None, description="Whether stages are told as reasoning_content.")

    @property
    def circumstances(self) -> Circumstances:
        """What it states about the person and the setting."""
        return Circumstances(
            cultures=self.cultures,
            charter=self.charter or "",
            domain=self.domain or "",
            formality=self.formality,
            minor=self.minor,
        )


_HEADERS = {
    f"x-mentalize-{name}": name
    for name in ("charter", "domain", "formality", "perspectives", "effort", "memory", "stream", "stages")
}
"""Those of a person (`user`, `session`, `zone`) are read where persons are told."""


def wishes_in(headers: Mapping[str, str], body: Mapping[str, Any]) -> Wishes:
    """What a request asks of mentalize; the field of its body goes before its headers.

    Raises:
        Fault: there is no such wish, or none of such a value.
    """
    given = {name: headers[header] for header, name in _HEADERS.items() if headers.get(header)}
    field = body.get(FIELD)
    if field is not None and not isinstance(field, Mapping):
        raise Fault(400, f"`{FIELD}` must be an object.", param=FIELD)
    try:
        return Wishes.model_validate({**given, **(field or {})})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))[:LONGEST_PLACE]
        said = first["msg"].replace("valid tuple", "list")
        raise Fault(400, f"`{FIELD}.{where}`: {said}.", param=f"{FIELD}.{where}") from error

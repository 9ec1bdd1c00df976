"""wrap_openai: a client of the OpenAI SDK whose chat completions mentalize."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from ..mind import Mind
from ..types import Circumstances, Effort, MemoryMode, PerspectivesMode
from .modes import Mode
from .wrap import User, wrap

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI

Client = TypeVar("Client", bound="OpenAI | AsyncOpenAI")


def by_request(*args: Any, user: Any = None, **request: Any) -> str | None:
    """The `user` of each request."""
    return user if isinstance(user, str) and user.strip() else None


def wrap_openai(
    client: Client,
    *,
    user: User = by_request,
    mode: Mode | str = Mode.GUIDE,
    mind: Mind | None = None,
    model: str | None = None,
    effort: Effort | str | None = None,
    memory: MemoryMode | str | Mapping[str, Any] | None = None,
    circumstances: Circumstances | None = None,
    perspectives: PerspectivesMode | str | None = None,
    **settings: Any,
) -> Client:
    """A client like the given one whose `chat.completions.create` mentalizes; all else of it stays as it is.

        client = mentalize.wrap_openai(OpenAI(), model="gpt-5-mini")

    Args:
        client: `OpenAI()` or `AsyncOpenAI()`, or one of another provider's base URL.
        user: As for `wrap`; if not given, the `user` of each request.
        mode: As for `wrap`.
        mind: What does the thinking; if not given, one of the given `settings`.
        model: The client's model that does the thinking, if no mind is given; what the settings say, if neither is.
        effort: As for `Mind.reply`.
        memory: As for `wrap`.
        circumstances: As for `Mind.reply`.
        perspectives: Likewise.
        **settings: Settings of the mind, if none is given.

    Raises:
        InputError: as for `wrap`.
    """
    from openai import AsyncOpenAI

    if model is not None and mind is None:
        here = {"base_url": str(client.base_url), "api_key": client.api_key}
        settings = {"model": f"openai_compatible/{model}", **here, **settings}
    wrapping = client.with_options()
    completions: Any = wrapping.chat.completions
    completions.create = wrap(
        _awaited(completions.create) if isinstance(wrapping, AsyncOpenAI) else completions.create,
        user=user,
        mode=mode,
        mind=mind,
        effort=effort,
        memory=memory,
        circumstances=circumstances,
        perspectives=perspectives,
        **settings,
    )
    return wrapping


def _awaited(create: Callable[..., Any]) -> Callable[..., Any]:
    """The same as an `async def`: the SDK's own is wrapped in a function that only gives what is to be awaited."""

    @functools.wraps(create)
    async def asked(*arguments: Any, **named: Any) -> Any:
        return await create(*arguments, **named)

    return asked

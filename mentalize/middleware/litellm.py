"""MentalizeLLM: mentalize as a provider of LiteLLM, for its SDK and its proxy: `mentalize/low` and so on.

    register(mind)
    await litellm.acompletion("mentalize/medium", messages, extra_body={"mentalize": {"user": "ana"}})

A request goes the way that one to the endpoint goes, tools and unknown fields included. LiteLLM keeps `user` and
`metadata` to itself: whose turn it is stands in `extra_body`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from importlib import import_module
from typing import Any, cast

from ..llm.provider import litellm
from ..mind import Mind
from ..server.in_process import Answer, InProcess
from ..types import Effort

_litellm = litellm()  # Before anything of it is imported by name: so it fetches nothing.
CustomLLM: Any = _litellm.CustomLLM
_types: Any = import_module("litellm.types.utils")
CustomLLMError: Any = import_module("litellm.llms.custom_llm").CustomLLMError

PROVIDER = "mentalize"


def register(mind: Mind | None = None, **settings: Any) -> MentalizeLLM:
    """Let LiteLLM know the provider `mentalize`.

    Args:
        mind: What answers; one of the given `settings`, if not given.
        **settings: Settings of the mind, if none is given.
    """
    handler = MentalizeLLM(mind or Mind(**settings))
    others = [entry for entry in _litellm.custom_provider_map if entry["provider"] != PROVIDER]
    _litellm.custom_provider_map = [*others, {"provider": PROVIDER, "custom_handler": handler}]
    return handler


class MentalizeLLM(CustomLLM):
    """What LiteLLM asks for a model of the provider `mentalize`."""

    def __init__(self, mind: Mind) -> None:
        self.mind = mind
        self._endpoint = InProcess(mind)

    def completion(self, model: str, messages: list[Any], *args: Any, **more: Any) -> Any:
        """See LiteLLM's `CustomLLM`."""
        return self.mind.sync.run(lambda: self.acompletion(model, messages, **more))

    async def acompletion(self, model: str, messages: list[Any], *args: Any, **more: Any) -> Any:
        """See LiteLLM's `CustomLLM`."""
        answer = await self._ask(model, messages, more, stream=False)
        return _litellm.ModelResponse(**json.loads(await answer.whole()))

    def streaming(self, model: str, messages: list[Any], *args: Any, **more: Any) -> Iterator[Any]:
        """See LiteLLM's `CustomLLM`."""
        chunks = self.astreaming(model, messages, **more)
        try:
            while (chunk := self.mind.sync.run(lambda: _next(chunks))) is not None:
                yield chunk
        finally:
            self.mind.sync.run(cast("Any", chunks).aclose)

    async def astreaming(self, model: str, messages: list[Any], *args: Any, **more: Any) -> AsyncIterator[Any]:
        """See LiteLLM's `CustomLLM`."""
        answer = await self._ask(model, messages, more, stream=True)
        async for event in answer.events():
            if error := event.get("error"):
                raise CustomLLMError(status_code=502, message=error["message"])
            yield _types.ModelResponseStream(**event)

    async def _ask(self, model: str, messages: list[Any], more: Mapping[str, Any], *, stream: bool) -> Answer:
        parameters: dict[str, Any] = {**(more.get("optional_params") or {})}
        extra: dict[str, Any] = parameters.pop("extra_body", None) or {}
        body: dict[str, Any] = {**parameters, **extra, "model": _served(model), "messages": messages, "stream": stream}
        if stream:
            body["stream_options"] = {"include_usage": True}
        answer = await self._endpoint.ask(body, more.get("headers") or {})
        if answer.status >= 400:
            said = json.loads(await answer.whole())["error"]["message"]
            raise CustomLLMError(status_code=answer.status, message=said)
        return answer


def _served(model: str) -> str:
    """The endpoint's name for it: `low` is `mentalize-low`, and `auto` is `mentalize`."""
    name = model.removeprefix(f"{PROVIDER}/")
    return PROVIDER if name == Effort.AUTO else f"{PROVIDER}-{name}" if name in set(Effort) else name


async def _next(chunks: AsyncIterator[Any]) -> Any:
    return await anext(chunks, None)

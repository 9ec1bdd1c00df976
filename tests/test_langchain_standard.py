"""LangChain's standard tests for chat models: our endpoint by langchain-openai, and our provider of LiteLLM.

The model behind both is scripted: it fills in a tool's parameters from the numbers and words of the question. What is
left out, and why, is said at each class by the properties that the tests read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from langchain_litellm import ChatLiteLLM
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests

from endpoint import Endpoint, served, thoughtful
from mentalize import Mind, Settings
from mentalize.middleware.litellm import register
from openai_server import Reply, Script

pytestmark = [
    pytest.mark.filterwarnings("ignore:Item .* on TypedDict class:UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*beta.*"),
    # langchain-openai's clients are never closed.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:Received a Pydantic BaseModel V1 schema:UserWarning"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
]


def handy() -> Script:
    """A model that uses tools, and fills in schemas, with what stands in the question."""
    think = thoughtful("Hello, how are you? 1, 2, 3.")
    assert callable(think)

    def reply(body: dict[str, Any]) -> Any:
        messages = body["messages"]
        asked = next((str(message["content"]) for message in reversed(messages) if message["role"] == "user"), "")
        wanted = (body.get("response_format") or {}).get("json_schema", {})
        if (tools := body.get("tools")) and (forced(body) or messages[-1]["role"] == "user"):
            chosen = next((tool for tool in tools if tool["function"]["name"] == forced(body)), tools[0])["function"]
            called = {"name": chosen["name"], "arguments": json.dumps(filled(chosen.get("parameters") or {}, asked))}
            call = {"id": "call-1", "index": 0, "type": "function", "function": called}
            return Reply(message={"content": None, "tool_calls": [call]}, finish_reason="tool_calls", text="")
        if wanted and not wanted["name"].endswith("Answer"):
            return Reply(text=json.dumps(filled(wanted["schema"], asked)))
        if (body.get("response_format") or {}).get("type") == "json_object":
            return Reply(text='{"setup": "Why?", "punchline": "Because."}')
        return think(body)

    return reply


def forced(body: dict[str, Any]) -> str:
    """The tool that has to be called, if one has to."""
    choice = body.get("tool_choice")
    return choice["function"]["name"] if isinstance(choice, dict) else ""


def filled(schema: dict[str, Any], asked: str) -> Any:
    """A value of a schema, with the numbers and the quoted words of the question."""
    numbers = iter([int(number) for number in re.findall(r"-?\d+", asked)] or [1])

    def value(part: dict[str, Any]) -> Any:
        if "enum" in part:
            return part["enum"][0]
        match part.get("type"):
            case "object":
                return {name: value(inner) for name, inner in (part.get("properties") or {}).items()}
            case "array":
                return [value(part.get("items") or {})]
            case "integer" | "number":
                return next(numbers, 1)
            case "boolean":
                return True
            case _:
                return (re.findall(r"'([^']+)'|\"([^\"]+)\"", asked) or [("a joke", "")])[0][0] or "a joke"

    return value(schema)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    folder = tmp_path_factory.mktemp("standard")
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(served(folder, handy(), memory={"mode": "off"})) as running,
    ):
        yield running


class TestEndpoint(ChatModelIntegrationTests):
    """The model's own name passes through; so does all that has tools or schemas."""

    url = ""

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _serve(cls, endpoint: Endpoint) -> None:
        cls.url = endpoint.base_url

    @property
    def chat_model_class(self) -> type[ChatOpenAI]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "mentalize-low", "base_url": self.url, "api_key": "none", "stream_usage": True}

    @property
    def supports_json_mode(self) -> bool:
        return True


NO_FORMAT = "langchain-litellm does not tell tracers the format (`ls_structured_output_format`) of any provider"


class TestProvider(ChatModelIntegrationTests):
    """The same by LiteLLM, in this process."""

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _register(cls, endpoint: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        chosen = {"model": "openai_compatible/scripted", "base_url": endpoint.upstream.base_url}
        mind = Mind(Settings(cache_folder=tmp_path_factory.mktemp("provider"), memory={"mode": "off"}, **chosen))
        register(mind)
        yield
        mind.sync.close()

    @property
    def chat_model_class(self) -> type[ChatLiteLLM]:
        return ChatLiteLLM

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "mentalize/low"}

    @pytest.mark.xfail(reason=NO_FORMAT, raises=KeyError, strict=True)
    @pytest.mark.parametrize("schema_type", ["pydantic", "typeddict", "json_schema"])
    def test_structured_output(self, model: Any, schema_type: Any) -> None:
        super().test_structured_output(model, schema_type)

    @pytest.mark.xfail(reason=NO_FORMAT, raises=KeyError, strict=True)
    @pytest.mark.parametrize("schema_type", ["pydantic", "typeddict", "json_schema"])
    async def test_structured_output_async(self, model: Any, schema_type: Any) -> None:
        await super().test_structured_output_async(model, schema_type)

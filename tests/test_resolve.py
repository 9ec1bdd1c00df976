"""From model strings to models, and what a string that names nothing is told."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mentalize.errors import ModelNotFound, ModelUnavailable
from mentalize.llm.cache import CachedModel
from mentalize.llm.model import JsonFormat, Request, StructuredMode
from mentalize.llm.resolve import resolve
from mentalize.types import user
from openai_server import OpenAIServer, Reply, obedient

ASK = Request(messages=(user("hi"),))


@pytest.mark.parametrize("kind", ["hosted_vllm", "llama_cpp", "openai_compatible"])
async def test_a_local_server_is_asked_by_the_name_after_the_slash(kind: str) -> None:
    async with OpenAIServer(Reply(text="Here.")) as server:
        model = resolve(f"{kind}/org/name", base_url=server.base_url, api_key="k")
        assert (await model.complete(ASK)).text == "Here."
        assert model.name == f"{kind}/org/name"
        assert server.requests[0].body["model"] == "org/name"
        assert server.requests[0].headers["Authorization"] == "Bearer k"
        await model.close()


async def test_address_and_key_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with OpenAIServer() as server:
        monkeypatch.setenv("HOSTED_VLLM_API_BASE", server.base_url)
        monkeypatch.setenv("HOSTED_VLLM_API_KEY", "from-environment")
        model = resolve("hosted_vllm/m")
        await model.complete(ASK)
        assert server.requests[0].headers["Authorization"] == "Bearer from-environment"
        await model.close()


async def test_what_comes_back_is_cached_retried_limited_and_timed() -> None:
    async with OpenAIServer(
        [Reply(status=500, headers={"Retry-After": "0"}), Reply(text="Here.", delay=0.02)]
    ) as server:
        model = resolve("openai_compatible/m", base_url=server.base_url, concurrency=1, timeout=5)
        assert isinstance(model, CachedModel)
        question = Request(messages=ASK.messages, cacheable=True)
        answers = [await model.complete(question) for _ in range(2)]
        assert [answer.cached for answer in answers] == [False, True]
        assert len(server.requests) == 2
        server.script = Reply(never=True)
        impatient = resolve("openai_compatible/m", base_url=server.base_url, timeout=0.05, attempts=1)
        with pytest.raises(ModelUnavailable, match=r"openai_compatible/m did not answer within 0\.05 s"):
            await impatient.complete(ASK)
        await model.close()
        await impatient.close()


async def test_roles_on_the_same_endpoint_share_what_was_probed(tmp_path: Path) -> None:
    async with OpenAIServer(obedient()) as server:
        roles = [resolve("llama_cpp/m", base_url=server.base_url, capability_folder=tmp_path) for _ in range(3)]
        for role in roles:
            assert (await role.capabilities()).structured is StructuredMode.JSON_SCHEMA
            await role.close()
        assert len(server.requests) == 5


async def test_fake_answers_prose_and_schemas() -> None:
    model = resolve("fake")
    assert model.name == "fake"
    assert (await model.complete(ASK)).text.endswith(".")
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    wanted = JsonFormat("N", schema, StructuredMode.JSON_SCHEMA)
    assert (await model.complete(Request(messages=ASK.messages, format=wanted))).text == '{"a": 0}'


@pytest.mark.parametrize(
    ("string", "guess"),
    [
        ("hosted_vlm", "Did you mean hosted_vllm/NAME"),
        ("fakes", "Did you mean fake"),
        ("embeded", "Did you mean embedded"),
        ("gpt-4o", "openai/gpt-4o"),
        ("llama_cpp/", "Did you mean llama_cpp/NAME"),
        ("", "Known forms"),
        ("   ", "Known forms"),
    ],
)
def test_a_string_that_names_nothing_is_told_what_would(string: str, guess: str) -> None:
    with pytest.raises(ModelNotFound, match=guess):
        resolve(string)


def test_an_endpoint_without_an_address_is_told_where_to_put_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_COMPATIBLE_API_BASE", raising=False)
    with pytest.raises(ModelNotFound, match="OPENAI_COMPATIBLE_API_BASE"):
        resolve("openai_compatible/m")


def test_resolving_imports_no_client() -> None:
    script = (
        "import sys; from mentalize.llm.resolve import resolve;"
        "resolve('openai/gpt-4o', api_key='k'); resolve('hosted_vllm/m');"
        "sys.exit(' '.join({'litellm', 'openai', 'aiohttp', 'xllamacpp', 'structlog'} & sys.modules.keys()) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=os.environ, check=False)
    assert (done.returncode, done.stderr) == (0, "")

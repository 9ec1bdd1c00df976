"""Probing endpoints that enforce, ignore and refuse formats, and remembering what was found."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mentalize.errors import ModelRefused, ModelUnauthorized, ModelUnavailable
from mentalize.llm.http import OpenAICompatibleModel
from mentalize.llm.model import Capabilities, Completion, Request, StructuredMode
from mentalize.llm.probe import CapabilityCache, probe
from mentalize.llm.scripted import FunctionModel
from openai_server import OpenAIServer, Reply, obedient

FOUND = Capabilities(StructuredMode.GRAMMAR, logprobs=True)


@pytest.mark.parametrize("refuses", [True, False])
@pytest.mark.parametrize(
    ("has", "best"),
    [
        ({"json_schema": True, "grammar": True, "json_object": True, "logprobs": True}, StructuredMode.JSON_SCHEMA),
        ({"json_schema": False, "grammar": True, "json_object": True, "logprobs": True}, StructuredMode.GRAMMAR),
        ({"json_schema": False, "grammar": False, "json_object": True, "logprobs": False}, StructuredMode.JSON_OBJECT),
        ({"json_schema": False, "grammar": False, "json_object": False, "logprobs": True}, StructuredMode.TEXT),
    ],
)
async def test_the_best_mode_that_truly_works_is_found(
    has: dict[str, bool], best: StructuredMode, refuses: bool
) -> None:
    async with OpenAIServer(obedient("It is sunny.", refuses=refuses, **has)) as server:
        model = OpenAICompatibleModel("any", base_url=server.base_url)
        assert await model.capabilities() == Capabilities(best, logprobs=has["logprobs"])
        await model.close()


async def test_every_probe_asks_for_prose_under_the_purpose_probe() -> None:
    model = FunctionModel(lambda _: "It is sunny.")
    assert await probe(model) == Capabilities()
    assert len(model.requests) == 4
    assert {request.purpose for request in model.requests} == {"probe"}
    assert all("prose" in request.messages[0].text for request in model.requests[:3])


@pytest.mark.parametrize(
    ("text", "enforced"),
    [
        ('{"sky": "sunny"}', True),
        ('<think>prose or JSON?</think>\n{"sky": "rainy"}', True),
        ('```json\n{"sky": "sunny"}\n```', False),
        ('{"sky": "green"}', False),
        ('{"sky": "sunny", "more": 1}', False),
        ('["sunny"]', False),
    ],
)
async def test_only_what_fits_the_schema_counts(text: str, enforced: bool) -> None:
    found = await probe(FunctionModel(lambda _: text), (StructuredMode.JSON_SCHEMA,))
    assert found.structured is (StructuredMode.JSON_SCHEMA if enforced else StructuredMode.TEXT)


async def test_an_object_that_ran_out_of_tokens_was_still_enforced() -> None:
    cut = Completion(text='{"report": "It is', finish_reason="length")
    assert (await probe(FunctionModel(lambda _: cut))).structured is StructuredMode.JSON_OBJECT


async def test_where_everything_is_refused_a_plain_request_decides() -> None:
    def only_plain(body: dict[str, Any]) -> Reply:
        plain = body.keys() <= {"model", "messages", "max_tokens", "temperature"}
        return Reply() if plain else Reply(status=400, body={"error": {"message": "no such field"}})

    async with OpenAIServer(only_plain) as server:
        model = OpenAICompatibleModel("any", base_url=server.base_url)
        assert await model.capabilities() == Capabilities()
        server.script = Reply(status=400, body={"error": {"message": "nothing works"}})
        other = OpenAICompatibleModel("any", base_url=server.base_url)
        with pytest.raises(ModelRefused, match="nothing works"):
            await other.capabilities()
        await model.close()
        await other.close()


@pytest.mark.parametrize(("status", "error"), [(401, ModelUnauthorized), (500, ModelUnavailable)])
async def test_an_endpoint_that_fails_is_an_error_and_nothing_is_kept(
    status: int, error: type[Exception], tmp_path: Path
) -> None:
    async with OpenAIServer(Reply(status=status)) as server:
        kept = CapabilityCache(tmp_path / "capabilities.json")
        model = OpenAICompatibleModel("any", base_url=server.base_url, capabilities=kept)
        with pytest.raises(error):
            await model.capabilities()
        assert not (tmp_path / "capabilities.json").exists()
        server.script = obedient()
        assert (await model.capabilities()).structured is StructuredMode.JSON_SCHEMA
        await model.close()


async def test_an_endpoint_is_probed_once_for_all_who_wait_and_for_the_next_process(tmp_path: Path) -> None:
    path = tmp_path / "new" / "capabilities.json"
    async with OpenAIServer(obedient(delay=0.02)) as server:
        model = OpenAICompatibleModel("any", base_url=server.base_url, capabilities=CapabilityCache(path))
        found = await asyncio.gather(*(model.capabilities() for _ in range(5)))
        later = OpenAICompatibleModel("any", base_url=server.base_url, capabilities=CapabilityCache(path))
        assert [*found, await later.capabilities()] == [Capabilities(StructuredMode.JSON_SCHEMA, logprobs=True)] * 6
        assert len(server.requests) == 5
        other = OpenAICompatibleModel("other", base_url=server.base_url, capabilities=CapabilityCache(path))
        await other.capabilities()
        assert len(server.requests) == 10
        for each in (model, later, other):
            await each.close()
    assert [file.name for file in path.parent.iterdir()] == ["capabilities.json"]


class Finds:
    """Counts how often it is asked to find."""

    def __init__(self) -> None:
        self.times = 0

    async def __call__(self) -> Capabilities:
        self.times += 1
        return FOUND


async def test_entries_are_forgotten_after_a_week(tmp_path: Path) -> None:
    clock = [1000.0]
    finds = Finds()
    for path in (None, tmp_path / "kept.json"):
        clock[0], finds.times = 1000.0, 0
        cache = CapabilityCache(path, now=lambda: clock[0])
        for days, times in ((0, 1), (6.9, 1), (7.1, 2), (-1, 3)):
            clock[0] = 1000.0 + days * 86400
            assert await cache.get("http://host/v1", "m", finds) == FOUND
            assert finds.times == times


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda _: "",
        lambda _: "[1, 2]",
        lambda _: '{"http://host/v1 m": {"structured": "telepathy", "logprobs": true, "at": 1}}',
        lambda _: '{"http://host/v1 m": 3}',
        lambda _: "\x00\xff",
    ],
)
async def test_a_damaged_file_counts_as_empty_and_is_replaced(tmp_path: Path, damage: Callable[[str], str]) -> None:
    path = tmp_path / "kept.json"
    finds = Finds()
    await CapabilityCache(path).get("http://host/v1", "m", finds)
    path.write_bytes(damage(path.read_text()).encode("latin-1"))
    assert await CapabilityCache(path).get("http://host/v1", "m", finds) == FOUND
    assert finds.times == 2
    assert json.loads(path.read_text())["http://host/v1 m"]["structured"] == "grammar"


async def test_what_others_wrote_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    first, second = CapabilityCache(path), CapabilityCache(path)
    finds = Finds()
    await first.get("http://host/v1", "a", finds)
    await second.get("http://host/v1", "b", finds)
    await first.get("http://host/v1", "c", finds)
    assert sorted(json.loads(path.read_text())) == [f"http://host/v1 {name}" for name in "abc"]


async def test_a_folder_that_cannot_be_written_to_does_not_stop_the_turn(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert await CapabilityCache(tmp_path / "file" / "kept.json").get("http://host/v1", "m", Finds()) == FOUND


async def test_probing_is_cancelled_with_the_last_who_waits() -> None:
    async with OpenAIServer(Reply(never=True)) as server:
        model = OpenAICompatibleModel("any", base_url=server.base_url)
        waiting = [asyncio.create_task(model.capabilities()) for _ in range(2)]
        assert await server.received(4)
        for task in waiting:
            task.cancel()
        assert await server.disconnected(4)
        await model.close()


async def test_the_request_type_is_all_that_a_probed_model_needs() -> None:
    class Bare:
        async def complete(self, request: Request) -> Completion:
            return Completion(text='{"sky": "sunny"}' if request.format else "sunny")

    assert await probe(Bare()) == Capabilities(StructuredMode.JSON_SCHEMA, logprobs=False)

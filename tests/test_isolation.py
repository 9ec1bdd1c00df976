"""Nobody reads, infers, or times what is another person's: on no route, by no method of a store, from no cache."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import shutil
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from endpoint import Endpoint, served
from mentalize import Identity, Memories, Memory, MemoryKind
from mentalize.errors import MentalizeError
from mentalize.llm.embedder import resolve_embedder
from mentalize.memory.portable import lines_of
from mentalize.memory.store import Filter, MemoryStore
from mentalize.server.callers import FRESH_SECONDS
from mentalize.terms import terms_of
from mentalize.types import Contract, Effort, MemoryHit, Recollection, Trace
from social_script import MESSAGE

SECRET = "Quetzalcoatl"
"""A word that only Ana says. It may occur in no byte that anybody else gets, and in no prompt about anybody else."""

TOLD = f"I keep my diary in the box that is named {SECRET}."
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
UNKNOWN = "00000000000000000000000000000000"

# --- every method -----------------------------------------------------------------------------------------

ANA = Identity("acme", "ana", session="s")
STRANGERS: Mapping[str, Callable[[int], tuple[Identity, Identity]]] = {
    "of the same tenant": lambda n: (
        Identity("acme", f"one{n}", session="s"),
        Identity("acme", f"two{n}", session="s"),
    ),
    "of the same name": lambda n: (Identity(f"one{n}", "ana", session="s"), Identity(f"two{n}", "ana", session="s")),
    "of another tenant": lambda n: (Identity(f"one{n}", "a", session="s"), Identity(f"two{n}", "a", session="s")),
}
"""Two people, of whom one asks for what is Ana's, and the other one for what there is not."""

NOT_ABOUT_ANYBODY = {
    Memories: {"also_forget", "at", "open", "close", "check", "try_embedder"},
    MemoryStore: {"open", "close", "check"},
}
FOR_MAINTENANCE = {
    Memories: {"people"},
    MemoryStore: {"people", "indexed"},
}
"""What this server itself does about everybody; nothing that anybody asks reaches them."""


def methods_of(kind: type) -> list[str]:
    """Every public method that takes a person."""
    left_out = NOT_ABOUT_ANYBODY[kind] | FOR_MAINTENANCE[kind]
    named = [name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")]
    assert left_out <= {*named, "at"}
    return [name for name in named if name not in left_out]


def statement(name: str, text: str, *sources: str, kind: MemoryKind = MemoryKind.FACT) -> Memory:
    return Memory(id=name, kind=kind, text=text, observed_at=NOON, sources=sources, session="s", quote=text)


def trace_of(turn: str, *recalled: Memory) -> Trace:
    return Trace(
        turn_id=turn,
        at=NOON,
        effort=Effort.LOW,
        requested_effort=Effort.AUTO,
        route="asked",
        text=TOLD if recalled else "Hello.",
        contract=Contract(calls=2, depth=2, seconds=9),
        recollection=Recollection(hits=tuple(MemoryHit(memory=memory, score=1) for memory in recalled)),
    )


def arguments_of(ids: tuple[str, str, str]) -> dict[str, Any]:
    """By name, what a stranger would give to reach a turn, a fact, and a trace of these ids."""
    turn, fact, traced = ids
    own = statement("own", "I like the sea.", turn, fact)
    stolen = statement(fact, "I like the sea.")
    return {
        "ids": (turn, fact),
        "old": (fact,),
        "memory_id": fact,
        "turn_id": traced,
        "successors": {turn: None},
        "memories": (own, stolen),
        "new": own,
        "lines": tuple(lines_of((own, stolen))),
        "text": f"the box named {SECRET}",
        "terms": terms_of(TOLD),
        "which": Filter(session="s"),
        "trace": trace_of(traced),
        "turn": traced,
        "since": 0,
        "at": NOON,
        "until": NOON + timedelta(days=1),
        "embedder": "fake",
        "work": "work",
        "seconds": 60.0,
        "span": 5,
        "limit": 100,
        "changes": {"pinned": True},
    }


NOT_GIVEN = {"progress", "newest_first", "kind", "days", "anew", "even_forgotten", "revive", "most"}
"""Parameters that have nothing to do with whose something is."""


async def outcome(call: Callable[..., Any], who: Identity, ids: tuple[str, str, str]) -> str:
    """What a stranger gets, in words; a method with a parameter that nobody knows here fails."""
    values, given, more = arguments_of(ids), dict[str, Any](), dict[str, Any]()
    positional: list[Any] = []
    for name, parameter in inspect.signature(call).parameters.items():
        if name in NOT_GIVEN:
            assert parameter.default is not parameter.empty, f"say what a stranger would give as {name}"
        elif parameter.kind is parameter.VAR_KEYWORD:
            more = values[name]
        elif parameter.kind is parameter.KEYWORD_ONLY:
            value = who if name == "who" else values[name]
            given[name] = (value,) if name == "new" else value
        else:
            positional.append(who if name == "who" else values[name])
    assert who in (*positional, *given.values()), "a method without a person belongs to one of the lists above"
    try:
        result = call(*positional, **given, **more)
        if inspect.isasyncgen(result):
            result = [line async for line in result]
        elif inspect.isawaitable(result):
            result = await result
    except MentalizeError as error:
        result = error
    return repr(result)


def leveled(said: str, ids: Iterable[str]) -> str:
    """The same without what may differ: ids, and numbers that count."""
    for name in sorted(ids, key=len, reverse=True):
        said = said.replace(name, "ID")
    return re.sub(r"[0-9a-f]{32}|\d+", "0", said)


@dataclass(slots=True)
class World:
    """A database in which Ana has said something."""

    memories: Memories
    store: MemoryStore
    turn: Memory
    fact: Memory

    @property
    def ids(self) -> tuple[str, str, str]:
        return self.turn.id, self.fact.id, "the-trace-of-ana"

    def everything(self) -> tuple[Any, ...]:
        """All that there is about Ana."""
        store = self.store
        vectors = store.vectors(ANA, "fake")
        return (
            store.find(ANA, Filter()),
            store.version(ANA),
            store.trace(ANA, self.ids[2]),
            store.uses(ANA, self.ids),
            (vectors.ids, vectors.matrix.tolist()),
            store.forgotten(ANA, ["gone"]),
        )


@pytest.fixture
async def world(tmp_path: Path, empty_database: Path) -> AsyncIterator[World]:
    shutil.copy(empty_database, tmp_path / "memory.db")
    store = MemoryStore(f"sqlite:///{tmp_path}/memory.db", clock=lambda: NOON)
    async with Memories(store, resolve_embedder("fake"), clock=lambda: NOON) as memories:
        turn = statement("the-turn-of-ana", TOLD, kind=MemoryKind.TURN)
        fact = statement("the-fact-of-ana", f"Ana's diary is in {SECRET}.", turn.id)
        gone = statement("gone", f"{SECRET} is gone.")
        await memories.add(ANA, [turn, fact, gone])
        await memories.forget(ANA, ["gone"])
        await memories.strengthen(ANA, [fact.id], turn="t")
        await memories.settle()
        await memories.keep_trace(ANA, trace_of("the-trace-of-ana", fact), until=NOON + timedelta(days=1))
        assert (await memories.recall(ANA, TOLD)).hits, "Ana herself finds it"
        yield World(memories, store, turn, fact)


BLIND = ("no-such-turn", "no-such-fact", "no-such-trace")


@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.parametrize("kind", [Memories, MemoryStore])
async def test_no_method_tells_or_touches_what_is_another_persons(world: World, kind: type, stranger: str) -> None:
    pairs = {name: STRANGERS[stranger](number) for number, name in enumerate(methods_of(kind))}
    for who in {who for pair in pairs.values() for who in pair}:
        await world.memories.add(who, [statement("mine", "I live near the sea.")])
    await world.memories.settle()
    before = world.everything()
    for method, (one, other) in pairs.items():
        call = getattr(world.memories if kind is Memories else world.store, method)
        aimed = await outcome(call, one, world.ids)
        assert aimed.count(SECRET) == OWN_WORDS.get(method, 0), (method, aimed)
        assert world.everything() == before, method
        unknown = await outcome(call, other, BLIND)
        assert leveled(aimed, (*world.ids, *_names(one))) == leveled(unknown, (*BLIND, *_names(other)))


def _names(who: Identity) -> list[str]:
    """Those by which the two people of a pair differ."""
    return [name for name in (who.tenant, who.user) if name[-1].isdigit()]


OWN_WORDS = {"remember": 2}
"""How often a result repeats the secret because the stranger said it in this very call."""


async def test_the_lists_above_are_of_methods_that_there_are() -> None:
    for kind in (Memories, MemoryStore):
        assert len(methods_of(kind)) > 20
        for name in FOR_MAINTENANCE[kind]:
            assert "who" not in inspect.signature(getattr(kind, name)).parameters


async def test_what_is_due_of_one_person_is_no_other_persons(world: World) -> None:
    stranger = Identity("acme", "ben")
    world.store.add(ANA, [statement("later", f"More about {SECRET}.")])
    assert world.store.outbox("fake", limit=9, who=stranger) == ()
    assert await world.memories.due(stranger) == 0 and await world.memories.settle(stranger) == 0


async def test_the_same_question_has_each_persons_own_answer_whoever_asked_before(world: World) -> None:
    strangers = [Identity("acme", "ben"), Identity("other", "ana"), Identity("acmea", "na"), Identity("acm", "eana")]
    for who in strangers:
        await world.memories.add(who, [statement("mine", "I live near the sea.")])
    for _ in range(2):
        for who in strangers:
            found = {hit.memory.id for hit in await world.memories.search(who, TOLD, limit=100)}
            found |= {hit.memory.id for hit in (await world.memories.recall(who, TOLD)).hits}
            assert found <= {"mine"}
        assert world.turn.id in {hit.memory.id for hit in await world.memories.search(ANA, TOLD)}


# --- every route ------------------------------------------------------------------------------------------

CHAT = "/v1/chat/completions"
MODELS = ("mentalize-minimal", "mentalize-medium", "scripted")
NAMES_LIKE_ANA = (
    "Ana",
    "ANA",
    "an\u0430",
    "ana\u200b",
    "ａｎａ",
    "%61na",
    "acme/ana",
    "ana/",
    "*",
    "a%",
    "' or 1=1 --",
)


@dataclass(frozen=True, slots=True)
class Somebody:
    """Somebody who asks, and what they get of Ana's."""

    headers: Mapping[str, str]
    served: bool = True
    """Whether they may ask at all."""
    person: bool = True
    """Whether a memory is theirs."""
    operator: bool = False


@dataclass(slots=True)
class Deployment:
    """A server whose Ana has spoken; everybody else's way to ask."""

    endpoint: Endpoint
    client: httpx.AsyncClient
    ana: Mapping[str, str]
    others: Mapping[str, Somebody]
    memories: tuple[str, ...]
    turns: tuple[str, ...]

    async def of_ana(self) -> list[Any]:
        return (await self.client.get("/v1/memories?limit=1000", headers=self.ana)).json()["data"]


@asynccontextmanager
async def deployment(folder: Path) -> AsyncIterator[Deployment]:
    async with served(folder) as endpoint, httpx.AsyncClient(base_url=endpoint.url, timeout=30) as client:
        keys = endpoint.mind.memory.keys
        secrets = {
            "trusted": (await keys.create("acme", trusted=True))[1],
            "bound": (await keys.create("acme", user="ben"))[1],
            "untrusted": (await keys.create("acme"))[1],
            "narrow": (await keys.create("acme", trusted=True, user_sources=("x-own-user",)))[1],
            "other": (await keys.create("other", trusted=True))[1],
            "operator": (await keys.create("other", trusted=True, operator=True))[1],
        }
        ended, secrets["revoked"] = await keys.create("acme", trusted=True)
        await keys.revoke(ended.id)
        bearer = {name: {"authorization": f"Bearer {secret}"} for name, secret in secrets.items()}
        ana = {**bearer["trusted"], "x-mentalize-user": "ana", "x-mentalize-session": "s"}
        memories, turns = await _ana_speaks(endpoint, client, ana)
        as_ana = {"x-mentalize-user": "ana", "x-openwebui-user-id": "ana", "x-mentalize-session": "s"}
        as_ben = {**as_ana, "x-mentalize-user": "ben", "x-openwebui-user-id": "ben"}
        others = {
            "another user of the app": Somebody({**bearer["trusted"], **as_ben}),
            "a key that speaks for ben": Somebody({**bearer["bound"], **as_ana}),
            "a key that may name nobody": Somebody({**bearer["untrusted"], **as_ana}, person=False),
            "a key that names users elsewhere": Somebody({**bearer["narrow"], **as_ana}, person=False),
            "another tenant's ana": Somebody({**bearer["other"], **as_ana}),
            "another tenant's ben": Somebody({**bearer["other"], **as_ben}),
            "whoever runs the server": Somebody({**bearer["operator"], **as_ana}, operator=True),
            "a revoked key": Somebody({**bearer["revoked"], **as_ana}, served=False),
            "an unknown key": Somebody({"authorization": f"Bearer mz-{UNKNOWN}", **as_ana}, served=False),
            "no key": Somebody(as_ana, served=False),
        }
        yield Deployment(endpoint, client, ana, others, memories, turns)


async def _ana_speaks(
    endpoint: Endpoint, client: httpx.AsyncClient, ana: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Ids of her memories, and of her turns."""
    kept = (await client.post("/v1/memories", json={"text": TOLD}, headers=ana)).json()["id"]
    turns: list[str] = []
    for streams in (False, True):
        body = {"model": "mentalize-medium", "messages": [{"role": "user", "content": TOLD}], "stream": streams}
        answer = await client.post(CHAT, json=body, headers=ana)
        assert answer.headers["x-mentalize-memory"] == "on"
        turns.append(answer.headers["x-mentalize-turn"])
    await endpoint.mind.settle()
    listed = (await client.get("/v1/memories?limit=1000", headers=ana)).json()["data"]
    assert SECRET in (await client.get(f"/v1/turns/{turns[0]}", headers=ana)).text
    return (kept, *(memory["id"] for memory in listed if memory["id"] != kept)), tuple(turns)


def requests_for(path: str, method: str, memory: str, turn: str) -> Iterator[tuple[str, Any]]:
    """Ways to ask a route for something of these ids; a route that nobody knows here fails."""
    known: dict[tuple[str, str], list[tuple[str, Any]]] = {
        ("get", "/v1/models"): [("", None)],
        ("get", "/v1/models/{name}"): [("/v1/models/mentalize", None)],
        ("get", "/healthz"): [("", None)],
        ("get", "/readyz"): [("", None)],
        ("get", "/metrics"): [("", None)],
        ("get", "/v1/memories"): [("?limit=1000", None), ("?session=s", None), ("?user=ana", None)],
        ("get", "/v1/memories/search"): [(f"?q={SECRET}", None), ("?q=diary&limit=100&user=ana", None)],
        ("get", "/v1/memories/export"): [("", None), ("?user=ana&metadata.user_id=ana", None)],
        ("get", "/v1/memories/{memory_id}"): [(f"/v1/memories/{memory}", None)],
        ("get", "/v1/memories/{memory_id}/why"): [(f"/v1/memories/{memory}/why", None)],
        ("get", "/v1/turns/{turn_id}"): [(f"/v1/turns/{turn}", None), (f"/v1/turns/{turn}?user=ana", None)],
        ("post", "/v1/memories"): [("", {"text": "I live near the sea."})],
        ("patch", "/v1/memories/{memory_id}"): [
            (f"/v1/memories/{memory}", change)
            for change in ({}, {"text": "Stolen."}, {"status": "refuted"}, {"pinned": True}, {"pinned": False})
        ],
        ("delete", "/v1/memories/{memory_id}"): [(f"/v1/memories/{memory}", None)],
        ("delete", "/v1/memories"): [("?all=true", None), ("?all=true&user=ana", None)],
        ("post", CHAT): [
            ("", {"model": model, "messages": [{"role": "user", "content": "Where is my diary?"}], **more})
            for model in MODELS
            for more in ({"user": "ana"}, {"stream": True, "metadata": {"user_id": "ana"}})
        ],
    }
    for there, body in known[method, path]:
        yield (path + there if there.startswith("?") or not there else there), body


async def answers_of(
    place: Deployment, who: Somebody, memory: str, turn: str, *, which: str = ""
) -> list[tuple[str, int, Mapping[str, str], bytes]]:
    """All that somebody gets by every route that the document names, or whose path matches."""
    found: list[tuple[str, int, Mapping[str, str], bytes]] = []
    document = (await place.client.get("/openapi.json")).json()
    for path, operations in document["paths"].items():
        for method in operations if re.search(which, path) else ():
            for target, body in requests_for(path, method, memory, turn):
                answer = await place.client.request(method, target, json=body, headers=who.headers)
                assert answer.status_code < 500
                what = f"{method} {path} {json.dumps(body)}"
                found.append((what, answer.status_code, dict(answer.headers), answer.content))
    return found


BY_ID = r"_id\}"
OPEN_TO_ALL = ("get /healthz", "get /readyz")


async def test_no_route_tells_or_touches_what_is_another_persons(tmp_path: Path) -> None:
    async with deployment(tmp_path) as place:
        before, asked = await place.of_ana(), len(place.endpoint.upstream.requests)
        for name, who in place.others.items():
            for what, status, headers, content in await answers_of(place, who, place.memories[0], place.turns[0]):
                assert SECRET.encode() not in content and SECRET not in str(headers), (name, what)
                if not who.served and not what.startswith(OPEN_TO_ALL):
                    assert status == 401, (name, what)
                if what.startswith("get /metrics"):
                    assert status == (200 if who.operator else 403 if who.served else 401)
                    assert b"ana" not in re.findall(rb'"([^"]*)"', content)
                if "{memory_id}" in what and who.served:
                    assert status == (404 if who.person else 403), (name, what)
        await place.endpoint.mind.settle()
        prompts = [json.dumps(request.body) for request in place.endpoint.upstream.requests[asked:]]
        assert len(prompts) > 50 and not any(SECRET in prompt for prompt in prompts)
        assert await place.of_ana() == before
        assert (await place.client.get(f"/v1/turns/{place.turns[0]}", headers=place.ana)).status_code == 200


async def test_what_is_another_persons_is_answered_like_what_there_is_not(tmp_path: Path) -> None:
    async with deployment(tmp_path) as place:
        for name, who in place.others.items():
            aimed = await answers_of(place, who, place.memories[0], place.turns[0], which=BY_ID)
            blind = await answers_of(place, who, UNKNOWN, f"turn-{UNKNOWN}", which=BY_ID)
            assert len(aimed) == 10
            for (what, status, headers, content), (_, status_2, headers_2, content_2) in zip(aimed, blind, strict=True):
                assert status == status_2 and set(headers) == set(headers_2), (name, what)
                mine = content.decode().replace(place.memories[0], "ID").replace(place.turns[0], "ID")
                assert mine == content_2.decode().replace(f"turn-{UNKNOWN}", "ID").replace(UNKNOWN, "ID"), (name, what)


async def test_a_key_that_may_name_people_and_names_nobody_has_no_memory(tmp_path: Path) -> None:
    async with deployment(tmp_path) as place:
        headers = {"authorization": place.ana["authorization"], "x-mentalize-session": "s"}
        body = {"model": "mentalize-medium", "messages": [{"role": "user", "content": "Where is my diary?"}]}
        answer = await place.client.post(CHAT, json=body, headers=headers)
        assert answer.headers["x-mentalize-memory"] == "off; no user was named" and SECRET not in answer.text
        assert (await place.client.get("/v1/memories", headers=headers)).status_code == 403
        assert (await place.client.get(f"/v1/turns/{place.turns[0]}", headers=headers)).status_code == 404


async def test_a_name_that_looks_like_anas_is_another_one(tmp_path: Path) -> None:
    async with deployment(tmp_path) as place:
        key = {"authorization": place.ana["authorization"]}
        for name in NAMES_LIKE_ANA:
            answer = await place.client.get("/v1/memories", params={"user": name}, headers=key)
            assert answer.json()["data"] == [], name
            deleted = await place.client.delete("/v1/memories?all=true", params={"user": name}, headers=key)
            assert deleted.json().get("deleted", 0) == 0, name
        assert len(await place.of_ana()) == len(place.memories)


async def test_the_trace_of_a_turn_of_nobody_is_for_the_key_that_asked(tmp_path: Path) -> None:
    async with deployment(tmp_path) as place:
        asker = place.others["a key that may name nobody"]
        body = {"model": "mentalize-low", "messages": [{"role": "user", "content": TOLD}]}
        answer = await place.client.post(CHAT, json=body, headers=asker.headers)
        turn = answer.headers["x-mentalize-turn"]
        assert SECRET in (await place.client.get(f"/v1/turns/{turn}", headers=asker.headers)).text
        for name, who in place.others.items():
            if who is not asker:
                other = await place.client.get(f"/v1/turns/{turn}", headers=who.headers)
                assert other.status_code == (404 if who.served else 401) and SECRET not in other.text, name


# --- caches -----------------------------------------------------------------------------------------------


async def test_whether_somebody_else_was_thought_about_cannot_be_told(tmp_path: Path) -> None:
    async with deployment(tmp_path) as place:
        upstream = place.endpoint.upstream

        async def priors_asked(headers: Mapping[str, str], **more: Any) -> int:
            before = len(upstream.requests)
            body = {"model": "mentalize-medium", "messages": [{"role": "user", "content": MESSAGE}], **more}
            answer = await place.client.post(CHAT, json=body, headers={**headers, "x-mentalize-memory": "off"})
            assert answer.status_code == 200
            names = [(each.body.get("response_format") or {}).get("json_schema", {}) for each in upstream.requests]
            return sum(name.get("name") == "PriorsAnswer" for name in names[before:])

        key = place.ana["authorization"]
        for name in ("fay", "gus"):
            headers = {"authorization": key, "x-mentalize-user": name}
            assert [await priors_asked(headers) for _ in range(2)] == [1, 0], "each person's own are not asked again"
            assert await priors_asked(headers, stream=True) == 0
        other = place.others["another tenant's ben"].headers["authorization"]
        assert await priors_asked({"authorization": other, "x-mentalize-user": "fay"}) == 1
        for _ in range(2):
            assert await priors_asked({"authorization": key}) == 1, "who has no name shares with nobody"


@pytest.mark.fuzz
async def test_a_key_that_is_revoked_ends_soon(tmp_path: Path) -> None:
    async with deployment(tmp_path) as place:
        keys = place.endpoint.mind.memory.keys
        key, secret = await keys.create("acme", user="ana")
        headers = {"authorization": f"Bearer {secret}"}
        assert SECRET in (await place.client.get("/v1/memories", headers=headers)).text
        await keys.revoke(key.id)
        await asyncio.sleep(FRESH_SECONDS + 0.1)
        answer = await place.client.get("/v1/memories", headers=headers)
        assert answer.status_code == 401 and SECRET not in answer.text


# --- time -------------------------------------------------------------------------------------------------

ROUNDS = 150
FACTOR = 1.25
"""How far the medians of two ways to ask may lie apart; those of one way, asked twice, differ by some hundredths."""

BY_IDS = (
    ("GET", "/v1/memories/{memory}", None),
    ("GET", "/v1/memories/{memory}/why", None),
    ("PATCH", "/v1/memories/{memory}", {"pinned": True}),
    ("DELETE", "/v1/memories/{memory}", None),
    ("GET", "/v1/turns/{turn}", None),
)


@pytest.mark.fuzz
async def test_what_is_another_persons_takes_as_long_as_what_there_is_not(tmp_path: Path) -> None:
    """Both are asked in turn, so that what else the machine does slows both; a real difference shows each time."""
    async with deployment(tmp_path) as place:
        for name in ("another user of the app", "another tenant's ana"):
            headers = place.others[name].headers
            await place.client.post("/v1/memories", json={"text": "I live near the sea."}, headers=headers)
            for method, path, body in BY_IDS:
                targets = (
                    path.format(memory=place.memories[0], turn=place.turns[0]),
                    path.format(memory=UNKNOWN, turn=f"turn-{UNKNOWN}"),
                )
                ratios: list[float] = []
                while not (ratios and 1 / FACTOR < ratios[-1] < FACTOR):
                    assert len(ratios) < 4, (name, method, path, ratios)
                    ratios.append(await ratio_of(place.client, method, targets, body, headers))


async def ratio_of(
    client: httpx.AsyncClient, method: str, targets: tuple[str, str], body: Any, headers: Mapping[str, str]
) -> float:
    """The median time of the first target, divided by that of the second."""
    seconds: dict[str, list[float]] = {target: [] for target in targets}
    for number in range(ROUNDS):
        for target in targets if number % 2 else targets[::-1]:
            began = time.perf_counter()
            answer = await client.request(method, target, json=body, headers=headers)
            seconds[target].append(time.perf_counter() - began)
            assert answer.status_code == 404
    return statistics.median(seconds[targets[0]]) / statistics.median(seconds[targets[1]])

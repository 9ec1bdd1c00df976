"""Keys of the endpoint: what one may do, that only its hash is kept, and `mentalize keys`."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine

from clocks import Clock
from mentalize import Identity, Memories, Memory, MemoryKind
from mentalize.cli.main import main
from mentalize.errors import InputError
from mentalize.llm.embedder import resolve_embedder
from mentalize.memory import database
from mentalize.memory.keys import USER_SOURCES, ApiKey, Limits
from mentalize.memory.store import MemoryStore
from test_database import make_old

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
ANA = Identity("acme", "ana")
FORM = re.compile("mz-(?P<id>[a-z0-9]{10})-(?P<rest>[A-Za-z0-9_-]{43})")


# --- what is known of a key -------------------------------------------------------------------------------


def test_a_key_is_found_as_it_was_made(store: MemoryStore) -> None:
    limits = Limits(requests_per_minute=60, tokens_per_minute=90_000, concurrent_turns=1, body_bytes=10_000)
    sources = ("X-Shop-Customer", "body.metadata.Customer_1", "body.user")
    key, secret = store.keys.create(
        "acme", name="wéb shop", trusted=True, operator=True, user_sources=sources, limits=limits
    )
    assert store.keys.find(secret) == key
    assert key == ApiKey(
        id=key.id,
        tenant="acme",
        name="wéb shop",
        trusted=True,
        operator=True,
        user_sources=("x-shop-customer", "body.metadata.Customer_1", "body.user"),
        limits=limits,
        created_at=NOON,
    )
    form = FORM.fullmatch(secret)
    assert form is not None and form["id"] == key.id


def test_a_plain_key_names_nobody_and_has_no_limits_of_its_own(store: MemoryStore) -> None:
    key, secret = store.keys.create("acme")
    assert store.keys.find(secret) == ApiKey(id=key.id, tenant="acme", created_at=NOON)
    assert key.sources == () and key.limits == Limits()


def test_a_trusted_key_looks_for_the_user_where_known_apps_name_them(store: MemoryStore) -> None:
    key, _ = store.keys.create("acme", trusted=True)
    assert key.sources == USER_SOURCES
    key, _ = store.keys.create("acme", trusted=True, user_sources=("body.user",))
    assert key.sources == ("body.user",)


def test_a_key_may_speak_for_one_person_only(store: MemoryStore) -> None:
    key, secret = store.keys.create("acme", user="ana")
    found = store.keys.find(secret)
    assert found is not None and found == key and found.user == "ana" and found.sources == ()


def test_no_two_keys_are_alike(store: MemoryStore) -> None:
    made = [store.keys.create("acme") for _ in range(50)]
    assert len({key.id for key, _ in made}) == len({FORM.fullmatch(secret)["rest"] for _, secret in made}) == 50  # pyright: ignore[reportOptionalSubscript]
    assert [store.keys.find(secret) for _, secret in made] == [key for key, _ in made]


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"tenant": " "}, "tenant is empty"),
        ({"tenant": "a\nb"}, "tenant .*control characters"),
        ({"user": ""}, "user is empty"),
        ({"user": "\ud800"}, "user .*control characters"),
        ({"name": "x" * 513}, "name is longer than 512"),
        ({"name": "a\x00"}, "name .*control characters"),
        ({"trusted": True, "user": "ana"}, "cannot be trusted to name others.*Leave out"),
        ({"user_sources": ("body.user",)}, "not trusted to name one.*Make it a trusted key"),
        *(
            ({"trusted": True, "user_sources": ("body.user", source)}, "no place where a request.*x-mentalize-user")
            for source in ("", "x y", "body.", "Body.user", "body.metadata.", "body.users", "x:", "-x", "x\n", "ß")
        ),
    ],
)
def test_what_is_malformed_or_contradicts_itself_is_refused(
    store: MemoryStore, given: dict[str, Any], complaint: str
) -> None:
    parts: dict[str, Any] = {"tenant": "acme"} | given
    with pytest.raises(InputError, match=complaint):
        store.keys.create(**parts)
    assert store.keys.listed() == ()


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "3"])
@pytest.mark.parametrize("name", ["requests_per_minute", "tokens_per_minute", "concurrent_turns", "body_bytes"])
def test_a_limit_is_a_whole_number_from_one(name: str, limit: Any) -> None:
    with pytest.raises(InputError, match=rf"{name} is .*whole number from 1"):
        Limits(**{name: limit})


# --- finding ----------------------------------------------------------------------------------------------


def test_only_the_whole_key_is_found(store: MemoryStore) -> None:
    key, secret = store.keys.create("acme")
    _, other = store.keys.create("globex")
    swapped = f"mz-{key.id}-{other[-43:]}"
    unknown = f"mz-{'0' * 10}-{secret[-43:]}"
    parts = ("", key.id, f"mz-{key.id}", secret[:-1])
    longer = (f"{secret}A", f" {secret}", f"{secret}\n", f"{secret}\ud800")
    for wrong in (swapped, unknown, *parts, *longer):
        assert store.keys.find(wrong) is None
    assert store.keys.find(secret) == key


@pytest.fixture(scope="module")
def only() -> Iterator[tuple[MemoryStore, str]]:
    """A database in memory with one key."""
    store = MemoryStore("sqlite://", clock=lambda: NOON)
    _, secret = store.keys.create("acme")
    yield store, secret
    store.close()


@settings(deadline=None)
@given(wrong=st.text() | st.from_regex(FORM) | st.from_regex(FORM, fullmatch=True))
def test_no_text_is_taken_for_a_key(only: tuple[MemoryStore, str], wrong: str) -> None:
    assert only[0].keys.find(wrong) is None


@settings(deadline=None)
@given(place=st.integers(0, 56), length=st.integers(0, 2), put=st.text(max_size=2))
def test_no_altered_key_is_taken(only: tuple[MemoryStore, str], place: int, length: int, put: str) -> None:
    store, secret = only
    altered = secret[:place] + put + secret[place + length :]
    assert (store.keys.find(altered) is None) == (altered != secret)


def test_finding_is_one_query_by_the_primary_key(
    open_store: Callable[[], MemoryStore], caplog: pytest.LogCaptureFixture
) -> None:
    _, secret = open_store().keys.create("acme")
    caplog.set_level(logging.INFO, logger="sqlalchemy.engine")
    store = open_store()
    assert store.keys.any()
    caplog.clear()
    assert store.keys.find(secret) is not None
    (query,) = [record.getMessage() for record in caplog.records if "SELECT" in record.getMessage()]
    assert re.search(r"FROM keys \s*WHERE keys\.id = \S+$", query)


# --- revoking ---------------------------------------------------------------------------------------------


def test_a_revoked_key_is_found_by_no_process(open_store: Callable[[], MemoryStore], clock: Clock) -> None:
    one, other = open_store(), open_store()
    assert not one.keys.any()
    key, secret = one.keys.create("acme")
    assert other.keys.find(secret) == key and other.keys.any()
    clock.now += timedelta(days=1)
    revoked = one.keys.revoke(key.id)
    assert revoked == replace(key, revoked_at=clock.now)
    assert other.keys.find(secret) is None and not other.keys.any()
    clock.now += timedelta(days=1)
    assert other.keys.revoke(key.id) == revoked, "the first time stays"
    assert one.keys.listed() == (revoked,)


def test_a_tenant_revokes_its_own_keys_only(store: MemoryStore) -> None:
    key, secret = store.keys.create("acme")
    for other in ("globex", ""):
        with pytest.raises(InputError, match=r"no key of that id.*mentalize keys list"):
            store.keys.revoke(key.id, other)
    with pytest.raises(InputError, match="no key of that id"):
        store.keys.revoke("nonesuch")
    assert store.keys.find(secret) == key
    assert store.keys.revoke(key.id, "acme").revoked_at == NOON


def test_keys_are_listed_by_age_and_tenant(store: MemoryStore, clock: Clock) -> None:
    made: list[ApiKey] = []
    for tenant in ("globex", "acme", "globex"):
        clock.now += timedelta(seconds=1)
        made.append(store.keys.create(tenant)[0])
    assert store.keys.listed() == tuple(made)
    assert store.keys.listed("globex") == (made[0], made[2])
    assert store.keys.listed("nobody") == ()


# --- in the database --------------------------------------------------------------------------------------


def test_forgetting_somebody_leaves_the_keys(store: MemoryStore) -> None:
    key, secret = store.keys.create(ANA.tenant, user=ANA.user)
    store.add(ANA, [Memory(id="a", kind=MemoryKind.FACT, text="Ana has a dog.", observed_at=NOON)])
    assert store.forget_all(ANA).total and not store.exists(ANA)
    assert store.keys.find(secret) == key
    assert store.check() == ()


def test_the_key_itself_is_in_no_byte_of_the_database_and_in_no_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    folder = tmp_path / "kept"
    with closing(MemoryStore(f"sqlite:///{folder}/memory.db", clock=lambda: NOON)) as store:
        key, secret = store.keys.create("acme")
        assert store.keys.find(secret) == key and store.keys.revoke(key.id)
        rest = secret[-43:]
        files = {file.name: file.read_bytes() for file in folder.iterdir()}
        assert set(files) == {"memory.db", "memory.db-shm", "memory.db-wal"}
        assert any(hashlib.sha256(secret.encode()).digest() in content for content in files.values())
        assert not [name for name, content in files.items() if rest.encode() in content]
        assert rest not in repr(key) + caplog.text
    assert rest.encode() not in (folder / "memory.db").read_bytes()
    assert rest not in caplog.text


def test_a_database_of_before_there_were_keys_gets_them(tmp_path: Path) -> None:
    make_old(tmp_path / "memory.db", "0002")
    with closing(MemoryStore(f"sqlite:///{tmp_path}/memory.db", clock=lambda: NOON)) as store:
        assert not store.keys.any()
        key, secret = store.keys.create("acme")
        assert store.keys.find(secret) == key
        assert store.count(Identity("acme-holdings", "ana-garcía")) == {"turn": 1} and store.check() == ()


@pytest.mark.postgres
def test_a_server_of_before_there_were_keys_gets_them(postgres_url: str) -> None:
    engine = create_engine(postgres_url.replace("postgresql", "postgresql+psycopg", 1))
    with engine.begin() as connection:
        database.migrate(connection, "0002")
    engine.dispose()
    with closing(MemoryStore(postgres_url, clock=lambda: NOON)) as store:
        key, secret = store.keys.create("acme")
        assert store.keys.find(secret) == key and store.keys.listed() == (key,)


async def test_coroutines_have_the_same_keys(database_url: str) -> None:
    async with Memories.at(database_url, resolve_embedder("fake"), clock=lambda: NOON) as memories:
        limits = Limits(concurrent_turns=2)
        key, secret = await memories.keys.create("acme", name="app", trusted=True, operator=True, limits=limits)
        assert (key.name, key.trusted, key.operator, key.limits) == ("app", True, True, limits)
        fixed, _ = await memories.keys.create("globex", user="ana")
        assert fixed.user == "ana"
        assert await memories.keys.find(secret) == key and await memories.keys.find("mz-") is None
        assert await memories.keys.listed("acme") == (key,)
        with pytest.raises(InputError, match="no key of that id"):
            await memories.keys.revoke(key.id, "globex")
        for each in await memories.keys.listed():
            assert await memories.keys.any()
            await memories.keys.revoke(each.id, each.tenant)
        assert await memories.keys.find(secret) is None and not await memories.keys.any()


# --- the command line -------------------------------------------------------------------------------------


@pytest.fixture
def command(
    database_url: str, monkeypatch: pytest.MonkeyPatch, own_logging: None, tmp_path: Path
) -> Callable[..., int]:
    """`mentalize keys`, on the database of the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MENTALIZE_MEMORY__URL", database_url)
    return lambda *arguments: main(["keys", *arguments])


Captured = pytest.CaptureFixture[str]


def made(command: Callable[..., int], capsys: Captured, *options: str) -> tuple[str, str]:
    """A new key, and what was said about it."""
    assert command("create", *options) == 0
    captured = capsys.readouterr()
    secret = captured.out.removesuffix("\n")
    assert FORM.fullmatch(secret), "the key is alone on standard output"
    assert secret not in captured.err
    return secret, captured.err


def told(capsys: Captured) -> str:
    """The one line of an error."""
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("mentalize: ") and captured.err.count("\n") == 1
    return captured.err


def listed(command: Callable[..., int], capsys: Captured, *options: str) -> list[dict[str, Any]]:
    assert command("list", "--json", *options) == 0
    return json.loads(capsys.readouterr().out)


def test_create_prints_the_key_once_and_says_what_it_may(
    command: Callable[..., int], store: MemoryStore, capsys: Captured
) -> None:
    secret, said = made(command, capsys, "--tenant", "acme")
    key = store.keys.find(secret)
    assert key is not None and key.tenant == "acme"
    assert "shown only now" in said and "Authorization: Bearer KEY" in said
    assert "Nobody is known to speak" in said and f"`mentalize keys revoke {key.id}`" in said


def test_create_takes_every_option(command: Callable[..., int], store: MemoryStore, capsys: Captured) -> None:
    limits = ("--requests-per-minute=60", "--tokens-per-minute=90000", "--concurrent-turns=2", "--body-bytes=4096")
    sources = ("--user-from", "X-Customer", "--user-from", "body.user")
    secret, said = made(
        command, capsys, "--tenant", "acme", "--name", "web shop", "--trusted", "--operator", *sources, *limits
    )
    assert store.keys.find(secret) == ApiKey(
        id=secret[3:13],
        tenant="acme",
        name="web shop",
        trusted=True,
        operator=True,
        user_sources=("x-customer", "body.user"),
        limits=Limits(requests_per_minute=60, tokens_per_minute=90_000, concurrent_turns=2, body_bytes=4_096),
        created_at=store.keys.listed()[0].created_at,
    )
    assert "x-customer, body.user" in said and "those who run the server" in said
    assert "60 requests a minute, 90,000 tokens a minute, 2 turns at once, 4,096 bytes a request" in said
    secret, said = made(command, capsys, "--tenant", "acme", "--user", "ana")
    key = store.keys.find(secret)
    assert key is not None and key.user == "ana" and "It always speaks for ana." in said


def test_list_shows_what_each_key_may_and_never_the_key(
    command: Callable[..., int], store: MemoryStore, capsys: Captured
) -> None:
    assert command("list") == 0
    assert "`mentalize keys create` makes one" in capsys.readouterr().out
    assert listed(command, capsys) == []
    shop, _ = made(command, capsys, "--tenant", "acme", "--name", "shop", "--trusted", "--concurrent-turns", "2")
    ana, _ = made(command, capsys, "--tenant", "globex", "--user", "ana", "--operator")
    assert command("revoke", shop[3:13]) == 0
    capsys.readouterr()
    assert command("list") == 0
    table = capsys.readouterr().out
    rows = " ".join(table.split())
    assert "acme shop [revoked] any user 2 turns at" in rows and "globex [operator] ana" in rows
    assert max(map(len, table.splitlines())) <= 80
    keys = listed(command, capsys)
    assert [(key["id"], key["tenant"], key["user"]) for key in keys] == [
        (shop[3:13], "acme", None),
        (ana[3:13], "globex", "ana"),
    ]
    assert keys[0]["revoked_at"] and keys[0]["limits"]["concurrent_turns"] == 2
    assert [key["id"] for key in listed(command, capsys, "--tenant", "globex")] == [ana[3:13]]
    for secret in (shop, ana):
        digest = hashlib.sha256(secret.encode())
        assert secret[-43:] not in table + json.dumps(keys) and digest.hexdigest() not in table + json.dumps(keys)
        assert all(set(key).isdisjoint({"digest", "secret"}) for key in keys)


def test_revoke_takes_the_id_or_a_key_that_leaked(
    command: Callable[..., int], store: MemoryStore, capsys: Captured
) -> None:
    for form in (lambda secret: secret[3:13], lambda secret: secret):
        secret, _ = made(command, capsys, "--tenant", "acme", "--name", "shop")
        for _ in range(2):
            assert command("revoke", form(secret)) == 0
            assert capsys.readouterr().out == f"Revoked {secret[3:13]} (shop) of tenant acme.\n"
        assert store.keys.find(secret) is None


def test_an_error_is_one_line_and_repeats_no_key(command: Callable[..., int], capsys: Captured) -> None:
    secret, _ = made(command, capsys, "--tenant", "acme")
    other = f"mz-{'0' * 10}-{secret[-43:]}"
    assert command("revoke", other) == 2
    assert "no key of that id" in (error := told(capsys)) and secret[-43:] not in error
    for options, complaint in (
        (("--tenant", ""), "tenant is empty"),
        (("--tenant", "acme", "--trusted", "--user", "ana"), "cannot be trusted"),
        (("--tenant", "acme", "--user-from", "body.user"), "not trusted"),
        (("--tenant", "acme", "--trusted", "--user-from", "x y"), "'x y' is no place"),
        (("--tenant", "acme", "--name", "\x1b[31mred"), "control characters"),
    ):
        assert command("create", *options) == 2
        assert complaint in told(capsys)
    for options in ((), ("--tenant", "acme", "--body-bytes", "0"), ("--tenant", "acme", "--body-bytes", "many")):
        assert command("create", *options) == 2
        assert "Traceback" not in capsys.readouterr().err
    assert [key["id"] for key in listed(command, capsys)] == [secret[3:13]]


def test_names_bring_nothing_that_a_terminal_obeys(command: Callable[..., int], capsys: Captured) -> None:
    secret, said = made(command, capsys, "--tenant", "ac\u202eme", "--name", "[red]shop")
    assert "\u202e" not in said
    assert command("list") == 0 and command("revoke", secret) == 0
    out = capsys.readouterr().out
    assert "\u202e" not in out and out.count("[red]shop") == 2


def test_help_says_what_trust_means(command: Callable[..., int], capsys: Captured) -> None:
    assert main(["--help"]) == 0
    assert re.search(r"^. keys ", capsys.readouterr().out, re.MULTILINE)
    assert command("create", "--help") == 0
    assert "nothing is remembered" in " ".join(capsys.readouterr().out.split())

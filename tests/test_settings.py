"""Settings: what wins over what, where each value comes from, and what a wrong one is told."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mentalize.errors import SettingsError
from mentalize.memory.retention import TAU
from mentalize.settings import Settings
from mentalize.types import Effort, MemoryKind


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_are_those_of_the_papers():
    settings = Settings.load()
    assert (settings.model, settings.effort, settings.hypotheses) == ("embedded", Effort.AUTO, 6)
    assert (settings.plausibility_weight, settings.empathy_weight, settings.utility_threshold) == (0.6, 0.8, 0.85)
    assert set(settings.origins().values()) == {"default"}


def test_argument_beats_environment_beats_file_beats_default(monkeypatch):
    write(Path("mentalize.toml"), 'model = "hosted_vllm/file"\nhypotheses = 3\nretries = 7')
    monkeypatch.setenv("MENTALIZE_HYPOTHESES", "4")
    monkeypatch.setenv("MENTALIZE_MODEL", "hosted_vllm/environment")
    settings = Settings.load(model="hosted_vllm/argument", effort=None)
    assert (settings.model, settings.hypotheses, settings.retries) == ("hosted_vllm/argument", 4, 7)
    origins = settings.origins()
    assert origins["model"] == "argument"
    assert origins["hypotheses"] == "environment MENTALIZE_HYPOTHESES"
    assert origins["retries"] == "file mentalize.toml"
    assert origins["effort"] == "default"


def test_files_are_looked_for_in_order(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    write(tmp_path / "config/mentalize/config.toml", "retries = 1")
    assert Settings.load().retries == 1
    write(Path("mentalize.toml"), "retries = 3")
    assert Settings.load().retries == 3
    monkeypatch.setenv("MENTALIZE_CONFIG", str(write(tmp_path / "named.toml", "retries = 4")))
    assert Settings.load().retries == 4
    assert Settings.load(config=write(tmp_path / "argument.toml", "retries = 5")).retries == 5


def test_a_file_that_was_named_must_exist(monkeypatch):
    with pytest.raises(SettingsError, match=r"no settings file absent\.toml.*--config"):
        Settings.load(config="absent.toml")
    monkeypatch.setenv("MENTALIZE_CONFIG", "gone.toml")
    with pytest.raises(SettingsError, match="MENTALIZE_CONFIG"):
        Settings.load()


@pytest.mark.parametrize("content", [b"model = ", b"\xff\xfe\x00", b"[a]\n[a]"])
def test_a_malformed_file_is_named(content):
    Path("mentalize.toml").write_bytes(content)
    with pytest.raises(SettingsError, match=r"mentalize\.toml cannot be read as TOML"):
        Settings.load()


@pytest.mark.parametrize(
    ("text", "wrong", "near"),
    [
        ('modell = "x"', "modell", "model"),
        ("[roles.reson]\nmodel = 'x'", "roles.reson", "roles.reason"),
        ("[roles.judge]\nmodl = 'x'", "roles.judge.modl", "roles.judge.model"),
        ("[contract.medium]\nsecond = 3", "contract.medium.second", "contract.medium.seconds"),
        ("utility_treshold = 1", "utility_treshold", "utility_threshold"),
    ],
)
def test_an_unknown_key_in_a_file_names_the_nearest(text, wrong, near):
    write(Path("mentalize.toml"), text)
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    assert caught.value.message == f"Unknown setting {wrong} in mentalize.toml."
    assert caught.value.hint == f"Did you mean {near}?"


def test_an_unknown_variable_names_the_nearest(monkeypatch):
    monkeypatch.setenv("MENTALIZE_ROLES__JUGDE__MODEL", "x")
    with pytest.raises(SettingsError, match="Did you mean MENTALIZE_ROLES__JUDGE__MODEL"):
        Settings.load()


def test_an_unknown_argument_names_the_nearest():
    for make in (Settings.load, Settings, Settings().changed):
        with pytest.raises(SettingsError, match=r"Unknown setting efort among the arguments. Did you mean effort\?"):
            make(efort="low")


def test_variables_that_kubernetes_sets_for_a_service_of_our_name_are_not_ours(monkeypatch):
    for name in ("SERVICE_HOST", "SERVICE_PORT_HTTP", "PORT", "PORT_80_TCP_ADDR"):
        monkeypatch.setenv(f"MENTALIZE_{name}", "tcp://10.0.0.1:80")
    assert set(Settings.load().origins().values()) == {"default"}


def test_nested_variables_json_tables_and_lists(monkeypatch):
    monkeypatch.setenv("MENTALIZE_ROLES__REASON__MODEL", "hosted_vllm/small")
    monkeypatch.setenv("MENTALIZE_CONTRACT", json.dumps({"medium": {"seconds": 12.5}}))
    monkeypatch.setenv("MENTALIZE_NORM_PACKS", os.pathsep.join(["/a.toml", "/b.toml"]))
    monkeypatch.setenv("MENTALIZE_PROMPTS", '["/c"]')
    monkeypatch.setenv("MENTALIZE_CHOOSING", "false")
    settings = Settings.load()
    assert settings.binding("reason").model == "hosted_vllm/small"
    assert settings.contract.medium.seconds == 12.5
    assert settings.norm_packs == (Path("/a.toml"), Path("/b.toml"))
    assert settings.prompts == (Path("/c"),)
    assert settings.choosing is False
    assert settings.origins()["contract.medium.seconds"] == "environment MENTALIZE_CONTRACT"


def test_an_empty_variable_is_not_set(monkeypatch):
    monkeypatch.setenv("MENTALIZE_MODEL", "")
    assert Settings.load().origins()["model"] == "default"


def test_a_table_variable_that_is_no_json(monkeypatch):
    monkeypatch.setenv("MENTALIZE_ROLES", "{reason")
    with pytest.raises(SettingsError, match="malformed"):
        Settings.load()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("utility_threshold", 1.01),
        ("empathy_weight", -0.1),
        ("plausibility_weight", float("nan")),
        ("hypotheses", 0),
        ("max_revisions", -1),
        ("call_seconds", 0),
        ("call_seconds", float("inf")),
        ("concurrency", 0),
        ("retries", -1),
        ("effort", "huge"),
        ("score_mode", "best"),
        ("choosing", "perhaps"),
        ("country", "Germany"),
        ("language", "english please"),
        ("base_url", "localhost:8000"),
        ("base_url", "http://a:8000/v1,localhost:8000"),
        ("base_url", "http://a:8000/v1,"),
        ("base_url", []),
        ("model", " "),
        ("log_level", "loud"),
        ("roles", "reason"),
        ("memory.zone", "Europe/Dubblin"),
        ("memory.url", "memory.db"),
        ("memory.mode", "sometimes"),
        ("memory.fading.turn", 0),
        ("memory.archive_below", 1.1),
        ("memory.trace_days", -1),
    ],
)
def test_a_value_out_of_its_range_is_told_where_it_stands_and_what_is_meant(key, value):
    given: dict[str, Any] = {}
    *tables, last = key.split(".")
    inside = given
    for table in tables:
        inside = inside.setdefault(table, {})
    inside[last] = value
    with pytest.raises(SettingsError) as caught:
        Settings.load(**given)
    assert caught.value.message.startswith(f"{key} = ")
    assert "(argument): " in caught.value.message
    assert caught.value.hint.startswith(f"{key}: ")
    assert "\n" not in str(caught.value)


def test_settings_are_frozen():
    settings = Settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.model = "other"


def test_a_key_is_never_shown(monkeypatch):
    monkeypatch.setenv("MENTALIZE_API_KEY", "sk-secret")
    settings = Settings.load(roles={"judge": {"api_key": "sk-other"}})
    assert "sk-" not in repr(settings) + str(settings) + repr(settings.binding("judge"))
    key = settings.binding("write").api_key
    assert key is not None
    assert key.get_secret_value() == "sk-secret"
    with pytest.raises(SettingsError) as caught:
        Settings.load(api_key=["sk-list"])
    assert "sk-list" not in str(caught.value)


def test_paths_in_a_file_are_beside_it(tmp_path):
    file = write(
        tmp_path / "far/settings.toml",
        'prompts = ["mine", "/abs"]\nreferrals = "help.toml"\ncharter = "roles/nurse.toml"\nmodels_folder = "~/gguf"',
    )
    settings = Settings.load(config=file)
    assert settings.prompts == (tmp_path / "far/mine", Path("/abs"))
    assert settings.referrals == tmp_path / "far/help.toml"
    assert settings.charter == str(tmp_path / "far/roles/nurse.toml")
    assert settings.models_folder == Path.home() / "gguf"
    assert Settings.load(config=write(tmp_path / "named.toml", 'charter = "tutor"')).charter == "tutor"


def test_the_database_is_in_the_data_folder_and_its_index_beside_it(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    memory = Settings().memory
    assert memory.database_url == f"sqlite:///{tmp_path}/data/mentalize/memory.db"
    assert memory.index_place == f"{tmp_path}/data/mentalize/memory.index"
    elsewhere = Settings(memory={"url": "sqlite:////srv/ana.db"}).memory
    assert elsewhere.index_place == "/srv/memory.index"
    server = Settings(memory={"url": "postgresql://db/app", "index": "http://chroma:8000"}).memory
    assert (server.database_url, server.index_place) == ("postgresql://db/app", "http://chroma:8000")
    assert Settings(memory={"url": "postgresql://db/app"}).memory.index_place == memory.index_place


def test_a_database_in_a_file_of_settings_is_beside_that_file(tmp_path):
    text = '[memory]\nurl = "sqlite:///ana.db"\nindex = "ana.index"'
    memory = Settings.load(config=write(tmp_path / "far/settings.toml", text)).memory
    assert memory.database_url == f"sqlite:///{tmp_path}/far/ana.db"
    assert memory.index_place == str(tmp_path / "far/ana.index")
    kept = '[memory]\nurl = "postgresql://me:pw@db/app"\nindex = "https://chroma"'
    memory = Settings.load(config=write(tmp_path / "far/server.toml", kept)).memory
    assert (memory.database_url, memory.index_place) == ("postgresql://me:pw@db/app", "https://chroma")


def test_the_password_of_a_database_is_never_shown():
    settings = Settings(memory={"url": "postgresql://me:hush@db/app"})
    assert "hush" not in repr(settings) + str(settings)
    with pytest.raises(SettingsError) as caught:
        Settings(memory={"url": "mysql://me:hush@db/app"})
    assert "hush" not in str(caught.value) and "postgresql://" in str(caught.value)


def test_the_curve_has_a_tau_for_every_kind():
    curve = Settings(memory={"fading": {"turn": 2, "portrait": 40}, "archive_below": 0.1}).memory.as_curve()
    assert set(curve.tau) == set(MemoryKind)
    assert (curve.tau[MemoryKind.TURN], curve.tau[MemoryKind.DAY_PORTRAIT], curve.archive_below) == (2, 40, 0.1)
    assert dict(Settings().memory.as_curve().tau) == dict(TAU)


def test_a_role_shares_the_endpoint_of_its_provider_only():
    settings = Settings(
        model="hosted_vllm/large",
        base_url="http://127.0.0.1:8000/v1/",
        api_key="k",
        reason="hosted_vllm/small",
        write="openai/gpt-5",
        roles={"judge": {"model": "hosted_vllm/judge", "base_url": "http://elsewhere/v1"}},
    )
    reason, judge, write = (settings.binding(role) for role in ("reason", "judge", "write"))
    assert (reason.model, reason.base_url) == ("hosted_vllm/small", "http://127.0.0.1:8000/v1")
    assert reason.api_key is not None
    assert (judge.base_url, judge.api_key) == ("http://elsewhere/v1", None)
    assert (write.model, write.base_url, write.api_key) == ("openai/gpt-5", None, None)


@pytest.mark.parametrize(
    "given",
    ["http://a:8000/v1/ , http://b:8000/v1", ["http://a:8000/v1", "http://b:8000/v1/", "http://a:8000/v1"]],
    ids=["commas", "list"],
)
def test_several_addresses_of_one_model(given, monkeypatch):
    several = "http://a:8000/v1,http://b:8000/v1"
    assert Settings(base_url=given).base_url == several
    assert Settings(roles={"judge": {"model": "hosted_vllm/x", "base_url": given}}).binding("judge").base_url == several
    write(Path("mentalize.toml"), f'model = "hosted_vllm/x"\nbase_url = {json.dumps(given)}')
    assert Settings.load().binding("write").base_url == several
    if isinstance(given, str):
        monkeypatch.setenv("MENTALIZE_BASE_URL", given)
        monkeypatch.setenv("MENTALIZE_ROLES__JUDGE__BASE_URL", given)
        assert Settings.load().base_url == Settings.load().binding("judge").base_url == several


def test_another_provider_leaves_the_lower_layers_endpoint_behind():
    write(Path("mentalize.toml"), 'model = "hosted_vllm/q"\nbase_url = "http://127.0.0.1:8000/v1"\napi_key = "k"')
    other = Settings.load(model="openai/gpt-5").binding("write")
    assert (other.base_url, other.api_key) == (None, None)
    assert Settings.load(model="hosted_vllm/r").binding("write").base_url == "http://127.0.0.1:8000/v1"
    assert Settings.load().changed(model="openai/gpt-5").base_url is None


def test_a_key_without_a_model_in_a_lower_layer_is_kept(monkeypatch):
    monkeypatch.setenv("MENTALIZE_BASE_URL", "http://127.0.0.1:9/v1")
    assert Settings.load(model="hosted_vllm/x").binding("write").base_url == "http://127.0.0.1:9/v1"


def test_both_spellings_of_a_roles_model(monkeypatch):
    with pytest.raises(SettingsError, match="name different models"):
        Settings(reason="a/b", roles={"reason": {"model": "a/c"}})
    write(Path("mentalize.toml"), 'reason = "a/file"')
    monkeypatch.setenv("MENTALIZE_ROLES__REASON__MODEL", "a/environment")
    settings = Settings.load()
    assert settings.binding("reason").model == "a/environment"
    assert settings.origins()["reason"] == "default"
    assert settings.changed(reason="a/argument").binding("reason").model == "a/argument"


def test_changed_keeps_what_it_does_not_change(monkeypatch):
    monkeypatch.setenv("MENTALIZE_ROLES__JUDGE__API_KEY", "k")
    monkeypatch.setenv("MENTALIZE_RETRIES", "5")
    changed = Settings.load().changed(effort="low", model=None)
    assert (changed.effort, changed.retries) == (Effort.LOW, 5)
    key = changed.binding("judge").api_key
    assert key is not None
    assert key.get_secret_value() == "k"
    assert changed.origins()["retries"] == "environment MENTALIZE_RETRIES"
    assert changed.origins()["effort"] == "argument"


def test_the_constructor_reads_nothing_but_its_arguments(monkeypatch):
    monkeypatch.setenv("MENTALIZE_RETRIES", "9")
    assert Settings().retries == 2


# --- logs -------------------------------------------------------------------------------------------------

LOGGING = """
import logging, structlog
from mentalize import logs
from mentalize.settings import Settings
logs.configure(Settings({arguments}))
logs.configure(Settings({arguments}))
structlog.get_logger("mentalize.test").info("turn.done", reply="my secret", calls=3)
structlog.get_logger("mentalize.test").debug("too quiet")
logging.getLogger("mentalize.plain").info("plain line")
logging.getLogger("httpx").info("a foreign library's body")
"""


def logged(arguments: str) -> list[str]:
    code = LOGGING.replace("{arguments}", arguments)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_logs_are_json_lines_on_stderr_without_contents():
    first, second = map(json.loads, logged("log_level='info'"))
    assert (first["event"], first["level"], first["calls"]) == ("turn.done", "info", 3)
    assert first["reply"] == "<9 characters>"
    assert re.match(r"\d{4}-\d\d-\d\dT", first["timestamp"])
    assert second["event"] == "plain line"


def test_contents_are_logged_when_asked_for_and_lines_are_readable():
    text = "\n".join(logged("log_level='info', log_contents=True, log_format='console'"))
    assert "my secret" in text
    assert "turn.done" in text
    assert not text.startswith("{")


def test_the_default_level_is_quiet():
    assert logged("") == []

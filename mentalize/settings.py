"""Settings: one frozen object from arguments, environment, a TOML file and defaults, in that order of precedence.

    model = "hosted_vllm/qwen3"            # mentalize.toml
    MENTALIZE_UTILITY_THRESHOLD=0.8        # environment; tables are nested by two underscores:
    MENTALIZE_ROLES__JUDGE__MODEL=embedded

`Settings(...)` holds exactly what it is given; `Settings.load(...)` also reads the environment and the file.
"""

from __future__ import annotations

import difflib
import json
import math
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, cast

import platformdirs
import pydantic_settings
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, EnvSettingsSource, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from .errors import SettingsError
from .memory.retention import Curve
from .memory.zones import is_zone
from .types import Effort, MemoryKind, MemoryMode, PerspectivesMode, StreamMode

__all__ = [
    "Binding",
    "ContractLimits",
    "Contracts",
    "Fading",
    "KeyLimits",
    "MemorySettings",
    "RoleBinding",
    "Roles",
    "ServerSettings",
    "Settings",
]

PREFIX = "MENTALIZE_"
CONFIG_VARIABLE = "MENTALIZE_CONFIG"
DEFAULT = "default"
ARGUMENT = "argument"

# Kubernetes gives every container MENTALIZE_SERVICE_HOST, MENTALIZE_PORT_80_TCP, … when a service is named `mentalize`.
_SERVICE_LINK = re.compile(r"MENTALIZE_(SERVICE_HOST|SERVICE_PORT\w*|PORT(_\d+_(TCP|UDP)\w*)?)")

_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")

_MISSING = object()


def _expand(path: Path) -> Path:
    return path.expanduser()


def _split_paths(value: object) -> object:
    """Take a list as it is, and a string as JSON or as paths joined by the system's path separator."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError as error:
            raise ValueError(f"not a JSON list ({error})") from error
    return [part for part in value.split(os.pathsep) if part]


def _split_names(value: object) -> object:
    """Take a list as it is, and a string as JSON or as names with commas between them."""
    if not isinstance(value, str) or value.lstrip().startswith("["):
        return _split_paths(value)
    return [name for part in value.split(",") if (name := part.strip())]


def _upper(value: object) -> object:
    return value.strip().upper() if isinstance(value, str) else value


def _zone(value: str) -> str:
    if not is_zone(value):
        raise ValueError("must be an IANA time zone, such as Europe/Dublin")
    return value


def _database(value: str) -> str:
    if not re.match(r"(sqlite|postgres(ql)?)(\+\w+)?://", value):
        raise ValueError("must begin with sqlite:/// or postgresql://")
    return value


def _data_folder() -> Path:
    return platformdirs.user_data_path("mentalize", appauthor=False)


def _beside_database(url: str) -> Path:
    """The folder of an SQLite file; our own, if the database is no file."""
    file = re.match(r"sqlite(?:\+\w+)?:///([^?]+)", url)
    return Path(file[1]).parent if file and file[1] != ":memory:" else _data_folder()


def _http(value: str) -> str:
    if not re.match(r"https?://[^/\s]", value):
        raise ValueError("must be an address that begins with http:// or https://")
    return value.rstrip("/")


def _listed(value: object) -> object:
    """Several addresses as one text, with commas between them."""
    return ",".join(map(str, cast("Iterable[object]", value))) if isinstance(value, list | tuple) else value


def _endpoints(value: str) -> str:
    return ",".join(dict.fromkeys(_http(address.strip()) for address in value.split(",")))


Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Stated = Annotated[str, Field(min_length=1, max_length=100)]
ModelString = Annotated[str, Field(min_length=1, pattern=r"\S")]
Address = Annotated[str, AfterValidator(_http)]
Addresses = Annotated[str, BeforeValidator(_listed), AfterValidator(_endpoints)]
FilePath = Annotated[Path, AfterValidator(_expand)]
FilePaths = Annotated[tuple[FilePath, ...], NoDecode, BeforeValidator(_split_paths)]
RoleName = Literal["reason", "judge", "write"]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RoleBinding(_Table):
    """What answers for one role, where it differs from `model`."""

    model: ModelString | None = Field(default=None, description="Model string for this role.")
    base_url: Addresses | None = Field(
        default=None, description="Address of this role's endpoint, or those of several that serve the same."
    )
    api_key: SecretStr | None = Field(
        default=None, description="Key for this role's endpoint; never printed or logged."
    )


class Roles(_Table):
    """The roles that agents ask for."""

    reason: RoleBinding = Field(default=RoleBinding(), description="Perceives, hypothesises, foresees and refines.")
    judge: RoleBinding = Field(default=RoleBinding(), description="Rates plausibility, quality and safety.")
    write: RoleBinding = Field(default=RoleBinding(), description="Writes the reply.")


class ContractLimits(_Table):
    """Changes to what a turn of one effort may cost; None keeps the built-in limit."""

    calls: int | None = Field(default=None, ge=1, le=1_000, description="Model calls, scorings not counted.")
    depth: int | None = Field(default=None, ge=1, le=100, description="Model calls that wait for one another.")
    seconds: Seconds | None = Field(default=None, description="Seconds until the best that is ready goes out.")


class Contracts(_Table):
    """Contract changes for each effort."""

    none: ContractLimits = ContractLimits()
    minimal: ContractLimits = ContractLimits()
    low: ContractLimits = ContractLimits()
    medium: ContractLimits = ContractLimits()
    high: ContractLimits = ContractLimits()


Days = Annotated[float, Field(gt=0, le=36_500, allow_inf_nan=False)]


class Fading(_Table):
    """τ: days until an unused memory of strength 1 has faded to 1/e, by kind (docs/memory.md)."""

    fact: Days = Field(default=365, description="Facts.")
    preference: Days = Field(default=365, description="Preferences.")
    portrait: Days = Field(default=90, description="Portraits, of a day and overall.")
    emotion_pattern: Days = Field(default=30, description="Emotions that recur.")
    feedback: Days = Field(default=30, description="What was wrong with earlier replies.")
    turn: Days = Field(default=7, description="What was said.")
    summary: Days = Field(default=7, description="Summaries of events, of a day and overall.")
    inference: Days = Field(default=3, description="Guesses that nobody confirmed.")

    def by_kind(self) -> dict[MemoryKind, float]:
        """τ for every kind; what cannot be set never fades."""
        kinds = {kind: kind.value.removeprefix("day_") for kind in MemoryKind}
        return {kind: getattr(self, name, math.inf) for kind, name in kinds.items()}


class MemorySettings(_Table):
    """What is kept, where, and how it fades."""

    mode: MemoryMode = Field(
        default=MemoryMode.ON, description="What a turn does when it does not say: on, read-only or off."
    )
    url: Annotated[str, AfterValidator(_database)] | None = Field(
        default=None,
        repr=False,
        description="SQLAlchemy URL of the database, which may hold a password; None: memory.db in your data folder.",
    )
    embedder: Annotated[str, Field(min_length=1)] = Field(
        default="minilm",
        description="minilm (English), multilingual, sentence-transformers/NAME, or a LiteLLM embedding model.",
    )
    index: str | None = Field(
        default=None, description="Folder of the vector index, or URL of a Chroma server; None: beside the database."
    )
    zone: Annotated[str, AfterValidator(_zone)] = Field(
        default="UTC", description="IANA time zone of people whose own is not known."
    )
    curve: Literal["default", "paper"] = Field(
        default="default", description="e^(−Δt/(τ·S)), or MemoryBank's own e^(−t/S)."
    )
    fading: Fading = Field(default=Fading(), description="τ in days by kind.")
    archive_below: Share = Field(default=0.05, description="Retention under which a memory is archived.")
    limit: int = Field(default=12, ge=1, le=200, description="Memories that a turn recalls at most.")
    tokens: int = Field(default=1_200, ge=50, le=100_000, description="Tokens that they may take in a prompt, about.")
    per_person: int = Field(
        default=100_000, ge=10, description="Memories of one person that are not archived, at most."
    )
    inference_days: Days = Field(default=14, description="Days until an unconfirmed guess lapses.")
    trace_days: Annotated[float, Field(ge=0, le=36_500)] = Field(
        default=7, description="Days for which traces are stored; 0 stores none."
    )
    idle_seconds: Seconds = Field(
        default=20, description="Quiet after which summaries and portraits are brought up to date."
    )

    @property
    def database_url(self) -> str:
        """The database in use."""
        return self.url or f"sqlite:///{_data_folder() / 'memory.db'}"

    @property
    def index_place(self) -> str:
        """The folder or address of the index in use."""
        return self.index or str(_beside_database(self.database_url) / "memory.index")

    def as_curve(self) -> Curve:
        """How memories fade by these settings."""
        return Curve(mode=self.curve, tau=self.fading.by_kind(), archive_below=self.archive_below)


class KeyLimits(_Table):
    """What each key may do that has no limits of its own, and who calls without one."""

    requests_per_minute: int | None = Field(default=None, ge=1, description="Requests per minute; None: no limit.")
    tokens_per_minute: int | None = Field(
        default=None, ge=1, description="Tokens per minute of all calls to models together; None: no limit."
    )
    concurrent_turns: int = Field(default=1_024, ge=1, description="Requests in work at the same time.")
    body_bytes: int = Field(default=20 * 2**20, ge=1_024, description="Bytes of one request's body.")


class ServerSettings(_Table):
    """The OpenAI-compatible endpoint."""

    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(default=8377, ge=0, le=65_535, description="Port to listen on; 0 takes a free one.")
    workers: int = Field(
        default=1, ge=1, le=256, description="Processes; more than one wants PostgreSQL and a Chroma server."
    )
    tenant: str = Field(
        default="default", min_length=1, description="Tenant of callers without a key, who exist on loopback only."
    )
    stream: StreamMode = Field(
        default=StreamMode.SENTENCE, description="When streamed text leaves: sentence, gated or live."
    )
    stages: bool = Field(default=False, description="Whether stages stream as reasoning_content unless told otherwise.")
    ping_seconds: Annotated[float, Field(ge=0, le=3_600)] = Field(
        default=0, description="Silence of a stream after which a comment keeps it alive; 0 for never."
    )
    turns: int = Field(
        default=64, ge=1, description="Turns with thought at a time; beyond, they get less of it, and then none."
    )
    limits: KeyLimits = Field(default=KeyLimits(), description="Limits of keys that have none of their own.")
    limits_url: str = Field(
        default="memory://",
        pattern=r"^(memory|redis(\+\w+)?|rediss)://",
        repr=False,
        description="Where requests and tokens are counted: memory:// (each process for itself), or redis://….",
    )
    arrival_seconds: Seconds = Field(default=30, description="Time in which a request has to arrive.")
    shutdown_seconds: Seconds = Field(default=30, description="Time that turns have to end when the server stops.")
    docs: bool = Field(default=True, description="Whether /docs and /openapi.json are served.")
    origins: tuple[str, ...] = Field(default=(), description="Origins of web pages that may call (CORS).")
    traces: Address | None = Field(
        default=None, description="OpenTelemetry collector (OTLP over gRPC), such as http://127.0.0.1:4317."
    )


@dataclass(frozen=True, slots=True)
class Binding:
    """A role's model and how to reach it."""

    model: str
    base_url: str | None = None
    """Of several endpoints, their addresses with commas between them."""
    api_key: SecretStr | None = None


class Settings(BaseSettings):
    """Everything that can be set. Raises `SettingsError` for an unknown key or a value out of its range."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
        validate_default=False,
    )

    model: ModelString = Field(default="embedded", description="Model for every role that names none of its own.")
    reason: ModelString | None = Field(
        default=None, description="Model for the role `reason`; the same as roles.reason.model."
    )
    judge: ModelString | None = Field(
        default=None, description="Model for the role `judge`; the same as roles.judge.model."
    )
    write: ModelString | None = Field(
        default=None, description="Model for the role `write`; the same as roles.write.model."
    )
    base_url: Addresses | None = Field(
        default=None,
        description="Address of the endpoint that serves `model`; of several: a list, or commas between them.",
    )
    api_key: SecretStr | None = Field(default=None, description="Key for that endpoint; never printed or logged.")
    roles: Roles = Field(default=Roles(), description="Model, address and key for each role.")

    effort: Effort = Field(default=Effort.AUTO, description="How much thought a turn gets when a request does not say.")
    hypotheses: int = Field(default=6, ge=1, le=10, description="k, hypotheses per turn (MetaMind: 6).")
    score_mode: Literal["bounded", "paper"] = Field(
        default="bounded", description="Information gain clipped to [-1, 1], or as MetaMind publishes it."
    )
    plausibility: Literal["rated", "likelihood"] = Field(
        default="rated",
        description="P_cond and P_prior as the model rates them, or how likely it finds a hypothesis' words.",
    )
    plausibility_weight: Share = Field(default=0.6, description="λ, weight of P_cond against information gain, 0 to 1.")
    empathy_weight: Share = Field(default=0.8, description="β, weight of Empathy against Coherence in U, 0 to 1.")
    utility_threshold: Share = Field(
        default=0.85, description="U that a draft must reach to be sent unrevised, 0 to 1."
    )
    speculate: bool = Field(
        default=False,
        description="At medium, begin to write for the likeliest guess while all are refined; kept if it is chosen.",
    )
    caches: bool = Field(
        default=True,
        description="Use again, for an hour, how likely a hypothesis is by itself, and what lenses say to a question.",
    )
    max_revisions: int = Field(default=1, ge=0, le=5, description="Revisions of a draft at most.")
    choosing: bool | Literal["auto"] = Field(
        default="auto", description="Judge by one-token choices instead of ratings; auto: for embedded models only."
    )

    contract: Contracts = Field(default=Contracts(), description="Limits on calls, depth and seconds for each effort.")
    stage_seconds: Seconds | None = Field(
        default=None, description="Seconds that one stage may take; None: what the turn's contract leaves."
    )
    call_seconds: Seconds | None = Field(
        default=None, description="Seconds that one attempt at a model call may take; None: 60, embedded models 300."
    )
    concurrency: int = Field(default=64, ge=1, le=4_096, description="Calls in flight to one endpoint at most.")
    retries: int = Field(default=2, ge=0, le=10, description="Further attempts after an error that may pass.")

    charter: str = Field(
        default="companion", min_length=1, description="Role charter: a name, or the path of a TOML file."
    )
    charters: FilePaths = Field(default=(), description="Charters of your own that a request may name, as TOML files.")
    norm_packs: FilePaths = Field(default=(), description="Norm packs to add, as TOML files.")
    cultures: Annotated[tuple[Stated, ...], NoDecode, BeforeValidator(_split_names), Field(max_length=6)] = Field(
        default=(), description="Cultures that the people here call their own, as they state it; never guessed."
    )
    domain: Annotated[str, Field(max_length=100)] = Field(
        default="", description="What the assistant is for, such as health, education, workplace, support or finance."
    )
    formality: int | None = Field(
        default=None, ge=1, le=5, description="Tone of replies, 1 (intimate) to 5 (formal); None: as refinement finds."
    )
    perspectives: PerspectivesMode = Field(
        default=PerspectivesMode.AUTO, description="Several cultural perspectives: off, contextual, agents or auto."
    )
    lenses: Annotated[tuple[Stated, ...], NoDecode, BeforeValidator(_split_names)] = Field(
        default=(), description="Lenses that are asked, by id; empty: all of them."
    )
    lens_packs: FilePaths = Field(default=(), description="Lenses to add, as TOML files.")
    prompts: FilePaths = Field(
        default=(), description="Folders whose Markdown files replace built-in prompts; the first wins."
    )
    country: Annotated[str, BeforeValidator(_upper), Field(pattern=r"^[A-Z]{2}$")] | None = Field(
        default=None, description="ISO 3166 alpha-2 country for referrals, as the deployment states it."
    )
    referrals: FilePath | None = Field(
        default=None, description="TOML file of referrals that replaces the built-in one."
    )
    language: Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$")] | None = Field(
        default=None, description="BCP 47 language of vetted texts; None: the language of the message, where known."
    )

    memory: MemorySettings = Field(default=MemorySettings(), description="What is kept, where, and how it fades.")
    server: ServerSettings = Field(default=ServerSettings(), description="The OpenAI-compatible endpoint.")

    log_level: Literal["debug", "info", "warning", "error", "critical"] = Field(
        default="warning", description="Least severe level that is logged."
    )
    log_format: Literal["auto", "console", "json"] = Field(
        default="auto", description="auto: console on a terminal, JSON elsewhere."
    )
    log_contents: bool = Field(default=False, description="Whether logs may hold what people and models write.")

    cache_folder: FilePath = Field(
        default_factory=lambda: platformdirs.user_cache_path("mentalize", appauthor=False),
        description="What can be found out again, such as what an endpoint supports.",
    )
    models_folder: FilePath = Field(
        default_factory=lambda: platformdirs.user_cache_path("mentalize", appauthor=False) / "models",
        description="GGUF files of embedded models.",
    )

    _origins: dict[str, str] = PrivateAttr(default_factory=dict[str, str])

    _paths: ClassVar[frozenset[str]] = frozenset(
        {
            "norm_packs",
            "prompts",
            "referrals",
            "cache_folder",
            "models_folder",
            "charter",
            "charters",
            "lens_packs",
            "memory.url",
            "memory.index",
        }
    )

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _explain(error, dict.fromkeys(_leaves(values), ARGUMENT)) from error
        self._origins.update(dict.fromkeys(_leaves(values), ARGUMENT))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is given: `load` reads the environment and the file, and remembers which gave what."""
        return (init_settings,)

    @model_validator(mode="after")
    def _one_model_per_role(self) -> Self:
        for role in ("reason", "judge", "write"):
            short, long = cast("str | None", getattr(self, role)), cast("RoleBinding", getattr(self.roles, role)).model
            if short and long and short != long:
                raise ValueError(f"`{role}` and `roles.{role}.model` name different models; set one of them")
        return self

    @classmethod
    def load(cls, *, config: Path | str | None = None, **arguments: Any) -> Settings:
        """Read settings from everywhere: `arguments`, `MENTALIZE_…` variables, the TOML file, defaults.

        Args:
            config: The TOML file. Else `MENTALIZE_CONFIG`, `./mentalize.toml`, or `config.toml` in the user's
                configuration folder, whichever comes first and exists.
            arguments: Values by key; None means not given.

        Raises:
            SettingsError: A key is unknown, a value is malformed or out of range, or a named file cannot be read.
        """
        layers: list[tuple[dict[str, Any], dict[str, str]]] = []
        if path := _config_file(config):
            table = _read_file(path)
            layers.append((table, dict.fromkeys(_leaves(table), f"file {path}")))
        layers.append(_read_environment())
        given = {key: value for key, value in arguments.items() if value is not None}
        _check_keys(given, ARGUMENT)
        layers.append((given, dict.fromkeys(_leaves(given), ARGUMENT)))

        values: dict[str, Any] = {}
        origins: dict[str, str] = {}
        for table, places in layers:
            _overlay(values, origins, table, places)
        return cls._from(values, origins)

    def changed(self, **arguments: Any) -> Settings:
        """These settings with `arguments` on top; None means not given. Raises `SettingsError`."""
        given = {key: value for key, value in arguments.items() if value is not None}
        _check_keys(given, ARGUMENT)
        values, origins = self.model_dump(exclude_unset=True), dict(self._origins)
        _overlay(values, origins, given, dict.fromkeys(_leaves(given), ARGUMENT))
        return type(self)._from(values, origins)

    @classmethod
    def _from(cls, values: dict[str, Any], origins: dict[str, str]) -> Settings:
        try:
            settings = cls(**values)
        except SettingsError as error:
            if isinstance(error.__cause__, ValidationError):
                raise _explain(error.__cause__, origins) from error.__cause__
            raise
        settings._origins.clear()
        settings._origins.update(origins)
        return settings

    def origins(self) -> Mapping[str, str]:
        """Where each value comes from, by dotted key: `default`, `argument`, `environment NAME` or `file PATH`."""
        known = {key: DEFAULT for key in _leaf_keys(type(self)) if "." not in key}
        return {**known, **self._origins}

    def value(self, key: str) -> Any:
        """The value of a dotted key, such as `roles.judge.model`."""
        found: Any = self
        for part in key.split("."):
            found = getattr(found, part)
        return found

    def binding(self, role: RoleName) -> Binding:
        """The model for a role and how to reach it.

        `base_url` and `api_key` belong to `model`. A role shares them when its model has the same provider and it
        names no address of its own: a key is never sent to a host that it was not given for.
        """
        own = cast("RoleBinding", getattr(self.roles, role))
        model = own.model or cast("str | None", getattr(self, role)) or self.model
        if own.base_url is not None:
            return Binding(model, own.base_url, own.api_key)
        if _provider(model) == _provider(self.model):
            return Binding(model, self.base_url, own.api_key or self.api_key)
        return Binding(model, None, own.api_key)


def _provider(model: str) -> str:
    return re.split("[/:]", model, maxsplit=1)[0]


# --- reading ----------------------------------------------------------------------------------------------


def _config_file(named: Path | str | None) -> Path | None:
    chosen = named or os.environ.get(CONFIG_VARIABLE)
    if chosen:
        path = Path(chosen).expanduser()
        if not path.is_file():
            by = "--config" if named else CONFIG_VARIABLE
            raise SettingsError(f"There is no settings file {path}.", hint=f"Create it, or correct {by}.")
        return path
    usual = (Path("mentalize.toml"), platformdirs.user_config_path("mentalize", appauthor=False) / "config.toml")
    return next((path for path in usual if path.is_file()), None)


def _read_file(path: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path} cannot be read as TOML: {error}.", hint="Correct the file.") from error
    _check_keys(table, f"file {path}")
    return {key: _beside(path, key, value) for key, value in table.items()}


def _beside(file: Path, key: str, value: Any) -> Any:
    """Paths in a settings file are relative to that file."""
    if isinstance(value, dict):
        return {name: _beside(file, f"{key}.{name}", item) for name, item in cast("dict[str, object]", value).items()}
    if key not in Settings._paths:  # pyright: ignore[reportPrivateUsage]
        return value
    if isinstance(value, list):
        return [_beside(file, key, item) for item in cast("list[object]", value)]
    if not isinstance(value, str) or (key == "charter" and not value.endswith(".toml")):
        return value
    if "://" in value:
        scheme, separator, path = value.partition(":///")
        inside = separator and scheme.startswith("sqlite") and path and not path.startswith(("/", ":", "file:"))
        return f"{scheme}:///{file.parent.absolute() / path}" if inside else value
    return str(file.parent / Path(value).expanduser())


def _read_environment() -> tuple[dict[str, Any], dict[str, str]]:
    named = {_variable_key(name): name for name in os.environ if _is_setting(name)}
    known = _known_keys()
    for key, name in named.items():
        if key not in known:
            raise _unknown(name, [_variable(known_key) for known_key in known], "the environment")
    try:
        table = EnvSettingsSource(Settings)()
    except pydantic_settings.SettingsError as error:
        raise SettingsError(
            f"A {PREFIX}… variable is malformed: {error}.", hint="A whole table is written as JSON."
        ) from error
    return table, {leaf: f"environment {_nearest_variable(leaf, named)}" for leaf in _leaves(table)}


def _is_setting(name: str) -> bool:
    upper = name.upper()
    if not upper.startswith(PREFIX) or upper == CONFIG_VARIABLE or not os.environ[name]:
        return False
    return not _SERVICE_LINK.fullmatch(upper)


def _nearest_variable(leaf: str, named: Mapping[str, str]) -> str:
    """The variable that set a key: its own, or that of a table around it."""
    while leaf not in named and "." in leaf:
        leaf = leaf.rpartition(".")[0]
    return named.get(leaf, _variable(leaf))


def _variable(key: str) -> str:
    return PREFIX + key.upper().replace(".", "__")


def _variable_key(name: str) -> str:
    return name[len(PREFIX) :].lower().replace("__", ".")


def _overlay(
    values: dict[str, Any], origins: dict[str, str], table: Mapping[str, Any], places: Mapping[str, str]
) -> None:
    """Lay a table over what ranks lower, and drop what its values replace under another key."""
    replaced: list[str] = []
    for role in ("reason", "judge", "write"):
        short, long = role, f"roles.{role}.model"
        replaced += [long] if short in places else [short] if long in places else []
    if "model" in places and "model" in origins and _provider(str(table["model"])) != _provider(str(values["model"])):
        replaced += ["base_url", "api_key"]
    for key in replaced:
        if key not in places:
            _drop(values, key)
            origins.pop(key, None)
    _merge(values, table)
    origins.update(places)


def _drop(values: dict[str, Any], key: str) -> None:
    *tables, last = key.split(".")
    for name in tables:
        values = cast("dict[str, Any]", values.get(name, {}))
    values.pop(last, None)


def _merge(into: dict[str, Any], table: Mapping[str, Any]) -> None:
    for key, value in table.items():
        inside = into.get(key)
        if isinstance(value, Mapping) and isinstance(inside, dict):
            _merge(cast("dict[str, Any]", inside), cast("Mapping[str, Any]", value))
        else:
            into[key] = dict(cast("Mapping[str, Any]", value)) if isinstance(value, Mapping) else value


def _leaves(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in table.items():
        if isinstance(value, BaseModel):
            value = value.model_dump(exclude_unset=True)
        if isinstance(value, Mapping):
            yield from _leaves(cast("Mapping[str, Any]", value), f"{prefix}{key}.")
        else:
            yield prefix + key


# --- keys and errors --------------------------------------------------------------------------------------


def _fields(kind: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, bool]]:
    """Every key, and whether it is a table."""
    for name, field in kind.model_fields.items():
        inside = field.annotation
        table = isinstance(inside, type) and issubclass(inside, BaseModel)
        yield prefix + name, table
        if table:
            yield from _fields(cast("type[BaseModel]", inside), f"{prefix}{name}.")


def _known_keys() -> dict[str, bool]:
    return dict(_fields(Settings))


def _leaf_keys(kind: type[BaseModel]) -> list[str]:
    return [key for key, table in _fields(kind) if not table]


def _check_keys(table: Mapping[str, Any], place: str) -> None:
    """Refuse the first key that does not exist. What stands inside a key of ours that is no table, pydantic checks."""
    known = _known_keys()
    for key in _walk(table, known):
        if key not in known:
            raise _unknown(key, known, place)


def _walk(table: Mapping[str, Any], known: Mapping[str, bool], prefix: str = "") -> Iterator[str]:
    for name, value in table.items():
        key = prefix + name
        yield key
        if known.get(key) and isinstance(value, Mapping):
            yield from _walk(cast("Mapping[str, Any]", value), known, f"{key}.")


def _unknown(name: str, known: Iterable[str], place: str) -> SettingsError:
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6) or [
        key for key in known if name.rpartition(".")[2] == key.rpartition(".")[2]
    ]
    hint = f"Did you mean {near[0]}?" if near else "`mentalize doctor` lists every setting."
    return SettingsError(f"Unknown setting {name} {_where(place)}.", hint=hint)


def _where(place: str) -> str:
    return "among the arguments" if place == ARGUMENT else f"in {place.removeprefix('file ')}"


def _explain(error: ValidationError, origins: Mapping[str, str]) -> SettingsError:
    """Say which value is wrong, where it stands and what it should be. A secret's value is left out."""
    known = _known_keys()
    problems: dict[str, str] = {}
    for detail in error.errors(include_url=False):
        key = _key_of(detail["loc"], known)
        if detail["type"] == "extra_forbidden":
            return _unknown(".".join(map(str, detail["loc"])), known, ARGUMENT)
        message = detail["msg"].removeprefix("Value error, ")
        value = "" if key.endswith("api_key") or not key else f" = {_short(detail['input'])}"
        place = f" ({origins[key]})" if key in origins else ""
        problems.setdefault(key, f"{key}{value}{place}: {_lower_first(message)}" if key else message)
    return SettingsError(f"{'; '.join(problems.values())}.", hint=_meaning(next(iter(problems), "")))


def _key_of(location: tuple[int | str, ...], known: Mapping[str, bool]) -> str:
    key = ""
    for part in location:
        longer = f"{key}.{part}" if key else str(part)
        if longer not in known:
            break
        key = longer
    return key


def _meaning(key: str) -> str:
    kind: type[BaseModel] = Settings
    *tables, last = key.split(".")
    for table in tables:
        kind = cast("type[BaseModel]", kind.model_fields[table].annotation)
    field = kind.model_fields.get(last)
    return f"{key}: {field.description}" if field and field.description else ""


def _short(value: object) -> str:
    text = _CREDENTIALS.sub("…@", repr(value))
    return text if len(text) <= 60 else text[:57] + "…"


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]

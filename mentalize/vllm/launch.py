"""How vLLM is started: its command line and variables, by the machine it runs on."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import EngineError, InputError
from .machine import Machine

__all__ = ["API_KEY", "DEFAULT_PORT", "Launch", "choose_port", "name_of", "plan"]

API_KEY = "HOSTED_VLLM_API_KEY"
"""The variable with the key that both the server and its clients take."""

DEFAULT_PORT = 8000
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_OURS = ("--model", "--host", "--port", "--uds", "--served-model-name", "--api-key", "--root-path", "--ssl-keyfile",
         "--ssl-certfile", "--headless")  # fmt: skip
_BFLOAT16_FROM = 8.0
_STRUCTURED = {"backend": "xgrammar", "disable_any_whitespace": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A server that can be started."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    url: str
    """Where it will answer, without `/v1`."""
    model: str
    """The name that it serves the model by."""
    key: str | None

    @property
    def base_url(self) -> str:
        """What an OpenAI client wants."""
        return f"{self.url}/v1"


def name_of(model: str) -> str:
    """The name that a model is served by: a folder's own name, or the model's on its hub."""
    path = Path(model).expanduser()
    return path.resolve().name if path.is_dir() else model


def plan(
    model: str,
    *,
    python: Path,
    machine: Machine,
    host: str,
    port: int,
    name: str | None = None,
    context: int | None = None,
    dtype: str | None = None,
    key: str | None = None,
    flags: Sequence[str] = (),
) -> Launch:
    """The command and variables for a model on a machine.

    Args:
        model: a folder in Hugging Face's format, or a name on its hub.
        python: of an environment with vLLM.
        machine: what it runs on.
        host: the address to listen on.
        port: the port, which must be free.
        name: what clients call the model; `name_of` it, if not given.
        context: tokens of prompt and answer together; as many as the model takes and memory has room for, if not
            given.
        dtype: vLLM's own name of a number format; chosen by vLLM, and half precision on GPUs without bfloat16, if not
            given.
        key: what clients must send.
        flags: further flags of vLLM's, which win over ours.

    Raises:
        InputError: a flag is one that mentalize must know, the model's folder holds no model, or the address is open to
            others and there is no key.
    """
    for flag in flags:
        if flag.partition("=")[0] in _OURS:
            raise InputError(f"{flag} cannot be handed on to vLLM.", hint="See `mentalize vllm serve --help`.")
    if host not in LOOPBACK and not key:
        raise InputError(
            f"At {host}, others can reach vLLM, and there is no key.",
            hint=f"Set {API_KEY} to a long random word, here and where clients run.",
        )
    served = name or name_of(model)
    command = [
        str(python), "-m", "vllm.entrypoints.openai.api_server",
        "--model", _checked(model), "--served-model-name", served,
        "--host", host, "--port", str(port),
        "--max-model-len", str(context or "auto"),
        "--dtype", dtype or _dtype(machine),
        "--enable-prefix-caching",
        "--scheduling-policy", "priority",
        "--structured-outputs-config", json.dumps(_STRUCTURED, separators=(",", ":")),
        "--max-logprobs", "20",
        *flags,
    ]  # fmt: skip
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    address = f"[{reached}]" if ":" in reached else reached
    return Launch(
        command=tuple(command),
        environment={**_environment(machine), **({"VLLM_API_KEY": key} if key else {})},
        url=f"http://{address}:{port}",
        model=served,
        key=key,
    )


def choose_port(host: str, wanted: int | None) -> int:
    """The port that was asked for; else 8000, or a free one if that is taken.

    Raises:
        EngineError: the port that was asked for is taken, or the address is not this machine's.
    """
    if wanted is None:
        with contextlib.suppress(OSError):
            return _bound(host, DEFAULT_PORT)
    try:
        return _bound(host, wanted or 0)
    except OSError as error:
        raise EngineError(
            f"{f'Port {wanted} of ' if wanted else ''}{host} cannot be used: {error.strerror or error}.",
            hint="Leave --port out to have a free one chosen." if wanted else "Is it an address of this machine?",
        ) from error


def _bound(host: str, port: int) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        # Beside a listener, an address that may be reused can be bound and not listened on.
        probe.listen()
        return int(probe.getsockname()[1])


def _checked(model: str) -> str:
    path = Path(model).expanduser()
    if path.suffix == ".gguf":
        raise InputError(
            f"{model} is a GGUF file; vLLM wants a folder in Hugging Face's format.",
            hint="The embedded model runs GGUF files: `mentalize models use`.",
        )
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise InputError(
                f"{path} holds no model: it has no config.json.",
                hint="Give a folder in Hugging Face's format, or a name on its hub.",
            )
        return str(path.resolve())
    if model.startswith(("/", "./", "../", "~")):
        raise InputError(
            f"There is no folder {path}.", hint="Give a folder in Hugging Face's format, or a name on its hub."
        )
    return model


def _dtype(machine: Machine) -> str:
    old = any(gpu.capability < _BFLOAT16_FROM for gpu in machine.gpus)
    return "half" if old else "auto"


def _environment(machine: Machine) -> dict[str, str]:
    chosen = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    if not machine.gpus:
        chosen |= {
            "VLLM_CPU_KVCACHE_SPACE": str(_cache_gigabytes(machine)),
            "VLLM_CPU_OMP_THREADS_BIND": _threads(machine),
            # What we run under may ask OpenMP for settings that suit a smaller model.
            "OMP_NUM_THREADS": str(len(_compute_cores(machine))),
        }
    return {name: os.environ.get(name, value) for name, value in chosen.items()}


def _cache_gigabytes(machine: Machine) -> int:
    """A fifth of what is free: the rest is for weights, vLLM itself, and whoever else runs here."""
    return max(1, min(16, machine.megabytes // 5_000))


def _threads(machine: Machine) -> str:
    return ",".join(map(str, _compute_cores(machine)))


def _compute_cores(machine: Machine) -> tuple[int, ...]:
    """All cores but one, which takes the requests; all, where they are few."""
    few = 4
    return machine.cores if len(machine.cores) <= few else machine.cores[1:]

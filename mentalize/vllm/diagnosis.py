"""From the last lines of vLLM's log to what a person can do about it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..errors import EngineError

__all__ = ["failure"]

_SHOWN = 8
_REMEDIES = (
    (
        r"out of memory|OutOfMemoryError|CUDA error: out|Cannot allocate memory|DefaultCPUAllocator|std::bad_alloc",
        "Memory ran out: give a smaller --context, a smaller or quantised model, or `-- --gpu-memory-utilization 0.8` "
        "where other programs use the GPU, too.",
    ),
    (
        r"No available memory for the cache blocks|KV cache is needed|less than desired GPU memory utilization"
        r"|Free memory on device|larger than the available KV cache",
        "The model's weights leave too little memory: give a smaller --context or a smaller model, end what else uses "
        "the GPU, or spread it over several GPUs by `-- --tensor-parallel-size N`.",
    ),
    (
        r"is greater than the derived max_model_len",
        "The model cannot take so much: give a smaller --context, or leave it out.",
    ),
    (r"unrecognized arguments|invalid choice|invalid \S+ value", "vLLM does not know a flag that came after `--`."),
    (
        r"gated repo|401 Client Error|Access to model",
        "The model's licence must be accepted on its hub, and HF_TOKEN set to your token.",
    ),
    (
        r"not a valid model identifier|RepositoryNotFound|Repository Not Found|LocalEntryNotFound|OfflineMode"
        r"|couldn't connect to|Can't load the configuration|Invalid repository ID",
        "The model was not found: check its name, the network and HF_HUB_OFFLINE, or give a folder with it.",
    ),
    (r"[Aa]ddress already in use", "Another program took the port: run it again, or give another --port."),
    (r"Bfloat16 is only supported", "This GPU has no bfloat16: give --dtype half."),
    (
        r"NVIDIA driver|CUDA driver version|no kernel image|libcuda",
        "The GPU's driver does not fit this vLLM: bring the driver up to date.",
    ),
    (r"No space left on device", "The disk is full."),
    (r"ModuleNotFoundError|ImportError", "The environment is damaged: delete it and run `mentalize vllm install`."),
)
_KILLED = (137, -9)
_KILLED_REMEDY = "It was killed from outside, most often for want of memory: give a smaller --context or model."


def failure(message: str, lines: Sequence[str], code: int | None, log: str) -> EngineError:
    """The error that quotes what vLLM said last, and says what to do.

    Args:
        message: what happened.
        lines: the end of the log.
        code: its exit code, if it ended.
        log: where the whole log is.
    """
    return EngineError(message, hint=f"{_remedy(lines, code)} The whole log: {log}".strip(), said=_telling(lines))


def _remedy(lines: Sequence[str], code: int | None) -> str:
    text = "\n".join(lines)
    for pattern, remedy in _REMEDIES:
        if re.search(pattern, text):
            return remedy
    return _KILLED_REMEDY if code in _KILLED else ""


def _telling(lines: Sequence[str]) -> list[str]:
    """The lines with errors, as the last of them; the last lines, if there are none."""
    errors = [line for line in lines if re.search(r"error|Error|ERROR|memory", line) and "leaked" not in line]
    return (errors or list(lines))[-_SHOWN:]

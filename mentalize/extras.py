"""Extras: the parts of mentalize that are installed when they are asked for, and the line that installs each."""

from __future__ import annotations

from importlib.util import find_spec

from .errors import MissingExtra

PACKAGES = {
    "hosted": ("litellm",),
    "langchain": ("langchain",),
    "mcp": ("mcp",),
    "memory": ("chromadb", "onnxruntime", "tokenizers"),
    "plots": ("matplotlib",),
    "server": ("fastapi", "fastapi_offline", "limits", "opentelemetry", "prometheus_client", "uvicorn"),
}
"""What must be importable for an extra to be there."""


def install(extra: str) -> str:
    """The line that installs an extra."""
    return f"pip install 'mentalize[{extra}]'"


def need(extra: str, purpose: str) -> None:
    """Make sure that an extra is there.

    Args:
        extra: Its name, such as `server`.
        purpose: What needs it, as the beginning of a sentence, such as "The endpoint".

    Raises:
        MissingExtra: it is not.
    """
    for package in PACKAGES[extra]:
        if find_spec(package) is None:
            raise missing(extra, purpose, package)


def missing(extra: str, purpose: str, package: str = "") -> MissingExtra:
    """The error that tells it."""
    needed = package or PACKAGES[extra][0]
    return MissingExtra(f"{purpose} needs {needed}, which is not installed.", hint=f"Run: {install(extra)}")

"""mentalize: social-cognition middleware for chat models.

    from mentalize import Mind

    mind = Mind(model="hosted_vllm/qwen3")
    reply = await mind.reply("I'm fine. Go without me, really.")
    print(reply.text, reply.trace.selection)

Every public name is loaded when it is first used: `import mentalize` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import InputError, MentalizeError, ModelError, SettingsError
    from .llm.model import Capabilities, Completion, Delta, Model, Request, StructuredMode
    from .llm.scripted import FunctionModel, ScriptedModel
    from .mind import Event, Finished, Mind, Reply, RoleReport, StageFinished, StageStarted, SyncMind, TextDelta
    from .settings import Settings
    from .types import Contract, Effort, Identity, Message, Norm, Recollection, RoleCharter, Store, Trace

__all__ = [
    "Capabilities",
    "Completion",
    "Contract",
    "Delta",
    "Effort",
    "Event",
    "Finished",
    "FunctionModel",
    "Identity",
    "InputError",
    "MentalizeError",
    "Message",
    "Mind",
    "Model",
    "ModelError",
    "Norm",
    "Recollection",
    "Reply",
    "Request",
    "RoleCharter",
    "RoleReport",
    "ScriptedModel",
    "Settings",
    "SettingsError",
    "StageFinished",
    "StageStarted",
    "Store",
    "StructuredMode",
    "SyncMind",
    "TextDelta",
    "Trace",
]

_HOME = {
    "errors": ("InputError", "MentalizeError", "ModelError", "SettingsError"),
    "llm.model": ("Capabilities", "Completion", "Delta", "Model", "Request", "StructuredMode"),
    "llm.scripted": ("FunctionModel", "ScriptedModel"),
    "mind": (
        "Event",
        "Finished",
        "Mind",
        "Reply",
        "RoleReport",
        "StageFinished",
        "StageStarted",
        "SyncMind",
        "TextDelta",
    ),
    "settings": ("Settings",),
    "types": ("Contract", "Effort", "Identity", "Message", "Norm", "Recollection", "RoleCharter", "Store", "Trace"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__

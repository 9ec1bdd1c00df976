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
    from .companion import Answer, Companion, Person, SyncCompanion
    from .errors import (
        EmbedderError,
        InputError,
        MemoryNotFound,
        MentalizeError,
        ModelError,
        SettingsError,
        StoreError,
    )
    from .llm.embedder import resolve_embedder
    from .llm.model import Capabilities, Completion, Delta, Model, Request, StructuredMode
    from .llm.scripted import FunctionModel, ScriptedModel
    from .memory.memories import Explanation, Memories, Restored, Statistics, Timeline
    from .memory.store import Deletion, Filter
    from .middleware.openai import wrap_openai
    from .middleware.wrap import WrappedBot, wrap
    from .mind import (
        Event,
        Finished,
        GuidedTurn,
        Mind,
        Reply,
        RoleReport,
        StageFinished,
        StageStarted,
        SyncMind,
        TextDelta,
    )
    from .settings import Settings
    from .topics import Topic
    from .types import (
        Circumstances,
        Contract,
        Effort,
        Embedder,
        Identity,
        Lens,
        Memory,
        MemoryHit,
        MemoryKind,
        MemoryMode,
        MemoryStatus,
        Message,
        Multiplex,
        Norm,
        PerspectivesMode,
        Recollection,
        RoleCharter,
        Store,
        Trace,
    )

__all__ = [
    "Answer",
    "Capabilities",
    "Circumstances",
    "Companion",
    "Completion",
    "Contract",
    "Deletion",
    "Delta",
    "Effort",
    "Embedder",
    "EmbedderError",
    "Event",
    "Explanation",
    "Filter",
    "Finished",
    "FunctionModel",
    "GuidedTurn",
    "Identity",
    "InputError",
    "Lens",
    "Memories",
    "Memory",
    "MemoryHit",
    "MemoryKind",
    "MemoryMode",
    "MemoryNotFound",
    "MemoryStatus",
    "MentalizeError",
    "Message",
    "Mind",
    "Model",
    "ModelError",
    "Multiplex",
    "Norm",
    "Person",
    "PerspectivesMode",
    "Recollection",
    "Reply",
    "Request",
    "Restored",
    "RoleCharter",
    "RoleReport",
    "ScriptedModel",
    "Settings",
    "SettingsError",
    "StageFinished",
    "StageStarted",
    "Statistics",
    "Store",
    "StoreError",
    "StructuredMode",
    "SyncCompanion",
    "SyncMind",
    "TextDelta",
    "Timeline",
    "Topic",
    "Trace",
    "WrappedBot",
    "resolve_embedder",
    "wrap",
    "wrap_openai",
]

_HOME = {
    "companion": ("Answer", "Companion", "Person", "SyncCompanion"),
    "topics": ("Topic",),
    "errors": (
        "EmbedderError",
        "InputError",
        "MemoryNotFound",
        "MentalizeError",
        "ModelError",
        "SettingsError",
        "StoreError",
    ),
    "llm.embedder": ("resolve_embedder",),
    "llm.model": ("Capabilities", "Completion", "Delta", "Model", "Request", "StructuredMode"),
    "llm.scripted": ("FunctionModel", "ScriptedModel"),
    "memory.memories": ("Explanation", "Memories", "Restored", "Statistics", "Timeline"),
    "memory.store": ("Deletion", "Filter"),
    "middleware.openai": ("wrap_openai",),
    "middleware.wrap": ("WrappedBot", "wrap"),
    "mind": (
        "Event",
        "Finished",
        "GuidedTurn",
        "Mind",
        "Reply",
        "RoleReport",
        "StageFinished",
        "StageStarted",
        "SyncMind",
        "TextDelta",
    ),
    "settings": ("Settings",),
    "types": (
        "Circumstances",
        "Contract",
        "Effort",
        "Embedder",
        "Identity",
        "Lens",
        "Memory",
        "MemoryHit",
        "MemoryKind",
        "MemoryMode",
        "MemoryStatus",
        "Message",
        "Multiplex",
        "Norm",
        "PerspectivesMode",
        "Recollection",
        "RoleCharter",
        "Store",
        "Trace",
    ),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__

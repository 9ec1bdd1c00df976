"""The endpoint on a real socket of loopback, in front of a scripted upstream, for tests."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from mentalize.llm.model import Model
from mentalize.mind import Mind
from mentalize.server.app import create
from mentalize.server.protocol import PunctualProtocol
from mentalize.settings import Settings
from openai_server import OpenAIServer, Reply, Script, obedient
from social_script import SCRIPT, WARM

PURPOSES = {
    "PerceptionAnswer": "perceive",
    "HypothesesAnswer": "hypothesise",
    "ForesightAnswer": "foresee",
    "RefinementAnswer": "refine",
    "LensAnswer": "perspective.western",
    "SynthesisAnswer": "synthesise",
    "PriorsAnswer": "prior",
    "ReadingAnswer": "read",
    "QualityAnswer": "validate",
    "SafetyAnswer": "gate",
}
"""The agents, by the schema that they ask for."""


@dataclass(slots=True, kw_only=True)
class Endpoint:
    """A server that runs."""

    url: str
    """Without `/v1`."""
    mind: Mind
    upstream: OpenAIServer
    server: uvicorn.Server

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"


def thoughtful(text: str = WARM, *, delay: float = 0.0, **answers: Any) -> Script:
    """An upstream that plays every agent of a turn, by the schema that is asked for; `write` says `text`."""
    script = {**SCRIPT, **answers}
    otherwise = obedient(text, delay=delay)

    def reply(body: dict[str, Any]) -> Reply:
        name = ((body.get("response_format") or {}).get("json_schema") or {}).get("name")
        if name not in PURPOSES:
            return otherwise(body)
        return Reply(text=json.dumps(script[PURPOSES[name]]), delay=delay)

    return reply


@asynccontextmanager
async def served(
    folder: Path,
    script: Script | None = None,
    *,
    models: Mapping[str, Model] | None = None,
    protocol: type[PunctualProtocol] = PunctualProtocol,
    **settings: Any,
) -> AsyncIterator[Endpoint]:
    """Serve, with a database in `folder`, until the block ends.

    `settings` are those of `Settings`; `models` take the place of the upstream, by role or as `model`.
    """
    async with OpenAIServer(script if script is not None else thoughtful()) as upstream:
        chosen: dict[str, Any] = {
            "model": "openai_compatible/scripted",
            "base_url": upstream.base_url,
            "cache_folder": folder,
            "memory": {"url": f"sqlite:///{folder}/memory.db", "embedder": "fake"},
        }
        given: dict[str, Any] = dict(models or {})
        mind = Mind(Settings(**{**chosen, **settings}), **given)
        bound = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(
            create(mind, owned=True),
            http=protocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=5,
        )
        server = uvicorn.Server(config)
        running = asyncio.create_task(server.serve(sockets=[bound]))
        while not server.started and not running.done():  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.005)
        try:
            url = f"http://127.0.0.1:{bound.getsockname()[1]}"
            yield Endpoint(url=url, mind=mind, upstream=upstream, server=server)
        finally:
            server.should_exit = True
            await running
            bound.close()

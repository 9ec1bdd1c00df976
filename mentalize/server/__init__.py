"""OpenAI's wire format over HTTP: the endpoint, its memories, its traces, and how it is watched."""

from __future__ import annotations

from ..extras import need

need("server", "The endpoint")

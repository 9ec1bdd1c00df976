"""Service: what the routes of one server process share."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from ..mind import ROLES
from .asked import MODELS
from .callers import Callers
from .kept_traces import KeptTraces
from .limits import Capacity, Limiter
from .metrics import Metrics

if TYPE_CHECKING:
    from ..mind import Mind
    from ..settings import ServerSettings
    from .telemetry import Telemetry


ENDPOINTS_SECONDS = 2.0
"""How often models' endpoints are asked how they fare, at most: only whoever reads the metrics wants to know."""


@dataclass(kw_only=True)
class Service:
    """What the routes of one server process share."""

    mind: Mind
    settings: ServerSettings
    callers: Callers
    limiter: Limiter
    capacity: Capacity
    metrics: Metrics
    telemetry: Telemetry | None
    traces: KeptTraces = field(default_factory=KeptTraces)
    _endpoints_at: float = -ENDPOINTS_SECONDS

    @classmethod
    def of(cls, mind: Mind) -> Service:
        """The service of a mind, as its settings say.

        Raises:
            SettingsError: the folder for the metrics of several processes cannot be used.
        """
        settings = mind.settings.server
        telemetry = None
        if settings.traces:
            from .telemetry import Telemetry

            models = {role: mind.settings.binding(role).model for role in ROLES}
            telemetry = Telemetry(settings.traces, models=models, contents=mind.settings.log_contents)
        return cls(
            mind=mind,
            settings=settings,
            callers=Callers(mind.memory.keys, settings),
            limiter=Limiter(settings.limits_url),
            capacity=Capacity(settings.turns),
            metrics=Metrics(queue_depth=lambda: mind.backlog),
            telemetry=telemetry,
        )

    async def note_endpoints(self) -> None:
        """Note for the metrics how models' endpoints and the caches fare."""
        self.metrics.caches(self.mind.caches())
        now = time.monotonic()
        if now - self._endpoints_at >= ENDPOINTS_SECONDS:
            self._endpoints_at = now
            self.metrics.endpoints(await self.mind.endpoints())

    @cached_property
    def models(self) -> tuple[str, ...]:
        """The names of all models that can be asked for."""
        return (*MODELS, *self.mind.upstreams)

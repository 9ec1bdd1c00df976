"""Together: several questions at once, none of which outlives the first failure."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


async def together(*asked: Coroutine[Any, Any, Result]) -> list[Result]:
    """The results, in order. When one fails or the caller leaves, the others are stopped before the error goes up."""
    tasks = [asyncio.create_task(one) for one in asked]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise

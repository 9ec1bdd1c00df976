"""`mentalize doctor`: the settings in force, where each comes from, and whether models and memory work."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import typer

from .options import BaseUrl, Config, Debug, Model, load
from .plain import one_line
from .weights import prepare

if TYPE_CHECKING:
    from rich.table import Table

    from ..mind import RoleReport
    from ..settings import Settings
    from .memory_report import PartReport

_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")


def doctor(model: Model = None, base_url: BaseUrl = None, config: Config = None, debug: Debug = False) -> None:
    """Say what works here; exit with 1 if a role or memory cannot work."""
    from .render import console

    settings = load(config, model=model, base_url=base_url)
    out = console()
    out.print(settings_table(settings))
    prepare(settings)
    reports, parts = asyncio.run(_examine(settings))
    out.print(reports_table(reports))
    if any(report.endpoints for report in reports):
        out.print(endpoints_table(reports))
    out.print(memory_table(parts))
    out.print(one_line(f"A local vLLM (optional) {local_vllm(settings)}."), soft_wrap=True)
    broken = [f"{report.role} cannot work: {report.error}" for report in reports if not report.ok]
    broken += [f"The {part.part} of memory cannot be used: {part.state}" for part in parts if not part.ok]
    for problem in broken:
        out.print(one_line(problem), soft_wrap=True)
    if broken:
        raise typer.Exit(1)
    out.print("Every role works, and so does memory.")


def local_vllm(settings: Settings) -> str:
    """Whether models can run in a vLLM here, and if not, why. Whoever needs none misses nothing."""
    from ..llm.running import running
    from ..vllm.environment import installed
    from ..vllm.machine import examine

    if servers := running(settings.cache_folder):
        return "runs: " + ", ".join(f"hosted_vllm/{server.model} at {server.base_url}" for server in servers)
    machine = examine()
    if machine.obstacle:
        return f"cannot run here: {machine.obstacle}"
    if installed(settings.cache_folder, gpu=bool(machine.gpus)) is None:
        return f"could run here ({machine.description}), and is not installed: mentalize vllm install"
    return f"can run here ({machine.description}): mentalize vllm serve MODEL"


async def _examine(settings: Settings) -> tuple[tuple[RoleReport, ...], tuple[PartReport, ...]]:
    from ..mind import Mind
    from .memory_report import examine_memory
    from .progress import Progress

    with Progress() as progress:
        progress.say("asking each role's model")
        async with Mind(settings) as mind:
            roles = await mind.doctor()
        progress.say("trying memory")
        return roles, await examine_memory(settings)


def settings_table(settings: Settings) -> Table:
    """Every setting, its value (secrets hidden) and where it comes from."""
    table = _table("Settings", "setting", "value", "from")
    for key, origin in settings.origins().items():
        _row(table, key, shown(settings.value(key)), origin)
    return table


def reports_table(reports: tuple[RoleReport, ...]) -> Table:
    """Each role's model and what was found about it."""
    table = _table("Models", "role", "model", "answers", "structured", "logprobs", "time")
    for report in reports:
        _row(
            table,
            report.role,
            report.model,
            "yes" if report.ok else "no",
            report.structured or "?",
            ("yes" if report.logprobs else "no") if report.ok else "?",
            f"{report.seconds:.2f} s" if report.ok else "?",
        )
    return table


def endpoints_table(reports: tuple[RoleReport, ...]) -> Table:
    """Each endpoint once: whether it works, and what a vLLM server says of its queue and its prefix cache."""
    table = _table("Endpoints", "endpoint", "works", "running", "waiting", "prefix cache")
    for endpoint in {one.address: one for report in reports for one in report.endpoints}.values():
        counts = endpoint.counts
        found = "?" if counts is None or counts.hit_rate is None else f"{counts.hit_rate:.0%} found"
        queue = ("?", "?") if counts is None else (str(counts.running), str(counts.waiting))
        _row(table, endpoint.address, "yes" if endpoint.well else "no", *queue, found)
    return table


def memory_table(parts: tuple[PartReport, ...]) -> Table:
    """Where memories are kept, and by what they are found."""
    table = _table("Memory", "part", "in use", "works", "state")
    for part in parts:
        _row(table, part.part, shown(part.place), "yes" if part.ok else "no", part.state if part.ok else "see below")
    return table


def shown(value: Any) -> str:
    """A setting's value for people: secrets hidden, also those inside an address."""
    if value is None:
        return "–"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "–"  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _CREDENTIALS.sub("…@", str(value))


def _table(title: str, *columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _row(table: Table, *cells: str) -> None:
    from rich.text import Text

    table.add_row(*(Text(one_line(cell)) for cell in cells))

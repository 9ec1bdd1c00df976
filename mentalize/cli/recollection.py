"""Recollection: memories, hits and the reasons behind them, as tables and trees that a person can read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from rich import box
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from .plain import one_line, safe_json

if TYPE_CHECKING:
    from ..memory.explanation import Explanation
    from ..memory.statistics import Statistics
    from ..memory.store import Deletion
    from ..types import Memory, MemoryHit

PREVIEW = 120


def memories_table(
    memories: Sequence[Memory], ids: Mapping[str, str], retention: Mapping[str, float], zone: str
) -> Table:
    """Memories with their state; `ids` are the forms to show, `retention` is R now by id."""
    table = table_of("id", "kind", "day", "R", "S", "text")
    for memory in memories:
        style = "dim" if memory.archived or not holds(memory) else ""
        add_row(
            table,
            ids[memory.id],
            words(memory.kind),
            day(memory.observed_at, zone),
            f"{retention[memory.id]:.2f}",
            str(memory.strength),
            marked(memory),
            style=style,
        )
    return table


def hits_table(hits: Sequence[MemoryHit], ids: Mapping[str, str], zone: str) -> Table:
    """Hits, best first, with the reason for each."""
    table = table_of("score", "day", "id", "text")
    for hit in hits:
        text = Text.assemble(marked(hit.memory), "\n", (one_line(hit.reason), "dim italic"))
        cells = (f"{hit.score:.2f}", day(hit.memory.observed_at, zone), ids[hit.memory.id])
        table.add_row(*(Text(one_line(cell)) for cell in cells), text)
    return table


def explanation_tree(explanation: Explanation, zone: str) -> Tree:
    """Why something is believed, and why it was recalled."""
    memory = explanation.memory
    tree = Tree(Text.assemble((one_line(memory.text), "bold")), guide_style="dim")
    tree.add(field("id", memory.id))
    tree.add(field("kind", f"{words(memory.kind)}, {memory.status}"))
    tree.add(field("observed", moment(memory.observed_at, zone)))
    _add_given(tree, "quote", f'"{preview(memory.quote)}"' if memory.quote else "")
    _add_given(tree, "confidence", "" if memory.confidence is None else f"{memory.confidence:.2f}")
    _add_retention(tree, explanation, zone)
    _add_sources(tree, explanation, zone)
    for other in explanation.supersedes:
        tree.add(field("took the place of", f"{preview(other.text)} ({day(other.observed_at, zone)})"))
    if (newer := explanation.superseded_by) is not None:
        tree.add(field("its place was taken by", f"{preview(newer.text)} ({day(newer.observed_at, zone)})"))
    _add_recalls(tree, explanation, zone)
    return tree


def _add_retention(tree: Tree, explanation: Explanation, zone: str) -> None:
    memory = explanation.memory
    recalled = f", last used {moment(memory.last_recalled_at, zone)}" if memory.last_recalled_at else ", never used"
    state = ", pinned" if memory.pinned else ", archived" if memory.archived else ""
    tree.add(field("retention", f"{explanation.retention:.2f}, strength {memory.strength}{recalled}{state}"))
    tree.add(field("importance", f"{memory.importance:.2f}"))
    if memory.expires_at is not None:
        tree.add(field("lapses", moment(memory.expires_at, zone)))


def _add_sources(tree: Tree, explanation: Explanation, zone: str) -> None:
    branch = tree.add(Text("Believed because", "bold"))
    for source in explanation.sources:
        said = f"{one_line(source.speaker) or words(source.kind)}, {moment(source.observed_at, zone)}"
        branch.add(field(said, f'"{preview(source.text)}"'))
    if not explanation.sources:
        speaker = one_line(explanation.memory.speaker)
        branch.add(Text(f"{speaker} said so" if speaker else "no source is kept", "dim italic"))


def _add_recalls(tree: Tree, explanation: Explanation, zone: str) -> None:
    branch = tree.add(Text("Recalled because", "bold"))
    for recall in explanation.recalled:
        leaf = branch.add(field(moment(recall.at, zone), f'"{preview(recall.text)}", score {recall.score:.2f}'))
        _add_given(leaf, "reason", recall.reason)
        _add_given(leaf, "parts", parts(recall.why))
    if not explanation.recalled:
        branch.add(Text("no kept trace recalled it", "dim italic"))


def statistics_table(statistics: Statistics, zone: str) -> Table:
    """How much is kept."""
    table = table_of("what", "number")
    rows: list[tuple[str, str]] = [("memories", str(statistics.total))]
    rows += [(f"  {words(kind)}", str(number)) for kind, number in sorted(statistics.by_kind.items())]
    rows += [(str(status), str(number)) for status, number in sorted(statistics.by_status.items())]
    rows += [("archived", str(statistics.archived)), ("pinned", str(statistics.pinned))]
    for name, at in (("oldest", statistics.oldest), ("newest", statistics.newest)):
        rows.append((name, moment(at, zone) if at else "–"))
    rows += [("vectors due", str(statistics.unindexed)), ("embedder", statistics.embedder)]
    for name, value in rows:
        table.add_row(Text(name), Text(one_line(value)))
    return table


def deletion_table(deletion: Deletion) -> Table:
    """What a deletion reached."""
    table = table_of("deleted", "number")
    for kind, number in sorted(deletion.counts.items()):
        if number:
            add_row(table, words(kind), str(number))
    return table


# --- JSON -------------------------------------------------------------------------------------------------


def as_json(value: Any) -> str:
    """A dataclass of ours, or several, as a JSON document for other programs."""
    from pydantic import TypeAdapter

    document = TypeAdapter(Any).dump_python(value, mode="json")
    return safe_json(json.dumps(document, ensure_ascii=False, indent=2))


# --- pieces -----------------------------------------------------------------------------------------------


def holds(memory: Memory) -> bool:
    """Whether it is neither refuted nor superseded."""
    return memory.status != "refuted" and memory.superseded_by is None


def marked(memory: Memory) -> str:
    """The text with what is special about the memory."""
    marks: list[str] = []
    if memory.status == "unconfirmed":
        marks.append("guess")
    if memory.status == "refuted":
        marks.append("refuted")
    if memory.superseded_by is not None:
        marks.append("superseded")
    if memory.archived:
        marks.append("archived")
    if memory.pinned:
        marks.append("pinned")
    speaker = f"{one_line(memory.speaker)}: " if memory.kind == "turn" and memory.speaker else ""
    return f"{speaker}{preview(memory.text)}" + (f" [{', '.join(marks)}]" if marks else "")


def parts(why: Mapping[str, float]) -> str:
    """The parts of a score in one line."""
    return ", ".join(f"{one_line(name)} {value:.2f}" for name, value in why.items())


def preview(text: str) -> str:
    """One line of bearable length."""
    line = one_line(text)
    return line if len(line) <= PREVIEW else f"{line[: PREVIEW - 1]}…"


def words(kind: str) -> str:
    """A kind as a person says it."""
    return kind.replace("_", " ")


def day(at: datetime, zone: str) -> str:
    """The day of a moment in a zone."""
    return at.astimezone(ZoneInfo(zone)).date().isoformat()


def moment(at: datetime, zone: str) -> str:
    """A moment in a zone, to the minute."""
    return at.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M")


def field(name: str, value: str) -> Text:
    """A named value."""
    return Text.assemble((f"{name}: ", "dim"), one_line(value))


def table_of(*columns: str) -> Table:
    """An empty table."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in {"id", "day", "kind", "R", "S", "score"})
    return table


def add_row(table: Table, *cells: str, style: str = "") -> None:
    """Add a row of plain text."""
    table.add_row(*(Text(one_line(cell), style) for cell in cells))


def _add_given(branch: Tree, name: str, value: str) -> None:
    if value:
        branch.add(field(name, value))

"""`mentalize memory`: see what is remembered about a person, why, and change or delete it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from ..types import MemoryKind, MemoryStatus
from .options import DEFAULT_TENANT, Config, Debug, Tenant, load
from .plain import one_line, plain, safe_json
from .remembered import Person, User, bar, remembered, shortened

if TYPE_CHECKING:
    from ..memory.memories import Restored
    from ..memory.store import Deletion, Filter
    from ..types import Memory

app = typer.Typer(
    help="See what is remembered about a person, ask why, and correct, delete, move or check it.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Id = Annotated[str, typer.Argument(metavar="ID", help="A memory's id, or as much of its beginning as is enough.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")]
Kinds = Annotated[list[MemoryKind] | None, typer.Option("--kind", help="Only this kind; may be given several times.")]
Status = Annotated[MemoryStatus | None, typer.Option("--status", help="Only memories of this status.")]
Session = Annotated[str | None, typer.Option("--session", metavar="ID", help="Only what was said in this session.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1_000_000, help="How many at most.")]
Current = Annotated[bool, typer.Option("--current", help="Leave out what was superseded or refuted, or has lapsed.")]
_WIDEST = 120

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


# --- looking ----------------------------------------------------------------------------------------------


@app.command("list")
def show(
    user: User,
    tenant: Tenant = DEFAULT_TENANT,
    kind: Kinds = None,
    status: Status = None,
    session: Session = None,
    current: Current = False,
    limit: Limit = 50,
    as_json: AsJson = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """List memories, the newest first."""

    async def run(person: Person) -> None:
        which = _filter(kind, status, session, current=current)
        memories = await person.memories.find(person.who, which, limit=limit + 1)
        _show_memories(person, memories[:limit], more=len(memories) > limit, as_json=as_json)

    _with(user, tenant, config, run)


@app.command()
def search(
    user: User,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to look for, as you would ask it.")],
    tenant: Tenant = DEFAULT_TENANT,
    kind: Kinds = None,
    current: Current = False,
    limit: Limit = 10,
    as_json: AsJson = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Find memories by words and meaning, the best first, archived ones too."""
    from .recollection import hits_table

    async def run(person: Person) -> None:
        await person.catch_up()
        which = _filter(kind, None, None, current=current)
        hits = await person.memories.search(person.who, text, limit=limit, which=which)
        if as_json:
            _print_json(hits)
        elif not hits:
            _say("Nothing fits.")
        else:
            _print(hits_table(hits, shortened([hit.memory for hit in hits]), person.zone))

    _with(user, tenant, config, run)


@app.command()
def why(
    user: User,
    memory: Id,
    tenant: Tenant = DEFAULT_TENANT,
    as_json: AsJson = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Say why something is believed (its sources and quotes), and why it was recalled (each part of its score)."""
    from .recollection import explanation_tree

    async def run(person: Person) -> None:
        explanation = await person.memories.why(person.who, await person.id_of(memory))
        if as_json:
            _print_json(explanation)
        else:
            _print(explanation_tree(explanation, person.zone))

    _with(user, tenant, config, run)


@app.command()
def timeline(
    user: User,
    tenant: Tenant = DEFAULT_TENANT,
    kind: Kinds = None,
    limit: Limit = 12,
    days: Annotated[float, typer.Option("--days", min=0, max=36_500, help="How far to look ahead.")] = 30.0,
    picture: Annotated[
        Path | None, typer.Option("--picture", metavar="FILE", help="Draw into this .svg or .png file instead.")
    ] = None,
    as_json: AsJson = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Draw how the strongest memories faded and will fade: the retention curve of each."""
    from .curves import Drawing, as_picture, on_terminal
    from .render import console, has_blocks

    async def run(person: Person) -> None:
        which = _filter(kind, None, None, current=True)
        timelines = await person.memories.timeline(person.who, which, days=days, limit=limit)
        drawing = Drawing(timelines, datetime.now(UTC), person.zone, person.memories.curve.archive_below)
        if as_json:
            _print_json(timelines)
        elif not timelines:
            _say("There is nothing to draw.")
        elif picture is not None:
            as_picture(drawing, picture.expanduser(), title=f"What is remembered about {one_line(user)}")
            _say(f"Drew {_number(len(timelines))} into {picture}.")
        else:
            out = console()
            drawn = on_terminal(drawing, width=min(out.width, _WIDEST), unicode=has_blocks(out.encoding))
            sys.stdout.write(drawn + "\n")

    _with(user, tenant, config, run)


@app.command()
def stats(
    user: User, tenant: Tenant = DEFAULT_TENANT, as_json: AsJson = False, config: Config = None, debug: Debug = False
) -> None:
    """Count what is kept."""
    from .recollection import statistics_table

    async def run(person: Person) -> None:
        statistics = await person.memories.statistics(person.who)
        if as_json:
            _print_json(statistics)
        else:
            _print(statistics_table(statistics, person.zone))

    _with(user, tenant, config, run)


# --- what the person says about it ------------------------------------------------------------------------


@app.command()
def correct(
    user: User,
    memory: Id,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What is true instead.")],
    tenant: Tenant = DEFAULT_TENANT,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Say what is true instead. The old memory stays as history, and is not recalled."""

    async def run(person: Person) -> None:
        new = await person.memories.correct(person.who, await person.id_of(memory), text)
        await person.catch_up()
        _say(f"Corrected; the new memory is {new.id}.")

    _with(user, tenant, config, run)


class _Verdict(StrEnum):
    CONFIRM = "confirm"
    REFUTE = "refute"
    PIN = "pin"
    UNPIN = "unpin"


def _judge(user: str, tenant: str, config: Path | None, memory: str, verdict: _Verdict, said: str) -> None:
    async def run(person: Person) -> None:
        act: Callable[..., Awaitable[Memory]] = getattr(person.memories, verdict)
        changed = await act(person.who, await person.id_of(memory))
        _say(f"{said}: {changed.text}")

    _with(user, tenant, config, run)


@app.command()
def confirm(
    user: User, memory: Id, tenant: Tenant = DEFAULT_TENANT, config: Config = None, debug: Debug = False
) -> None:
    """Say that it is so: a guess becomes a fact, and does not lapse."""
    _judge(user, tenant, config, memory, _Verdict.CONFIRM, "Confirmed")


@app.command()
def refute(
    user: User, memory: Id, tenant: Tenant = DEFAULT_TENANT, config: Config = None, debug: Debug = False
) -> None:
    """Say that it is not so: it is never recalled, and kept so that it is not guessed again."""
    _judge(user, tenant, config, memory, _Verdict.REFUTE, "Refuted")


@app.command()
def pin(user: User, memory: Id, tenant: Tenant = DEFAULT_TENANT, config: Config = None, debug: Debug = False) -> None:
    """Keep a memory from fading."""
    _judge(user, tenant, config, memory, _Verdict.PIN, "Pinned")


@app.command()
def unpin(user: User, memory: Id, tenant: Tenant = DEFAULT_TENANT, config: Config = None, debug: Debug = False) -> None:
    """Let a pinned memory fade again."""
    _judge(user, tenant, config, memory, _Verdict.UNPIN, "Unpinned")


# --- forgetting -------------------------------------------------------------------------------------------


@app.command()
def forget(
    user: User,
    memories: Annotated[list[str] | None, typer.Argument(metavar="ID…", help="What to delete.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Delete everything about this person.")] = False,
    yes: Yes = False,
    tenant: Tenant = DEFAULT_TENANT,
    as_json: AsJson = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Delete memories and all that was made from them, for good; or, with --all, everything about a person."""
    if bool(memories) == everything:
        raise InputError("Say what to forget.", hint="Give ids, or --all, and not both.")

    async def run(person: Person) -> None:
        if everything:
            _ask(f"Delete everything about {one_line(user)} (tenant {one_line(tenant)}), for good?", yes)
            deletion = await person.memories.forget_all(person.who)
        else:
            ids = [await person.id_of(given) for given in memories or ()]
            deletion = await person.memories.forget(person.who, ids)
        _show_deletion(deletion, as_json=as_json)

    _with(user, tenant, config, run)


# --- moving -----------------------------------------------------------------------------------------------


@app.command()
def export(
    user: User,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write here; standard output, if not given.")
    ] = None,
    tenant: Tenant = DEFAULT_TENANT,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Write everything that is kept about a person as JSON Lines (docs/memory.md)."""

    async def run(person: Person) -> None:
        with _output(output) as file:
            number = -1
            async for line in person.memories.export(person.who):
                file.write(safe_json(line) + "\n")
                number += 1
        if output is not None:
            _say(f"Wrote {_number(number)} to {output}.")

    _with(user, tenant, config, run)


@app.command("import")
def import_(
    user: User,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="What `export` wrote, or a memory file of MemoryBank. `-`: standard input."
        ),
    ],
    tenant: Tenant = DEFAULT_TENANT,
    name: Annotated[
        str | None, typer.Option("--from", metavar="NAME", help="The user's name in a MemoryBank file.")
    ] = None,
    even_forgotten: Annotated[bool, typer.Option("--even-forgotten", help="Bring back what was deleted, too.")] = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Take over memories from a file: all of them or, if anything in it is wrong, none. Twice is the same as once."""
    from .memory_file import read

    # Read before the event loop runs, so that Ctrl-C ends a read that waits for its input.
    memories = read(file, user, name, load(config).memory.zone)

    async def run(person: Person) -> None:
        with bar("Writing") as progress:
            restored = await person.memories.take_over(
                person.who, memories, even_forgotten=even_forgotten, progress=progress
            )
        await person.catch_up()
        _say(_restored(restored))

    _with(user, tenant, config, run, new=True)


# --- care -------------------------------------------------------------------------------------------------


@app.command("rebuild-index")
def rebuild_index(
    user: User,
    tenant: Tenant = DEFAULT_TENANT,
    anew: Annotated[bool, typer.Option("--anew", help="Make also the terms and vectors that are there anew.")] = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Make the vectors that are missing, and the index anew from the database."""

    async def run(person: Person) -> None:
        with bar(f"Embedding with {person.memories.embedder}") as progress:
            number = await person.memories.rebuild_index(person.who, anew=anew, progress=progress)
        _say(f"The index holds {number} vectors by {person.memories.embedder}.")

    _with(user, tenant, config, run)


@app.command()
def verify(
    user: User, tenant: Tenant = DEFAULT_TENANT, as_json: AsJson = False, config: Config = None, debug: Debug = False
) -> None:
    """Compare database and index, and check the database itself; exit with 1 if something is wrong."""
    sound = True

    async def run(person: Person) -> None:
        nonlocal sound
        with bar("Checking") as progress:
            progress(0, 2)
            report = await person.memories.verify(person.who)
            progress(1, 2)
            faults = await person.memories.check()
        sound = report.sound and not faults
        if as_json:
            _print_json({"sound": sound, "index": report, "faults": faults})
            return
        _say(f"{_number(report.rows)}, {len(report.missing)} without a vector, {len(report.stray)} stray vectors.")
        if report.other_embedders:
            _say(f"{report.other_embedders} vectors of other embedders, which nothing reads.")
        for fault in faults:
            _say(f"Database: {fault}")
        _say("All is well." if sound else "`mentalize memory rebuild-index` mends the index.")

    _with(user, tenant, config, run)
    if not sound:
        raise typer.Exit(1)


# --- pieces -----------------------------------------------------------------------------------------------


def _with(
    user: str, tenant: str, config: Path | None, run: Callable[[Person], Awaitable[None]], *, new: bool = False
) -> None:
    async def inside() -> None:
        async with remembered(user, tenant, config, new=new) as person:
            await run(person)

    asyncio.run(inside())


def _filter(
    kinds: Sequence[MemoryKind] | None, status: MemoryStatus | None, session: str | None, *, current: bool
) -> Filter:
    from ..memory.store import Filter

    return Filter(
        kinds=tuple(kinds) if kinds else None,
        statuses=(status,) if status else None,
        session=session,
        current=current,
    )


def _show_memories(person: Person, memories: Sequence[Memory], *, more: bool, as_json: bool) -> None:
    from .recollection import memories_table

    if as_json:
        _print_json(memories)
        return
    if not memories:
        _say("Nothing fits.")
        return
    now, curve = datetime.now(UTC), person.memories.curve
    retention = {memory.id: curve.retention(memory, now) for memory in memories}
    _print(memories_table(memories, shortened(list(memories)), retention, person.zone))
    if more:
        _say(f"These are the newest {len(memories)}; --limit shows more.")


def _show_deletion(deletion: Deletion, *, as_json: bool) -> None:
    from .recollection import deletion_table

    if as_json:
        _print_json(deletion)
        return
    _print(deletion_table(deletion))
    if not deletion.erased:
        _say("Its bytes are overwritten at the next start: the database is in use, or large.")


def _restored(restored: Restored) -> str:
    counts = {
        "added": restored.added,
        "there already and left as they are": restored.unchanged,
        "left out because they were deleted (--even-forgotten brings them back)": restored.forgotten,
    }
    said = ", ".join(f"{number} {what}" for what, number in counts.items() if number or what == "added")
    return f"{_number(restored.total)}: {said}."


def _number(number: int) -> str:
    return f"{number} {'memory' if number == 1 else 'memories'}"


def _ask(question: str, yes: bool) -> None:
    """Go on only if the person agrees."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise InputError("Nobody can be asked whether to delete.", hint="Add --yes.")
    if not typer.confirm(question, err=True):
        raise typer.Exit(1)


@contextmanager
def _output(path: Path | None) -> Generator[IO[str]]:
    """A file that is there whole or not at all, for its owner alone; or standard output."""
    if path is None:
        yield sys.stdout
        return
    path = path.expanduser()
    if path.exists():
        raise InputError(f"{path} exists.", hint="Choose another name.")
    part = path.with_name(f"{path.name}.part")
    try:
        part.touch(mode=0o600)
        with part.open("w", encoding="utf-8") as file:
            yield file
        part.rename(path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _print(what: Any) -> None:
    from .render import console

    console().print(what)


def _print_json(value: Any) -> None:
    from .recollection import as_json

    sys.stdout.write(as_json(value) + "\n")


def _say(text: str) -> None:
    sys.stdout.write(plain(one_line(text)) + "\n")

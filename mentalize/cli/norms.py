"""`mentalize norms`: the norms that turns go by, and the way to write one's own."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import Config, Debug, load
from .plain import one_line, plain, safe_json, whole

if TYPE_CHECKING:
    from ..norms.library import NormLibrary
    from ..types import Norm, NormMatch

app = typer.Typer(help="See the norms that turns go by, and write your own.", no_args_is_help=True)

Culture = Annotated[
    str | None,
    typer.Option("--culture", metavar="NAME", help="As people state it: Japanese.", show_default=False),
]
Cultures = Annotated[
    list[str] | None,
    typer.Option("--culture", metavar="NAME", help="A stated culture; more than once for several.", show_default=False),
]
Situation = Annotated[
    str | None, typer.Option("--situation", metavar="NAME", help="Such as refusal or grief.", show_default=False)
]
Family = Annotated[
    str | None, typer.Option("--family", metavar="NAME", help="cultural, ethical or role.", show_default=False)
]
RoleOf = Annotated[
    str | None,
    typer.Option("--charter", metavar="NAME", help="The assistant's role: tutor.", show_default=False),
]
Domain = Annotated[
    str | None, typer.Option("--domain", metavar="NAME", help="Such as health or workplace.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Text = Annotated[str, typer.Argument(metavar="TEXT", help="A message, as a person would write it.")]
Limit = Annotated[int, typer.Option("--limit", min=0, max=100, help="Norms at most; those that veto come on top.")]
Identity = Annotated[str, typer.Argument(metavar="ID", help="An id from `list`.")]
Packs = Annotated[list[Path], typer.Argument(metavar="FILE…", help="Norm packs of your own.")]
NewPack = Annotated[Path, typer.Argument(metavar="FILE", help="The pack to begin; must not exist.")]
NewCulture = Annotated[
    str | None,
    typer.Option("--culture", metavar="NAME", help="Whose norms they are; else everybody's.", show_default=False),
]


@app.command("list")
def listed(
    culture: Culture = None,
    situation: Situation = None,
    family: Family = None,
    charter: RoleOf = None,
    domain: Domain = None,
    as_json: AsJson = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """List the cultures that have norms; with any filter, the norms themselves."""
    library = _library(config)
    if not any((culture, situation, family, charter, domain, as_json)):
        _print_cultures(library)
        return
    chosen = _chosen(library, culture, situation, family, charter, domain)
    if as_json:
        _print_json([_as_table(norm) for norm in chosen])
        return
    from rich.table import Table

    from .render import console

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("id", style="cyan", overflow="fold", max_width=34)
    table.add_column("strength", justify="right")
    table.add_column("norm")
    for norm in chosen:
        table.add_row(one_line(norm.id), f"{norm.strength:g}{' veto' if norm.hard else ''}", one_line(norm.statement))
    console().print(table)


@app.command()
def search(
    text: Text,
    culture: Cultures = None,
    charter: RoleOf = None,
    domain: Domain = None,
    limit: Limit = 8,
    as_json: AsJson = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """See which norms a message would bring into a turn, and why."""
    from ..types import Circumstances

    library = _library(config)
    for stated in culture or ():
        _must_know(library, stated)
    stated = Circumstances(cultures=tuple(culture or ()), domain=domain or "")
    matches = library.matches(whole(text), circumstances=stated, charter=charter or "", limit=limit)
    if as_json:
        _print_json([{**_as_table(item.norm), "relevance": item.relevance, "reason": item.reason} for item in matches])
        return
    _print_matches(matches)


@app.command()
def show(identity: Identity, as_json: AsJson = False, config: Config = None, debug: Debug = False) -> None:
    """Show everything about one norm."""
    from ..errors import InputError

    norms = {norm.id: norm for norm in _library(config).every()}
    if identity not in norms:
        import difflib

        near = difflib.get_close_matches(identity, norms, n=3, cutoff=0.4)
        raise InputError(
            f"There is no norm {identity!r}.", hint=f"Near it: {', '.join(near)}." if near else "See `list`."
        )
    if as_json:
        _print_json(_as_table(norms[identity]))
    else:
        _print_norm(norms[identity])


@app.command()
def check(files: Packs, debug: Debug = False) -> None:
    """Check packs of your own: whether they load, and what is doubtful about them."""
    from ..errors import PackError
    from ..norms.library import NormLibrary
    from ..norms.pack import read_pack

    failed = False
    for path in files:
        try:
            norms = read_pack(path).norms
        except PackError as error:
            failed = True
            sys.stdout.write(plain(str(error)) + "\n")
            continue
        sys.stdout.write(plain(f"{path}: {len(norms)} norm{'s' * (len(norms) != 1)}, ok") + "\n")
        for doubt in _doubts(norms):
            sys.stdout.write(plain(f"  {doubt}") + "\n")
    if not failed:
        NormLibrary.load(*files)  # An id may not stand in two files.
    raise typer.Exit(1 if failed else 0)


@app.command()
def new(file: NewPack, culture: NewCulture = None, debug: Debug = False) -> None:
    """Begin a pack of your own: a file with comments and one norm to change."""
    from ..errors import InputError

    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(_template(culture))
    except FileExistsError as error:
        raise InputError(f"{file} exists.", hint="Give another name, or remove it first.") from error
    except OSError as error:
        raise InputError(f"{file} cannot be written: {error.strerror}.", hint="Check the path.") from error
    sys.stdout.write(
        f"Wrote {plain(str(file))}. Edit it, then: mentalize norms check {plain(str(file))}\n"
        f'It takes effect by the setting norm_packs = ["{plain(str(file))}"].\n'
    )


# --- what is shown ----------------------------------------------------------------------------------------


def _print_cultures(library: NormLibrary) -> None:
    from rich.table import Table

    from .render import console

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name, justify in (("culture", "left"), ("region", "left"), ("norms", "right"), ("situations", "right")):
        table.add_column(name, justify=justify)  # pyright: ignore[reportArgumentType]
    table.add_column("sources opened", justify="right")
    total, opened = 0, 0
    for culture in library.cultures():
        norms = library.of_culture(culture.id)
        checked = sum(norm.checked for norm in norms)
        situations = len({norm.situation for norm in norms})
        table.add_row(culture.name, culture.region, str(len(norms)), str(situations), str(checked))
        total, opened = total + len(norms), opened + checked
    everybody = Counter(norm.family.value for norm in library.every() if not norm.culture)
    out = console()
    out.print(table)
    out.print(
        f"{total} norms of {len(library.cultures())} cultures, {opened} with a source that was opened; for everybody: "
        + ", ".join(f"{count} {family}" for family, count in sorted(everybody.items()))
        + ". List some with --culture, --situation, --family, --charter or --domain."
    )


def _print_matches(matches: Sequence[NormMatch]) -> None:
    from rich.text import Text as Line
    from rich.tree import Tree

    from .render import console
    from .tree import add_given, field, head

    tree = Tree(head("Norms that bear on it", str(len(matches))), guide_style="dim")
    for match in matches:
        veto = " [vetoes]" if match.norm.hard else ""
        leaf = tree.add(Line.assemble((one_line(match.norm.id), "bold cyan"), (veto, "red")))
        leaf.add(field("norm", one_line(match.norm.statement)))
        leaf.add(field("because", f"{one_line(match.reason)} ({match.relevance:.2f})"))
        add_given(leaf, "people differ", match.norm.varies)
    console().print(tree)


def _print_norm(norm: Norm) -> None:
    from rich.text import Text as Line
    from rich.tree import Tree

    from .render import console
    from .tree import add_given, field

    tree = Tree(Line(one_line(norm.id), "bold cyan"), guide_style="dim")
    tree.add(field("norm", one_line(norm.statement)))
    strength = "duty" if norm.strength >= 0.9 else "strongly expected" if norm.strength >= 0.7 else "expected"
    strength = strength if norm.strength >= 0.4 else "courtesy"
    tree.add(field("strength", f"{norm.strength:g}, {strength}{', vetoes' if norm.hard else ''}"))
    add_given(tree, "applies", norm.applies or "always")
    for name in ("family", "culture", "situation", "role", "domain"):
        add_given(tree, name, str(getattr(norm, name) or ""))
    add_given(tree, "people differ", norm.varies)
    add_given(tree, "words", ", ".join(norm.words))
    add_given(tree, "tags", ", ".join(norm.tags))
    opened = "the source was opened and says so" if norm.checked else "the source was not opened for this norm"
    tree.add(field("source", f"{one_line(norm.source)} ({opened})"))
    console().print(tree)


def _print_json(value: Any) -> None:
    sys.stdout.write(safe_json(json.dumps(value, ensure_ascii=False, indent=2)) + "\n")


def _as_table(norm: Norm) -> dict[str, Any]:
    from pydantic import TypeAdapter

    from ..types import Norm

    return TypeAdapter(Norm).dump_python(norm, mode="json")


# --- what is chosen ---------------------------------------------------------------------------------------


def _library(config: Path | None) -> NormLibrary:
    from ..norms.library import NormLibrary

    return NormLibrary.load(*load(config).norm_packs)


def _chosen(
    library: NormLibrary,
    culture: str | None,
    situation: str | None,
    family: str | None,
    charter: str | None,
    domain: str | None,
) -> list[Norm]:
    from ..errors import InputError
    from ..types import RuleFamily
    from ..types import Situation as Situations

    for value, known in ((situation, Situations), (family, RuleFamily)):
        if value is not None and value not in {str(item) for item in known}:
            raise InputError(f"There is no {value!r} among them.", hint=f"One of: {', '.join(known)}.")
    norms: Iterable[Norm] = library.of_culture(_must_know(library, culture)) if culture else library.every()
    wanted = {"situation": situation, "family": family, "role": charter, "domain": domain}
    return [
        norm for norm in norms if all(value is None or getattr(norm, key) == value for key, value in wanted.items())
    ]


def _must_know(library: NormLibrary, stated: str) -> str:
    from ..errors import InputError

    found = library.culture(stated)
    if found is None:
        names = ", ".join(culture.name for culture in library.cultures())
        raise InputError(f"There are no norms for {stated!r}.", hint=f"There are for: {names}. Add a pack with `new`.")
    return found.id


def _doubts(norms: Iterable[Norm]) -> list[str]:
    from ..safety.stereotypes import generalisations

    found: list[str] = []
    for norm in norms:
        said = generalisations(f"{norm.statement} {norm.varies}")
        found += [f"{norm.id}: says how a people is, instead of what is done: {' '.join(said)}"] if said else []
        if norm.culture and norm.situation is None:
            found.append(f"{norm.id}: has no `situation`.")
        if not re.search(r"https?://|none", norm.source):
            found.append(f"{norm.id}: its source has no address; say `none: …` where there is none.")
    return found


def _template(culture: str | None) -> str:
    """A pack that passes `check`."""
    identity = re.sub(r"[^a-z0-9]+", "_", (culture or "own").casefold()).strip("_") or "own"
    identity = identity if identity[0].isalpha() else f"c_{identity}"
    head = (
        f'[culture]\nid = "{identity}"\nname = {json.dumps(culture, ensure_ascii=False)}\n'
        "also = []                 # other words by which people state it\n"
        'region = "Where it is"\nlens = ""                 # the nearest lens: see `mentalize perspectives --list`\n\n'
        if culture
        else ""
    )
    situation = 'situation = "refusal"      # see `mentalize norms list --situation`\n' if culture else ""
    family = "" if culture else 'family = "role"           # cultural, ethical or role\n'
    return (
        "# Norms of conduct. Say what is done and how it is read, never what people are like.\n"
        f"{head}[[norm]]\n"
        f'id = "{identity}.refusal.first_no"\n'
        f"{family}{situation}"
        'statement = "A first refusal is courtesy; an offer that is meant is repeated."\n'
        'applies = "offer of food, help or money, refused"   # when it applies, in words of a message; "" for always\n'
        'words = ["no", "refuse", "offer"]                    # further words that call for it\n'
        "strength = 0.5            # 1 a duty, 0.75 strongly expected, 0.5 expected, 0.25 a courtesy\n"
        "hard = false              # true: a reply that breaks it is not sent\n"
        'varies = "Who sees it otherwise, such as the young or another region."\n'
        'source = "none: written here"                        # title and address, so that it can be checked\n'
        "checked = false           # whether the source was opened and says so\n"
        'tags = ["face_saving"]\n'
    )

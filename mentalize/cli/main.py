"""The program `mentalize`: its commands, and how an error reaches the person who typed one.

Whatever is dear to import is imported by the command that needs it, so that `mentalize --help` stays quick.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from ..errors import InputError, MentalizeError
from .ask import ask
from .bench import bench
from .chat import chat
from .doctor import doctor
from .graph import graph, schema
from .mcp import mcp
from .options import Debug, Invocation
from .perspectives import perspectives
from .plain import one_line
from .serve import serve

app = typer.Typer(
    name="mentalize",
    help="Social cognition for chat models: replies that were thought through, and the reasoning behind them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(ask)
app.command()(chat)
app.command()(serve)
app.command()(mcp)
app.command()(perspectives)
app.command()(doctor)
app.command()(graph)
app.command()(schema)
app.command()(bench)
_FORWARDED: dict[str, Any] = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


@app.command(context_settings=_FORWARDED)
def models(context: typer.Context) -> None:
    """Manage the files of embedded models: list, pull, verify, use."""
    from .models import app as models_app

    typer.main.get_group(models_app).main(args=context.args, prog_name="mentalize models", obj=context.obj)


@app.command(context_settings=_FORWARDED)
def prompts(context: typer.Context) -> None:
    """See what models are asked, and change it: list, show, eject, lock."""
    from .prompts import app as prompts_app

    typer.main.get_group(prompts_app).main(args=context.args, prog_name="mentalize prompts", obj=context.obj)


@app.command(context_settings=_FORWARDED)
def norms(context: typer.Context) -> None:
    """See the norms that turns go by, and write your own: list, search, show, check, new."""
    from .norms import app as norms_app

    typer.main.get_group(norms_app).main(args=context.args, prog_name="mentalize norms", obj=context.obj)


@app.command("eval", context_settings=_FORWARDED)
def evaluate(context: typer.Context) -> None:
    """See how a model does with mentalize and without it: worldview."""
    from .eval import app as eval_app

    typer.main.get_group(eval_app).main(args=context.args, prog_name="mentalize eval", obj=context.obj)


@app.command(context_settings=_FORWARDED)
def memory(context: typer.Context) -> None:
    """See what is remembered about a person, and change it: list, search, why, timeline, correct, forget, export."""
    from .memory import app as memory_app

    typer.main.get_group(memory_app).main(args=context.args, prog_name="mentalize memory", obj=context.obj)


@app.command(context_settings=_FORWARDED)
def keys(context: typer.Context) -> None:
    """Decide who may ask the endpoint, for which tenant, and how much: create, list, revoke."""
    from .keys import app as keys_app

    typer.main.get_group(keys_app).main(args=context.args, prog_name="mentalize keys", obj=context.obj)


@app.command(context_settings=_FORWARDED)
def trace(context: typer.Context) -> None:
    """See where the time and the tokens of a turn went."""
    from .trace import app as trace_app

    # A group with one command would take its name away.
    group = typer.main.get_group(trace_app)
    group.main(args=context.args, prog_name="mentalize trace", obj=context.obj)


@app.command(context_settings=_FORWARDED)
def safety(context: typer.Context) -> None:
    """See what a companion owes: the protocol for danger to publish, and the counts for reports."""
    from .safety import app as safety_app

    typer.main.get_group(safety_app).main(args=context.args, prog_name="mentalize safety", obj=context.obj)


# What comes after `--` is vLLM's own, and the group must see where that begins.
@app.command(context_settings={**_FORWARDED, "allow_interspersed_args": False})
def vllm(context: typer.Context) -> None:
    """Run models on this machine, mostly its GPUs: install, serve."""
    from .vllm import app as vllm_app

    typer.main.get_group(vllm_app).main(args=context.args, prog_name="mentalize vllm", obj=context.obj)


def _print_version(value: bool) -> None:
    if value:
        from importlib.metadata import PackageNotFoundError, version

        try:
            sys.stdout.write(f"mentalize {version('mentalize')}\n")
        except PackageNotFoundError:
            sys.stdout.write("mentalize (run from source, not installed)\n")
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)]


@app.callback()
def _program(version: Version = False, debug: Debug = False) -> None:  # pyright: ignore[reportUnusedFunction]
    pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code: 0, 1 for a failure, 2 for wrong use, 130 for Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    invocation = Invocation()
    command = typer.main.get_command(app)
    try:
        command.main(args=arguments, prog_name="mentalize", obj=invocation)
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except MentalizeError as error:
        _tell(str(error), error, invocation)
        return 2 if isinstance(error, InputError) else 1
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        said = str(error) or "no further message"
        _tell(f"Unexpected {type(error).__name__}: {said}. Run again with --debug to see where.", error, invocation)
        return 1
    return 0


def _tell(text: str, error: Exception, invocation: Invocation) -> None:
    if invocation.debug:
        import traceback

        traceback.print_exception(error)
    sys.stderr.write(f"mentalize: {one_line(text)}\n")


if __name__ == "__main__":
    sys.exit(main())

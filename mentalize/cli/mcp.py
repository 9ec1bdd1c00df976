"""`mentalize mcp`: the tools of one person's memory, for clients that speak the Model Context Protocol."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import DEFAULT_TENANT, BaseUrl, Config, Debug, Effort, Model, Tenant, load

Person = Annotated[str, typer.Option("--user", metavar="ID", help="Whose memory it is.", show_default=False)]


def mcp(
    user: Person,
    tenant: Tenant = DEFAULT_TENANT,
    model: Model = None,
    base_url: BaseUrl = None,
    effort: Effort = None,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Serve one person's tools over standard input and output: recall, why, correct, forget, mentalize.

    A client starts it: give it the command `mentalize` with the arguments `mcp --user ID`.
    """
    from ..types import Identity

    settings = load(config, model=model, base_url=base_url, effort=effort)
    from ..middleware.mcp import tools
    from ..mind import Mind

    tools(Mind(settings), Identity(tenant, user)).run()

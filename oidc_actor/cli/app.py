"""The command line's commands, put together. Typer and rich are needed from here on."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from oidc_actor.cli.check import check
from oidc_actor.cli.demo.command import demo
from oidc_actor.cli.run import run
from oidc_actor.cli.token import token

# Typer's own exception printer shows local variables, which may hold secrets; Python's does not.
app = typer.Typer(
    name="oidc-actor",
    help="Keep a valid OIDC access token ready: look at it, get one, find out what is wrong.",
    no_args_is_help=True,
    rich_markup_mode="markdown",  # rewraps the paragraphs of a docstring
    add_completion=False,
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"oidc-actor {version('oidc-actor')}")
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of the command itself."""


app.command()(demo)
app.command()(token)
app.command()(check)
app.command()(run)

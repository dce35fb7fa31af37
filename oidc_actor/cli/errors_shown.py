"""Errors as a person reads them: one line for what happened, one for what to do, and an exit status."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from oidc_actor.cli.connection import in_options
from oidc_actor.cli.exits import advice_for, status_of
from oidc_actor.values.errors import OIDCActorError


@contextmanager
def errors_shown(command: str, method: str | None = None) -> Iterator[None]:
    """Turn the library's errors into lines on standard error and the exit status that goes with them.

    Args:
        command: Begins each first line.
        method: How the client is authenticated; `None` where nobody knows yet.
    """
    try:
        yield
    except OIDCActorError as error:
        sys.stderr.write(f"oidc-actor {command}: {in_options(str(error))}\n")
        advice = advice_for(error, method)
        if advice is not None:
            sys.stderr.write(f"{advice}\n")
        raise typer.Exit(status_of(error)) from None

"""`oidc-actor demo`."""

from __future__ import annotations

import json
import logging
import sys
from typing import Annotated

import typer
from rich.console import Console

from oidc_actor.cli.errors_shown import errors_shown
from oidc_actor.cli.exits import FAILED


def demo(
    fast: Annotated[bool, typer.Option("--fast", help="Shorter tokens: under 15 seconds.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as JSON on standard output.")] = False,
) -> None:
    """Watch a supervised token manager live through an outage, three crashes and 200 callers at once.

    Everything runs in this process: an authorization server on 127.0.0.1, a supervisor, a token manager, and
    threads that read the token all the time. Exit status 1 if a promise broke.
    """
    try:
        from oidc_actor.testing import Provider  # noqa: F401 - asked for here so that its absence has one clear answer
    except ModuleNotFoundError as missing:
        sys.stderr.write(
            f'oidc-actor demo: it needs {missing.name}, which is not installed: pip install "oidc-actor[demo]"\n'
        )
        raise typer.Exit(FAILED) from None
    from oidc_actor.cli.demo import promises as judged
    from oidc_actor.cli.demo.stage import Stage
    from oidc_actor.cli.demo.story import Play
    from oidc_actor.cli.demo.view import LiveView, PlainView, show_summary

    # The crashes of the third scene are logged as errors; the picture is not to be torn by them.
    logging.getLogger().addHandler(logging.NullHandler())
    pace = judged.FAST if fast else judged.NORMAL
    console = Console(stderr=as_json)
    with errors_shown("demo"), Stage(pace) as stage:
        view = LiveView(console, pace, stage.sample) if console.is_terminal else PlainView(console, stage.sample)
        with view:
            figures = Play(stage, pace, view).run()
    promises = judged.judge(figures, pace)
    show_summary(console, figures, promises)
    if as_json:
        sys.stdout.write(json.dumps(judged.as_json(figures, promises), indent=2) + "\n")
    if not all(promise.kept for promise in promises):
        raise typer.Exit(FAILED)

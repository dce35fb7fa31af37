"""`oidc-actor run`: the sidecar."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from oidc_actor.cli.exits import FAILED, USAGE
from oidc_actor.sidecar.config import absent, load
from oidc_actor.values.errors import ConfigError

EXTRA_MISSING = 'oidc-actor run: needs {name}, which is not installed: pip install "oidc-actor[run]"\n'
LEVELS = ("debug", "info", "warning", "error")


def run(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The configuration, a TOML file.")],
    check: Annotated[bool, typer.Option("--check", help="Check the configuration and exit.")] = False,
    log_level: Annotated[str, typer.Option(metavar="LEVEL", help=f"One of {', '.join(LEVELS)}.")] = "info",
) -> None:
    """Serve tokens to other programs: over a Unix socket or loopback, and in files.

    SIGHUP reads the configuration again; SIGTERM ends it when the requests under way are answered.

    Exit status: 0 told to stop, 1 given up, 2 the configuration is wrong.
    """
    if log_level not in LEVELS:
        raise typer.BadParameter(f"expected one of {', '.join(LEVELS)}, got {log_level!r}", param_hint="--log-level")
    try:
        from oidc_actor.sidecar.service import run as serve
    except ModuleNotFoundError as missing:
        sys.stderr.write(EXTRA_MISSING.format(name=missing.name))
        raise typer.Exit(FAILED) from None
    _log_to_stderr(log_level)
    try:
        if check:
            load(config)
            sys.stdout.write("\n".join([f"{config}: ok", *absent(config)]) + "\n")
            return
        status = serve(config)
    except ConfigError as error:
        sys.stderr.write("\n".join([f"oidc-actor run: {error}", *(absent(config) if check else ())]) + "\n")
        raise typer.Exit(USAGE) from None
    raise typer.Exit(status)


def _log_to_stderr(level: str) -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    for name in ("oidc_actor", "supervision"):
        logging.getLogger(name).setLevel(level.upper())

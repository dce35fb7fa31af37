"""`oidc-actor run`: the sidecar."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from oidc_actor.cli.exits import FAILED, USAGE
from oidc_actor.errors import ConfigError
from oidc_actor.run.config import RunConfig, load, unreadable
from oidc_actor.secrets import Finder

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
        from oidc_actor.run.service import run as serve
    except ModuleNotFoundError as missing:
        sys.stderr.write(EXTRA_MISSING.format(name=missing.name))
        raise typer.Exit(FAILED) from None
    _log_to_stderr(log_level)
    try:
        if check:
            sys.stdout.write("\n".join([f"{config}: ok", *_missing(load(config))]) + "\n")
            return
        status = serve(config)
    except ConfigError as error:
        sys.stderr.write("\n".join([f"oidc-actor run: {error}", *(unreadable(config) if check else ())]) + "\n")
        raise typer.Exit(USAGE) from None
    raise typer.Exit(status)


def _missing(config: RunConfig) -> list[str]:
    """The files and folders that are not there now: no mistake, because they may appear later, but worth a line."""
    found = _no_folder("server.unix_socket", config.server.unix_socket)
    for name, manager in config.managers.items():
        found += _no_folder(f"managers.{name}.token_file", manager.token_file)
        sources = manager.options["auth"].sources
        looks = [file.look() for source in sources if isinstance(source, Finder) for file in source.files]
        found += [f"  managers.{name}: cannot be read yet: {look}" for look in looks if isinstance(look, str)]
    return found


def _no_folder(key: str, path: Path | None) -> list[str]:
    is_there = path is None or path.parent.is_dir()
    return [] if is_there or path is None else [f"  {key}: no such directory yet: {str(path.parent)!r}"]


def _log_to_stderr(level: str) -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    for name in ("oidc_actor", "supervision"):
        logging.getLogger(name).setLevel(level.upper())

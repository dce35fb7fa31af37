"""Where the command line takes a secret from: a file, standard input or the environment, never an argument."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path

from oidc_actor.errors import ConfigError
from oidc_actor.secrets import Secret, SecretFile


def read_secret(what: str, variable: str, file: Path | None, *, from_stdin: bool) -> Secret | SecretFile | None:
    """One secret.

    Args:
        what: Its name in options: `client-secret` or `password`.
        variable: The environment variable that may hold it.
        file: The file that was named, if one was.
        from_stdin: Whether it comes on standard input; on a terminal it is asked for without echo.

    Returns:
        The secret; `None` where none was given. An option wins over the environment; an empty variable is no secret.

    Raises:
        ConfigError: Two options name a place, or standard input is empty.
    """
    if file is not None and from_stdin:
        raise ConfigError(f"expected one of --{what}-file and --{what}-stdin, got both")
    if file is not None:
        return SecretFile(file)
    text = _from_stdin(what) if from_stdin else os.environ.get(variable, "")
    if from_stdin and not text:
        raise ConfigError(f"--{what}-stdin: expected the secret on standard input, got nothing")
    return Secret(text) if text else None


def _from_stdin(what: str) -> str:
    if sys.stdin.isatty():
        return getpass.getpass(f"{what.replace('-', ' ').capitalize()}: ", stream=sys.stderr)
    return sys.stdin.read().removesuffix("\n").removesuffix("\r")

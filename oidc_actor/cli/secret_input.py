"""Where the command line takes a secret from: a file, standard input or the environment, never an argument."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path

from oidc_actor.values.errors import ConfigError
from oidc_actor.values.secrets import BYTE_ORDER_MARK, Secret, SecretFile, secret_problem


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
        ConfigError: Two options name a place, standard input is empty, or the text is no UTF-8.
    """
    if file is not None and from_stdin:
        raise ConfigError(f"expected one of --{what}-file and --{what}-stdin, got both")
    if file is not None:
        return SecretFile(file)
    found = _wrapped(_from_stdin(what) if from_stdin else os.environ.get(variable, ""))
    if found is None and from_stdin:
        raise ConfigError(f"--{what}-stdin: expected the secret on standard input, got nothing")
    if isinstance(found, str):
        raise ConfigError(f"{f'--{what}-stdin' if from_stdin else variable}: expected the secret, got {found}")
    return found


def _wrapped(text: str) -> Secret | str | None:
    """The secret, or what is wrong with it; it raises nothing, because its frame holds the text."""
    return (secret_problem(text) or Secret(text)) if text else None


def _from_stdin(what: str) -> str:
    if sys.stdin.isatty():
        return getpass.getpass(f"{what.replace('-', ' ').capitalize()}: ", stream=sys.stderr)
    # As the environment is read: what is no UTF-8 becomes surrogates, which are refused further on.
    text = sys.stdin.buffer.read().decode("utf-8", "surrogateescape").removeprefix(BYTE_ORDER_MARK)
    return text.removesuffix("\n").removesuffix("\r")

"""Keeps a manager's token in a file, for programs that read one: an actor beside the manager, under the same supervisor."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from oidc_actor.sidecar.config_reader import PRIVATE
from oidc_actor.sidecar.log import log
from oidc_actor.values.tokens import TokenResponse
from supervision import Server, Timer, send_after
from supervision.frozen import dataclass

RETRY_S = 2.0
"""Seconds after which a file that could not be written is tried again."""


@dataclass(frozen=True, slots=True)
class Write:
    """Write the current token, if it is not in the file. As a call it is answered when that is done, or has failed."""


class TokenFile(Server):
    """Writes the current token whenever there may be a new one. Programs see the old file or the new one, never half of one.

    The message names no token: this actor reads the current one when the message's turn comes, so a burst of tokens is one write,
    and an older token cannot overwrite a newer one. A retry is such a message, too; the next write cancels it.
    """

    def __init__(self, path: Path, mode: int, read: Callable[[], TokenResponse | None]) -> None:
        """Prepare.

        Args:
            path: The file; it is replaced as a whole.
            mode: Its mode.
            read: Gives the current token, at once; ``None`` where there is none.
        """
        super().__init__()
        self._path = path
        self._mode = mode
        self._read = read
        self._written: TokenResponse | None = None
        self._retry: Timer | None = None

    def on_continue(self) -> None:
        """Write the token that is there already."""
        self._write()

    def on_receive(self, message: Any) -> Any:
        """Write what is current by now, however many tokens came meanwhile."""
        if not isinstance(message, Write):
            return super().on_receive(message)
        self._write()
        return None

    def _write(self) -> None:
        token = self._read()
        if token is None or token is self._written:
            return
        if self._retry is not None:
            self._retry.cancel()
        problem = replace_file(self._path, self._mode, token)
        if problem is None:
            self._written = token
            return
        log("token_file_failed", path=str(self._path), error=problem)
        self._retry = send_after(RETRY_S, self.actor_ref, Write())


def replace_file(path: Path, mode: int, token: TokenResponse) -> str | None:
    """Replace a file by one with a token's text, atomically, mode and all; return what went wrong, or ``None``."""
    fresh = path.with_name(f".{path.name}.new")  # one actor writes it, so a file that a crash left is used again
    try:
        fresh.unlink(missing_ok=True)
        number = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode & PRIVATE)
        with open(number, "wb", closefd=True) as file:
            file.write(token.access_token.encode())
            os.fchmod(number, mode)  # the umask took bits from it
        fresh.replace(path)
    except FileNotFoundError:
        return f"{str(path.parent)!r} does not exist: create it"
    except OSError as error:
        return error.strerror or type(error).__name__
    return None

"""Refresh tokens kept between two runs: one file each, readable by their owner only, replaced as a whole."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from oidc_actor.cli.connection import Connection
from oidc_actor.values.errors import ConfigError, SecretUnavailable
from oidc_actor.values.secrets import Secret, SecretFile

FOLDER_VARIABLE = "OIDC_ACTOR_STATE"
_LOOK_AGAIN_S = 0.05

if sys.platform == "win32":  # which has no such locks: two commands at once may redeem one token twice there

    def _lock(file: int) -> bool:
        return True

else:
    import fcntl

    def _lock(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


class Kept:
    """The refresh token of one login.

    Args:
        path: Its file, which need not be there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Secret | None:
        """The token, or `None` where there is none that can be read."""
        try:
            return SecretFile(self._path).read()
        except SecretUnavailable:
            return None

    def write(self, token: Secret) -> str | None:
        """Keep a token in place of the one before; what went wrong, or `None`."""
        problem = self._replace(token)
        return None if problem is None else f"the login cannot be kept in {str(self._path)!r}: {problem}"

    @contextlib.contextmanager
    def locked(self, timeout_s: float, pause: Callable[[float], object]) -> Iterator[None]:
        """Keep other commands away from this token.

        Args:
            timeout_s: Seconds to wait for another command.
            pause: Waits that many seconds.

        Raises:
            ConfigError: It did not let go in time, or there is no place for it.
        """
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigError(
                f"the login cannot be kept in {str(self._path.parent)!r}: {error.strerror}; set {FOLDER_VARIABLE}"
            ) from None
        try:
            while not _lock(file):
                if timeout_s <= 0:
                    raise ConfigError(f"another oidc-actor uses the login kept in {str(self._path)!r}; try again")
                pause(_LOOK_AGAIN_S)
                timeout_s -= _LOOK_AGAIN_S
            yield
        finally:
            os.close(file)  # which unlocks it

    def _replace(self, token: Secret) -> str | None:
        """What went wrong is returned: this frame holds the token."""
        try:
            handle, new = tempfile.mkstemp(dir=self._path.parent)  # made readable by its owner only
        except OSError as error:
            return error.strerror or type(error).__name__
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(token.reveal())
                file.flush()
                os.fsync(file.fileno())  # a rotating token that is lost with the power cannot be had again
            os.replace(new, self._path)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(new)
            return error.strerror or type(error).__name__
        return None


def kept_for(connection: Connection) -> Kept:
    """Where the login of this client at this provider, for these scopes, is kept.

    Raises:
        ConfigError: There is no place for it.
    """
    auth = connection.auth
    provider = connection.issuer_url or (connection.config.token_endpoint if connection.config is not None else None)
    wanted = (sorted(auth.scopes), auth.audience, auth.resource)
    name = hashlib.sha256(repr((provider, auth.client_id, *wanted)).encode()).hexdigest()[:32]
    return Kept(_folder() / f"{name}.token")


def _folder() -> Path:
    own = os.environ.get(FOLDER_VARIABLE)
    if own:
        return Path(own)
    state = os.environ.get("XDG_STATE_HOME")
    try:
        return (Path(state) if state else Path.home() / ".local" / "state") / "oidc-actor"
    except RuntimeError:  # a user without a home, as in containers
        raise ConfigError(f"the login cannot be kept: this user has no home directory; set {FOLDER_VARIABLE}") from None

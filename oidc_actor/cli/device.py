"""`oidc-actor token --device`: a person lets the program in once; the refresh token is kept for the next time."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from oidc_actor.cli.connection import Connection
from oidc_actor.credentials.grants import DeviceCode
from oidc_actor.endpoints.other_endpoints import request_device_authorization
from oidc_actor.endpoints.token_endpoint import TokenRequest, request_token
from oidc_actor.protocol.device_authorization import DeviceAuthorization
from oidc_actor.transport import Transport
from oidc_actor.values.errors import ConfigError, SecretUnavailable, TokenRequestError, refuses_refresh_token
from oidc_actor.values.oidc_config import OIDCConfig
from oidc_actor.values.secrets import Secret, SecretFile
from oidc_actor.values.tokens import TokenResponse

SLOWER_S = 5.0
"""Seconds that each ``slow_down`` adds to the interval (RFC 8628 section 3.5)."""

Pause = Callable[[float], object]


def log_in(
    connection: Connection, config: OIDCConfig, transport: Transport, pause: Pause = time.sleep
) -> TokenResponse:
    """Get a token by the refresh token of an earlier login, else by a new login.

    Args:
        connection: Which provider, as which client.
        config: The provider's metadata.
        transport: What performs the requests.
        pause: Waits that many seconds.

    Returns:
        The token.

    Raises:
        ConfigError: The provider has no device flow, or the login cannot be kept.
        TokenRequestError: The provider or the person refused, or the provider cannot be reached.
    """
    kept = kept_for(connection)
    with kept.locked(connection.timeout_s, pause):  # of several commands at once, one redeems a token that rotates
        found = kept.read()
        token = None if found is None else _refreshed(connection, config, transport, found)
        if token is not None:
            _keep(kept, token)
            return token
    begun = request_device_authorization(
        transport,
        config,
        connection.auth,
        timeout_s=connection.timeout_s,
        allow_insecure_http=connection.allow_insecure_http,
    )
    _show(begun)
    token = _await_token(connection, config, transport, begun, pause)
    if token.refresh_token is None:
        sys.stderr.write(
            "No refresh token came, so the next time asks again; many want --scope offline_access for one.\n"
        )
    with kept.locked(connection.timeout_s, pause):
        _keep(kept, token)
    return token


def _refreshed(connection: Connection, config: OIDCConfig, transport: Transport, found: Secret) -> TokenResponse | None:
    """Redeem the kept token; None where it is of no use any more. If the provider is only in trouble, its error is raised."""
    # A client that was granted less than it asked for may not ask for it again; without a scope it is what was granted (RFC 6749
    # section 6). It is the second choice, because to some providers a scope also says for which API the token is.
    for auth in (connection.auth, replace(connection.auth, scopes=())):
        try:
            return request_token(
                TokenRequest(transport, config, auth, refresh_token=found, timeout_s=connection.timeout_s)
            ).token
        except TokenRequestError as error:
            if not refuses_refresh_token(error):
                raise
            if error.error != "invalid_scope":
                return None
    return None


def _await_token(
    connection: Connection, config: OIDCConfig, transport: Transport, begun: DeviceAuthorization, pause: Pause
) -> TokenResponse:
    auth = DeviceCode(begun.device_code, connection.auth)
    left_s, interval_s = begun.expires_in_s, begun.interval_s
    while True:
        # The interval is waited for before the first question, too. Counted, not read off a clock: a laptop that was shut in
        # between finds out from the provider.
        wait_s = min(interval_s, left_s)
        pause(wait_s)
        left_s -= wait_s
        try:
            return request_token(TokenRequest(transport, config, auth, timeout_s=connection.timeout_s)).token
        except TokenRequestError as error:
            if left_s <= 0 or not _may_still_come(error):
                raise
            if error.error == "slow_down":
                interval_s += SLOWER_S
            elif error.status is None:
                interval_s = min(2 * interval_s, 60.0)  # section 3.5: back off where no answer comes


def _may_still_come(error: TokenRequestError) -> bool:
    waiting = error.error in ("authorization_pending", "slow_down")
    return waiting or error.status is None or error.status >= 500 or error.status == 429


def _show(begun: DeviceAuthorization) -> None:
    minutes = max(1, round(begun.expires_in_s / 60))
    sys.stderr.write(
        f"To let this program in, open {begun.verification_uri}\n"
        f"and enter the code {begun.user_code} (within {minutes} min)\n"
    )
    if begun.verification_uri_complete is not None:
        sys.stderr.write(f"or open {begun.verification_uri_complete} and compare the code.\n")
    sys.stderr.flush()


def _keep(kept: Kept, token: TokenResponse) -> None:
    """Keep the refresh token. If that fails, the person still gets the access token."""
    problem = None if token.refresh_token is None else kept.write(Secret(token.refresh_token))
    if problem is not None:
        sys.stderr.write(f"This time it worked, but {problem}, so the next time asks again; set {FOLDER_VARIABLE}.\n")


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
        """Keep a token instead of the one before; return what went wrong, or `None`."""
        problem = self._replace(token)
        return None if problem is None else f"the login cannot be kept in {str(self._path)!r}: {problem}"

    @contextlib.contextmanager
    def locked(self, timeout_s: float, pause: Callable[[float], object]) -> Iterator[None]:
        """Keep other commands away from this token.

        Args:
            timeout_s: Seconds to wait for another command.
            pause: Waits that many seconds.

        Raises:
            ConfigError: The other command did not end in time, or the lock's file cannot be made.
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
        ConfigError: This user has no home directory.
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

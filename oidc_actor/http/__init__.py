"""HTTP over urllib3, and through a proxy over requests: connections, TLS, responses; the one place that imports them.

Here are the checks of what a user says of transports and timeouts. They import neither library before a transport is made.
"""

from __future__ import annotations

from pathlib import Path

from oidc_actor.transport import Transport
from oidc_actor.values.errors import ConfigError
from supervision.runtime.lazy_imports import fork_waits

LONGEST_TIMEOUT_S = 1e9
"""The longest timeout in seconds, some 30 years: what every socket and lock of Python can still wait for."""


def default_transport(ca_bundle: str | Path | None = None) -> Transport:
    """Give the transport that is used where none is injected. urllib3 is imported here, not with the package.

    Args:
        ca_bundle: File or directory of the certificates to trust instead of the usual ones.

    Returns:
        HTTP over urllib3; the same object for the same argument, so that connections are shared.

    Raises:
        ConfigError: Where ``ca_bundle`` holds no certificates.
    """
    with fork_waits():
        from oidc_actor.http.client import shared_transport

    return shared_transport(ca_bundle)


def direct_transport() -> Transport:
    """Give a transport that goes through no proxy and reads nothing from the environment: for what only this machine reaches."""
    with fork_waits():
        from oidc_actor.http.client import unproxied_transport

    return unproxied_transport()


def check_timeout(value: object, name: str = "timeout_seconds") -> float:
    """Check a duration given as an option.

    Args:
        value: The candidate.
        name: What it is, for the error's message.

    Returns:
        Seconds.

    Raises:
        ConfigError: Where it is no positive number, or one that no socket can wait for.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= LONGEST_TIMEOUT_S:
        problem = f"expected a positive number of seconds, {LONGEST_TIMEOUT_S:.0e} at most, got {value!r}"
        raise ConfigError(problem, (name,))
    return float(value)


def check_transport(transport: object, ca_bundle: str | Path | None = None) -> Transport:
    """Check the transport given as an option, or make the usual one.

    Args:
        transport: The candidate; ``None`` for HTTP of our own.
        ca_bundle: File or directory of the certificates to trust; only for the usual one.

    Returns:
        The transport.

    Raises:
        ConfigError: Where it cannot be called, or both were given.
    """
    if transport is None:
        return default_transport(ca_bundle)
    if ca_bundle is not None:
        problem = "expected None beside a transport of your own, which brings its own certificates"
        raise ConfigError(problem, ("ca_bundle",))
    if not callable(transport):
        raise ConfigError(f"expected a callable taking a Request, got {type(transport).__name__}", ("transport",))
    return transport

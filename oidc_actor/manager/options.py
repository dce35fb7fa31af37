"""The options of a manager: checked before anything starts, and kept as one value."""

from __future__ import annotations

import difflib
import random
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Required, TypedDict, cast

from oidc_actor.credentials.dpop import with_own_key
from oidc_actor.credentials.grants import WHAT_AUTH_IS, Credentials, parse_auth
from oidc_actor.machine.failure_policy import RetryPolicy, Rng
from oidc_actor.oidc import check_timeout, check_transport
from oidc_actor.protocol.metadata import OIDCConfig, check_config
from oidc_actor.transport import Transport
from oidc_actor.values.clock import Clock, default_clock, is_seconds
from oidc_actor.values.errors import ConfigError
from oidc_actor.values.secrets import SecretFile, SecretSource, holds_secrets
from oidc_actor.values.urls import check_issuer_url, origin_of

_RNG = cast(Rng, random)  # the module's own generator, which it seeds anew in a forked child
_RETRY = RetryPolicy()


class ManagerOptions(TypedDict, total=False):
    """The options of `TokenManager.start_link` and `child_spec`, for type checkers; `Options` says what they mean."""

    auth: Required[Credentials | Mapping[str, Any]]
    issuer_url: str | None
    oidc_config: OIDCConfig | None
    name: str | None
    refresh_buffer_seconds: float
    ca_bundle: str | Path | None
    allow_insecure_http: bool
    transport: Transport | None
    clock: Clock
    rng: Rng
    retry: RetryPolicy
    min_interval_seconds: float
    default_lifetime_seconds: float
    timeout_seconds: float
    revoke_on_stop: bool


@dataclass(frozen=True, slots=True)
class Options:
    """A manager's options; every one is legal. The ``repr`` shows no secret.

    Attributes:
        auth: The credentials.
        issuer_url: The issuer, whose metadata are discovered; ``None`` where they are given.
        oidc_config: The provider's metadata; ``None`` where they are discovered.
        name: The name the manager is registered under, or ``None``.
        refresh_buffer_seconds: Lead before expiry.
        ca_bundle: File or directory of the certificates to trust; ``None`` for the usual ones.
        allow_insecure_http: Whether plain http is acceptable beyond loopback.
        transport: What performs a request; ``None`` for HTTP.
        clock: What deadlines are kept on.
        rng: Random source of the jitter.
        retry: Waits after failures.
        min_interval_seconds: Least seconds between two attempts.
        default_lifetime_seconds: Seconds a token is taken to live where nothing says.
        timeout_seconds: Seconds for one whole request.
        revoke_on_stop: Whether an orderly stop revokes the token (RFC 7009).
    """

    auth: Credentials
    issuer_url: str | None = None
    oidc_config: OIDCConfig | None = None
    name: str | None = None
    refresh_buffer_seconds: float = 60.0
    ca_bundle: str | None = None
    allow_insecure_http: bool = False
    transport: Transport | None = field(default=None, repr=False)
    clock: Clock = default_clock
    rng: Rng = field(default_factory=lambda: _RNG)
    retry: RetryPolicy = _RETRY
    min_interval_seconds: float = 1.0
    default_lifetime_seconds: float = 300.0
    timeout_seconds: float = 10.0
    revoke_on_stop: bool = False

    @property
    def issuer(self) -> str:
        """What the issuer is called in logs, and what managers of the same one have in common; unnamed, it is an origin."""
        config = self.oidc_config
        known = self.issuer_url or (config and config.issuer)
        return known or (origin_of(config.token_endpoint) if config and config.token_endpoint else "")

    @property
    def identity(self) -> object:
        """What must be equal for a manager to take over from a crashed one of its name."""
        return self.auth, self.issuer_url, self.oidc_config

    @property
    def secret_files(self) -> tuple[SecretFile, ...]:
        """The files that secrets are kept in."""
        return tuple(file for source in self.auth.sources if isinstance(source, SecretSource) for file in source.files)

    @property
    def followed(self) -> tuple[Hashable, ...]:
        """The refs and names of the managers whose tokens are traded."""
        return tuple(one for source in self.auth.sources if isinstance(source, SecretSource) for one in source.managers)


_NO_AUTH = f"expected {WHAT_AUTH_IS}, got nothing; pass auth=ClientCredentials(client_id=..., client_secret=...)"


@holds_secrets
def check_options(given: Mapping[str, Any]) -> Options:
    """Check options.

    Args:
        given: The options as the user named them.

    Raises:
        ConfigError: One of them is wrong. The frame of every caller may hold a secret.
    """
    legal = [one.name for one in fields(Options)]
    for name in given:
        if name not in legal:
            near = difflib.get_close_matches(name, legal, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}?" if near else f"the options are {', '.join(legal)}"
            raise ConfigError(f"unknown option {name!r}: {hint}", (name,), label="")
    if "auth" not in given:
        raise ConfigError(_NO_AUTH, ("auth",))
    auth = with_own_key(parse_auth(given["auth"]))
    rest = {name: value for name, value in given.items() if name != "auth" and value is not None}
    if ("issuer_url" in rest) == ("oidc_config" in rest):
        got = "both" if "issuer_url" in rest else "neither"
        option = "oidc_config" if "issuer_url" in rest else "issuer_url"
        raise ConfigError(f"expected exactly one of issuer_url and oidc_config, got {got}", (option,), label="")
    insecure, revoke = (_flag(rest, name) for name in ("allow_insecure_http", "revoke_on_stop"))
    if "issuer_url" in rest:
        check_issuer_url(rest["issuer_url"], allow_insecure_http=insecure)
    elif check_config(rest["oidc_config"], allow_insecure_http=insecure).revocation_endpoint is None and revoke:
        problem = "expected an issuer_url, or an oidc_config with a revocation_endpoint, got one without"
        raise ConfigError(problem, ("revoke_on_stop",))
    for name, check in _CHECKS.items():
        if name in rest:
            check(name, rest[name])
    if "ca_bundle" in rest:
        rest["ca_bundle"] = str(rest["ca_bundle"])
        check_transport(rest.get("transport"), rest["ca_bundle"])  # says at once where that is no bundle
    return Options(auth, **rest)


def read_options(given: Mapping[str, Any]) -> Options | ConfigError:
    """Do what `check_options` does, but return what is wrong as a value.

    Args:
        given: The options as the user named them.

    Returns:
        The options, or what is wrong with them.
    """
    try:
        return check_options(given)
    except ConfigError as error:
        return error.with_traceback(None)


def _flag(rest: Mapping[str, Any], name: str) -> bool:
    value = rest.get(name, False)
    if not isinstance(value, bool):
        raise ConfigError(f"expected True or False, got {value!r}", (name,))
    return value


def _check_name(name: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"expected a non-empty text or None, got {value!r}", (name,))


def _check_seconds(name: str, value: object) -> None:
    if not is_seconds(value):
        raise ConfigError(f"expected finite seconds of at least 0, got {value!r}", (name,))


def _check_duration(name: str, value: object) -> None:
    if not is_seconds(value) or not value:
        raise ConfigError(f"expected finite seconds above 0, got {value!r}", (name,))


def _check_callable(name: str, value: object) -> None:
    if not callable(value):
        raise ConfigError(f"expected a callable, got {type(value).__name__}", (name,))


def _check_rng(name: str, value: object) -> None:
    if not callable(getattr(value, "uniform", None)):
        raise ConfigError(f"expected a random.Random, got {type(value).__name__}", (name,))


def _check_retry(name: str, value: object) -> None:
    if not isinstance(value, RetryPolicy):
        raise ConfigError(f"expected a RetryPolicy, got {type(value).__name__}", (name,))


def _check_ca_bundle(name: str, value: object) -> None:
    if not isinstance(value, str | Path) or not str(value):
        raise ConfigError(f"expected the path of a file or directory of certificates, got {value!r}", (name,))


_CHECKS: dict[str, Callable[[str, Any], object]] = {
    "name": _check_name,
    "refresh_buffer_seconds": _check_seconds,
    "ca_bundle": _check_ca_bundle,
    "transport": _check_callable,
    "clock": _check_callable,
    "rng": _check_rng,
    "retry": _check_retry,
    "min_interval_seconds": _check_seconds,
    "default_lifetime_seconds": _check_duration,
    "timeout_seconds": lambda name, value: check_timeout(value, name),
}

"""The options of a manager: checked before anything starts, and kept as one value."""

from __future__ import annotations

import functools
import inspect
import random
from collections.abc import Callable, Hashable, Mapping
from dataclasses import field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeAlias, TypeVar, cast

from oidc_actor.credentials.credentials import Credentials
from oidc_actor.credentials.dpop import DPoPKey
from oidc_actor.credentials.grants import WHAT_AUTH_IS, DeviceCode, IdentityAssertion, RefreshToken, parse_auth
from oidc_actor.http import check_timeout, check_transport
from oidc_actor.machine.failure_policy import RetryPolicy, Rng
from oidc_actor.transport import Transport
from oidc_actor.values.clock import Clock, default_clock, is_seconds
from oidc_actor.values.errors import ConfigError
from oidc_actor.values.oidc_config import OIDCConfig, check_config
from oidc_actor.values.secrets import SecretFile, SecretSource, holds_secrets
from oidc_actor.values.urls import check_issuer_url, check_resource_url, origin_of
from supervision.frozen import dataclass
from supervision.runtime.lazy_imports import fork_waits

if TYPE_CHECKING:
    from oidc_actor.endpoints.custom import Custom
    from oidc_actor.sharing.store import TokenStore

P = ParamSpec("P")
C = TypeVar("C")
R = TypeVar("R")

_RNG = cast(Rng, random)  # the module's own generator, which it seeds anew in a forked child
_RETRY = RetryPolicy()


def manager_options(
    *,
    auth: Credentials | Mapping[str, Any],
    issuer_url: str | None = None,
    oidc_config: OIDCConfig | None = None,
    resource_url: str | None = None,
    name: str | None = None,
    refresh_buffer_seconds: float = 60.0,
    ca_bundle: str | Path | None = None,
    allow_insecure_http: bool = False,
    transport: Transport | None = None,
    clock: Clock | None = None,
    rng: Rng | None = None,
    retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - it is frozen
    min_interval_seconds: float = 1.0,
    default_lifetime_seconds: float = 300.0,
    timeout_seconds: float = 10.0,
    revoke_on_stop: bool = False,
    store: TokenStore | None = None,
    store_key: str | None = None,
) -> None:
    """Only a signature: that of `TokenManager.start_link` and `child_spec`. `Options` says what they mean."""


def replacing_options(
    *,
    timeout: float = 10.0,
    auth: Credentials | Mapping[str, Any],
    issuer_url: str | None = None,
    oidc_config: OIDCConfig | None = None,
    name: str | None = None,
    refresh_buffer_seconds: float = 60.0,
    ca_bundle: str | Path | None = None,
    allow_insecure_http: bool = False,
    transport: Transport | None = None,
    clock: Clock | None = None,
    rng: Rng | None = None,
    retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - it is frozen
    min_interval_seconds: float = 1.0,
    default_lifetime_seconds: float = 300.0,
    timeout_seconds: float = 10.0,
    revoke_on_stop: bool = False,
    store: TokenStore | None = None,
    store_key: str | None = None,
) -> None:
    """Only a signature: that of `TokenManager.replace`, beside the manager."""


def signed_as(
    pattern: Callable[P, object],
) -> Callable[[Callable[[C, dict[str, Any]], R]], Callable[Concatenate[C, P], R]]:
    """Decorate a method that takes its options as a dict: it is called, seen and type-checked with the pattern's arguments.

    A wrong or missing name is not refused with Python's ``TypeError``: the method checks all that it was given.

    Args:
        pattern: The function whose arguments it takes, all of them by name.
    """

    def decorate(method: Callable[[C, dict[str, Any]], R]) -> Callable[Concatenate[C, P], R]:
        @functools.wraps(method)
        def signed(cls: C, /, **options: Any) -> R:
            return method(cls, options)  # the dict itself, so that the method may empty it

        first, *_ = inspect.signature(method).parameters.values()
        shown = inspect.signature(method).replace(parameters=[first, *inspect.signature(pattern).parameters.values()])
        signed.__signature__ = shown  # type: ignore[attr-defined]
        return cast("Callable[Concatenate[C, P], R]", signed)

    return decorate


@dataclass(frozen=True, slots=True)
class Options:
    """A manager's options; every one is legal. The ``repr`` shows no secret.

    Attributes:
        auth: The credentials.
        issuer_url: The issuer, whose metadata are discovered; ``None`` where they are given.
        oidc_config: The provider's metadata; ``None`` where they are discovered.
        resource_url: The resource that the token is for, whose metadata have to name the issuer; ``None`` for any.
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
        store: The store that the token is shared through; ``None`` for a manager of its own.
        store_key: What tells managers apart in the store whose other options are the same; ``None`` where nothing need.
    """

    auth: Credentials
    issuer_url: str | None = None
    oidc_config: OIDCConfig | None = None
    resource_url: str | None = None
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
    store: TokenStore | None = None
    store_key: str | None = None

    @property
    def issuer(self) -> str:
        """What the issuer is called in logs, and what managers of the same one have in common; unnamed, it is an origin."""
        config = self.oidc_config
        if not self.auth.asks_provider:
            return cast("Custom", self.auth).name
        known = self.issuer_url or (config and config.issuer)
        return known or (origin_of(config.token_endpoint) if config and config.token_endpoint else "")

    @property
    def identity(self) -> tuple[object, ...]:
        """What must be equal for a manager to take over from a crashed one of its name."""
        return self.auth, self.issuer_url, self.oidc_config, self.resource_url, self.store, self.store_key

    @property
    def secret_files(self) -> tuple[SecretFile, ...]:
        """The files that secrets are kept in."""
        return tuple(file for source in self.auth.sources if isinstance(source, SecretSource) for file in source.files)

    @property
    def followed(self) -> tuple[Hashable, ...]:
        """The refs and names of the managers whose tokens are traded."""
        return tuple(one for source in self.auth.sources if isinstance(source, SecretSource) for one in source.managers)


_NAMES = [one.name for one in fields(Options)]
_NO_AUTH = f"expected {WHAT_AUTH_IS}, got nothing; pass auth=ClientCredentials(client_id=..., client_secret=...)"


@holds_secrets
def check_replacing(given: Mapping[str, Any], before: Options) -> Options:
    """Check the options that are to replace others.

    Args:
        given: The options as the user named them.
        before: Those of the manager, whose name and clock stay, and a key for DPoP that it has made (``dpop=True``).

    Raises:
        ConfigError: One of them is wrong, or would be another name or clock.
    """
    for name in ("name", "clock"):
        if given.get(name) not in (None, getattr(before, name)):
            kept = repr(before.name) if name == "name" else "the one that it has"
            raise ConfigError(f"expected {kept}, or none: a manager keeps its {name}; start another one", (name,))
    options = replace(check_options(given), name=before.name, clock=before.clock)
    key = before.auth.dpop
    if isinstance(key, DPoPKey) and key.is_made and asks_for_key(given["auth"]):
        return replace(options, auth=replace(options.auth, dpop=key))
    return options


def asks_for_key(auth: object) -> bool:
    """Whether credentials ask for a DPoP key of the manager's own."""
    return (auth.get("dpop") if isinstance(auth, Mapping) else getattr(auth, "dpop", None)) is True


def how_to_replace(before: Options, options: Options) -> Literal["try", "adopt", "keep"]:
    """How options replace others, as `oidc_actor.machine.events.Replacing` has it."""
    if options == before:
        return "keep"
    if options.identity == before.identity:
        return "adopt"
    login = options.auth.grant_secret
    is_same_login = isinstance(options.auth, RefreshToken) and login == before.auth.grant_secret
    # Another resource is no other login.
    rest = [one.identity[1:] for one in (replace(options, resource_url=None), replace(before, resource_url=None))]
    return "adopt" if is_same_login and rest[0] == rest[1] else "try"


@holds_secrets
def check_options(given: Mapping[str, Any]) -> Options:
    """Check options.

    Args:
        given: The options as the user named them.

    Raises:
        ConfigError: One of them is wrong. The frame of every caller may hold a secret.
    """
    _refuse_unknown(given)
    if "auth" not in given:
        raise ConfigError(_NO_AUTH, ("auth",))
    auth = parse_auth(given["auth"])
    rest = {name: value for name, value in given.items() if name != "auth" and value is not None}
    if auth.asks_provider:
        _check_one_source(rest)
    else:
        _refuse_provider(rest)
    for name, (is_right, expected, shown) in _CHECKS.items():
        if name in rest and not is_right(rest[name]):
            raise ConfigError(f"expected {expected}, got {shown(rest[name])}", (name,))
    if auth.asks_provider:
        auth = _check_provider(auth, rest)
    else:
        rest["oidc_config"] = NO_PROVIDER
    _check_sharing(auth, rest)
    if "timeout_seconds" in rest:
        check_timeout(rest["timeout_seconds"], "timeout_seconds")
    if "ca_bundle" in rest:
        rest["ca_bundle"] = str(rest["ca_bundle"])
        check_transport(rest.get("transport"), rest["ca_bundle"])  # says at once where that is no bundle
    return Options(replace(auth, dpop=DPoPKey()) if auth.dpop is True else auth, **rest)


NO_PROVIDER = OIDCConfig()
"""The metadata of a manager that asks no provider: there is nothing to discover."""


def _check_one_source(rest: Mapping[str, Any]) -> None:
    if ("issuer_url" in rest) == ("oidc_config" in rest):
        got = "both" if "issuer_url" in rest else "neither"
        option = "oidc_config" if "issuer_url" in rest else "issuer_url"
        raise ConfigError(f"expected exactly one of issuer_url and oidc_config, got {got}", (option,), label="")


def _refuse_provider(rest: Mapping[str, Any]) -> None:
    """Refuse what is about a provider, where none is asked."""
    for name in ("issuer_url", "oidc_config", "resource_url"):
        if name in rest:
            raise ConfigError("expected none beside Custom, whose function asks for the token; drop it", (name,))
    if rest.get("revoke_on_stop"):
        raise ConfigError("expected False beside Custom, which knows no endpoint for it, got True", ("revoke_on_stop",))


def _check_provider(auth: Credentials, rest: Mapping[str, Any]) -> Credentials:
    """Check whom the credentials are sent to; those for a resource name it then."""
    insecure, revoke = (rest.get(name, False) for name in ("allow_insecure_http", "revoke_on_stop"))
    if "issuer_url" in rest:
        check_issuer_url(rest["issuer_url"], allow_insecure_http=insecure)
    elif check_config(rest["oidc_config"], allow_insecure_http=insecure).revocation_endpoint is None and revoke:
        problem = "expected an issuer_url, or an oidc_config with a revocation_endpoint, got one without"
        raise ConfigError(problem, ("revoke_on_stop",))
    if "resource_url" in rest:
        auth = _for_resource(auth, rest)
    if isinstance(auth, IdentityAssertion):
        config = rest.get("oidc_config")
        issuer = rest["issuer_url"] if config is None else config.issuer
        auth.check(issuer, allow_insecure_http=insecure)
    return auth


def _for_resource(auth: Credentials, rest: Mapping[str, Any]) -> Credentials:
    """Have the resource named in each request (RFC 8707), so that its token is no other's; also in a store."""
    if "issuer_url" not in rest:
        problem = "expected an issuer_url beside it, which the resource's metadata have to name, got an oidc_config"
        raise ConfigError(problem, ("resource_url",))
    resource_url = check_resource_url(rest["resource_url"], allow_insecure_http=rest.get("allow_insecure_http", False))
    if auth.resource not in (None, resource_url, (resource_url,)):
        problem = "expected none beside resource_url, which is what is sent, got another one; drop it"
        raise ConfigError(problem, ("auth", "resource"))
    return replace(auth, resource=resource_url)


def _check_sharing(auth: Credentials, rest: Mapping[str, Any]) -> None:
    """Refuse what cannot be shared."""
    if "store" not in rest:
        if "store_key" in rest:
            raise ConfigError("expected a store beside it, got none; add store= or drop it", ("store_key",))
        return
    if rest.get("revoke_on_stop"):
        problem = "expected False beside a store, got True: the end of one process would end the token of all"
        raise ConfigError(problem, ("revoke_on_stop",))
    if auth.dpop is True:
        problem = "expected a DPoPKey that all members have, got True: a key of the manager's own binds a token to it"
        raise ConfigError(problem, ("auth", "dpop"))
    if not auth.asks_provider and cast("Custom", auth).identity is None:
        problem = (
            "expected a text that is the same in each process, got none: a function says nothing to another process; "
            'pass Custom(..., identity="...")'
        )
        raise ConfigError(problem, ("auth", "identity"))
    if (auth.trades_token or isinstance(auth, DeviceCode)) and "store_key" not in rest:
        problem = (
            f"expected a text that names whose token it is, got none: {type(auth).__name__} does not say; "
            "pass store_key=, such as the user's name"
        )
        raise ConfigError(problem, ("store_key",))


def _refuse_unknown(given: Mapping[str, Any]) -> None:
    for name in given:
        if name not in _NAMES:
            with fork_waits():
                import difflib  # for this message alone
            near = difflib.get_close_matches(name, _NAMES, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}?" if near else f"the options are {', '.join(_NAMES)}"
            raise ConfigError(f"unknown option {name!r}: {hint}", (name,), label="")


def _type_name(value: object) -> str:
    return type(value).__name__


def _is_store(value: object) -> bool:
    with fork_waits():
        from oidc_actor.sharing.store import is_store
    return is_store(value)


_Check: TypeAlias = tuple[Callable[[Any], object], str, Callable[[Any], str]]
_FLAG: _Check = (lambda value: isinstance(value, bool), "True or False", repr)
_SECONDS: _Check = (is_seconds, "finite seconds of at least 0", repr)
_CALLABLE: _Check = (callable, "a callable", _type_name)
_BUNDLE = "the path of a file or directory of certificates"
_CHECKS: dict[str, _Check] = {
    "allow_insecure_http": _FLAG,
    "revoke_on_stop": _FLAG,
    "store": (_is_store, "a TokenStore, such as RedisStore or FileStore", _type_name),
    "store_key": (lambda value: isinstance(value, str) and value, "a non-empty text", repr),
    "name": (lambda value: isinstance(value, str) and value, "a non-empty text or None", repr),
    "refresh_buffer_seconds": _SECONDS,
    "ca_bundle": (lambda value: isinstance(value, str | Path) and str(value), _BUNDLE, repr),
    "transport": _CALLABLE,
    "clock": _CALLABLE,
    "rng": (lambda value: callable(getattr(value, "uniform", None)), "a random.Random", _type_name),
    "retry": (lambda value: isinstance(value, RetryPolicy), "a RetryPolicy", _type_name),
    "min_interval_seconds": _SECONDS,
    "default_lifetime_seconds": (lambda value: is_seconds(value) and value, "finite seconds above 0", repr),
}
"""For each option whether a value is right, what was expected otherwise, and how the value is shown then."""

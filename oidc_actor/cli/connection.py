"""From options to what the library takes: which provider, which credentials. Everything is checked here, nothing sent."""

from __future__ import annotations

import getpass
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oidc_actor.cli.options import ConnectionOptions
from oidc_actor.credentials.dpop import DPoPKey
from oidc_actor.credentials.grants import ClientCredentials, Password, RefreshToken
from oidc_actor.credentials.keys import ClientCertificate, PrivateKey
from oidc_actor.credentials.parameters import parse_scopes
from oidc_actor.http import check_timeout
from oidc_actor.secret_sources.workload_identity import WorkloadIdentity
from oidc_actor.values.errors import ConfigError, OIDCActorError, SecretUnavailable
from oidc_actor.values.oidc_config import OIDCConfig, check_config
from oidc_actor.values.secrets import BYTE_ORDER_MARK, Secret, SecretFile, holds_secrets, secret_problem
from oidc_actor.values.urls import check_issuer_url, check_resource_url

OPTIONS = {
    "issuer_url": "--issuer",
    "token_endpoint": "--token-endpoint",
    "resource_url": "--resource-url",
    "ca_bundle": "--ca-bundle",
    "client_id": "--client-id",
    "client_secret": "--client-secret-file",
    "private_key": "--private-key-file",
    "kid": "--key-id",
    "client_certificate": "--client-cert",
    "client_assertion": "--workload-identity",
    "key_file": "--client-key",
    "client_auth": "--client-auth",
    "username": "--username",
    "password": "--password-file",
    "scopes": "--scope",
    "audience": "--audience",
    "resource": "--resource",
    "namespace": "--namespace",
    "keys": "--key",
    "url": "--store",
    "path": "--store",
    "store": "--store",
    "store_key": "--store-key",
    "initial_s": "--retry-initial",
    "maximum_s": "--retry-maximum",
}
"""What the options of the library are called here."""

_HINTS = {
    "set allow_insecure_http": "--allow-insecure-http",
    "with ca_bundle": "with --ca-bundle",
    "client_auth=": "--client-auth ",
}
"""How options are named in the hints of errors, which say what to try."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Which provider, as whom.

    Attributes:
        issuer_url: The issuer; `None` where the token endpoint was given instead.
        config: The token endpoint; `None` where discovery has to find it.
        auth: The credentials.
        ca_bundle: PEM file of the CAs to trust; `None` for the usual ones.
        timeout_s: Seconds for each request.
        allow_insecure_http: Whether plain http is acceptable beyond loopback.
        secret_from: Where the client's secret was given, as the user knows it.
        resource_url: The resource whose metadata have to name the issuer; `None` where that is not asked.
    """

    issuer_url: str | None
    config: OIDCConfig | None
    auth: ClientCredentials | Password | RefreshToken
    ca_bundle: Path | None
    timeout_s: float
    allow_insecure_http: bool
    secret_from: str = "OIDC_CLIENT_SECRET"  # noqa: S105 - a variable's name
    resource_url: str | None = None

    def method(self, config: OIDCConfig | None) -> str:
        """How the client is authenticated.

        Args:
            config: What the provider's metadata say; `None` where they are not known.
        """
        offered = None if config is None else config.token_endpoint_auth_methods_supported
        return self.auth.choose_client_auth(offered)


def names_provider(options: ConnectionOptions) -> bool:
    """Whether a provider was named at all."""
    return bool(options.issuer or options.token_endpoint)


@dataclass(frozen=True, slots=True)
class Login:
    """A refresh token in a file, which is redeemed; one that comes in its place is written there.

    Attributes:
        path: The file.
    """

    path: Path

    def check(self) -> None:
        """See that the file can be replaced, before the token in it is redeemed.

        Raises:
            ConfigError: It cannot.
        """
        if not self.path.is_file() or not os.access(self.path, os.W_OK) or not os.access(self.path.parent, os.W_OK):
            problem = f"expected a file that can be replaced, as a new refresh token may come, got {str(self.path)!r}"
            raise ConfigError(f"--refresh-token-file: {problem}")

    def of(self, auth: ClientCredentials | Password | RefreshToken) -> RefreshToken:
        """The credentials that redeem it, as the same client."""
        return RefreshToken(
            SecretFile(self.path),
            str(auth.client_id),
            auth.client_secret,
            auth.scopes,
            audience=auth.audience,
            resource=auth.resource,
            client_auth=auth.client_auth,
            private_key=auth.private_key,
            client_certificate=auth.client_certificate,
            dpop=auth.dpop,
        )


def connect(options: ConnectionOptions, *, by_device: bool = False, by_login: bool = False) -> Connection:
    """Check the options and read the secrets.

    Args:
        options: What was said.
        by_device: Whether a person lets the program in, so that the client needs no secret.
        by_login: Whether a refresh token lets it in, so that the client needs no secret either.

    Raises:
        ConfigError: Something is missing, contradicts itself or is malformed; the message names the option.
    """
    check_timeout(options.timeout, "--timeout")
    issuer_url, config = _provider(options)
    resource_url = _resource(options)
    auth = _credentials(options, by_device=by_device, by_login=by_login)
    bundle = options.ca_bundle
    if bundle is not None and not bundle.is_file():
        raise ConfigError(f"--ca-bundle: expected a PEM file, found none at {bundle}")
    return Connection(
        issuer_url,
        config,
        auth,
        bundle,
        options.timeout,
        options.allow_insecure_http,
        _secret_from(options),
        resource_url,
    )


def _secret_from(options: ConnectionOptions) -> str:
    if options.client_secret_stdin:
        return "--client-secret-stdin"
    return (
        "OIDC_CLIENT_SECRET"
        if options.client_secret_file is None
        else f"--client-secret-file {options.client_secret_file}"
    )


def in_options(error: OIDCActorError) -> str:
    """An error of the library, in the names of the command line."""
    text = str(error)
    if isinstance(error, SecretUnavailable) and error.option in OPTIONS:
        text = OPTIONS[error.option] + text.removeprefix(error.option)
    elif isinstance(error, ConfigError):
        named = [OPTIONS[name] for name in error.option if name in OPTIONS]
        text = f"{named[-1]}: {error.problem}" if named else text
    for hint, option in _HINTS.items():
        text = text.replace(hint, option)
    return text


def _provider(options: ConnectionOptions) -> tuple[str | None, OIDCConfig | None]:
    insecure = options.allow_insecure_http
    if options.issuer and options.token_endpoint:
        raise ConfigError("expected one of --issuer and --token-endpoint (or their variables), got both")
    if options.issuer:
        return check_issuer_url(options.issuer, allow_insecure_http=insecure), None
    if options.token_endpoint:
        return None, check_config(OIDCConfig(token_endpoint=options.token_endpoint), allow_insecure_http=insecure)
    raise ConfigError("no provider: give --issuer URL or set OIDC_ISSUER_URL")


def _resource(options: ConnectionOptions) -> str | None:
    if not options.resource_url:
        return None
    if not options.issuer:
        raise ConfigError("--resource-url: expected --issuer beside it, which the resource's metadata have to name")
    if set(options.resource or ()) - {options.resource_url}:
        raise ConfigError("--resource: expected none beside --resource-url, which is what is sent, got another one")
    return check_resource_url(options.resource_url, allow_insecure_http=options.allow_insecure_http)


def _credentials(options: ConnectionOptions, *, by_device: bool, by_login: bool) -> ClientCredentials | Password:
    if options.client_secret_stdin and options.password_stdin:
        raise ConfigError("only one secret can come on standard input: use a file or a variable for the other")
    if not options.client_id:
        raise ConfigError("no client: give --client-id ID or set OIDC_CLIENT_ID")
    client_secret = read_secret(
        "client-secret", "OIDC_CLIENT_SECRET", options.client_secret_file, from_stdin=options.client_secret_stdin
    )
    password = read_secret("password", "OIDC_PASSWORD", options.password_file, from_stdin=options.password_stdin)
    if not options.username and password is not None:
        raise ConfigError("a password but no user: give --username NAME or set OIDC_USERNAME")
    if options.username and password is None:
        raise ConfigError("no password: set OIDC_PASSWORD, or give --password-file FILE or --password-stdin")
    if by_device and options.username:
        raise ConfigError("expected one of --device and --username, got both")
    if by_login and options.username:
        raise ConfigError("expected one of --refresh-token-file and --username, got both")
    proves_otherwise = (
        options.private_key_file or options.client_cert or options.workload_identity or options.client_auth == "none"
    )
    if client_secret is None and not (options.username or by_device or by_login or proves_otherwise):
        raise ConfigError(
            "no client secret: set OIDC_CLIENT_SECRET, or give --client-secret-file FILE or --client-secret-stdin"
        )
    client = _client_options(options)
    scopes = [scope for given in options.scope or () for scope in parse_scopes(given)]
    if options.username and password is not None:
        return Password(options.username, password, options.client_id, client_secret, scopes, **client)
    return ClientCredentials(options.client_id, client_secret, scopes, **client)


def _client_options(options: ConnectionOptions) -> dict[str, Any]:
    found: dict[str, Any] = {
        "audience": options.audience or None,
        "resource": options.resource_url or options.resource or None,
        "client_auth": options.client_auth or None,
    }
    if options.dpop:
        found["dpop"] = DPoPKey()
    if options.private_key_file is not None:
        found["private_key"] = PrivateKey(SecretFile(options.private_key_file), kid=options.key_id or None)
    elif options.key_id:
        raise ConfigError("--key-id: expected --private-key-file beside it, got none")
    if options.workload_identity:
        found["client_assertion"] = WorkloadIdentity.detect(options.workload_identity)
    if options.client_cert is not None:
        found["client_certificate"] = ClientCertificate(options.client_cert, options.client_key)
    elif options.client_key is not None:
        raise ConfigError("--client-key: expected --client-cert beside it, got none")
    return found


@holds_secrets
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
        ConfigError: Two options say where it is, standard input is empty, or the text is no UTF-8.
    """
    if file is not None and from_stdin:
        raise ConfigError(f"expected one of --{what}-file and --{what}-stdin, got both")
    if file is not None:
        return SecretFile(file)
    text = _from_stdin(what) if from_stdin else os.environ.get(variable, "")
    if not text and from_stdin:
        raise ConfigError(f"--{what}-stdin: expected the secret on standard input, got nothing")
    problem = secret_problem(text) if text else None
    if text.startswith(BYTE_ORDER_MARK):
        problem = (
            "text that begins with a byte order mark: take it out (the file that it came from is UTF-8 'with BOM')"
        )
    if problem is not None:
        raise ConfigError(f"{f'--{what}-stdin' if from_stdin else variable}: expected the secret, got {problem}")
    return Secret(text) if text else None


def _from_stdin(what: str) -> str:
    if sys.stdin.isatty():
        return getpass.getpass(f"{what.replace('-', ' ').capitalize()}: ", stream=sys.stderr)
    # As the environment is read: what is no UTF-8 becomes surrogates, which are refused further on.
    text = sys.stdin.buffer.read().decode("utf-8", "surrogateescape").removeprefix(BYTE_ORDER_MARK)
    return text.removesuffix("\n").removesuffix("\r")

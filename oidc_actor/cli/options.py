"""The options that `token` and `check` share: which provider, as which client, for what."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec, get_type_hints

import typer

from oidc_actor.sharing.redis_store import has_password

P = ParamSpec("P")

PROVIDER = "Which provider"
CLIENT = "As whom"
REQUEST = "For what"
STORE = "A shared store"


def _option(panel: str, variable: str, metavar: str, text: str, **more: Any) -> Any:
    return typer.Option(envvar=variable, metavar=metavar, rich_help_panel=panel, help=text, **more)


def _flag(panel: str, name: str, text: str) -> Any:
    return typer.Option(name, rich_help_panel=panel, help=text)


_provider, _client, _request = (functools.partial(_option, panel) for panel in (PROVIDER, CLIENT, REQUEST))


def _never_an_argument(parameter: typer.CallbackParam, value: str | None) -> None:
    """What `--client-secret VALUE` is told: these two options exist to be refused, and are never anything but `None`."""
    if value is not None:
        option = f"--{(parameter.name or '').replace('_', '-')}"
        raise typer.BadParameter(
            f"everybody on this machine can read an argument: use {option}-file, {option}-stdin or the environment"
        )


def no_password(context: typer.Context, parameter: typer.CallbackParam, value: str | None) -> str | None:
    """Refuse an address with a password as an argument; from the environment it may come."""
    source = context.get_parameter_source(parameter.name or "")
    if value is not None and source is not None and source.name == "COMMANDLINE" and has_password(value):
        raise typer.BadParameter(
            "everybody on this machine can read an argument: set OIDC_STORE to an address with a password"
        )
    return value


RefreshTokenFile = Annotated[
    Path | None,
    typer.Option(
        envvar="OIDC_REFRESH_TOKEN_FILE",
        metavar="FILE",
        help="Redeem the refresh token in this file. One that comes in its place is written there.",
    ),
]
RefreshBuffer = Annotated[float, typer.Option(metavar="SECONDS", min=0, help="The manager's refresh_buffer_seconds.")]
Store = Annotated[
    str | None,
    typer.Option(
        envvar="OIDC_STORE",
        metavar="URL|DIRECTORY",
        callback=no_password,
        rich_help_panel=STORE,
        help="A store that processes share; with a password in it, by the variable. It may be looked at alone.",
    ),
]
Namespace = Annotated[str | None, typer.Option(metavar="NAME", rich_help_panel=STORE, help="The members' namespace.")]
Key = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE", rich_help_panel=STORE, help="The file of a key; the first seals. May be repeated."),
]
StoreKey = Annotated[
    str | None,
    typer.Option(metavar="TEXT", rich_help_panel=STORE, help="The members' store_key, if they have one."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionOptions:
    """What was said on the command line and in the environment; no secret among it. Each field is one option."""

    issuer: Annotated[str | None, _provider("OIDC_ISSUER_URL", "URL", "The issuer; discovery does the rest.")] = None
    token_endpoint: Annotated[str | None, _provider("OIDC_TOKEN_ENDPOINT", "URL", "Instead: no discovery.")] = None
    resource_url: Annotated[
        str | None,
        _provider("OIDC_RESOURCE_URL", "URL", "The API, whose metadata (RFC 9728) have to name the issuer."),
    ] = None
    ca_bundle: Annotated[Path | None, _provider("OIDC_CA_BUNDLE", "FILE", "PEM file of the CAs to trust.")] = None
    allow_insecure_http: Annotated[
        bool, _flag(PROVIDER, "--allow-insecure-http", "Accept http:// beyond this machine.")
    ] = False
    timeout: Annotated[float, _provider("OIDC_TIMEOUT", "SECONDS", "For each request.", min=0.001)] = 10.0
    client_id: Annotated[str | None, _client("OIDC_CLIENT_ID", "ID", "The client's id.")] = None
    client_secret_file: Annotated[
        Path | None,
        _client("OIDC_CLIENT_SECRET_FILE", "FILE", "File with the client's secret; or set OIDC_CLIENT_SECRET."),
    ] = None
    client_secret_stdin: Annotated[
        bool, _flag(CLIENT, "--client-secret-stdin", "Read the client's secret from standard input.")
    ] = False
    private_key_file: Annotated[
        Path | None,
        _client("OIDC_PRIVATE_KEY_FILE", "FILE", "Instead of a secret: the client's private key, PEM or JWK."),
    ] = None
    key_id: Annotated[str | None, _client("OIDC_KEY_ID", "KID", "What that key is registered under.")] = None
    client_cert: Annotated[
        Path | None, _client("OIDC_CLIENT_CERT", "FILE", "For mutual TLS: the client's certificate, PEM.")
    ] = None
    client_key: Annotated[
        Path | None, _client("OIDC_CLIENT_KEY", "FILE", "The certificate's key, where it is not in that file.")
    ] = None
    workload_identity: Annotated[
        str | None,
        _client(
            "OIDC_WORKLOAD_IDENTITY",
            "AUDIENCE",
            "Instead of a secret: who this program is where it runs, for that audience.",
        ),
    ] = None
    client_auth: Annotated[
        str | None,
        _client(
            "OIDC_CLIENT_AUTH",
            "METHOD",
            "client_secret_basic, private_key_jwt, none, ...; else the metadata decide.",
        ),
    ] = None
    dpop: Annotated[bool, _flag(CLIENT, "--dpop", "Bind the token to a key made for it (RFC 9449).")] = False
    username: Annotated[str | None, _client("OIDC_USERNAME", "NAME", "A user: the password grant.")] = None
    password_file: Annotated[
        Path | None,
        _client("OIDC_PASSWORD_FILE", "FILE", "File with the user's password; or set OIDC_PASSWORD."),
    ] = None
    password_stdin: Annotated[bool, _flag(CLIENT, "--password-stdin", "Read the password from standard input.")] = False
    scope: Annotated[
        list[str] | None,
        _request("OIDC_SCOPES", "SCOPE", "Repeat it, or separate several by spaces or commas."),
    ] = None
    audience: Annotated[
        list[str] | None, _request("OIDC_AUDIENCE", "NAME", "Who the token is for; may be repeated.")
    ] = None
    resource: Annotated[list[str] | None, _request("OIDC_RESOURCE", "URI", "RFC 8707; may be repeated.")] = None
    client_secret: Annotated[str | None, typer.Option(hidden=True, callback=_never_an_argument)] = None
    password: Annotated[str | None, typer.Option(hidden=True, callback=_never_an_argument)] = None


def with_connection(command: Callable[Concatenate[ConnectionOptions, P], None]) -> Callable[..., None]:
    """Give a command all fields of `ConnectionOptions` as options of its own, and the object as its first argument."""
    shared = [field.name for field in fields(ConnectionOptions)]
    hints = get_type_hints(ConnectionOptions, include_extras=True)
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    parameters = own + [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields(ConnectionOptions)
    ]

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        given: dict[str, Any] = {name: kwargs.pop(name) for name in shared}
        command(ConnectionOptions(**given), *args, **kwargs)

    # Typer reads a command's options from its signature.
    run.__signature__ = inspect.Signature(parameters, return_annotation=None)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters} | {"return": None}
    return run

"""`oidc-actor token`: one token, for scripts."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from oidc_actor.cli.connection import Connection, connect
from oidc_actor.cli.device import log_in
from oidc_actor.cli.errors_shown import errors_shown
from oidc_actor.cli.options import ConnectionOptions, with_connection
from oidc_actor.http.client import RequestsTransport
from oidc_actor.oidc import discover, get_token
from oidc_actor.values.errors import ConfigError
from oidc_actor.values.tokens import TokenResponse


@with_connection
def token(
    options: ConnectionOptions,
    as_json: Annotated[
        bool, typer.Option("--json", help="As JSON: the token, its type, its scope, when it ends.")
    ] = False,
    header: Annotated[bool, typer.Option("--header", help='As a header, for curl -H "$(...)".')] = False,
    device: Annotated[
        bool,
        typer.Option("--device", help="As a person, with a browser anywhere; the login is kept for the next time."),
    ] = False,
) -> None:
    """Get one token and print it.

    The client's secret comes from OIDC_CLIENT_SECRET, a file or standard input, never from an argument.

    Exit status: 0 printed, 2 wrong options, 3 the provider refused, 4 it could not be reached or is in trouble.
    """
    with errors_shown("token"):
        if as_json and header:
            raise ConfigError("expected one of --json and --header, got both")
        connection = connect(options, by_device=device)
    with errors_shown("token", connection.method(connection.config)):
        got = _get(connection, by_device=device)
    if as_json:
        sys.stdout.write(json.dumps(_fields(got)) + "\n")
    else:
        sys.stdout.write(f"Authorization: {got.token_type} {got.access_token}\n" if header else f"{got.access_token}\n")


def _get(connection: Connection, *, by_device: bool) -> TokenResponse:
    transport = RequestsTransport(ca_bundle=connection.ca_bundle)
    config = connection.config
    if connection.issuer_url is not None:
        config = discover(
            connection.issuer_url,
            transport=transport,
            timeout_seconds=connection.timeout_s,
            allow_insecure_http=connection.allow_insecure_http,
        )
    assert config is not None
    if by_device:
        return log_in(connection, config, transport)
    return get_token(
        config,
        connection.auth,
        transport=transport,
        timeout_seconds=connection.timeout_s,
        allow_insecure_http=connection.allow_insecure_http,
    )


def _fields(token: TokenResponse) -> dict[str, object]:
    return {
        "access_token": token.access_token,
        "token_type": token.token_type,
        "expires_in": token.expires_in,
        "expires_at": token.expires_at.isoformat() if token.expires_at is not None else None,
        "scope": token.scope,
    }

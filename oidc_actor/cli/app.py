"""The command line: its commands, put together. Typer and rich are needed from here on."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from oidc_actor.cli.connection import Connection, Login, connect, names_provider
from oidc_actor.cli.device import log_in
from oidc_actor.cli.doctor import Doctor
from oidc_actor.cli.exit_status import FAILED, UNREACHABLE, USAGE, errors_shown
from oidc_actor.cli.findings import Finding
from oidc_actor.cli.options import (
    STORE,
    ConnectionOptions,
    Key,
    Namespace,
    RefreshBuffer,
    RefreshTokenFile,
    Store,
    StoreKey,
    with_connection,
)
from oidc_actor.cli.printing import printed
from oidc_actor.cli.rehearsal.outages import KINDS, MOMENTS, parse_kinds, parse_length, parse_lengths, parse_moments
from oidc_actor.cli.store_doctor import StoreDoctor, asked_of
from oidc_actor.cli.top import NoAnswer, fetch, print_once, read_address, watch
from oidc_actor.endpoints.other_endpoints import request_resource_metadata
from oidc_actor.http.client import RequestsTransport
from oidc_actor.machine.failure_policy import RetryPolicy
from oidc_actor.manager.options import Options
from oidc_actor.oidc import discover, get_token
from oidc_actor.sharing.sealing import new_key
from oidc_actor.sidecar.config import absent, load
from oidc_actor.values.errors import ConfigError
from oidc_actor.values.tokens import TokenResponse

# Typer's own exception printer shows local variables, which may hold secrets; Python's does not.
app = typer.Typer(
    name="oidc-actor",
    help="Keep a valid OIDC access token ready: look at it, get one, find out what is wrong.",
    no_args_is_help=True,
    rich_markup_mode="markdown",  # rewraps the paragraphs of a docstring
    add_completion=False,
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"oidc-actor {version('oidc-actor')}")
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of the command itself."""


# --- demo -------------------------------------------------------------------------------------------------------------


@app.command()
def demo(
    fast: Annotated[bool, typer.Option("--fast", help="Shorter tokens: under 15 seconds.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as JSON on standard output.")] = False,
) -> None:
    """Watch a supervised token manager live through an outage, three crashes and 200 callers at once.

    Everything runs in this process: an authorization server on 127.0.0.1, a supervisor, a token manager, and
    threads that read the token all the time. Exit status 1 if a promise broke.
    """
    try:
        from oidc_actor.testing import Provider  # noqa: F401 - asked for here so that its absence has one clear answer
    except ModuleNotFoundError as missing:
        sys.stderr.write(
            f'oidc-actor demo: it needs {missing.name}, which is not installed: pip install "oidc-actor[demo]"\n'
        )
        raise typer.Exit(FAILED) from None
    from oidc_actor.cli.demo import promises as judged
    from oidc_actor.cli.demo.story import staged
    from oidc_actor.cli.demo.view import show_summary

    # The crashes of the third scene are logged as errors; the picture is not to be torn by them.
    logging.getLogger().addHandler(logging.NullHandler())
    pace = judged.FAST if fast else judged.NORMAL
    console = Console(stderr=as_json)
    with errors_shown("demo"), staged(pace, console) as play:
        figures = play.run()
    promises = judged.judge(figures, pace)
    show_summary(console, figures, promises)
    if as_json:
        sys.stdout.write(json.dumps(judged.as_json(figures, promises), indent=2) + "\n")
    if not all(promise.kept for promise in promises):
        raise typer.Exit(FAILED)


# --- token ------------------------------------------------------------------------------------------------------------


@app.command()
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
        got = _got(connection, by_device=device)
    if as_json:
        sys.stdout.write(json.dumps(_fields(got)) + "\n")
    else:
        sys.stdout.write(f"Authorization: {got.token_type} {got.access_token}\n" if header else f"{got.access_token}\n")


def _got(connection: Connection, *, by_device: bool) -> TokenResponse:
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
    if connection.resource_url is not None:
        request_resource_metadata(
            transport, connection.resource_url, timeout_s=connection.timeout_s, issuer_url=connection.issuer_url
        )
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


# --- check: the doctor ------------------------------------------------------------------------------------------------

STYLES = {"pass": "green", "warn": "yellow", "fail": "bold red", "skip": "dim"}


@app.command()
@with_connection
def check(
    options: ConnectionOptions,
    as_json: Annotated[bool, typer.Option("--json", help="The findings as JSON.")] = False,
    refresh_token_file: RefreshTokenFile = None,
    refresh_buffer: RefreshBuffer = 60.0,
    store: Store = None,
    namespace: Namespace = None,
    key: Key = None,
    store_key: StoreKey = None,
) -> None:
    """Find out what is wrong: discovery, issuer, TLS, client authentication, token, lifetime, claims, clock; a shared store.

    One discovery request and one token request are made, and with --resource-url one for the resource's metadata; where a
    document is not there, the next address is asked. Where the client was refused a few more show whether the
    secret without white space or quotes around it, the other way to send it, or a DPoP proof would do. The token is
    not shown, only a fingerprint and its claims.

    With --store, the store is looked at too, or alone where no provider is named. A refresh token is not redeemed then.

    Exit status: 0 nothing failed, 1 something failed, 2 wrong options. Piped, it is one line for each finding and fix.
    """
    with errors_shown("check"):
        if store is None and (namespace or key or store_key):
            raise ConfigError("--store: expected the store's address or directory beside the others, got none")
        doctors: list[Doctor | StoreDoctor] = []
        shared = None
        if store is None or names_provider(options):
            connection = connect(options, by_login=refresh_token_file is not None)
            login = None if refresh_token_file is None else Login(refresh_token_file)
            if login is not None:
                if store is None:
                    login.check()
                connection = replace(connection, auth=login.of(connection.auth))
            transport = RequestsTransport(ca_bundle=connection.ca_bundle)
            redeems = login is None or store is None
            doctors.append(Doctor(connection, transport, refresh_buffer, login, redeems=redeems))
            shared = Options(connection.auth, connection.issuer_url, connection.config, store_key=store_key or None)
        if store is not None:
            doctors.append(StoreDoctor(asked_of(store, namespace, key or [], shared)))
    found = [finding for doctor in doctors for finding in doctor.examine()]
    ok = not any(finding.result == "fail" for finding in found)
    if as_json:
        sys.stdout.write(json.dumps({"ok": ok, "findings": [asdict(finding) for finding in found]}, indent=2) + "\n")
    else:
        printed(lambda console: _show(console, found))
    if not ok:
        raise typer.Exit(FAILED)


def _show(console: Console, found: Iterable[Finding]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(width=4)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    counts: Counter[str] = Counter()
    for finding in found:
        counts[finding.result] += 1
        said = Text(finding.found)
        if finding.fix is not None:
            said.append(f"\n{'→' if console.is_terminal else '->'} ", style="bold").append(finding.fix)
        table.add_row(Text(finding.result, style=STYLES[finding.result]), finding.check, said)
    console.print(table)
    console.print(
        "\n" + ", ".join(f"{counts[result]} {result}" for result in STYLES if counts[result]), highlight=False
    )


# --- rehearse ---------------------------------------------------------------------------------------------------------


_RETRY = RetryPolicy()


@app.command()
@with_connection
def rehearse(
    options: ConnectionOptions,
    as_json: Annotated[bool, typer.Option("--json", help="What was played as JSON.")] = False,
    lifetime: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=1, help="Ask no provider: tokens live that long.")
    ] = None,
    outage: Annotated[
        list[str] | None,
        typer.Option(metavar="LENGTH", help="How long outages last: 90s, 5m,1h. Else what is forecast, about."),
    ] = None,
    kind: Annotated[list[str] | None, typer.Option(metavar="KIND", help=f"Of {', '.join(KINDS)}; else all.")] = None,
    moment: Annotated[
        list[str] | None, typer.Option(metavar="MOMENT", help=f"When they begin: of {', '.join(MOMENTS)}; else all.")
    ] = None,
    survive: Annotated[
        str | None, typer.Option(metavar="LENGTH", help="Fail where an outage of up to that is not survived.")
    ] = None,
    refresh_token_file: RefreshTokenFile = None,
    refresh_buffer: RefreshBuffer = 60.0,
    retry_initial: Annotated[
        float, typer.Option(metavar="SECONDS", help="The manager's RetryPolicy.initial_s.")
    ] = _RETRY.initial_s,
    retry_maximum: Annotated[
        float, typer.Option(metavar="SECONDS", help="The manager's RetryPolicy.maximum_s.")
    ] = _RETRY.maximum_s,
    min_interval: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="The manager's min_interval_seconds.")
    ] = 1.0,
    retry_after: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0, help="What Retry-After says, with 429; else 30.")
    ] = None,
    store: Store = None,
    namespace: Namespace = None,
    key: Key = None,
    store_key: StoreKey = None,
    members: Annotated[
        int | None, typer.Option(min=2, max=20, rich_help_panel=STORE, help="How many share the store; else 3.")
    ] = None,
) -> None:
    """Play outages with your options, beside the forecast of `check`: which of them would your readers notice?

    The provider is asked for its metadata and for one token, to see how long it lives; with a refresh token, or with
    --lifetime, it is asked for nothing. All else happens in this process, on a clock of its own. With --store, members
    share a store in memory; yours is not touched.

    Exit status: 0 all that had to be survived was, 1 something was not, 2 wrong options. What has to be survived: outages of up
    to --survive; without it, those that are forecast to be.
    """
    try:
        from oidc_actor.testing import Provider  # noqa: F401 - asked for here so that its absence has one clear answer
    except ModuleNotFoundError as missing:
        sys.stderr.write(
            f'oidc-actor rehearse: it needs {missing.name}, which is not installed: pip install "oidc-actor[demo]"\n'
        )
        raise typer.Exit(FAILED) from None
    from oidc_actor.cli.rehearsal import report
    from oidc_actor.cli.rehearsal.set_up import Wanted, set_up

    logging.getLogger().addHandler(logging.NullHandler())  # what the managers log of the outages
    with errors_shown("rehearse"):
        if store is None and (namespace or key or store_key or members):
            raise ConfigError("--store: expected the store's address or directory beside the others, got none")
        kinds = parse_kinds(kind or [], "--kind")
        if retry_after is not None and "429" not in kinds:
            raise ConfigError(f"--retry-after: expected --kind 429 beside it, got {', '.join(kinds)}")
        wanted = Wanted(
            lifetime_s=lifetime,
            buffer_s=refresh_buffer,
            retry=RetryPolicy(initial_s=retry_initial, maximum_s=retry_maximum),
            min_interval_s=min_interval,
            retry_after_s=30.0 if retry_after is None else retry_after,
            lengths_s=parse_lengths(outage or [], "--outage"),
            survive_s=None if survive is None else parse_length(survive, "--survive"),
            kinds=kinds,
            moments=parse_moments(moment or [], "--moment"),
            members=1 if store is None else members or 3,
        )
        rehearsal = set_up(options, wanted, refresh_token_file)
    try:
        # A person sees that something goes on; it is a minute for all kinds and moments.
        with Console(stderr=True).status("playing outages") if sys.stderr.isatty() else nullcontext():
            played = rehearsal.play()
    except TimeoutError as stuck:
        sys.stderr.write(f"oidc-actor rehearse: {stuck}\n")
        raise typer.Exit(FAILED) from None
    if as_json:
        sys.stdout.write(json.dumps(report.as_json(rehearsal, played), indent=2) + "\n")
    else:
        printed(lambda console: report.show(console, rehearsal, played))
    if any(one.broke_promise for one in played):
        raise typer.Exit(FAILED)


# --- fleet-key --------------------------------------------------------------------------------------------------------


@app.command("fleet-key")
def fleet_key() -> None:
    """Print a new key for the records of a store that processes share, and nothing else.

    All members get it, in a file: `RedisStore.from_url(..., keys=[SecretFile("/run/secrets/fleet-key")])`.

    Exit status: 0 printed, 1 the extra `fleet` is missing.
    """
    try:
        key = new_key()
    except ConfigError as error:
        sys.stderr.write(f"oidc-actor fleet-key: {error}\n")
        raise typer.Exit(FAILED) from None
    sys.stdout.write(f"{key}\n")


# --- top: the observer ------------------------------------------------------------------------------------------------


@app.command()
def top(
    address: Annotated[
        str,
        typer.Argument(metavar="ADDRESS", help="The URL of an observer or of a sidecar, or the path of its socket."),
    ],
    once: Annotated[bool, typer.Option("--once", help="Print one snapshot and exit; plain where it is piped.")] = False,
    search: Annotated[
        str, typer.Option(metavar="TEXT", help="Only rows with this in their names, ids, classes or states.")
    ] = "",
) -> None:
    """Show supervision trees and tokens while they live: what the observer's page shows, in this terminal. `q` ends it.

    Exit status: 0 ended, 2 the address is wrong, 4 nothing answers there, or no observer does.
    """
    with errors_shown("top"):
        where = read_address(address)
    try:
        told = fetch(where, search)
    except NoAnswer as error:
        sys.stderr.write(f"oidc-actor top: {error}\n")
        raise typer.Exit(UNREACHABLE) from None
    if once:
        print_once(told)
        return
    with contextlib.suppress(KeyboardInterrupt):
        watch(where, told, search)


# --- run: the sidecar -------------------------------------------------------------------------------------------------

RUN_MISSING = 'oidc-actor run: needs {name}, which is not installed: pip install "oidc-actor[run]"\n'
LEVELS = ("debug", "info", "warning", "error")


@app.command()
def run(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The configuration, a TOML file.")],
    check: Annotated[bool, typer.Option("--check", help="Check the configuration and exit.")] = False,
    log_level: Annotated[str, typer.Option(metavar="LEVEL", help=f"One of {', '.join(LEVELS)}.")] = "info",
) -> None:
    """Serve tokens to other programs: over a Unix socket or loopback, and in files.

    SIGHUP reads the configuration again; SIGTERM ends it when the requests under way are answered.

    Exit status: 0 told to stop, 1 given up, 2 the configuration is wrong.
    """
    if log_level not in LEVELS:
        raise typer.BadParameter(f"expected one of {', '.join(LEVELS)}, got {log_level!r}", param_hint="--log-level")
    try:
        from oidc_actor.sidecar.service import run as serve
    except ModuleNotFoundError as missing:
        sys.stderr.write(RUN_MISSING.format(name=missing.name))
        raise typer.Exit(FAILED) from None
    _log_to_stderr(log_level)
    try:
        if check:
            load(config)
            sys.stdout.write("\n".join([f"{config}: ok", *absent(config)]) + "\n")
            return
        status = serve(config)
    except ConfigError as error:
        sys.stderr.write("\n".join([f"oidc-actor run: {error}", *(absent(config) if check else ())]) + "\n")
        raise typer.Exit(USAGE) from None
    raise typer.Exit(status)


def _log_to_stderr(level: str) -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    for name in ("oidc_actor", "supervision"):
        logging.getLogger(name).setLevel(level.upper())

"""`oidc-actor check`: the doctor."""

from __future__ import annotations

import io
import json
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from oidc_actor.cli.connection import connect
from oidc_actor.cli.doctor import Doctor
from oidc_actor.cli.errors_shown import errors_shown
from oidc_actor.cli.exits import FAILED
from oidc_actor.cli.findings import Finding
from oidc_actor.cli.options import ConnectionOptions, with_connection
from oidc_actor.http.client import RequestsTransport

_ONE_LINE = 100_000  # columns
STYLES = {"pass": "green", "warn": "yellow", "fail": "bold red", "skip": "dim"}


@with_connection
def check(
    options: ConnectionOptions,
    as_json: Annotated[bool, typer.Option("--json", help="The findings as JSON.")] = False,
    refresh_buffer: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="The manager's refresh_buffer_seconds.")
    ] = 60.0,
) -> None:
    """Find out what is wrong: discovery, issuer, TLS, client authentication, token, lifetime, claims, clock.

    One discovery request and one token request are made; a second one where the client was refused, to see whether
    the other way to send its secret would do. The token is not shown, only a fingerprint and its claims.

    Exit status: 0 nothing failed, 1 something failed, 2 wrong options.
    """
    with errors_shown("check"):
        connection = connect(options)
        transport = RequestsTransport(ca_bundle=connection.ca_bundle)
    found = list(Doctor(connection, transport, refresh_buffer).examine())
    ok = not any(finding.result == "fail" for finding in found)
    if as_json:
        sys.stdout.write(json.dumps({"ok": ok, "findings": [asdict(finding) for finding in found]}, indent=2) + "\n")
    else:
        # Lines are broken for a terminal only: what is piped is searched and compared line by line.
        if sys.stdout.isatty():
            _show(Console(), found)
        else:
            whole = io.StringIO()
            _show(Console(file=whole, width=_ONE_LINE), found)
            sys.stdout.write("".join(f"{line.rstrip()}\n" for line in whole.getvalue().splitlines()))
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
            said.append("\n→ ", style="bold").append(finding.fix)
        table.add_row(Text(finding.result, style=STYLES[finding.result]), finding.check, said)
    console.print(table)
    console.print(
        "\n" + ", ".join(f"{counts[result]} {result}" for result in STYLES if counts[result]), highlight=False
    )

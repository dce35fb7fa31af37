"""``oidc-actor top``: what an observer shows, in a terminal.

It asks for a snapshot each second, and knows no more of a system than the observer's page does. What comes from there is text of
another process: it is cut, and has no character that a terminal would obey.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import select
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from oidc_actor.values.errors import ConfigError
from oidc_actor.values.urls import public_url
from supervision.observer.figures import shown

EVERY_S = 1.0
"""Seconds between two snapshots."""

WAIT_S = 5.0
"""Seconds for the connection, and for each piece of an answer."""

MOST_BYTES = 4 * 1024 * 1024

_STYLES = {"good": "green", "warn": "yellow", "bad": "bold red", "plain": ""}
_STATES = {"running": "green", "restarting": "yellow", "stopped": "dim"}
_BAR = 10
_DEEPEST = 20

# What the reading of another program's answer raises.
_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)


class NoAnswer(Exception):
    """Nothing answers, or not as an observer does; the text says which, and what to do."""


# --- the address ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Address:
    """Where an observer is.

    Attributes:
        text: As it was given.
        connect: Opens a connection.
        paths: Where its snapshot may be, the likeliest first.
    """

    text: str
    connect: Callable[[], http.client.HTTPConnection]
    paths: tuple[str, ...]


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=WAIT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(WAIT_S)
        self.sock.connect(self._path)


def read_address(text: str) -> Address:
    """Read the address of an observer or of a sidecar.

    Args:
        text: A URL, or the path of a Unix socket.

    Raises:
        ConfigError: It is neither.
    """
    if "://" not in text:
        if os.sep not in text and not os.path.exists(text):
            raise ConfigError(f"expected a URL such as http://127.0.0.1:8391, or the path of a socket, got {text!r}")
        return Address(text, lambda: _UnixConnection(text), ("/observer/state", "/state"))
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    if parts.scheme not in ("http", "https") or not host or parts.username is not None:
        wanted = "expected http:// or https:// with a host and without a user, or the path of a socket"
        got = " with a user" if parts.username is not None else ""  # who may be a token, and beside it is a password
        raise ConfigError(f"{wanted}, got {public_url(text)!r}{got}")
    folder = parts.path.removesuffix("/")
    paths = [f"{folder}/state"] if folder else ["/observer/state", "/state"]

    def connect() -> http.client.HTTPConnection:
        if parts.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=WAIT_S)
        return http.client.HTTPSConnection(host, port, timeout=WAIT_S, context=ssl.create_default_context())

    return Address(text, connect, tuple(quote(path, safe="/%") for path in paths))


def fetch(address: Address, search: str = "") -> dict[str, Any]:
    """Get one snapshot.

    Args:
        address: Of the observer.
        search: What the page's search would be given; empty for the tree.

    Raises:
        NoAnswer: There is none.
    """
    query = f"?search={quote(search)}" if search else ""
    refused = ""
    for path in address.paths:
        status, body = _get(address, f"{path}{query}")
        if status == 200:
            return _snapshot(address, body)
        if status != 404:
            refused = refused or f"{address.text} answers {status}: {_reason(body)}"
    raise NoAnswer(
        refused
        or f"no observer at {address.text}: mount supervision.observer.Observer, or set observer = true in the sidecar's [server]"
    )


def _get(address: Address, path: str) -> tuple[int, bytes]:
    try:
        with contextlib.closing(address.connect()) as connection:
            connection.request("GET", path, headers={"X-OIDC-Actor": "top", "Accept": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read(MOST_BYTES)
    except (
        OSError,
        http.client.HTTPException,
        UnicodeError,
    ) as error:  # the last one of a name that cannot be looked up
        what = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
        raise NoAnswer(f"nothing answers at {address.text}: {shown(what)}") from None


def _snapshot(address: Address, body: bytes) -> dict[str, Any]:
    try:
        told = json.loads(body)
        draw(told)
    except _UNREADABLE:  # what answers is another program
        told = None
    if isinstance(told, dict):
        return told
    raise NoAnswer(f"{address.text} is no observer: its answer is not a snapshot")


def _reason(body: bytes) -> str:
    try:
        told = json.loads(body)
        return shown(told.get("error_description") or told.get("error") or "")
    except _UNREADABLE:
        return shown(body[:200].decode("utf-8", "replace"))


# --- what is shown ----------------------------------------------------------------------------------------------------


def draw(told: dict[str, Any], most_rows: int | None = None, *, plain: bool = False) -> RenderableType:
    """A snapshot for a terminal.

    Args:
        told: The snapshot.
        most_rows: Rows of the tree; ``None`` for all.
        plain: Whether bars and symbols are left out.
    """
    rows = list(told["rows"].values())
    cut = rows if most_rows is None else rows[:most_rows]
    columns = [shown(column) for column in told.get("columns", ())]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", expand=not plain)
    heads = ["name", "state", "up", *columns, "restarts", "mailbox"]
    drawn = [list(_cells(row, told.get("now", 0.0), columns, plain=plain)) for row in cut]
    kept = [n for n in range(len(heads)) if n < 2 or any(cells[n].plain for cells in drawn)]
    for number in kept:
        right = heads[number] in ("up", "restarts", "mailbox")
        table.add_column(Text(heads[number]), overflow="ellipsis", no_wrap=True, justify="right" if right else "left")
    # What is left of the width is the notes', and no other column gives way to them.
    table.add_column(Text(), overflow="ellipsis", no_wrap=True, ratio=None if plain else 1)
    for cells in drawn:
        table.add_row(*(cells[number] for number in kept), cells[-1])
    parts: list[RenderableType] = [_head(told), Text(), table]
    if len(cut) < len(rows) or told.get("cut"):
        parts.append(Text(f"... and {len(rows) - len(cut):,} more rows: search with --search", style="dim"))
    return Group(*parts)


def _head(told: dict[str, Any]) -> Text:
    totals = told["totals"]
    head = Text()
    for name, style in (
        ("actors", "bold"),
        ("running", "green"),
        ("restarting", "yellow"),
        ("stopped", "dim"),
        ("restarts", ""),
    ):
        head.append(f"{totals.get(name, 0):,} {name}  ", style=style if totals.get(name) else "dim")
    for figure in told.get("summary", ()):
        head.append(f"{shown(figure['text'])}  ", style=_STYLES.get(figure.get("tone", "plain"), ""))
    return head


def _cells(row: dict[str, Any], now: float, columns: list[str], *, plain: bool) -> Iterator[Text]:
    figures = row.get("figures") or {}
    mark = "" if "children" not in row or plain else ("▾ " if row.get("open") else "▸ ")
    label = Text(
        f"{'  ' * (min(row.get('level', 1), _DEEPEST) - 1)}{mark}{shown(row.get('label', ''))}",
        style="bold" if "children" in row else "",
    )
    if "children" in row and not row.get("open"):
        label.append(f" ({row['children']:,})", style="dim")
    yield label
    yield Text(shown(row.get("state", "")), style=_STATES.get(row.get("state", ""), ""))
    yield Text("" if row.get("since") is None else duration(now - row["since"]))
    for column in columns:
        yield _figure(figures.get(column), now, plain=plain)
    yield Text(f"{row['restarts']:,}" if row.get("restarts") else "")
    yield Text(f"{row['mailbox']:,}" if row.get("mailbox") else "")
    notes = [shown(row[name], 300) for name in ("waits", "exit", "failure") if row.get(name)]
    notes += [shown(figure["text"], 300) for name, figure in figures.items() if name not in columns]
    notes += [shown(figure["text"]) for figure in (row.get("below") or {}).get("parts", ())]
    yield Text("; ".join(notes), style="yellow" if row.get("state") == "restarting" else "dim")


def _figure(figure: dict[str, Any] | None, now: float, *, plain: bool) -> Text:
    if figure is None:
        return Text()
    text = Text(style=_STYLES.get(figure.get("tone", "plain"), ""))
    left_s = None if figure.get("ends") is None else max(0.0, figure["ends"] - now)
    if left_s is not None and figure.get("of") and not plain:
        full = round(_BAR * max(0.0, min(1.0, left_s / figure["of"])))
        text.append("█" * full + "░" * (_BAR - full) + " ")
    text.append(shown(figure.get("text", "")))
    if left_s is not None:
        text.append(f" {duration(left_s)}")
    return text


def duration(seconds: float) -> str:
    """Seconds as a person reads them."""
    s = max(0.0, seconds)
    if s < 10:
        return f"{s:.1f} s"
    if s < 120:
        return f"{s:.0f} s"
    return f"{s // 60:.0f} min" if s < 7200 else f"{s // 3600:.0f} h {s % 3600 // 60:.0f} min"


# --- the terminal -----------------------------------------------------------------------------------------------------


def print_once(told: dict[str, Any]) -> None:
    """Print a snapshot: for a terminal as wide as that is; piped, a line for each row, without colours and cut by nothing."""
    if sys.stdout.isatty():
        Console().print(draw(told))
        return
    whole = io.StringIO()
    Console(file=whole, width=100_000, force_terminal=False, no_color=True, highlight=False).print(
        draw(told, plain=True)
    )
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in whole.getvalue().splitlines()))


def watch(address: Address, first: dict[str, Any], search: str) -> None:
    """Show it until ``q`` is pressed. A lost connection is said, and tried again."""
    console, told, lost = Console(), first, ""
    with _keys() as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            foot = Text(lost, style="bold red") if lost else Text(f"{address.text}   q ends", style="dim")
            live.update(Group(draw(told, max(1, console.height - 6)), Text(), foot), refresh=True)
            if pressed(EVERY_S) in ("q", "Q", "\x03"):
                return
            try:
                told, lost = fetch(address, search), ""
            except NoAnswer as error:
                lost = f"{error}; trying again"


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """A function that waits for a key, some seconds at most; empty where none came, or there is no keyboard."""
    if not sys.stdin.isatty():

        def waited(wait_s: float) -> str:
            time.sleep(wait_s)
            return ""

        yield waited
        return
    import termios
    import tty

    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)
    tty.setcbreak(number)

    def pressed(wait_s: float) -> str:
        ready, _, _ = select.select([number], [], [], wait_s)
        return os.read(number, 1).decode("latin-1") if ready else ""

    try:
        yield pressed
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)

"""The sidecar's configuration: a TOML file becomes values, or one error that names every key that is wrong."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oidc_actor.credentials.grants import Credentials
from oidc_actor.secret_sources.manager_token import ManagerToken
from oidc_actor.sidecar.config_values import PRIVATE, Problems, References, group, path_at, shown, socket_mode
from oidc_actor.sidecar.manager_tables import ManagerConfig, TokenOf, read_manager
from oidc_actor.values.clock import is_seconds
from oidc_actor.values.errors import ConfigError
from oidc_actor.values.secrets import SecretFile, SecretSource, StoredSecret, read_file
from oidc_actor.values.urls import is_loopback

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MAX_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Where the sidecar listens, and how long it waits.

    Attributes:
        unix_socket: Path of the Unix socket, or ``None`` for none.
        tcp: Loopback host and port, or ``None`` for none; port 0 takes a free one.
        wait_seconds: Longest wait of a request for a token that is not there yet.
        drain_seconds: Longest wait for requests under way once told to stop.
        socket_mode: Mode of the Unix socket.
        socket_group: Number of the group that it belongs to, or ``None`` for the process's own.
    """

    unix_socket: Path | None = None
    tcp: tuple[str, int] | None = None
    wait_seconds: float = 5.0
    drain_seconds: float = 10.0
    socket_mode: int = PRIVATE
    socket_group: int | None = None


@dataclass(frozen=True, slots=True)
class RunConfig:
    """A whole configuration, checked.

    Attributes:
        server: The table ``[server]``.
        managers: The tables ``[managers.<name>]``, by name.
    """

    server: ServerConfig = field(default_factory=ServerConfig)
    managers: Mapping[str, ManagerConfig] = field(default_factory=dict)


def load(path: Path, token_of: TokenOf = ManagerToken) -> RunConfig:
    """Read and check a configuration. Secrets in files are not read yet; those in the environment are.

    Args:
        path: The TOML file; relative paths in it start at its directory.
        token_of: Makes the source of another manager's token, by that one's name.

    Returns:
        The configuration.

    Raises:
        ConfigError: It cannot be read, is no TOML, or something in it is wrong; the text names every key that is.
    """
    table = _parse(path)
    if isinstance(table, ConfigError):
        raise table
    problems, config = _checked(table, path, token_of)
    del table  # somebody may have put a secret in it
    problems.raise_any(str(path))
    return config


def absent(path: Path) -> list[str]:
    """Name the files of a configuration that cannot be read now, and the directories that are not there, whatever is wrong in it.

    Args:
        path: As of `load`.

    Returns:
        A line for each, with its key; none where the configuration is no TOML.
    """
    table = _parse(path)
    if isinstance(table, ConfigError):
        return []
    problems, _ = _checked(table, path, ManagerToken)
    reads = [(key, SecretFile(file).fetch()) for key, file in problems.read]
    return [
        *(
            f"  {key}: no such directory yet: {str(file.parent)!r}"
            for key, file in problems.made
            if not file.parent.is_dir()
        ),
        *(f"  {key}: cannot be read yet: {read}" for key, read in reads if isinstance(read, str)),
    ]


def _parse(path: Path) -> dict[str, Any] | ConfigError:
    content = read_file(path, _MAX_BYTES)
    if isinstance(content, str):
        return ConfigError(f"{path}: expected a readable TOML file of at most {_MAX_BYTES} bytes: {content}")
    try:
        return tomllib.loads(content.decode("utf-8-sig"))  # some editors begin a file with a mark of its encoding
    except UnicodeDecodeError:
        return ConfigError(f"{path}: expected UTF-8 text")
    except (ValueError, RecursionError) as error:  # TOML's own is a ValueError, and so is a number that is too long
        return ConfigError(f"{path}: expected TOML: {error.args[0] if error.args else type(error).__name__}")


def _checked(table: dict[str, Any], path: Path, token_of: TokenOf) -> tuple[Problems, RunConfig]:
    problems = Problems()
    problems.unknown("", table, ("server", "managers"))
    base = path.absolute().parent
    server = _server(table.get("server", {}), base, problems)
    managers = _managers(table, base, token_of, problems)
    taken = {"the configuration itself": path, "server.unix_socket": server.unix_socket}
    check_places(managers, taken, problems)
    return problems, RunConfig(server, managers)


def _server(table: object, base: Path, problems: Problems) -> ServerConfig:
    if not isinstance(table, dict):
        problems.add("server", f"expected a table [server], got {type(table).__name__}")
        return ServerConfig()
    problems.unknown("server.", table, _SERVER_KEYS)
    if not {"unix_socket", "tcp"} & set(table):
        problems.add("server", 'expected unix_socket = "<path>" or tcp = "127.0.0.1:<port>", got neither')
    for name in ("socket_mode", "socket_group"):
        if name in table and "unix_socket" not in table:
            problems.add(f"server.{name}", 'expected unix_socket = "<path>" beside it, got none')
    found = {}
    for name, read in _SERVER_KEYS.items():
        if name in table:
            value = read(table[name], base)
            if isinstance(value, ConfigError):
                problems.add(f"server.{name}", str(value))
            else:
                found[name] = value
    if "unix_socket" in found:
        problems.made.append(("server.unix_socket", found["unix_socket"]))
    return ServerConfig(**found)


def _managers(table: dict[str, Any], base: Path, token_of: TokenOf, problems: Problems) -> dict[str, ManagerConfig]:
    tables = table.get("managers")
    if not isinstance(tables, dict) or not tables:
        problems.add("managers", "expected at least one table [managers.<name>], got none")
        return {}
    found, references = {}, References()
    for name, one in tables.items():
        key = f"managers.{name}"
        if _NAME.fullmatch(name) is None:
            problems.add(key, "expected a name of letters, digits, '.', '_' and '-'; it is part of a URL")
        if not isinstance(one, dict):
            problems.add(key, f"expected a table [{key}], got {type(one).__name__}")
            continue
        manager = read_manager(name, one, base, token_of, references, problems)
        if manager is not None:
            found[name] = manager
    references.check(tables, problems)
    return found


def _seconds(value: object, _base: Path) -> float | ConfigError:
    if not is_seconds(value):
        return ConfigError(f"expected finite seconds of at least 0, got {shown(value)}")
    return float(value)


def _address(value: object, _base: Path) -> tuple[str, int] | ConfigError:
    host, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    host = host.removeprefix("[").removesuffix("]")
    if re.fullmatch(r"[0-9]{1,5}", port) is None or int(port) > 65535 or not host:
        return ConfigError(f'expected "127.0.0.1:<port>", got {shown(value)}')
    if not is_loopback(host):
        return ConfigError(
            f"expected a loopback address such as 127.0.0.1, got {host!r}: tokens are not served to other machines"
        )
    return host, int(port)


_SERVER_KEYS: dict[str, Callable[[object, Path], Any]] = {
    "unix_socket": path_at,
    "socket_mode": lambda value, _base: socket_mode(value),
    "socket_group": lambda value, _base: group(value),
    "tcp": _address,
    "wait_seconds": _seconds,
    "drain_seconds": _seconds,
}


# --- token files: each has a path of its own, and none that of a file which the sidecar reads --------------------------
#
# A token file is replaced as a whole, and removed with its manager: a secret at its path would be lost.


def check_places(managers: Mapping[str, ManagerConfig], taken: Mapping[str, Path | None], problems: Problems) -> None:
    """Note every token file that is in the way of something else.

    Args:
        managers: The managers.
        taken: What else has a place, by what to call it.
        problems: Takes what is wrong.
    """
    known = {_place(path): name for name, path in taken.items() if path is not None}
    for name, manager in managers.items():
        for path in _read_by_it(manager):
            known.setdefault(_place(path), f"one that managers.{name} reads")
    for name, manager in managers.items():
        if manager.token_file is None:
            continue
        place = _place(manager.token_file)
        other = known.get(place) or _own_token(manager, place)
        if other is not None:
            problems.add(f"managers.{name}.token_file", f"expected a file of its own, got {other}")
        known.setdefault(place, f"that of managers.{name}")


def _read_by_it(manager: ManagerConfig) -> Iterable[Path]:
    """The files that somebody else keeps for it; a token that it trades may well be another manager's token file."""
    auth: Credentials = manager.options["auth"]
    bundle = manager.options.get("ca_bundle")
    tokens = _tokens(auth)
    kept = [source for source in auth.sources if not any(source is token for token in tokens)]
    return [*_paths(kept), *(() if bundle is None else (Path(bundle),))]


def _own_token(manager: ManagerConfig, place: Path) -> str | None:
    own = {_place(path) for path in _paths(_tokens(manager.options["auth"]))}
    return "that of the token that it trades" if place in own else None


def _tokens(auth: Credentials) -> list[SecretFile]:
    """The tokens that somebody else has signed, as far as they come from files."""
    foreign = (auth.grant_secret if auth.trades_token else None, auth.actor_secret, auth.client_assertion)
    return [source for source in foreign if isinstance(source, SecretFile)]


def _paths(sources: Iterable[StoredSecret]) -> list[Path]:
    return [file.path for source in sources if isinstance(source, SecretSource) for file in source.files]


def _place(path: Path) -> Path:
    """A path in its only form. A link that stands there is what would be replaced, so the last part is not followed."""
    return Path(os.path.realpath(path.parent)) / path.name

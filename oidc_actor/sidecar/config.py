"""The sidecar's configuration: a TOML file becomes values, or one error that names every key that is wrong."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from oidc_actor.credentials.credentials import Credentials
from oidc_actor.sharing.store import TokenStore
from oidc_actor.sidecar.config_reader import ConfigReader, meant
from oidc_actor.sidecar.listening import ServerConfig
from oidc_actor.sidecar.manager_tables import ManagerConfig, read_manager
from oidc_actor.sidecar.store_table import read_store
from oidc_actor.values.errors import ConfigError
from oidc_actor.values.secrets import SecretFile, SecretSource, StoredSecret, holds_secrets, read_file
from supervision.frozen import dataclass

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MAX_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class RunConfig:
    """A whole configuration, checked.

    Attributes:
        server: The table ``[server]``.
        managers: The tables ``[managers.<name>]``, by name. The table ``[store]`` is an option of each that shares.
    """

    server: ServerConfig = field(default_factory=ServerConfig)
    managers: Mapping[str, ManagerConfig] = field(default_factory=dict)


@holds_secrets  # a secret may stand in the file by mistake
def load(path: Path, *, makes: bool = False) -> RunConfig:
    """Read and check a configuration. Secrets in files are not read yet; those in the environment are.

    Args:
        path: The TOML file; relative paths in it start at its directory.
        makes: Whether the directory of a store is made where it is missing; not where a configuration is only checked.

    Returns:
        The configuration.

    Raises:
        ConfigError: It cannot be read, is no TOML, or something in it is wrong; the text names every key that is.
    """
    reader, config = _checked(_parse(path), path, makes=makes)
    reader.raise_any(str(path))
    return config


def absent(path: Path) -> list[str]:
    """Name the files of a configuration that cannot be read now, and the missing directories, also where it has mistakes.

    Args:
        path: As of `load`.

    Returns:
        A line for each, with its key; none where the configuration is no TOML.
    """
    try:
        reader, _ = _checked(_parse(path), path)
    except ConfigError:
        return []
    reads = [(key, SecretFile(file).fetch()) for key, file in reader.files_read]
    made = [(key, file.parent) for key, file in reader.files_made if not file.parent.is_dir()]
    return [
        *(f"  {key}: no such directory yet: {str(directory)!r}" for key, directory in made),
        *(f"  {key}: cannot be read yet: {read}" for key, read in reads if isinstance(read, str)),
    ]


def _parse(path: Path) -> dict[str, Any]:
    content = read_file(path, _MAX_BYTES)
    if isinstance(content, str):
        raise ConfigError(f"{path}: expected a readable TOML file of at most {_MAX_BYTES} bytes: {content}")
    try:
        return tomllib.loads(content.decode("utf-8-sig"))  # some editors begin a file with a mark of its encoding
    except UnicodeDecodeError:
        problem = "expected UTF-8 text"
    except (ValueError, RecursionError) as error:  # TOML's own is a ValueError, and so is a number that is too long
        problem = f"expected TOML: {error.args[0] if error.args else type(error).__name__}"
    raise ConfigError(f"{path}: {problem}")


def _checked(table: dict[str, Any], path: Path, *, makes: bool = False) -> tuple[ConfigReader, RunConfig]:
    reader = ConfigReader(path.absolute().parent)
    reader.unknown("", table, ("server", "store", "managers"))
    server = _server(table.get("server", {}), reader)
    store = read_store(table.get("store"), reader, makes=makes)
    taken = {"the configuration itself": path, "server.unix_socket": server.unix_socket}
    taken |= dict(reader.files_read)
    managers = _managers(table.get("managers"), reader, store)
    _check_token_files(managers, taken, reader)
    return reader, RunConfig(server, managers)


def _server(table: object, reader: ConfigReader) -> ServerConfig:
    if not isinstance(table, dict):
        reader.add("server", f"expected a table [server], got {type(table).__name__}")
        return ServerConfig()
    reader.unknown("server.", table, _SERVER_KEYS)
    if not {"unix_socket", "tcp"} & set(table):
        reader.add("server", 'expected unix_socket = "<path>" or tcp = "127.0.0.1:<port>", got neither')
    for name in ("socket_mode", "socket_group"):
        if name in table and "unix_socket" not in table:
            reader.add(f"server.{name}", 'expected unix_socket = "<path>" beside it, got none')
    read = {name: of(reader, f"server.{name}", table[name]) for name, of in _SERVER_KEYS.items() if name in table}
    found = {name: value for name, value in read.items() if value is not None}
    if "unix_socket" in found:
        reader.files_made.append(("server.unix_socket", found["unix_socket"]))
    return ServerConfig(**found)


_SERVER_KEYS: dict[str, Callable[[ConfigReader, str, object], Any]] = {
    "unix_socket": ConfigReader.path,
    "socket_mode": ConfigReader.socket_mode,
    "socket_group": ConfigReader.group,
    "tcp": ConfigReader.address,
    "wait_seconds": ConfigReader.seconds,
    "drain_seconds": ConfigReader.seconds,
    "observer": ConfigReader.flag,
}


def _managers(tables: object, reader: ConfigReader, store: TokenStore | None) -> dict[str, ManagerConfig]:
    if not isinstance(tables, dict) or not tables:
        reader.add("managers", "expected at least one table [managers.<name>], got none")
        return {}
    found = {}
    for name, table in tables.items():
        key = f"managers.{name}"
        if _NAME.fullmatch(name) is None:
            reader.add(key, "expected a name of letters, digits, '.', '_' and '-'; it is part of a URL")
        if not isinstance(table, dict):
            reader.add(key, f"expected a table [{key}], got {type(table).__name__}")
            continue
        manager = read_manager(name, table, reader, store)
        if manager is not None:
            found[name] = manager
    _check_uses(tables, reader)
    return found


# --- managers that trade each other's tokens: each of them must exist, and none may wait for itself -------------------


def _check_uses(names: Collection[str], reader: ConfigReader) -> None:
    edges = set(reader.uses)
    for user, used in sorted(edges):
        if used not in names:
            hint = meant(used, set(names) - {user}, "the others of this file are")
            reader.add(reader.uses[user, used], f"no manager of this file has this name; {hint}")
            edges.discard((user, used))
    while (circle := _circle(edges)) is not None:
        reader.add(
            reader.uses[circle[0], circle[1]],
            f"expected tokens that do not wait for each other, got {' -> '.join(circle)}; let one of them use another source",
        )
        edges.discard((circle[0], circle[1]))


def _circle(edges: Collection[tuple[str, str]]) -> list[str] | None:
    """A circle, from its first name in the alphabet back to it; each uses the next."""
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for user, used in sorted(edges):
        sorter.add(used, user)
    try:
        sorter.prepare()
    except CycleError as error:
        found: list[str] = error.args[1][:-1]
        first = found.index(min(found))
        return [*found[first:], *found[: first + 1]]
    return None


# --- token files: each has a path of its own, and none that of a file which the sidecar reads -------------------------
#
# A token file is replaced as a whole, and removed with its manager: a secret at its path would be lost.


def _check_token_files(
    managers: Mapping[str, ManagerConfig], taken: Mapping[str, Path | None], reader: ConfigReader
) -> None:
    """Note every token file that is in the way of something else; ``taken`` are further files, by what to call each."""
    known = {_resolved(path): name for name, path in taken.items() if path is not None}
    for name, manager in managers.items():
        for path in _read_by(manager):
            known.setdefault(_resolved(path), f"one that managers.{name} reads")
    for name, manager in managers.items():
        if manager.token_file is None:
            continue
        path = _resolved(manager.token_file)
        traded = {_resolved(path) for path in _paths(_traded(manager.options["auth"]))}
        other = known.get(path) or ("that of the token that it trades" if path in traded else None)
        if other is not None:
            reader.add(f"managers.{name}.token_file", f"expected a file of its own, got {other}")
        known.setdefault(path, f"that of managers.{name}")


def _read_by(manager: ManagerConfig) -> Iterable[Path]:
    """The files that a manager reads, but for the tokens that it trades, which may well be other managers' token files."""
    auth: Credentials = manager.options["auth"]
    bundle = manager.options.get("ca_bundle")
    traded = _traded(auth)
    kept = [source for source in auth.sources if not any(source is token for token in traded)]
    return [*_paths(kept), *(() if bundle is None else (Path(bundle),))]


def _traded(auth: Credentials) -> list[SecretFile]:
    """The tokens that another party has signed, as far as they come from files."""
    foreign = (auth.grant_secret if auth.trades_token else None, auth.actor_secret, auth.client_assertion)
    return [source for source in foreign if isinstance(source, SecretFile)]


def _paths(sources: Iterable[StoredSecret]) -> list[Path]:
    return [file.path for source in sources if isinstance(source, SecretSource) for file in source.files]


def _resolved(path: Path) -> Path:
    """A path in its only form. Its last part is not followed: if a link stands there, the link would be replaced."""
    return Path(os.path.realpath(path.parent)) / path.name

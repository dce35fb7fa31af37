"""What `check --store` looks at: a store that processes share, on Redis or Valkey or in a directory.

What goes beyond the commands that members need, such as INFO, may be forbidden: that is then said, and is no failure. A record of
the command's own is written, and ends within seconds. The members' own records are read and never changed.
"""

from __future__ import annotations

import os
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from oidc_actor.cli import store_findings
from oidc_actor.cli.findings import Finding, skipped
from oidc_actor.manager.options import Options
from oidc_actor.manager.shared_store import record_key
from oidc_actor.sharing.file_store import FileStore
from oidc_actor.sharing.redis_store import RedisStore
from oidc_actor.sharing.sealing import Sealer
from oidc_actor.sharing.store import Claim, Granted, Newer, Occupied, Share, Shared, TokenStore
from oidc_actor.values.errors import ConfigError, OIDCActorError, SecretUnavailable, StoreError
from oidc_actor.values.secrets import Secret, SecretFile, holds_secrets, resolve_secret
from oidc_actor.values.urls import is_loopback

TIMEOUT_S = 2.0
"""Seconds for one call: more than members allow, so that a slow server is told from one that is not there."""

TRIPS = 5
_LATE_MS = 10_000


@dataclass(frozen=True, slots=True)
class StoreAsked:
    """Which store is looked at.

    Attributes:
        address: The server's, which may hold a password; `None` for a directory.
        directory: The directory; `None` for a server.
        namespace: What keeps fleets apart.
        keys: The files of the keys.
        shared: The options of a manager that shares, for its record's name; `None` where they were not given.
    """

    address: Secret | None
    directory: Path | None
    namespace: str
    keys: tuple[SecretFile, ...]
    shared: Options | None = None

    @property
    def is_login(self) -> bool:
        """Whether what is shared is a login that rotates."""
        return self.shared is not None and self.shared.auth.grant_type == "refresh_token"


@holds_secrets
def asked_of(store: str, namespace: str | None, keys: Sequence[Path], shared: Options | None) -> StoreAsked:
    """Check the options of a store; nothing is asked, and no directory is made.

    Args:
        store: An address, or the path of a directory.
        namespace: What keeps fleets apart.
        keys: The files of the keys.
        shared: The options of a manager that shares, as far as they were given.

    Raises:
        ConfigError: Something is missing or malformed.
    """
    if not namespace:
        raise ConfigError("--namespace: expected the namespace that members have, got none")
    files = tuple(SecretFile(key) for key in keys)
    if "://" not in store:
        with tempfile.TemporaryDirectory() as elsewhere:  # FileStore makes its directory
            FileStore(elsewhere, namespace=namespace, keys=files or None)
        return StoreAsked(None, Path(store).absolute(), namespace, files, shared)
    if not files:
        raise ConfigError("--key: expected the file of a key, as `oidc-actor fleet-key` prints it, got none")
    RedisStore.from_url(store, namespace=namespace, keys=files, timeout_seconds=TIMEOUT_S)
    return StoreAsked(Secret(store), None, namespace, files, shared)


class StoreDoctor:
    """Looks at one store.

    Args:
        asked: Which.
    """

    def __init__(self, asked: StoreAsked) -> None:
        self._asked = asked

    def examine(self) -> Iterator[Finding]:
        """Make the checks one by one; each finding comes as soon as it is known."""
        problem = self._key_problem()
        yield store_findings.judge_keys(len(self._asked.keys), problem)
        if self._asked.directory is not None:
            yield from self._directory(self._asked.directory)
        else:
            yield from self._server()

    def _key_problem(self) -> str | None:
        for key in self._asked.keys:
            try:
                Sealer((key,)).seal({}, "check")
            except SecretUnavailable as error:
                problem = str(error).removeprefix("keys: ")
                return problem if str(key.path) in problem else f"{str(key.path)!r}: {problem}"
        return None

    # --- Redis or Valkey ----------------------------------------------------------------------------------------------

    @holds_secrets
    def _server(self) -> Iterator[Finding]:
        address = self._asked.address
        assert address is not None
        store = RedisStore.from_url(
            address.reveal(), namespace=self._asked.namespace, keys=self._asked.keys, timeout_seconds=TIMEOUT_S
        )
        client = _client(address)
        try:
            trips = [_trip(client) for _ in range(TRIPS + 1)][1:]  # the first one connects
        except Exception as error:  # noqa: BLE001 - whatever a client raises
            text = _text(error)
            yield Finding("store", "fail", f"{store.host}: {store_findings.kind_of(text)}", store_findings.fix_of(text))
            later = ("trip", "clock", "steps", "eviction", "disk", "record")
            yield from (skipped(f"store {check}", "no answer from the store") for check in later)
            return
        parts = urlsplit(address.reveal())
        is_plain = parts.scheme == "redis" and not is_loopback(parts.hostname or "")
        yield store_findings.judge_reached(store.host, _version(client), is_plain=is_plain)
        yield store_findings.judge_trip(statistics.median(trip.took_s for trip in trips))
        best = min(trips, key=lambda trip: trip.took_s)
        yield store_findings.judge_clock(best.ahead_s, best.took_s / 2)
        yield _steps(store, "EVALSHA and EVAL", client)
        policy, most = _eviction(client)
        yield store_findings.judge_eviction(policy, most, is_login=self._asked.is_login)
        yield store_findings.judge_persistence(*_persistence(client), is_login=self._asked.is_login)
        yield self._record(store)

    # --- a directory --------------------------------------------------------------------------------------------------

    def _directory(self, path: Path) -> Iterator[Finding]:
        later = ("disk", "locks", "steps", "record")
        finding = self._as_it_is(path)
        yield finding
        if finding.result != "pass" or not path.is_dir():
            yield from (skipped(f"store {check}", "no directory to look into") for check in later)
            return
        yield store_findings.judge_file_system(file_system_of(path), is_login=self._asked.is_login)
        locks = store_findings.judge_locks(keeps_out(path))
        yield locks
        if locks.result == "fail":
            yield from (skipped(f"store {check}", "no locks") for check in later[2:])
            return
        store = FileStore(path, namespace=self._asked.namespace, keys=self._asked.keys or None)
        yield _steps(store, "files and flock")
        yield self._record(store)

    def _as_it_is(self, path: Path) -> Finding:
        if not path.exists():
            return _to_be_made(path)
        if not path.is_dir():
            return Finding(
                "store", "fail", f"{path} is no directory", "Name a directory, or an address such as rediss://HOST."
            )
        found = path.stat()
        facts = store_findings.DirectoryFacts(
            str(path),
            found.st_mode & 0o7777,
            found.st_uid,
            os.geteuid(),
            bool(self._asked.keys),
            os.access(path, os.W_OK | os.X_OK),
        )
        return store_findings.judge_directory(facts)

    # --- the record ---------------------------------------------------------------------------------------------------

    @holds_secrets
    def _record(self, store: TokenStore) -> Finding:
        shared = self._asked.shared
        if shared is None:
            return skipped(
                "store record", "its name follows from a manager's options: give the provider and the client, too"
            )
        if shared.auth.dpop is not None:
            return skipped("store record", "its name follows from the members' DPoP key, which is not known here")
        try:
            own = shared.auth.grant_secret if self._asked.is_login else None
            key = record_key(shared, None if own is None else resolve_secret(own, "refresh_token"))
            looked = store.look([key])
            late = looked.now_ms + _LATE_MS
            answer = store.claim(key, Claim(secrets.token_hex(8), late, adopts_only=True))
        except OIDCActorError as error:
            return Finding("store record", "fail", str(error), store_findings.fix_of(str(error)))
        is_login = self._asked.is_login
        if not isinstance(answer, Newer):
            return store_findings.judge_record(looked.gens[0], None, 0, None, is_login=is_login)
        opened_by = self._opened_by([text for text in (answer.token, answer.login) if text is not None], key)
        left_s = (answer.expires_ms - answer.now_ms) / 1000
        return store_findings.judge_record(answer.gen, opened_by, len(self._asked.keys), left_s, is_login=is_login)

    def _opened_by(self, sealed: Sequence[Secret], key: str) -> int | None:
        """The number of the key that opens all of it, from 1; 0 where nothing is sealed, `None` where none does."""
        rings: list[tuple[SecretFile, ...]] = [(one,) for one in self._asked.keys] or [()]
        for number, ring in enumerate(rings, start=1 if self._asked.keys else 0):
            try:
                if all(Sealer(ring).open(text, key) is not None for text in sealed):
                    return number
            except SecretUnavailable:  # which the check of the keys says
                continue
        return None


# --- steps ------------------------------------------------------------------------------------------------------------


def _steps(store: TokenStore, by: str, client: Any = None) -> Finding:
    key = f"check-{secrets.token_hex(6)}"
    began = time.monotonic()
    try:
        _play(store, key)
        return store_findings.judge_steps(time.monotonic() - began, None, by)
    except StoreError as error:
        told = str(error)
        if client is not None and "ResponseError" in told:  # the kind alone does not say what a script may not do
            told = f"{store.host}: {_script_error(client, store.namespace) or told}"
        return store_findings.judge_steps(None, told, by, is_file=isinstance(store, FileStore))
    finally:
        if isinstance(store, FileStore):
            for file in Path(store.host).glob(f"{store.namespace}.{key}.*"):
                file.unlink(missing_ok=True)


def _play(store: TokenStore, key: str) -> None:
    """Claim, be kept out, share, adopt."""
    late = store.look(()).now_ms + _LATE_MS
    holder, other = secrets.token_hex(8), secrets.token_hex(8)
    granted = _expected(store.claim(key, Claim(holder, late, lease_ms=2000)), Granted)
    _expected(store.claim(key, Claim(other, late, lease_ms=2000)), Occupied)
    ends_ms = granted.now_ms + 2000
    _expected(
        store.share(key, Share(holder, granted.fence, late, Secret("check"), ends_ms, "check", keep_ms=0)), Shared
    )
    _expected(store.claim(key, Claim(other, late, adopts_only=True)), Newer)


def _expected(answer: Any, kind: type[Any]) -> Any:
    if not isinstance(answer, kind):
        raise StoreError(
            f"the store answered {type(answer).__name__}, expected {kind.__name__}: it does not keep what it is given"
        )
    return answer


def _script_error(client: Any, namespace: str) -> str | None:
    """What the server says to a script that only writes, in words that `store_findings.fix_of` knows."""
    name = f"oa1:{{{namespace}:check}}:t"
    script = "redis.call('HGETALL', KEYS[1]) redis.call('HSET', KEYS[1], 'a', '1') return redis.call('DEL', KEYS[1])"
    try:
        client.eval(script, 1, name)
    except Exception as error:  # noqa: BLE001 - whatever a client raises
        return f"ResponseError: {store_findings.kind_of(_text(error))}"
    return None


# --- a server ---------------------------------------------------------------------------------------------------------


@holds_secrets
def _client(address: Secret) -> Any:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return redis.Redis.from_url(
        address.reveal(), socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, retry=Retry(NoBackoff(), 0)
    )


@dataclass(frozen=True, slots=True)
class _Trip:
    """One round trip: how long it took, and how far the server's clock was ahead in its middle."""

    took_s: float
    ahead_s: float


def _trip(client: Any) -> _Trip:
    wall, began = time.time(), time.monotonic()
    seconds, micros = client.time()
    took_s = time.monotonic() - began
    return _Trip(took_s, seconds + micros / 1e6 - (wall + took_s / 2))


def _text(error: Exception) -> str:
    """What is looked for in an error; never shown."""
    return f"{type(error).__name__}: {error}"


def _said(call: Callable[[], Any]) -> dict[str, Any]:
    """What the server says of itself; nothing where this user may not ask."""
    try:
        answer = call()
    except Exception:  # noqa: BLE001 - forbidden, unknown, or lost: said as what cannot be told
        return {}
    return answer if isinstance(answer, dict) else {}


def _version(client: Any) -> str | None:
    said = _said(lambda: client.info("server"))
    valkey, redis = said.get("valkey_version"), said.get("redis_version")
    return f"Valkey {valkey}" if valkey else f"Redis {redis}" if redis else None


def _eviction(client: Any) -> tuple[str | None, int | None]:
    said = _said(lambda: client.info("memory"))
    policy, most = said.get("maxmemory_policy"), said.get("maxmemory")
    if policy is None:
        policy = _said(lambda: client.config_get("maxmemory-policy")).get("maxmemory-policy")
    return (None if policy is None else str(policy)), (most if isinstance(most, int) else None)


def _persistence(client: Any) -> tuple[bool | None, str | None]:
    aof = _said(lambda: client.info("persistence")).get("aof_enabled")
    said = _said(lambda: client.config_get("save"))
    return (None if aof is None else bool(aof)), said.get("save")


# --- a file system ----------------------------------------------------------------------------------------------------


def _to_be_made(path: Path) -> Finding:
    nearest = next((one for one in path.parents if one.exists()), path.parent)
    if os.access(nearest, os.W_OK | os.X_OK):
        return Finding("store", "pass", f"{path} is not there yet: the first member makes it, for its own user only")
    fix = f"install -d -m 0700 -o <the members' user> {path}"
    return Finding("store", "fail", f"{path} is not there, and this user may not make it in {nearest}", fix)


def file_system_of(path: Path) -> str | None:
    """The type of the file system that a path is on; `None` where the system does not say (Linux does)."""
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return None
    mounts: dict[str, str] = {}
    for line in lines:
        before, _, after = line.partition(" - ")
        mounts[before.split(" ")[4].encode().decode("unicode_escape")] = after.split(" ")[0]  # the last one lies on top
    real = Path(os.path.realpath(path))
    return next((mounts[str(one)] for one in (real, *real.parents) if str(one) in mounts), None)


def keeps_out(path: Path) -> bool:
    """Whether a lock on a file in a directory keeps a second one out; the file is removed."""
    import fcntl  # FileStore has said where there is none

    descriptor, name = tempfile.mkstemp(prefix="check-", dir=path)
    second = os.open(name, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(second)
        os.close(descriptor)
        os.unlink(name)
    return False

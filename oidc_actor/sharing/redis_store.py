"""A store on Redis or Valkey: `RedisStore`.

One connection for each process, made at first use: calls come one after the other, each bounded by its timeout
(`redis_connection`). With ``notify`` there is a second one (`redis_notices`).

**Replicas.** With ``wait_replicas`` a claim and the wait for its replicas travel together on one connection: the server counts
the replicas that have what came on that connection. A claim that too few have is an error, and nothing is sent under it.

**Cluster.** All of a record is one hash with one tag, and so in one slot. A script sees one slot, so a look is a script for each
key, and asks each server once for all its keys. Else it is one script.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NoReturn
from urllib.parse import parse_qs, urlsplit

from oidc_actor.sharing.redis_connection import Connection, is_cluster
from oidc_actor.sharing.redis_notices import Notices
from oidc_actor.sharing.redis_scripts import CLAIM, GIVE_UP, LOOK, RENEW, RESTORE, SHARE, Script
from oidc_actor.sharing.sealing import read_keys
from oidc_actor.sharing.store import (
    Claim,
    ClaimAnswer,
    GiveUp,
    Granted,
    Looked,
    Lost,
    Newer,
    Occupied,
    Overtaken,
    Renewal,
    Restoration,
    Share,
    Shared,
)
from oidc_actor.values.clock import is_seconds
from oidc_actor.values.errors import ConfigError, StoreError
from oidc_actor.values.secrets import (
    Secret,
    SecretSource,
    StoredSecret,
    holds_secrets,
    refuse_pickling,
    resolve_secret,
)
from supervision.runtime.per_process import PerProcess

_NO_PACKAGE = "RedisStore needs the package redis: pip install 'oidc-actor[redis]'"
_NAMESPACE = re.compile(r"[a-z0-9._-]{1,64}")
WAIT_S = 0.2
"""Seconds that a claim waits for its replicas."""


class RedisStore:
    """A store of shared tokens on Redis 5 or later, or Valkey. It compares by value, and refuses pickling.

    What it keeps is sealed: the server never sees a token. Give members the same keys and the same namespace, and other
    fleets another namespace.
    """

    @holds_secrets
    def __init__(
        self,
        client: Callable[[], Any],
        *,
        namespace: str,
        keys: Sequence[StoredSecret | str],
        timeout_seconds: float = 0.5,
        notify: bool = False,
        wait_replicas: int = 0,
    ) -> None:
        """Describe a store; nothing connects before its first use.

        Args:
            client: Makes a client with redis-py's interface, for Sentinel, or a cluster: one that nothing else uses. It is called
                at the first use in each process and again after an error, on a thread of the store's. Its timeouts should be
                ``timeout_seconds``, so that no thread waits for longer; its retries are switched off.
            namespace: What keeps fleets apart: 1 to 64 of lower-case letters, digits, ``.``, ``_`` and ``-``.
            keys: What records are sealed with, as ``oidc-actor fleet-key`` prints them; the first seals, all open.
            timeout_seconds: For one call.
            notify: Whether members tell each other of a new token, so that they adopt it at once and not at the next look.
            wait_replicas: How many replicas must have a claim before it counts.

        Raises:
            ConfigError: An argument is wrong, or a package is missing.
        """
        given: object = client
        if not callable(given):
            problem = (
                f"expected a callable that makes a client, got {type(client).__name__}; or use RedisStore.from_url"
            )
            raise ConfigError(problem, ("client",), label="RedisStore: client")
        self._make, self._host = client, "redis"
        self._connection: PerProcess[Connection]
        self._fill(namespace, keys, timeout_seconds, notify, wait_replicas)
        self._identity: tuple[object, ...] = (client, *self._options())

    def _fill(self, namespace: object, keys: object, timeout_s: object, notify: object, wait_replicas: object) -> None:
        if not isinstance(namespace, str) or not _NAMESPACE.fullmatch(namespace):
            problem = f"expected 1 to 64 of lower-case letters, digits, '.', '_' and '-', got {namespace!r}"
            raise ConfigError(problem, ("namespace",), label="RedisStore: namespace")
        if not is_seconds(timeout_s) or not timeout_s:
            problem = f"expected finite seconds above 0, got {timeout_s!r}"
            raise ConfigError(problem, ("timeout_seconds",), label="RedisStore: timeout_seconds")
        if not isinstance(notify, bool):
            raise ConfigError(f"expected True or False, got {notify!r}", ("notify",), label="RedisStore: notify")
        if isinstance(wait_replicas, bool) or not isinstance(wait_replicas, int) or wait_replicas < 0:
            problem = f"expected a number of replicas, got {wait_replicas!r}"
            raise ConfigError(problem, ("wait_replicas",), label="RedisStore: wait_replicas")
        self._namespace, self._keys = namespace, read_keys(keys, "RedisStore")
        self._timeout_s, self._notify, self._wait_replicas = float(timeout_s), notify, wait_replicas
        self._connection = PerProcess(lambda: Connection(self._make, self._timeout_s, lambda: self._host))

    def _options(self) -> tuple[object, ...]:
        return self._namespace, self._keys, self._timeout_s, self._notify, self._wait_replicas

    @classmethod
    @holds_secrets
    def from_url(
        cls,
        url: str | StoredSecret,
        *,
        namespace: str,
        keys: Sequence[StoredSecret | str],
        timeout_seconds: float = 0.5,
        notify: bool = False,
        wait_replicas: int = 0,
    ) -> RedisStore:
        """Describe a store at an address.

        Args:
            url: ``redis://``, ``rediss://`` (TLS) or ``unix://``, as redis-py reads it; it may hold a user and a password. A
                `SecretFile` or the like is read when a client is made: at first use, and anew after each error.
            namespace: As for the class, and so are the others.
            keys: What records are sealed with.
            timeout_seconds: For one call, and for a connection.
            notify: Whether members tell each other of a new token.
            wait_replicas: How many replicas must have a claim before it counts.

        Raises:
            ConfigError: An argument is wrong, or a package is missing.
        """
        if isinstance(url, SecretSource):
            return cls._from_source(url, namespace, keys, timeout_seconds, notify, wait_replicas)
        host = _host_of(url.reveal() if isinstance(url, Secret) else url)
        secret = url if isinstance(url, Secret) else Secret(url)

        def make() -> Any:
            return _client(secret, timeout_seconds)

        make()  # checks the address, and that the package is there; connects to nothing
        store = cls(
            make,
            namespace=namespace,
            keys=keys,
            timeout_seconds=timeout_seconds,
            notify=notify,
            wait_replicas=wait_replicas,
        )
        store._host, store._identity = host, (secret, *store._options())
        return store

    @classmethod
    def _from_source(cls, source: SecretSource, *rest: Any) -> RedisStore:
        """A store whose address is read when a client is made: the file may come later, and the password in it may change."""
        namespace, keys, timeout_s, notify, wait_replicas = rest

        def make() -> Any:
            address = resolve_secret(source, "url")
            store._host = _host_of(address.reveal())
            return _client(address, timeout_s)

        _client(Secret("redis://unused.invalid"), timeout_s)  # that the package is there
        store = cls(
            make,
            namespace=namespace,
            keys=keys,
            timeout_seconds=timeout_s,
            notify=notify,
            wait_replicas=wait_replicas,
        )
        store._identity = (source, *store._options())
        return store

    @property
    def keys(self) -> Sequence[StoredSecret]:
        """What records are sealed with."""
        return self._keys

    @property
    def namespace(self) -> str:
        """What keeps fleets apart that use one server."""
        return self._namespace

    @property
    def host(self) -> str:
        """Where the server is; without the user and the password."""
        return self._host

    def __eq__(self, other: object) -> bool:
        return self._identity == other._identity if isinstance(other, RedisStore) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._identity)

    def __repr__(self) -> str:
        return f"RedisStore({self._host}, namespace={self._namespace!r})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        refuse_pickling(self)

    # --- the six steps ------------------------------------------------------------------------------------------------

    def claim(self, key: str, claim: Claim, /) -> ClaimAnswer:
        """Grant a claim, or say why not.

        Args:
            key: The record's name.
            claim: What is wanted.

        Raises:
            StoreError: The store could not be asked, or too late.
        """
        login = "" if claim.login is None else claim.login.reveal()
        given = (claim.claimant, claim.known_gen, claim.need_ms, claim.rejected or "", claim.lease_ms, login)
        flags = (claim.quarantine_ms, _flag(claim.may_try), claim.unheard or "", _flag(claim.adopts_only))
        what, now_ms, *rest = self._run(CLAIM, key, claim.not_after_ms, *given, *flags, waits=bool(self._wait_replicas))
        if what == "newer":
            gen, token, expires_ms, fingerprint, left = rest
            return Newer(int(gen), Secret(token), int(expires_ms), fingerprint, _secret(left), now_ms)
        if what == "granted":
            fence, refresh_token, doubtful = rest
            return Granted(int(fence), _secret(refresh_token), bool(doubtful), now_ms)
        return Lost(now_ms) if what == "lost" else Occupied(int(rest[0]), what, now_ms)

    def renew(self, key: str, renewal: Renewal, /) -> bool:
        """Hold a lease for longer; false where another one was granted since.

        Args:
            key: The record's name.
            renewal: Whose lease, and for how long.

        Raises:
            StoreError: The store could not be asked, or too late.
        """
        taken = "" if renewal.taken is None else renewal.taken.reveal()
        given = (renewal.claimant, renewal.fence, renewal.lease_ms, taken, "1" if renewal.doubtful else "")
        return bool(self._run(RENEW, key, renewal.not_after_ms, *given)[0] == "renewed")

    def share(self, key: str, share: Share, /) -> Shared | Overtaken:
        """Store a token for all.

        Args:
            key: The record's name.
            share: The token, and under which grant it was got.

        Raises:
            StoreError: The store could not be asked, or too late.
        """
        refresh_token = "" if share.refresh_token is None else share.refresh_token.reveal()
        given = (share.claimant, share.fence, share.token.reveal(), share.expires_ms, share.fingerprint, refresh_token)
        what, now_ms, *rest = self._run(SHARE, key, share.not_after_ms, *given, share.keep_ms, announces=self._notify)
        return Overtaken(now_ms) if what == "overtaken" else Shared(int(rest[0]), now_ms)

    def give_up(self, key: str, give_up: GiveUp, /) -> None:
        """End a lease without a token; nothing is done where another one was granted since.

        Args:
            key: The record's name.
            give_up: Whose lease, and how long all are to wait.

        Raises:
            StoreError: The store could not be asked, or too late.
        """
        given = (give_up.claimant, give_up.fence, give_up.login, give_up.wait_ms)
        self._run(GIVE_UP, key, give_up.not_after_ms, *given)

    def restore(self, key: str, restoration: Restoration, /) -> bool:
        """Put back a record that was lost; false where one is there that is as new.

        Args:
            key: The record's name.
            restoration: What was in it.

        Raises:
            StoreError: The store could not be asked, or too late.
        """
        token = "" if restoration.token is None else restoration.token.reveal()
        login = "" if restoration.login is None else restoration.login.reveal()
        given = (restoration.gen, token, restoration.expires_ms, restoration.fingerprint, login)
        times = (restoration.keep_ms, restoration.quarantine_ms)
        return bool(self._run(RESTORE, key, restoration.not_after_ms, *given, *times)[0] == "restored")

    def look(self, keys: Sequence[str], /) -> Looked:
        """See which records are there, and what the store's clock says.

        Args:
            keys: The records' names, at most 500; none for the clock only.

        Raises:
            StoreError: The store could not be asked.
        """
        now_ms, gens = self._connection.value.call(lambda client: self._looks(client, [*keys] or ["clock"]))
        return Looked(tuple(_number(gen) for gen in gens[: len(keys)]), now_ms)

    def listen(self, heard: Callable[[str, int], None], /) -> Notices | None:
        """Hear of new tokens, as `oidc_actor.sharing.store.AnnouncingStore` says; ``None`` without ``notify``.

        Args:
            heard: Called with a key and a generation.
        """
        return Notices(self._make, self._name, heard) if self._notify else None

    # --- calls --------------------------------------------------------------------------------------------------------

    def _name(self, key: str) -> str:
        return f"oa1:{{{self._namespace}:{key}}}:t"

    @holds_secrets
    def _run(self, script: Script, key: str, *args: object, waits: bool = False, announces: bool = False) -> Any:
        name = self._name(key)

        def run(client: Any) -> Any:
            if waits:
                return self._waited(client, script, name, args)
            said = ("SPUBLISH" if is_cluster(client) else "PUBLISH",) if announces else ()
            return _read(_evaluate(client, script, [name], (*args, *said)))

        what, now_ms, *rest = self._connection.value.call(run)
        if what == "late":
            raise StoreError("the store was reached too late, and has done nothing", sent=False)
        return what, now_ms, *rest

    @holds_secrets
    def _waited(self, client: Any, script: Script, name: str, args: Sequence[object]) -> Any:
        server = _server_of(client, name)
        wait_ms = max(1, round(1000 * min(WAIT_S, self._timeout_s / 2)))

        def send(call: str, text: str) -> Any:
            pipeline = server.pipeline(transaction=False)
            getattr(pipeline, call)(text, 1, name, *args)
            pipeline.wait(self._wait_replicas, wait_ms)
            return pipeline.execute(raise_on_error=False)

        answer, replicas = send("evalsha", _sha(script))
        if _is_unknown(answer):
            answer, replicas = send("eval", script.source)
        for one in (answer, replicas):
            if isinstance(one, Exception):
                raise one
        read = _read(answer)
        if read[0] == "granted" and replicas < self._wait_replicas:
            raise StoreError(f"{self._host}: {replicas} of {self._wait_replicas} replicas have the claim")
        return read

    def _looks(self, client: Any, keys: list[str]) -> tuple[int, list[str]]:
        names = [self._name(key) for key in keys]
        if not is_cluster(client):
            _, now_ms, *gens = _read(_evaluate(client, LOOK, names, ()))
            return now_ms, gens
        by_server: dict[Any, list[str]] = {}
        for name in names:
            by_server.setdefault(_server_of(client, name), []).append(name)
        answers: dict[str, Any] = {}
        for server, some in by_server.items():
            pipeline = server.pipeline(transaction=False)
            for name in some:
                pipeline.evalsha(_sha(LOOK), 1, name)
            answers.update(zip(some, pipeline.execute(raise_on_error=False), strict=True))
        for name, answer in answers.items():
            if isinstance(answer, Exception):  # the script is not known there, or a slot is at another server by now
                answers[name] = _evaluate(client, LOOK, [name], ())
        read = [_read(answers[name]) for name in names]
        return read[0][1], [gen for _, _, gen in read]


def _server_of(client: Any, name: str) -> Any:
    """The client of the one server that has that name; each is the same object each time."""
    return client.get_redis_connection(client.get_node_from_key(name)) if is_cluster(client) else client


def _evaluate(client: Any, script: Script, names: Sequence[str], args: Sequence[object]) -> Any:
    try:
        return client.evalsha(_sha(script), len(names), *names, *args)
    except Exception as error:
        if not _is_unknown(error):
            raise
    return client.eval(script.source, len(names), *names, *args)  # which also keeps it


def _is_unknown(answer: object) -> bool:
    """Whether the server says that it does not know the script."""
    return isinstance(answer, Exception) and ("NOSCRIPT" in str(answer) or type(answer).__name__ == "NoScriptError")


@cache
def _sha(script: Script) -> str:
    return hashlib.sha1(script.source.encode(), usedforsecurity=False).hexdigest()


_SAID = {"late", "newer", "granted", "lost", "lease", "down", "doubtful", "missing", "free", "renewed", "shared"}
_SAID |= {"overtaken", "ended", "other", "restored", "seen"}
"""The first words of the scripts' answers."""


def _read(answer: Any) -> Any:
    if not isinstance(answer, list):
        raise TypeError  # no server's that ran a script of ours
    what, now_ms, *rest = [_text(one) for one in answer]
    if what not in _SAID:
        raise ValueError
    return what, int(now_ms), *rest


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _secret(text: str) -> Secret | None:
    return Secret(text) if text else None


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _flag(value: bool) -> str:
    return "1" if value else ""


def has_password(url: str) -> bool:
    """Whether a password stands in an address."""
    try:
        parts = urlsplit(url)
        return parts.password is not None or "password" in parse_qs(parts.query, keep_blank_values=True)
    except ValueError:
        return "@" in url


def _host_of(url: object) -> str:
    """The address without user, password and path; raises ``ConfigError``, which does not show them."""
    label = "RedisStore.from_url: url"
    if not isinstance(url, str):
        raise ConfigError(
            f"expected a text such as 'redis://host:6379/0', got {type(url).__name__}", ("url",), label=label
        )
    parts = urlsplit(url)
    if parts.scheme == "unix" and parts.path:
        return f"unix://{parts.path}"
    if parts.scheme not in {"redis", "rediss"} or not parts.hostname:
        raise ConfigError(
            "expected an address that begins with redis://, rediss:// or unix://, got another", ("url",), label=label
        )
    try:
        return f"{parts.scheme}://{parts.hostname}:{parts.port or 6379}"
    except ValueError:
        raise ConfigError("expected a number as the port, got another text", ("url",), label=label) from None


def _untold() -> dict[str, None]:
    """Have the server not told the package's version, which is read from the disk for each connection: most of what one costs."""
    return {} if importlib.util.find_spec("redis.driver_info") is None else {"driver_info": None}


@holds_secrets
def _client(url: Secret, timeout_s: float) -> Any:
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError:
        raise ConfigError(_NO_PACKAGE, ("store",), label="") from None
    try:
        return redis.Redis.from_url(
            url.reveal(),
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            max_connections=4,
            protocol=2,  # whose handshake asks the server for nothing
            **_untold(),
        )
    except (ValueError, TypeError):
        problem = "expected an address as redis-py reads it, got another"
        raise ConfigError(problem, ("url",), label="RedisStore.from_url: url") from None

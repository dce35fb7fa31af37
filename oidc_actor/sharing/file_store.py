"""A store in a directory of one host: `FileStore`.

One file for each record, which is replaced as a whole (write, flush, rename), so that none is ever seen half written; one that
cannot be read counts as absent. A step holds a lock of the kernel's on a file beside it. A holder also keeps one on a file of
its lease: the kernel lets go of it when the process ends, however it ends, so that none waits for the end of a dead one's lease.
A lock belongs to an open file, which a forked child inherits: so each is let go of in words, and the child closes its own copy.

==================  ==================================================================================================
``….json``          the record
``….new``           the next one while it is written; what a killed process left is written over
``….lock``          whose lock a step holds
``….<fence>.lease`` whose lock a holder keeps; the next holder, or the first step of another process, clears it away
``….known``         whose lock all share that have the login of the record: without one, none can put it back
==================  ==================================================================================================

Deadlines are on the clock that counts suspend and that no user sets. It begins anew at each boot: under another boot the token
and the lease count as absent, and the refresh token stays.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from oidc_actor.sharing import records
from oidc_actor.sharing.records import Lease, Record
from oidc_actor.sharing.sealing import read_keys
from oidc_actor.sharing.stepping import SteppingStore
from oidc_actor.sharing.store import (
    Claim,
    ClaimAnswer,
    GiveUp,
    Granted,
    Looked,
    Newer,
    Overtaken,
    Share,
    Shared,
)
from oidc_actor.values.clock import default_clock
from oidc_actor.values.errors import ConfigError, StoreError
from oidc_actor.values.secrets import Secret, StoredSecret, holds_secrets, refuse_pickling
from supervision.runtime.per_process import PerProcess, in_forked_child

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

T = TypeVar("T")

LOCK_S = 0.5
"""Seconds that a step waits for another one."""

_NAMESPACE = re.compile(r"[a-z0-9._-]{1,64}")
_VERSION = 1
_SECRETS = ("token", "refresh_token", "taken")
_KINDS = dict.fromkeys(("gen", "fence", "expires_ms", "quarantine_ms", "keep_until_ms"), int) | {
    "fingerprint": str,
    "taker": str,
    "tried": bool,
}
_LEASE_KINDS = {"claimant": str, "until_ms": int, "length_ms": int}

SETTLED_S = 1.0
"""Seconds after which a file that has not changed is taken for unchanged: the clock of a file system may go by ticks."""

LARGEST = 1_000_000
"""Bytes of a record; a file that has more is none."""

_held: dict[tuple[str, int], int] = {}
"""The files of this process's leases, each open and locked, by the record's file and the fence. Each change is one operation."""

_knows: dict[str, int] = {}
"""The files that say which logins this process knows, each open and locked. A forked child keeps them: it knows the same."""

MOST_KNOWN = 100
"""Logins for which a process keeps a file open; that of a further one has a byte in it, and counts as locked for ever."""

_locked: set[int] = set()
"""The files whose locks steps of this process hold or wait for. Each change is one operation."""


def _let_go() -> None:
    """In a forked child: the parent's locks are not its own, and a file that stays open here would outlive the parent."""
    for descriptor in [*_held.values(), *_locked]:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _held.clear()
    _locked.clear()


in_forked_child(_let_go)


class FileStore(SteppingStore):
    """A store of shared tokens for the processes of one host. It compares by value, and refuses pickling.

    Without keys what it keeps is as safe as the directory, which only its owner may open then. A network file system will not do.
    """

    @holds_secrets
    def __init__(self, path: str | Path, *, namespace: str, keys: Sequence[StoredSecret | str] | None = None) -> None:
        """Describe a store; the directory is made where it is missing, for its owner only.

        Args:
            path: The directory.
            namespace: What keeps fleets apart: 1 to 64 of lower-case letters, digits, ``.``, ``_`` and ``-``.
            keys: What records are sealed with, as ``oidc-actor fleet-key`` prints them; the first seals, all open. ``None``
                to keep them as they are.

        Raises:
            ConfigError: An argument is wrong; the directory cannot be made, or others may open it; or this system has no
                such locks.
        """
        named: object = path
        if not isinstance(named, str | Path) or not str(named):
            raise _wrong("path", f"expected the path of a directory, got {named!r}")
        given: object = namespace
        if not isinstance(given, str) or not _NAMESPACE.fullmatch(given):
            problem = f"expected 1 to 64 of lower-case letters, digits, '.', '_' and '-', got {given!r}"
            raise _wrong("namespace", problem)
        if fcntl is None:
            raise _wrong("path", "expected a system with flock(2), got Windows; use RedisStore")
        self._path, self._namespace = Path(path).absolute(), namespace
        self._keys = () if keys is None else read_keys(keys, "FileStore")
        self._group: int | None = None  # whose members may read and write the files, too
        self._make_directory()
        self._seen: dict[str, tuple[tuple[int, int, int], int, int]] = {}  # by key: the file, its generation, its end
        self._has_swept = PerProcess(lambda: [False])

    def _make_directory(self) -> None:
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self._path.stat()
        except OSError as error:
            raise _wrong(
                "path", f"expected a directory that can be made, got {str(self._path)!r}: {error.strerror}"
            ) from None
        forbidden, who = (0o077, "its owner") if not self._keys else (0o007, "its owner and group")
        mode = stat.S_IMODE(found.st_mode)
        if found.st_uid != os.geteuid() and not self._keys:
            raise _wrong("path", f"expected a directory of this user, got {str(self._path)!r} of user {found.st_uid}")
        if mode & forbidden:
            problem = (
                f"expected a directory that only {who} may open, got {str(self._path)!r} with mode {mode:04o}; "
                f"chmod {0o700 if not self._keys else mode & ~forbidden:04o} it"
            )
            raise _wrong("path", problem)
        self._group = found.st_gid if mode & 0o070 == 0o070 else None

    @property
    def keys(self) -> Sequence[StoredSecret]:
        """What records are sealed with; empty where they are kept as they are."""
        return self._keys

    @property
    def namespace(self) -> str:
        """What keeps fleets apart that use one directory."""
        return self._namespace

    @property
    def host(self) -> str:
        """The directory."""
        return str(self._path)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FileStore):
            return NotImplemented
        return (self._path, self._namespace, self._keys) == (other._path, other._namespace, other._keys)

    def __hash__(self) -> int:
        return hash((self._path, self._namespace, self._keys))

    def __repr__(self) -> str:
        return f"FileStore({str(self._path)!r}, namespace={self._namespace!r})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        refuse_pickling(self)

    # --- the six steps ------------------------------------------------------------------------------------------------

    def claim(self, key: str, claim: Claim, /) -> ClaimAnswer:
        """Grant a claim, or say why not; the lease of a process that has ended is over.

        Args:
            key: The record's name.
            claim: What is wanted.

        Raises:
            StoreError: The store could not be asked, or too late.
        """
        before = Record()

        def step(record: Record, now_ms: int) -> tuple[Record, ClaimAnswer]:
            nonlocal before
            before = record
            lease = record.lease
            is_leased = lease is not None and lease.claimant and lease.holds(now_ms)
            if is_leased and not _is_locked(self._lease(key, record.fence)):
                record = replace(record, lease=None)  # its holder has ended
            record, answer = records.claim(record, claim, now_ms)
            if isinstance(answer, Granted):
                self._hold(key, answer.fence)
                granted.append(answer.fence)
            if claim.login is not None and isinstance(answer, Granted | Newer):
                self._know(key)
            return record, answer

        granted: list[int] = []
        try:
            answer = self._step(key, step)
        except StoreError:
            for fence in granted:  # it is not written down
                self._release(key, fence)
            raise
        if granted:
            self._end_older(key, before.fence)
        return answer

    def share(self, key: str, share: Share, /) -> Shared | Overtaken:
        """Store a token for all.

        Args:
            key: The record's name.
            share: The token, and under which grant it was got.

        Raises:
            StoreError: The store could not be asked, or too late.
        """
        answer = super().share(key, share)
        self._release(key, share.fence)
        return answer

    def give_up(self, key: str, give_up: GiveUp, /) -> None:
        """End a lease without a token; nothing is done where another one was granted since.

        Args:
            key: The record's name.
            give_up: Whose lease, and how long all are to wait.

        Raises:
            StoreError: The store could not be asked, or too late.
        """
        super().give_up(key, give_up)
        self._release(key, give_up.fence)

    def is_known(self, key: str, /) -> bool:
        """Whether a process that lives has had a token from the record, or may have, and so could put it back.

        Args:
            key: The record's name.

        Raises:
            StoreError: The store could not be asked.
        """
        try:
            with self._lock(self._file(key)):
                path = self._known(key)
                return _is_locked(path) or (path.exists() and path.stat().st_size > 0)
        except OSError as error:
            raise self._failed(error) from None

    def look(self, keys: Sequence[str], /) -> Looked:
        """See which records are there, and what the store's clock says.

        Args:
            keys: The records' names, at most 500; none for the clock only.

        Raises:
            StoreError: The store could not be asked.
        """
        now_ms = _now_ms()
        try:
            return Looked(tuple(self._gen(key, now_ms) for key in keys), now_ms)
        except OSError as error:
            raise self._failed(error) from None

    def _gen(self, key: str, now_ms: int) -> int:
        """The generation of a record, which is read only where its file is another one than at the look before."""
        path = self._file(key)
        try:
            found = os.stat(path)
        except FileNotFoundError:
            self._seen.pop(key, None)
            return 0
        file = (found.st_ino, found.st_mtime_ns, found.st_size)
        known = self._seen.get(key)
        if known is None or known[0] != file:
            record = self._read(path, now_ms)
            known = (file, record.gen, record.keep_until_ms)
            if time.time() - found.st_mtime > SETTLED_S:
                self._seen[key] = known
        _, gen, keep_until_ms = known
        return gen if not keep_until_ms or keep_until_ms > now_ms else 0

    # --- files --------------------------------------------------------------------------------------------------------

    def _file(self, key: str) -> Path:
        return self._path / f"{self._namespace}.{key}.json"

    def _step(self, key: str, do: Callable[[Record, int], tuple[Record, T]]) -> T:
        path = self._file(key)
        try:
            self._sweep()
            with self._lock(path):
                now_ms = _now_ms()
                before = self._read(path, now_ms)
                after, answer = do(before, now_ms)
                if after != before:
                    self._write(path, after)
                return answer
        except OSError as error:
            raise self._failed(error) from None

    @contextlib.contextmanager
    def _lock(self, path: Path, *, patience_s: float = LOCK_S) -> Iterator[None]:
        """Hold the lock of a record; each step is short."""
        ends_at = time.monotonic() + patience_s
        lock = path.with_suffix(".lock")
        while True:
            descriptor = self._open(lock, os.O_RDWR | os.O_CREAT)
            _locked.add(descriptor)
            try:
                while not _locks(descriptor):
                    if time.monotonic() > ends_at:
                        problem = f"{self._path}: another process has held the lock for {patience_s:g} s"
                        raise StoreError(problem, sent=False)
                    time.sleep(0.002)
                if _is_at(lock, descriptor):
                    yield
                    return
                # It was cleared away meanwhile: the lock of a file that none finds any more is none.
            finally:
                _locked.discard(descriptor)
                _unlock(descriptor)

    def _open(self, path: Path, flags: int) -> int:
        """Open a file for all that may use the directory."""
        descriptor = os.open(path, flags | os.O_NOFOLLOW, 0o600)
        if flags & os.O_CREAT and self._group is not None:
            found = os.fstat(descriptor)
            if found.st_uid == os.geteuid() and (stat.S_IMODE(found.st_mode) != 0o660 or found.st_gid != self._group):
                try:
                    os.fchown(descriptor, -1, self._group)
                    os.fchmod(descriptor, 0o660)
                except OSError:
                    os.close(descriptor)
                    raise
        return descriptor

    @holds_secrets
    def _read(self, path: Path, now_ms: int) -> Record:
        try:
            with path.open("rb") as file:
                content = json.loads(file.read(LARGEST + 1)[:LARGEST])
            record = _record(content) if content["v"] == _VERSION else Record()
            is_this_boot = content["boot"] == _boot()
        except FileNotFoundError:
            return Record()
        except (ValueError, TypeError, KeyError, RecursionError, ConfigError):  # not one of ours, or broken: absent
            return Record()
        if not is_this_boot:  # what is a reading of the clock means nothing any more
            return replace(
                record, token=None, fingerprint="", expires_ms=0, lease=None, quarantine_ms=0, keep_until_ms=0
            )
        return record if not record.keep_until_ms or record.keep_until_ms > now_ms else Record()

    @holds_secrets
    def _write(self, path: Path, record: Record) -> None:
        """Replace a record, under its lock. It is on the disk before anything is sent under it."""
        shown = {name: value.reveal() if isinstance(value, Secret) else value for name, value in _fields(record)}
        content = json.dumps({"v": _VERSION, "boot": _boot(), **shown}).encode()
        beside = path.with_suffix(".new")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)
        try:
            written = self._open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            try:
                while content:  # a disk that is filling up takes a part
                    content = content[os.write(written, content) :]
                os.fsync(written)
            finally:
                os.close(written)
            os.replace(beside, path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(beside)
            raise
        folder = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _sweep(self) -> None:
        """Once in each process: clear away what killed processes have left, and records that are of no use any more."""
        if self._has_swept.value[0]:
            return
        self._has_swept.value[0] = True
        found = re.compile(rf"{re.escape(self._namespace)}\.([^.]+)\.(?:json|new|lock|known|\d+\.lease)")
        for key in {match[1] for name in os.listdir(self._path) if (match := found.fullmatch(name))}:
            with contextlib.suppress(StoreError, OSError), self._lock(self._file(key), patience_s=0.0):
                self._sweep_one(key)

    def _sweep_one(self, key: str) -> None:
        """Under the lock of its record, so that no step is at it."""
        path, now_ms = self._file(key), _now_ms()
        for lease in self._path.glob(f"{self._namespace}.{key}.*.lease"):
            _is_locked(lease)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path.with_suffix(".new"))
        with contextlib.suppress(FileNotFoundError):
            if self._is_over(path, now_ms):
                os.unlink(path)
        if not path.exists():
            os.unlink(path.with_suffix(".lock"))
            if not _is_locked(self._known(key)):
                self._known(key).unlink(missing_ok=True)

    @holds_secrets
    def _is_over(self, path: Path, now_ms: int) -> bool:
        """Whether that is a record of this boot, and not worth keeping any longer."""
        try:
            content = json.loads(path.read_bytes())
            keep_until_ms = _record(content).keep_until_ms
            return content["v"] == _VERSION and content["boot"] == _boot() and 0 < keep_until_ms <= now_ms
        except (ValueError, TypeError, KeyError, RecursionError, ConfigError):  # not one of ours
            return False

    def _failed(self, error: OSError) -> StoreError:
        return StoreError(f"{self._path}: {error.strerror or type(error).__name__}")

    # --- leases -------------------------------------------------------------------------------------------------------

    def _lease(self, key: str, fence: int) -> Path:
        return self._file(key).with_suffix(f".{fence}.lease")

    def _hold(self, key: str, fence: int) -> None:
        descriptor = self._open(self._lease(key, fence), os.O_RDWR | os.O_CREAT)
        _locks(descriptor)
        _held[str(self._file(key)), fence] = descriptor

    def _end_older(self, key: str, fence: int) -> None:
        """Another one was granted: an earlier grant is of no use, whether its holder has ended or never heard of it."""
        path = str(self._file(key))
        for file, older in [*_held]:
            if file == path and older <= fence:
                self._release(key, older)
        with contextlib.suppress(OSError):
            _is_locked(self._lease(key, fence))

    def _known(self, key: str) -> Path:
        return self._file(key).with_suffix(".known")

    def _know(self, key: str) -> None:
        """Have it seen that this process knows the record, while it or a child of its lives. Under the record's lock."""
        path = self._known(key)
        with contextlib.suppress(OSError):  # else a new member does not wait for this one to put the record back
            if _is_at(path, _knows.get(str(path), -1)):
                return
            descriptor = self._open(path, os.O_RDWR | os.O_CREAT)
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if str(path) not in _knows and len(_knows) >= MOST_KNOWN:
                os.write(descriptor, b"+")
                os.close(descriptor)
                return
            before, _knows[str(path)] = _knows.get(str(path)), descriptor
            if before is not None:
                os.close(before)

    def _release(self, key: str, fence: int) -> None:
        descriptor = _held.pop((str(self._file(key)), fence), None)
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._lease(key, fence))
            _unlock(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether that open file is the one that is found under that name."""
    try:
        there, here = os.stat(path), os.fstat(descriptor)
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _is_locked(path: Path) -> bool:
    """Whether a process that lives has that file's lock. The file is cleared away where none has; under the record's lock."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        if not _locks(descriptor):
            return True
        if not os.fstat(descriptor).st_size:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        return False
    finally:
        _unlock(descriptor)


def _unlock(descriptor: int) -> None:
    """Let go of a lock and close the file: closing alone would not do while a child that was forked just then has it, too."""
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _locks(descriptor: int) -> bool:
    """Take the lock of an open file, if no other open file has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _now_ms() -> int:
    return round(default_clock() * 1000)


def _boot() -> str:
    """What tells this boot from another."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # no Linux: the moment of the boot, to the minute
        return f"{(time.time() - default_clock()) / 60:.0f}"


def _fields(record: Record) -> list[tuple[str, Any]]:
    lease = None if record.lease is None else asdict(record.lease)
    names = [name for name in Record.__dataclass_fields__ if name != "lease"]
    return [*((name, getattr(record, name)) for name in names), ("lease", lease)]


def _record(content: dict[str, Any]) -> Record:
    """Read a record; raises ``TypeError`` where a value is none that we write."""
    values = _typed({name: content[name] for name in Record.__dataclass_fields__}, _KINDS)
    for name in _SECRETS:
        values[name] = None if values[name] is None else Secret(values[name])
    values["lease"] = None if values["lease"] is None else Lease(**_typed(values["lease"], _LEASE_KINDS))
    return Record(**values)


def _typed(values: dict[str, Any], kinds: dict[str, type]) -> dict[str, Any]:
    wrong = [name for name, kind in kinds.items() if type(values[name]) is not kind]
    if wrong:
        raise TypeError(*wrong)
    return values


def _wrong(option: str, problem: str) -> ConfigError:
    return ConfigError(problem, (option,), label=f"FileStore: {option}")

"""What `check --store` concludes from what it saw of a store that processes share: one pure function for each check."""

from __future__ import annotations

from dataclasses import dataclass

from oidc_actor.cli.findings import CLOCK_WARN_S, Finding, skipped

SLOW_S = 0.1
"""Seconds of a round trip from which on it is worth a word: members give up a call after half a second."""

ACL = (
    "~oa1:* &oa1:* +eval +evalsha +time +hgetall +hset +del +pexpireat +publish +spublish "
    "+subscribe +unsubscribe +ssubscribe +sunsubscribe +wait"
)
"""What a user of the server must be allowed, as ``ACL SETUSER`` takes it."""

_FIXES = {
    "AuthenticationError": "Give the user and the password that the server has, in OIDC_STORE: rediss://USER:PASSWORD@HOST.",
    "NOAUTH": "The server wants a password, in OIDC_STORE: rediss://USER:PASSWORD@HOST.",
    "NoPermissionError": f"Allow the user what members need: ACL SETUSER <user> {ACL}",
    "can't run this command": f"Allow the user what members need, in scripts too: ACL SETUSER <user> {ACL}",
    "ReadOnlyError": "This is a replica, which takes no writes: name the primary, or have Sentinel name it (RedisStore(client)).",
    "OutOfMemoryError": "The server is full: raise its maxmemory, or give it to the tokens alone. A record has a few kilobytes.",
    "MISCONF": "The server cannot write to its disk, and refuses to change anything: make room there.",
    "BusyLoadingError": "The server is loading its data: try again in a moment.",
    "MOVED": "This is a node of a cluster: a program needs RedisStore(lambda: RedisCluster(...)); check has no other way in.",
    "unknown command": "The server has no scripts (EVAL): a proxy in front of it, or a renamed command; members need them.",
    "protected mode": (
        "The server has no password, and so takes connections from its own machine only: give members a user with one, or for "
        "a trial start it with --requirepass PASSWORD."
    ),
    "Connection refused": "Nothing listens there: check the host and the port, and that the server runs.",
    "Name or service not known": "Check the host name, and this machine's DNS.",
    "name resolution": "Check the host name, and this machine's DNS.",
    "CERTIFICATE_VERIFY_FAILED": "Name the CA that signed the server's certificate: rediss://HOST?ssl_ca_certs=FILE.",
    "WRONG_VERSION_NUMBER": "There is no TLS at this port: use the port that speaks TLS, or redis:// where that is safe.",
    "closed by server": "Check the scheme: a server that speaks TLS ends so when redis:// asks; then use rediss://.",
    "reset by peer": "Check the scheme: a server that speaks TLS ends so when redis:// asks; then use rediss://.",
    "TimeoutError": (
        "The server does not answer in time: check host and port, a firewall between, whether it is paused, and, where the "
        "address begins with rediss://, whether it speaks TLS at this port."
    ),
    "does not keep": "The server throws records away (see store eviction), or what answers there is no Redis or Valkey.",
}
"""What to do, by words of a client's error; the first that is found."""


def fix_of(error: str) -> str:
    """What to do about an error of the server or of the way to it."""
    found = (fix for words, fix in _FIXES.items() if words in error)
    return next(found, "Check the address, the network, and that the server runs.")


def kind_of(error: str) -> str:
    """What an error is, without its text, which may quote what was sent."""
    return next((words for words in _FIXES if words in error), "an error")


def judge_reached(host: str, version: str | None, *, is_plain: bool) -> Finding:
    """How the server is reached.

    Args:
        host: Where it is.
        version: What it says it is; `None` where it does not say.
        is_plain: Whether anyone on the way can read along.
    """
    found = f"{host} answers" + (f": {version}" if version else "")
    if is_plain:
        return Finding(
            "store", "warn", f"{found}, in plain text: its password is readable on the way", "Use rediss://."
        )
    return Finding("store", "pass", found)


def judge_trip(trip_s: float) -> Finding:
    """How long a round trip takes."""
    found = f"{trip_s * 1000:.1f} ms for one round trip; a member needs one to adopt a token, and two to share one"
    if trip_s < SLOW_S:
        return Finding("store trip", "pass", found)
    fix = "Use a server that is nearer. A call that takes over half a second (timeout_seconds) fails, and members go alone."
    return Finding("store trip", "warn", found, fix)


def judge_clock(ahead_s: float, uncertain_s: float) -> Finding:
    """How the store's clock goes with this machine's.

    Args:
        ahead_s: Seconds by which it is ahead.
        uncertain_s: Seconds by which that may be wrong.
    """
    if abs(ahead_s) - uncertain_s <= CLOCK_WARN_S:
        return Finding("store clock", "pass", "the store's clock and this machine's agree")
    direction = "ahead of" if ahead_s > 0 else "behind"
    found = f"the store's clock is {abs(ahead_s):.0f} s {direction} this machine's"
    fix = (
        "Set both by NTP. Tokens end by the store's clock alone, so nothing breaks now; after a failover to a server whose clock "
        "is behind, a token would be taken for valid that much too long."
    )
    return Finding("store clock", "warn", found, fix)


def judge_eviction(policy: str | None, max_bytes: int | None, *, is_login: bool) -> Finding:
    """What the server throws away when it is full. Every record has an expiry, so that ``volatile-*`` takes them, too.

    Args:
        policy: Its ``maxmemory-policy``; `None` where it does not say.
        max_bytes: Its ``maxmemory``, 0 for no bound; `None` where it does not say.
        is_login: Whether what is shared is a `RefreshToken`'s login.
    """
    if policy is None:
        return skipped(
            "store eviction", "cannot be told: this user may ask neither INFO nor CONFIG GET; ask for noeviction"
        )
    if policy == "noeviction":
        return Finding("store eviction", "pass", "noeviction: nothing is thrown away when the server is full")
    when = "; there is no bound now (maxmemory 0), so none is yet" if max_bytes == 0 else ""
    what = "a login that is thrown away is lost" if is_login else "a record that is thrown away costs a request"
    found = f"{policy}: records may be thrown away when the server is full{when}; {what}"
    fix = "Set maxmemory-policy noeviction, or use a server that keeps the tokens alone."
    return Finding("store eviction", "fail" if is_login else "warn", found, fix)


def judge_persistence(aof: bool | None, save: str | None, *, is_login: bool) -> Finding:
    """What outlives a restart of the server.

    Args:
        aof: Whether it has an append-only file; `None` where it does not say.
        save: Its ``save``, empty for no snapshots; `None` where it does not say.
        is_login: Whether what is shared is a `RefreshToken`'s login.
    """
    if aof:
        return Finding("store disk", "pass", "an append-only file: records outlive a restart of the server")
    if aof is None or save is None:
        return skipped(
            "store disk", "cannot be told: this user may ask neither INFO nor CONFIG GET; a login wants appendonly yes"
        )
    kept = (
        "snapshots only: what came after the last one is lost with the server" if save else "none: a restart empties it"
    )
    if not is_login:
        return Finding("store disk", "pass", f"{kept}; members put back what they know, or make one request")
    fix = "Set appendonly yes, and have a replica (wait_replicas=1): where all members are gone too, the login would be lost."
    return Finding("store disk", "warn", kept, fix)


# --- a directory ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DirectoryFacts:
    """A directory as it is.

    Attributes:
        path: Its path.
        mode: Its permissions.
        owner: Its owner's number.
        user: The number of the user who looks.
        is_sealed: Whether there are keys.
        may_write: Whether this user may make files in it.
    """

    path: str
    mode: int
    owner: int
    user: int
    is_sealed: bool
    may_write: bool


def judge_directory(facts: DirectoryFacts) -> Finding:
    """Whether a directory is its user's alone."""
    path = facts.path
    if facts.owner != facts.user and not facts.is_sealed:
        found = f"{path} belongs to user {facts.owner}, and this is user {facts.user}: without keys it must be the members' own"
        return Finding("store", "fail", found, f"Run check as the user of the members, or chown {facts.user} {path}")
    forbidden = 0o007 if facts.is_sealed else 0o077
    if facts.mode & forbidden:
        found = f"{path} has mode {facts.mode:04o}: others may open it"
        return Finding("store", "fail", found, f"chmod {facts.mode & ~forbidden:04o} {path}")
    if not facts.may_write:
        found = f"{path} has mode {facts.mode:04o}, and this user may make no file in it"
        return Finding(
            "store", "fail", found, f"Run check as the user of the members, or chmod {facts.mode | 0o700:04o} {path}"
        )
    return Finding("store", "pass", f"{path} has mode {facts.mode:04o}, and belongs to user {facts.owner}")


NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "gfs2", "ocfs2"}
    | {"beegfs", "fuse.sshfs", "fuse.s3fs", "fuse.glusterfs"}
)
"""File systems whose locks other hosts need not see, or see late."""

MEMORY = frozenset({"tmpfs", "ramfs", "overlay", "aufs"})
"""Those that end with the machine or the container."""


def judge_file_system(kind: str | None, *, is_login: bool) -> Finding:
    """Whether a file system has the locks of one host, and outlives it.

    Args:
        kind: Its type; `None` where that cannot be told.
        is_login: Whether what is shared is a `RefreshToken`'s login.
    """
    if kind is None:
        return skipped("store disk", "cannot be told here; a network file system will not do")
    if kind in NETWORK:
        found = f"{kind}: a network file system, where a lock holds late, or for one host only"
        return Finding(
            "store disk", "fail", found, "Use a directory on a disk of this host; for many hosts Redis or Valkey."
        )
    if kind in MEMORY and is_login:
        found = f"{kind}: what is kept ends with the machine or the container, and the login with it"
        return Finding("store disk", "warn", found, "Use a directory on a disk, or a volume that is mounted.")
    return Finding("store disk", "pass", f"{kind}: a file system of this host")


def judge_locks(works: bool) -> Finding:
    """Whether a lock of the kernel's keeps a second one out."""
    if works:
        return Finding("store locks", "pass", "flock keeps a second one out")
    fix = "Use a directory on another file system; for many hosts Redis or Valkey."
    return Finding("store locks", "fail", "flock keeps no second one out here: two members would write at once", fix)


# --- keys and the record ----------------------------------------------------------------------------------------------


def judge_keys(count: int, problem: str | None) -> Finding:
    """Whether the keys can be used.

    Args:
        count: How many there are.
        problem: Why one cannot; `None` where each can.
    """
    if problem is not None:
        return Finding(
            "store keys", "fail", problem, "Give the file what `oidc-actor fleet-key` prints: 44 characters, one line."
        )
    if not count:
        return Finding("store keys", "pass", "none: what is kept is as safe as the directory")
    return Finding(
        "store keys", "pass", "1 key, which seals" if count == 1 else f"{count} keys; the first seals, all open"
    )


def judge_record(gen: int, opened_by: int | None, count: int, left_s: float | None, *, is_login: bool) -> Finding:
    """Whether the keys open the record of these options.

    Args:
        gen: Its generation; 0 where there is none.
        opened_by: The number of the key that opens it, from 1; 0 where it is not sealed, `None` where none does.
        count: How many keys there are.
        left_s: Seconds that its token still lives; `None` where it has ended.
        is_login: Whether what is shared is a `RefreshToken`'s login.
    """
    if not gen:
        found = (
            "no record yet: no member has shared a token with these options. Where members run, theirs differ: issuer, client, "
            "scopes, audience, resource, extra, namespace, store_key"
        )
        return Finding("store record", "pass", found)
    if left_s is None:
        return skipped("store record", "there is one, but its token has ended, so that there is nothing to open")
    lives = f"its token lives {left_s:.0f} s more"
    if opened_by is None:
        fix = (
            "Give all members the same keys, and this command: the one that the record was sealed with is missing here."
        )
        if is_login:
            found = f"no key here opens it; {lives}. Members with these keys never get the login, and wait for ever"
            return Finding("store record", "fail", found, fix)
        found = (
            f"no key here opens it; {lives}. Members with these keys take it for absent and overwrite it: more requests"
        )
        return Finding("store record", "warn", found, fix)
    if opened_by > 1:
        fix = f"Keep key {opened_by} until the token has been renewed: then the first key seals it."
        return Finding("store record", "pass", f"key {opened_by} of {count} opens it; {lives}", fix)
    how = "it can be read" if not opened_by else f"key 1 of {count} opens it"
    return Finding("store record", "pass", f"{how}; {lives}: a member with these options starts without a request")


def judge_steps(took_s: float | None, error: str | None, by: str, *, is_file: bool = False) -> Finding:
    """Whether the steps of a store work: a record of this command's own, claimed, shared and adopted.

    Args:
        took_s: Seconds that all of it took; `None` where it failed.
        error: Why it failed; `None` where it did not.
        by: What the store does that with.
        is_file: Whether it is a directory.
    """
    if error is not None and is_file:
        return Finding(
            "store steps", "fail", error, "Make room on the disk, or mend the permissions of the files there."
        )
    if error is not None:
        return Finding("store steps", "fail", error, fix_of(error))
    took_ms = 1000 * (took_s or 0.0)
    found = f"a record of this command's own was claimed, shared and adopted in {took_ms:.0f} ms, by {by}"
    return Finding("store steps", "pass", found)

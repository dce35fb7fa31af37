"""A fleet of real processes, as a test has it: hosts (`fleet/worker.py`) that fork members, and what those say."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from fleet.servers import Server, redis_server, valkey_server
from oidc_actor import Password
from oidc_actor.oidc import OIDCConfig, get_token
from oidc_actor.sharing.sealing import new_key
from oidc_actor.testing import Provider

PROGRAM = Path(__file__).with_name("worker.py")
DEADLINE_S = 60.0
EARLY = 0.4
"""Share of a life after which its token may be refreshed."""

LATE_S = 3.0
"""Seconds that a request may be on its way, on a busy machine."""


@dataclass
class Member:
    """What is known of one process."""

    number: int
    pid: int = 0
    said: dict[str, Any] = field(default_factory=dict)
    gone: bool = False
    stopped_at: float | None = None

    @property
    def has_token(self) -> bool:
        return bool(self.said.get("token"))


class Host:
    """One spawned process that forks members."""

    def __init__(self, settings: dict[str, Any], hear: Callable[[dict[str, Any]], None]) -> None:
        command = [sys.executable, "-W", "ignore::DeprecationWarning", str(PROGRAM)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            start_new_session=True,
            env=environment,
        )
        self.tell(settings)
        self._hear = hear
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def tell(self, command: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._hear(json.loads(line))

    def said(self) -> str:
        """What it and its members wrote on their standard error."""
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace")

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self.process.stdin.close()  # type: ignore[union-attr]
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        self._listener.join(10)
        self.process.stdout.close()  # type: ignore[union-attr]
        self.errors.close()


class Requests:
    """When a provider got its token requests."""

    def __init__(self, provider: Any) -> None:
        self.provider, self.before = provider, provider.token_requests
        self.at: list[float] = []
        self._over = False
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over:
            known = self.before + len(self.at)
            if self.provider.wait_for_requests(known + 1, timeout_s=0.2):
                self.at += [time.monotonic()] * (self.provider.token_requests - known)

    def lives(self, life_s: float, granted: list[float] | None = None) -> int:
        """How many of the requests began a life; each other one is extra.

        A life counts from before its request was sent, which a busy machine sends and answers late. Where each was made under a
        grant, the store says when that was.
        """
        known = self.at if granted is None or len(granted) < len(self.at) else sorted(granted)
        shortest_s = max(EARLY * life_s - LATE_S, 0.25 * life_s)
        count, last = 0, -1e9
        for at in known:
            if at - last >= shortest_s:
                count, last = count + 1, at
        return count

    def told(self) -> list[float]:
        """Seconds from each request to the next."""
        return [round(after - before, 2) for before, after in pairwise(self.at)]

    def end(self) -> None:
        self._over = True
        self._thread.join(5)


class Fleet:
    """Members, their provider, and their store."""

    def __init__(self, processes: int, *, life_s: float, stack: ExitStack) -> None:
        self.processes, self.life_s = processes, life_s
        self._stack = stack
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.provider: Any = stack.enter_context(Provider(token_lifetime_s=life_s))
        self.scopes: list[str] = []
        self.server: Server | None = None
        self.members: dict[int, Member] = {}
        self.grants: list[int] = []
        self.granted_at: list[float] = []
        self.raised: list[str] = []
        self._hosts: list[Host] = []
        self._heard = threading.Condition()  # guards all that members say
        self.settings: dict[str, Any] = {
            "token_endpoint": self.provider.token_endpoint,
            "resource": self.provider.resource_url,
            "every_s": 0.02 if processes <= 16 else 0.1,
            "store": None,
        }
        self.use_client()
        self.requests: Requests | None = None

    # --- what they are --------------------------------------------------------------------------------------------------

    def use_redis(self, kind: str = "redis", *options: str, timeout_s: float | None = None) -> Server:
        """A server of its own; with few members the suite plays several fleets at a time, on a machine that is busy."""
        timeout_s = timeout_s or (2.0 if self.processes <= 16 else 0.5)
        start = redis_server if kind == "redis" else valkey_server
        self.server = self._stack.enter_context(start(*options))
        self.settings["store"] = {"url": self.server.url, "keys": [new_key()], "timeout_seconds": timeout_s}
        return self.server

    def use_file(self) -> None:
        self.settings["store"] = {"path": str(self.folder / "tokens")}

    def use_npm(self) -> None:
        """The certified provider, in place of the embedded one."""
        from integration.node_provider import running

        from fleet.npm import SCOPES, Npm

        node = self._stack.enter_context(running(token_lifetime_s=round(self.life_s)))
        self.provider = Npm(node, self.life_s)
        self.scopes = SCOPES
        self.settings |= {"token_endpoint": self.provider.token_endpoint, "resource": self.provider.resource_url}
        self.settings |= {"life_s": self.life_s}
        self._log_in()  # the first login takes it seconds, in which it counts nothing

    def use_client(self) -> None:
        given = {"client_id": self.provider.client_id, "client_secret": self.provider.client_secret}
        self.settings["auth"] = {"kind": "client", **given}

    def use_password(self) -> None:
        user = {"username": self.provider.username, "password": self.provider.password}
        self.use_client()
        self.settings["auth"] |= {"kind": "password", **user, **({"scopes": self.scopes} if self.scopes else {})}

    def use_login(self) -> None:
        """Log in once; members have the refresh token and nothing else."""
        self.use_client()
        self.settings["auth"] |= {"kind": "login", "refresh_token": self._log_in()}

    def _log_in(self) -> str | None:
        provider = self.provider
        user = (provider.username, provider.password, provider.client_id, provider.client_secret)
        auth = Password(*user, scopes=self.scopes)
        return get_token(OIDCConfig(token_endpoint=provider.token_endpoint), auth).refresh_token

    # --- their life -----------------------------------------------------------------------------------------------------

    def host(self, **more: Any) -> Host:
        """Spawn one more host."""
        host = Host({**self.settings, **more}, self._hear)
        self._hosts.append(host)
        return host

    def start(self, count: int | None = None, *, hosts: int = 2, **command: Any) -> None:
        """Start members, in turns on hosts that are spawned before."""
        count = self.processes if count is None else count
        if self.requests is None:
            self.requests = Requests(self.provider)
        while len(self._hosts) < max(hosts, count // 8):
            self.host()
        for _ in range(count):
            self.start_one(**command)

    def start_one(self, host: Host | None = None, **command: Any) -> int:
        number = len(self.members)
        with self._heard:
            self.members[number] = Member(number)
        (host or self._hosts[number % len(self._hosts)]).tell({"start": number, **command})
        return number

    def _hear(self, said: dict[str, Any]) -> None:
        with self._heard:
            member = self.members.setdefault(said["number"], Member(said["number"]))
            member.pid = said["pid"]
            if "raised" in said:
                self.raised.append(said["raised"])
                member.gone = True
            elif "granted" in said:
                self.grants.append(member.number)
                self.granted_at.append(said["granted"] / 1000)  # a fence is what the store's clock says
            else:
                member.said = said
            self._heard.notify_all()

    def until(self, condition: Callable[[], object], what: str, timeout_s: float = DEADLINE_S) -> None:
        """Wait until what members say, or a provider's count, fulfils a condition."""
        ends_at = time.monotonic() + timeout_s
        with self._heard:
            while not condition():
                left_s = ends_at - time.monotonic()
                assert left_s > 0, f"not within {timeout_s:g} s: {what}"
                self._heard.wait(min(left_s, 0.05))

    @property
    def present(self) -> list[Member]:
        return [member for member in self.members.values() if not member.gone]

    @property
    def running(self) -> list[Member]:
        return [member for member in self.present if member.stopped_at is None]

    def ready(self) -> None:
        """Wait until each has a token."""
        self.until(lambda: all(member.has_token for member in self.present), "each member has a token")

    def alike(self) -> None:
        """Wait until all have the same token."""
        self.until(lambda: len(self.tokens()) == 1, "all members have the same token")

    def shared(self) -> None:
        """Wait until all share."""
        self.until(lambda: all(m.said.get("sharing") == "shared" for m in self.present), "all members share")

    def tokens(self) -> set[str]:
        return {member.said.get("token") or "none" for member in self.present}

    def live(self, lives: int) -> None:
        """Wait until so many more lives have begun, and all have the last one's token."""
        assert self.requests is not None
        wanted = max(1, self.lives()) + lives
        what = f"{lives} more lives"
        self.until(lambda: self.lives() >= wanted, what, 3 * lives * self.life_s + DEADLINE_S)
        self.alike()

    def lives(self) -> int:
        return 0 if self.requests is None else self.requests.lives(self.life_s)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, while the members read."""
        threading.Event().wait(seconds)

    def next_grant(self, timeout_s: float = DEADLINE_S) -> int:
        """Wait for the next grant; whose it is."""
        before = len(self.grants)
        self.until(lambda: len(self.grants) > before, "a claim is granted", timeout_s)
        return self.grants[-1]

    def signal(self, number: int, what: signal.Signals) -> None:
        member = self.members[number]
        if member.pid and not member.gone:
            with contextlib.suppress(ProcessLookupError):
                os.kill(member.pid, what)

    def kill(self, number: int) -> None:
        self.signal(number, signal.SIGKILL)
        self.members[number].gone = True

    def stop(self, number: int) -> None:
        self.signal(number, signal.SIGSTOP)
        self.members[number].stopped_at = time.monotonic()

    def let_go_on(self, after_s: float = 0.0) -> None:
        """Have those go on that have been stopped for so long."""
        now = time.monotonic()
        for member in self.present:
            if member.stopped_at is not None and now - member.stopped_at >= after_s:
                self.signal(member.number, signal.SIGCONT)
                member.stopped_at = None

    def end(self) -> None:
        """Have each say the last, and end."""
        for member in self.present:
            self.signal(member.number, signal.SIGCONT)
            self.signal(member.number, signal.SIGTERM)
        try:
            self.until(lambda: all("taken" in member.said for member in self.present), "each member says its last", 20)
        finally:
            if self.requests is not None:
                self.requests.end()

    def close(self) -> None:
        if self.requests is not None:
            self.requests.end()
        for host in self._hosts:
            host.end()

    def heard(self) -> str:
        """What all wrote on their standard error."""
        return "".join(host.said() for host in self._hosts if not host.errors.closed)


@contextmanager
def fleet(processes: int, *, life_s: float) -> Iterator[Fleet]:
    """A fleet without members yet; all end with the block."""
    with ExitStack() as stack:
        made = Fleet(processes, life_s=life_s, stack=stack)
        try:
            yield made
        finally:
            made.close()

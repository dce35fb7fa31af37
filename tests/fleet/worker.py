"""A host of members, as a program: each line of its input is a command, each line of its output what a member says, in JSON.

The first line has the settings. ``{"start": 3}`` forks member 3, which starts a manager and reads its token all the while. A host
that was told to load first starts a manager of its own before it forks, as gunicorn does with ``--preload``.

A member obeys signals: SIGUSR1, complain about the token that it has; SIGUSR2, wish for another one; SIGTERM, say whether the
provider takes its token, and end. It says four times a second what it has seen, and at once when a claim of its own is granted.
"""

from __future__ import annotations

import base64
import importlib
import json
import os
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from typing import Any

from oidc_actor import ClientCredentials, NoTokenError, OIDCConfig, Password, RefreshToken, SecretFile, TokenManager
from oidc_actor.sharing import FileStore, RedisStore, redis_scripts, redis_store
from oidc_actor.sharing.store import Granted, Newer, Shared
from oidc_actor.values.errors import StoreError

NAME = "fleet.token"
CALLS = ("claim", "renew", "share", "give_up", "restore", "look")
SIGNALS = {signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM}
real_time = time.time


def say(**fields: Any) -> None:
    """One line, which no other process's interrupts: it is shorter than a pipe's buffer."""
    os.write(1, (json.dumps(fields) + "\n").encode())


class Calls:
    """What a member's store was asked."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.reader: int | None = None
        self.stops_at_grant = False
        self.count = self.adopted = self.shared = self.by_reader = 0
        self.worst_s = self.queued_s = 0.0
        self.errors: Counter[str] = Counter()

    def made(self, took_s: float, queued_s: float, answer: object) -> None:
        self.count += 1
        if took_s > self.worst_s:
            self.worst_s, self.queued_s = took_s, queued_s
        self.by_reader += threading.get_ident() == self.reader
        self.adopted += isinstance(answer, Newer)
        self.shared += isinstance(answer, Shared)
        if isinstance(answer, Granted) and self.number is not None:
            say(number=self.number, pid=os.getpid(), granted=answer.fence)
            if self.stops_at_grant:
                self.stops_at_grant = False
                os.kill(os.getpid(), signal.SIGSTOP)


CALLS_MADE = Calls()


def queued_s() -> float:
    """How long this thread has waited for a processor so far."""
    try:
        with open("/proc/thread-self/schedstat") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, IndexError):  # no Linux, or one that does not count it
        return 0.0


def told(store: type) -> type:
    """A store's class whose instances tell of each call."""

    def wrap(name: str) -> Any:
        original = getattr(store, name)

        def call(self: Any, *args: Any) -> Any:
            began, queued, answer = time.monotonic(), queued_s(), None
            try:
                answer = original(self, *args)
            except StoreError as error:
                CALLS_MADE.errors[f"{name}: {error}"] += 1
                raise
            finally:
                CALLS_MADE.made(time.monotonic() - began, queued_s() - queued, answer)
            return answer

        return call

    return type(store.__name__, (store,), {name: wrap(name) for name in CALLS})


def store_of(asked: dict[str, Any]) -> Any:
    """The store that the settings say."""
    given = asked["store"]
    if given is None:
        return None
    keys = [SecretFile(path) for path in given.get("key_files", [])] or given.get("keys")
    if "path" in given:
        return told(FileStore)(given["path"], namespace="fleet", keys=keys)
    timeout_s = given.get("timeout_seconds", 0.5)
    return told(RedisStore).from_url(given["url"], namespace="fleet", keys=keys, timeout_seconds=timeout_s)


def auth_of(asked: dict[str, Any], number: int) -> Any:
    """The credentials; where there are variants, each member has one."""
    kind, given = asked["auth"]["kind"], dict(asked["auth"])
    given.pop("kind")
    variants = given.pop("variants", None)
    if variants:
        given |= variants[number % len(variants)]
    return {"client": ClientCredentials, "password": Password, "login": RefreshToken}[kind](**given)


def claims_of(text: str) -> dict[str, Any]:
    """What a JWT says; nothing is verified."""
    middle = text.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    return found


class Reader(threading.Thread):
    """Reads all the while, and keeps what it saw."""

    def __init__(self, asked: dict[str, Any], auth: Any) -> None:
        super().__init__(daemon=True)
        self.every_s, self.life_s = asked["every_s"], asked.get("life_s", 0.0)
        self.whose = {"client_id": auth.client_id}
        if auth.scopes:
            self.whose["scope"] = " ".join(auth.scopes)
        self.began = time.monotonic()
        self.text: str | None = None
        self.ends_at = 0.0
        self.rejected: set[str] = set()
        self.reads = self.failed = self.expired = self.foreign = self.again = self.tokens = 0
        self.worst_s = self.first_s = self.gap_s = 0.0
        self.failed_at: float | None = None

    def run(self) -> None:
        CALLS_MADE.reader = threading.get_ident()
        pause = threading.Event()
        while not pause.wait(self.every_s):
            self.read()

    def read(self) -> None:
        began = time.perf_counter()
        try:
            text = TokenManager.get_access_token(NAME, timeout=0)
        except NoTokenError:
            text = None
        now = time.perf_counter()
        if text is None:
            if self.text is not None:  # after the first
                self.failed += 1
                self.failed_at = self.failed_at or began
            return
        if self.failed_at is not None:
            self.gap_s, self.failed_at = max(self.gap_s, now - self.failed_at), None
        self.reads += 1
        self.worst_s = max(self.worst_s, now - began)
        if text != self.text:
            self.look_at(text)
        self.expired += real_time() > self.ends_at
        self.again += text in self.rejected

    def look_at(self, text: str) -> None:
        if text.count(".") == 2:
            claims = claims_of(text)
            self.ends_at = claims["exp"]
            self.foreign += any(claims.get(name) != value for name, value in self.whose.items())
        else:  # it says nothing of itself: it lives no longer than this, and at the end the provider is asked
            self.ends_at = real_time() + self.life_s
        self.first_s = self.first_s or time.monotonic() - self.began
        self.tokens += 1
        self.text = text

    def told(self) -> dict[str, Any]:
        names = ("reads", "failed", "expired", "foreign", "again", "tokens", "worst_s", "first_s", "gap_s")
        return {name: getattr(self, name) for name in names}


def tell(number: int, reader: Reader, **more: Any) -> None:
    health = TokenManager.health(NAME)
    say(
        number=number,
        pid=os.getpid(),
        token=None if reader.text is None else reader.text[-12:],
        sharing=health.sharing,
        error=health.store_error,
        last=None if health.last_error is None else str(health.last_error),
        calls=CALLS_MADE.count,
        adopted=CALLS_MADE.adopted,
        shared=CALLS_MADE.shared,
        by_reader=CALLS_MADE.by_reader,
        worst_call_s=CALLS_MADE.worst_s,
        queued_s=CALLS_MADE.queued_s,
        errors=dict(CALLS_MADE.errors.most_common(5)),
        **reader.told(),
        **more,
    )


def is_taken(url: str, text: str | None) -> bool:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {text}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError:
        return False


def start_manager(asked: dict[str, Any], number: int) -> Any:
    auth = auth_of(asked, number)
    given = dict(asked.get("options", {}))
    given |= {"oidc_config": OIDCConfig(token_endpoint=asked["token_endpoint"])}
    TokenManager.start_link(name=NAME, auth=auth, store=store_of(asked), **given)
    return auth


def member(asked: dict[str, Any], number: int, *, stops_at_grant: bool, has_manager: bool) -> None:
    """Be one member, until told to end."""
    host = os.getppid()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    CALLS_MADE.__init__()  # type: ignore[misc]
    CALLS_MADE.number, CALLS_MADE.stops_at_grant = number, stops_at_grant
    ahead_s = asked.get("ahead_s")
    if ahead_s:
        by = ahead_s[number % len(ahead_s)]
        time.time = lambda: real_time() + by
    auth = auth_of(asked, number) if has_manager else start_manager(asked, number)
    reader = Reader(asked, auth)
    reader.start()
    while os.getppid() == host:
        got = signal.sigtimedwait(SIGNALS, 0.25)
        if got is None:
            tell(number, reader)
        elif got.si_signo == signal.SIGUSR1 and reader.text is not None:
            text = reader.text
            TokenManager.force_refresh(NAME, rejected=text)
            reader.rejected.add(text)
        elif got.si_signo == signal.SIGUSR2:
            TokenManager.force_refresh(NAME)
        elif got.si_signo == signal.SIGTERM:
            tell(number, reader, taken=is_taken(asked["resource"], reader.text) if asked.get("resource") else True)
            break


def change_store_clock(ahead_s: int) -> None:
    """Have the server's clock, as the scripts read it, be ahead."""
    for name in ("CLAIM", "RENEW", "SHARE", "GIVE_UP", "RESTORE", "LOOK"):
        script = getattr(redis_scripts, name)
        source = script.source.replace("time[1] * 1000", f"(time[1] + {ahead_s}) * 1000")
        assert source != script.source
        setattr(redis_store, name, script._replace(source=source))


def load(asked: dict[str, Any]) -> None:
    """Import what members use, once and not in each of them: 64 processes that import at the same time have two cores here."""
    store_of(asked)
    importlib.import_module("oidc_actor.http.client")
    if asked["store"] is not None and asked["store"].get("keys"):
        importlib.import_module("cryptography.fernet")


def main() -> None:
    """Fork members as told; all end with this process."""
    asked = json.loads(sys.stdin.readline())
    if asked.get("store_ahead_s"):
        change_store_clock(asked["store_ahead_s"])
    load(asked)
    if asked.get("loads_first"):
        start_manager(asked, 0)
        TokenManager.get_access_token(NAME, timeout=20)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps the members
    for line in sys.stdin:
        command = json.loads(line)
        if os.fork():
            continue
        status = 1
        try:
            stops = bool(command.get("stops_at_grant"))
            member(asked, command["start"], stops_at_grant=stops, has_manager=bool(asked.get("loads_first")))
            status = 0
        except BaseException as error:
            say(number=command["start"], pid=os.getpid(), raised=f"{type(error).__name__}: {error}")
        finally:
            os._exit(status)
    os.killpg(0, signal.SIGKILL)  # a process group of its own: the members, also those that are stopped, and this one


if __name__ == "__main__":
    main()

"""A token that processes share on a real Redis: what reads, adoptions, and thousands of managers at rest cost.

It needs `redis-server` and is left out, and says so, where there is none.
"""

from __future__ import annotations

import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import repeat

from figures import Figure, at_most, median_ratio, percentile

from oidc_actor import ClientCredentials, OIDCConfig, TokenManager
from oidc_actor.sharing import RedisStore
from oidc_actor.sharing.sealing import new_key
from oidc_actor.transport import Request, Response

CONFIG = OIDCConfig(token_endpoint="https://auth.invalid/token")
AT_REST = 1_000
MEMBERS, LIFE_S = 8, 10.0
EARLIEST = 0.35  # of a life: a refresh is due when 0.4 to 0.5 of it are over


def run(*, quick: bool) -> list[Figure]:
    """Measure each against one server."""
    if shutil.which("redis-server") is None:
        print("  left out: no redis-server here", flush=True)
        return []
    with server() as port:
        url, key = f"redis://127.0.0.1:{port}/0", new_key()
        figures = _reads(url, key, rounds=25 if quick else 100)
        figures += _adoptions(url, key, seconds=30 if quick else 120)
        return figures + _at_rest(url, key, port, processes=2 if quick else 8, seconds=15 if quick else 60)


@contextmanager
def server() -> Iterator[int]:
    """A server on a free port, with nothing on disk."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            for _ in range(200):
                try:
                    ask(port, "PING")
                    break
                except OSError:
                    time.sleep(0.05)
            yield port
        finally:
            process.kill()
            process.wait()


def ask(port: int, *words: str) -> str:
    """One command; the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as link:
        link.sendall((f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)).encode())
        return link.recv(1 << 20).decode()


def store_of(url: str, key: str, *, notify: bool = False) -> RedisStore:
    """The store, as each process describes it."""
    return RedisStore.from_url(url, namespace="bench", keys=[key], timeout_seconds=2.0, notify=notify)


class Grants:
    """Answers each request at once; a token's text says when."""

    def __init__(self, lifetime_s: float) -> None:
        self.lifetime_s = lifetime_s
        self.at: list[float] = []

    def __call__(self, request: Request, /) -> Response:
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        self.at.append(now)
        answer = {"access_token": f"{now:.6f}.".ljust(600, "t"), "token_type": "Bearer", "expires_in": self.lifetime_s}
        return Response(200, {}, json.dumps(answer))


# --- the read path ----------------------------------------------------------------------------------------------------


def _reads(url: str, key: str, *, rounds: int) -> list[Figure]:
    """Processor time of a read by name, with a store and without, in turns."""
    given = {"auth": ClientCredentials("reads", "s"), "oidc_config": CONFIG, "transport": Grants(36_000.0)}
    TokenManager.start_link(name="with", store=store_of(url, key), **given)  # type: ignore[arg-type]
    TokenManager.start_link(name="without", **given)  # type: ignore[arg-type]
    times: dict[str, list[float]] = {"with": [], "without": []}
    for name in times:
        TokenManager.get_access_token(name)
    for number in range(rounds):
        for name in list(times)[:: 1 if number % 2 else -1]:
            times[name].append(_loop(name))
    ratio = median_ratio(times["with"], times["without"])
    for name in times:
        TokenManager.stop(name)
    value = statistics.median(times["with"])
    what = "a read with a store"
    return [Figure("fleet", what, value, "ns", ratio, "without", **at_most(1.05, ratio, "1.0x"))]


def _loop(name: str, often: int = 10_000) -> float:
    get = TokenManager.get_access_token
    began = time.thread_time_ns()
    for _ in repeat(None, often):
        get(name)
    return (time.thread_time_ns() - began) / often


# --- adoptions --------------------------------------------------------------------------------------------------------


def _adoptions(url: str, key: str, *, seconds: float) -> list[Figure]:
    """Processes that share one token, and how long each is without the newest."""
    command = [sys.executable, __file__, url, key, str(seconds)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(MEMBERS)]
    answers = [json.loads(process.communicate(timeout=seconds + 60)[0]) for process in started]
    asked_at = sorted(at for answer in answers for at in answer["asked_at"])
    lags = [lag for answer in answers for lag in answer["lags"]]
    lives, last = 0, -1e9
    for at in asked_at:
        if at - last >= EARLIEST * LIFE_S:
            lives, last = lives + 1, at
    each = len(asked_at) / lives
    label = f"{MEMBERS} processes, tokens of {LIFE_S:g} s"
    return [
        Figure("fleet", f"{label}: requests for each life", each, "", **at_most(1.0, each)),
        Figure("fleet", f"{label}: adoption lag, p50", percentile(lags, 0.5), "s"),
        Figure(
            "fleet", f"{label}: adoption lag, p95", percentile(lags, 0.95), "s", **at_most(2.5, percentile(lags, 0.95))
        ),
    ]


def member(url: str, key: str, seconds: float) -> None:
    """One of those processes: print when it asked, and how late each token of another's came."""
    grants, lags, last = Grants(LIFE_S), [], ""
    auth = ClientCredentials("adoptions", "s")
    TokenManager.start_link(name="m", auth=auth, oidc_config=CONFIG, transport=grants, store=store_of(url, key))
    ends_at, pause = time.monotonic() + seconds, threading.Event()
    while time.monotonic() < ends_at:
        text = TokenManager.get_access_token("m")
        if text != last:
            at = float(text.rstrip("t").rstrip("."))
            if last and not any(abs(at - own) < 1e-5 for own in grants.at):
                lags.append(time.clock_gettime(time.CLOCK_BOOTTIME) - at)
            last = text
        pause.wait(0.002)
    print(json.dumps({"asked_at": grants.at, "lags": lags}))


# --- at rest ----------------------------------------------------------------------------------------------------------


def _at_rest(url: str, key: str, port: int, *, processes: int, seconds: float) -> list[Figure]:
    """Processes that have the same managers, whose tokens live long: what their looks cost, and their connections."""
    found = {notify: _rest(url, key, port, processes, seconds, notify) for notify in (False, True)}
    shares, calls_each, links = found[False]
    notified, _, notified_links = found[True]
    label = f"{processes} processes, {AT_REST:,} managers in each, at rest"
    return [
        Figure("fleet", f"{label}: processor time", shares[-1], "% of a core", **at_most(1.0, shares[-1])),
        Figure("fleet", f"{label}, notify: processor time", notified[-1], "% of a core", **at_most(1.0, notified[-1])),
        Figure("fleet", f"{label}: store calls of a process", calls_each, "/s"),
        Figure("fleet", f"{label}: connections of a process", links, "", **at_most(1, links)),
        Figure("fleet", f"{label}, notify: connections", notified_links, "", **at_most(2, notified_links)),
    ]


def _rest(
    url: str, key: str, port: int, processes: int, seconds: float, notify: bool
) -> tuple[list[float], float, float]:
    """The processes' shares of a core, the calls of a process in a second, the connections of a process."""
    command = [sys.executable, __file__, "rest", url, key, str(seconds), str(int(notify))]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = [subprocess.Popen(command, **pipes) for _ in range(processes)]  # type: ignore[call-overload]
    try:
        for process in started:
            assert process.stdout.readline() == "ready\n"
        threading.Event().wait(15.0)  # each record has been seen by each process
        calls, began = _calls(port), time.perf_counter()
        for process in started:
            process.stdin.write("begin\n")
            process.stdin.flush()
        links = ask(port, "CLIENT", "LIST").count(" addr=") - 1
        shares = sorted(float(process.stdout.readline()) for process in started)
        each = (_calls(port) - calls) / (time.perf_counter() - began) / processes
    finally:
        for process in started:
            process.kill()
            process.communicate()
    return shares, each, links / processes


def rest(url: str, key: str, seconds: float, *, notify: bool) -> None:
    """One of those processes: say when each manager has its token, and then which share of a core a rest has taken."""
    grants, store = Grants(36_000.0), store_of(url, key, notify=notify)
    names = [f"m{number}" for number in range(AT_REST)]
    for name in names:
        auth = ClientCredentials(f"{name}-{notify}", "s")
        TokenManager.start_link(name=name, auth=auth, oidc_config=CONFIG, transport=grants, store=store)
    for name in names:
        TokenManager.get_access_token(name, timeout=120)
    print("ready", flush=True)
    sys.stdin.readline()
    cpu, began = time.process_time(), time.perf_counter()
    threading.Event().wait(seconds)
    print(100 * (time.process_time() - cpu) / (time.perf_counter() - began), flush=True)
    sys.stdin.readline()


def _calls(port: int) -> int:
    """How many scripts the server has run."""
    stats = ask(port, "INFO", "commandstats").split("\r\n")
    return sum(int(line.split("calls=")[1].split(",")[0]) for line in stats if line.startswith("cmdstat_eval"))


if __name__ == "__main__":
    if sys.argv[1] == "rest":
        rest(sys.argv[2], sys.argv[3], float(sys.argv[4]), notify=sys.argv[5] == "1")
    else:
        member(sys.argv[1], sys.argv[2], float(sys.argv[3]))

"""Many managers in one process: what each costs, how fast they start and stop, and whether every refresh is in time.

Every size runs in a process of its own, against a provider in that same process: a transport that answers without a
network, so that what is measured is the managers (each refresh otherwise complete: request built, answer parsed, token
published). The benchmark `network` has HTTP in it, too.

Once all have a token the process does what the page of speed tells one with many managers to do: `settle`. The pauses of the
garbage collector are in processor time, because on a busy machine a pause by the clock says more of the other programs.
"""

from __future__ import annotations

import argparse
import base64
import gc
import json
import random
import subprocess
import sys
import threading
import time
from array import array
from collections import Counter

from figures import Figure, Goal, at_least, at_most, from_json, to_json

from oidc_actor import ClientCredentials, NoTokenError, OIDCConfig, TokenManager
from oidc_actor.transport import Request, Response

TOKEN_BYTES = 600
LIFETIMES = 3
_BOOTTIME = time.CLOCK_BOOTTIME


def run(*, quick: bool) -> list[Figure]:
    """Run each size, smallest first."""
    sizes = (
        [(1_000, 1, 20.0), (10_000, 1, 60.0)] if quick else [(1_000, 1, 20.0), (10_000, 1, 40.0), (100_000, 2, 240.0)]
    )
    figures: list[Figure] = []
    for managers, issuers, lifetime_s in sizes:
        lifetimes = 1 if quick else LIFETIMES
        command = [sys.executable, __file__, str(managers), str(issuers), str(lifetime_s), str(lifetimes)]
        print(
            f"  {managers:,} managers of {issuers} issuers, tokens of {lifetime_s:g} s, {lifetimes} lifetimes",
            flush=True,
        )
        answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        figures += from_json(answer)
    return figures + _growth(figures)


def _growth(figures: list[Figure]) -> list[Figure]:
    """How each cost of one manager changes with their number: linear means that the largest size pays what the smallest does."""
    values = {one.what: one.value for one in figures}
    sizes = [what.split()[0] for what in values if what.endswith("resident each")]
    small, large = sizes[0], sizes[-1]
    found = []
    for cost in ("resident each", *(f"processor time a {act}" for act in ("start", "refresh", "stop"))):
        first, last = values[f"{small} managers: {cost}"], values[f"{large} managers: {cost}"]
        ratio = last / first
        what = f"cost of one, {large} over {small}: {cost}"
        found.append(Figure("scale", what, ratio, "x", ratio, small, **at_most(1.5, ratio, "linear: <= 1.5")))
    return found


class Provider:
    """Answers every token request at once, and keeps what it saw: per client its requests and the end of its last token."""

    def __init__(self, clients: int, lifetime_s: float) -> None:
        self.lifetime_s = lifetime_s
        self.counts = array("i", bytes(4 * clients))
        self.ends = array("d", bytes(8 * clients))
        self.least_left_s = lifetime_s
        self.by_second: Counter[tuple[str, int]] = Counter()  # first requests only

    def __call__(self, request: Request, /) -> Response:
        basic = request.headers["Authorization"].removeprefix("Basic ")
        client = int(base64.b64decode(basic).split(b":")[0])
        now = time.clock_gettime(_BOOTTIME)
        if self.counts[client]:
            self.least_left_s = min(self.least_left_s, self.ends[client] - now)
        else:
            self.by_second[request.url, int(now)] += 1
        self.counts[client] += 1
        self.ends[client] = now + self.lifetime_s
        text = f"{client}.{now + self.lifetime_s:.6f}.".ljust(TOKEN_BYTES, "t")
        answer = {"access_token": text, "token_type": "Bearer", "expires_in": self.lifetime_s}
        return Response(200, {}, json.dumps(answer))


class Reader(threading.Thread):
    """Reads managers at random, all the while; notes every read that failed or gave an expired token."""

    def __init__(self, managers: int) -> None:
        super().__init__(daemon=True)
        self.reads = self.failed = self.expired = 0
        self.over = threading.Event()
        self._managers = managers

    def run(self) -> None:
        """Read in batches of 20, 50 times a second."""
        while not self.over.wait(0.02):
            for _ in range(20):
                self.reads += 1
                try:
                    text = TokenManager.get_access_token(f"m{random.randrange(self._managers)}", timeout=0)
                except NoTokenError:
                    self.failed += 1
                    continue
                if float(text.split(".t")[0].partition(".")[2]) <= time.clock_gettime(_BOOTTIME):
                    self.expired += 1


class Pauses:
    """How long the garbage collector keeps all threads waiting, by its own callbacks."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._began = 0.0
        gc.callbacks.append(self._note)

    def _note(self, phase: str, _info: dict[str, int]) -> None:
        now = time.thread_time()
        if phase == "start":
            self._began = now
        else:
            self.longest_s = max(self.longest_s, now - self._began)

    def take_ms(self) -> float:
        """The longest since the last look, in milliseconds."""
        longest_s, self.longest_s = self.longest_s, 0.0
        return longest_s * 1e3


def settle() -> None:
    """Have the collector leave out all that is there now, look at the youngest objects more often and at the oldest more seldom.

    It counts what is made less what is freed. A refresh frees as much as it makes: with Python's own 700 a look comes so seldom
    that the new objects of all managers are young then.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100, 10, 1_000)


def resident() -> int:
    """Bytes of this process in memory."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def measure(managers: int, issuers: int, lifetime_s: float, lifetimes: int) -> list[Figure]:
    """Start them, let them live, stop them."""
    label = f"{managers:,} managers"
    provider = Provider(managers + 1, lifetime_s)
    configs = [OIDCConfig(token_endpoint=f"https://auth{number}.invalid/token") for number in range(issuers)]

    def start(number: int) -> object:
        auth = ClientCredentials(str(number), f"secret {number}")
        return TokenManager.start_link(
            auth=auth,
            oidc_config=configs[number % issuers],
            transport=provider,
            name=f"m{number}",
            refresh_buffer_seconds=lifetime_s / 4,
        )

    start(managers)  # everything imported and every thread made
    TokenManager.get_access_token(f"m{managers}")
    threads, before, pauses = threading.active_count(), resident(), Pauses()

    began, cpu = time.perf_counter(), time.thread_time()  # of the thread that starts them
    refs = [start(number) for number in range(managers)]
    starts, start_cpu = managers / (time.perf_counter() - began), time.thread_time() - cpu
    del refs
    while min(memoryview(provider.counts)) == 0:
        time.sleep(0.05)
    first_s = time.perf_counter() - began
    time.sleep(0.5)
    starting_ms = pauses.take_ms()
    each = (resident() - before) / managers - TOKEN_BYTES
    extra = threading.active_count() - threads
    burst = max(provider.by_second.values())
    settle()
    pauses.take_ms()

    reader = Reader(managers)
    reader.start()
    counted, cpu, began = sum(provider.counts), time.process_time(), time.perf_counter()
    while time.perf_counter() - began < lifetimes * lifetime_s:
        time.sleep(1)
    extra = max(extra, threading.active_count() - threads - 1)
    reader.over.set()
    reader.join()
    spent, lived_s = time.process_time() - cpu, time.perf_counter() - began
    living_ms = pauses.take_ms()
    refreshes = sum(provider.counts) - counted
    fewest = min(memoryview(provider.counts)[:managers]) - 1
    late = sum(1 for end in provider.ends if end <= time.clock_gettime(_BOOTTIME))

    began, cpu = time.perf_counter(), time.thread_time()
    for number in range(managers):
        TokenManager.stop(f"m{number}", timeout=60.0)
    stop_s, stop_cpu = time.perf_counter() - began, time.thread_time() - cpu

    def figure(what: str, value: float, unit: str, goal: Goal | None = None) -> Figure:
        return Figure("scale", f"{label}: {what}", value, unit, **(goal or {}))

    return [
        # Asked of 10,000: among 1,000 a MB that the allocator takes at once is a kB of each.
        figure(
            "resident each",
            each,
            "B",
            at_most(5_000, each, "<= 5 kB beyond the token") if managers == 10_000 else None,
        ),
        figure("longest pause of the collector while they start", starting_ms, "ms"),
        figure("longest pause of the collector once they run", living_ms, "ms", at_most(50, living_ms)),
        figure("extra threads", extra, "", at_most(64, extra)),
        figure("starts", starts, "/s", at_least(2_000, starts)),
        figure("processor time a start", start_cpu / managers * 1e6, "us"),
        # Asked of 10,000. A process that stalls (a collection of 100,000 managers' objects, a busy machine) catches up.
        figure(
            "most first requests to one provider in a second",
            burst,
            "",
            at_most(400, burst) if managers <= 10_000 else None,
        ),
        figure("all have a token after", first_s, "s"),
        figure("refreshes", refreshes / lived_s, "/s"),
        figure("processor time a refresh", spent / refreshes * 1e6, "us"),
        figure("fewest refreshes of one manager", fewest, "", at_least(lifetimes, fewest)),
        figure(
            "latest refresh, before its token's end",
            provider.least_left_s,
            "s",
            {"goal": "> 0", "met": provider.least_left_s > 0 and not late},
        ),
        figure("latest refresh, share of life left", provider.least_left_s / lifetime_s, ""),
        figure(
            f"expired or failed reads of {reader.reads:,}",
            reader.failed + reader.expired,
            "",
            at_most(0, reader.failed + reader.expired),
        ),
        figure("orderly stop", stop_s, "s", at_most(10, stop_s) if managers <= 10_000 else None),
        figure("stops", managers / stop_s, "/s"),
        figure("processor time a stop", stop_cpu / managers * 1e6, "us"),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("managers", type=int)
    parser.add_argument("issuers", type=int)
    parser.add_argument("lifetime_s", type=float)
    parser.add_argument("lifetimes", type=int)
    print(to_json(measure(**vars(parser.parse_args()))))

"""The story: a provider, a supervised manager and reader threads, and what four scenes do to them and measure."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from oidc_actor import ClientCredentials, NoTokenError, RetryPolicy, TokenManager, TokenResponse
from oidc_actor.cli.demo.promises import CRASHES, HERD, REFRESHES, Figures, Pace, counted
from oidc_actor.cli.demo.view import View
from oidc_actor.testing import Provider
from oidc_actor.values.secrets import fingerprint
from supervision import SupervisionError, Supervisor, kill, whereis

NAME = "demo.tokens"
READ_TIMEOUT_S = 20.0
STOP_S = 5.0
STEP_S = 0.01

MOST_SLEW = 0.0005
"""How much faster than others a wall clock may go while it is adjusted (adjtime)."""


class Readers:
    """What eight threads do: they read the token all the time, as an application's request handlers would, and check it.

    All of them append to the two lists and the story's thread reads these, without a lock: an append is atomic.
    """

    def __init__(self) -> None:
        self.reads_s: list[float | None] = []  # seconds that each took; None if it failed, or while it may have to wait
        self.failures: list[str] = []
        self.is_timing = True
        self.ended = threading.Event()  # what fails after this, because the manager stops, is no failed read

    def run(self) -> None:
        """Read until told to end; on each of the threads."""
        while not self.ended.wait(0.004):
            asked_wall, began = time.time(), time.perf_counter()
            try:
                token = TokenManager.get_token(NAME, timeout=READ_TIMEOUT_S)
                failure = "an expired token was handed out" if _had_expired(token, asked_wall) else None
            except Exception as error:  # noqa: BLE001 - every exception of a read is a failed read
                failure = f"{type(error).__name__}: {error}"
            took_s = time.perf_counter() - began
            self.reads_s.append(took_s if self.is_timing and failure is None else None)
            if failure is not None and not self.ended.is_set():
                self.failures.append(failure)


def _had_expired(token: TokenResponse, asked_wall: float) -> bool:
    """Whether a token had expired when it was asked for, by the wall clock; managers go by another clock."""
    ends = token.expires_at
    return ends is not None and ends.timestamp() + (token.expires_in or 0.0) * MOST_SLEW <= asked_wall


@contextmanager
def staged(pace: Pace, console: Console) -> Iterator[Play]:
    """Start the provider, the supervisor with its manager, and the readers; at the end stop them in the opposite order."""
    with Provider(client_id="demo", token_lifetime_s=pace.token_lifetime_s) as provider:
        manager = TokenManager.child_spec(
            issuer_url=provider.issuer_url,
            auth=ClientCredentials(provider.client_id, provider.client_secret),
            name=NAME,
            min_interval_seconds=pace.step_s,
            retry=RetryPolicy(initial_s=pace.step_s / 2, maximum_s=pace.step_s),
        )
        readers = Readers()
        names = [f"demo-reader-{number}" for number in range(8)]
        threads = [threading.Thread(target=readers.run, name=name, daemon=True) for name in names]
        supervisor = Supervisor.start_link([manager], max_restarts=10, name="demo.supervisor")
        try:
            TokenManager.get_token(NAME, timeout=READ_TIMEOUT_S)
            for thread in threads:
                thread.start()
            yield Play(pace, provider, readers, console)
        finally:
            readers.ended.set()
            Supervisor.stop(supervisor, timeout=STOP_S)  # ends the waits of readers, so that the threads end
            for thread in threads:
                if thread.is_alive():
                    thread.join(STOP_S)


class Play:
    """One performance of the story. All of it runs on one thread, which also redraws the view while it waits."""

    def __init__(self, pace: Pace, provider: Provider, readers: Readers, console: Console) -> None:
        self.pace = pace
        self.provider = provider
        self.readers = readers
        self.figures = Figures()
        self._view = View(console, self._meters)
        self._title = ""
        self._provider_is_up = True

    def run(self) -> Figures:
        """Play all scenes, or as many as work; the figures say how it went."""
        began, figures, readers = time.monotonic(), self.figures, self.readers
        with self._view.shown():
            for number, (self._title, scene) in enumerate(SCENES.items(), 1):
                try:
                    self._view.line(f"{self._title} done: {scene(self)}")
                except TimeoutError as stuck:
                    figures.unfinished = f"scene {number} stopped: {stuck}"
                    self.doing(str(stuck))
                    break
        figures.duration_s = time.monotonic() - began
        figures.reads, figures.failed_reads = len(readers.reads_s), len(readers.failures)
        figures.first_failure = next(iter(readers.failures), None)
        times = sorted(took_s for took_s in readers.reads_s[: figures.reads] if took_s is not None)
        if times:
            figures.median_read_s, figures.p99_read_s = statistics.median(times), times[len(times) * 99 // 100]
        figures.token_requests = self.provider.token_requests
        return figures

    def doing(self, what: str) -> None:
        """Tell the view what goes on now."""
        self._view.line(f"{self._title}: {what}")

    def wait_until(self, happened: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Wait for something and keep the view up to date; `TimeoutError` at the deadline."""
        deadline = time.monotonic() + timeout_s
        while not happened():
            if time.monotonic() >= deadline:
                raise TimeoutError(f"{what} did not happen within {timeout_s:.0f} s")
            self._view.tick()
            time.sleep(STEP_S)

    def pause(self, seconds: float) -> None:
        """Let a while go by."""
        ends_at = time.monotonic() + seconds
        self.wait_until(lambda: time.monotonic() >= ends_at, READ_TIMEOUT_S, "the end of a pause")

    def token(self) -> TokenResponse | None:
        """The current token, without waiting."""
        try:
            return TokenManager.get_token(NAME, timeout=0)
        except (NoTokenError, SupervisionError):
            return None

    def left_s(self) -> float:
        """Seconds that the current token still lives; 0 without one."""
        token = self.token()
        return max(0.0, token.expires_at.timestamp() - time.time()) if token and token.expires_at else 0.0

    def await_new_token(self, old: TokenResponse | None, timeout_s: float) -> None:
        """Wait until there is another token than ``old``."""
        self.wait_until(lambda: self.token() not in (None, old), timeout_s, "a new token")

    @contextmanager
    def provider_down(self) -> Iterator[None]:
        """Have the provider refuse connections until the block ends."""
        self._provider_is_up = False
        self.provider.down()
        try:
            yield
        finally:
            self.provider.up()
            self._provider_is_up = True

    def _meters(self) -> dict[str, str]:
        token = self.token()
        try:
            state: str = TokenManager.health(NAME).state
        except SupervisionError:
            state = "restarting"
        return {
            "token": fingerprint(token.access_token) if token else "none",
            "life left": f"{self.left_s():.1f} s of {self.pace.token_lifetime_s} s",
            "manager": state,
            "provider": "up" if self._provider_is_up else "DOWN",
            "reads": f"{len(self.readers.reads_s):,}",
            "failed reads": str(len(self.readers.failures)),
            "token requests": str(self.provider.token_requests),
            "restarts": str(self.figures.restarts),
        }


# --- the scenes: each returns what came of it, in a line --------------------------------------------------------------


def refresh(play: Play) -> str:
    """Let the manager do its work."""
    play.doing("the manager replaces each token at half its life")
    for _ in range(REFRESHES):
        play.await_new_token(play.token(), 2 * play.pace.token_lifetime_s)
        play.figures.refreshes += 1
    return f"{REFRESHES} new tokens, each before the old one ended"


def outage(play: Play) -> str:
    """Take the provider away for less than the token's remaining life."""
    pace, figures, old, began = play.pace, play.figures, play.token(), time.monotonic()
    with play.provider_down():
        play.doing("the provider is DOWN; reads go on with the token there is")
        play.wait_until(lambda: play.left_s() <= pace.spare_life_s, 2 * pace.token_lifetime_s, "the token's old age")
    down_s = time.monotonic() - began
    ends = time.monotonic() + play.left_s()
    play.doing("the provider is back; the next attempt brings a new token")
    play.await_new_token(old, pace.token_lifetime_s)
    figures.outage_s, figures.token_left_s = down_s, ends - time.monotonic()
    return f"{down_s:.1f} s without a provider; a new token {figures.token_left_s:.1f} s before the old one's end"


def crash(play: Play) -> str:
    """Kill the manager's actor; its supervisor starts a new one, which adopts the token."""
    figures, before = play.figures, play.provider.token_requests
    while figures.crashes < CRASHES:
        play.doing(f"the actor is killed ({figures.crashes + 1} of {CRASHES}); its supervisor starts it again")
        killed = (whereis(NAME), None)
        kill(NAME)
        figures.crashes += 1
        play.wait_until(lambda gone=killed: whereis(NAME) not in gone, play.pace.token_lifetime_s, "a restart")  # type: ignore[misc]
        figures.restarts += 1
        play.pause(play.pace.step_s)
    figures.crash_requests = play.provider.token_requests - before
    requests = counted(figures.crash_requests, "extra token request")
    return f"{CRASHES} crashes, {figures.restarts} restarts, {requests}"


def herd(play: Play) -> str:
    """Let the token expire, and have 200 callers ask at once."""
    figures, go, served = play.figures, threading.Event(), []

    def ask() -> None:
        go.wait(READ_TIMEOUT_S)
        try:
            served.append(not TokenManager.get_token(NAME, timeout=READ_TIMEOUT_S).expired())
        except (NoTokenError, SupervisionError):
            served.append(False)

    play.readers.is_timing = False  # before the token can expire: from now on a read may wait
    with play.provider_down():
        play.doing("the provider is DOWN until the token has expired; readers now have to wait")
        for number in range(HERD):
            threading.Thread(target=ask, name=f"demo-caller-{number}", daemon=True).start()
        play.wait_until(lambda: play.token() is None, 2 * play.pace.token_lifetime_s, "the token's end")
        play.doing(f"{HERD} callers ask at once; no token, no provider")
        go.set()
        play.pause(0.3)  # until all of them wait
        before, began = play.provider.token_requests, time.monotonic()
    play.doing(f"{HERD} callers wait; the provider is back")
    play.wait_until(lambda: len(served) == HERD, READ_TIMEOUT_S, "the callers' end")
    figures.herd, figures.herd_served, figures.herd_wait_s = HERD, sum(served), time.monotonic() - began
    figures.herd_requests = play.provider.token_requests - before
    requests = counted(figures.herd_requests, "token request")
    after = f"{figures.herd_wait_s:.2f} s after the provider's return"
    return f"{figures.herd_served} of {HERD} callers served by {requests}, {after}"


SCENES: dict[str, Callable[[Play], str]] = {
    "Refresh": refresh,
    "Provider down": outage,
    "Actor crash": crash,
    "200 callers at once": herd,
}

"""The story: four scenes, what each does and measures. It prints nothing; a view is told where it stands."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from oidc_actor import NoTokenError, TokenManager
from oidc_actor.cli.demo.promises import CRASHES, HERD, REFRESHES, Figures, Pace, counted
from oidc_actor.cli.demo.stage import NAME, READ_TIMEOUT_S, SceneStuckError, Stage
from oidc_actor.values.secrets import fingerprint
from supervision import SupervisionError

CALLERS_ARRIVE_S = 0.3


class View(Protocol):
    """Where the story shows itself; called on the thread that runs the story."""

    def begin(self, number: int, doing: str) -> None:
        """Scene `number` does this now; may be said several times in one scene."""

    def end(self, number: int, result: str) -> None:
        """Scene `number` is over, with this result."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One scene: its title and what it does to the stage, giving the figures it adds."""

    title: str
    play: Callable[[Play], str]


class Play:
    """One performance of the story.

    Args:
        stage: Provider, supervisor, manager and readers, all running.
        pace: How fast.
        view: Is told what happens.
    """

    def __init__(self, stage: Stage, pace: Pace, view: View) -> None:
        self.stage = stage
        self.pace = pace
        self.figures = Figures()
        self._view = view
        self._number = 0

    def run(self) -> Figures:
        """Play all scenes, or as many as work; the figures say how it went."""
        began = time.monotonic()
        try:
            for self._number, scene in enumerate(SCENES):
                self._view.end(self._number, scene.play(self))
        except SceneStuckError as stuck:
            self.note(unfinished=f"scene {self._number + 1} stopped: {stuck}")
            self._view.end(self._number, str(stuck))
        readers = self.stage.readers
        median_s, p99_s = readers.times_s()
        self.note(
            duration_s=time.monotonic() - began,
            reads=readers.reads,
            failed_reads=readers.failed,
            first_failure=readers.first_failure,
            median_read_s=median_s,
            p99_read_s=p99_s,
            restarts=self.stage.restarts,
            token_requests=self.stage.provider.token_requests,
        )
        return self.figures

    def doing(self, what: str) -> None:
        """Tell the view what goes on now."""
        self._view.begin(self._number, what)

    def note(self, **figures: float | str | None) -> None:
        """Write down what was measured."""
        self.figures = replace(self.figures, **figures)  # type: ignore[arg-type]

    def current(self) -> str | None:
        """Fingerprint of the current token."""
        token = self.stage.token()
        return fingerprint(token.access_token) if token is not None else None

    def await_new_token(self, old: str | None, timeout_s: float) -> None:
        """Wait until there is another token than `old`."""
        self.stage.wait_until(lambda: self.current() not in (None, old), timeout_s, "a new token")


def refresh(play: Play) -> str:
    """Let the manager do its work."""
    play.doing("the manager replaces each token at half its life")
    for count in range(1, REFRESHES + 1):
        play.await_new_token(play.current(), 2 * play.pace.token_lifetime_s)
        play.note(refreshes=count)
    return f"{REFRESHES} new tokens, each before the old one ended"


def outage(play: Play) -> str:
    """Take the provider away for less than the token's remaining life."""
    stage, pace = play.stage, play.pace
    old = play.current()
    began = time.monotonic()
    stage.provider_down()
    play.doing("the provider is DOWN; reads go on with the token there is")
    stage.wait_until(lambda: stage.left_s() <= pace.spare_life_s, 2 * pace.token_lifetime_s, "the token's old age")
    stage.provider_back()
    down_s = time.monotonic() - began
    ends = began + down_s + stage.left_s()
    play.doing("the provider is back; the next attempt brings a new token")
    play.await_new_token(old, pace.token_lifetime_s)
    left_s = ends - time.monotonic()
    play.note(outage_s=down_s, token_left_s=left_s)
    return f"{down_s:.1f} s without a provider; a new token {left_s:.1f} s before the old one's end"


def crash(play: Play) -> str:
    """Kill the manager's actor; its supervisor starts a new one, which adopts the token."""
    stage = play.stage
    before = stage.provider.token_requests
    for count in range(1, CRASHES + 1):
        play.doing(f"the actor is killed ({count} of {CRASHES}); its supervisor starts it again")
        stage.crash(play.pace.token_lifetime_s)
        play.note(crashes=count)
        threading.Event().wait(play.pace.settle_s)
    requests = stage.provider.token_requests - before
    play.note(crash_requests=requests)
    return f"{CRASHES} crashes, {stage.restarts} restarts, {counted(requests, 'extra token request')}"


def herd(play: Play) -> str:
    """Let the token expire, and have 200 callers ask at once."""
    stage, pace = play.stage, play.pace
    stage.readers.stop_timing()
    stage.provider_down()
    play.doing("the provider is DOWN until the token has expired; readers now have to wait")
    callers = _Herd(HERD)
    stage.wait_until(lambda: stage.token() is None, 2 * pace.token_lifetime_s, "the token's end")
    play.doing(f"{HERD} callers ask at once; no token, no provider")
    callers.release()
    threading.Event().wait(CALLERS_ARRIVE_S)
    before = stage.provider.token_requests
    began = time.monotonic()
    play.doing(f"{HERD} callers wait; the provider is back")
    stage.provider_back()
    served = callers.served(READ_TIMEOUT_S)
    wait_s = time.monotonic() - began
    requests = stage.provider.token_requests - before
    play.note(herd=HERD, herd_served=served, herd_requests=requests, herd_wait_s=wait_s)
    return (
        f"{served} of {HERD} callers served by {requests} token request(s), {wait_s:.2f} s after the provider's return"
    )


class _Herd:
    """Callers on threads of their own, held back until `release`."""

    def __init__(self, count: int) -> None:
        self._go = threading.Event()
        self._served = [False] * count
        self._threads = [
            threading.Thread(target=self._ask, args=(number,), name=f"demo-caller-{number}", daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def release(self) -> None:
        """Let them all ask."""
        self._go.set()

    def served(self, timeout_s: float) -> int:
        """How many have got a token, once all have their answer or the time is over."""
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return sum(self._served)

    def _ask(self, number: int) -> None:
        if not self._go.wait(READ_TIMEOUT_S):
            return
        try:
            token = TokenManager.get_token(NAME, timeout=READ_TIMEOUT_S)
        except (NoTokenError, SupervisionError):
            return
        self._served[number] = not token.expired()


SCENES = (
    Scene("Refresh", refresh),
    Scene("Provider down", outage),
    Scene("Actor crash", crash),
    Scene("200 callers at once", herd),
)

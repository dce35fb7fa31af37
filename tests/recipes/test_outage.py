"""The tables of an outage, minute by minute: each is played on the manual clock, by a program that reads once a second."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pages
import pytest
from fakes import Fixed, ScriptedTransport, failing, refused
from managers import settled

from oidc_actor import ClientCredentials, NoTokenError, SecretFile, TokenManager
from oidc_actor.metrics import ready
from oidc_actor.testing import ManualClock

pytestmark = pytest.mark.usefixtures("stop_managers")

PAGE = "oidc_actor/README.md"
NAME = "m"
TOKENS = {"t1": "the token", "t2": "a new one"}
HALF = Fixed(0.5)  # every random wait is in the middle of its range
HEADING = "An outage, minute by minute"
HEAD = (
    "| minute | attempts | logged | readers get | `health().state` | `ready()` |\n| --- | --- | --- | --- | --- | --- |"
)


@dataclass
class Minute:
    """What was seen in one minute."""

    attempts: list[int] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)
    readers: list[str] = field(default_factory=list)
    state: str = ""
    is_ready: bool = False

    @property
    def seen(self) -> tuple[Any, ...]:
        return (self.logged, self.readers, self.state, self.is_ready)


class Play:
    """A manager on a clock that stands still, and what a program sees of it."""

    def __init__(self, caplog: pytest.LogCaptureFixture, lifetime_s: float, secret: Any = "kT9-vQ2x-81mZ") -> None:
        caplog.set_level(logging.INFO, "oidc_actor")
        self.records = caplog
        self.clock, self.transport = ManualClock(), ScriptedTransport(lifetime=lifetime_s)
        TokenManager.start_link(
            name=NAME,
            issuer_url=self.transport.issuer,
            auth=ClientCredentials("my-service", secret),
            clock=self.clock,
            transport=self.transport,
            rng=HALF,
        )
        TokenManager.get_token(NAME)
        self.clock.advance((TokenManager.health(NAME).refresh_in_s or 0.0) - 1.0)
        caplog.clear()

    def minutes(self, count: int, *, at: dict[int, Callable[[], object]] | None = None) -> list[Minute]:
        """Play that many minutes, second by second; `at` says what happens at which second."""
        found = []
        for number in range(count):
            minute, last = Minute(), ""
            for second in range(60):
                before = len(self.transport.requests)
                whole = 60 * number + second
                if at and whole in at:
                    at[whole]()
                    settled(NAME)
                last = self.reader()
                settled(NAME)  # the manager knows of that reader before the clock goes on
                if last not in minute.readers:
                    minute.readers.append(last)
                self.pass_second()
                if len(self.transport.requests) > before:
                    minute.attempts.append(second)
            health = TokenManager.health(NAME)
            minute.state = f"`{health.state}`, blocked" if health.blocked else f"`{health.state}`"
            minute.is_ready = ready(NAME)
            minute.logged = self.logged()
            found.append(minute)
        return found

    def pass_second(self) -> None:
        left_s = 1.0
        while left_s > 0:
            due = self.clock.next_in_s
            step = left_s if due is None else min(left_s, max(due, 0.0))
            self.clock.advance(step)
            settled(NAME)
            left_s -= step
            if due is not None and due <= 0 and self.clock.next_in_s == due:
                break

    def reader(self) -> str:
        try:
            return TOKENS[TokenManager.get_access_token(NAME, timeout=0)]
        except NoTokenError:
            return "`NoTokenError`"

    def logged(self) -> list[str]:
        events = [record.event for record in self.records.records if record.name == "oidc_actor"]  # type: ignore[attr-defined]
        self.records.clear()
        return [f"`{event}`" for event in dict.fromkeys(events)]


def table(minutes: list[Minute]) -> str:
    """A row for each minute; those that are alike are one."""
    groups: list[list[Minute]] = []
    for minute in minutes:
        last = groups[-1][-1] if groups else None
        if last and last.seen == minute.seen and abs(len(last.attempts) - len(minute.attempts)) <= 1:
            groups[-1].append(minute)
        else:
            groups.append([minute])
    rows, first = [], 0
    for group in groups:
        label = str(first) if len(group) == 1 else f"{first} to {first + len(group) - 1}"
        first += len(group)
        one = group[0]
        rows.append(
            f"| {label} | {attempts_of(group)} | {', '.join(one.logged) or '-'} | {', then '.join(one.readers)} "
            f"| {one.state} | {'yes' if one.is_ready else 'no'} |"
        )
    return "\n".join([HEAD, *rows])


def attempts_of(group: list[Minute]) -> str:
    counts = sorted({len(one.attempts) for one in group})
    if counts == [0]:
        return "none"
    if len(group) > 1:
        return f"{' to '.join(map(str, counts))} in each"
    seconds = group[0].attempts
    return f"at second {', '.join(map(str, seconds))}" if len(seconds) <= 8 else f"{len(seconds)}"


def outage(caplog: pytest.LogCaptureFixture, lifetime_s: float) -> list[Minute]:
    play = Play(caplog, lifetime_s)
    play.transport.goes_down()
    return play.minutes(8, at={360: play.transport.comes_up})


def retry_after(caplog: pytest.LogCaptureFixture) -> list[Minute]:
    play = Play(caplog, 300)
    play.transport.default = failing(503, Retry_After="120")
    return play.minutes(5, at={90: play.transport.comes_up})


def refused_for_good(caplog: pytest.LogCaptureFixture) -> list[Minute]:
    play = Play(caplog, 300)
    play.transport.default = refused("invalid_client", 401)
    return play.minutes(13, at={300: play.transport.comes_up})


def mended_file(caplog: pytest.LogCaptureFixture, path: Path) -> list[Minute]:
    path.write_text("kT9-vQ2x-81mZ")
    play = Play(caplog, 300, SecretFile(path))
    play.transport.default = refused("invalid_client", 401)

    def mend() -> None:
        play.transport.comes_up()
        renewed = path.with_suffix(".new")
        renewed.write_text("kT9-vQ2x-81mZ-2")
        renewed.replace(path)  # as an orchestrator does: at no moment is the file empty

    return play.minutes(4, at={130: mend})


def test_an_outage_of_six_minutes_with_tokens_of_five(caplog: pytest.LogCaptureFixture) -> None:
    assert_on_page(outage(caplog, 300))


def test_an_outage_of_six_minutes_with_tokens_of_an_hour(caplog: pytest.LogCaptureFixture) -> None:
    assert_on_page(outage(caplog, 3600))


def test_a_provider_that_asks_to_wait(caplog: pytest.LogCaptureFixture) -> None:
    assert_on_page(retry_after(caplog))


def test_a_provider_that_refuses_the_secret(caplog: pytest.LogCaptureFixture) -> None:
    assert_on_page(refused_for_good(caplog))


def test_a_secret_that_is_mended_in_its_file(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    assert_on_page(mended_file(caplog, tmp_path / "client-secret"))


def test_no_table_is_unplayed() -> None:
    assert pages.section(PAGE, HEADING).count(HEAD) == 5


def assert_on_page(minutes: list[Minute]) -> None:
    played = table(minutes)
    assert played in pages.section(PAGE, HEADING), f"the page does not have this table:\n{played}"

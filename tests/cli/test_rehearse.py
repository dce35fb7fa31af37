"""`oidc-actor rehearse`: outages played on a real manager, beside the forecast of `check`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import AUTH
from managers import leave_nothing_behind
from typer.testing import Result

from oidc_actor import ConfigError, OIDCConfig, Password, RetryPolicy, oidc
from oidc_actor.cli.rehearsal.outages import KINDS, MOMENTS, Kind, Moment, Outage, Played, parse_length
from oidc_actor.cli.rehearsal.report import result_of
from oidc_actor.cli.rehearsal.set_up import Rehearsal, Wanted
from oidc_actor.cli.rehearsal.stage import Shape
from oidc_actor.machine.forecast import Plan, Worst
from oidc_actor.machine.state import Rules
from oidc_actor.testing import Provider

pytestmark = [pytest.mark.P4, pytest.mark.P5]

Invoke = Callable[..., Result]
DAY_S = 86_400.0


@pytest.fixture(autouse=True)
def ends() -> Iterator[None]:
    yield
    leave_nothing_behind()


def rehearsal(plan: Plan, kind: Kind, moments: tuple[Moment, ...] = ("due", "refreshed"), **given: Any) -> Rehearsal:
    """What is rehearsed with these options."""
    shape = given.pop("shape", Shape(refresh_token=plan.refresh_token))
    wanted = Wanted(buffer_s=plan.buffer_s, kinds=[kind], moments=moments, retry=plan.rules.retry, **given)
    return Rehearsal(plan, shape, wanted)


# --- the forecast -----------------------------------------------------------------------------------------------------

PATIENT, HASTY = RetryPolicy(initial_s=2.0, maximum_s=120.0), RetryPolicy(initial_s=0.2, maximum_s=5.0)
SETS = {
    "a minute, refused": rehearsal(Plan(AUTH, 60, 30), "refused", ("due", "mid-life")),
    "a minute and a short timeout": rehearsal(Plan(AUTH, 60, 20, timeout_s=2), "timeout", ("refreshed",)),
    "the defaults, 5 min": rehearsal(Plan(AUTH, 300), "timeout", ("due", "expiry")),
    "a refresh token": rehearsal(Plan(AUTH, 300, 140, refresh_token=True), "503", ("due",)),
    "a login of its own": rehearsal(
        Plan(AUTH, 300, 60, refresh_token=True, rules=Rules(own_refresh_token=True)), "refused", ("due",)
    ),
    "a Retry-After": rehearsal(Plan(AUTH, 600, 200), "429", ("due", "refreshed"), retry_after_s=45.0),
    "short waits": rehearsal(
        Plan(AUTH, 900, 90, took_s=0.4, rules=Rules(retry=HASTY, min_interval_s=3)), "timeout", ("mid-life",)
    ),
    "long waits": rehearsal(Plan(AUTH, 1800, 300, timeout_s=5, rules=Rules(retry=PATIENT)), "timeout", ("due",)),
    "an hour, no discovery": rehearsal(
        Plan(AUTH, 3600, 120, took_s=1.0, rules=Rules(discovers=False)), "503", ("due",)
    ),
    "a day": rehearsal(Plan(AUTH, DAY_S, 600), "timeout", ("expiry",)),
}


@pytest.mark.parametrize("one", SETS.values(), ids=SETS)
def test_what_is_played_is_within_a_second_of_the_forecast(one: Rehearsal) -> None:
    played = one.play()
    assert len(played) == 2 * len(one.wanted.moments)
    for shorter, longer in zip(played[::2], played[1::2], strict=True):
        told_s = shorter.outage.forecast_s
        assert told_s is not None
        assert (shorter.outage.length_s, longer.outage.length_s) == pytest.approx((told_s - 1, told_s + 1))
        assert (shorter.survived, longer.survived) == (True, False), (shorter, longer)
        assert (shorter.agrees, longer.agrees) == (True, True)
        assert longer.first_failure_s is not None
        assert longer.recovered_s is not None


def test_a_retry_after_is_played_as_long_as_a_manager_obeys_it() -> None:
    shorter, longer = rehearsal(Plan(AUTH, DAY_S, 5000), "429", ("due",), retry_after_s=2e6).play()
    assert shorter.outage.forecast_s == pytest.approx(3600, abs=1)
    assert (shorter.survived, longer.survived) == (True, False)


@pytest.mark.parametrize("shape", [Shape(expires_in=False, has_exp=True), Shape(token_type="bearer")])
def test_the_providers_shape_is_played(shape: Shape) -> None:
    (one,) = rehearsal(Plan(AUTH, 600, 60), "refused", ("due",), shape=shape, lengths_s=[30.0]).play()
    assert (one.survived, one.failed) == (True, 0)
    assert one.requests > 2


def test_an_answer_that_does_not_say_how_long_a_token_lives_is_played() -> None:
    (one,) = rehearsal(Plan(AUTH, 300, 60), "503", ("due",), shape=Shape(expires_in=False), lengths_s=[30.0]).play()
    assert (one.survived, one.failed) == (True, 0)


def test_at_the_start_all_reads_fail_until_it_is_over_and_nothing_is_promised() -> None:
    (one,) = rehearsal(Plan(AUTH, 300, 60), "refused", ("start",), lengths_s=[20.0]).play()
    assert one.failed == one.reads > 0
    assert (one.first_failure_s, one.forecast_s, one.broke_promise) == (0.0, None, False)
    assert one.recovered_s is not None
    assert one.recovered_s < 6  # while readers ask, no wait is longer than 5 s


def test_a_fleet_is_rehearsed_and_a_member_that_starts_in_an_outage_has_the_token_of_the_others() -> None:
    one = rehearsal(Plan(AUTH, 300, 60), "503", ("due", "start"), members=3)
    shorter, longer, start = one.play()
    assert (shorter.survived, longer.survived, start.survived) == (True, False, True)
    assert shorter.outage.length_s == pytest.approx(shorter.outage.forecast_s - 4.2)  # type: ignore[operator]
    assert start.reads >= 3 * 60
    assert start.requests == 0


# --- the command ------------------------------------------------------------------------------------------------------


def rows(done: Result | subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(done.stdout)["outages"]
    return found


def access(provider: Provider, **more: str) -> dict[str, str]:
    known = {"OIDC_ISSUER_URL": provider.issuer_url, "OIDC_CLIENT_ID": provider.client_id}
    return known | {"OIDC_CLIENT_SECRET": provider.client_secret} | more


def test_it_finds_the_outage_that_breaks_too_small_a_buffer(invoke: Invoke) -> None:
    given = ("rehearse", "--lifetime", "300", "--kind", "timeout", "--moment", "due,refreshed", "--survive", "45")
    done = invoke(*given, "--refresh-buffer", "20", "--json")
    assert done.exit_code == 1
    broken = [row for row in rows(done) if row["result"] == "fail"]
    assert {row["moment"] for row in broken} == {"due"}
    assert min(row["length_s"] for row in broken) == pytest.approx(11, abs=1)
    assert all(row["failed_reads"] and row["first_failure_s"] < row["length_s"] + 20 for row in broken)
    assert invoke(*given, "--refresh-buffer", "60").exit_code == 0


def test_it_asks_the_provider_once_and_shows_no_secret(provider: Provider, invoke: Invoke) -> None:
    provider.token_lifetime_s = 120
    done = invoke("rehearse", "--kind", "refused", "--moment", "due", **access(provider))
    assert done.exit_code == 0, done.output
    assert (provider.token_requests, provider.discovery_requests) == (1, 1)
    assert provider.client_secret not in done.output
    assert "a token lives 2 min (by expires_in; it came in" in done.output
    assert "all outages that are forecast to be survived were survived" in done.output
    assert [line.split()[0] for line in done.output.splitlines() if "as the refresh is due" in line] == ["pass", "gap"]


def test_a_refresh_token_is_not_redeemed(provider: Provider, invoke: Invoke, tmp_path: Path) -> None:
    auth = Password(provider.username, provider.password, provider.client_id, provider.client_secret)
    config = OIDCConfig(issuer=provider.issuer_url, token_endpoint=provider.token_endpoint)
    file = tmp_path / "login"
    file.write_text(oidc.get_token(config, auth).refresh_token or "")
    before, kept = provider.token_requests, file.read_text()
    given = ("rehearse", "--refresh-token-file", str(file), "--kind", "503", "--moment", "due", "--outage", "20")
    refused = invoke(*given, **access(provider))
    assert refused.exit_code == 2
    assert "--lifetime: expected" in refused.output
    done = invoke(*given, "--lifetime", "200", "--json", **access(provider))
    assert (done.exit_code, provider.token_requests, file.read_text()) == (0, before, kept)
    assert json.loads(done.stdout)["token"]["refresh_token"] is True
    assert kept not in done.output


def test_a_store_that_is_named_is_not_touched(invoke: Invoke, tmp_path: Path) -> None:
    store = tmp_path / "tokens"
    given = ("--lifetime", "120", "--store", str(store), "--members", "2", "--namespace", "prod")
    done = invoke("rehearse", *given, "--kind", "refused", "--moment", "due", "--outage", "10", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["options"]["members"] == 2
    assert not store.exists()


def test_a_provider_that_refuses_is_told_as_by_the_other_commands(provider: Provider, invoke: Invoke) -> None:
    assert invoke("rehearse", **access(provider, OIDC_CLIENT_SECRET="wrong")).exit_code == 3
    provider.down()
    assert invoke("rehearse", **access(provider)).exit_code == 4


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ((), "no provider: give --issuer URL or set OIDC_ISSUER_URL, or give --lifetime SECONDS"),
        (
            ("--lifetime", "300", "--outage", "5x"),
            "--outage: expected a length of up to 7 days, such as 90s, 5m or 1h30m",
        ),
        (("--lifetime", "300", "--outage", "8d"), "got '8d'"),
        (("--lifetime", "300", "--survive", "0"), "--survive: expected a length"),
        (("--lifetime", "300", "--kind", "flood"), "--kind: expected one of timeout, refused, 503, 429, got 'flood'"),
        (
            ("--lifetime", "300", "--moment", "noon"),
            "--moment: expected one of refreshed, mid-life, due, expiry, start",
        ),
        (
            ("--lifetime", "300", "--kind", "refused,503", "--retry-after", "5"),
            "--retry-after: expected --kind 429 beside it, got refused, 503",
        ),
        (("--lifetime", "1e9"), "--lifetime: expected the seconds of a year at most"),
        (("--lifetime", "inf"), "--lifetime: expected finite seconds"),
        (("--lifetime", "300", "--retry-maximum", "0.1"), "--retry-maximum: expected at least initial_s=0.5"),
        (("--lifetime", "300", "--namespace", "prod"), "--store: expected the store's address"),
        (("--lifetime", "300", "--members", "1", "--store", "/x"), "--members"),
        (("--lifetime", "300", "--members", "5"), "--store: expected the store's address"),
        (("--lifetime", "300", "--timeout", "inf"), "--timeout: expected a positive number of seconds, 1e+09 at most"),
        (("--issuer", "https://auth.example", "--timeout", "1e10"), "--timeout: expected a positive number"),
        (("--lifetime", "300", "--min-interval", "301"), "--min-interval: expected no more than the 300 s"),
        (("--issuer", "https://auth.example"), "--client-id"),
    ],
)
def test_wrong_input_is_told_before_anything_starts(invoke: Invoke, given: tuple[str, ...], told: str) -> None:
    done = invoke("rehearse", *given)
    assert done.exit_code == 2
    assert told in " ".join(done.output.split())


# --- what is said of one outage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("1.5min", 90), ("7d", 7 * DAY_S)]
)
def test_lengths(text: str, seconds: float) -> None:
    assert parse_length(text, "--outage") == seconds


@pytest.mark.parametrize("text", ["", "m", "-5", "5 m m", "1e9", "inf", "5m-", "8d"])
def test_what_is_no_length(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_length(text, "--outage")


OUTAGE = Outage("timeout", "due", 40.0, 0.0, 50.0, 0.0, Worst(50.0, 5, 1.0))


@pytest.mark.parametrize(
    ("outage", "failed", "result", "agrees"),
    [
        (OUTAGE, 0, "pass", True),
        (OUTAGE, 1, "fail", False),
        (replace(OUTAGE, length_s=49.5), 1, "gap", True),
        (replace(OUTAGE, length_s=60.0), 1, "gap", True),
        (replace(OUTAGE, length_s=60.0), 0, "pass", False),
        (replace(OUTAGE, length_s=60.0, promised_s=60.0), 1, "fail", True),
        (replace(OUTAGE, promised_s=30.0), 1, "warn", False),
        (replace(OUTAGE, moment="start", forecast_s=None, promised_s=60.0), 1, "gap", None),
    ],
)
def test_results(outage: Outage, failed: int, result: str, agrees: bool | None) -> None:
    one = Played(outage, 100, failed, 1.0 if failed else None, 3, 0.0)
    assert (result_of(one), one.agrees, one.broke_promise) == (result, agrees, result == "fail")


def test_an_outage_after_which_nothing_works_again_was_not_survived() -> None:
    assert result_of(Played(OUTAGE, 100, 0, None, 3, None)) == "fail"


def test_each_kind_and_each_moment_has_its_words() -> None:
    assert KINDS == ("timeout", "refused", "503", "429")
    assert MOMENTS == ("refreshed", "mid-life", "due", "expiry", "start")

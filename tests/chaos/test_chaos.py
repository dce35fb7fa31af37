"""The chaos table as tests: each row with each provider. `python tests/chaos` prints it."""

from __future__ import annotations

import http.client
import logging
import re
import sys
from collections.abc import Iterator
from urllib.parse import quote_plus

import pytest
from chaos.backends import Stages
from chaos.diary import Diary, basic
from chaos.pains import PAINS
from chaos.playing import cases, play
from chaos.scenario import SCENARIOS, Scenario

from oidc_actor import ClientCredentials, OIDCConfig
from oidc_actor.oidc import get_token
from oidc_actor.testing import Provider


@pytest.fixture(scope="module")
def stages() -> Iterator[Stages]:
    with Stages() as made:
        yield made


PEERS = {
    "cold", "in the refresh window", "503 with a live token", "503 without a token", "invalid_client", "429", "slow provider",
    "rotating refresh token", "25 s token", "expires_in missing", "wall clock", "repr", "fork",
}  # fmt: skip


def test_every_pain_and_every_case_in_which_peers_were_measured_has_a_row() -> None:
    sources = [source for scenario in SCENARIOS for source in scenario.source.split("; ")]
    assert {f"pain {number}" for number in PAINS} <= set(sources)
    assert {f"peers: {case}" for case in PEERS} <= set(sources)
    assert all(re.fullmatch(r"pain \d+|elixir \d+|peers: .+|promise", source) for source in sources)


@pytest.mark.parametrize(("scenario", "provider"), [pytest.param(s, p, id=f"{s.name}-{p}") for s, p in cases()])
def test_row(scenario: Scenario, provider: str, stages: Stages) -> None:
    row = play(scenario, provider, stages)
    assert row.kept, "\n".join(
        [
            scenario.promise,
            *(f"{'kept  ' if check.kept else 'BROKEN'} {check.what}: {check.measured}" for check in row.checks),
        ]
    )


def test_the_diary_hears_what_is_said_and_finds_a_secret_in_every_dress() -> None:
    secret = "p&ss word"
    said = [
        lambda: logging.getLogger("urllib3.connectionpool").debug("%s", secret),
        lambda: logging.getLogger("oidc_actor").info("x", extra={"fields": {"value": secret}}),
        lambda: logging.getLogger("x").error("x", exc_info=failing_with(secret)),
        lambda: print("send:", quote_plus(secret)),
        lambda: print("reply:", secret, file=sys.stderr),
        *[lambda header=header: print("header:", header) for header in basic("id", secret)],
    ]
    secrets = [secret, *basic("id", secret)]
    for say in said:
        with Diary() as diary:
            assert http.client.HTTPConnection.debuglevel
            assert diary.told(secrets) == []
            say()
            assert diary.told(secrets)
    assert not http.client.HTTPConnection.debuglevel


def failing_with(local: str) -> Exception:
    try:
        raise LookupError("something else")
    except LookupError as error:
        return error


def test_the_libraries_below_talk_at_debug_and_are_heard(stages: Stages) -> None:
    with Provider() as provider, Diary() as diary:
        config = OIDCConfig(token_endpoint=f"{provider.issuer_url}/token")
        token = get_token(config, ClientCredentials(provider.client_id, provider.client_secret))
        assert "urllib3.connectionpool" in diary.text()
        assert diary.told([token.access_token, provider.client_secret]) == []

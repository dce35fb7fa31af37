"""What a manager logs: fixed names and fields, through the standard library, silent by default."""

import logging
import subprocess
import sys

import pytest
import structlog
from fakes import failing, minted, refused
from managers import Start
from structlog.testing import capture_logs
from threads import eventually

from oidc_actor import Password, TokenManager
from oidc_actor.manager.log import EVENTS

ALWAYS = {"manager", "issuer", "flight"}


@pytest.fixture
def logged(caplog):
    caplog.set_level(logging.DEBUG, "oidc_actor")
    return lambda: [(record.event, record.fields) for record in caplog.records if record.name == "oidc_actor"]


def test_a_whole_story(start: Start, clock, transport, logged) -> None:
    transport.then(
        minted("a", refresh_token="r", expires_in=None),
        failing(500),
        refused("invalid_grant"),
        refused("invalid_client", 401),
    )
    start(name="m", auth=Password("user", "pass", "id", "secret"))
    TokenManager.get_token("m")
    for failures in (1, 2):
        clock.advance(240 if failures == 1 else 30)
        eventually(lambda: TokenManager.health("m").consecutive_failures == failures)  # noqa: B023
    TokenManager.force_refresh("m", rejected="a")
    TokenManager.stop("m")
    names = [event for event, _ in logged()]
    assert names == [
        "manager_started",
        "provider_discovered",
        "token_obtained",
        "lifetime_assumed",
        "request_failed",
        "refresh_token_refused",
        "blocked",
        "token_rejected",
        "manager_stopped",
    ]
    for event, fields in logged():
        documented = {name for name in EVENTS[event][1].split(", ") if name}
        assert set(fields) == ALWAYS | documented, event
        assert fields["manager"] == "m"
        assert fields["issuer"] == transport.issuer
    assert [fields["flight"] for _, fields in logged()] == [0, 1, 1, 1, 2, 3, 3, 3, 3]


def test_levels_are_those_of_the_table(start: Start, transport, caplog) -> None:
    transport.default = refused("invalid_client", 401)
    with caplog.at_level(logging.DEBUG, "oidc_actor"):
        start(name="m")
        eventually(lambda: TokenManager.health("m").blocked)
    for record in caplog.records:
        if record.name == "oidc_actor":
            assert record.levelname.lower() == EVENTS[record.event][0]


def test_an_applications_structlog_configuration_applies(start: Start) -> None:
    with capture_logs() as logs:
        start(name="m")
        TokenManager.get_token("m")
        eventually(lambda: [entry for entry in logs if entry["event"] == "token_obtained"])
    (entry,) = [entry for entry in logs if entry["event"] == "token_obtained"]
    assert entry["manager"] == "m"
    assert entry["log_level"] == "info"
    structlog.reset_defaults()


def test_it_is_silent_by_default() -> None:
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from fakes import *; from oidc_actor import TokenManager, NoTokenError\n"
        "transport = ScriptedTransport(); transport.default = refused('invalid_client', 401)\n"
        "ref = TokenManager.start_link(auth=AUTH, issuer_url=ISSUER, transport=transport)\n"
        "try: TokenManager.get_token(ref)\n"
        "except NoTokenError: pass\n"
        "TokenManager.stop(ref)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=True)
    assert done.stdout + done.stderr == b""

"""The managers behind the names, and the files, while the configuration changes. A scripted transport, no process."""

from __future__ import annotations

import logging
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from fakes import ISSUER, UNREACHABLE, Fixed, ScriptedTransport, metadata, minted, refused
from managers import leave_nothing_behind
from threads import DEADLINE_S, eventually

from oidc_actor import (
    ClientCredentials,
    ManagerToken,
    NoTokenError,
    RetryPolicy,
    TokenExchange,
    TokenManager,
    TokenPool,
)
from oidc_actor.metrics import ready
from oidc_actor.sidecar import token_files
from oidc_actor.sidecar.fleet import POOL, Changes, Fleet
from oidc_actor.sidecar.manager_tables import ManagerConfig
from oidc_actor.testing import ManualClock
from oidc_actor.transport import Request, Response
from oidc_actor.values.secrets import Secret
from oidc_actor.values.tokens import TokenResponse
from supervision import whereis


@pytest.fixture
def fleet():
    running = Fleet()
    yield running
    running.stop(DEADLINE_S)
    leave_nothing_behind()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def config(clock):
    no_jitter = Fixed(0)

    def make(name: str, transport: ScriptedTransport, token_file: Path | None = None, **more: Any) -> ManagerConfig:
        auth = ClientCredentials("id", Secret("s"), scopes=[f"of-{id(transport)}"])  # another token than the others'
        options = {"auth": auth, "issuer_url": ISSUER, "transport": transport, "clock": clock, "rng": no_jitter}
        return ManagerConfig(name, {**options, **more}, token_file)

    return make


def applied(fleet: Fleet, *configs: ManagerConfig) -> Changes:
    return fleet.apply({one.name: one for one in configs})


def text(fleet: Fleet, name: str) -> str:
    assert name in fleet.names
    return TokenPool.get_access_token(POOL, name)


def test_an_unchanged_manager_keeps_its_token(fleet, config) -> None:
    transport = ScriptedTransport()
    assert applied(fleet, config("a", transport)) == Changes(started=1)
    assert text(fleet, "a") == "t1"
    assert applied(fleet, config("a", transport)) == Changes(kept=1)
    assert text(fleet, "a") == "t1"
    assert len(transport.posts) == 1


def test_a_changed_manager_serves_until_its_successor_has_a_token(fleet, config) -> None:
    before, after = ScriptedTransport(minted("old")), ScriptedTransport(minted("new"))
    applied(fleet, config("a", before))
    assert text(fleet, "a") == "old"
    ref = whereis("a")
    with after.held_back():
        assert applied(fleet, config("a", after)) == Changes(replaced=1)
        after.wait_for_requests(1)
        assert text(fleet, "a") == "old"
        assert fleet.not_ready() == []
    eventually(lambda: text(fleet, "a") == "new")
    assert (fleet.names, whereis("a")) == (["a"], ref)


def test_a_token_that_came_before_anybody_listened_is_in_the_file(fleet, config, monkeypatch, tmp_path) -> None:
    subscribe, path = TokenManager.subscribe, tmp_path / "a.token"

    def subscribe_late(server: str, listener: Any) -> Any:
        eventually(lambda: ready(server))
        return subscribe(server, listener)

    monkeypatch.setattr(TokenManager, "subscribe", subscribe_late)
    applied(fleet, config("a", ScriptedTransport(), path))
    eventually(lambda: path.exists() and path.read_text() == "t1")


def test_new_credentials_that_do_not_work_take_no_token_away(fleet, config) -> None:
    applied(fleet, config("a", ScriptedTransport(minted("old"))))
    assert text(fleet, "a") == "old"
    broken = ScriptedTransport()
    broken.goes_down(UNREACHABLE)
    applied(fleet, config("a", broken))
    broken.wait_for_requests(1)
    assert text(fleet, "a") == "old"


def test_once_the_old_token_has_ended_readers_wait_for_the_new_one(fleet, config, clock) -> None:
    before = ScriptedTransport(minted("old"))
    applied(fleet, config("a", before))
    assert text(fleet, "a") == "old"
    before.goes_down()
    after = ScriptedTransport()
    with after.held_back():
        applied(fleet, config("a", after))
        after.wait_for_requests(1)
        clock.advance(301)
        assert fleet.not_ready() == ["a"]
    eventually(lambda: fleet.not_ready() == [])


def test_a_successor_that_never_came_is_overtaken_by_the_next(fleet, config) -> None:
    applied(fleet, config("a", ScriptedTransport(minted("old"))))
    assert text(fleet, "a") == "old"
    broken = ScriptedTransport()
    broken.goes_down(UNREACHABLE)
    applied(fleet, config("a", broken))
    assert applied(fleet, config("a", ScriptedTransport(minted("newest")))) == Changes(replaced=1)
    eventually(lambda: text(fleet, "a") == "newest")
    eventually(lambda: fleet.refused() == [], "no refusal any more")


def test_a_refused_table_leaves_the_one_before_in_force_and_the_next_reload_tries_it_again(
    fleet, config, clock, caplog
) -> None:
    before, after = ScriptedTransport(), ScriptedTransport(refused("invalid_client"), minted("new"))
    applied(fleet, config("a", before))
    assert text(fleet, "a") == "t1"
    with caplog.at_level(logging.WARNING, "oidc_actor"):
        assert applied(fleet, config("a", after)) == Changes(replaced=1)
        eventually(lambda: fleet.refused() == ["a"], "the refusal")
        eventually(lambda: "replacement_refused" in caplog.text, "its line in the log")
    assert "invalid_client" in str(TokenPool.health(POOL)["a"].last_error)
    assert text(fleet, "a") == "t1"
    clock.advance(240)
    eventually(lambda: text(fleet, "a") == "t2", "the refresh with the table before")
    assert applied(fleet, config("a", after)) == Changes(kept=1)
    eventually(lambda: text(fleet, "a") == "new")
    eventually(lambda: fleet.refused() == [], "no refusal any more")


def test_a_removed_manager_is_gone_and_others_are_not(fleet, config) -> None:
    transport = ScriptedTransport()
    applied(fleet, config("a", transport), config("b", transport))
    assert applied(fleet, config("b", transport)) == Changes(kept=1, stopped=1)
    assert fleet.names == ["b"]
    assert whereis("a") is None


def test_a_token_file_follows_the_token(fleet, config, clock, tmp_path) -> None:
    path = tmp_path / "a.token"
    transport = ScriptedTransport()
    applied(fleet, config("a", transport, path))
    eventually(lambda: path.exists() and path.read_text() == "t1")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    clock.advance(240)
    eventually(lambda: path.read_text() == "t2")
    applied(fleet, config("a", ScriptedTransport(minted("other")), path))
    eventually(lambda: path.read_text() == "other")
    assert [one.name for one in tmp_path.iterdir()] == ["a.token"]


@pytest.mark.parametrize("works", [True, False])
def test_a_file_has_the_new_token_before_the_old_one_is_revoked(
    fleet, config, tmp_path, monkeypatch, works: bool
) -> None:
    path, revoked, kept, replace = tmp_path / "a.token", threading.Event(), [], token_files.replace_file

    class Revoking(ScriptedTransport):
        def __call__(self, request: Request, /) -> Response:
            if not request.url.endswith("/revoke"):
                return super().__call__(request)
            kept.append(path.read_text())
            revoked.set()
            return Response(200)

    def write_slowly(path: Path, mode: int, token: TokenResponse) -> str | None:
        if token.access_token == "new":
            revoked.wait(0.2)
        return replace(path, mode, token) if works or token.access_token == "old" else "disk full"

    monkeypatch.setattr(token_files, "replace_file", write_slowly)
    before = Revoking(minted("old"))
    before.discovery = metadata(ISSUER, revocation_endpoint=f"{ISSUER}/revoke")
    applied(fleet, config("a", before, path, revoke_on_stop=True))
    eventually(lambda: path.exists() and path.read_text() == "old")
    applied(fleet, config("a", ScriptedTransport(minted("new")), path))
    eventually(lambda: kept)
    assert kept == ["new" if works else "old"]


def test_files_move_appear_and_go_with_the_configuration(fleet, config, tmp_path) -> None:
    transport = ScriptedTransport()
    first, second = tmp_path / "first", tmp_path / "second"
    applied(fleet, config("a", transport, first), config("b", transport, second))
    eventually(lambda: first.exists() and second.exists())
    token = first.read_text()
    assert applied(fleet, config("a", transport), config("b", transport, first)) == Changes(kept=2)
    eventually(lambda: first.exists() and first.read_text() not in ("", token))
    assert not second.exists()
    applied(fleet, config("a", transport, second))
    eventually(lambda: second.exists() and second.read_text() == token)
    assert not first.exists()


def test_a_file_that_cannot_be_written_is_logged_and_tried_again(fleet, config, tmp_path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(token_files, "RETRY_S", 0.01)
    path = tmp_path / "missing" / "a.token"
    with caplog.at_level(logging.ERROR, "oidc_actor.run"):
        applied(fleet, config("a", ScriptedTransport(), path))
        eventually(lambda: [record for record in caplog.records if record.event == "token_file_failed"])
    assert "missing' does not exist: create it" in caplog.text
    path.parent.mkdir()
    eventually(path.exists)
    assert path.read_text() == "t1"
    assert "t1" not in caplog.text


def test_a_file_is_replaced_and_never_written_through(tmp_path) -> None:
    path, victim = tmp_path / "token", tmp_path / "victim"
    victim.write_text("untouched")
    path.symlink_to(victim)
    (tmp_path / ".token.new").symlink_to(victim)
    assert token_files.replace_file(path, 0o600, TokenResponse(access_token="secret")) is None
    assert victim.read_text() == "untouched"
    assert not path.is_symlink()
    assert path.read_text() == "secret"


# --- managers that trade the tokens of others -------------------------------------------------------------------------


@pytest.fixture
def trading(fleet):
    """A manager that trades the token of `a`; it tries once an hour, unless it is woken."""
    at_the_end = Fixed(1)

    def make(transport: ScriptedTransport) -> ManagerConfig:
        options = {
            "auth": TokenExchange(ManagerToken("a")),
            "issuer_url": ISSUER,
            "transport": transport,
            "min_interval_seconds": 0.01,
            "retry": RetryPolicy(initial_s=3600, maximum_s=3600),
            "rng": at_the_end,
        }
        return ManagerConfig("trader", options, uses=frozenset({"a"}))

    return make


def test_a_manager_is_woken_by_the_token_it_waits_for(fleet, config, trading, caplog) -> None:
    one, other = ScriptedTransport(minted("traded")), ScriptedTransport(minted("subject"))
    with caplog.at_level(logging.WARNING, "oidc_actor"), other.held_back():
        applied(fleet, trading(one), config("a", other))
        other.wait_for_requests(1)
        eventually(lambda: "request_failed" in caplog.text, "the attempt without a subject")
        assert "the manager a has no valid token yet" in caplog.text  # it started first, wherever it is in the file
        assert fleet.not_ready() == ["a", "trader"]
        assert not one.posts
    eventually(lambda: fleet.not_ready() == [])
    assert text(fleet, "trader") == "traded"
    assert [form["subject_token"] for form in one.forms] == ["subject"]


def test_a_manager_whose_renewal_was_refused_is_woken_and_one_in_order_is_not(fleet, config, trading) -> None:
    one, other = ScriptedTransport(), ScriptedTransport()
    applied(fleet, config("a", other, min_interval_seconds=0), trading(one))
    eventually(lambda: fleet.not_ready() == [])
    eventually(lambda: (TokenManager.health("trader").next_attempt_in_s or 0) > 1, "its rest")
    had, refreshes = text(fleet, "trader"), TokenManager.health("trader").refreshes
    came = threading.Event()
    TokenManager.subscribe("a", lambda _: came.set())  # told after the fleet
    TokenManager.force_refresh("a", wait=True, timeout=DEADLINE_S)
    assert came.wait(DEADLINE_S)
    health = TokenManager.health("trader")
    assert (health.refreshing, health.refreshes) == (False, refreshes)
    assert (health.next_attempt_in_s or 0) > 1
    one.then(refused("invalid_grant"))
    with pytest.raises(NoTokenError):
        TokenManager.force_refresh("trader", wait=True, timeout=DEADLINE_S)
    assert text(fleet, "trader") == had
    TokenManager.force_refresh("a", wait=True, timeout=DEADLINE_S)
    eventually(lambda: text(fleet, "trader") != had, "the token that the other's new one brought")


def test_a_manager_that_is_used_is_replaced_and_its_user_goes_on_with_the_successor(fleet, config, trading) -> None:
    one = ScriptedTransport()
    applied(fleet, config("a", ScriptedTransport(minted("old"))), trading(one))
    eventually(lambda: fleet.not_ready() == [])
    changed = config("a", ScriptedTransport(minted("new")))
    assert applied(fleet, changed, trading(one)) == Changes(kept=1, replaced=1)
    eventually(lambda: text(fleet, "a") == "new")
    assert text(fleet, "trader") == "t1"
    TokenManager.force_refresh("trader", wait=True, timeout=DEADLINE_S)
    assert [form["subject_token"] for form in one.forms] == ["old", "new"]


# --- metrics ----------------------------------------------------------------------------------------------------------


def scraped(fleet: Fleet) -> dict[tuple[str, str], Any]:
    readings = fleet.readings(1000)
    found = {(one.manager, one.issuer): one for one in readings}
    assert len(found) == len(readings), "a series twice"
    return found


def test_a_replaced_manager_keeps_its_label_and_its_counters(fleet, config) -> None:
    before, after = ScriptedTransport(minted("old")), ScriptedTransport(minted("new"))
    applied(fleet, config("a", before, min_interval_seconds=0))
    assert text(fleet, "a") == "old"
    for number in range(2):
        before.then(minted(f"older{number}"))
        TokenManager.force_refresh("a", wait=True, timeout=DEADLINE_S)
    eventually(lambda: scraped(fleet)["a", ISSUER].counts["token_obtained"] == 3)  # a token serves before it is counted
    with after.held_back():
        applied(fleet, config("a", after))
        after.wait_for_requests(1)
        ((label, during),) = scraped(fleet).items()
        assert (label, during.counts["token_obtained"]) == (("a", ISSUER), 3)
        assert during.expires_in_s > 0  # the one that serves; its successor has none
    eventually(lambda: text(fleet, "a") == "new")
    eventually(lambda: scraped(fleet)["a", ISSUER].counts["token_obtained"] == 4)
    ((label, since),) = scraped(fleet).items()
    assert (label, since.restarts) == (("a", ISSUER), 0)
    assert since.consecutive_failures == 0


def test_no_scrape_sees_a_counter_that_falls(fleet, config) -> None:
    over, fallen = threading.Event(), []

    def scrape() -> None:
        seen: dict[tuple[str, str, str], int] = {}
        while not over.wait(0.001):
            for label, reading in scraped(fleet).items():
                for what, count in reading.counts.items():
                    if count < seen.get((*label, what), 0):
                        fallen.append((label, what))
                    seen[*label, what] = count

    thread = threading.Thread(target=scrape)
    thread.start()
    for number in range(12):
        applied(fleet, config("a", ScriptedTransport(minted(f"token{number}"))))
        if number % 3:  # the others are overtaken
            eventually(lambda number=number: text(fleet, "a") == f"token{number}")
    over.set()
    thread.join(DEADLINE_S)
    assert fallen == []


def test_with_another_issuer_a_manager_counts_on_under_that_one(fleet, config) -> None:
    other = "https://other.example.com"
    applied(fleet, config("a", ScriptedTransport(minted("old"))))
    assert text(fleet, "a") == "old"
    transport = ScriptedTransport(minted("new"))
    transport.discovery = metadata(other)
    applied(fleet, config("a", transport, issuer_url=other))
    eventually(lambda: text(fleet, "a") == "new")
    eventually(lambda: scraped(fleet)["a", other].counts["token_obtained"] == 2)  # a token serves before it is counted
    ((label, found),) = scraped(fleet).items()
    assert label == ("a", other)
    assert found.expires_in_s > 0


def test_a_removed_manager_is_in_no_scrape(fleet, config) -> None:
    applied(fleet, config("a", ScriptedTransport()), config("b", ScriptedTransport()))
    applied(fleet, config("b", ScriptedTransport()))
    assert {label for label, _ in scraped(fleet)} == {"b"}

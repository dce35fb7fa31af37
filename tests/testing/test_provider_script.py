"""The embedded provider goes wrong when told to, and counts what was asked of it."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime

import pytest
import requests

from oidc_actor.testing import Provider

Ask = Callable[..., requests.Response]


def test_down_refuses_connections_and_up_answers_on_the_same_port(provider: Provider, ask: Ask) -> None:
    before = provider.issuer_url
    for _ in range(3):
        provider.down()
        with pytest.raises(requests.ConnectionError, match="refused"):
            ask()
        provider.up()
        assert ask().status_code == 200
    assert provider.issuer_url == before
    assert provider.token_requests == 3


def test_the_port_is_nobody_elses_while_it_is_down(provider: Provider) -> None:
    provider.down()
    port = int(provider.issuer_url.rpartition(":")[2])
    with socket.socket() as thief, pytest.raises(OSError, match="in use"):
        thief.bind(("127.0.0.1", port))


def test_down_and_up_may_be_said_twice(provider: Provider, ask: Ask) -> None:
    provider.down()
    provider.down()
    provider.up()
    provider.up()
    assert ask().status_code == 200


def test_refresh_tokens_survive_an_outage(provider: Provider, ask: Ask) -> None:
    token = ask("password", username=provider.username, password=provider.password).json()["refresh_token"]
    provider.down()
    provider.up()
    assert ask("refresh_token", refresh_token=token).status_code == 200


def test_going_down_cuts_a_request_under_way_and_its_token_is_never_made(provider: Provider, ask: Ask) -> None:
    provider.delay_s = 60
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(ask)
        assert provider.wait_for_requests(1, timeout_s=10)
        provider.down()
        with pytest.raises(requests.ConnectionError):
            under_way.result(10)
    assert (provider.token_requests, provider.tokens_issued) == (1, 0)


def test_wait_for_requests_gives_up_at_its_deadline(provider: Provider) -> None:
    assert not provider.wait_for_requests(1, timeout_s=0.01)


def test_a_delay_is_taken_by_each_request_on_its_own(provider: Provider, ask: Ask) -> None:
    provider.delay_s = 0.2
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: ask(), range(4)))
    assert all(answer.elapsed.total_seconds() >= 0.2 for answer in answers)
    assert all(answer.elapsed.total_seconds() < 0.8 for answer in answers)


def test_fail_next_fails_that_many_and_then_answers(provider: Provider, ask: Ask) -> None:
    provider.fail_next(2, status=429, headers={"Retry-After": "7"})
    answers = [ask() for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 429, 200]
    assert answers[0].headers["Retry-After"] == "7"
    assert answers[0].headers["Content-Type"].startswith("text/html")
    assert (provider.token_requests, provider.tokens_issued) == (3, 1)


def test_fail_next_with_an_oauth_error(provider: Provider, ask: Ask) -> None:
    provider.fail_next(status=400, error="invalid_scope", error_description="no such scope")
    answer = ask()
    assert answer.json() == {"error": "invalid_scope", "error_description": "no such scope"}
    assert answer.headers["Content-Type"] == "application/json"


def test_fail_next_with_a_body_of_ones_own(provider: Provider, ask: Ask) -> None:
    provider.fail_next(status=200, body=b"\x00\xff", headers={"Content-Type": "application/json"})
    answer = ask()
    assert (answer.status_code, answer.content) == (200, b"\x00\xff")
    assert answer.headers["Content-Type"] == "application/json"


def test_faults_stand_in_line_before_the_standing_one_and_heal_ends_them(provider: Provider, ask: Ask) -> None:
    provider.fail_next(None, status=500)
    provider.fail_next(1, status=502)
    assert [ask().status_code for _ in range(3)] == [502, 500, 500]
    provider.heal()
    assert ask().status_code == 200


def test_a_fault_hits_its_endpoint_only(provider: Provider, ask: Ask) -> None:
    provider.fail_next(status=500, endpoint="discovery")
    assert ask().status_code == 200
    assert requests.get(f"{provider.issuer_url}/.well-known/openid-configuration", timeout=10).status_code == 500


def test_one_answer_can_be_slow(provider: Provider, ask: Ask) -> None:
    provider.answer_next(delay_s=0.2)
    assert [ask().elapsed.total_seconds() >= 0.2 for _ in range(2)] == [True, False]
    provider.fail_next(delay_s=0.2)
    slow = ask()
    assert (slow.status_code, slow.elapsed.total_seconds() >= 0.2) == (503, True)


def test_one_token_can_have_a_life_of_its_own(provider: Provider, ask: Ask) -> None:
    provider.answer_next(2, token_lifetime_s=0.5)
    answers = [ask().json() for _ in range(3)]
    assert [answer["expires_in"] for answer in answers] == [0.5, 0.5, 10]
    claims = requests.get(
        provider.resource_url, headers={"Authorization": f"Bearer {answers[1]['access_token']}"}, timeout=10
    ).json()
    assert claims["exp"] - claims["iat"] == pytest.approx(0.5)


def test_members_of_one_answer_can_be_wrong_or_missing(provider: Provider, ask: Ask) -> None:
    provider.answer_next(changes={"expires_in": "soon", "extra": [1]})
    provider.answer_next(omit=["expires_in"])
    wrong, missing, right = (ask().json() for _ in range(3))
    assert (wrong["expires_in"], wrong["extra"]) == ("soon", [1])
    assert set(missing) == set(right) - {"expires_in"}
    assert provider.tokens_issued == 3


def test_one_refresh_can_do_without_rotation_or_forgive_reuse(provider: Provider, ask: Ask) -> None:
    def redeem(token: str) -> requests.Response:
        return ask("refresh_token", refresh_token=token)

    first = ask("password", username=provider.username, password=provider.password).json()["refresh_token"]
    provider.answer_next(rotation=False)
    assert "refresh_token" not in redeem(first).json()
    second = redeem(first).json()["refresh_token"]
    provider.answer_next(reuse_detection=False)
    assert redeem(first).json()["error"] == "invalid_grant"
    third = redeem(second)
    assert third.status_code == 200
    assert redeem(second).status_code == 400
    assert redeem(third.json()["refresh_token"]).json()["error"] == "invalid_grant"


def test_the_token_endpoint_can_move(provider: Provider, ask: Ask) -> None:
    old = provider.token_endpoint
    provider.token_path = "/v2/token"
    document = requests.get(f"{provider.issuer_url}/.well-known/openid-configuration", timeout=10).json()
    assert document["token_endpoint"] == provider.token_endpoint == f"{provider.issuer_url}/v2/token"
    assert requests.post(old, timeout=10).status_code == 404
    assert ask().status_code == 200
    assert provider.token_requests == 1


def test_behind_a_proxy_it_calls_itself_by_the_proxys_address(provider: Provider, ask: Ask) -> None:
    provider.public_url = "http://127.0.0.1:1"
    document = requests.get(f"{provider.listen_url}/.well-known/openid-configuration", timeout=10).json()
    assert document["issuer"] == provider.issuer_url == "http://127.0.0.1:1"
    assert document["token_endpoint"] == "http://127.0.0.1:1/token"
    provider.public_url = None
    assert provider.issuer_url == provider.listen_url


def test_a_lost_answer_was_carried_out(provider: Provider, ask: Ask) -> None:
    token = ask("password", username=provider.username, password=provider.password).json()["refresh_token"]
    provider.lose_next()
    with pytest.raises(requests.ConnectionError):
        ask("refresh_token", refresh_token=token)
    assert provider.tokens_issued == 2
    assert ask("refresh_token", refresh_token=token).json()["error"] == "invalid_grant"


def test_requests_are_counted_by_grant(provider: Provider, ask: Ask) -> None:
    ask()
    ask()
    ask("password", username=provider.username, password="wrong")
    assert provider.token_requests_by_grant == {"client_credentials": 2, "password": 1}


def test_its_clock_can_be_wrong(provider: Provider, ask: Ask) -> None:
    right = parsedate_to_datetime(ask().headers["Date"])
    provider.clock_skew_s = 3600
    wrong = parsedate_to_datetime(ask().headers["Date"])
    assert 3590 <= (wrong - right).total_seconds() <= 3610


def test_stopping_leaves_no_thread_and_no_port(recwarn: pytest.WarningsRecorder) -> None:
    before = set(threading.enumerate())
    with Provider() as provider:
        port = int(provider.issuer_url.rpartition(":")[2])
    assert set(threading.enumerate()) <= before
    with Provider(port=port) as again:
        assert again.issuer_url.endswith(f":{port}")


def test_tls_is_accepted_by_those_who_trust_its_authority() -> None:
    with Provider(tls=True) as provider:
        bundle = provider.ca_bundle
        assert bundle is not None
        url = f"{provider.issuer_url}/jwks"
        assert requests.get(url, verify=str(bundle), timeout=10).status_code == 200
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(url, timeout=10)
        provider.down()
        with pytest.raises(requests.ConnectionError, match="refused"):
            requests.get(url, verify=str(bundle), timeout=10)
        provider.up()
        assert requests.get(url, verify=str(bundle), timeout=10).status_code == 200
    assert not bundle.exists()


@pytest.mark.parametrize("tls", [False, True])
def test_clients_that_say_nothing_hold_nobody_up(tls: bool, capfd: pytest.CaptureFixture[str]) -> None:
    with Provider(tls=tls) as provider, socket.socket() as silent:
        silent.connect(("127.0.0.1", int(provider.issuer_url.rpartition(":")[2])))
        answer = requests.get(
            f"{provider.issuer_url}/jwks", verify=str(provider.ca_bundle) if tls else True, timeout=10
        )
        assert answer.status_code == 200
        provider.down()
        silent.settimeout(10)
        assert silent.recv(1) == b""
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("tls", [False, True])
def test_going_down_cuts_a_slow_answer_quietly(tls: bool, capfd: pytest.CaptureFixture[str]) -> None:
    with Provider(tls=tls, delay_s=60) as provider, ThreadPoolExecutor(1) as pool:
        verify = str(provider.ca_bundle) if tls else True
        under_way = pool.submit(requests.get, f"{provider.issuer_url}/jwks", verify=verify, timeout=10)
        assert provider.wait_for_requests(1, timeout_s=10, endpoint="jwks")
        provider.down()
        with pytest.raises(requests.ConnectionError):
            under_way.result(10)
    assert capfd.readouterr() == ("", "")


def test_a_taken_port_is_an_os_error() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(OSError, match="in use"):
            Provider(port=other.getsockname()[1]).start()


def test_before_its_start_it_says_what_is_missing() -> None:
    with pytest.raises(RuntimeError, match="with statement"):
        _ = Provider().issuer_url
    assert repr(Provider()) == "<Provider not started>"


@pytest.mark.parametrize("lifetime_s", [0, -1])
def test_a_lifetime_must_be_positive(lifetime_s: float) -> None:
    with pytest.raises(ValueError, match="token_lifetime_s must be more than 0"):
        Provider(token_lifetime_s=lifetime_s)


@pytest.mark.parametrize("missing", ["authlib", "flask", "joserfc"])
def test_a_missing_extra_is_one_line(missing: str) -> None:
    script = f"import sys; sys.modules[{missing!r}] = None; from oidc_actor.testing import Provider"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 1
    last = run.stderr.strip().splitlines()[-1]
    assert last.endswith(
        f'oidc_actor.testing needs {missing}, which is not installed: pip install "oidc-actor[testing]"'
    )


def test_an_address_with_nothing_behind_it_is_404_and_a_get_for_a_token_405(provider: Provider) -> None:
    assert requests.get(f"{provider.issuer_url}/realms/none", timeout=10).status_code == 404
    assert requests.post(f"{provider.issuer_url}/realms/none", timeout=10).status_code == 404
    assert requests.get(provider.token_endpoint, timeout=10).status_code == 405


def test_it_is_quiet(capfd: pytest.CaptureFixture[str], provider: Provider, ask: Ask) -> None:
    ask()
    ask("nonsense")
    provider.lose_next()
    with pytest.raises(requests.ConnectionError):
        ask()
    provider.down()
    assert capfd.readouterr() == ("", "")

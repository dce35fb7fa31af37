"""The sidecar as a process, before a real provider: what it serves, and what it refuses."""

from __future__ import annotations

import stat

import pytest
import requests
from sidecar.sidecar import DEADLINE_S, Sidecar
from threads import eventually

from oidc_actor.testing import Provider

HEADER = {"X-OIDC-Actor": "1"}


@pytest.fixture(scope="module")
def shared_provider():
    with Provider(token_lifetime_s=600) as running:
        yield running


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory, shared_provider):
    """One for all tests that only read; at the finest log level, whose output the last of them looks through."""
    directory = tmp_path_factory.mktemp("sidecar")
    (directory / "config.toml").write_text(
        f"""
        [server]
        unix_socket = "tokens.sock"
        tcp = "127.0.0.1:0"
        wait_seconds = 10

        [managers.a]
        issuer_url = "{shared_provider.issuer_url}"
        client_id = "{shared_provider.client_id}"
        client_secret = {{ env = "THE_SECRET" }}
        scopes = "read"
        token_file = "a.token"

        [managers.refused]
        issuer_url = "{shared_provider.issuer_url}"
        client_id = "nobody"
        client_secret = {{ env = "THE_SECRET" }}
        """
    )
    with Sidecar(directory, "debug", THE_SECRET=shared_provider.client_secret) as running:
        assert running.get("/token/a").token
        yield running


def accepted(provider: Provider, token: str) -> bool:
    answer = requests.get(provider.resource_url, headers={"Authorization": f"Bearer {token}"}, timeout=DEADLINE_S)
    return answer.status_code == 200


# --- what it serves ---------------------------------------------------------------------------------------------------


def test_a_token_that_the_provider_accepts(sidecar, shared_provider) -> None:
    reply = sidecar.get("/token/a")
    assert accepted(shared_provider, reply.token)
    assert set(reply.json) == {"access_token", "token_type", "scope", "expires_at"}
    assert (reply.json["token_type"], reply.json["scope"]) == ("Bearer", "read")
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["cache-control"] == "no-store"


def test_what_is_answered_at_once_is_the_same_answer(sidecar) -> None:
    at_once, in_a_task = sidecar.get("/token/a"), sidecar.get("/token/a?min_validity=0")
    assert (at_once.status, at_once.body) == (200, in_a_task.body)
    for reply in (at_once, in_a_task):
        assert [name for name, _ in reply.headers.items()] == [
            "date",
            "content-type",
            "content-length",
            "cache-control",
        ]
    assert at_once.headers.items()[1:] == in_a_task.headers.items()[1:]


def test_the_token_alone_for_scripts(sidecar) -> None:
    reply = sidecar.get("/token/a", Accept="text/plain")
    assert reply.body.decode() == sidecar.get("/token/a").token
    assert reply.headers["content-type"].startswith("text/plain")


def test_no_read_causes_a_request(sidecar, shared_provider) -> None:
    before = shared_provider.token_requests
    for _ in range(20):
        assert sidecar.get("/token/a").token
    assert shared_provider.token_requests == before


def test_a_token_that_must_live_longer_than_any_is_refused_and_costs_no_request(sidecar, shared_provider) -> None:
    assert sidecar.get("/token/a?min_validity=10").token
    before = shared_provider.token_requests
    for _ in range(20):
        reply = sidecar.get("/token/a?min_validity=100000")
        assert (reply.status, reply.json["error"]) == (503, "no_token")
    assert shared_provider.token_requests == before


@pytest.mark.parametrize(
    "query", ["min_validity=soon", "min_validity=-1", "min_validity=nan", "x=1", "min_validity=1&x=1", "&"]
)
def test_a_query_that_means_nothing(sidecar, query: str) -> None:
    assert sidecar.get(f"/token/a?{query}").status == 400


def test_a_manager_without_a_token_says_why(sidecar) -> None:
    reply = sidecar.get("/token/refused")
    assert (reply.status, reply.json["error"]) == (503, "no_token")
    assert "invalid_client" in reply.json["error_description"]
    assert int(reply.headers["retry-after"]) >= 1


def test_health_and_readiness(sidecar) -> None:
    assert sidecar.get("/healthz").status == 200
    reply = sidecar.get("/readyz")
    assert (reply.status, reply.json) == (503, {"ready": False, "not_ready": ["refused"]})


def test_metrics_of_all_managers(sidecar) -> None:
    text = sidecar.get("/metrics").body.decode()
    assert 'oidc_actor_manager_restarts_total{issuer="' in text
    assert 'manager="a"' in text
    assert 'manager="refused"' in text
    assert sidecar.get("/metrics", Accept="application/openmetrics-text").body.endswith(b"# EOF\n")


@pytest.mark.parametrize("path", ["/", "/token/", "/token/b", "/token/a/", "/token/../a", "/tokens/a", "/token/a@2"])
def test_paths_that_are_not_there(sidecar, path: str) -> None:
    reply = sidecar.get(path)
    assert (reply.status, reply.json["error"]) == (404, "not_found")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_methods_that_are_not_there(sidecar, method: str) -> None:
    reply = sidecar.get("/token/a", method)
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")


def test_head_has_no_body(sidecar) -> None:
    reply = sidecar.get("/token/a", "HEAD")
    assert (reply.status, reply.body) == (200, b"")


def test_the_socket_and_the_file_are_for_their_owner_alone(sidecar) -> None:
    path = sidecar.directory / "a.token"
    eventually(path.exists)
    assert path.read_text() == sidecar.get("/token/a").token
    assert [stat.S_IMODE(one.stat().st_mode) for one in (path, sidecar.socket)] == [0o600, 0o600]


# --- what it refuses --------------------------------------------------------------------------------------------------


def test_tcp_with_host_and_header(sidecar) -> None:
    reply = sidecar.get_tcp("/token/a", {"Host": f"127.0.0.1:{sidecar.tcp_port}", **HEADER})
    assert reply.token == sidecar.get("/token/a").token


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "127.0.0.1:{port}"},  # forged: a page cannot set the header
        {"Host": "evil.example:{port}", **HEADER},  # another host's name for this machine
        {"Host": "127.0.0.1", **HEADER},
        HEADER,
        {"Host": "127.0.0.1:{port}", "Origin": "https://evil.example", **HEADER},
        {"Host": "127.0.0.1:{port}", "Sec-Fetch-Site": "cross-site", **HEADER},
        {"Host": "evil.example", "X-Forwarded-Host": "127.0.0.1:{port}", **HEADER},
    ],
)
def test_a_forged_or_cross_host_request_gets_nothing(sidecar, headers: dict[str, str]) -> None:
    reply = sidecar.get_tcp("/token/a", {name: value.format(port=sidecar.tcp_port) for name, value in headers.items()})
    assert reply.status in (400, 403)
    assert sidecar.get("/token/a").token.encode() not in reply.body
    assert "access-control-allow-origin" not in reply.headers


def test_a_preflight_is_not_answered(sidecar) -> None:
    headers = {
        "Host": f"127.0.0.1:{sidecar.tcp_port}",
        "Origin": "https://evil.example",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "x-oidc-actor",
    }
    reply = sidecar.get_tcp("/token/a", headers, "OPTIONS")
    assert reply.status == 403
    assert not [name for name in reply.headers if name.lower().startswith("access-control")]


def test_probes_on_tcp_need_the_host_only(sidecar) -> None:
    host = {"Host": f"localhost:{sidecar.tcp_port}"}
    assert sidecar.get_tcp("/healthz", host).status == 200
    assert sidecar.get_tcp("/metrics", host).status == 200
    assert sidecar.get_tcp("/metrics", {"Host": "evil.example"}).status == 403


def test_nothing_secret_was_logged(sidecar, shared_provider) -> None:
    token = sidecar.get("/token/a").token
    log = sidecar.log
    assert "token_obtained" in log
    assert token not in log
    assert token.split(".")[2] not in log
    assert shared_provider.client_secret not in log
    assert "GET" not in log  # no access log

"""The application, called as a server calls it: what cannot be timed from outside."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from fakes import AUTH, ISSUER, ScriptedTransport, refused
from threads import DEADLINE_S, eventually

from oidc_actor import ClientCredentials, TokenManager
from oidc_actor.pool.members import Table
from oidc_actor.sidecar.asgi import Answer, Application, local_hosts
from oidc_actor.sidecar.fleet import Fleet
from oidc_actor.sidecar.manager_tables import ManagerConfig


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    running = Fleet()
    options = {"auth": AUTH, "issuer_url": ISSUER, "transport": ScriptedTransport()}
    running.apply({"a": ManagerConfig("a", options)})
    yield running
    running.stop(DEADLINE_S)


def ask(fleet: Any, server: tuple[str, int | None] | None = ("/run/s", None)) -> tuple[int, Any]:
    status, body = asked(fleet, server)
    return status, json.loads(body)


def asked(
    fleet: Any,
    server: tuple[str, int | None] | None = ("/run/s", None),
    path: str = "/token/a",
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> tuple[int, bytes]:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": headers, "server": server}
    asyncio.run(Application(fleet, 5.0, {})(scope, None, send))
    start, body = sent
    return start["status"], body["body"]


def test_metrics_in_a_version_that_there_is_not(fleet) -> None:
    accept = [(b"accept", b"application/openmetrics-text;version=abc")]
    status, body = asked(fleet, path="/metrics", headers=accept)
    assert (status, b"# HELP" in body) == (200, True)


def test_a_name_that_was_removed_while_it_was_asked(fleet, monkeypatch) -> None:
    assert ask(fleet)[1]["access_token"] == "t1"
    wait = Table.wait_async

    async def removed(self: Table, *args: Any) -> Any:
        fleet.apply({})
        return await wait(self, *args)

    monkeypatch.setattr(Table, "wait_async", removed)
    TokenManager.stop("a", timeout=DEADLINE_S)
    assert ask(fleet)[0] == 404


def test_a_pool_that_is_not_running(fleet) -> None:
    fleet.stop(DEADLINE_S)
    assert ask(fleet)[0] == 503
    assert json.loads(asked(fleet, path="/readyz")[1]) == {"ready": False, "not_ready": ["a"]}
    assert asked(fleet, path="/healthz")[0] == 503


def test_a_table_that_the_provider_refuses_shows_and_the_one_before_serves(fleet) -> None:
    assert ask(fleet)[1]["access_token"] == "t1"
    auth = ClientCredentials("other", "wrong")
    transport = ScriptedTransport(refused("invalid_client"))
    fleet.apply({"a": ManagerConfig("a", {"auth": auth, "issuer_url": ISSUER, "transport": transport})})
    eventually(lambda: fleet.refused())
    status, body = asked(fleet, path="/readyz")
    assert (status, json.loads(body)) == (200, {"ready": True, "not_ready": [], "refused": ["a"]})
    assert ask(fleet)[1]["access_token"] == "t1"


@pytest.mark.parametrize("server", [None, ("127.0.0.1", 8391), ("0.0.0.0", 80)])
def test_where_a_request_came_from_must_be_known(fleet, server) -> None:
    assert ask(fleet, server)[0] == 403


def test_a_fault_is_an_answer_and_shows_nothing(fleet, caplog, monkeypatch) -> None:
    def faulty(*_: Any, **__: Any) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(fleet, "token", faulty)
    with caplog.at_level(logging.ERROR, "oidc_actor.run"):
        status, body = ask(fleet)
    assert (status, body["error"]) == (500, "server_error")
    assert [record.event for record in caplog.records] == ["request_broken"]
    assert "a secret" not in caplog.text + json.dumps(body)


def test_no_answer_shows_its_body() -> None:
    assert repr(Answer(200, b"a token")) == "Answer(200)"


PORT, TARGET = 8391, b"/token/a"
ON_TCP: dict[bytes, bytes] = {b"host": b"127.0.0.1:8391", b"x-oidc-actor": b"1"}


@pytest.fixture
def at_once(fleet) -> Callable[..., bytes | None]:
    """Asks for the answer at once over TCP, after the first read."""
    application = Application(fleet, 5.0, {PORT: local_hosts("127.0.0.1", PORT)})

    async def send(_message: object) -> None: ...

    def asked(
        target: bytes = TARGET,
        headers: Mapping[bytes, bytes] = ON_TCP,
        server: tuple[str, int | None] | None = ("127.0.0.1", PORT),
    ) -> bytes | None:
        return application.at_once(target, headers.items(), server)

    assert asked() is None
    scope = {"method": "GET", "path": "/token/a", "query_string": b"", "headers": [], "server": ("/run/s", None)}
    asyncio.run(application(scope, None, send))
    return asked


def test_a_token_that_lives_is_answered_at_once(fleet, at_once) -> None:
    written = at_once()
    head, _, body = written.partition(b"\r\n\r\n")
    assert json.loads(body)["access_token"] == "t1"
    assert head.split(b"\r\n") == [
        b"content-type: application/json",
        b"content-length: %d" % len(body),
        b"cache-control: no-store",
    ]
    assert at_once(headers={}, server=("/run/s", None)) == written
    assert body == asked(fleet)[1]


@pytest.mark.parametrize(
    "headers",
    [
        {b"x-oidc-actor": b"1"},
        {**ON_TCP, b"host": b"evil.example"},
        {b"host": b"127.0.0.1:8391"},
        {**ON_TCP, b"origin": b"null"},
        {**ON_TCP, b"accept": b"text/plain"},
    ],
)
def test_a_guard_holds_for_what_is_answered_at_once_too(at_once, headers) -> None:
    assert at_once(headers=headers) is None


@pytest.mark.parametrize("server", [None, ("127.0.0.1", 80)])
def test_what_is_answered_at_once_came_by_a_known_way(at_once, server) -> None:
    assert at_once(server=server) is None


@pytest.mark.parametrize("target", [b"/token/b", b"/token/a?min_validity=5", b"/token/a/", b"/token/%61", b"/healthz"])
def test_nothing_else_is_answered_at_once(at_once, target) -> None:
    assert at_once(target) is None


@pytest.mark.parametrize(
    "end",
    [
        lambda fleet: TokenManager.force_refresh("a", rejected="t1"),
        lambda fleet: TokenManager.stop("a", timeout=DEADLINE_S),
        lambda fleet: fleet.apply({}),
        lambda fleet: fleet.stop(DEADLINE_S),
    ],
)
def test_a_token_that_is_none_any_more_is_not_answered_at_once(fleet, at_once, end) -> None:
    assert at_once() is not None
    end(fleet)
    assert at_once() is None

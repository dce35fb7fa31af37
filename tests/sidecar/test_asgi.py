"""The application, called as a server calls it: what cannot be timed from outside."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from fakes import AUTH, ISSUER, ScriptedTransport
from threads import DEADLINE_S

from oidc_actor import TokenManager
from oidc_actor.sidecar.asgi import Answer, Application


class Names:
    """Stands for the routes: says which manager to read, one answer after the other; the last one stays."""

    def __init__(self, *servers: str | None) -> None:
        self._servers = list(servers)

    def server_of(self, _name: str) -> str | None:
        return self._servers.pop(0) if len(self._servers) > 1 else self._servers[0]


@pytest.fixture
def manager() -> Iterator[str]:
    ref = TokenManager.start_link(auth=AUTH, issuer_url=ISSUER, transport=ScriptedTransport(), name="m")
    yield "m"
    TokenManager.stop(ref, timeout=DEADLINE_S)


def ask(routes: Any, server: tuple[str, int | None] | None = ("/run/s", None)) -> tuple[int, Any]:
    status, body = asked(routes, server)
    return status, json.loads(body)


def asked(
    routes: Any,
    server: tuple[str, int | None] | None = ("/run/s", None),
    path: str = "/token/a",
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> tuple[int, bytes]:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": headers, "server": server}
    asyncio.run(Application(routes, lambda: True, 5.0, {})(scope, None, send))
    start, body = sent
    return start["status"], body["body"]


def test_metrics_in_a_version_that_there_is_not(manager) -> None:
    accept = [(b"accept", b"application/openmetrics-text;version=abc")]
    status, body = asked(Names(manager), path="/metrics", headers=accept)
    assert (status, b"# HELP" in body) == (200, True)


def test_a_manager_that_was_replaced_while_it_was_asked_costs_nothing(manager) -> None:
    status, body = ask(Names("gone", manager))
    assert (status, body["access_token"]) == (200, "t1")


def test_a_manager_that_is_not_running(manager) -> None:
    assert ask(Names("gone"))[0] == 503


def test_a_name_that_was_removed_while_it_was_asked(manager) -> None:
    assert ask(Names("gone", None))[0] == 404


@pytest.mark.parametrize("server", [None, ("127.0.0.1", 8391), ("0.0.0.0", 80)])
def test_where_a_request_came_from_must_be_known(manager, server) -> None:
    assert ask(Names(manager), server)[0] == 403


def test_a_fault_is_an_answer_and_shows_nothing(caplog) -> None:
    class Faulty:
        def server_of(self, _name: str) -> str:
            raise RuntimeError("a secret")

    with caplog.at_level(logging.ERROR, "oidc_actor.run"):
        status, body = ask(Faulty())
    assert (status, body["error"]) == (500, "server_error")
    assert [record.event for record in caplog.records] == ["request_broken"]
    assert "a secret" not in caplog.text + json.dumps(body)


def test_no_answer_shows_its_body() -> None:
    assert repr(Answer(200, b"a token")) == "Answer(200)"

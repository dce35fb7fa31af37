"""What a refresh costs this process: one manager's whole cycle, and those of 5,000 managers of one issuer.

The provider is in a process of its own, so that only the client's processor time counts. A cycle begins with the wish for a new
token and ends when its reader has it: the message, the request, its answer, the new snapshot, the next timer. What it is
compared with posts the same form with the same client authentication to the same provider, and reads the answer's JSON.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode, urlsplit

import provider
import requests
from figures import Figure, at_least, at_most, median_ratio

from oidc_actor import ClientCredentials, OIDCConfig, TokenManager

BARE = "requests.post"
FORM = {"grant_type": "client_credentials"}
LIFE_S = 36_000
THREADS = 16
"""As many as the managers of one issuer have for their requests."""
WITHIN_S = 300.0


def run(*, quick: bool) -> list[Figure]:
    """Measure one manager beside its peers, then many beside requests alone."""
    if hasattr(os, "sched_setaffinity"):  # between two cores, what a change of threads costs is luck
        os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
    with provider.running() as endpoint:
        return one_manager(endpoint, *((11, 60) if quick else (31, 150))) + many_managers(
            endpoint, *((1_000, 5) if quick else (5_000, 7))
        )


# --- one --------------------------------------------------------------------------------------------------------------


def one_manager(endpoint: provider.Endpoint, rounds: int, count: int) -> list[Figure]:
    """One refresh after the other, by each in turns."""
    address = endpoint.token("one", life=LIFE_S)
    works = {
        BARE: by_requests(address, reads_environment=False),
        "requests.post, environment read": by_requests(address, reads_environment=True),
        "oidc_actor, force_refresh(wait=True)": by_manager(address),
        "http.client": by_http_client(address),
        **by_authlib(address),
    }
    spent: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):  # the first opens the connections, and does not count
        for name, work in works.items():
            began = time.process_time()
            for _ in range(count):
                work()
            if turn:
                spent[name].append((time.process_time() - began) / count * 1e6)
    TokenManager.stop("one")
    figures = []
    for name, found in spent.items():
        ratio = median_ratio(found, spent[BARE])
        goal = at_most(1.25, ratio) if name.startswith("oidc_actor") else {}
        figures.append(Figure("refresh", name, statistics.median(found), "us", ratio, BARE, **goal))
    return figures


def by_manager(address: str) -> Callable[[], object]:
    """A manager's whole cycle."""
    TokenManager.start_link(
        auth=ClientCredentials("id", "secret"),
        oidc_config=OIDCConfig(token_endpoint=address),
        name="one",
        min_interval_seconds=1e-6,
    )
    TokenManager.get_access_token("one")
    return lambda: TokenManager.force_refresh("one", wait=True)


def by_requests(address: str, *, reads_environment: bool) -> Callable[[], object]:
    """A session's ``post``, on a connection that is kept; as it is made, a session looks for proxies before each request."""
    session = requests.Session()
    session.trust_env = reads_environment
    return lambda: session.post(address, data=FORM, auth=("id", "secret"), timeout=10).json()


def by_http_client(address: str) -> Callable[[], object]:
    """What the standard library needs for the same request, on a connection that is kept."""
    where = urlsplit(address)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=10)
    fields = {
        "Authorization": "Basic " + base64.b64encode(b"id:secret").decode(),
        "Content-Type": "application/x-www-form-urlencoded",
    }

    def post() -> Any:
        connection.request("POST", f"{where.path}?{where.query}", urlencode(FORM), fields)
        return json.loads(connection.getresponse().read())

    return post


def by_authlib(address: str) -> dict[str, Callable[[], object]]:
    """Authlib's ``fetch_token``, which keeps the token in its session."""
    try:
        from authlib.integrations.requests_client import OAuth2Session
    except ImportError:
        print("  Authlib is left out: not installed")
        return {}
    session = OAuth2Session("id", "secret", token_endpoint=address)
    return {"Authlib, fetch_token": lambda: session.fetch_token(address, **FORM)}


# --- many -------------------------------------------------------------------------------------------------------------


def many_managers(endpoint: provider.Endpoint, managers: int, rounds: int) -> list[Figure]:
    """All managers of one issuer have a new token fetched at once; then as many requests are made by requests alone."""
    address = endpoint.token("many", life=LIFE_S)
    names = [f"m{number}" for number in range(managers)]
    for name in names:
        TokenManager.start_link(
            auth=ClientCredentials(name, "secret"), oidc_config=OIDCConfig(token_endpoint=address), name=name
        )
    for name in names:
        TokenManager.get_access_token(name, timeout=WITHIN_S)
    alone, ours = [], []
    for _ in range(rounds):
        alone.append(managers / _requests_alone(address, managers))
        ours.append(managers / _refresh_all(endpoint, names))
    for name in names:
        TokenManager.stop(name)
    ratio, rate = median_ratio(ours, alone), statistics.median(ours)
    label, beside = f"{managers:,} managers of one issuer: refreshes", f"requests.post, {THREADS} threads"
    return [
        Figure("refresh", label, rate, "/CPU-s", ratio, beside, **at_least(0.8, ratio)),
        Figure("refresh", f"{beside}: requests", statistics.median(alone), "/CPU-s"),
    ]


def _refresh_all(endpoint: provider.Endpoint, names: list[str]) -> float:
    """Processor seconds for a refresh of each."""
    time.sleep(1.0)  # not closer than the least interval between two attempts
    before, ends_at = endpoint.summary().requests, time.monotonic() + WITHIN_S
    began = time.process_time()
    for name in names:
        TokenManager.force_refresh(name)
    while endpoint.summary().requests < before + len(names):
        assert time.monotonic() < ends_at, "not all have been refreshed"
        time.sleep(0.2)
    while any(TokenManager.health(name).refreshing for name in names[-THREADS:]):
        time.sleep(0.05)
    return time.process_time() - began


def _requests_alone(address: str, count: int) -> float:
    """Processor seconds for as many requests, by threads that share a session."""
    session = requests.Session()
    session.trust_env = False
    session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=THREADS))
    left = iter(range(count))

    def work() -> None:
        for _ in left:
            session.post(address, data=FORM, auth=("id", "secret"), timeout=10).json()

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    began = time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WITHIN_S)
    return time.process_time() - began

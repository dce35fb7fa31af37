"""The page of errors, compared with the code and played: each public error, each public call, each adapter."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pages
import pytest
import requests
from pasted import pasted

import oidc_actor
import supervision
from oidc_actor import ClientCredentials, ConfigError, ManagerNotRunning, TokenManager, TokenPool, TokenSource
from oidc_actor.testing import Provider
from oidc_actor.values import errors
from supervision.server import ClassOrInstance

pytestmark = pytest.mark.usefixtures("stop_managers")

PAGE, HEADING = "oidc_actor/README.md", "What to catch"
SENDS = {
    "adapters.requests.OIDCAuth": "__call__",
    "adapters.httpx.OIDCAuth": "sync_auth_flow",
    "adapters.httpx2.OIDCAuth": "sync_auth_flow",
    "adapters.aiohttp.OIDCAuth": "__call__",
    "adapters.google_auth.OIDCCredentials": "before_request",
    "adapters.google_auth.SubjectToken": "get_subject_token",
    "adapters.azure_core.OIDCCredential": "get_token",
    "adapters.azure_core.AsyncOIDCCredential": "get_token",
    "adapters.redis.OIDCCredentials": "get_credentials",
}
"""The method that runs when a client sends a request."""


def table(first: str) -> list[list[str]]:
    """The cells of the section's table whose first heading is that."""
    lines = pages.section(PAGE, HEADING).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {first} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows


def named(cell: str) -> list[str]:
    return re.findall(r"`([\w.]+)(?:\(.*?\))?`", cell)


def documented(call: Any) -> set[str]:
    """The errors under `Raises:` in a docstring."""
    text = inspect.getdoc(call) or ""
    found = re.search(r"^Raises:\n((?: {4}.*\n?)+)", text, flags=re.MULTILINE)
    return set(re.findall(r"^ {4}(\w+):", found[1], flags=re.MULTILINE)) if found else set()


def resolve(path: str) -> Any:
    """`TokenManager.stop`, `oidc.discover`, `adapters.headers.headers`: what it is, below `oidc_actor`."""
    value: Any = oidc_actor
    for name in path.split("."):
        try:
            value = getattr(value, name)
        except AttributeError:
            value = importlib.import_module(f"{value.__name__}.{name}")
    return value


def public_errors() -> dict[str, type[BaseException]]:
    ours = [getattr(oidc_actor, name) for name in oidc_actor.__all__] + list(vars(errors).values())
    theirs = [getattr(supervision, name) for name in supervision.__all__]
    found = [*ours, *theirs, oidc_actor.transport.TransportError]
    signals = {supervision.Exit, supervision.Ignore}  # which a server raises, and no caller gets
    kinds = [one for one in found if isinstance(one, type) and issubclass(one, BaseException) and one not in signals]
    return {kind.__name__: kind for kind in kinds}


def public_calls() -> set[str]:
    kinds = (staticmethod, classmethod, ClassOrInstance)
    found = {
        f"TokenManager.{name}"
        for name, value in vars(TokenManager).items()
        if not name.startswith("_") and isinstance(value, kinds) and name not in {"start", "launch"}
    }
    found |= {f"TokenPool.{n}" for n, value in vars(TokenPool).items() if n[0] != "_" and isinstance(value, kinds)}
    found |= {f"TokenSource.{n}" for n, value in vars(TokenSource).items() if n[0] != "_" and callable(value)} | {
        "TokenSource"
    }
    found |= {f"oidc.{name}" for name in importlib.import_module("oidc_actor.oidc").__all__}
    found |= {"streams.on_renewal", "streams.renewals", "metrics.ready", "after_restore", "SecretFile.read"}
    adapters = ("headers", "grpc_retry", "weaviate")
    found |= {
        f"adapters.{module}.{name}"
        for module in adapters
        for name in importlib.import_module(f"oidc_actor.adapters.{module}").__all__
    }
    return found


def test_each_error_is_listed_with_what_it_is_a_kind_of() -> None:
    listed = {named(error)[0]: set(named(kinds)) for error, kinds, *_ in table("error")}
    assert listed == {
        name: {base.__name__ for base in kind.__bases__ if base.__name__ != "_ChildError"} or {"SupervisionError"}
        for name, kind in public_errors().items()
    }


CALLS = {call: set(named(raises)) for calls, raises, *_ in table("call") for call in named(calls)}


def test_each_call_is_listed() -> None:
    assert set(CALLS) == public_calls()


@pytest.mark.parametrize("call", CALLS)
def test_a_call_raises_what_its_docstring_says(call: str) -> None:
    assert CALLS[call] == documented(resolve(call) if call != "TokenSource" else TokenSource.__init__)


def test_each_adapter_raises_what_its_docstrings_say() -> None:
    rows = {
        adapter: (set(named(made)), set(named(sent)))
        for adapters, made, sent in table("adapter")
        for adapter in named(adapters)
    }
    assert set(rows) == {*SENDS, "adapters.grpc.OIDCAuth", "adapters.mcp.mcp_auth"}
    for adapter, (made, sent) in rows.items():
        kind = resolve(adapter)
        assert made == documented(kind.__init__ if isinstance(kind, type) else kind), adapter
        if adapter in SENDS:
            assert sent == documented(getattr(kind, SENDS[adapter])), adapter


# --- played -----------------------------------------------------------------------------------------------------------

USES: dict[str, Callable[..., Any]] = {
    "TokenManager.get_token": TokenManager.get_token,
    "TokenManager.get_access_token": TokenManager.get_access_token,
    "TokenManager.aget_token": lambda *args, **more: asyncio.run(TokenManager.aget_token(*args, **more)),
    "TokenManager.aget_access_token": lambda *args, **more: asyncio.run(TokenManager.aget_access_token(*args, **more)),
    "TokenManager.force_refresh": lambda *args, **more: TokenManager.force_refresh(*args, wait=True, **more),
    "TokenManager.health": TokenManager.health,
    "TokenManager.subscribe": lambda *args, **more: TokenManager.subscribe(*args, print, **more),
    "TokenManager.source": TokenManager.source,
    "TokenManager.stop": TokenManager.stop,
    "TokenSource": TokenSource,
}


@pytest.mark.parametrize("call", USES)
def test_without_a_manager(call: str) -> None:
    assert "ManagerNotRunning" in CALLS[call]
    with pytest.raises(ManagerNotRunning) as raised:
        USES[call]("nobody")
    assert raised.value.server == "nobody"


@pytest.mark.parametrize("call", USES)
def test_with_what_is_no_server(call: str) -> None:
    with pytest.raises(TypeError, match="server: expected the ref or the name of a TokenManager, got int"):
        USES[call](5)


@pytest.mark.parametrize("call", [call for call in USES if "NoTokenError" in CALLS[call]])
def test_with_a_time_that_is_none(call: str, token_manager: Any) -> None:
    assert "ConfigError" in CALLS[call]
    with pytest.raises(ConfigError, match="timeout: expected finite seconds of at least 0") as raised:
        USES[call]("nobody", timeout=-1)
    assert raised.value.option == ("timeout",)


def test_a_cast_to_nobody_is_silent() -> None:
    TokenManager.force_refresh("nobody")


@pytest.fixture
def program(oidc_provider: Provider) -> SimpleNamespace:
    names: dict[str, Any] = {}
    exec(compile(pasted("answer_without_token.py", oidc_provider), "answer_without_token.py", "exec"), names)
    return SimpleNamespace(**names)


def start(provider: Provider, secret: str) -> None:
    auth = ClientCredentials(provider.client_id, secret)
    TokenManager.start_link(name="billing.token", issuer_url=provider.issuer_url, auth=auth)


def test_the_recipe_with_a_token(program: SimpleNamespace, oidc_provider: Provider) -> None:
    start(oidc_provider, oidc_provider.client_secret)
    assert program.invoices()[0] == 200


def test_the_recipe_in_an_outage(program: SimpleNamespace, oidc_provider: Provider) -> None:
    oidc_provider.fail_next(None, status=503, headers={"Retry-After": "30"})
    start(oidc_provider, oidc_provider.client_secret)
    status, fields, _ = program.invoices()
    assert status == 503
    assert 25 <= int(fields["Retry-After"]) <= 30


def test_the_recipe_with_a_wrong_secret(program: SimpleNamespace, oidc_provider: Provider) -> None:
    start(oidc_provider, "mistyped")
    assert program.invoices()[0] == 500


def test_the_recipe_without_a_manager(program: SimpleNamespace, oidc_provider: Provider) -> None:
    with pytest.raises(ManagerNotRunning):
        program.invoices()


def test_a_client_librarys_own_errors_come_through(program: SimpleNamespace, oidc_provider: Provider) -> None:
    start(oidc_provider, oidc_provider.client_secret)
    TokenManager.get_token("billing.token")
    oidc_provider.down()
    with pytest.raises(requests.ConnectionError):
        program.invoices()

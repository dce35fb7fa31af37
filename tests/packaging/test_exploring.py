"""What a program shows to the person who explores it: public names, the version, defaults, values that read well."""

from __future__ import annotations

import ast
import importlib
import inspect
import pprint
import rlcompleter
import subprocess
import sys
from dataclasses import fields
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import pytest
import rich.pretty
from public_modules import MODULES

import oidc_actor
import supervision
from oidc_actor import ClientCredentials, OIDCConfig, Password, RefreshToken, TokenManager, TokenResponse
from oidc_actor.adapters.requests import OIDCAuth
from oidc_actor.manager.options import Options
from oidc_actor.transport import Request, Response
from oidc_actor.values.secrets import fingerprint

SECRET = "s3cr3t-xy"


@pytest.mark.parametrize("name", MODULES)
def test_a_module_shows_its_public_names_only(name: str) -> None:
    module = importlib.import_module(name)
    shown = dir(module)
    assert [one for one in shown if one != "__version__"] == sorted(module.__all__)
    assert all(hasattr(module, one) for one in shown)


def test_the_package_of_adapters_shows_those_that_were_imported() -> None:
    loaded = "import oidc_actor.adapters.requests, oidc_actor.adapters as a; print(dir(a))"
    assert subprocess.check_output([sys.executable, "-c", loaded], text=True, timeout=60).split() == ["['requests']"]


def test_the_manager_shows_what_users_call() -> None:
    assert dir(TokenManager) == [
        "aforce_refresh", "aget_access_token", "aget_token", "child_spec", "force_refresh", "get_access_token", "get_token",
        "health", "replace", "source", "start_link", "stop", "subscribe",
    ]  # fmt: skip


def test_a_manager_of_ones_own_shows_its_functions_too() -> None:
    class Mine(TokenManager):
        def audit(self) -> None: ...

    assert set(dir(Mine)) == {*dir(TokenManager), "audit"}


def test_both_packages_say_the_version_of_the_distribution() -> None:
    assert oidc_actor.__version__ == supervision.__version__ == metadata.version("oidc-actor")
    for package in (oidc_actor, supervision):
        with pytest.raises(AttributeError, match="has no attribute 'version'"):
            package.version


def test_the_version_is_not_read_before_it_is_asked_for() -> None:
    program = "import sys, oidc_actor; dir(oidc_actor); print(*sorted({'pykka', 'requests', 'supervision'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", program], text=True, timeout=60).split() == []


@pytest.mark.parametrize("function", [TokenManager.start_link, TokenManager.child_spec])
def test_every_option_of_a_manager_is_an_argument_with_its_default(function) -> None:
    shown = inspect.signature(function).parameters
    assert list(shown) == [one.name for one in fields(Options)]
    defaults = {one.name: one.default for one in fields(Options)}
    for name, parameter in shown.items():
        assert parameter.kind is parameter.KEYWORD_ONLY
        if name == "auth":
            assert parameter.default is parameter.empty
        elif name in ("clock", "rng"):  # functions, of which a person reads an address
            assert parameter.default is None
        else:
            assert parameter.default == defaults[name]


def test_the_typed_programs_use_every_public_name() -> None:
    """`.ci/run` has mypy and pyright check them, both strictly."""
    used: dict[str, set[str]] = {name: set() for name in MODULES}
    for file in (Path(__file__).parents[1] / "typing").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module in used:
                used[node.module] |= {one.name for one in node.names}
            elif isinstance(node, ast.Attribute):
                module, _, name = ast.unparse(node).rpartition(".")
                used.get(module if "." in module else f"oidc_actor.{module}", set()).add(name)
    unused = {name: set(importlib.import_module(name).__all__) - names for name, names in used.items()}
    assert not {name: left for name, left in unused.items() if left}


def values(name: str) -> dict[str, object]:
    """What a person looks at in a notebook, made with secrets in every place that takes one."""
    auth = ClientCredentials("id", SECRET, "a", extra={"tenant": SECRET})
    options: dict = {"auth": auth, "issuer_url": "https://id.example", "transport": refuse}
    ref = TokenManager.start_link(name=name, **options)
    return {
        f"<ActorRef for TokenManager '{name}' ({ref.actor_urn})>": ref,
        f"TokenSource({name})": TokenManager.source(ref),
        "<Subscription active>": TokenManager.subscribe(ref, print),
        "ClientCredentials(client_id='id', client_secret=Secret(***), scopes=('a',), extra=ExtraParameters(tenant))": auth,
        "Password(username='me', password=Secret(***))": Password("me", SECRET),
        "RefreshToken(client_id='id', refresh_token=Secret(***))": RefreshToken(SECRET, "id"),
        f"TokenResponse(Bearer {fingerprint(SECRET)}, expires_in=60, issued_at=2026-01-01T00:00:00+00:00)": TokenResponse(
            SECRET, expires_in=60, refresh_token=SECRET, id_token=SECRET, issued_at=datetime(2026, 1, 1, tzinfo=UTC)
        ),
        "OIDCConfig(token_endpoint='https://id.example/token')": OIDCConfig(token_endpoint="https://id.example/token"),
        f"OIDCAuth({name})": OIDCAuth(name),
        "Request(POST https://id.example/token)": Request("POST", "https://id.example/token", {}, SECRET.encode()),
        "Response(200, 9 bytes)": Response(200, {"Set-Cookie": SECRET}, SECRET),
    }


def refuse(request: Request) -> Response:
    return Response(503, body=SECRET)


def test_values_read_well_and_hold_no_secret(stop_managers) -> None:
    made = values("explored")
    assert {repr(value): value for value in made.values()} == made
    manager = TokenManager.health("explored")
    child = TokenManager.child_spec(auth=Password("me", SECRET), issuer_url="https://id.example")
    for value in (*made.values(), manager, child, list(made.values()), TokenManager):
        for shown in (repr(value), str(value), f"{value}", pprint.pformat(value), rich.pretty.pretty_repr(value)):
            assert SECRET not in shown
    assert repr(manager).startswith("Health(state='empty', ready=False, blocked=False, ")


def test_a_ref_says_its_names_and_that_its_actor_has_ended() -> None:
    ref = supervision.Server.start_link(name="one")
    supervision.register("two", ref)
    assert repr(ref) == f"<ActorRef for Server 'one' 'two' ({ref.actor_urn})>"
    supervision.stop(ref)
    assert repr(ref) == f"<ActorRef for Server ({ref.actor_urn}), ended>"


def test_credentials_show_what_was_given() -> None:
    assert dir(ClientCredentials("id")) == sorted(field.name for field in fields(ClientCredentials))


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("TokenManager.get_", {"TokenManager.get_token(", "TokenManager.get_access_token("}),
        ("oidc_actor.Client", {"oidc_actor.ClientCertificate(", "oidc_actor.ClientCredentials("}),
        ("supervision.mon", {"supervision.monitor("}),
        ("supervision.s", {"supervision.send_after(", "supervision.stop("}),
    ],
)
def test_a_prompt_completes_public_names(typed: str, completed: set[str]) -> None:
    names = {"oidc_actor": oidc_actor, "supervision": supervision, "TokenManager": TokenManager}
    completer = rlcompleter.Completer(names)
    assert {name for name in completer.attr_matches(typed) if name} == completed

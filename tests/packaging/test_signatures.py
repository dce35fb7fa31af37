"""What a user sees of the public names while he types: signatures that say every argument with its default, and hover texts."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import Callable
from inspect import Parameter, signature

import pytest
from public_modules import MODULES

from oidc_actor import ClientCredentials, IdentityAssertion, JWTBearer, Password, RefreshToken, TokenExchange
from oidc_actor.credentials.credentials import Credentials

GRANTS = (ClientCredentials, Password, RefreshToken, JWTBearer, TokenExchange, IdentityAssertion)
SHARED = [field.name for field in dataclasses.fields(Credentials)]


@pytest.mark.parametrize("grant", GRANTS)
def test_a_grant_takes_what_all_credentials_have_each_by_the_same_name_and_default(grant: type[Credentials]) -> None:
    """.github/design/design.md 3: the client and the scopes by position, too; what comes after them by name only."""
    parameters = signature(grant).parameters
    assert set(parameters) == {field.name for field in dataclasses.fields(grant)}
    assert {one.kind for one in parameters.values()} == {Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY}
    model = signature(ClientCredentials).parameters
    for name in SHARED[3:]:
        assert parameters[name] == model[name]
        assert parameters[name].kind is Parameter.KEYWORD_ONLY
        assert parameters[name].default is None


@pytest.mark.parametrize(
    ("grant", "by_position"),
    [
        (ClientCredentials, "client_id client_secret scopes"),
        (Password, "username password client_id client_secret scopes"),
        (RefreshToken, "refresh_token client_id client_secret scopes"),
        (JWTBearer, "assertion client_id client_secret scopes"),
        (TokenExchange, "subject_token client_id client_secret scopes"),
        (IdentityAssertion, "subject_token client_id client_secret scopes"),
    ],
)
def test_what_a_grant_takes_by_position(grant: type[Credentials], by_position: str) -> None:
    parameters = signature(grant).parameters.values()
    assert [one.name for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD] == by_position.split()


NOT_MADE_BY_USERS = {
    "Monitor",
    "Timer",
    "Instrumentation",
    "Spans",
    "Server",
    "Supervisor",
    "DynamicSupervisor",
    "Endpoint",
    "TokenPool",
    "Transport",
    "TokenStore",
    "Part",
}
"""Classes whose values come from a function, a `start_link` or a user's subclass; and four that are only for annotations."""

NOT_CALLED_BY_USERS = {
    "Backoff.delay", "Backoff.starts_over", "ChildCounts.of", "Instrument.series", "Monitor.deliver",
    "OIDCAuth.async_auth_flow", "OIDCAuth.sync_auth_flow", "Password.grant_parameters", "Timer.start",
    "TokenExchange.grant_parameters", "IdentityAssertion.grant_parameters", "IdentityAssertion.check",
    "IdentityAssertion.token_exchange",
    "TokenManager.start",
}  # fmt: skip
"""Methods that this package or a client library calls, and one that only refuses."""


def described(text: str, heading: str) -> list[str]:
    """The names under ``Args:`` or ``Attributes:``, in their order."""
    block = re.search(rf"^ *{heading}:\n(.*?)(?=\n\s*\n|\Z)", text, re.MULTILINE | re.DOTALL)
    lines = block[1].splitlines() if block else []
    indent = min((len(line) - len(line.lstrip()) for line in lines), default=0)
    return re.findall(rf"^ {{{indent}}}\**(\w+):", "\n".join(lines), re.MULTILINE)


def called_by_users() -> dict[str, Callable[..., object]]:
    """Every public class and function, and the public methods of those classes."""
    found: dict[str, Callable[..., object]] = {}
    for module in MODULES:
        for name in importlib.import_module(module).__all__:
            value = getattr(importlib.import_module(module), name)
            is_error = inspect.isclass(value) and issubclass(value, BaseException) and name != "TransportError"
            if callable(value) and not is_error and name not in NOT_MADE_BY_USERS:
                found[f"{module}.{name}"] = value
            for base in reversed(value.__mro__) if inspect.isclass(value) else ():
                ours = base.__module__.partition(".")[0] in ("oidc_actor", "supervision")
                for method in [one for one in vars(base) if ours and not one.startswith(("_", "on_"))]:
                    if callable(getattr(value, method)) and f"{name}.{method}" not in NOT_CALLED_BY_USERS:
                        found[f"{module}.{name}.{method}"] = getattr(value, method)
    return found


CALLED = called_by_users()


@pytest.mark.parametrize("name", CALLED)
def test_a_signature_and_the_arguments_of_its_hover_text_agree(name: str) -> None:
    function = CALLED[name]
    names = [one for one in signature(function).parameters if one != "self"]
    text = inspect.getdoc(function) or ""
    assert text
    if inspect.isclass(function):
        by_field = [one for one in described(text, "Attributes") if one in names]  # a dataclass is made from its fields
        constructor = inspect.getdoc(function.__init__) or ""
        assert names in (described(constructor, "Args"), described(text, "Args"), by_field)
    else:
        assert described(text, "Args") == names


@pytest.mark.parametrize("name", CALLED)
def test_no_argument_is_hidden_in_keywords(name: str) -> None:
    """A `Server`'s functions hand on what its class takes; `ready` takes any number of managers, `Observer` of trees;
    Azure has its own form."""
    kinds = {one.kind for one in signature(CALLED[name]).parameters.values()}
    of_pools = ("TokenPool.start_link", "TokenPool.child_spec", "TokenPool.put")  # which hand on what a manager takes
    if not name.endswith(
        (*of_pools, "erver.start_link", "erver.child_spec", "OIDCCredential.get_token", ".get_token_info")
    ):
        assert Parameter.VAR_KEYWORD not in kinds
        any_number = ("oidc_actor.metrics.ready", "supervision.observer.Observer")
        assert Parameter.VAR_POSITIONAL not in kinds or name in any_number

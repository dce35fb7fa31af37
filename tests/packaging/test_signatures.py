"""What a user sees of the public names while he types: signatures that say every argument with its default, and hover texts."""

from __future__ import annotations

import dataclasses
from inspect import Parameter, signature

import pytest

from oidc_actor import ClientCredentials, JWTBearer, Password, RefreshToken, TokenExchange
from oidc_actor.credentials.credentials import Credentials

GRANTS = (ClientCredentials, Password, RefreshToken, JWTBearer, TokenExchange)
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

"""Reading ``WWW-Authenticate``: RFC 9110's examples, what servers really send, and whatever else may come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oidc_actor.adapters.challenges import challenges, refuses_token, wants_nonce

READ = [
    ("", []),
    (" , ,", []),
    ("Bearer", [("bearer", {})]),
    ('Bearer realm="example"', [("bearer", {"realm": "example"})]),
    (
        'Basic realm="simple", Newauth realm="apps", type=1, title="Login to \\"apps\\""',
        [("basic", {"realm": "simple"}), ("newauth", {"realm": "apps", "type": "1", "title": 'Login to "apps"'})],
    ),
    ("Negotiate YWJj==, Bearer error=invalid_token", [("negotiate", {}), ("bearer", {"error": "invalid_token"})]),
    ("Negotiate, Bearer", [("negotiate", {}), ("bearer", {})]),
    ('bearer ERROR = "invalid_token"', [("bearer", {"error": "invalid_token"})]),
    ('Bearer error="a", error="b"', [("bearer", {"error": "a"})]),
    ('Bearer realm="x" error="invalid_token"', [("bearer", {"realm": "x", "error": "invalid_token"})]),
    ('Bearer realm="a, Basic realm=b", error="c"', [("bearer", {"realm": "a, Basic realm=b", "error": "c"})]),
    ('Bearer realm="never closed, error=invalid_token', [("bearer", {})]),
    ('realm="before any scheme", Bearer', [("realm=", {})]),
    ("Bearer \x00 error=invalid_token", [("bearer", {})]),
]

ABOUT_THE_TOKEN = [
    ([], False),
    (["Bearer"], True),
    (['Bearer realm="api"'], True),
    (['Bearer error="invalid_token"'], True),
    (['Basic realm="api"', 'Bearer error="invalid_token"'], True),
    (['Bearer realm="a"', 'Bearer error="invalid_token"'], True),
    (['Bearer realm="a"', 'Bearer error="insufficient_scope"'], False),
    (['Bearer error="insufficient_scope"'], False),
    (['Bearer error="INVALID_TOKEN"'], False),
    (['Basic realm="Bearer error=invalid_token"'], False),
    (['DPoP error="invalid_token"'], False),
]


@pytest.mark.parametrize(("field", "found"), READ)
def test_challenges(field: str, found: list[tuple[str, dict[str, str]]]) -> None:
    assert challenges(field) == found


@pytest.mark.parametrize(("fields", "is_about_it"), ABOUT_THE_TOKEN)
def test_which_401_is_about_the_token(fields: list[str], is_about_it: bool) -> None:
    assert refuses_token(fields) is is_about_it


ABOUT_A_BOUND_TOKEN = [
    ([], False),
    (["DPoP"], True),
    (['DPoP algs="ES256"'], True),
    (['DPoP error="invalid_token", algs="ES256"'], True),
    (['Bearer, DPoP algs="ES256"'], True),
    (["Bearer"], False),
    (['Bearer error="invalid_token"'], True),
    (['DPoP error="invalid_dpop_proof"'], False),
    (['DPoP error="insufficient_scope"'], False),
    (['DPoP error="use_dpop_nonce"'], False),
    (['Bearer, DPoP error="use_dpop_nonce"'], False),
]


@pytest.mark.parametrize(("fields", "is_about_it"), ABOUT_A_BOUND_TOKEN)
def test_which_401_is_about_a_bound_token(fields: list[str], is_about_it: bool) -> None:
    assert refuses_token(fields, "dpop") is is_about_it


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        (['DPoP error="use_dpop_nonce"'], True),
        (["Bearer", 'dpop realm="a", error="use_dpop_nonce", algs="ES256 PS256"'], True),
        (['Bearer error="use_dpop_nonce"'], False),
        (['DPoP error="invalid_dpop_proof"'], False),
        ([], False),
    ],
)
def test_which_401_wants_a_nonce(fields: list[str], wanted: bool) -> None:
    assert wants_nonce(fields) is wanted


@given(st.text(alphabet=st.sampled_from(' \t,="\\abBearer/~\x00é'), max_size=200))
def test_any_text_is_read(field: str) -> None:
    for scheme, parameters in challenges(field):
        assert scheme == scheme.lower()
        assert all(name == name.lower() for name in parameters)


_names = st.text(alphabet="abcdefgh-_", min_size=1, max_size=8)
_values = st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=12)


@given(st.lists(st.tuples(_names, st.dictionaries(_names, _values, max_size=3)), max_size=4))
def test_what_is_written_is_read(said: list[tuple[str, dict[str, str]]]) -> None:
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    field = ", ".join(
        scheme + " " + ", ".join(f"{name}={quoted(value)}" for name, value in parameters.items())
        for scheme, parameters in said
    )
    assert challenges(field) == said


def test_a_long_field_costs_no_more_than_its_length() -> None:
    for field in ('Bearer a="' + "\\" * 60_000, "Bearer " + 'a="b' * 15_000, "," * 60_000, "a=" * 30_000):
        challenges(field)

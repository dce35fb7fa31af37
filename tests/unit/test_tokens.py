"""A token: frozen, never printed, with the original's questions."""

import copy
import dataclasses
import json
import pickle
from datetime import UTC, datetime, timedelta, timezone

import pytest

from oidc_actor.values.errors import ConfigError
from oidc_actor.values.tokens import TokenResponse

ACCESS, REFRESH, ID = "access-hunter2", "refresh-hunter2", "id-hunter2"


def a_token(**changes):
    given = {"expires_in": 3600, "refresh_token": REFRESH, "id_token": ID, "scope": "a b", **changes}
    return TokenResponse(ACCESS, **given)


def ago(seconds):
    return datetime.now(UTC) - timedelta(seconds=seconds)


def test_it_has_the_original_s_fields():
    at = datetime(2025, 1, 1, tzinfo=UTC)
    token = a_token(issued_at=at)
    assert (token.access_token, token.token_type, token.expires_in) == (ACCESS, "Bearer", 3600)
    assert (token.refresh_token, token.id_token, token.scope, token.issued_at) == (REFRESH, ID, "a b", at)
    assert token.expires_at == datetime(2025, 1, 1, 1, tzinfo=UTC)


def test_what_is_not_given_is_none_and_now():
    token = TokenResponse(ACCESS)
    assert (token.token_type, token.expires_in, token.refresh_token, token.id_token, token.scope) == (
        "Bearer", None, None, None, None,
    )  # fmt: skip
    assert token.expires_at is None
    assert token.issued_at.tzinfo is UTC
    assert abs((datetime.now(UTC) - token.issued_at).total_seconds()) < 60


def test_its_time_is_utc_whatever_the_zone_given():
    token = a_token(issued_at=datetime(2025, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))))
    assert token.issued_at.isoformat() == "2025-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("age_s", "expires_in", "expired", "soon"),
    [(0, 3600, False, False), (7200, 3600, True, True), (3570, 3600, False, True), (3600, 3600, True, True)],
)
def test_its_questions(age_s, expires_in, expired, soon):
    token = a_token(expires_in=expires_in, issued_at=ago(age_s))
    assert token.expired() is expired
    assert token.expiring_soon() is soon


def test_how_soon_is_a_matter_of_the_buffer():
    token = a_token(expires_in=100, issued_at=ago(0))
    assert not token.expiring_soon(buffer_seconds=50)
    assert token.expiring_soon(buffer_seconds=150)


def test_an_unknown_lifetime_never_ends():
    assert not TokenResponse(ACCESS, issued_at=ago(10**8)).expired()
    assert not TokenResponse(ACCESS, issued_at=ago(10**8)).expiring_soon(10**9)


@pytest.mark.parametrize("seconds", [1e300, 10**20])
def test_a_lifetime_beyond_the_calendar_ends_with_it(seconds):
    assert a_token(expires_in=seconds).expires_at.year == 9999
    assert not a_token(expires_in=seconds).expired()
    assert a_token(expires_in=-seconds).expired()


@pytest.mark.parametrize(
    "arguments",
    [
        {"access_token": ""},
        {"access_token": None},
        {"access_token": b"hunter2"},
        {"access_token": ACCESS, "expires_in": float("nan")},
        {"access_token": ACCESS, "expires_in": float("inf")},
        {"access_token": ACCESS, "expires_in": 10**400},
        {"access_token": ACCESS, "expires_in": "3600"},
        {"access_token": ACCESS, "expires_in": True},
        {"access_token": ACCESS, "issued_at": datetime(2025, 1, 1, tzinfo=UTC).replace(tzinfo=None)},
        {"access_token": ACCESS, "issued_at": 5},
        {"access_token": ACCESS, "token_type": None},
        {"access_token": ACCESS, "token_type": ""},
        {"access_token": ACCESS, "refresh_token": b"hunter2"},
        {"access_token": ACCESS, "id_token": {"hunter2": 1}},
        {"access_token": ACCESS, "scope": ["read", "hunter2"]},
    ],
)
def test_what_makes_no_token(arguments):
    with pytest.raises(ConfigError) as caught:
        TokenResponse(**arguments)
    assert "hunter2" not in str(caught.value)


@pytest.mark.P9
def test_nothing_prints_it():
    token = a_token()
    shown = [repr(token), str(token), f"{token}", f"{token:>200}", repr({"token": token}), ascii(token)]
    assert not any("hunter2" in one for one in shown)
    assert "Bearer" in repr(token)
    assert "expires_in=3600" in repr(token)
    assert "unknown lifetime" in repr(TokenResponse(ACCESS))


@pytest.mark.P9
def test_nothing_dumps_it():
    token = a_token()
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="TokenResponse"):
            pickle.dumps(token, protocol)
    with pytest.raises(TypeError):
        dataclasses.asdict(token)
    with pytest.raises(TypeError):
        vars(token)
    with pytest.raises(TypeError):
        json.dumps(token)
    assert "hunter2" not in json.dumps(token, default=str)


def test_it_is_frozen():
    token = a_token()
    with pytest.raises(dataclasses.FrozenInstanceError):
        token.access_token = "other"
    with pytest.raises(dataclasses.FrozenInstanceError):
        token.anything = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        del token.access_token
    assert copy.copy(token) is token
    assert copy.deepcopy([token])[0] is token


def test_it_compares_by_value():
    at = ago(0)
    assert a_token(issued_at=at) == a_token(issued_at=at)
    assert hash(a_token(issued_at=at)) == hash(a_token(issued_at=at))
    assert a_token(issued_at=at) != a_token(issued_at=at, scope="c")
    assert a_token() != ACCESS


def test_a_refresh_token_that_stays_in_use():
    at = ago(0)
    kept = a_token(issued_at=at, refresh_token=None).with_refresh_token(REFRESH)
    assert kept == a_token(issued_at=at)

"""Times in an answer: who says how long a token lives, and what Retry-After asks for."""

import base64
import time
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from responses import NOW, TOKEN, jwt, parsed, refused

from oidc_actor.protocol.response_fields import jwt_part, provider_now, read_claims, read_date, read_skew, retry_after_s
from oidc_actor.protocol.token_response import LONGEST_LIFETIME_S, decide_lifetime
from oidc_actor.transport import Response

# Lifetimes


@pytest.mark.parametrize(
    ("members", "seconds", "source"),
    [
        ({"expires_in": 3600}, 3600, "expires_in"),
        ({"expires_in": 1.5}, 1.5, "expires_in"),
        ({"expires_in": "3600"}, 3600, "expires_in"),
        ({"expires_in": " 3600.5 "}, 3600.5, "expires_in"),
        ({"expires_in": 60, "expires_at": NOW + 99}, 60, "expires_in"),
        ({"expires_in": "soon", "expires_at": NOW + 99}, 99, "expires_at"),
        ({"expires_at": str(int(NOW) + 99)}, 99, "expires_at"),
        ({"expires_at": datetime.fromtimestamp(NOW + 99, UTC).isoformat()}, 99, "expires_at"),
        ({"expires_at": "2027-01-15T08:00:00"}, 300, "default"),
        ({"expires_at": (NOW + 99) * 1000}, 300, "default"),
        ({"expires_at": True}, 300, "default"),
        ({"expires_at": "soon"}, 300, "default"),
        ({"expires_at": NOW + LONGEST_LIFETIME_S}, LONGEST_LIFETIME_S, "expires_at"),
        ({"expires_at": NOW + LONGEST_LIFETIME_S + 1}, 300, "default"),
        ({}, 300, "default"),
        ({"expires_in": None}, 300, "default"),
        ({"expires_in": True}, 300, "default"),
        ({"expires_in": "1_0"}, 300, "default"),
        ({"expires_in": "٣"}, 300, "default"),
        ({"expires_in": "9" * 5000}, 300, "default"),
        ({"expires_in": "nan"}, 300, "default"),
        ({"expires_in": "inf"}, 300, "default"),
        ({"expires_in": float("inf")}, 300, "default"),
        ({"expires_in": float("-inf")}, 300, "default"),
        ({"expires_in": float("nan")}, 300, "default"),
        ({"expires_in": 10**400}, 300, "default"),
        ({"expires_in": 1e308}, 300, "default"),
        ({"expires_in": LONGEST_LIFETIME_S}, LONGEST_LIFETIME_S, "expires_in"),
        ({"expires_in": 31_557_600_000}, 31_557_600_000, "expires_in"),
        ({"expires_in": 31_557_600_001}, 300, "default"),
        ({"expires_in": "60" + " " * 99}, 60, "expires_in"),
        ({"expires_in": "0" * 38 + "60"}, 60, "expires_in"),
        ({"expires_in": "0" * 39 + "60"}, 300, "default"),
        ({"expires_in": [60]}, 300, "default"),
        ({"expires_in": {}}, 300, "default"),
    ],
)
def test_who_says_how_long_a_token_lives(members, seconds, source):
    life = decide_lifetime(members, "opaque", now_wall=NOW, default_s=300)
    assert (life.seconds, life.source) == (seconds, source)


@pytest.mark.parametrize(
    ("token", "seconds", "source"),
    [
        (jwt(exp=NOW + 99), 99, "exp"),
        (jwt(exp=NOW + 99, name="?????>>>>>"), 99, "exp"),  # base64 has / and + for them, base64url _ and -
        (jwt(exp=NOW + 99, iat=NOW), 99, "exp"),
        (jwt(exp=NOW + 99, iat=NOW + 50), 49, "exp"),
        (jwt(exp=NOW + 99, iat=NOW - 500), 99, "exp"),
        (jwt(exp=NOW + 99, iat=NOW + 500), 99, "exp"),
        (jwt(exp=NOW + 99, iat=NOW + 98.5), 0.5, "exp"),
        (jwt(exp=NOW + 99, iat=NOW + 99), 99, "exp"),
        (jwt(exp=NOW + LONGEST_LIFETIME_S), LONGEST_LIFETIME_S, "exp"),
        (jwt(exp=NOW + LONGEST_LIFETIME_S + 1), 300, "default"),
        (jwt(exp=NOW + 99, iat="x"), 99, "exp"),
        (jwt(exp=NOW + 99).replace(".", ".~", 1), 300, "default"),
        (jwt(exp=str(NOW + 99)), 99, "exp"),
        (jwt(exp="soon"), 300, "default"),
        (jwt(exp=1e308), 300, "default"),
        (jwt(), 300, "default"),
        ("a.b.c", 300, "default"),
        ("a." + base64.urlsafe_b64encode(b"[1]").decode() + ".c", 300, "default"),
        ("opaque", 300, "default"),
    ],
)
def test_a_jwt_says_it_too(token, seconds, source):
    found = parsed({"access_token": token, "expires_in": "?"})
    assert (found.lifetime_s, found.lifetime_source) == (seconds, source)
    assert found.token.expires_in == seconds
    assert parsed({"access_token": token, "expires_in": 7}).lifetime_source == "expires_in"


def test_a_token_may_live_for_less_than_a_second():
    assert parsed({**TOKEN, "expires_in": 0.5}).lifetime_s == 0.5


def test_the_default_can_be_chosen():
    assert parsed({"access_token": "at"}, default_lifetime_s=77).lifetime_s == 77


@pytest.mark.parametrize("token", ["", "opaque", "a.b", "a.b.c.d", "a.~.c", "a.é.c"])
def test_what_is_no_jwt_has_no_parts(token):
    assert jwt_part(token, 1) == b""


@given(st.text() | st.builds("{}.{}.{}".format, st.text(), st.text(), st.text()))
def test_any_text_has_claims_or_none(token):
    assert isinstance(read_claims(token), dict)


@pytest.mark.parametrize("skew_s", [-7200, 7200])
def test_a_skewed_clock_does_not_change_what_an_instant_means(skew_s):
    shown = {"Date": format_datetime(datetime.fromtimestamp(NOW + skew_s, UTC), usegmt=True)}
    found = parsed({"access_token": jwt(exp=NOW + skew_s + 100)}, headers=shown)
    assert found.lifetime_s == 99  # a second less, because the field has no fractions


@pytest.mark.parametrize(("date_s", "now_s"), [(None, 0), (-30, 0), (30, 30), (60, 60), (-60, 0), (61, 62), (-61, -60)])
def test_what_the_provider_s_clock_shows(date_s, now_s):
    headers = (
        {} if date_s is None else {"Date": format_datetime(datetime.fromtimestamp(NOW + date_s, UTC), usegmt=True)}
    )
    assert provider_now(Response(200, headers), now_wall=NOW) == NOW + now_s


# Retry-After


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0),
        ("30", 30),
        (" 30 ", 30),
        ("1.5", 1.5),
        ("3601", 3600),
        ("9" * 5000, 3600),
        ("-5", None),
        ("1e3", None),
        ("٣", None),
        ("soon", None),
        ("Fri, 15 Jan 2027 08:00:40 GMT", 40),
        ("Fri, 15 Jan 2027 09:00:40 +0100", 40),
        ("Fri, 15 Jan 2027 10:00:00 GMT", 3600),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0),
        ("Friday, 15-Jan-27 08:00:40 GMT", 40),
        ("Fri, 99 Foo 2027 08:00:40 GMT", None),
        ("Fri, 15 Jan 99999 08:00:40 GMT", None),
        ("15 Jan 99999999999999999999 08:00:40", None),  # more than the date's own reader can hold
        ("\0", None),
    ],
)
def test_retry_after(value, seconds):
    response = Response(429, {} if value is None else {"retry-AFTER": value})
    assert retry_after_s(response, now_wall=NOW) == seconds
    assert refused("", status=429, headers=dict(response.headers)).retry_after_s == seconds


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone of the process cannot be set")
def test_a_date_without_a_zone_is_utc_wherever_this_runs(monkeypatch):
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "XXX-9")
        time.tzset()
        found = read_date("Fri, 15 Jan 2027 08:00:40 -0000")
    time.tzset()
    assert found == NOW + 40


def test_retry_after_is_counted_from_the_provider_s_own_clock():
    headers = {"Date": "Fri, 15 Jan 2027 08:00:30 GMT", "Retry-After": "Fri, 15 Jan 2027 08:00:40 GMT"}
    assert retry_after_s(Response(503, headers), now_wall=NOW - 7200) == 10


@given(st.text())
def test_any_retry_after_is_understood_or_not(value):
    found = retry_after_s(Response(429, {"Retry-After": value, "Date": value}), now_wall=NOW)
    assert found is None or 0 <= found <= 3600


# Fields that came more than once

DATE = "Fri, 15 Jan 2027 08:00:00 GMT"  # NOW
LATER = "Fri, 15 Jan 2027 08:00:40 GMT"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("30, 30", 30),
        ("30, 60", 60),
        ("60,30 , 7", 60),
        ("soon, 30", 30),
        ("30, soon", 30),
        (",30,", 30),
        (f"{LATER}, {LATER}", 40),
        (f"{LATER},{DATE}", 40),
        (f"30, {LATER}", 40),
        (f"{LATER}, 50", 50),
        ("Friday, 15-Jan-27 08:00:40 GMT, 7", 40),
        ("Fri Jan 15 08:00:40 2027, 7", 40),
        ("30, 9999999", 3600),
        ("soon, later", None),
        (", ,", None),
        ("Fri", None),
    ],
)
def test_a_retry_after_that_came_more_than_once_is_the_longest(value, seconds):
    assert retry_after_s(Response(503, {"Retry-After": value}), now_wall=NOW) == seconds


def test_a_field_that_a_transport_gives_twice_is_joined():
    response = Response(503, {"Retry-After": "30", "retry-after": "60"})
    assert response.header("RETRY-AFTER") == "30, 60"
    assert retry_after_s(response, now_wall=NOW) == 60


@pytest.mark.parametrize("value", [f"{LATER}, {LATER}", f"{LATER},{DATE}", f"nonsense, {LATER}", f"{LATER}, nonsense"])
def test_a_date_that_came_more_than_once_is_the_first_that_can_be_read(value):
    assert provider_now(Response(200, {"Date": value}), now_wall=NOW) == NOW + 40
    assert read_skew(Response(200, {"Date": value}), ended_wall=NOW, took_s=0.0).ahead_s == 40.5
    later = Response(503, {"Date": value, "Retry-After": "Fri, 15 Jan 2027 08:01:00 GMT"})
    assert retry_after_s(later, now_wall=NOW) == 20

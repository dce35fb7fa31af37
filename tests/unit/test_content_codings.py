"""Compressions that nobody asked for: undone where that can be done, within a bound at every step."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oidc_actor.http.responses import decoded

BODY = b'{"access_token": "t", "token_type": "Bearer"}'
LIMIT = 10_000


def raw_deflate(body):
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize(
    ("packed", "codings"),
    [
        (BODY, None),
        (BODY, "identity"),
        (gzip.compress(BODY), "gzip"),
        (gzip.compress(BODY), " X-GZIP "),
        (gzip.compress(BODY[:20]) + gzip.compress(BODY[20:]), "gzip"),
        (gzip.compress(b"") + gzip.compress(BODY), "gzip"),
        (gzip.compress(b"") * 3 + gzip.compress(BODY) + gzip.compress(b""), "gzip"),
        (gzip.compress(BODY) + b"\0" * 50, "gzip"),
        (gzip.compress(BODY) + b"garbage", "gzip"),
        (zlib.compress(BODY), "deflate"),
        (raw_deflate(BODY), "deflate"),
        (gzip.compress(zlib.compress(BODY)), "deflate, gzip"),
        (zlib.compress(gzip.compress(BODY)), "gzip, identity, deflate"),
        (gzip.compress(gzip.compress(BODY)), "gzip, gzip"),
        (gzip.compress(BODY), "gzip, gzip"),  # a proxy repeated the field
        (gzip.compress(BODY), "gzip,,"),
        (BODY, "gzip"),  # undone by a proxy that left the field
    ],
)
def test_what_can_be_undone_is(packed, codings):
    assert decoded(packed, codings, limit=LIMIT) == BODY


@pytest.mark.parametrize("codings", ["br", "gzip, br", "nonsense", "gzip, gzip, gzip, gzip, gzip"])
def test_what_cannot_be_undone_stays(codings):
    assert decoded(gzip.compress(BODY), codings, limit=LIMIT) == gzip.compress(BODY)


BOMB = b"\0" * (1000 * LIMIT)


@pytest.mark.parametrize(
    ("packed", "codings"),
    [
        (gzip.compress(BOMB), "gzip"),
        (gzip.compress(b"x") + gzip.compress(BOMB), "gzip"),
        (gzip.compress(b"x" * 100) * 200, "gzip"),
        (gzip.compress(b"x" * LIMIT) + gzip.compress(BOMB), "gzip"),
        (zlib.compress(BOMB), "deflate"),
        (raw_deflate(BOMB), "deflate"),
        (gzip.compress(gzip.compress(BOMB, 0)), "gzip, gzip"),
    ],
)
def test_a_bomb_ends_at_the_bound(packed, codings):
    assert len(decoded(packed, codings, limit=LIMIT)) <= LIMIT


def test_fifty_thousand_members_take_no_time_to_speak_of():
    members = gzip.compress(b"") * 50_000
    assert decoded(members + gzip.compress(BODY), "gzip", limit=2 * len(members)) == BODY


@given(st.lists(st.binary(max_size=3000), max_size=6))
def test_members_make_one_content(parts):
    whole = b"".join(parts)
    packed = b"".join(gzip.compress(part) for part in parts)
    assert decoded(packed, "gzip", limit=LIMIT) == whole[:LIMIT]


@given(st.binary(max_size=300), st.sampled_from(["gzip", "deflate", "gzip, deflate"]))
def test_any_bytes_are_some_content(body, codings):
    assert len(decoded(body, codings, limit=LIMIT)) <= LIMIT

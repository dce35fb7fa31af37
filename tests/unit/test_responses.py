"""One response off a stream of bytes: what is read of it, and whether its connection may carry another request."""

import http.client

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oidc_actor.http.responses import MAX_HEAD_BYTES, MAX_INTERIM, BadResponse, Incoming, joined, read_response

LIMIT = 100
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


class Pieces:
    """A stream that comes in pieces of given sizes, then ends; no read after that is wanted."""

    def __init__(self, data, sizes=(1 << 20,)):
        self.data, self.sizes, self.closed = data, list(sizes), False

    def readinto(self, buffer):
        size = min(self.sizes.pop(0) if len(self.sizes) > 1 else self.sizes[0], len(buffer), len(self.data))
        buffer[:size], self.data = self.data[:size], self.data[size:]
        return size

    def close(self):
        self.closed = True


def received(data, sizes=(1 << 20,)):
    return read_response(Incoming(Pieces(data, sizes)), max_body_bytes=LIMIT)


def in_pieces(data):
    """The same, however it comes."""
    found, bit_by_bit = received(data), received(data, (1,))
    assert [getattr(bit_by_bit, name) for name in found.__slots__] == [getattr(found, name) for name in found.__slots__]
    return found


CLEAN = [
    (OK + b"Content-Length: 2\r\n\r\n{}", 200, b"{}"),
    (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, b""),
    (OK + b"content-length:  2 \r\nConnection: keep-alive\r\n\r\n{}", 200, b"{}"),
    (OK + b"Content-Length: 002\r\n\r\n{}", 200, b"{}"),
    (CHUNKED + b"1\r\n{\r\n0001\r\n}\r\n0\r\n\r\n", 200, b"{}"),
    (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    (b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", 204, b""),
    (b"HTTP/1.1 304 Not Modified\r\n\r\n", 304, b""),
    (b"HTTP/1.1 999 ?\r\nContent-Length: 1\r\n\r\nx", 999, b"x"),
    *(
        (
            b"HTTP/1.1 %d ?\r\nLink: </x>\r\n\r\n" % code * 3 + OK + b"Content-Length: 2\r\n\r\n{}",
            200,
            b"{}",
        )
        for code in (100, 102, 103, 104, 199)
    ),
]


@pytest.mark.parametrize(("data", "status", "body"), CLEAN)
def test_a_clean_response_keeps_its_connection_unless_something_lies_behind_it(data, status, body):
    found = in_pieces(data)
    assert (found.line.status, found.body, found.is_clean) == (status, body, True)
    for behind in (b"\r\n", b"x", b"HTTP/1.1 200 OK\r\n", data):
        again = received(data + behind)
        assert (again.line.status, again.body, again.is_clean) == (status, body, False)


ODD = [
    # the version, and what the server says itself
    (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}", b"{}"),
    (b"HTTP/1.0 200 OK\r\n\r\n{}", b"{}"),
    (b"HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\n{}", b"{}"),
    (OK + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}", b"{}"),
    (OK + b"Connection: x\r\nConnection: Keep-Alive, Close\r\nContent-Length: 2\r\n\r\n{}", b"{}"),
    # where the end is
    (OK + b"\r\n{}", b"{}"),
    (OK + b"Content-Length:\r\n\r\n{}", b"{}"),
    (OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", b"{}"),
    (OK + b"Content-Length: 2, 2\r\n\r\n{}", b"{}"),
    (OK + b"Content-Length: 2,02, 2\r\n\r\n{}", b"{}"),
    (OK + b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}", b"{}"),
    (OK + b"Transfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n2\r\n{}\r\n0\r\n\r\n", b"{}"),
    (OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", b"{}"),
    (OK + b"Content-Length: 9" + b"9" * 3000 + b"\r\n\r\n" + b"x" * 200, b"x" * (LIMIT + 1)),
    (CHUNKED + b"ff\r\n" + b"x" * 255 + b"\r\n0\r\n\r\n", b"x" * (LIMIT + 1)),
    # chunks
    (CHUNKED + b"2;a=b\r\n{}\r\n0\r\n\r\n", b"{}"),
    (CHUNKED + b"2 \r\n{}\r\n0\r\n\r\n", b"{}"),
    (CHUNKED + b"2\n{}\n0\n\n", b"{}"),
    (CHUNKED + b"2\r\n{}\r\n0;x\r\n\r\n", b"{}"),
    (CHUNKED + b"2\r\n{}\r\n0\r\nServer-Timing: x\r\n\r\n", b"{}"),
    (CHUNKED + b"2\r\n{}\r\n0\r\n", b"{}"),
    # lines
    (b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}", b"{}"),
    (OK + b"no colon here\r\nContent-Length: 2\r\n\r\n{}", b"{}"),
    (OK + b": no name\r\nContent-Length: 2\r\n\r\n{}", b"{}"),
    (OK + b"X Frame: a\r\nContent-Length: 2\r\n\r\n{}", b"{}"),
    (OK + b"Content-Length : 2\r\n\r\n{}", b"{}"),
    (OK + b"X: a\r\n b\r\nContent-Length: 2\r\n\r\n{}", b"{}"),
    (OK + b" folded into nothing\r\nContent-Length: 2\r\n\r\n{}", b"{}"),
    (OK + b"X: a\0b\r\nContent-Length: 2\r\n\r\n{}", b"{}"),
    (OK + b"X: a\rContent-Length: 5\r\nContent-Length: 2\r\n\r\n{}", b"{}"),
    # bodies where there can be none
    (b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n{}", b""),
    (b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b""),
    (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", b""),
    (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", b""),
    (b"HTTP/1.1 103 ?\r\n\r\nHTTP/1.1 101 Switching Protocols\r\nContent-Length: 0\r\n\r\n", b""),
]


@pytest.mark.parametrize(("data", "body"), ODD)
def test_an_odd_response_is_read_and_ends_its_connection(data, body):
    found = in_pieces(data)
    assert (found.body, found.is_clean) == (body, False)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\r\n", "not HTTP"),
        (b"HTTP/2 200\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 099 x\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 20\r\n\r\n", "not HTTP"),
        (b"x" * (2 * MAX_HEAD_BYTES), "not HTTP"),
        (OK, "cut off"),
        (OK + b"X: y", "cut off"),
        (b"HTTP/1.1 103 Early Hints\r\nX: y\r\n", "cut off"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" * (MAX_INTERIM + 1), "more than 100 interim responses"),
        (b"HTTP/1.1 103 Early Hints\r\nX: " + b"y" * MAX_HEAD_BYTES + b"\r\n\r\n", "longer than 65536 bytes"),
        (OK + b"X: y\r\n" * (MAX_HEAD_BYTES // 6 + 1) + b"\r\n", "longer than 65536 bytes"),
        (OK + b"Content-Length: 3\r\n\r\n{}", "cut off"),
        (OK + b"Content-Length: 2, 3\r\n\r\n{} ", "not one number"),
        (OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ", "not one number"),
        (OK + b"Content-Length: +2\r\n\r\n{}", "not one number"),
        (OK + b"Content-Length: -1\r\n\r\n{}", "not one number"),
        (OK + "Content-Length: \u00b2\r\n\r\n{}".encode("latin-1"), "not one number"),
        (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "nobody asked for"),
        (CHUNKED + b"2\r\n{}", "cut off"),
        (CHUNKED + b"2\r\n{}XX0\r\n\r\n", "a chunk has no end"),
        (CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n", "a chunk has no size"),
        (CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n", "a chunk has no size"),
        (CHUNKED + b"1_0\r\n{}\r\n0\r\n\r\n", "a chunk has no size"),
        (CHUNKED + b"\r\n0\r\n\r\n", "a chunk has no size"),
        (CHUNKED + b"1" * 17 + b"\r\n", "a chunk has no size"),
        (CHUNKED + b"2;" + b"x" * 5000 + b"\r\n{}\r\n0\r\n\r\n", "cut off"),
        (CHUNKED + b"2\r\n{}\r\n", "cut off"),
        (CHUNKED + b"2\r\n{}\r\n0\r\n" + b"X: y\r\n" * MAX_HEAD_BYTES, "longer than 65536 bytes"),
    ],
)
def test_what_is_no_complete_response_is_none(data, problem):
    for sizes in ((1 << 20,), (3, 1 << 20)):
        with pytest.raises(BadResponse, match=problem):
            received(data, sizes)


def test_nothing_at_all_is_told_apart():
    with pytest.raises(http.client.RemoteDisconnected):
        received(b"")
    with pytest.raises(http.client.RemoteDisconnected):
        received(b"HTTP/1.1 103 Early Hints\r\n\r\n")


def test_as_many_interim_responses_as_are_allowed():
    assert received(b"HTTP/1.1 102 Processing\r\n\r\n" * MAX_INTERIM + CLEAN[0][0]).is_clean


@pytest.mark.parametrize(
    "interim",
    [
        b"HTTP/1.1 103 Early Hints\nLink: </a>\n\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nno field\r\n\r\n",
        b"HTTP/1.0 103 Early Hints\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
@pytest.mark.parametrize("behind", [b"", b"HTTP/1.1 102 Processing\r\n\r\n"])
def test_an_odd_interim_response_is_skipped_and_ends_the_connection(interim, behind):
    found = in_pieces(interim + behind + CLEAN[0][0])
    assert (found.line.status, found.body, found.is_clean) == (CLEAN[0][1], CLEAN[0][2], False)


def test_the_values_of_a_field_that_comes_more_than_once_are_joined():
    fields = (("Date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("Set-Cookie", "a"), ("date", "x"), ("X", ""), ("DATE", "y"))
    assert joined(fields) == {"Date": "Sun, 06 Nov 1994 08:49:37 GMT, x, y", "Set-Cookie": "a", "X": ""}


def test_hundreds_of_fields_are_read():
    head = b"".join(b"X-%d: y\r\n" % number for number in range(2000))
    found = received(OK + head + b"Retry-After: 7\r\nContent-Length: 2\r\n\r\n{}")
    assert found.fields[-2:] == (("Retry-After", "7"), ("Content-Length", "2"))
    assert len(found.fields) == 2002
    assert found.is_clean


@pytest.mark.parametrize(
    ("lines", "fields"),
    [
        (b"no colon here\r\nRetry-After: 7\r\n", (("Retry-After", "7"),)),
        (b"Strict: max-age=1;\r\npreload\r\nDPoP-Nonce: n\r\n", (("Strict", "max-age=1;"), ("DPoP-Nonce", "n"))),
        (b"X: a;\r\n  b\r\n\tc\r\nY: d\r\n", (("X", "a; b c"), ("Y", "d"))),
        (b"Server \t: x\r\n", (("Server", "x"),)),
        (b"bad line\r\n folded behind it\r\nY: d\r\n", (("Y", "d"),)),
        (b"X: a\rb\x01c\r\n", (("X", "a b c"),)),
        (b"X: caf\xe9\r\nX: b\r\n", (("X", "caf\u00e9"), ("X", "b"))),
    ],
)
def test_a_line_that_is_no_field_hides_none_behind_it(lines, fields):
    assert received(OK + lines + b"Content-Length: 0\r\n\r\n").fields == (*fields, ("Content-Length", "0"))


@given(st.binary(max_size=300), st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_any_bytes_are_a_response_or_an_error(data, sizes):
    for start in (b"", OK, CHUNKED, OK + b"Content-Length: 5\r\n"):
        outcomes = []
        for pieces in (sizes, (1 << 20,)):
            try:
                found = received(start + data, pieces)
                outcomes.append((found.line, found.fields, found.body))
            except http.client.HTTPException as error:
                outcomes.append((type(error), str(error)))
        assert outcomes[0] == outcomes[1]

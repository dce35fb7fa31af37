"""One HTTP/1.1 response, taken whole from a stream of bytes (RFC 9112), and whether its connection may carry another request.

A response is *clean* where nothing about it was odd: every line was what the RFC says, its end was told once and without
doubt, and not a byte lay behind it. Only after a clean one is it known where the next response begins; a connection that
brought any other is closed, so that no answer reaches a request that it was not the answer to. Odd is not useless: what can be
read is read (RFC 9112 section 2.2), and costs a connection.
"""

from __future__ import annotations

import http.client
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import field, replace
from typing import NoReturn, Protocol, TypeAlias

from oidc_actor.values.secrets import Sealed, put, refuse_pickling
from supervision.frozen import dataclass

MAX_HEAD_BYTES = 64 * 1024
"""The longest head that is read, in bytes, and the longest trailer."""

MAX_INTERIM = 100
"""How many interim responses (1xx) are skipped before the final one (RFC 9110 section 15.2)."""

_SWITCHING_PROTOCOLS = 101
_PIECE_BYTES = 64 * 1024
_MAX_CHUNK_LINE = 4 * 1024
_STATUS_LINE = re.compile(rb"HTTP/(\d)\.(\d)[ \t]+(\d{3})(?:[ \t]+([^\r\n]*))?[ \t]*(?:\r?\n)?")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}")

Fields: TypeAlias = tuple[tuple[str, str], ...]


class BadResponse(http.client.HTTPException):
    """What came cannot be used as a response. The message holds none of its bytes."""


class Raw(Protocol):
    """Where bytes come from: an unbuffered file of a socket."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Read at least one byte, or 0 at the end."""

    def close(self) -> None:
        """Let go of the socket."""


class Incoming:
    """The bytes of a connection, and which of them have not been taken yet."""

    __slots__ = ("_buffer", "_ended", "_raw")

    def __init__(self, raw: Raw) -> None:
        self._raw, self._buffer, self._ended = raw, bytearray(), False

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        refuse_pickling(self)

    @property
    def left(self) -> bool:
        """Whether bytes were received that have not been taken."""
        return bool(self._buffer)

    def readline(self, limit: int = -1) -> bytes:
        """Take a line with its end; less at the end of the stream, or ``limit`` bytes where it is longer."""
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            if 0 <= limit <= searched or not self._receive():
                return self._take(searched if limit < 0 else limit)
        return self._take(end + 1 if limit < 0 else min(end + 1, limit))

    def read(self, size: int) -> bytes:
        """Take ``size`` bytes; fewer at the end of the stream."""
        while len(self._buffer) < size and self._receive():
            pass
        return self._take(size)

    def close(self) -> None:
        """Let go of the socket."""
        self._raw.close()

    def _receive(self) -> bool:
        if not self._ended:
            piece = bytearray(_PIECE_BYTES)
            count = self._raw.readinto(memoryview(piece)) or 0
            self._buffer += memoryview(piece)[:count]
            self._ended = count == 0
        return not self._ended

    def _take(self, size: int) -> bytes:
        taken = bytes(memoryview(self._buffer)[:size])
        del self._buffer[:size]
        return taken


@dataclass(frozen=True, slots=True)
class StatusLine:
    """The first line of a response.

    Attributes:
        is_1_1: Whether it is HTTP/1.1; what is older or unknown never keeps its connection.
        status: The status code.
        reason: The reason phrase; says nothing to a program.
        is_clean: Whether every interim response before it was what the RFC says.
    """

    is_1_1: bool
    status: int
    reason: str = field(repr=False)
    is_clean: bool = True


class WholeResponse(Sealed):
    """A final response with all of its body. Its ``repr`` shows the status and the body's size.

    Attributes:
        line: Its status line.
        fields: Its header fields in their order, as they came; lines that are none are left out.
        body: The bytes of its content, still encoded; cut off one byte beyond the limit.
        is_clean: Whether its connection may carry another request.
    """

    __slots__ = ("body", "fields", "is_clean", "line")
    line: StatusLine
    fields: Fields
    body: bytes
    is_clean: bool

    def __init__(self, line: StatusLine, fields: Fields, body: bytes, is_clean: bool) -> None:
        put(self, line=line, fields=fields, body=body, is_clean=is_clean)

    def __repr__(self) -> str:
        return f"WholeResponse({self.line.status}, {len(self.body)} bytes)"


def read_status_line(stream: Incoming) -> StatusLine:
    """Take the status line of the final response; interim ones before it are skipped with their fields.

    Raises:
        RemoteDisconnected: Nothing came at all.
        BadResponse: What came is no HTTP/1.x, or interim responses had no end.
    """
    is_clean = True
    for _ in range(MAX_INTERIM + 1):
        line = _status_line(stream)
        if not 100 <= line.status < 200 or line.status == _SWITCHING_PROTOCOLS:
            return replace(line, is_clean=is_clean)
        fields, read_well = _head(stream)
        # One that speaks of content (RFC 9110 section 8.6 forbids it) may have meant to have some.
        has_content = _members(fields, "content-length") or _members(fields, "transfer-encoding")
        is_clean = is_clean and line.is_1_1 and read_well and not has_content
    raise BadResponse(f"more than {MAX_INTERIM} interim responses came before an answer")


def read_response(stream: Incoming, *, max_body_bytes: int) -> WholeResponse:
    """Take one final response, and the interim ones before it.

    Args:
        stream: What comes from the server.
        max_body_bytes: How much content is believed; one byte more is taken, to show that there is more.

    Raises:
        RemoteDisconnected: Nothing came at all.
        BadResponse: What came is no complete response.
    """
    line = read_status_line(stream)
    fields, is_clean = _head(stream)
    body, is_whole = _body(stream, line, fields, max_body_bytes + 1)
    stays = line.is_1_1 and line.is_clean and "close" not in _members(fields, "connection")
    return WholeResponse(line, fields, body, stays and is_clean and is_whole and not stream.left)


def read_fields(lines: Iterable[bytes]) -> tuple[Fields, bool]:
    """Read header fields; a line that is none hides none behind it.

    White space before the colon is left out, and a folded line continues the field before it (RFC 9112 sections 5.1, 5.2).

    Args:
        lines: The lines of a head, with their ends.

    Returns:
        The fields in their order, and whether every line was what the RFC says.
    """
    fields: list[tuple[str, str]] = []
    is_clean, continued = True, False
    for raw in lines:
        text = raw.decode("latin-1").removesuffix("\n").removesuffix("\r")
        is_clean = is_clean and raw.endswith(b"\r\n") and _CONTROLS.search(text) is None
        name, colon, value = text.partition(":")
        if text.startswith((" ", "\t")):
            is_clean = False
            if continued:
                fields[-1] = (fields[-1][0], f"{fields[-1][1]} {_cleaned(text)}".strip())
            continue
        continued = bool(colon) and _TOKEN.fullmatch(name.rstrip(" \t")) is not None
        is_clean = is_clean and continued and name == name.rstrip(" \t")
        if continued:
            fields.append((name.rstrip(" \t"), _cleaned(value)))
    return tuple(fields), is_clean


def joined(fields: Fields) -> dict[str, str]:
    """Header fields by name; the values of one that came more than once are joined (RFC 9110 section 5.3)."""
    names: dict[str, str] = {}
    found: dict[str, list[str]] = {}
    for name, value in fields:
        found.setdefault(names.setdefault(name.lower(), name), []).append(value)
    return {name: ", ".join(values) for name, values in found.items()}


def _status_line(stream: Incoming) -> StatusLine:
    line = stream.readline(MAX_HEAD_BYTES)
    if not line:
        raise http.client.RemoteDisconnected("nothing came")
    found = _STATUS_LINE.fullmatch(line)
    if found is None or found[1] != b"1" or found[3] < b"100":
        raise BadResponse("the answer is not HTTP/1.1")
    return StatusLine(found[2] == b"1" and line.endswith(b"\r\n"), int(found[3]), (found[4] or b"").decode("latin-1"))


def _head(stream: Incoming) -> tuple[Fields, bool]:
    """The fields up to an empty line, and whether all of it was what the RFC says."""
    lines, ended = _lines(stream)
    if not ended:
        raise BadResponse("the answer was cut off")
    return read_fields(lines)


def _lines(stream: Incoming) -> tuple[list[bytes], bool]:
    """The lines up to an empty one, and whether that came before the end of the stream."""
    lines: list[bytes] = []
    left = MAX_HEAD_BYTES
    while (line := stream.readline(left)) not in {b"\r\n", b"\n"}:
        left -= len(line)
        if left <= 0:
            raise BadResponse(f"the answer's head is longer than {MAX_HEAD_BYTES} bytes")
        if not line.endswith(b"\n"):
            return lines, False
        lines.append(line)
    return lines, True


def _cleaned(value: str) -> str:
    return _CONTROLS.sub(" ", value).strip(" \t")


def _members(fields: Fields, name: str) -> tuple[str, ...]:
    """The members of a field that is a list, in small letters: of all its lines (RFC 9110 section 5.3)."""
    values = (value for known, value in fields if known.lower() == name)
    return tuple(one for value in values for part in value.split(",") if (one := part.strip(" \t").lower()))


def _body(stream: Incoming, line: StatusLine, fields: Fields, limit: int) -> tuple[bytes, bool]:
    """The content, and whether its end was told once, without doubt, and reached (RFC 9112 section 6.3)."""
    lengths, codings = _members(fields, "content-length"), _members(fields, "transfer-encoding")
    if line.status < 200 or line.status in {204, 304}:
        return b"", line.status >= 200 and not codings and set(lengths) <= {"0"}
    if set(codings) - {"identity"}:
        if set(codings) - {"identity", "chunked"}:
            raise BadResponse("the answer has a Transfer-Encoding that nobody asked for")
        body, is_clean = _chunked(stream, limit)
        return body, is_clean and codings == ("chunked",) and not lengths
    if not lengths:
        return stream.read(limit), False  # only the connection's end is the body's
    if len({one.lstrip("0") for one in lengths}) > 1 or not all(one.isascii() and one.isdigit() for one in lengths):
        raise BadResponse("the answer has a Content-Length that is not one number")
    length = limit if len(lengths[0].lstrip("0")) > 18 else min(int(lengths[0]), limit)
    body = stream.read(length)
    if len(body) < length:
        raise BadResponse("the answer was cut off")
    return body, length < limit and len(lengths) == 1 and not codings


def _chunked(stream: Incoming, limit: int) -> tuple[bytes, bool]:
    body, is_clean = bytearray(), True
    for size, size_is_clean in _chunk_sizes(stream):
        is_clean = is_clean and size_is_clean
        if size == 0:
            break
        wanted = min(size, limit - len(body))
        piece = stream.read(wanted)
        body += piece
        if len(piece) < wanted:
            raise BadResponse("the answer was cut off")
        if len(body) == limit:
            return bytes(body), False
        end = stream.readline(2)
        if end not in {b"\r\n", b"\n"}:
            was_cut = end in {b"", b"\r"}
            raise BadResponse("the answer was cut off" if was_cut else "the answer is not HTTP: a chunk has no end")
        is_clean = is_clean and end == b"\r\n"
    trailer, ended = _lines(stream)  # says nothing about the body that is needed here
    return bytes(body), is_clean and ended and not trailer


def _chunk_sizes(stream: Incoming) -> Iterator[tuple[int, bool]]:
    """Sizes of chunks, 0 for the last one, and whether their lines hold nothing else."""
    while True:
        line = stream.readline(_MAX_CHUNK_LINE)
        size = line.partition(b";")[0].strip()
        if not line.endswith(b"\n"):
            raise BadResponse("the answer was cut off")
        if _CHUNK_SIZE.fullmatch(size) is None:
            raise BadResponse("the answer is not HTTP: a chunk has no size")
        yield int(size, 16), line == size + b"\r\n"


_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
_WINDOWS = {"gzip": (_GZIP,), "x-gzip": (_GZIP,), "deflate": (_ZLIB, _RAW)}  # raw is wrong, and sent all the same
_MOST_CODINGS = 4
_INFLATED_BYTES = 1024  # zlib copies what lies behind a member: members of a few bytes must not each copy all the rest


def decoded(body: bytes, codings: str | None, *, limit: int) -> bytes:
    """Undo codings; the parser sees the bytes as they are where one cannot be undone.

    Args:
        body: The content as it came.
        codings: The value of ``Content-Encoding``: in the order in which they were applied; ``None`` where there is none.
        limit: How many bytes may come of any step.

    Returns:
        The content; where it is longer, the first ``limit`` bytes of it.
    """
    names = [name for one in (codings or "").split(",") if (name := one.strip().lower()) not in {"", "identity"}]
    if len(names) > _MOST_CODINGS or not _WINDOWS.keys() >= set(names):
        return body
    for name in reversed(names):
        body = next((found for window in _WINDOWS[name] if (found := _inflated(body, window, limit)) is not None), body)
    return body


def _inflated(body: bytes, window: int, limit: int) -> bytes | None:
    """What one coding hides: the members of a gzip file one after another (RFC 1952 section 2.2); ``None`` for other bytes."""
    found, at, is_first = bytearray(), 0, True
    while at < len(body) and (is_first or window == _GZIP):
        try:
            length = _member(body, at, window, limit, found)
        except zlib.error:
            return None if is_first else bytes(found)  # what lies behind a member need not be one: padding
        at, is_first = at + length, False
        if len(found) >= limit:
            break
    return bytes(found)


def _member(body: bytes, at: int, window: int, limit: int, found: bytearray) -> int:
    """Add a member's content, and count the bytes that it takes. What came before an error in it stays out."""
    member, begin, start = zlib.decompressobj(window), at, len(found)
    try:
        while at < len(body) and not member.eof and len(found) < limit:
            piece = body[at : at + _INFLATED_BYTES]
            found += member.decompress(piece, limit - len(found))  # 0 would mean without a bound
            at += len(piece) - len(member.unused_data)
    except zlib.error:
        del found[start:]
        raise
    return at - begin

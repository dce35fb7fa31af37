"""Content codings undone that nobody asked for (RFC 9110 section 8.4), within a bound that holds for every step."""

from __future__ import annotations

import zlib

_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
_WINDOWS = {"gzip": (_GZIP,), "x-gzip": (_GZIP,), "deflate": (_ZLIB, _RAW)}  # raw is wrong, and sent all the same
_MOST_CODINGS = 4
_PIECE_BYTES = 1024  # zlib copies what lies behind a member: members of a few bytes must not each copy all the rest


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
            piece = body[at : at + _PIECE_BYTES]
            found += member.decompress(piece, limit - len(found))  # 0 would mean without a bound
            at += len(piece) - len(member.unused_data)
    except zlib.error:
        del found[start:]
        raise
    return at - begin

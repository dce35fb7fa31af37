"""What can go wrong with the bytes of one request and its answer, as values. Pure: bytes in, steps out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

HEAD_END = b"\r\n\r\n"
LINE_ENDS = b"\r\n"

How = Literal["close", "reset", "hold"]
"""Close in the orderly way (FIN); break (RST); send nothing more until the proxy is healed."""


@dataclass(frozen=True, slots=True)
class Send:
    """Pass bytes on, `wait_s` seconds later."""

    data: bytes
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class End:
    """End the connection, or hold it."""

    how: How


Step: TypeAlias = Send | End


@dataclass(frozen=True, slots=True)
class Break:
    """The connection ends, or is held.

    Attributes:
        how: In which way.
        after_bytes: After that many bytes of the answer; `None` is before the request is passed on.
    """

    how: How
    after_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Truncate:
    """The connection ends in the orderly way after the answer's head and `body_bytes` of its body."""

    body_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Drip:
    """The answer comes `chunk_bytes` at a time, each `interval_s` seconds after the one before."""

    chunk_bytes: int = 1
    interval_s: float = 0.05


@dataclass(frozen=True, slots=True)
class Delay:
    """The answer comes `delay_s` seconds late."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class Corrupt:
    """Every byte of the answer's head or body has its highest bit flipped, so that ASCII is ASCII no more; line ends stay."""

    part: Literal["head", "body"] = "body"


@dataclass(frozen=True, slots=True)
class Interim:
    """Interim responses (RFC 9110 section 15.2) come before the answer, which follows `delay_s` seconds later."""

    status: int = 103
    count: int = 1
    delay_s: float = 0.0


Fault: TypeAlias = Break | Truncate | Drip | Delay | Corrupt | Interim


def before_request(fault: Fault | None) -> How | None:
    """What happens to the connection before the request is passed on; `None` for nothing."""
    return fault.how if isinstance(fault, Break) and fault.after_bytes is None else None


class FaultyAnswer:
    """The answer to one request on its way through a fault.

    Args:
        fault: What goes wrong with it; `None` for nothing.
    """

    def __init__(self, fault: Fault | None) -> None:
        self._fault = fault
        self._seen = 0
        self._head = b""
        self._body_at: int | None = None

    def steps(self, data: bytes) -> Iterator[Step]:
        """What to do with the next bytes that came from the server."""
        start = self._seen
        self._note(data)
        match self._fault:
            case None:
                yield Send(data)
            case Break(how, after_bytes):
                yield from _broken(data, start, after_bytes, how)
            case Truncate(body_bytes):
                limit = None if self._body_at is None else self._body_at + body_bytes
                yield from _broken(data, start, limit, "close")
            case Delay(delay_s):
                yield Send(data, delay_s if start == 0 else 0.0)
            case Interim(status, count, delay_s):
                if start == 0:
                    yield Send(b"HTTP/1.1 %d Interim%s" % (status, HEAD_END) * count)
                yield Send(data, delay_s if start == 0 else 0.0)
            case Drip(size, interval_s):
                yield from (Send(data[at : at + size], interval_s) for at in range(0, len(data), size))
            case Corrupt(part):
                yield Send(self._corrupted(data, start, part))

    def _note(self, data: bytes) -> None:
        if self._body_at is None:
            self._head += data
            end = self._head.find(HEAD_END)
            if end >= 0:
                self._body_at = end + len(HEAD_END)
                self._head = b""
        self._seen += len(data)

    def _corrupted(self, data: bytes, start: int, part: Literal["head", "body"]) -> bytes:
        length = len(data)
        border = length if self._body_at is None else min(max(self._body_at - start, 0), length)
        head, body = data[:border], data[border:]
        return _flipped(head) + body if part == "head" else head + _flipped(body)


def _broken(data: bytes, start: int, limit: int | None, how: How) -> Iterator[Step]:
    """Pass on what lies before the limit, then end; what a held connection kept back follows when it is healed."""
    if limit is None or start + len(data) < limit or start >= max(limit, 1):
        yield Send(data)
        return
    border = limit - start
    if border:
        yield Send(data[:border])
    yield End(how)
    if border < len(data):
        yield Send(data[border:])


def _flipped(data: bytes) -> bytes:
    return bytes(byte if byte in LINE_ENDS else byte ^ 0x80 for byte in data)

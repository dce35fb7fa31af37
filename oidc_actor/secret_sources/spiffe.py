"""The identity that a SPIFFE Workload API gives to a program: a JWT-SVID, for one audience, whenever it is read.

The Workload API is gRPC on a socket of the machine. One unary call of it is used, whose two messages have three fields of text
in all; they are written and read here, so that the extra needs nothing but grpcio.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Literal

from oidc_actor.credentials.parameters import read_text
from oidc_actor.http import check_timeout
from oidc_actor.values.errors import ConfigError
from oidc_actor.values.secrets import Secret, SecretSource, secret_problem
from supervision.runtime.per_process import PerProcess

SOCKET_VARIABLE = "SPIFFE_ENDPOINT_SOCKET"

METHOD = "/SpiffeWorkloadAPI/FetchJWTSVID"
"""The call (SPIFFE Workload API, section 6.2.1)."""

_NO_PACKAGE = "SpiffeJWT needs the package grpcio: pip install 'oidc-actor[spiffe]'"


class SpiffeJWT(SecretSource):
    """Asks the Workload API for a JWT-SVID whenever it is read.

    As ``client_assertion`` it authenticates the client with the type ``jwt-spiffe``; as an assertion or a subject token it is a
    JWT like any other.
    """

    __slots__ = ("_audience", "_socket", "_spiffe_id", "_timeout_s", "_type")

    def __init__(
        self,
        audience: str,
        *,
        spiffe_id: str | None = None,
        socket: str | None = None,
        assertion_type: Literal["jwt-spiffe", "jwt-bearer"] = "jwt-spiffe",
        timeout_seconds: float = 10,
    ) -> None:
        """Check and keep; nothing is asked for yet.

        Args:
            audience: Whom the token is to name: the provider's issuer, mostly.
            spiffe_id: Which of the program's identities; ``None`` for its first.
            socket: Where the Workload API is: ``unix:///run/spire/agent.sock`` or ``tcp://127.0.0.1:8081``; ``None`` for what
                ``SPIFFE_ENDPOINT_SOCKET`` says when it is read.
            assertion_type: How it is called as ``client_assertion``; ``"jwt-bearer"`` for providers that do not know SPIFFE's.
            timeout_seconds: Seconds for the whole call.

        Raises:
            ConfigError: Where something does not fit, or the package grpcio is missing.
        """
        if assertion_type not in ("jwt-spiffe", "jwt-bearer"):
            problem = f"expected 'jwt-spiffe' or 'jwt-bearer', got {assertion_type!r}"
            raise ConfigError(problem, ("assertion_type",))
        _grpc()
        self._audience = read_text(audience, "audience")
        self._spiffe_id = None if spiffe_id is None else _identity(spiffe_id)
        self._socket = None if socket is None else _checked(socket)
        self._timeout_s = check_timeout(timeout_seconds)
        self._type = assertion_type

    @property
    def assertion_type(self) -> str:
        """How it is called as ``client_assertion``: ``jwt-spiffe`` (draft-ietf-oauth-spiffe-client-auth), or ``jwt-bearer``."""
        return self._type

    def fetch(self) -> Secret | str:
        """Get one, or say why that cannot be done now."""
        place = self._socket or os.environ.get(SOCKET_VARIABLE)
        if not place:
            return f"{SOCKET_VARIABLE} is not set: mount the socket of the SPIFFE agent, or pass socket="
        try:
            target = _target(place)
        except ValueError as error:
            return f"{SOCKET_VARIABLE}: {error}"
        grpc = _grpc()
        call = _channel(target).unary_unary(METHOD, request_serializer=None, response_deserializer=None)
        asked = _field(1, self._audience) + (b"" if self._spiffe_id is None else _field(2, self._spiffe_id))
        try:
            answer = call(asked, timeout=self._timeout_s, metadata=(("workload.spiffe.io", "true"),))
        except grpc.RpcError as error:
            code = error.code()
            hint = ": no entry is registered for this program" if code is grpc.StatusCode.PERMISSION_DENIED else ""
            return f"the SPIFFE Workload API answered {code.name}{hint}"
        return _svid_in(answer)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SpiffeJWT) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash((SpiffeJWT, self._audience, self._spiffe_id))

    def _parts(self) -> tuple[object, ...]:
        return self._audience, self._spiffe_id, self._socket, self._timeout_s, self._type

    def __repr__(self) -> str:
        return f"SpiffeJWT({self._audience!r})"


def _grpc() -> Any:
    try:
        import grpc
    except ImportError:
        raise ConfigError(_NO_PACKAGE) from None
    return grpc


def _identity(spiffe_id: str) -> str:
    if not read_text(spiffe_id, "spiffe_id").startswith("spiffe://"):
        problem = f"expected an identity such as 'spiffe://example.org/billing', got {spiffe_id!r}"
        raise ConfigError(problem, ("spiffe_id",))
    return spiffe_id


def _checked(socket: str) -> str:
    try:
        _target(read_text(socket, "socket"))
    except ValueError as error:
        raise ConfigError(str(error), ("socket",)) from None
    return socket


def _target(socket: str) -> str:
    """What gRPC calls the address (SPIFFE Workload Endpoint, section 4)."""
    if socket.startswith("unix:"):
        return socket
    if socket.startswith("tcp://"):
        return socket.removeprefix("tcp://")
    raise ValueError(f"expected an address such as unix:///run/spire/agent.sock, got {socket!r}")


# A forked child has channels of its own: gRPC's do not outlive a fork.
_channels: PerProcess[dict[str, Any]] = PerProcess(dict)


_OPTIONS = (("grpc.enable_http_proxy", 0), ("grpc.max_reconnect_backoff_ms", 1000))
"""No proxy: the socket is of this machine. And an agent that is back is connected to soon: gRPC would take up to 2 min."""


def _channel(target: str) -> Any:
    known = _channels.value
    if target not in known:
        # Of two threads that make one at once both go on with the first.
        made = _grpc().insecure_channel(target, options=_OPTIONS)
        if known.setdefault(target, made) is not made:
            made.close()
    return known[target]


# --- the messages: fields of text and of messages, each a key, a length and so many bytes --------------------------------


def _field(number: int, text: str) -> bytes:
    content = text.encode()
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _svid_in(answer: bytes) -> Secret | str:
    """The text of the first SVID: field 2 of the first field 1."""
    try:
        first = next((content for number, content in _fields(answer) if number == 1), None)
        if first is None:
            return "expected a JWT-SVID from the SPIFFE Workload API, got none"
        text = next((content for number, content in _fields(first) if number == 2), b"").decode()
    except (ValueError, IndexError):
        return "expected a JWT-SVID from the SPIFFE Workload API, got something else"
    problem = secret_problem(text)
    return Secret(text) if problem is None else f"expected a JWT-SVID from the SPIFFE Workload API, got {problem}"


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        match key & 7:
            case 0:
                _, at = _read_varint(message, at)
            case 2:
                length, at = _read_varint(message, at)
                if at + length > len(message):
                    raise ValueError("cut off")
                yield key >> 3, message[at : at + length]
                at += length
            case 1 | 5 as kind:
                at += 8 if kind == 1 else 4
            case _:
                raise ValueError("no such kind of field")


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        value, at = value | (byte & 0x7F) << shift, at + 1
        if byte < 0x80:
            return value, at
    raise ValueError("a number without an end")

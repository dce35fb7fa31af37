"""The sidecar's HTTP interface as an ASGI application; the HTTP itself is uvicorn's."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from urllib.parse import parse_qs

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import choose_encoder

from oidc_actor.pool.members import UnknownKey
from oidc_actor.sidecar.log import log
from oidc_actor.values.errors import NoTokenError
from oidc_actor.values.secrets import Sealed, put
from oidc_actor.values.tokens import TokenResponse
from supervision import NoProcess

if TYPE_CHECKING:
    from oidc_actor.sidecar.fleet import Fleet
    from supervision.observer import Observer

# --- which requests are refused before anything is looked up; pure ----------------------------------------------------
#
# A web page can make a browser on this machine send requests to loopback in two ways. It can forge one: then it cannot read the
# answer, and it cannot set a header of its own unless the server permits that first, which this one never does. Or it gives its
# own name this machine's address (DNS rebinding): then it can read the answer, but ``Host`` has its name.
#
# A browser names the page in ``Origin`` (RFC 6454, section 7), or says in ``Sec-Fetch-Site`` how far the request goes from it; a
# page can remove neither. A program's HTTP client sends neither. ``Sec-Fetch-Mode`` alone is no sign: Node's ``fetch`` sends it.

REQUIRED_HEADER = "X-OIDC-Actor"
"""The header that a request for a token has to have on TCP, with any value."""

_REQUIRED = REQUIRED_HEADER.lower().encode()
_LOCAL = re.compile(rb"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?")


class RequestHeaders(NamedTuple):
    """The headers of a request that matter here.

    Attributes:
        host: The only ``Host``, lower case; ``None`` where there is none, or more than one.
        from_a_page: Whether a browser sent it on behalf of a page.
        has_header: Whether the required header is there.
        accept: What ``Accept`` says; empty where there is none.
        is_same_origin: Whether a browser says that a page of this very origin has it sent, or that a person typed the address.
    """

    host: bytes | None
    from_a_page: bool
    has_header: bool
    accept: bytes
    is_same_origin: bool = False


def read_headers(headers: Iterable[tuple[bytes, bytes]]) -> RequestHeaders:
    """Read a request's headers.

    Args:
        headers: Their names, in lower case, and values.
    """
    hosts, from_a_page, has_header, accept, is_same_origin = [], False, False, b"", False
    for name, value in headers:
        if name == b"host":
            hosts.append(value.strip().lower())
        elif name == b"accept":
            accept = value
        elif name == _REQUIRED:
            has_header = True
        elif name in (b"origin", b"sec-fetch-site"):
            from_a_page = True
            is_same_origin = is_same_origin or (name != b"origin" and value.strip() in (b"same-origin", b"none"))
    return RequestHeaders(hosts[0] if len(hosts) == 1 else None, from_a_page, has_header, accept, is_same_origin)


def local_hosts(host: str, port: int) -> frozenset[bytes]:
    """What ``Host`` may say of a listener on loopback: its own address, or a name that is this machine everywhere."""
    shown = f"[{host}]" if ":" in host else host
    names = {shown.lower(), "localhost", "127.0.0.1", "[::1]"}
    return frozenset(
        f"{name}{end}".encode() for name in names for end in {f":{port}", "" if port == 80 else f":{port}"}
    )


def refusal(request: RequestHeaders, hosts: frozenset[bytes] | None, *, for_a_token: bool) -> str | None:
    """Say why a request is refused.

    Args:
        request: Its headers.
        hosts: What ``Host`` may say; ``None`` on a Unix socket, which no page can reach and whose mode is the guard.
        for_a_token: Whether its answer would be secret.

    Returns:
        The reason, or ``None`` where it is not refused.
    """
    if request.from_a_page:
        return "requests of web pages are refused"
    if hosts is None:
        return None
    if request.host not in hosts:
        return "the Host header names another machine"
    if for_a_token and not request.has_header:
        return f"the header {REQUIRED_HEADER} is required, with any value"
    return None


def observer_refusal(request: RequestHeaders, hosts: frozenset[bytes] | None, *, is_page: bool) -> str | None:
    """Say why a request for the observer is refused, before the observer looks for itself.

    A browser cannot set the required header for a page, nor for a stream. So the page, which holds nothing of this sidecar, is
    given without it. What the page asks for has to come from it, as the browser says and no page can forge; a program sends the
    header instead. A page that has given its own name this machine's address has another ``Host``.

    Args:
        request: Its headers.
        hosts: What ``Host`` may say; ``None`` on a Unix socket, where it has to be a name of this machine, with any port.
        is_page: Whether it asks for the page or one of its files.
    """
    # A Unix socket may be forwarded to a port of a person's machine (ssh -L), where pages can reach it.
    local = _LOCAL.fullmatch(request.host or b"") is not None if hosts is None else request.host in hosts
    if not local:
        return "the Host header names another machine"
    if hosts is None or is_page or request.has_header or request.is_same_origin:
        return None
    return f"the header {REQUIRED_HEADER} is required, with any value, unless the observer's own page asks"


# --- the application --------------------------------------------------------------------------------------------------


Receive: TypeAlias = Callable[[], Awaitable[dict[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]

_JSON, _TEXT = b"application/json", b"text/plain; charset=utf-8"
_TOKEN_PATH = "/token/"  # noqa: S105 - a path
_OBSERVER_PATH = "/observer"


class Answer(Sealed):
    """One answer. Neither its ``repr`` nor a dump shows the body, which may be a token.

    Attributes:
        status: HTTP status.
        body: What is sent.
        headers: Its headers.
        written: Headers and body, as they stand after the status line and the server's own headers.
    """

    __slots__ = ("body", "headers", "status", "written")
    status: int
    body: bytes
    headers: list[tuple[bytes, bytes]]
    written: bytes

    def __init__(
        self, status: int, body: bytes, content_type: bytes = _JSON, further: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        length = b"%d" % len(body)
        own = [(b"content-type", content_type), (b"content-length", length), (b"cache-control", b"no-store")]
        headers = [*own, *further]
        written = b"".join([b"%b: %b\r\n" % header for header in headers]) + b"\r\n" + body
        put(self, status=status, body=body, headers=headers, written=written)

    def __repr__(self) -> str:
        return f"Answer({self.status})"


class Application:
    """The routes ``/token/<name>``, ``/healthz``, ``/readyz``, ``/metrics``, and ``/observer/`` where it is wished."""

    def __init__(
        self,
        fleet: Fleet,
        wait_seconds: float,
        tcp_hosts: Mapping[int, frozenset[bytes]],
        registry: CollectorRegistry = REGISTRY,
        observer: Observer | None = None,
    ) -> None:
        """Prepare.

        Args:
            fleet: The managers.
            wait_seconds: Longest wait for a token that is not there yet.
            tcp_hosts: What ``Host`` may say, by the port of the listener; a Unix socket has none.
            registry: What ``/metrics`` shows.
            observer: What ``/observer/`` shows; ``None`` for no such route.
        """
        self._fleet = fleet
        self._wait_s = wait_seconds
        self._tcp_hosts = tcp_hosts
        self._registry = registry
        self._observer = observer
        # By the target of a plain request: whose token it is, the token, and the answer, which does not change while that lives.
        self._kept: dict[bytes, tuple[str, TokenResponse, Answer]] = {}

    def at_once(
        self, target: bytes, headers: Iterable[tuple[bytes, bytes]], server: tuple[str, int | None] | None
    ) -> bytes | None:
        """The answer to a plain GET for a token that lives, without a task: its headers and its body, of status 200.

        Args:
            target: The request's target, as it came.
            headers: Its headers, their names in lower case.
            server: Where it came in, as in an ASGI scope.

        Returns:
            The bytes; ``None`` where anything is otherwise. Then the application is called, which says what.
        """
        kept = self._kept.get(target)
        if kept is None:
            return None
        request, (name, token, answer) = read_headers(headers), kept
        if refusal(request, self._hosts(server), for_a_token=True) is not None or request.accept.startswith(
            b"text/plain"
        ):
            return None
        return answer.written if self._fleet.live_token(name) is token else None

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            if self._observer is not None and (scope["path"] + "/").startswith(f"{_OBSERVER_PATH}/"):
                reason = self._observer_refusal(scope)
                if reason is None:
                    await self._observer({**scope, "root_path": _OBSERVER_PATH}, receive, send)
                    return
                answer = _refused(403, "forbidden", reason)
            else:
                answer = await self._answer(scope)
        except asyncio.CancelledError:  # by uvicorn: the time to drain is over; its task ends with this answer
            answer = _no_token("the sidecar is stopping", None)
        except Exception as error:  # noqa: BLE001 - a traceback in the server's log could show a token
            log("request_broken", error=type(error).__name__)
            answer = _refused(500, "server_error", "see the sidecar's log")
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, scope: dict[str, Any]) -> Answer:
        path: str = scope["path"]
        request = read_headers(scope["headers"])
        for_a_token = path.startswith(_TOKEN_PATH)
        reason = refusal(request, self._hosts(scope["server"]), for_a_token=for_a_token)
        if reason is not None:
            return _refused(403, "forbidden", reason)
        if scope["method"] not in ("GET", "HEAD"):
            return _refused(405, "method_not_allowed", "use GET", (b"allow", b"GET, HEAD"))
        if for_a_token:
            return await self._token(path[len(_TOKEN_PATH) :], request, scope["query_string"])
        if path == "/healthz":
            return self._healthz()
        if path == "/readyz":
            return self._readyz()
        if path == "/metrics":
            return await self._metrics(request)
        return _refused(404, "not_found", "the paths are /token/<name>, /healthz, /readyz and /metrics")

    def _observer_refusal(self, scope: dict[str, Any]) -> str | None:
        is_page = scope["path"] not in (f"{_OBSERVER_PATH}/state", f"{_OBSERVER_PATH}/events")
        return observer_refusal(read_headers(scope["headers"]), self._hosts(scope["server"]), is_page=is_page)

    def _hosts(self, server: tuple[str, int | None] | None) -> frozenset[bytes] | None:
        """What ``Host`` may say; no value does where it is not known how the request came."""
        if server is None:
            return frozenset()
        port = server[1]
        return None if port is None else self._tcp_hosts.get(port, frozenset())

    # --- routes -------------------------------------------------------------------------------------------------------

    async def _token(self, name: str, request: RequestHeaders, query: bytes) -> Answer:
        min_validity = _min_validity(query) if query else 0.0
        if min_validity is None:
            return _refused(400, "invalid_request", "expected min_validity=<seconds>, and nothing else, in the query")
        try:
            token = await self._fleet.token(name, self._wait_s, min_validity)
        except UnknownKey:
            self._kept.pop(_target_of(name), None)
            return _refused(404, "not_found", "no manager has this name")
        except NoTokenError as error:
            return _no_token(str(error), error.retry_in_s)
        except NoProcess:
            return _no_token("the manager is not running", None)
        if request.accept.startswith(b"text/plain"):
            return Answer(200, token.access_token.encode(), _TEXT)
        return self._answer_with(name, token)

    def _answer_with(self, name: str, token: TokenResponse) -> Answer:
        target = _target_of(name)
        kept = self._kept.get(target)
        if kept is None or kept[1] is not token:
            expires_at = token.expires_at
            fields = {
                "access_token": token.access_token,
                "token_type": token.token_type,
                "scope": token.scope,
                "expires_at": None if expires_at is None else expires_at.isoformat(),
            }
            kept = self._kept[target] = name, token, Answer(200, json.dumps(fields).encode())
        return kept[2]

    def _healthz(self) -> Answer:
        alive = self._fleet.supervisor.is_alive()
        return Answer(200 if alive else 503, b"ok\n" if alive else b"the supervisor has ended\n", _TEXT)

    def _readyz(self) -> Answer:
        waiting = self._fleet.not_ready()
        fields: dict[str, object] = {"ready": not waiting, "not_ready": waiting}
        refused, sharing = self._fleet.refused(), self._fleet.sharing()
        if refused:
            fields["refused"] = refused
        if sharing:  # without a store there is nothing to say
            fields["sharing"] = sharing
        return Answer(503 if waiting else 200, json.dumps(fields).encode())

    async def _metrics(self, request: RequestHeaders) -> Answer:
        try:
            encode, content_type = choose_encoder(request.accept.decode("latin-1"))
        except (TypeError, ValueError):  # it trips over a version that is no number
            encode, content_type = choose_encoder("")
        body = await asyncio.to_thread(
            encode, self._registry
        )  # many managers take a while, and the event loop goes on meanwhile
        return Answer(200, body, content_type.encode())


def _target_of(name: str) -> bytes:
    """What a request asks for that wants this token and nothing else; a name needs no escapes (`oidc_actor.sidecar.config`)."""
    return f"{_TOKEN_PATH}{name}".encode()


def _min_validity(query: bytes) -> float | None:
    try:
        fields = parse_qs(query.decode("ascii"), strict_parsing=True, max_num_fields=2)
        (value,) = fields.pop("min_validity")
        seconds = float(value)
    except (ValueError, KeyError):
        return None
    return seconds if not fields and 0 <= seconds < math.inf else None


def _refused(status: int, error: str, description: str, *headers: tuple[bytes, bytes]) -> Answer:
    body = json.dumps({"error": error, "error_description": description}).encode()
    return Answer(status, body, further=headers)


def _no_token(description: str, retry_in_s: float | None) -> Answer:
    headers = () if retry_in_s is None else ((b"retry-after", b"%d" % max(1, math.ceil(retry_in_s))),)
    return _refused(503, "no_token", description, *headers)

"""A resource server over HTTP: it checks a token's signature and end, and refuses some on demand."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from joserfc.jwk import KeySet

from oidc_actor.credentials.dpop import nonce_of
from oidc_actor.testing import Provider
from oidc_actor.testing.authorization_server import read_token
from oidc_actor.testing.dpop import ProofRefused, Proofs

INVALID_TOKEN = 'Bearer realm="api", error="invalid_token", error_description="not good enough"'
DEADLINE_S = 10.0


class Gatekeeper:
    """What a resource server knows of an issuer's tokens; shared by the HTTP and the gRPC server."""

    def __init__(self, provider: Provider) -> None:
        with urllib.request.urlopen(f"{provider.issuer_url}/jwks", timeout=DEADLINE_S) as answer:
            self._keys = KeySet.import_key_set(json.load(answer))
        self._issuer = provider.issuer_url
        self._lock = threading.Lock()  # guards what follows
        self._revoked: set[str] = set()
        self.refuses_all = False

    def revoke(self, token: str) -> None:
        with self._lock:
            self._revoked.add(token)

    def admits(self, authorization: str | None) -> bool:
        """Whether it is a bearer token that is good."""
        scheme, _, token = (authorization or "").partition(" ")
        claims = self._claims(token)
        return scheme == "Bearer" and claims is not None and "cnf" not in claims

    def refusal(
        self, authorization: str | None, proof: str | None, *, proofs: Proofs, method: str, url: str
    ) -> str | None:
        """Why a request is not let in, by the challenge's error code; a proof comes before the token that it goes with."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme != "DPoP":
            return None if self.admits(authorization) else "invalid_token"
        found = proofs.check(proof, method=method, url=url, access_token=token)
        if isinstance(found, ProofRefused):
            return found.error
        claims = self._claims(token)
        return None if claims is not None and claims.get("cnf") == {"jkt": found} else "invalid_token"

    def lacks(self, authorization: str | None, scope: str) -> bool:
        """Whether a good token has not that scope."""
        claims = self._claims((authorization or "").partition(" ")[2])
        return claims is not None and scope not in str(claims.get("scope", "")).split()

    def _claims(self, token: str) -> dict[str, Any] | None:
        with self._lock:
            if self.refuses_all or token in self._revoked:
                return None
        return read_token(token, self._keys, issuer=self._issuer, now_wall=time.time())


@dataclass(frozen=True)
class Seen:
    """One request as it came."""

    method: str
    path: str
    authorization: str | None
    proof: str | None
    refusal: str | None
    body: bytes

    @property
    def token(self) -> str | None:
        return None if self.authorization is None else self.authorization.partition(" ")[2]


class Api:
    """An HTTP/1.1 server on loopback.

    ``/echo`` answers a good token with the body that came; ``/moved`` redirects to `elsewhere`, ``/near`` to ``/echo``, and so
    does ``/guarded``, but with a good token only; what is
    in `pages` is served as JSON, to a good token too. Everything else about a token is a 401 with `challenge`, which speaks of
    the scheme that the token came with; about its proof, a 401 with that error. Where `proofs` want a nonce every answer brings
    it.
    """

    def __init__(self, gatekeeper: Gatekeeper) -> None:
        self.gatekeeper = gatekeeper
        self.proofs = Proofs(time.time)
        self.on_request = lambda: None
        self.challenge: str | None = INVALID_TOKEN
        self.status = 401
        self.elsewhere = ""
        self.pages: dict[str, Any] = {}
        self.scopes: dict[str, str] = {}  # by path, the scope that it needs; without it a good token is answered 403
        self.answers_early = (
            False  # a refusal is sent before the body is read, which happens when the next request has come
        )
        self.hangs_up = False  # instead of answering a good token
        self.trouble: Iterator[bool] = iter(())  # whether each request from now on is answered 503
        self._changed = threading.Condition()  # guards `_seen`
        self._seen: list[Seen] = []
        self._begun = 0  # requests whose header has come
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"api": self}))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def seen(self) -> list[Seen]:
        with self._changed:
            return list(self._seen)

    @property
    def tokens(self) -> list[str | None]:
        """The tokens that came, in order."""
        return [one.token for one in self.seen]

    def begin(self) -> None:
        with self._changed:
            self._begun += 1
            self._changed.notify_all()

    def wait_for_another(self) -> None:
        """Wait for the request after the first."""
        with self._changed:
            self._changed.wait_for(lambda: self._begun > 1, DEADLINE_S)

    def note(self, seen: Seen) -> None:
        with self._changed:
            self._seen.append(seen)
            self._changed.notify_all()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client may hang up."""


class _Handler(BaseHTTPRequestHandler):
    api: Api
    protocol_version = "HTTP/1.1"
    timeout = DEADLINE_S
    disable_nagle_algorithm = True

    def handle_any(self) -> None:
        api = self.api
        api.begin()
        authorization = self.headers.get("Authorization")
        proof, url = self.headers.get("DPoP"), f"http://{self.headers['Host']}{self.path.partition('?')[0]}"
        refusal = api.gatekeeper.refusal(authorization, proof, proofs=api.proofs, method=self.command, url=url)
        early = api.answers_early and refusal is not None
        body = b"" if early else self._body()
        api.note(Seen(self.command, self.path, authorization, proof, refusal, body))
        api.on_request()
        if self.path in {"/moved", "/near"}:
            self._answer(307, b"", {"Location": api.elsewhere if self.path == "/moved" else "/echo"})
        elif early:
            self._answer_early()
        elif next(api.trouble, False):
            self._answer(503, b"", {})
        elif refusal is not None:
            self._answer(
                api.status, b"refused", self._challenge(refusal, (authorization or "Bearer").partition(" ")[0])
            )
        elif self.path in api.scopes and api.gatekeeper.lacks(authorization, api.scopes[self.path]):
            challenge = f'Bearer realm="api", error="insufficient_scope", scope="{api.scopes[self.path]}"'
            self._answer(403, b"more", {"WWW-Authenticate": challenge})
        elif api.hangs_up:
            self.close_connection = True
        elif self.path == "/guarded":
            self._answer(307, b"", {"Location": "/echo"})
        elif self.path.partition("?")[0] in api.pages:
            page = json.dumps(api.pages[self.path.partition("?")[0]]).encode()
            self._answer(200, page, {"Content-Type": "application/json"})
        elif self.path.partition("?")[0] == "/echo":
            self._answer(200, body or b"welcome", {})
        else:
            self._answer(404, b"", {})

    do_GET = do_POST = do_PUT = handle_any

    def _answer_early(self) -> None:
        """Send the head of a refusal; its body, and the reading of the request's, come once the next request has come."""
        self.send_response(401)
        self.send_header("WWW-Authenticate", INVALID_TOKEN)
        self.send_header("Content-Length", "7")
        self.end_headers()
        self.wfile.flush()
        self.api.wait_for_another()
        self.close_connection = True
        with contextlib.suppress(OSError):  # the client may have hung up
            self._body()
            self.wfile.write(b"refused")

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _challenge(self, refusal: str, scheme: str) -> dict[str, str]:
        if refusal != "invalid_token":
            return {"WWW-Authenticate": f'DPoP realm="api", error="{refusal}", algs="ES256"'}
        challenge = self.api.challenge
        return {} if challenge is None else {"WWW-Authenticate": challenge.replace("Bearer", scheme)}

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.api.proofs.nonce is not None:
            self.send_header("DPoP-Nonce", self.api.proofs.nonce)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Silent."""


def refusals(api: Api) -> list[str | None]:
    return [one.refusal for one in api.seen]


def nonces(api: Api) -> list[str | None]:
    return [nonce_of(one.proof or "") for one in api.seen]

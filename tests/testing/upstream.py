"""A server behind the proxy, and a client before it."""

from __future__ import annotations

import http.client
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from oidc_actor.testing.fault_proxy import FaultProxy

BODY = b'{"access_token": "abcdefghij"}'
TIMEOUT_S = 10.0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(asked)  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *args: object) -> None:
        pass


class Upstream(ThreadingHTTPServer):
    """An HTTP/1.1 server that keeps connections alive and remembers the bodies it was sent."""

    daemon_threads = True
    request_queue_size = 128  # with the five of the base a busy machine drops connections, which come again too late

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a broken connection is what these tests are about


class Client:
    """One connection that is kept alive."""

    def __init__(self, proxy: FaultProxy) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", int(proxy.url.rpartition(":")[2]), timeout=TIMEOUT_S)

    def ask(self, body: bytes = b"grant") -> bytes:
        self._http.request("POST", "/token", body)
        return self._http.getresponse().read()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()


def ask(proxy: FaultProxy) -> bytes:
    with Client(proxy) as client:
        return client.ask()

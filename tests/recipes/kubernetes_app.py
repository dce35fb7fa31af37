"""A service that gets its own tokens, as Kubernetes runs it: two probes, a mounted secret, and SIGTERM."""

import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests

from oidc_actor import ClientCredentials, NoTokenError, SecretFile, TokenManager
from oidc_actor.adapters.requests import OIDCAuth
from oidc_actor.metrics import ready
from supervision import Supervisor

# Before any thread starts, so that no thread but the main one takes these signals.
ENDS = {signal.SIGTERM, signal.SIGINT}
signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)

supervisor = Supervisor.start_link(
    [
        TokenManager.child_spec(
            name="billing.token",
            issuer_url=os.environ["OIDC_ISSUER_URL"],
            auth=ClientCredentials(os.environ["OIDC_CLIENT_ID"], SecretFile(os.environ["OIDC_CLIENT_SECRET_FILE"])),
        )
    ]
)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/livez":  # a new process would help
            self.answer(200 if supervisor.is_alive() else 503)
        elif self.path == "/readyz":  # this process can serve
            self.answer(200 if ready("billing.token") else 503)
        else:
            try:
                api = requests.get(os.environ["API_URL"], auth=OIDCAuth("billing.token"), timeout=5)
                self.answer(api.status_code)
            except NoTokenError:
                self.answer(503)

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


class HTTPServer(ThreadingHTTPServer):
    daemon_threads = False  # `with` waits for the requests under way


with HTTPServer(("", int(os.environ.get("PORT", "8080"))), Handler) as server:
    threading.Thread(target=server.serve_forever).start()
    signal.sigwait(ENDS)
    server.shutdown()  # takes no new requests; the old ones still need the manager
Supervisor.stop(supervisor, timeout=5)

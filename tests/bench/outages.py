"""The rehearsal of an outage, played on other libraries and on ours, with one command, which makes its own environment first::

    python tests/bench/outages.py [--twice] [--json FILE] [--page] [NAME ...]

A program with four threads calls an API every 100 ms, each library as its documentation says. Its token endpoint has one
trouble, the API is well all the time. Each library has a process of its own, five at a time; a run takes about three minutes.
Real time passes, so a token lives as long as the library's own early refresh and a few seconds more: its refresh comes due in the
trouble, and its token outlives the trouble. ``--twice`` plays all of it twice, with exit status 1 where a verdict differs, and
``--page`` writes the table into PEERS.md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import environment

THREADS, PAUSE_S, HERD, HERD_PAUSE_S = 4, 0.1, 50, 0.25
TROUBLE_S, BEFORE_S, AFTER_S, HERD_TROUBLE_S = 5.5, 1.5, 4.0, 2.2
SLOW_S, DELAY_S = 3.0, 0.1
CALM_S = 1.0  # of calls before the trouble
NOTICED_S = 1.5
"""Seconds of a call from which on its caller has noticed something; all is well within 0.2 s."""

AT_ONCE, PEER_TIMEOUT_S = 5, 240.0
SCENES = {
    "503": "the token endpoint answers 503 for 5.5 s",
    "refused": "it refuses connections for 5.5 s",
    "hole": "it takes requests and answers nothing for 5.5 s",
    "slow": "its answers take 3 s",
    "empty": "it answers 200 with an empty body for 5.5 s",
    "revoked": "the API refuses all tokens of before with 401, once",
    "herd": "50 threads start without a token while it answers 503 for 2.2 s",
}
PAGE = Path(__file__).with_name("PEERS.md")
BEGIN, END = "<!-- outages: tests/bench/outages.py -->", "<!-- end -->"

Call = Callable[[], object]


class Refused(Exception):
    """The API answered with an error."""


class _Server(ThreadingHTTPServer):
    allow_reuse_address = daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """Silent: a client that gives a request up ends the connection."""


class World:
    """A token endpoint and an API, each on an origin of its own."""

    def __init__(self, life_s: int) -> None:
        self.life_s = life_s
        self.trouble: str | None = None
        self.over = threading.Event()  # set while there is no black hole
        self.over.set()
        self.requests = 0
        self.first_new_at: float | None = None  # when the API first saw a token that was issued after the trouble
        self._issued: dict[str, float] = {}
        self._after = float("inf")
        self._withdrawn_until = 0.0
        self._numbers = itertools.count()
        self._tokens = self._listen(0, _Token)
        self._api = self._listen(0, _Api)
        self.token_origin = f"http://127.0.0.1:{self._tokens.server_port}"
        self.token_url = f"{self.token_origin}/token"
        self.api_origin = f"http://127.0.0.1:{self._api.server_port}"
        self.api_url = f"{self.api_origin}/api"

    def _listen(self, port: int, handler: type[Any]) -> _Server:
        server = _Server(("127.0.0.1", port), type("Handler", (handler,), {"world": self}), False)
        server.server_bind()
        server.server_activate()
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server

    def begin(self, trouble: str) -> None:
        """Begin a trouble."""
        if trouble == "revoked":
            self._withdrawn_until = self._after = time.monotonic()
            return
        if trouble == "refused":
            self._tokens.shutdown()
            self._tokens.server_close()
        if trouble == "hole":
            self.over.clear()
        self.trouble = trouble

    def end(self) -> None:
        """End it."""
        trouble, self.trouble, self._after = self.trouble, None, time.monotonic()
        self.over.set()
        if trouble == "refused":
            self._tokens = self._listen(self._tokens.server_port, _Token)

    def issue(self) -> str:
        """A new token."""
        token = f"t{next(self._numbers)}"
        self._issued[token] = time.monotonic()
        return token

    def takes(self, token: str) -> bool:
        """Whether the API takes a token; it notes the first that is newer than the trouble."""
        issued_at, now = self._issued.get(token), time.monotonic()
        if issued_at is None or now > issued_at + self.life_s or issued_at < self._withdrawn_until:
            return False
        if issued_at >= self._after and self.first_new_at is None:
            self.first_new_at = now
        return True

    @property
    def recovered_s(self) -> float | None:
        """Seconds from the trouble's end to the first call with a newer token; ``None`` where there was none by then."""
        return None if self.first_new_at is None else self.first_new_at - self._after


class _Handler(BaseHTTPRequestHandler):
    world: World
    disable_nagle_algorithm = True

    def send(self, status: int, answer: object, body: bytes | None = None) -> None:
        body = json.dumps(answer).encode() if body is None else body
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", 'Bearer error="invalid_token"')
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Silent."""


class _Token(_Handler):
    """The token endpoint; one connection for each request. A GET is for the metadata that msal asks for."""

    def do_GET(self) -> None:
        self._answer(_TENANT)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.world.requests += 1
        self._answer(None)

    def _answer(self, metadata: object) -> None:
        world = self.world
        trouble = world.trouble
        if trouble == "hole":
            world.over.wait(60.0)
            self.close_connection = True  # without an answer
            return
        if trouble in ("503", "herd"):
            self.send(503, {"error": "temporarily_unavailable"})
            return
        if trouble == "empty":
            self.send(200, None, b"")
            return
        time.sleep(SLOW_S if trouble == "slow" else DELAY_S)
        granted = {"token_type": "Bearer", "expires_in": world.life_s}
        self.send(200, metadata or {"access_token": world.issue(), **granted})


class _Api(_Handler):
    """The API that takes the tokens, in the shapes that the vendors' clients want."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer()

    def _answer(self) -> None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.world.takes(token):
            self.send(200, _PAGES.get(self.path, {}))
        else:
            self.send(401, {"error": {"type": "authentication_error", "message": "no such token"}})


_PAGES = {
    "/v1/chat/completions": {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": []},
    "/v1/messages": {"id": "1", "type": "message", "role": "assistant", "model": "m", "content": []},
}
_LOGIN = "https://login.microsoftonline.com"
_TENANT = {
    "issuer": f"{_LOGIN}/tenant/v2.0",
    "authorization_endpoint": f"{_LOGIN}/tenant/oauth2/v2.0/authorize",
    "token_endpoint": f"{_LOGIN}/tenant/oauth2/v2.0/token",
}


# --- the libraries ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Peer:
    """A library.

    Attributes:
        use: Gives a call of the API with it.
        package: What it is called in the registry.
        life_s: How long its tokens live.
        refresh_at_s: When it wants the next one, from the time that the first came.
        waits: Whether that is so long that its scenes are played at the same time.
    """

    use: Callable[[World], Any]
    package: str
    life_s: int
    refresh_at_s: float
    waits: bool = False


def _with_header(world: World, token: Callable[[], str]) -> Call:
    """A call for libraries that give a token, and leave the request to the program."""
    import requests

    def call() -> None:
        sent = requests.get(world.api_url, headers={"Authorization": f"Bearer {token()}"}, timeout=10)
        sent.raise_for_status()

    return call


def _microsoft(world: World) -> Any:
    """A session of requests that finds Microsoft's login at the world's token endpoint."""
    import requests
    from requests.adapters import HTTPAdapter

    class ToTheWorld(HTTPAdapter):
        def send(self, request: Any, *args: Any, **given: Any) -> Any:
            request.url = request.url.replace(_LOGIN, world.token_origin)
            return super().send(request, *args, **given)

    session = requests.Session()
    session.mount(_LOGIN, ToTheWorld(max_retries=1))  # as msal's own session has it
    return session


@contextmanager
def authlib(world: World) -> Iterator[Call]:
    """https://docs.authlib.org/en/latest/client/oauth2.html: "Auto Update Token", with `token_endpoint` and `grant_type`."""
    from authlib.integrations.requests_client import OAuth2Session

    session = OAuth2Session("id", "secret", token_endpoint=world.token_url, grant_type="client_credentials")

    def call() -> None:
        if not session.token:
            session.fetch_token()
        session.get(world.api_url).raise_for_status()

    yield call


@contextmanager
def google_auth(world: World) -> Iterator[Call]:
    """https://googleapis.dev/python/google-auth/latest/user-guide.html: "Service account private key files", and
    `AuthorizedSession`, which refreshes, and answers a 401."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from google.auth.transport.requests import AuthorizedSession
    from google.oauth2 import service_account

    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    info = {"client_email": "me@x.invalid", "private_key": pem, "token_uri": world.token_url, "private_key_id": "1"}
    credentials = service_account.Credentials.from_service_account_info(info, scopes=["api"])
    session = AuthorizedSession(credentials)
    yield lambda: session.get(world.api_url).raise_for_status()


@contextmanager
def msal(world: World) -> Iterator[Call]:
    """https://learn.microsoft.com/entra/msal/python/: `acquire_token_for_client`, which looks up its cache by itself."""
    from msal import ConfidentialClientApplication

    application: list[Any] = []
    making = threading.Lock()  # to make one asks for metadata, which may fail in a trouble

    def token() -> str:
        with making:
            if not application:
                application.append(
                    ConfidentialClientApplication(
                        "id",
                        client_credential="secret",
                        authority=f"{_LOGIN}/tenant",
                        instance_discovery=False,
                        http_client=_microsoft(world),
                    )
                )
        found = application[0].acquire_token_for_client(["https://peer.invalid/.default"])
        if "access_token" not in found:
            raise Refused(found.get("error"))
        return str(found["access_token"])

    yield _with_header(world, token)


@contextmanager
def azure_identity(world: World) -> Iterator[Call]:
    """https://learn.microsoft.com/python/api/overview/azure/identity-readme: "Authenticate with a client secret", `get_token`."""
    from azure.core.pipeline.transport import RequestsTransport
    from azure.identity import ClientSecretCredential

    transport = RequestsTransport(session=_microsoft(world), session_owner=False)
    credential = ClientSecretCredential("tenant", "id", "secret", transport=transport, disable_instance_discovery=True)
    yield _with_header(world, lambda: credential.get_token("https://peer.invalid/.default").token)


@contextmanager
def botocore(world: World) -> Iterator[Call]:
    """`RefreshableCredentials.create_from_metadata`, as botocore's own providers use it; the function that gets the token is the
    program's."""
    from datetime import UTC, datetime, timedelta

    import requests
    from botocore.credentials import RefreshableCredentials

    def refresh() -> dict[str, str]:
        sent = requests.post(world.token_url, data={"grant_type": "client_credentials"}, timeout=10)
        sent.raise_for_status()
        got = sent.json()
        until = datetime.now(UTC) + timedelta(seconds=got["expires_in"])
        return {
            "access_key": "key",
            "secret_key": "secret",
            "token": got["access_token"],
            "expiry_time": until.isoformat(),
        }

    credentials: list[Any] = []
    making = threading.Lock()

    def token() -> str:
        with making:
            if not credentials:
                credentials.append(RefreshableCredentials.create_from_metadata(refresh(), refresh, "bench"))
        return str(credentials[0].get_frozen_credentials().token)

    yield _with_header(world, token)


@contextmanager
def databricks(world: World) -> Iterator[Call]:
    """`databricks.sdk.oauth.ClientCredentials`, with the asynchronous refresh that a `WorkspaceClient` gives it."""
    from databricks.sdk.oauth import ClientCredentials

    source = ClientCredentials("id", "secret", world.token_url, use_header=True, disable_async=False)
    yield _with_header(world, lambda: source.token().access_token)


@contextmanager
def anthropic(world: World) -> Iterator[Call]:
    """Its cache of what a provider of credentials gives: `Anthropic(credentials=)`. It goes on with the token it has after an
    error of httpx2's or of its own, so that the provider here raises no other."""
    import anthropic as vendor
    import httpx2
    from anthropic.lib.credentials import AccessToken

    def provide(*, force_refresh: bool = False) -> AccessToken:
        answer = httpx2.post(world.token_url, data={"grant_type": "client_credentials"}, timeout=10)
        answer.raise_for_status()
        try:
            got = answer.json()
        except ValueError:
            raise vendor.AnthropicError("no token in the answer") from None
        return AccessToken(got["access_token"], int(time.time() + got["expires_in"]))

    with vendor.Anthropic(base_url=world.api_origin, credentials=provide) as client:
        messages: Any = [{"role": "user", "content": "hello"}]
        yield lambda: client.messages.create(model="m", max_tokens=1, messages=messages)


@contextmanager
def openai(world: World) -> Iterator[Call]:
    """Its workload identity, which trades a token and keeps what it gets: `OpenAI(workload_identity=)`."""
    import openai as vendor

    subject: Any = {"token_type": "jwt", "get_token": lambda: "a statement"}
    identity: Any = {"identity_provider_id": "p", "service_account_id": "s", "provider": subject}
    with vendor.OpenAI(base_url=f"{world.api_origin}/v1", workload_identity=identity) as client:
        assert client._workload_identity_auth is not None
        client._workload_identity_auth.token_exchange_url = world.token_url  # the vendor's own is fixed
        messages: Any = [{"role": "user", "content": "hello"}]
        yield lambda: client.chat.completions.create(model="m", messages=messages)


@contextmanager
def requests_oauth2client(world: World) -> Iterator[Call]:
    """https://guillp.github.io/requests_oauth2client: `OAuth2ClientCredentialsAuth` as the ``auth`` of a request."""
    import requests
    from requests_oauth2client import OAuth2Client, OAuth2ClientCredentialsAuth

    # testing: its addresses need not be https
    client = OAuth2Client(world.token_url, client_id="id", client_secret="secret", testing=True)
    auth = OAuth2ClientCredentialsAuth(client)
    yield lambda: requests.get(world.api_url, auth=auth, timeout=10).raise_for_status()


@contextmanager
def ours(world: World) -> Iterator[Call]:
    """The line of the page for requests: `OIDCAuth` as the ``auth`` of a request."""
    import requests

    from oidc_actor import ClientCredentials, OIDCConfig, TokenManager
    from oidc_actor.adapters.requests import OIDCAuth

    config = OIDCConfig(token_endpoint=world.token_url)
    TokenManager.start_link(name="peers", oidc_config=config, auth=ClientCredentials("id", "secret"))
    auth = OIDCAuth("peers")
    try:
        yield lambda: requests.get(world.api_url, auth=auth, timeout=10).raise_for_status()
    finally:
        TokenManager.stop("peers")


def _early(use: Callable[[World], Any], package: str, buffer_s: int) -> Peer:
    """A library that wants its next token so many seconds before the end of the one that it has."""
    return Peer(use, package, buffer_s + 3, 3.0)


PEERS = {
    "Authlib": _early(authlib, "authlib", 60),  # OAuth2Session(leeway=60)
    "google-auth": _early(google_auth, "google-auth", 225),  # _helpers.REFRESH_THRESHOLD
    "requests-oauth2client": _early(requests_oauth2client, "requests-oauth2client", 20),  # leeway=20
    "msal": _early(msal, "msal", 300),  # a token with less than five minutes counts as expired
    "azure-identity": _early(azure_identity, "azure-identity", 300),  # DEFAULT_REFRESH_OFFSET
    "botocore": _early(botocore, "botocore", 900),  # the advisory refresh; the mandatory one is at 600
    # Half of the life, at most 20 minutes; and a token with less than 40 s counts as expired.
    "databricks-sdk": Peer(databricks, "databricks-sdk", 120, 60.0, waits=True),
    "anthropic": _early(anthropic, "anthropic", 120),  # ADVISORY_REFRESH_SECONDS; the mandatory one is at 30
    "openai": Peer(openai, "openai", 12, 6.0),  # half of the life, at most 20 minutes
    "oidc-actor": Peer(ours, "", 12, 6.0),  # half of the life, at most refresh_buffer_seconds=60; up to a tenth earlier
}


# --- a play -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """How a library fared in a scene.

    Attributes:
        peer: Which library.
        scene: What went wrong.
        calls: How many calls there were.
        failed: How many raised.
        slowest_s: Seconds of the slowest.
        requests: How many requests the token endpoint had, the first token's included.
        recovered_s: Seconds from the trouble's end to the first call with a newer token; ``None`` where there was none by then.
    """

    peer: str
    scene: str
    calls: int
    failed: int
    slowest_s: float
    requests: int
    recovered_s: float | None

    @property
    def verdict(self) -> str:
        """What the callers noticed."""
        return "failed" if self.failed else "waited" if self.slowest_s >= NOTICED_S else "unnoticed"


class _Program:
    """Threads that call, and what came of it. An append is atomic, so there is no lock."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self.took: list[float] = []
        self.failures: list[str] = []

    def once(self) -> bool:
        """One call; returns whether it worked."""
        began = time.monotonic()
        try:
            self._call()
            return True
        except Exception as error:
            self.failures.append(type(error).__name__)
            return False
        finally:
            self.took.append(time.monotonic() - began)

    def until(self, end_at: float) -> None:
        """Call after call."""
        while time.monotonic() < end_at:
            self.once()
            time.sleep(PAUSE_S)

    def until_it_works(self, end_at: float) -> None:
        """Call after call, up to the first that works."""
        while not self.once() and time.monotonic() < end_at:
            time.sleep(HERD_PAUSE_S)


def play(name: str, scene: str) -> Row:
    """Play one scene with one library."""
    peer = PEERS[name]
    world = World(peer.life_s)
    if scene == "herd":
        world.begin(scene)  # before a library is made that asks at once
    with peer.use(world) as call:
        program = _Program(call)
        if scene == "herd":
            now = time.monotonic()
            _together(HERD, program.until_it_works, now + 20.0, world, now + HERD_TROUBLE_S)
        else:
            if not program.once():
                raise SystemExit(f"{name}: no first token: {program.failures}")
            began = time.monotonic()
            begin_at = began + (1.0 if scene == "revoked" else peer.refresh_at_s - BEFORE_S)
            end_at = begin_at + (0.0 if scene == "revoked" else TROUBLE_S)
            time.sleep(max(0.0, begin_at - CALM_S - time.monotonic()))
            starter = threading.Timer(begin_at - time.monotonic(), world.begin, (scene,))
            starter.daemon = True
            starter.start()
            _together(THREADS, program.until, end_at + AFTER_S, world, None if scene == "revoked" else end_at)
    return Row(
        name,
        scene,
        len(program.took),
        len(program.failures),
        max(program.took),
        world.requests,
        world.recovered_s,
    )


def _together(count: int, work: Callable[[float], None], until: float, world: World, end_at: float | None) -> None:
    threads = [threading.Thread(target=work, args=(until,), daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    if end_at is not None:
        time.sleep(max(0.0, end_at - time.monotonic()))
        world.end()
    for thread in threads:
        thread.join(60.0)


# --- the command ------------------------------------------------------------------------------------------------------


def main() -> int:
    """Play what was asked for."""
    asked = _arguments()
    if asked.peer:
        with ThreadPoolExecutor(len(SCENES) if PEERS[asked.peer].waits else 1) as pool:
            rows = list(pool.map(play, [asked.peer] * len(SCENES), SCENES))
        print(json.dumps([asdict(row) for row in rows]))
        return 0
    environment.enter()
    names = asked.names or list(PEERS)
    runs = [_run(names) for _ in range(2 if asked.twice else 1)]
    text = table(runs[-1])
    print(text)
    if asked.json:
        asked.json.write_text(json.dumps([asdict(row) for row in runs[-1]], indent=1))
    if asked.page:
        page = PAGE.read_text(encoding="utf-8")
        head, _, rest = page.partition(BEGIN)
        PAGE.write_text(f"{head}{BEGIN}\n{text}{END}{rest.partition(END)[2]}", encoding="utf-8")
    differ = [
        f"{one.peer}, {one.scene}: {one.verdict}, then {other.verdict}"
        for one, other in zip(runs[0], runs[-1], strict=True)
        if one.verdict != other.verdict
    ]
    for line in differ:
        print(line)
    if asked.twice:
        print(f"{len(runs[0])} verdicts, {len(differ)} differ between the two runs")
    return 1 if differ else 0


def _run(names: list[str]) -> list[Row]:
    def alone(name: str) -> list[Row]:
        command = [sys.executable, __file__, "--peer", name]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PEER_TIMEOUT_S, check=False)
        if done.returncode:
            raise RuntimeError(f"{name}: {done.stderr[-2000:]}")
        print(f"{name}: played", flush=True)
        return [Row(**row) for row in json.loads(done.stdout.splitlines()[-1])]

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [row for rows in pool.map(alone, names) for row in rows]


def table(rows: list[Row]) -> str:
    """The table, in Markdown: a row for each library, a column for each scene."""
    found = environment.versions()
    lines = ["| | " + " | ".join(SCENES) + " |", "| --- |" + " --- |" * len(SCENES)]
    for name in dict.fromkeys(row.peer for row in rows):
        version = found.get(PEERS[name].package)
        cells = {row.scene: _cell(row) for row in rows if row.peer == name}
        label = f"{name} {version}" if version else f"**{name}**"
        lines.append(f"| {label} | " + " | ".join(cells[scene] for scene in SCENES) + " |")
    return "\n".join(lines) + "\n"


def _cell(row: Row) -> str:
    recovered = "-" if row.recovered_s is None else f"{row.recovered_s:.1f} s"
    return f"{row.verdict}: {row.failed} of {row.calls}, {row.slowest_s:.1f} s, {row.requests}, {recovered}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which of {', '.join(PEERS)}; else all")
    parser.add_argument("--twice", action="store_true", help="play all twice, and compare the verdicts")
    parser.add_argument("--json", type=Path, help="also write the rows there")
    parser.add_argument("--page", action="store_true", help=f"also write the table into {PAGE.name}")
    parser.add_argument("--peer", choices=list(PEERS), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(PEERS):
        parser.error(f"expected names of {', '.join(PEERS)}, got {', '.join(sorted(unknown))}")
    return asked


if __name__ == "__main__":
    sys.exit(main())

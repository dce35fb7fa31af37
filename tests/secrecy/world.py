"""A manager with secrets in all of its parts, and one of each thing around it."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from fakes import ISSUER, Fixed, ScriptedTransport, Stopwatch, minted
from joserfc.jwk import ECKey
from threads import eventually

from oidc_actor import TokenManager
from oidc_actor.cli import doctor
from oidc_actor.cli.connection import Connection
from oidc_actor.credentials.grants import Password
from oidc_actor.protocol.token_request import SentSecrets, build_token_request
from oidc_actor.protocol.token_response import parse_token
from oidc_actor.reading.directory import locate
from oidc_actor.reading.waiters import TaskWaiter, ThreadWaiter
from oidc_actor.sidecar.asgi import Answer, Application
from oidc_actor.sidecar.config import RunConfig, load
from oidc_actor.sidecar.service import Service
from oidc_actor.transport import Response
from oidc_actor.values.oidc_config import OIDCConfig
from oidc_actor.values.secrets import Secret
from oidc_actor.values.tokens import ParsedToken, TokenResponse
from supervision import Supervisor
from supervision.process.pykka_internals import actor_of

MARK = "hunter2"
SECRET = f"{MARK}-the-secret"
CONFIG = OIDCConfig(issuer=ISSUER, token_endpoint=f"{ISSUER}/token")
KEY = json.dumps(ECKey.generate_key("P-256", None).as_dict(private=True))


class World:
    """A manager with secrets in all of its parts, and one of each thing around it."""

    def __init__(self, stack: ExitStack) -> None:
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.secret = Secret(SECRET)
        extra = {"key": SECRET, "inner": [{"key": SECRET}]}
        self.token = TokenResponse(SECRET, "Bearer", 300, f"{SECRET}-refresh", f"{SECRET}-id", "read", extra=extra)
        self.parsed = ParsedToken(self.token, 300.0, "expires_in")
        headers = {"X-Key": SECRET, "X-Call": lambda: SECRET}
        self.auth = Password("user", SECRET, "id", SECRET, extra={"otp": SECRET}, request_headers=headers)
        self.sent = SentSecrets(self.secret, self.secret, (self.secret,), headers=(("X-Key", self.secret),))
        self.request = build_token_request(CONFIG, self.auth, self.sent, timeout_s=1.0)
        self.response = Response(200, {"X-Echo": SECRET}, json.dumps({"access_token": SECRET}))
        self.refused = raised(lambda: parse_token(self.echo(), now_wall=0.0, sent_secrets=self.sent.all()))
        self.transport = ScriptedTransport(minted(SECRET, refresh_token=f"{SECRET}-refresh", id_token=f"{SECRET}-id"))
        self.clock = Stopwatch()
        self.name = "secrecy"
        self.spec = TokenManager.child_spec(**self._options())
        self.supervisor = Supervisor.start_link([self.spec])
        stack.callback(Supervisor.stop, self.supervisor)
        TokenManager.get_token(self.name)
        self.subscription = TokenManager.subscribe(self.name, lambda token: None)
        self.source = TokenManager.source(self.name)
        self.cell = locate(self.name)
        assert self.cell.ref is not None
        self.actor: Any = actor_of(self.cell.ref)
        self.transport.default = self.echo()
        self.clock.advance(200)
        TokenManager.force_refresh(self.name)
        eventually(lambda: TokenManager.health(self.name).last_error)
        self.loop = asyncio.new_event_loop()
        stack.callback(self.loop.close)
        self.config = self._run_config()
        self.service = Service(self.folder / "run.toml", self.config)
        self.fleet = self.service._fleet
        stack.callback(self.fleet.stop, 5.0)
        self.fleet.apply(self.config.managers)

    def _options(self) -> dict[str, Any]:
        return {
            "auth": self.auth,
            "oidc_config": CONFIG,
            "name": self.name,
            "transport": self.transport,
            "clock": self.clock,
            "rng": Fixed(0),
        }

    def _run_config(self) -> RunConfig:
        (self.folder / "secret").write_text(SECRET)
        table = '[managers.secrecy-run]\ntoken_endpoint = "http://127.0.0.1:1/token"\nclient_id = "id"\n'
        (self.folder / "run.toml").write_text(
            table + 'client_secret = {file = "secret"}\n[server]\nunix_socket = "run.sock"\n'
        )
        return load(self.folder / "run.toml")

    @staticmethod
    def echo() -> Response:
        """A refusal that repeats what was sent, and has a token in it."""
        said = {"error": "invalid_client", "error_description": f"no {SECRET}", "access_token": SECRET}
        return Response(401, {"WWW-Authenticate": SECRET}, json.dumps(said))

    def waiter(self) -> ThreadWaiter:
        """A thread that has its token."""
        waiter = ThreadWaiter(1.0, 0.0, wants_refresh=False)
        waiter.resolve(self.token)
        return waiter

    def task_waiter(self) -> TaskWaiter:
        """A task that has its token."""

        async def resolved() -> TaskWaiter:
            waiter = TaskWaiter(1.0, 0.0, wants_refresh=False)
            waiter.resolve(self.token)
            return waiter

        return self.loop.run_until_complete(resolved())

    def recorder(self) -> doctor.Recorder:
        """A transport of the command line that has carried a token."""
        recorder = doctor.Recorder(lambda request: self.response)
        recorder(self.request)
        return recorder

    def connection(self) -> Connection:
        """What the command line was told."""
        return Connection(None, CONFIG, self.auth, None, 1.0, allow_insecure_http=False)

    def application(self) -> Application:
        """The sidecar's, with a token that it has shown."""
        application = Application(self.fleet, 1.0, {})
        application._kept[b"/token/m"] = ("m", self.token, Answer(200, SECRET.encode()))
        return application


@contextmanager
def world() -> Iterator[World]:
    """Build one."""
    with ExitStack() as stack:
        yield World(stack)


def raised(call: Callable[[], object]) -> BaseException:
    """What a call raises."""
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")

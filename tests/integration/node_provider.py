"""The certified npm `oidc-provider` as a child process: installed once into a cache, started and stopped with deadlines."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import shutil
import ssl
import subprocess
import tempfile
import threading
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest

HERE = Path(__file__).parent / "node"
REPOSITORY = Path(__file__).parents[2]
OLDEST_NODE = 20  # the oldest that runs it; it warns below 22
INSTALL_TIMEOUT_S = 300.0
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0

USER = {"name": "alice", "password": "alice's p+ss:word%"}
CLIENTS = {
    "client_secret_basic": {"client_id": "basic:client", "client_secret": "b+s/c s%cret:=&", "public": False},
    "client_secret_post": {"client_id": "post-client", "client_secret": "p&st=secret", "public": False},
    "none": {"client_id": "public-client", "public": True},
}


def unavailable(reason: str) -> NoReturn:
    """Skip, saying why; fail where the providers are required (`OIDC_ACTOR_REQUIRE_PROVIDERS=1`)."""
    if os.environ.get("OIDC_ACTOR_REQUIRE_PROVIDERS") == "1":
        pytest.fail(f"{reason}, and OIDC_ACTOR_REQUIRE_PROVIDERS=1 forbids skipping", pytrace=False)
    pytest.skip(reason)


def installed(source: Path = HERE) -> Path:
    """The folder with a package's node_modules: made by `npm ci` the first time, then found again.

    Args:
        source: The folder with its `package.json` and `package-lock.json`.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        unavailable("Node.js with npm is not installed: the tests against what npm brings need it")
    version = subprocess.run(
        ["node", "--version"], capture_output=True, text=True, timeout=60, check=False
    ).stdout.strip()
    if int(version.lstrip("v").partition(".")[0] or 0) < OLDEST_NODE:
        unavailable(f"Node.js {OLDEST_NODE} or later is needed for the npm oidc-provider, found {version or 'none'}")
    lock = (source / "package-lock.json").read_bytes()
    cache = Path(os.environ.get("OIDC_ACTOR_NODE_CACHE") or REPOSITORY / ".cache" / "node")
    folder = cache / hashlib.sha256(lock).hexdigest()[:16]
    if not folder.exists():
        _install(folder, source)
    return folder


def _install(folder: Path, source: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as fresh:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(source / name, fresh)
        command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        try:
            done = subprocess.run(
                command, cwd=fresh, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            unavailable(f"npm ci did not finish within {INSTALL_TIMEOUT_S:.0f} s")
        if done.returncode != 0:
            unavailable(f"npm ci failed: {done.stderr.strip()[-400:]}")
        # The rename is the last step, so a folder that exists is whole.
        shutil.copytree(fresh, folder.with_suffix(".new"), symlinks=True, dirs_exist_ok=True)
    folder.with_suffix(".new").rename(folder)


@dataclass(frozen=True, slots=True)
class Stats:
    """What the token endpoint did since its start, by `grant_type`; and how many requests came, by endpoint."""

    success: Mapping[str, int]
    error: Mapping[str, int]
    arrived: Mapping[str, int]


class NodeProvider:
    """One configuration of the provider; `start` and `stop` as often as wanted, on one port.

    A restart forgets every token: oidc-provider's storage here is its memory.

    Args:
        folder: Where it is installed.
        token_lifetime_s: Life of an access token; whole seconds.
        rotation: Whether refresh tokens rotate.
        public_url: What it calls itself, where a proxy stands before it.
        clients: Metadata of further clients (OpenID Connect Dynamic Client Registration 1.0, section 2).
        tls: PEM files ``key``, ``cert`` and ``ca``, for https with and, on a second port, without client certificates.
        nonces: Whether DPoP proofs need a nonce.
        workload: An issuer, as ``issuer`` and ``jwks``, whose tokens it takes as assertions and as subjects.
    """

    def __init__(
        self,
        folder: Path,
        *,
        token_lifetime_s: int = 2,
        rotation: bool = True,
        public_url: str | None = None,
        clients: Sequence[Mapping[str, Any]] = (),
        tls: Mapping[str, str] | None = None,
        nonces: bool = False,
        workload: Mapping[str, Any] | None = None,
    ) -> None:
        self._folder = folder
        self._settings = {"ttl": token_lifetime_s, "rotate": rotation, "user": USER, "issuer": public_url}
        self._settings |= {"tls": tls, "nonces": nonces, "workload": workload}
        self._clients = list(clients)
        self.nonces = nonces
        self._trust = None if tls is None else ssl.create_default_context(cafile=tls["ca"])
        self._port = 0
        self._process: subprocess.Popen[str] | None = None
        self.issuer_url = ""

    def start(self) -> None:
        """Start it and wait until it listens."""
        shutil.copy(HERE / "provider.mjs", self._folder)
        clients = [{"token_endpoint_auth_method": method, **client} for method, client in CLIENTS.items()]
        argument = json.dumps({**self._settings, "port": self._port, "clients": clients + self._clients})
        self._process = subprocess.Popen(
            ["node", "provider.mjs", argument],
            cwd=self._folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        line = _first_line(self._process, START_TIMEOUT_S)
        if line is None:
            self.stop()
            pytest.fail(f"the npm provider ended, or did not listen within {START_TIMEOUT_S:.0f} s", pytrace=False)
        said = json.loads(line)
        self.issuer_url, self._port = said["issuer"], said["port"]

    @property
    def listen_url(self) -> str:
        """Where it listens, whatever it calls itself."""
        return f"{'http' if self._trust is None else 'https'}://127.0.0.1:{self._port}"

    def set_token_lifetime(self, seconds: int) -> None:
        """Change the life of the access tokens to come, until it is stopped."""
        self._ask("GET", f"/ttl/{seconds}")

    def script(self, **turn: Any) -> None:
        """Have a gateway before it answer instead, or change its answers; `provider.mjs` says how."""
        self._ask("PUT", "/script", turn)

    def forget_script(self) -> None:
        """Have it answer like itself again."""
        self._ask("DELETE", "/script")

    def move_token_endpoint(self, path: str | None) -> None:
        """Have the token endpoint elsewhere; `None` for where it was."""
        self._ask("PUT", "/moved", {"path": path})

    def _ask(self, method: str, path: str, members: Mapping[str, Any] | None = None) -> bytes:
        body = None if members is None else json.dumps(members).encode()
        request = urllib.request.Request(f"{self.listen_url}{path}", body, method=method)
        with urllib.request.urlopen(request, timeout=10, context=self._trust) as answer:
            said: bytes = answer.read()
        return said

    def stop(self) -> None:
        """End it, by force at the deadline; nothing happens if it does not run."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_TIMEOUT_S)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def stats(self) -> Stats:
        """What it did since its last start."""
        return Stats(**json.loads(self._ask("GET", "/stats")))


@contextmanager
def running(**options: Any) -> Iterator[NodeProvider]:
    """A started provider, stopped at the end."""
    provider = NodeProvider(installed(), **options)
    provider.start()
    try:
        yield provider
    finally:
        provider.stop()


def _first_line(process: subprocess.Popen[str], timeout_s: float) -> str | None:
    """Its first line of output; `None` if none came in time or it ended without one."""
    assert process.stdout is not None
    lines: queue.Queue[str] = queue.Queue()
    reader = threading.Thread(target=lambda out: lines.put(out.readline()), args=(process.stdout,), daemon=True)
    reader.start()
    try:
        return lines.get(timeout=timeout_s) or None
    except queue.Empty:
        return None

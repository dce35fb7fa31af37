"""What a server, its files and its operators see of tokens: sealed texts. And no manager gets a token of another's."""

from __future__ import annotations

import json
import logging
import re
import socket
import threading
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from managers import leave_nothing_behind
from threads import eventually

from fleet.servers import Server, redis_server
from fleet.worker import claims_of
from oidc_actor import ClientCredentials, NoTokenError, Password, RefreshToken, TokenManager, oidc
from oidc_actor.http.client import shared_transport
from oidc_actor.sharing import FileStore, RedisStore
from oidc_actor.sharing.sealing import new_key
from oidc_actor.testing import Provider
from oidc_actor.transport import Request, Response

USERS = {"anna": "annas-word", "otto": "ottos-word"}
CLIENTS = {"billing": "s3cret-of-billing", "mail": "s3cret-of-mail"}


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    yield
    leave_nothing_behind()


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider(token_lifetime_s=600) as running:
        for name, word in USERS.items():
            running.add_user(name, word)
        for name, secret in CLIENTS.items():
            running.add_client(name, secret)
        yield running


class Issued:
    """A transport that notes what is issued, and what is sent."""

    def __init__(self) -> None:
        self.secrets: set[str] = set()

    def __call__(self, request: Request, /) -> Response:
        response = shared_transport()(request)
        if request.url.endswith("/token") and response.status == 200:
            said = json.loads(response.body)
            self.secrets |= {said[name] for name in ("access_token", "refresh_token", "id_token") if name in said}
        return response


class Monitor:
    """All commands that a server gets, word by word, as ``MONITOR`` prints them."""

    def __init__(self, server: Server) -> None:
        self._link = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        self._link.sendall(b"MONITOR\r\n")
        self.seen = b""
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        eventually(lambda: b"+OK" in self.seen, "the first line")

    def _listen(self) -> None:
        try:
            self._link.settimeout(None)
            while part := self._link.recv(1 << 20):
                self.seen += part
        except OSError:
            return

    def end(self) -> bytes:
        with suppress(OSError):  # it has been killed
            self._link.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._link.close()
        return self.seen


def variants(provider: Provider) -> list[tuple[Any, dict[str, Any]]]:
    """Credentials that differ in one thing each, and what their tokens must say."""
    found: list[tuple[Any, dict[str, Any]]] = []
    for client, secret in CLIENTS.items():
        for scope in ("read", "write"):
            for audience in ("https://a.example.com", "https://b.example.com"):
                told = {"client_id": client, "scope": scope, "aud": audience}
                given = {"scopes": [scope], "audience": audience}
                found.append((ClientCredentials(client, secret, **given), {**told, "sub": client}))
                for user, word in USERS.items():
                    auth = Password(user, word, client, secret, **given)
                    found.append((auth, {**told, "sub": user}))
    return found


def login(provider: Provider, issued: Issued, user: str, client: str) -> RefreshToken:
    config = oidc.discover(provider.issuer_url)
    auth = Password(user, USERS[user], client, CLIENTS[client], scopes=["openid"])
    token = oidc.get_token(config, auth)
    assert token.refresh_token is not None
    issued.secrets |= {token.refresh_token, token.access_token}
    return RefreshToken(token.refresh_token, client, CLIENTS[client])


def right(name: str, wanted: dict[str, Any]) -> bool:
    claims = claims_of(TokenManager.get_access_token(name, timeout=30))
    audience = claims.get("aud")
    claims["aud"] = audience[0] if isinstance(audience, list) and len(audience) == 1 else audience
    return {one: claims.get(one) for one in wanted} == wanted


def test_only_sealed_texts_and_never_a_token_of_another(
    provider: Provider, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)  # of every library
    issued, keys = Issued(), [new_key(), new_key()]
    shown: list[str] = []

    with redis_server() as server:
        for name, value in (("appendonly", "yes"), ("rdbcompression", "no"), ("appendfsync", "always")):
            assert server.say("CONFIG", "SET", name, value).startswith("+OK"), name
        monitor = Monitor(server)
        stores = {
            space: [RedisStore.from_url(server.url, namespace=space, keys=keys, timeout_seconds=t) for t in (5.0, 6.0)]
            for space in ("prod", "test")
        }
        wanted: dict[str, dict[str, Any]] = {}
        for space, two in stores.items():
            for number, (auth, told) in enumerate(variants(provider)):
                for which, store in enumerate(two):  # two stores that are not equal: as two processes have them
                    name = f"{space}.{number}.{which}"
                    wanted[name] = told
                    given = {"issuer_url": provider.issuer_url, "auth": auth, "store": store, "transport": issued}
                    TokenManager.start_link(name=name, **given)
                    shown.append(repr(given))
            for which, store in enumerate(two):
                auth = login(provider, issued, "anna", "mail") if not which else auth
                name = f"{space}.login.{which}"
                wanted[name] = {"sub": "anna", "client_id": "mail"}
                TokenManager.start_link(
                    name=name, issuer_url=provider.issuer_url, auth=auth, store=store, transport=issued
                )
        assert all(right(name, told) for name, told in wanted.items())
        texts = {name: TokenManager.get_access_token(name) for name in wanted}
        for name, text in texts.items():
            if name.endswith("0"):  # the two of one record have one token, and no two records have one
                assert text == texts[f"{name[:-1]}1"]
        assert len(set(texts.values())) == len(texts) / 2
        for name in list(wanted)[::5]:
            TokenManager.force_refresh(name, rejected=texts[name], wait=True, timeout=30)
            assert right(name, wanted[name])
        link = socket.create_connection(("127.0.0.1", server.port), timeout=10)  # what fails is told, too
        link.sendall(b"CONFIG SET requirepass other\r\nAUTH other\r\nCLIENT KILL TYPE normal\r\n")
        with pytest.raises(NoTokenError) as caught:
            TokenManager.force_refresh("prod.login.0", wait=True, timeout=1.5)
        shown += ["".join(traceback.format_exception(caught.value)), str(TokenManager.health("prod.login.0"))]
        shown += [repr(stores), *(repr(TokenManager.health(name)) for name in wanted)]
        link.sendall(b"SAVE\r\n")
        eventually(lambda: (server.folder / "dump.rdb").exists(), "the dump")
        link.close()
        files = {path.name: path.read_bytes() for path in server.folder.rglob("*") if path.is_file()}
        sent = monitor.end()
    shown += [f"{record.getMessage()} {record.__dict__}" for record in caplog.records]
    assert len(issued.secrets) > len(wanted) / 2
    never = [*issued.secrets, *keys, *USERS.values(), *CLIENTS.values(), provider.password, provider.client_secret]
    places = {"MONITOR": sent, "told": "\n".join(shown).encode(), **files}
    assert any(name.endswith(".rdb") for name in files), files.keys()
    assert any("aof" in name and len(content) > 10_000 for name, content in files.items()), files.keys()
    found = [(place, secret[:6]) for place, seen in places.items() for secret in never if secret.encode() in seen]
    assert not found
    parts = {part.encode() for text in issued.secrets for part in text.split(".")[1:]}  # a JWT's claims, its signature
    assert not [place for place, seen in places.items() for part in parts if part in seen]
    sealed = re.findall(rb"gAAAAA[\w-]{60,}", sent)
    assert len(sealed) > len(wanted), "what is stored is sealed by Fernet"
    assert not re.search(rb"eyJ[\w-]+\.[\w-]+\.", sent + b"".join(files.values())), "nothing that looks like a JWT"


def test_files_with_keys_are_sealed_and_namespaces_are_apart(provider: Provider, tmp_path: Path) -> None:
    issued, key = Issued(), new_key()
    auth = Password("anna", USERS["anna"], "mail", CLIENTS["mail"], scopes=["openid"])
    for space in ("prod", "test"):
        store = FileStore(tmp_path / "tokens", namespace=space, keys=[key])
        TokenManager.start_link(name=space, issuer_url=provider.issuer_url, auth=auth, store=store, transport=issued)
    assert TokenManager.get_access_token("prod") != TokenManager.get_access_token("test")
    eventually(lambda: len([*(tmp_path / "tokens").glob("*.json")]) == 2)
    eventually(lambda: all(json.loads(path.read_text())["token"] for path in (tmp_path / "tokens").glob("*.json")))
    kept = b"".join(path.read_bytes() for path in (tmp_path / "tokens").iterdir())
    assert not [text for text in {*issued.secrets, key, *USERS.values(), *CLIENTS.values()} if text.encode() in kept]

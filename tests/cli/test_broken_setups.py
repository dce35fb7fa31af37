"""`oidc-actor check` in set-ups that are broken in one way each: it names the right fix, and no word that would mislead.

Each row is run as a user runs it, and its output read as a user reads it: as piped text. Where the provider's own verdict matters
(signatures, DPoP, grants) it is npm's certified one.
"""

from __future__ import annotations

import base64
import json
import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from integration.node_provider import NodeProvider, running
from joserfc.jwk import ECKey
from pki import KINDS, Authority, pem
from raw_server import Server, and_close, answers, free_port, reply, silence
from typer.testing import Result

from oidc_actor import Password, RefreshToken
from oidc_actor.oidc import discover, get_token
from oidc_actor.testing import Provider

SECRET = "s3cret-of-the-client"
EC_KEY, OTHER_KEY = pem(KINDS["EC"]()), pem(KINDS["EC"]())
GRANTS = {"grant_types": ["client_credentials"], "redirect_uris": [], "response_types": []}


@dataclass
class Lab:
    """What a set-up is made of, and what it is started with."""

    folder: Path
    stack: ExitStack
    npm: Callable[[], NodeProvider]

    def provider(self, **options: Any) -> Provider:
        known = {"client_secret": SECRET, "token_lifetime_s": 600}
        return self.stack.enter_context(Provider(**(known | options)))

    def access(self, provider: Provider, **changes: str) -> dict[str, str]:
        return {
            "OIDC_ISSUER_URL": provider.issuer_url,
            "OIDC_CLIENT_ID": provider.client_id,
            "OIDC_CLIENT_SECRET": SECRET,
        } | changes

    def npm_access(self, client_id: str, **changes: str) -> dict[str, str]:
        return {"OIDC_ISSUER_URL": self.npm().issuer_url, "OIDC_CLIENT_ID": client_id} | changes

    def file(self, name: str, content: str | bytes) -> str:
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    def server(self, answer: Any, tls: ssl.SSLContext | None = None) -> str:
        server = Server(answer, tls)
        self.stack.callback(server.close)
        return str(server.url)

    def elsewhere(self, url: str) -> dict[str, str]:
        return {"OIDC_ISSUER_URL": url, "OIDC_CLIENT_ID": "c", "OIDC_CLIENT_SECRET": SECRET}


def thumbprint(key: str) -> str:
    return str(ECKey.import_key(key).thumbprint())


Prepared = tuple[list[str], dict[str, str]]


@dataclass(frozen=True)
class SetUp:
    """One way in which a set-up is broken.

    Attributes:
        prepare: Makes it; gives arguments and environment.
        fix: What the output must say, as regular expressions.
        misleading: What it must not say, as regular expressions.
        status: The exit status.
    """

    prepare: Callable[[Lab], Prepared]
    fix: list[str]
    misleading: list[str]
    status: int = 1


def with_environment(**changes: str) -> Callable[[Lab], Prepared]:
    return lambda lab: ([], lab.access(lab.provider(), **changes))


def with_arguments(*arguments: str, **changes: str) -> Callable[[Lab], Prepared]:
    return lambda lab: (list(arguments), lab.access(lab.provider(), **changes))


def with_secret_file(content: str | bytes) -> Callable[[Lab], Prepared]:
    def prepare(lab: Lab) -> Prepared:
        named = lab.file("secret", content)
        return ["--client-secret-file", named], lab.access(lab.provider(), OIDC_CLIENT_SECRET="")

    return prepare


def failing(**fault: Any) -> Callable[[Lab], Prepared]:
    def prepare(lab: Lab) -> Prepared:
        provider = lab.provider()
        arguments = fault.pop("arguments", [])
        provider.fail_next(None, **fault)
        return arguments, lab.access(provider)

    return prepare


def answering(**answer: Any) -> Callable[[Lab], Prepared]:
    def prepare(lab: Lab) -> Prepared:
        provider = lab.provider()
        provider.answer_next(None, **answer)
        return [], lab.access(provider)

    return prepare


def of_issuer(change: Callable[[Provider], str], **options: Any) -> Callable[[Lab], Prepared]:
    def prepare(lab: Lab) -> Prepared:
        provider = lab.provider(**options)
        return [], lab.access(provider, OIDC_ISSUER_URL=change(provider))

    return prepare


def signing(key: str, *, kid: str | None = None, client_id: str = "signs") -> Callable[[Lab], Prepared]:
    def prepare(lab: Lab) -> Prepared:
        more = [] if kid is None else ["--key-id", kid]
        return ["--private-key-file", lab.file("key.pem", key), *more], lab.npm_access(client_id)

    return prepare


def at_npm(client_id: str, secret: str, *arguments: str) -> Callable[[Lab], Prepared]:
    return lambda lab: (list(arguments), lab.npm_access(client_id, OIDC_CLIENT_SECRET=secret))


def of_tls(address: str = "127.0.0.1", *, trusted: bool = True, **options: Any) -> Callable[[Lab], Prepared]:
    """A server on 127.0.0.1 with a certificate for that address."""

    def prepare(lab: Lab) -> Prepared:
        authority = Authority(lab.folder)
        made = authority.server(address, **options)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(made["cert"], made["key"])
        arguments = ["--ca-bundle", made["ca"]] if trusted else []
        return arguments, lab.elsewhere(lab.server(answers(reply()), context))

    return prepare


def of_mutual_tls(lab: Lab) -> Prepared:
    made = Authority(lab.folder).server()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made["cert"], made["key"])
    context.load_verify_locations(made["ca"])
    context.verify_mode = ssl.CERT_REQUIRED
    return ["--ca-bundle", made["ca"]], lab.elsewhere(lab.server(answers(reply()), context))


def of_a_proxy(lab: Lab) -> Prepared:
    proxy = f"http://127.0.0.1:{free_port()}"
    return [], lab.elsewhere("https://auth.example.com") | {"HTTPS_PROXY": proxy, "https_proxy": proxy, "NO_PROXY": ""}


def silent(lab: Lab) -> Prepared:
    return ["--timeout", "0.3"], lab.elsewhere(lab.server(silence))


def html(lab: Lab) -> Prepared:
    page = b"<!doctype html><title>Sign in</title>"
    return [], lab.elsewhere(
        lab.server(and_close(reply(page, fields=("Content-Type: text/html", "Connection: close"))))
    )


def late_clock(lab: Lab) -> Prepared:
    provider = lab.provider(clock_skew_s=900.0)
    provider.answer_next(
        None, changes={"token_endpoint_auth_methods_supported": ["private_key_jwt"]}, endpoint="discovery"
    )
    provider.fail_next(None, status=401, error="invalid_client")
    return ["--private-key-file", lab.file("key.pem", EC_KEY)], lab.access(provider, OIDC_CLIENT_SECRET="")


def of_another_audience(lab: Lab) -> Prepared:
    provider = lab.provider()
    part = base64.urlsafe_b64encode(json.dumps({"aud": "account", "exp": 4e9}).encode()).decode().rstrip("=")
    provider.answer_next(None, changes={"access_token": f"e30.{part}.c2lnbmF0dXJl"})
    return ["--audience", "api"], lab.access(provider)


def post_only(lab: Lab) -> Prepared:
    provider = lab.provider()
    provider.add_client("post-only", SECRET, ["client_secret_post"])
    return [], lab.access(provider, OIDC_CLIENT_ID="post-only")


def shared_refresh_token(*, reuse_detection: bool) -> Callable[[Lab], Prepared]:
    """A login that another process has redeemed before."""

    def prepare(lab: Lab) -> Prepared:
        provider = lab.provider(reuse_detection=reuse_detection)
        login = Password(provider.username, provider.password, provider.client_id, SECRET)
        config = discover(provider.issuer_url)
        refresh_token = str(get_token(config, login).refresh_token)
        get_token(config, RefreshToken(refresh_token, provider.client_id, SECRET))
        return ["--refresh-token-file", lab.file("login", refresh_token)], lab.access(provider)

    return prepare


GENERAL = r"the network, a proxy or firewall"
THE_SECRET = r"Check the client id and its secret"
ALL_GOES = r"pass  token"

SETUPS: dict[str, SetUp] = {
    # --- the secret
    "a wrong secret": SetUp(
        with_environment(OIDC_CLIENT_SECRET="another"),
        [rf"-> {THE_SECRET} \(an old one, or another client's\)"],
        ["white space", "quotes", "newline"],
    ),
    "a wrong client id": SetUp(with_environment(OIDC_CLIENT_ID="nobody"), ["-> Check the client id"], ["white space"]),
    "white space in the variable": SetUp(
        with_environment(OIDC_CLIENT_SECRET=f" {SECRET} "),
        [r"-> Take the white space around the secret away \(OIDC_CLIENT_SECRET\)"],
        [THE_SECRET, "quotes"],
    ),
    "white space in the file": SetUp(
        with_secret_file(f"{SECRET}\n\n"),
        [r"-> Take the white space around the secret away \(--client-secret-file .*/secret\)"],
        [THE_SECRET, "OIDC_CLIENT_SECRET"],
    ),
    "white space that nobody sees": SetUp(
        with_environment(OIDC_CLIENT_SECRET=f"{SECRET}\u200b"), ["-> Take the white space around"], [THE_SECRET]
    ),
    "a BOM in the variable": SetUp(
        with_environment(OIDC_CLIENT_SECRET=f"\ufeff{SECRET}"),
        ["^oidc-actor check: OIDC_CLIENT_SECRET: .* byte order mark: take it out"],
        ["encoding="],
        status=2,
    ),
    "UTF-16 in the file": SetUp(
        with_secret_file(SECRET.encode("utf-16")),
        ["--client-secret-file cannot be read: .*UTF-16.*save it as UTF-8"],
        [THE_SECRET],
    ),
    "quotes around the variable": SetUp(
        with_environment(OIDC_CLIENT_SECRET=f'"{SECRET}"'),
        [r"-> Take the quotes around the secret away \(OIDC_CLIENT_SECRET\)"],
        [THE_SECRET, "white space"],
    ),
    "quotes around the file's": SetUp(
        with_secret_file(f"'{SECRET}'\n"),
        [r"-> Take the quotes around the secret away \(--client-secret-file "],
        [THE_SECRET, "white space"],
    ),
    "the secret as an argument": SetUp(
        with_arguments("--client-secret", SECRET),
        ["--client-secret-file, --client-secret-stdin or the environment"],
        [],
        status=2,
    ),
    "a wrong authentication method": SetUp(
        post_only, ["-> The secret is right, .* --client-auth client_secret_post"], [THE_SECRET]
    ),
    "npm's: a wrong secret": SetUp(at_npm("plain", "another-secret"), [f"-> {THE_SECRET}"], ["white space", "quotes"]),
    "npm's: white space": SetUp(at_npm("plain", f"{SECRET}\t"), ["-> Take the white space around"], [THE_SECRET]),
    "npm's: quotes": SetUp(at_npm("plain", f"'{SECRET}'"), ["-> Take the quotes around"], [THE_SECRET]),
    "npm's: a wrong client id": SetUp(at_npm("no such client", SECRET), ["-> Check the client id"], ["white space"]),
    # --- the key
    "a wrong key": SetUp(
        signing(OTHER_KEY),
        [rf"-> Compare what .* registered .* thumbprint of the public key \(RFC 7638\) {thumbprint(OTHER_KEY)}"],
        ["[Ss]ecret", "clock first"],
    ),
    "a wrong kid": SetUp(signing(EC_KEY, kid="other"), [r"-> Compare .* kid other, .*--key-id"], ["[Ss]ecret"]),
    "a key of another algorithm": SetUp(
        signing(pem(KINDS["RSA"]())), ["-> Compare .* was sent: RS256, .* the algorithm must be"], ["[Ss]ecret"]
    ),
    "a clock that is late": SetUp(
        late_clock, ["-> Set this machine's clock first: it is 900 s off", "^fail  clock"], ["Compare", "[Ss]ecret"]
    ),
    # --- TLS
    "an untrusted authority": SetUp(
        of_tls(trusted=False), ["-> Name the CA .* --ca-bundle FILE"], ["renewed", GENERAL]
    ),
    "a certificate of another name": SetUp(
        of_tls("127.0.0.2"), ["-> Use the name that the server's certificate has"], ["name the .*CA", GENERAL]
    ),
    "an expired certificate": SetUp(
        of_tls(expired=True), ["-> Have the certificate renewed"], ["with --ca-bundle", "name the .*CA", GENERAL]
    ),
    "mutual TLS is required": SetUp(of_mutual_tls, ["-> Give the client's certificate: --client-cert FILE"], [GENERAL]),
    "http instead of https": SetUp(
        of_issuer(lambda it: it.issuer_url.replace("https", "http"), tls=True),
        ["-> Use https://127"],
        [GENERAL, "stays on this machine"],
    ),
    "http beyond this machine": SetUp(
        lambda lab: ([], lab.elsewhere("http://auth.example.com")), ["^oidc-actor check: --issuer: .*use https"], [], 2
    ),
    "https instead of http": SetUp(
        of_issuer(lambda it: it.issuer_url.replace("http", "https")),
        ["-> Use the port at which the provider speaks TLS, or http://"],
        [GENERAL, "--ca-bundle", "--client-cert"],
    ),
    # --- addresses
    "a slash at the end": SetUp(
        of_issuer(lambda it: it.issuer_url + "/"), [r"-> Use --issuer http://127.0.0.1:\d+$", ALL_GOES], []
    ),
    "another realm": SetUp(
        of_issuer(lambda it: it.issuer_url + "/realms/nope"), ["-> Check the URL: .*realm or tenant"], [GENERAL]
    ),
    "the discovery URL as the issuer": SetUp(
        of_issuer(lambda it: it.issuer_url + "/.well-known/openid-configuration"),
        ["^oidc-actor check: --issuer: .*leave '/.well-known/openid-configuration' out"],
        [],
        status=2,
    ),
    "the token endpoint as the issuer": SetUp(
        of_issuer(lambda it: it.token_endpoint),
        [r"-> .* --token-endpoint http://127.0.0.1:\d+/token"],
        [GENERAL, "realm"],
    ),
    "a port that is closed": SetUp(
        lambda lab: ([], lab.elsewhere(f"http://127.0.0.1:{free_port()}")),
        ["-> Nothing listens there: check the host and the port"],
        [GENERAL],
    ),
    "a wrong host name": SetUp(
        lambda lab: ([], lab.elsewhere("https://auth.nowhere.invalid")), ["-> Check the host name"], [GENERAL, "port"]
    ),
    "a proxy in the way": SetUp(
        of_a_proxy, ["-> Check the proxy that HTTPS_PROXY .* NO_PROXY"], ["Nothing listens", "host name"]
    ),
    "HTML for metadata": SetUp(html, [r"-> A web page \(HTML\) answered .* sign-in page"], [GENERAL]),
    "HTML for a token": SetUp(
        failing(status=200, body="<!doctype html>"), [r"-> A web page \(HTML\) answered"], [GENERAL, THE_SECRET]
    ),
    "no answer": SetUp(silent, ["within 0.3 s", "-> The server does not answer in time: .*--timeout"], ["the URL, "]),
    # --- what is asked for
    "a scope that is not allowed": SetUp(
        lambda lab: (["--scope", "admin"], lab.access(lab.provider(scopes=["read"]))),
        [r"-> Ask for scopes this client has \(--scope\)"],
        [THE_SECRET],
    ),
    "npm's: a scope that is not allowed": SetUp(
        at_npm("plain", SECRET, "--scope", "admin"), [r"-> Ask for scopes this client has \(--scope\)"], [THE_SECRET]
    ),
    "npm's: another realm": SetUp(
        lambda lab: (
            [],
            lab.npm_access("plain", OIDC_CLIENT_SECRET=SECRET, OIDC_ISSUER_URL=lab.npm().issuer_url + "/nope"),
        ),
        ["-> Check the URL: .*realm or tenant"],
        [GENERAL],
    ),
    "a grant that is not allowed": SetUp(
        at_npm("no-grant", SECRET), ["-> Allow this grant for the client at the provider"], [THE_SECRET, "--audience"]
    ),
    "no audience": SetUp(
        failing(status=400, error="invalid_request", error_description="audience is required"),
        ["-> .*--audience"],
        [THE_SECRET],
    ),
    "another audience": SetUp(
        of_another_audience, ["-> Allow this audience for the client at the provider"], ["-> .*--audience"], status=0
    ),
    "DPoP is required": SetUp(at_npm("dpop", SECRET), ["-> .* --dpop here, dpop=True"], ["password", THE_SECRET]),
    # --- a refresh token in several processes
    "a refresh token that was redeemed": SetUp(
        shared_refresh_token(reuse_detection=False),
        ["-> This refresh token was redeemed before, .* several processes share one"],
        ["user name", "password", THE_SECRET],
    ),
    "a refresh token whose reuse is detected": SetUp(
        shared_refresh_token(reuse_detection=True),
        ["-> This refresh token was redeemed before, .* several processes share one"],
        ["user name", "password", THE_SECRET],
    ),
    # --- lifetimes
    "a short life": SetUp(
        lambda lab: ([], lab.access(lab.provider(token_lifetime_s=30))),
        ["-> Nothing breaks. Set refresh_buffer_seconds to 15", "^warn  outages .*no outage|^pass  outages"],
        ["^fail"],
        status=0,
    ),
    "expires_in as text": SetUp(
        answering(changes={"expires_in": "soon"}), ["no usable expires_in", ALL_GOES], ["^fail"], status=0
    ),
    "no expires_in": SetUp(
        answering(changes={"access_token": "an-opaque-token-of-some-length"}, omit=["expires_in"]),
        ["-> Have the provider send expires_in, or set default_lifetime_seconds", "if the token lives 300 s"],
        ["^fail"],
        status=0,
    ),
}


@pytest.fixture(scope="module")
def npm() -> Iterator[Callable[[], NodeProvider]]:
    """Npm's provider, started for the first set-up that needs it."""
    public = ECKey.import_key(EC_KEY, {"kid": "right"}).as_dict(private=False)
    secret = {"client_secret": SECRET, "token_endpoint_auth_method": "client_secret_basic"}
    clients = [
        {"client_id": "signs", "token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [public]}, **GRANTS},
        {"client_id": "plain", **secret, **GRANTS},
        {"client_id": "dpop", "dpop_bound_access_tokens": True, **secret, **GRANTS},
        {"client_id": "no-grant", **secret, **GRANTS, "grant_types": ["refresh_token"]},
    ]
    started: list[NodeProvider] = []
    with ExitStack() as stack:

        def once() -> NodeProvider:
            if not started:
                started.append(stack.enter_context(running(clients=clients, token_lifetime_s=600)))
            return started[0]

        yield once


@pytest.mark.parametrize("setup", SETUPS.values(), ids=SETUPS)
def test_the_right_fix_is_named(
    setup: SetUp, npm: Callable[[], NodeProvider], tmp_path: Path, invoke: Callable[..., Result]
) -> None:
    with ExitStack() as stack:
        arguments, variables = setup.prepare(Lab(tmp_path, stack, npm))
        done = invoke("check", *arguments, **variables)
    assert done.exit_code == setup.status, done.output
    for words in setup.fix:
        assert re.search(words, done.output, re.MULTILINE), done.output
    for words in setup.misleading:
        assert not re.search(words, done.output, re.MULTILINE), (words, done.output)
    assert SECRET not in done.output
    assert not re.search(r"[\x1b─│╭→]", done.output) or "Usage:" in done.output, done.output

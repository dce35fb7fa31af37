"""The programs of the page on any credential, each beside a stand-in that checks what the real one checks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey
from pasted import RECIPES
from pki import KINDS, pem
from threads import DEADLINE_S, eventually

from oidc_actor import NoTokenError, TokenManager

pytestmark = pytest.mark.usefixtures("stop_managers")

Answer = tuple[int, dict[str, str], bytes]
Serve = Callable[[str, str, Message, bytes], Answer]


class StandIn:
    """A server on loopback that answers as a function says."""

    def __init__(self) -> None:
        self.serve: Serve = lambda *_: (500, {}, b"")
        self.requests = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer.requests += 1
                status, fields, content = outer.serve(self.command, self.path, self.headers, body)
                self.send_response(status)
                for name, value in {**fields, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = _answer

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(DEADLINE_S)


@pytest.fixture
def there() -> Iterator[StandIn]:
    made = StandIn()
    yield made
    made.close()


def load(recipe: str, **changes: str) -> SimpleNamespace:
    """Run a recipe with other texts in place of the page's: the old and the new, with `=>` between."""
    text = (RECIPES / recipe).read_text(encoding="utf-8")
    for change in changes.values():
        old, new = change.split("=>")
        assert old in text
        text = text.replace(old, new)
    names: dict[str, Any] = {"__name__": recipe.removesuffix(".py")}
    exec(compile(text, recipe, "exec"), names)
    return SimpleNamespace(**names)


def soon(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def error_of(name: str) -> NoTokenError:
    eventually(lambda: TokenManager.health(name).consecutive_failures)
    with pytest.raises(NoTokenError) as caught:
        TokenManager.get_token(name, timeout=0)
    return caught.value


# --- a GitHub App -------------------------------------------------------------------------------------------------------


def github(key: Any) -> Serve:
    public = RSAKey.import_key(pem(key))

    def serve(method: str, path: str, headers: Message, body: bytes) -> Answer:
        scheme, _, statement = headers["Authorization"].partition(" ")
        try:
            decoded = jwt.decode(statement, public, algorithms=["RS256"])
        except Exception:
            told = {
                "message": "A JSON web token could not be decoded",
                "documentation_url": "https://docs.github.com/rest",
            }
            return 401, {}, json.dumps(told).encode()
        now = time.time()
        assert scheme == "Bearer"
        assert (decoded.claims["iss"], decoded.header["alg"]) == ("123456", "RS256")
        assert decoded.claims["iat"] <= now - 30
        assert now < decoded.claims["exp"] <= now + 600
        assert headers["Accept"] == "application/vnd.github+json"
        assert headers["X-GitHub-Api-Version"] == "2022-11-28"
        assert headers["User-Agent"]  # without one GitHub answers 403
        if (method, path) != ("POST", "/app/installations/987654/access_tokens"):
            return 404, {}, b'{"message": "Not Found"}'
        answer = {
            "token": "ghs_16C7e42F292c6912E7710c838347Ae178B4a",
            "expires_at": soon(3600),
            "permissions": {"contents": "read"},
            "repository_selection": "selected",
        }
        return 201, {"Content-Type": "application/json; charset=utf-8"}, json.dumps(answer).encode()

    return serve


def test_a_github_app(there: StandIn, tmp_path: Path) -> None:
    key = KINDS["RSA"]()
    (tmp_path / "app.pem").write_text(pem(key))
    there.serve = github(key)
    changes = {"api": f"https://api.github.com=>{there.url}", "key": f"/run/secrets/github-app.pem=>{tmp_path}/app.pem"}
    load("github_app.py", **changes)
    token = TokenManager.get_token("github")
    assert token.access_token.startswith("ghs_")
    assert token.extra["permissions"]["contents"] == "read"
    assert 3590 < (TokenManager.health("github").expires_in_s or 0) <= 3600
    assert there.requests == 1


def test_a_github_app_whose_key_is_another(there: StandIn, tmp_path: Path) -> None:
    (tmp_path / "app.pem").write_text(pem(KINDS["RSA"]()))
    there.serve = github(KINDS["RSA"]())
    changes = {"api": f"https://api.github.com=>{there.url}", "key": f"/run/secrets/github-app.pem=>{tmp_path}/app.pem"}
    load("github_app.py", **changes)
    assert "HTTP 401" in str(error_of("github"))
    assert TokenManager.health("github").blocked


# --- a database's IAM token ---------------------------------------------------------------------------------------------


def is_signed(token: str, secret: str) -> bool:
    """Whether the database takes it: Signature Version 4 in an address's query, computed anew."""
    parts = urlsplit(f"https://{token}")
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    given = query.pop("X-Amz-Signature")
    day, region, service, end = query["X-Amz-Credential"].split("/")[1:]
    names = sorted(query)
    canonical = "&".join(f"{quote(name, safe='')}={quote(query[name], safe='')}" for name in names)
    host = f"host:{parts.netloc}\n"
    request = f"GET\n/\n{canonical}\n{host}\nhost\n{hashlib.sha256(b'').hexdigest()}"
    scope = f"{day}/{region}/{service}/{end}"
    text = f"AWS4-HMAC-SHA256\n{query['X-Amz-Date']}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, end):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.compare_digest(hmac.digest(key, text.encode(), "sha256").hex(), given)


def test_a_databases_iam_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    program = load("database_iam.py")
    password = program.password()
    assert password.startswith("orders.abcdefghijkl.eu-central-1.rds.amazonaws.com:5432/?Action=connect&DBUser=orders")
    assert "X-Amz-Expires=900" in password
    assert is_signed(password, "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    assert not is_signed(password, "another")
    assert 890 < (TokenManager.health("orders.password").expires_in_s or 0) <= 900


# --- a registry's token -------------------------------------------------------------------------------------------------


def test_a_registrys_token(there: StandIn, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("dckr_pat_secret\n")

    def serve(method: str, path: str, headers: Message, body: bytes) -> Answer:
        login = base64.b64decode(headers["Authorization"].removeprefix("Basic ")).decode()
        if login != "my-account:dckr_pat_secret":
            told = {"details": "incorrect username or password"}
            return 401, {}, json.dumps(told).encode()
        asked = parse_qs(urlsplit(path).query)
        assert asked == {"service": ["registry.docker.io"], "scope": ["repository:my-account/billing:pull"]}
        answer = {"token": "registry-token", "access_token": "registry-token", "issued_at": soon(0)}
        return 200, {}, json.dumps(answer).encode()

    there.serve = serve
    changes = {"realm": f"https://auth.docker.io=>{there.url}", "key": f"/run/secrets/registry=>{tmp_path}/password"}
    load("registry_token.py", **changes)
    assert TokenManager.get_access_token("registry") == "registry-token"
    assert (
        55 < (TokenManager.health("registry").expires_in_s or 0) <= 60
    )  # what the registry's page says where it says nothing
    (tmp_path / "password").write_text("wrong")
    TokenManager.stop("registry")
    load("registry_token.py", **changes)
    assert "HTTP 401" in str(error_of("registry"))
    assert "wrong" not in str(error_of("registry"))
    assert TokenManager.health("registry").blocked


# --- a vendor that speaks JSON ------------------------------------------------------------------------------------------


def test_a_vendor_that_speaks_json(there: StandIn, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("vendor-secret")
    (tmp_path / "key").write_text("api-key")

    def serve(method: str, path: str, headers: Message, body: bytes) -> Answer:
        assert (method, path, headers["Content-Type"]) == ("POST", "/v1/login", "application/json")
        if (headers["X-Api-Key"], headers["X-Api-Version"]) != ("api-key", "7"):
            return 403, {}, b"{}"
        asked = {"grant_type": "client_credentials", "client_id": "my-service", "client_secret": "vendor-secret"}
        assert json.loads(body) == asked
        answer = {
            "access_token": "v1",
            "token_type": "BearerToken",
            "expires_in": "600",
            "instance_url": "https://eu1.x",
        }
        return 200, {}, json.dumps(answer).encode()

    there.serve = serve
    changes = {
        "api": f"https://api.vendor.example=>{there.url}",
        "key": f"/run/secrets/vendor-key=>{tmp_path}/key",
        "secret": f"/run/secrets/vendor=>{tmp_path}/secret",
    }
    program = load("vendor_json.py", **changes)
    assert TokenManager.get_token("vendor").token_type == "Bearer"
    assert program.address() == "https://eu1.x"


# --- a role of AWS ------------------------------------------------------------------------------------------------------

STS = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleWithWebIdentityResult>
    <SubjectFromWebIdentityToken>system:serviceaccount:default:billing</SubjectFromWebIdentityToken>
    <AssumedRoleUser>
      <Arn>arn:aws:sts::123456789012:assumed-role/billing/billing</Arn>
      <AssumedRoleId>AROACLKWSDQRAOEXAMPLE:billing</AssumedRoleId>
    </AssumedRoleUser>
    <Credentials>
      <SessionToken>AQoDYXdzEE0a8ANXXXXXXXXNO1ewxE5TijQyp+IEXAMPLE</SessionToken>
      <SecretAccessKey>wJalrXUtnFEMI/K7MDENG/bPxRfiCYzEXAMPLEKEY</SecretAccessKey>
      <Expiration>{expires}</Expiration>
      <AccessKeyId>ASgeIAIOSFODNN7EXAMPLE</AccessKeyId>
    </Credentials>
    <Provider>https://oidc.eks.eu-central-1.amazonaws.com/id/X</Provider>
  </AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"""


def test_a_role_of_aws(there: StandIn, tmp_path: Path) -> None:
    (tmp_path / "identity").write_text("the-pods-identity")

    def serve(method: str, path: str, headers: Message, body: bytes) -> Answer:
        asked = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        assert (asked["Action"], asked["Version"]) == ("AssumeRoleWithWebIdentity", "2011-06-15")
        assert asked["RoleArn"] == "arn:aws:iam::123456789012:role/billing"
        if asked["WebIdentityToken"] != "the-pods-identity":
            told = "<ErrorResponse><Error><Code>ExpiredTokenException</Code></Error></ErrorResponse>"
            return 400, {"Content-Type": "text/xml"}, told.encode()
        return 200, {"Content-Type": "text/xml"}, STS.replace("{expires}", soon(3600)).encode()

    there.serve = serve
    place = "/var/run/secrets/eks.amazonaws.com/serviceaccount/token"
    program = load(
        "aws_role.py",
        sts=f"https://sts.eu-central-1.amazonaws.com/=>{there.url}/",
        identity=f"{place}=>{tmp_path}/identity",
    )
    key, secret, session = program.keys()
    assert (key, secret[:4], session[:4]) == ("ASgeIAIOSFODNN7EXAMPLE", "wJal", "AQoD")
    assert 3590 < (TokenManager.health("aws").expires_in_s or 0) <= 3600
    (tmp_path / "identity").write_text("an-older-identity")
    with pytest.raises(NoTokenError, match="HTTP 400"):
        TokenManager.force_refresh("aws", wait=True)
    assert program.keys()[0] == key


# --- a job of GitLab ----------------------------------------------------------------------------------------------------


def identity(seconds: float) -> str:
    claims = {
        "iss": "https://gitlab.example",
        "aud": "https://vault",
        "iat": int(time.time()),
        "exp": time.time() + seconds,
    }
    return jwt.encode({"alg": "RS256"}, claims, RSAKey.import_key(pem(KINDS["RSA"]())))


def test_a_job_of_gitlab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ID_TOKEN_FILE", raising=False)
    monkeypatch.setenv("VAULT_ID_TOKEN", identity(300))
    load("gitlab_job.py")
    assert TokenManager.get_access_token("job") == os.environ["VAULT_ID_TOKEN"]
    assert 290 < (TokenManager.health("job").expires_in_s or 0) <= 300
    with pytest.raises(NoTokenError, match="no other comes in this job"):
        TokenManager.force_refresh("job", wait=True)
    assert TokenManager.health("job").blocked
    assert TokenManager.get_access_token("job") == os.environ["VAULT_ID_TOKEN"]


def test_a_file_that_something_else_keeps_fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ID_TOKEN_FILE", str(tmp_path / "token"))
    (tmp_path / "token").write_text(identity(-10))
    load("gitlab_job.py")
    assert "expected a token that lives, got one that ended" in str(error_of("job"))
    (tmp_path / "token").write_text(identity(300))
    TokenManager.force_refresh("job", wait=True)
    assert TokenManager.get_access_token("job") == (tmp_path / "token").read_text()


# --- an executable ------------------------------------------------------------------------------------------------------


def command(tmp_path: Path, body: str) -> str:
    path = tmp_path / "program.py"
    path.write_text(body)
    return f'["aws", "eks", "get-token", "--cluster-name", "billing"]=>["{sys.executable}", "{path}"]'


def test_an_executable(tmp_path: Path) -> None:
    printed = {
        "kind": "ExecCredential",
        "apiVersion": "client.authentication.k8s.io/v1",
        "spec": {},
        "status": {"expirationTimestamp": soon(840), "token": "k8s-aws-v1.aHR0cHM6"},
    }
    load("executable.py", command=command(tmp_path, f"print({json.dumps(json.dumps(printed))})"))
    assert TokenManager.get_access_token("cluster") == "k8s-aws-v1.aHR0cHM6"
    assert 830 < (TokenManager.health("cluster").expires_in_s or 0) <= 840


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("import sys; sys.exit(7)", "the program ended with 7"),
        ("print('no JSON')", "raised JSONDecodeError"),
        # The child holds the pipe open: it is ended, too.
        (
            "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import threading; threading.Event().wait()'])",
            "did not end in time",
        ),
    ],
)
def test_an_executable_that_fails(body: str, says: str, tmp_path: Path) -> None:
    load("executable.py", command=command(tmp_path, body), time="timeout_seconds=30=>timeout_seconds=1")
    assert says in str(error_of("cluster"))


# --- where a program runs -----------------------------------------------------------------------------------------------


def test_where_a_program_runs(there: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    for name in ("SPIFFE_ENDPOINT_SOCKET", "ACTIONS_ID_TOKEN_REQUEST_URL", "AZURE_FEDERATED_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    (tmp_path / "token").write_text("of-the-pod")

    def serve(method: str, path: str, headers: Message, body: bytes) -> Answer:
        if method == "GET":
            return 200, {}, json.dumps({"issuer": there.url, "token_endpoint": f"{there.url}/token"}).encode()
        asked = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        assert asked["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        assert (asked["client_id"], asked["client_assertion"]) == ("my-service", "of-the-pod")
        return 200, {}, b'{"access_token": "t", "expires_in": 300}'

    there.serve = serve
    load("workload_identity.py", issuer=f"https://auth.example.com=>{there.url}")
    assert TokenManager.get_access_token("api") == "t"
    assert capsys.readouterr().out == "WorkloadIdentity('AWS (EKS) (AWS_WEB_IDENTITY_TOKEN_FILE)')\n"

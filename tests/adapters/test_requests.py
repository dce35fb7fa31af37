"""What is particular to requests."""

from __future__ import annotations

import io
import tempfile
import traceback
from typing import Any

import pytest
import requests
from adapters.api import DEADLINE_S, Api, Gatekeeper
from adapters.held_manager import Held

from oidc_actor import ConfigError
from oidc_actor.adapters.requests import OIDCAuth
from oidc_actor.testing import Provider


def post(http: Api, auth: OIDCAuth, **options: Any) -> requests.Response:
    return requests.post(f"{http.url}/echo", auth=auth, timeout=DEADLINE_S, **options)


def test_the_401_is_in_the_history_and_hooks_see_the_final_answer(
    settled: Held, http: Api, gatekeeper: Gatekeeper
) -> None:
    gatekeeper.revoke(settled.token)
    statuses = []
    with requests.Session() as session:
        session.auth = OIDCAuth(settled.name)
        session.hooks["response"].append(lambda answer, **_: statuses.append(answer.status_code))
        answer = session.get(f"{http.url}/echo", timeout=DEADLINE_S)
    assert [one.status_code for one in answer.history] == [401]
    assert answer.content == b"welcome"
    assert statuses == [200]


@pytest.mark.parametrize("body", ["a text", b"bytes", {"a": "form"}, None])
def test_a_body_in_memory_is_sent_again(settled: Held, http: Api, gatekeeper: Gatekeeper, body: Any) -> None:
    gatekeeper.revoke(settled.token)
    assert post(http, OIDCAuth(settled.name), data=body).status_code == 200
    first, second = http.seen
    assert first.body == second.body


def test_a_file_is_wound_back_to_where_it_was(settled: Held, http: Api, gatekeeper: Gatekeeper) -> None:
    gatekeeper.revoke(settled.token)
    with tempfile.TemporaryFile() as file:
        file.write(b"skipped and sent")
        file.seek(len(b"skipped "))
        assert post(http, OIDCAuth(settled.name), data=file).content == b"and sent"


def test_an_upload_in_parts_is_sent_again(settled: Held, http: Api, gatekeeper: Gatekeeper) -> None:
    gatekeeper.revoke(settled.token)
    assert post(http, OIDCAuth(settled.name), files={"file": io.BytesIO(b"content")}).status_code == 200
    first, second = http.seen
    assert first.body == second.body
    assert b"content" in second.body


class Pipe(io.BytesIO):
    """A file that cannot be wound back."""

    def seek(self, *_: Any) -> int:
        raise OSError("no seeking in here")

    def tell(self) -> int:
        raise OSError("no telling either")


def test_a_pipe_is_not_sent_again(settled: Held, http: Api, gatekeeper: Gatekeeper) -> None:
    gatekeeper.revoke(settled.token)
    assert post(http, OIDCAuth(settled.name), data=Pipe(b"content")).status_code == 401
    assert len(http.seen) == 1


def test_a_retry_after_a_redirect(settled: Held, http: Api, gatekeeper: Gatekeeper) -> None:
    gatekeeper.revoke(settled.token)
    answer = requests.get(f"{http.url}/near", auth=OIDCAuth(settled.name), timeout=DEADLINE_S)
    assert answer.status_code == 200
    assert [one.path for one in http.seen] == ["/near", "/echo", "/echo"]


def test_a_prepared_request_outlives_its_token(settled: Held, http: Api, gatekeeper: Gatekeeper) -> None:
    with requests.Session() as session:
        prepared = session.prepare_request(requests.Request("GET", f"{http.url}/echo", auth=OIDCAuth(settled.name)))
        settled.refresh()
        settled.clock.advance(5)
        for expected in (200, 401, 200):  # a prepared request has the token that was there then, for ever
            gatekeeper.revoke(prepared.headers["Authorization"].partition(" ")[2])
            if expected == 401:
                gatekeeper.revoke(settled.token)
            assert session.send(prepared, timeout=DEADLINE_S).status_code == expected
            if expected == 401:
                settled.wait_for_token()


def test_a_streamed_answer_is_still_to_be_read(settled: Held, http: Api, gatekeeper: Gatekeeper) -> None:
    gatekeeper.revoke(settled.token)
    with post(http, OIDCAuth(settled.name), data=b"long", stream=True) as answer:
        assert b"".join(answer.iter_content(1)) == b"long"


def test_plain_http_is_refused_before_anything_is_sent(settled: Held) -> None:
    def prepare(auth: OIDCAuth) -> Any:
        return requests.Request("GET", "http://api.example.com/", auth=auth).prepare().headers.get("Authorization")

    with pytest.raises(ConfigError, match="expected an https address"):
        prepare(OIDCAuth(settled.name))
    assert prepare(OIDCAuth(settled.name, allow_insecure_http=True)) == f"Bearer {settled.token}"


def test_only_named_origins_get_the_token(settled: Held, http: Api, other: Api, provider: Provider) -> None:
    auth = OIDCAuth(settled.name, origins=[http.url])
    assert post(http, auth).status_code == 200
    assert post(other, auth).status_code == 401
    assert other.tokens == [None]
    assert provider.token_requests == 1


def test_a_redirect_from_https_to_http_takes_no_token_along(settled: Held, http: Api) -> None:
    with Provider(tls=True) as secure:
        secure.fail_next(1, status=302, headers={"Location": f"{http.url}/echo"}, endpoint="resource")
        auth = OIDCAuth(settled.name)
        answer = requests.get(secure.resource_url, auth=auth, timeout=DEADLINE_S, verify=str(secure.ca_bundle))
    assert answer.status_code == 401
    assert http.tokens == [None]


def test_a_retry_that_fails_shows_no_token(settled: Held, http: Api, gatekeeper: Gatekeeper) -> None:
    refused = settled.token
    gatekeeper.revoke(refused)
    http.hangs_up = True
    with pytest.raises(requests.ConnectionError) as caught:
        post(http, OIDCAuth(settled.name))
    assert len(http.seen) == 2
    stack = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = [frame for frame in stack.stack if "adapters" in frame.filename and "tests" not in frame.filename]
    assert [frame.name for frame in ours if frame.filename.endswith("adapters/requests.py")] == ["_answered"]
    assert not any(token in str(ours[-1].locals) for token in (refused, settled.token))

"""The answer that begins a device flow: an authorization, or a phrase that says what is wrong and shows no code."""

import json

import pytest

from oidc_actor.protocol.device_authorization import DEFAULT_INTERVAL_S, read_device_authorization
from oidc_actor.transport import MAX_BODY_BYTES, Response

GOOD = {
    "device_code": "the-device-code",
    "user_code": "AB-CD",
    "verification_uri": "https://id.example/device",
    "verification_uri_complete": "https://id.example/device?code=AB-CD",
    "expires_in": 600,
    "interval": 1,
}


def read(**members):
    return read_device_authorization(Response(200, {}, json.dumps({**GOOD, **members})), ())


def test_an_authorization_is_read():
    found = read()
    assert (found.device_code.reveal(), found.user_code) == ("the-device-code", "AB-CD")
    assert found.verification_uri_complete == "https://id.example/device?code=AB-CD"
    assert (found.expires_in_s, found.interval_s) == (600, 1)


@pytest.mark.parametrize("value", [5, True, [5], {"a": 1}, "", None])
@pytest.mark.parametrize("name", ["device_code", "user_code", "verification_uri"])
def test_what_is_needed_must_be_a_text(name, value):
    assert read(**{name: value}).startswith(("expected ", f"{name}: expected "))


@pytest.mark.parametrize("value", [0, -1, None, "soon", [1], {}, True, 10**400])
def test_it_must_say_how_long_it_lasts(value):
    assert read(expires_in=value) == "expected a positive expires_in, got none"


@pytest.mark.parametrize("value", [0, -1, None, "soon", [1], {}, True, 10**400])
def test_an_interval_that_is_none_is_the_default(value):
    assert read(interval=value).interval_s == DEFAULT_INTERVAL_S


@pytest.mark.parametrize("code", ["\x1b[31mred", "two\nlines", "x" * 81, " "])
def test_a_code_that_cannot_be_shown_on_a_terminal_is_none(code):
    assert read(user_code=code) == "expected a user_code, got none that can be shown"


@pytest.mark.parametrize("name", ["verification_uri", "verification_uri_complete"])
@pytest.mark.parametrize("url", [5, "http://id.example/the-device-code", "https://u:p@id.example", "javascript:x"])
def test_nobody_is_sent_to_an_address_that_is_none(name, url):
    problem = read(**{name: url})
    assert problem.startswith(f"{name}: expected")
    assert "the-device-code" not in problem


@pytest.mark.parametrize("body", ["", "[]", "[" * 9999, '{"a": 1, "a": 2}', "\0", " " * MAX_BODY_BYTES + "{}"])
def test_a_body_that_is_no_object_is_said_to_be_none(body):
    assert read_device_authorization(Response(200, {}, body), ()).startswith("expected ")

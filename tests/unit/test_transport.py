"""Requests and responses as values that show nothing."""

import copy
import pickle
from dataclasses import FrozenInstanceError

import pytest

from oidc_actor.transport import Request, Response, TransportError
from oidc_actor.values.errors import OIDCActorError
from oidc_actor.values.urls import public_url

SECRET = "hunter2"


def a_request():
    return Request("POST", f"https://id.example/token?key={SECRET}", {"Authorization": SECRET}, SECRET.encode(), 3.0)


def a_response():
    return Response(200, {"Set-Cookie": SECRET}, SECRET.encode())


def test_a_request_keeps_what_it_was_given():
    request = a_request()
    assert (request.method, request.timeout_s, request.body) == ("POST", 3.0, b"hunter2")
    assert request.url.endswith(SECRET)
    assert request.headers == {"Authorization": SECRET}


def test_shown_are_the_method_and_the_address_without_its_query():
    assert repr(a_request()) == "Request(POST https://id.example/token)"
    assert repr(a_response()) == "Response(200, 7 bytes)"


@pytest.mark.parametrize("value", [a_request(), a_response()])
def test_requests_and_responses_are_frozen_and_not_dumped(value):
    with pytest.raises(TypeError):
        pickle.dumps(value)
    with pytest.raises(FrozenInstanceError):
        value.body = b""
    assert copy.deepcopy(value) is value
    assert not hasattr(value, "__dict__")
    assert not hasattr(value, "__dataclass_fields__")
    assert SECRET not in f"{value} {value!r} {value:>90}"


def test_a_caller_s_headers_are_copied():
    headers = {"A": "1"}
    request, response = Request("GET", "https://id.example", headers), Response(200, headers)
    headers["A"] = "2"
    assert request.headers["A"] == response.headers["A"] == "1"


@pytest.mark.parametrize("name", ["retry-after", "Retry-After", "RETRY-AFTER"])
def test_header_names_have_no_case(name):
    assert Response(503, {"ReTrY-AfTeR": "5"}).header(name) == "5"
    assert Response(503).header(name) is None


def test_a_body_may_be_given_as_text():
    assert Response(200, {}, "pä").body == "pä".encode()
    assert Response(200, {}, "\ud800").body
    assert Response(204).body == b""


def test_a_transport_error_belongs_to_the_family():
    assert isinstance(TransportError("x"), OIDCActorError)
    assert TransportError("x").sent
    assert not TransportError("x", sent=False).sent


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://id.example/a/b?x=1#y", "https://id.example/a/b"),
        ("https://user:pw@id.example:8443/a", "https://id.example:8443/a"),
        ("nonsense", "<not a URL>"),
        ("https://[broken", "<not a URL>"),
        ("https://user:pass/word@id.example.com/", "<not a URL>"),  # the slash has to be escaped
        ("", "<not a URL>"),
    ],
)
def test_what_of_an_address_is_public(url, shown):
    assert public_url(url) == shown

"""The header's value: a text to libraries, a fingerprint to people."""

from __future__ import annotations

import copy
import json
import pickle
import traceback

import pytest
from adapters.drivers import DRIVERS, Driver, opened
from adapters.held import Held

from oidc_actor import NoTokenError
from oidc_actor.adapters.authorization import Authorization, Proof

VALUE = Authorization.bearer("the-token")
BOUND = Authorization.dpop("the-token")
PROOF = Proof("the-proof")


def test_it_is_the_text() -> None:
    assert VALUE == "Bearer the-token"
    assert VALUE.token == "the-token"
    assert f"{VALUE}" == str(VALUE) == "".join(VALUE) == "Bearer the-token"
    assert VALUE.encode() == b"Bearer the-token"
    assert json.dumps({"Authorization": VALUE}) == '{"Authorization": "Bearer the-token"}'


def test_its_scheme() -> None:
    assert (BOUND, BOUND.token) == ("DPoP the-token", "the-token")
    assert Authorization.needs_proof(BOUND)
    assert not Authorization.needs_proof(VALUE)
    assert [Authorization.is_ours(one) for one in (VALUE, BOUND, "Basic x", "")] == [True, True, False, False]


@pytest.mark.parametrize(("value", "kind"), [(VALUE, "Bearer"), (BOUND, "DPoP"), (PROOF, "Proof")])
def test_what_holds_it_does_not_show_it(value: str, kind: str) -> None:
    for shown in (repr(value), repr({"Authorization": value}), str([value]), f"{value!r}"):
        assert "the-" not in shown
        assert f"<{kind} " in shown


@pytest.mark.parametrize("value", [VALUE, BOUND, PROOF])
def test_it_is_not_pickled_and_is_its_own_copy(value: str) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(value, protocol)
    assert copy.copy(value) is copy.deepcopy({"a": value})["a"] is value


@pytest.mark.parametrize("kind", DRIVERS, ids=lambda kind: kind.__name__)
def test_no_frame_of_ours_shows_the_token_when_a_request_fails(
    kind: type[Driver], settled: Held, http: object, rpc: object
) -> None:
    class Nowhere:
        url = "http://127.0.0.1:1"
        target = "127.0.0.1:1"

    with opened(kind, Nowhere(), Nowhere(), settled.name) as driver:  # type: ignore[arg-type]
        with pytest.raises(Exception) as caught:  # noqa: PT011 - each library has its own
            driver.call()
        assert not isinstance(caught.value, NoTokenError)
        stack = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        for frame in _frames(stack):
            if "oidc_actor" in frame.filename:
                assert settled.token not in str(frame.locals)


def _frames(stack: traceback.TracebackException | None) -> list[traceback.FrameSummary]:
    if stack is None:
        return []
    return [*stack.stack, *_frames(stack.__context__), *_frames(stack.__cause__)]

"""The header's value: a text to libraries, a fingerprint to people."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
import pprint
import pydoc
import reprlib
import traceback

import pytest
import structlog
from adapters.drivers import DRIVERS, Driver, opened
from adapters.held_manager import Held
from rich.pretty import pretty_repr

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


WITHOUT_RICH = {"use_rich": False} if "use_rich" in inspect.signature(structlog.tracebacks.to_repr).parameters else {}
"""Of an argument that older releases do not have: they never use it."""

LONG = "".join(f"{number:03}" for number in range(100))  # as long as a token; each three of its digits tell the place
CUTS = {
    "rich": lambda value: pretty_repr(value, max_string=80),
    "rich in a container": lambda value: pretty_repr({"Authorization": value}, max_string=30),
    "structlog": lambda value: structlog.tracebacks.to_repr(value, max_string=80),
    "structlog without rich": lambda value: structlog.tracebacks.to_repr(value, max_string=80, **WITHOUT_RICH),
    "reprlib": reprlib.repr,
    "pydoc and cgitb": lambda value: pydoc.TextRepr().repr(value) + pydoc.HTMLRepr().repr(value),
    "pprint": lambda value: pprint.pformat(value, width=20),
    "the first half": lambda value: repr(value[: len(value) // 2]),
    "one of it": lambda value: repr(value[9]),
    "each second": lambda value: repr(value[::2]),
    "a cut of a cut": lambda value: repr(value[5:200][3:100]),
    "its letters": lambda value: repr([*value]),
    "in two": lambda value: repr(value.partition(" ")),
    "its words": lambda value: repr(value.split()),
    "in small letters": lambda value: repr(value.lower()),
    "with an end": lambda value: repr(value[:200] + "..."),
    "with a beginning": lambda value: repr("..." + value[9:]),
    "shortened in the middle": lambda value: repr(value[:90] + "..." + value[-90:]),
    "twice": lambda value: repr(2 * value[:99]),
    "filled up": lambda value: repr(value[:200].ljust(300)),
}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize(
    "value", [Authorization.bearer(LONG), Authorization.dpop(LONG), Proof(LONG), Authorization.bearer(LONG).token]
)
def test_no_part_of_it_is_shown_by_what_cuts_it_before(value: str, cut: str) -> None:
    shown = CUTS[cut](value)
    assert not [at for at in range(len(LONG) - 5) if LONG[at : at + 6] in shown or LONG[at : at + 12 : 2] in shown]


def test_a_cut_has_no_fingerprint_to_tell_it_from() -> None:
    assert {repr(value[7:8]) for value in (VALUE, PROOF)} == {"<part of a secret text>"}
    assert repr(VALUE.partition(" ")[2]) == "<part of a secret text>"


def test_a_cut_is_a_text_to_who_sends_it() -> None:
    assert VALUE.split(" ") == ["Bearer", "the-token"]
    assert VALUE[7:] == "the-token"
    assert f"token {VALUE[7:]}" == "token the-token"
    assert "token " + VALUE[7:] == "token the-token"
    assert {"the-token": 1}[VALUE[7:]] == 1
    assert VALUE[7:].encode() == b"the-token"
    assert [*VALUE][:3] == ["B", "e", "a"]
    with pytest.raises(TypeError):
        5 + VALUE[7:]  # type: ignore[operator]
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(VALUE[7:])


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

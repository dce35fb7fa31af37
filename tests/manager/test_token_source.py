"""Sources: a manager's token as a callable, which follows its name."""

from traceback import TracebackException

import pytest
from managers import Start

from oidc_actor import ManagerNotRunning, NoTokenError, TokenManager, TokenSource
from oidc_actor.testing import ManualClock
from supervision import NoProcess


def test_a_source_follows_the_name_to_the_next_manager(start: Start, transport) -> None:
    start(name="m")
    source = TokenManager.source("m")
    assert source() == "t1"
    TokenManager.stop("m")
    with pytest.raises(NoProcess):
        source()
    start(name="m")
    assert source() == "t2"
    assert source.token().access_token == "t2"


def test_a_source_follows_the_name_to_another_clock(start: Start, transport) -> None:
    start(name="m")
    source = TokenManager.source("m")
    assert source() == "t1"
    TokenManager.stop("m")
    other = ManualClock(50.0)
    start(name="m", clock=other)
    assert source() == "t2"
    other.advance(300)
    with pytest.raises(NoTokenError):
        source(timeout=0)


def test_a_source_made_from_the_ref_of_a_named_manager_is_bound_to_the_name(start: Start, transport) -> None:
    source = TokenManager.source(start(name="m"))
    assert source() == "t1"
    TokenManager.stop("m")
    start(name="m")
    assert source() == "t2"


@pytest.mark.P9
def test_a_source_shows_no_token(start: Start) -> None:
    source = TokenManager.source(start(name="m"))
    source()
    assert isinstance(source, TokenSource)
    assert repr(source) == "TokenSource(m)"


def test_a_source_that_could_not_be_made_can_be_shown() -> None:
    with pytest.raises(ManagerNotRunning) as told:
        TokenSource("nobody")
    assert "TokenSource(nobody)" in "".join(TracebackException.from_exception(told.value, capture_locals=True).format())

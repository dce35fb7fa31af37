"""A forked child never sends a refresh token of its parent's: it serves what lives, then says why there is no more."""

import asyncio
import os
from collections.abc import Callable

import pytest
from fakes import ISSUER, minted
from managers import Start
from processes import NEEDS_FORK, in_child
from threads import DEADLINE_S, eventually

import supervision
from oidc_actor import (
    ClientCredentials,
    JWTBearer,
    ManagerToken,
    NoTokenError,
    OIDCConfig,
    Password,
    RefreshToken,
    SecretFile,
    TokenManager,
)

pytestmark = NEEDS_FORK

LOGIN = RefreshToken("rt1", "id", "secret")


def logged_in(start: Start, transport, name: str | None = "m", **options) -> object:
    """A manager with that login, whose refresh token rotates: it has `t`, and goes on with `rt2`."""
    transport.then(minted("t", refresh_token="rt2"))
    ref = start(name=name, auth=LOGIN, **options)
    assert TokenManager.get_access_token(ref) == "t"
    return ref


def refused(read: Callable[[], object]) -> NoTokenError:
    with pytest.raises(NoTokenError, match="forked, and the login of these RefreshToken credentials") as raised:
        read()
    assert raised.value.retry_in_s is None
    assert raised.value.cause is not None
    return raised.value


def says_why(name: str) -> bool:
    with pytest.raises(NoTokenError) as raised:
        TokenManager.get_token(name, timeout=0)
    return "forked, and the login of these RefreshToken credentials" in str(raised.value)


USES: dict[str, Callable[[object, object], object]] = {
    "its own end of life": lambda server, clock: (clock.advance(301), TokenManager.get_token(server)),
    "a read that does not wait": lambda server, clock: (clock.advance(301), TokenManager.get_token(server, timeout=0)),
    "async": lambda server, clock: (clock.advance(301), asyncio.run(TokenManager.aget_token(server))),
    "force_refresh": lambda server, clock: TokenManager.force_refresh(server, wait=True),
    "401": lambda server, clock: TokenManager.force_refresh(server, wait=True, rejected="t"),
    "401, not waited for": lambda server, clock: (
        TokenManager.force_refresh(server, rejected="t"),
        TokenManager.get_token(server),
    ),
    "min_validity": lambda server, clock: TokenManager.get_token(server, min_validity=299.5),
}


@pytest.mark.parametrize("name", ["m", None])
@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_whatever_would_make_it_refresh_is_refused_at_once_and_says_why(use, name, start: Start, transport, clock):
    server = logged_in(start, transport, name)

    def check() -> None:
        assert TokenManager.get_access_token(server, timeout=0) == "t"
        clock.advance(1)
        refused(lambda: use(server, clock))
        assert len(transport.posts) == 1

    in_child(check)
    clock.advance(1)
    TokenManager.force_refresh(server, wait=True)  # the parent goes on with its own
    assert [form["refresh_token"] for form in transport.forms] == ["rt1", "rt2"]


def test_no_tick_is_set_and_health_says_what_it_is(start: Start, transport, clock) -> None:
    logged_in(start, transport)

    def check() -> None:
        for expected in ("fresh", "stale", "expired"):
            health = TokenManager.health("m")
            assert (health.state, health.ready) == (expected, expected != "expired")
            assert (health.blocked, health.refreshing, health.next_attempt_in_s) == (True, False, None)
            assert "forked" in health.last_error
            clock.advance(240)
        assert len(transport.requests) == 2  # the parent's two

    in_child(check)


def test_it_is_logged_once_for_each_start(start: Start, transport, clock, caplog) -> None:
    logged_in(start, transport)

    def check() -> None:
        with caplog.at_level("WARNING", "oidc_actor"):
            TokenManager.health("m")
        assert [record.getMessage().split()[0] for record in caplog.records] == ["login_is_parents"]

    in_child(check)


def test_one_that_the_parents_manager_was_just_using_is_not_used(start: Start, transport, clock) -> None:
    with transport.held_back():
        start(name="m", auth=LOGIN, oidc_config=OIDCConfig(token_endpoint=f"{ISSUER}/token"))
        transport.wait_for_posts(1)

        def check() -> None:
            clock.advance(10)
            refused(lambda: TokenManager.get_token("m"))
            assert len(transport.posts) == 1

        in_child(check)
    assert TokenManager.get_access_token("m") == "t1"


def test_several_children_and_their_children_send_nothing(start: Start, transport, clock) -> None:
    logged_in(start, transport)

    def check() -> None:
        clock.advance(301)
        refused(lambda: TokenManager.get_token("m"))
        assert len(transport.posts) == 1

    for _ in range(3):
        in_child(lambda: (in_child(check), check(), in_child(check)))


def test_a_crash_in_the_child_changes_nothing(start: Start, transport, clock) -> None:
    logged_in(start, transport)

    def check() -> None:
        TokenManager.health("m")
        supervision.kill("m")
        assert TokenManager.get_access_token("m", timeout=0) == "t"
        clock.advance(301)
        refused(lambda: TokenManager.get_token("m"))
        assert len(transport.posts) == 1

    in_child(check)


GIVEN = {
    "the parent's object": lambda: LOGIN,
    "the same text": lambda: RefreshToken("rt1", "id", "secret"),
    "what it has rotated to": lambda: RefreshToken("rt2", "another-id"),
}


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
@pytest.mark.parametrize("name", ["m", "n", None])
@pytest.mark.parametrize("stopped", [False, True])
def test_a_new_manager_in_the_child_with_a_login_of_the_parents_sends_nothing(
    given, name, stopped, start: Start, transport, clock
) -> None:
    logged_in(start, transport)

    def check() -> None:
        if stopped:
            TokenManager.stop("m")
        ref = start(name=name, auth=given())
        clock.advance(301)
        refused(lambda: TokenManager.get_token(ref))
        assert len(transport.posts) == 1

    in_child(check)


@pytest.mark.parametrize("name", ["m", "n", None])
def test_a_new_manager_in_the_child_with_a_login_of_its_own_works(name, start: Start, transport, clock) -> None:
    logged_in(start, transport)
    own = RefreshToken("own", "id", "secret")  # made before the fork, but no manager of the parent's goes on with it

    def check() -> None:
        ref = start(name=name, auth=own)
        assert TokenManager.get_access_token(ref) == "t1"
        assert transport.forms[-1]["refresh_token"] == "own"
        clock.advance(301)
        in_child(lambda: refused(lambda: TokenManager.get_token(ref)))  # that is the grandchild's parent's
        assert TokenManager.get_access_token(ref) == "t2"

    in_child(check)


def test_a_login_of_a_manager_that_was_stopped_before_the_fork_is_free(start: Start, transport, clock) -> None:
    """A daemon, for instance, that tries its login out before it forks."""
    ref = logged_in(start, transport)
    rotated = TokenManager.get_token(ref).refresh_token
    TokenManager.stop(ref)

    def check() -> None:
        start(name="m", auth=RefreshToken(rotated, "id", "secret"))
        assert TokenManager.get_access_token("m") == "t1"

    in_child(check)


class Unhashable:
    """A callable that compares by value."""

    def __call__(self) -> str:
        return "rt1"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unhashable)


@pytest.mark.parametrize("source", [lambda: "rt1", Unhashable(), "file"], ids=["function", "unhashable", "file"])
def test_a_source_of_the_parents_is_its_login_too(source, start: Start, transport, clock, tmp_path) -> None:
    if source == "file":
        (tmp_path / "token").write_text("rt1")
        source = SecretFile(tmp_path / "token")
    transport.then(minted("t", refresh_token="rt2"))
    start(name="m", auth=RefreshToken(source, "id"))
    TokenManager.get_token("m")

    def check() -> None:
        clock.advance(301)
        refused(lambda: TokenManager.get_token("m"))
        if isinstance(source, SecretFile):
            os.utime(source.path, (1, 1))  # a change of the file is no login of the child's
            refused(lambda: TokenManager.get_token("m"))
        start(name="n", auth=RefreshToken(source, "id"))
        refused(lambda: TokenManager.get_token("n"))
        assert len(transport.posts) == 1

    in_child(check)


def test_a_refresh_token_of_another_grant_stays_with_the_parent_also_for_a_new_manager(
    start: Start, transport, clock
) -> None:
    transport.then(minted("t", refresh_token="the-parents"))
    start(name="m", auth=Password("user", "pass", "id", "secret"))
    rotated = TokenManager.get_token("m").refresh_token

    def check() -> None:
        start(name="n", auth=RefreshToken(rotated, "id", "secret"))
        refused(lambda: TokenManager.get_token("n"))
        clock.advance(301)
        assert TokenManager.get_access_token("m") == "t1"
        assert transport.forms[-1]["grant_type"] == "password"

    in_child(check)


@pytest.mark.parametrize("named", [True, False])
def test_a_chain_in_the_child_trades_what_lives_and_then_says_why_it_cannot(named, start: Start, transport, clock):
    ref = logged_in(start, transport, "source")
    trading = JWTBearer(ManagerToken("source" if named else ref), "id", "secret")
    transport.then(minted("traded", expires_in=100))
    start(name="m", auth=trading)
    assert TokenManager.get_access_token("m") == "traded"

    def check() -> None:
        clock.advance(101)
        assert TokenManager.get_access_token("m") == "t1"
        assert transport.forms[-1]["assertion"] == "t"
        clock.advance(301)
        eventually(lambda: says_why("m"), "the reason")
        assert [form["grant_type"] for form in transport.forms].count("refresh_token") == 1

    in_child(check)


def test_other_credentials_in_the_child_have_no_part_in_it(start: Start, transport, clock) -> None:
    logged_in(start, transport)
    start(name="n", auth=ClientCredentials("id", "secret"))
    TokenManager.get_token("n")

    def check() -> None:
        clock.advance(301)
        assert TokenManager.get_access_token("n", timeout=DEADLINE_S) == "t2"

    in_child(check)

"""`TokenManager.replace`: other options for a running manager, without a gap, and a refusal that changes nothing."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from fakes import ISSUER, UNREACHABLE, Fixed, ScriptedTransport, failing, form_of, minted, refused
from processes import NEEDS_FORK, in_child
from threads import DEADLINE_S, eventually, in_background, run

from oidc_actor import (
    ClientCredentials,
    ConfigError,
    DPoPKey,
    ManagerNotRunning,
    NoTokenError,
    OIDCConfig,
    RefreshToken,
    TokenManager,
    TokenResponse,
)
from oidc_actor.adapters.authorization import key_of
from oidc_actor.reading.cell import by_name
from oidc_actor.reading.directory import locate
from oidc_actor.testing import ManualClock, MemoryStore
from oidc_actor.transport import Request, Response
from supervision import DynamicSupervisor, NoProcess, Supervisor, kill, whereis

CONFIG = OIDCConfig(token_endpoint=f"{ISSUER}/token")


RNG = Fixed(0)


def not_replaced(error: type[Exception], server: str, **options: Any) -> threading.Thread:
    """Replace on another thread, which is told why not."""

    def swap() -> None:
        with pytest.raises(error):
            TokenManager.replace(server, **options)

    return in_background(swap)


def login(who: str) -> ClientCredentials:
    return ClientCredentials(who, f"secret-{who}", client_auth="client_secret_post")


class Clients:
    """A provider that gives each client its own tokens, ``<client>-1``, ``<client>-2``, and does to one what it is told."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, Response | Exception] = {}
        self.held: dict[str, threading.Event] = {}
        self.came = threading.Condition()  # guards `asked`

    def __call__(self, request: Request, /) -> Response:
        who = form_of(request)["client_id"]
        with self.came:
            self.asked.append(who)
            number = self.asked.count(who)
            self.came.notify_all()
        if who in self.held:
            assert self.held[who].wait(DEADLINE_S)
        answer = self.answers.get(who, minted(f"{who}-{number}"))
        if isinstance(answer, Exception):
            raise answer
        return answer

    @contextmanager
    def holding(self, who: str) -> Iterator[None]:
        self.held[who] = threading.Event()
        yield
        self.held.pop(who).set()

    def wait_for(self, who: str, count: int = 1) -> None:
        with self.came:
            assert self.came.wait_for(lambda: self.asked.count(who) >= count, DEADLINE_S), self.asked


@pytest.fixture
def provider() -> Clients:
    return Clients()


@pytest.fixture
def options(provider: Clients, clock: ManualClock) -> Callable[..., dict[str, Any]]:
    def of(who: str, **changes: Any) -> dict[str, Any]:
        known = {"auth": login(who), "oidc_config": CONFIG, "transport": provider, "clock": clock, "rng": RNG}
        return known | changes

    return of


Options = Callable[..., dict[str, Any]]


@pytest.mark.parametrize("home", ["none", "static", "dynamic"])
@pytest.mark.parametrize("name", ["m", None])
def test_the_manager_stays_and_its_credentials_change(
    home: str, name: str | None, options: Options, provider: Clients
) -> None:
    spec = replace(TokenManager.child_spec(**options("old", name=name)), id="m")
    if home == "none":
        ref = TokenManager.start_link(**options("old", name=name))
    elif home == "static":
        sup = Supervisor.start_link([spec], max_restarts=0)
        ref = Supervisor.which_children(sup)[0].ref
    else:
        ref = DynamicSupervisor.start_child(DynamicSupervisor.start_link(max_restarts=0), spec)
    heard: list[TokenResponse] = []
    assert TokenManager.get_access_token(ref) == "old-1"
    TokenManager.subscribe(ref, heard.append)
    source = TokenManager.source(ref)
    server = name or ref
    TokenManager.replace(server, **options("new"))
    assert TokenManager.get_access_token(server) == TokenManager.get_access_token(ref) == source() == "new-1"
    assert ref.is_alive()
    assert name is None or whereis(name) == ref
    eventually(lambda: [one.access_token for one in heard] == ["new-1"], "the listener's news")
    health = TokenManager.health(server)
    assert (health.token_requests, health.refreshes, health.last_error) == (2, 2, None)
    assert provider.asked == ["old", "new"]


def test_readers_get_the_old_token_until_there_is_a_new_one(options: Options, provider: Clients) -> None:
    TokenManager.start_link(**options("old", name="m"))
    assert TokenManager.get_access_token("m") == "old-1"
    with provider.holding("new"):
        swap = in_background(lambda: TokenManager.replace("m", **options("new")))
        provider.wait_for("new")
        assert TokenManager.get_access_token("m") == "old-1"
        assert TokenManager.health("m").refreshing
    swap.join(DEADLINE_S)
    assert TokenManager.get_access_token("m") == "new-1"


def test_the_old_options_refresh_while_others_are_tried(
    options: Options, provider: Clients, clock: ManualClock
) -> None:
    TokenManager.start_link(**options("old", name="m"))
    TokenManager.get_access_token("m")
    with provider.holding("new"):
        swap = in_background(lambda: TokenManager.replace("m", timeout=1000.0, **options("new")))
        provider.wait_for("new")
        clock.advance(241.0)
        provider.wait_for("old", 2)
        eventually(lambda: TokenManager.get_access_token("m") == "old-2", "the old options' refresh")
    swap.join(DEADLINE_S)
    assert TokenManager.get_access_token("m").startswith("new-")


@pytest.mark.parametrize(
    "wrong",
    [
        {"auth": None},
        {"refresh_buffer_seconds": -1},
        {"no_such_option": 1},
        {"issuer_url": ISSUER},
        {"name": "another"},
        {"clock": ManualClock()},
    ],
    ids=str,
)
def test_a_wrong_option_changes_nothing(wrong: dict[str, Any], options: Options, provider: Clients) -> None:
    TokenManager.start_link(**options("old", name="m"))
    TokenManager.get_access_token("m")
    with pytest.raises(ConfigError) as refused:
        TokenManager.replace("m", **options("new", **wrong))
    assert "secret-new" not in f"{refused.value!r} {refused.value}"
    assert TokenManager.get_access_token("m") == "old-1"
    assert provider.asked == ["old"]
    assert TokenManager.health("m").last_error is None


@pytest.mark.parametrize("name", ["nobody", "stopped"])
def test_of_no_manager(name: str, options: Options) -> None:
    TokenManager.start_link(**options("old", name="stopped"))
    TokenManager.stop("stopped")
    with pytest.raises(ManagerNotRunning):
        TokenManager.replace(name, **options("new"))


def test_a_refusal_for_good_changes_nothing_and_health_tells(
    options: Options, provider: Clients, clock: ManualClock
) -> None:
    provider.answers["new"] = refused("invalid_client", 401)
    TokenManager.start_link(**options("old", name="m"))
    TokenManager.get_access_token("m")
    with pytest.raises(NoTokenError) as told:
        TokenManager.replace("m", **options("new"))
    assert told.value.cause.error == "invalid_client"
    assert TokenManager.get_access_token("m") == "old-1"
    health = TokenManager.health("m")
    assert not health.blocked
    assert "invalid_client" in str(health.last_error)
    clock.advance(241.0)
    provider.wait_for("old", 2)
    eventually(lambda: TokenManager.get_access_token("m") == "old-2", "the old options' refresh")
    provider.answers.clear()
    TokenManager.replace("m", **options("new"))  # it is tried again: the client may be known by now
    assert TokenManager.get_access_token("m") == "new-2"
    assert TokenManager.health("m").last_error is None


def test_without_an_answer_in_time_the_new_options_hold(
    options: Options, provider: Clients, clock: ManualClock
) -> None:
    TokenManager.start_link(**options("old", name="m"))
    TokenManager.get_access_token("m")
    with provider.holding("new"):
        with pytest.raises(NoTokenError, match="in force"):
            TokenManager.replace("m", timeout=0.05, **options("new"))
        assert TokenManager.get_access_token("m") == "old-1"
        clock.advance(200.0)
        assert TokenManager.get_access_token("m") == "old-1"
        assert TokenManager.health("m").refreshing
    eventually(lambda: TokenManager.get_access_token("m") == "new-1", "the answer that was late")
    assert provider.asked == ["old", "new"]


def test_in_an_outage_the_new_options_hold_and_the_old_token_is_served_to_its_end(
    options: Options, provider: Clients, clock: ManualClock
) -> None:
    provider.answers["new"] = failing()
    TokenManager.start_link(**options("old", name="m"))
    TokenManager.get_access_token("m")
    swap = not_replaced(NoTokenError, "m", timeout=0.5, **options("new"))
    provider.wait_for("new")
    eventually(lambda: "503" in str(TokenManager.health("m").last_error), "the answer")
    swap.join(DEADLINE_S)
    assert not swap.is_alive()
    assert TokenManager.get_access_token("m") == "old-1"
    clock.advance(300.0)
    with pytest.raises(NoTokenError):
        TokenManager.get_access_token("m", timeout=0)
    provider.answers.clear()
    clock.advance(70.0)
    eventually(lambda: TokenManager.health("m").ready, "the end of the outage")
    assert TokenManager.get_access_token("m").startswith("new-")
    assert provider.asked.count("old") == 1


@pytest.mark.parametrize("name", ["m", None])
def test_a_restart_by_the_supervisor_uses_the_options_in_force(
    name: str | None, options: Options, provider: Clients, clock: ManualClock
) -> None:
    spec = replace(TokenManager.child_spec(**options("old", name=name)), id="m")
    sup = Supervisor.start_link([spec])

    def ref() -> Any:
        return Supervisor.which_children(sup)[0].ref

    first = ref()
    TokenManager.get_access_token(first)
    TokenManager.replace(first, **options("new"))
    kill(first)
    eventually(lambda: ref() not in (None, first), "the restart")
    clock.advance(2.0)
    if name is not None:  # else it has begun anew, and has no token of the crashed one
        TokenManager.force_refresh(ref(), wait=True)
    TokenManager.get_access_token(ref())
    assert provider.asked == ["old", "new", "new"]
    assert TokenManager.get_access_token(ref()).startswith("new-")
    Supervisor.terminate_child(sup, "m")
    again = Supervisor.restart_child(sup, "m")
    assert TokenManager.get_access_token(again).startswith("new-")
    assert provider.asked.count("old") == 1
    TokenManager.stop(again)


def test_a_start_by_the_program_uses_the_options_that_it_gives(options: Options, provider: Clients) -> None:
    ref = TokenManager.start_link(**options("old", name="m"))
    assert TokenManager.get_access_token("m") == "old-1"
    TokenManager.replace("m", **options("new"))
    kill(ref)
    TokenManager.start_link(**options("old", name="m"))
    assert TokenManager.get_access_token("m") == "old-2"


def test_unchanged_options_change_nothing(options: Options, provider: Clients) -> None:
    auth = {**vars_of(login("old")), "dpop": True}
    given = options("old", auth=ClientCredentials(**auth), name="m")
    TokenManager.start_link(**given)
    TokenManager.get_access_token("m")
    before, handler = locate("m").options, locate("m")
    TokenManager.replace("m", **given)
    assert locate("m") is handler
    assert locate("m").options == before
    assert provider.asked == ["old"]


def vars_of(auth: ClientCredentials) -> dict[str, Any]:
    return {"client_id": auth.client_id, "client_secret": "secret-old", "client_auth": "client_secret_post"}


def test_options_that_ask_for_the_same_token_cost_no_request(options: Options, provider: Clients) -> None:
    TokenManager.start_link(**options("old", name="m"))
    TokenManager.get_access_token("m")
    TokenManager.replace("m", **options("old", refresh_buffer_seconds=100.0))
    assert TokenManager.get_access_token("m") == "old-1"
    assert TokenManager.health("m").refresh_in_s == pytest.approx(200.0)
    assert provider.asked == ["old"]


@pytest.mark.parametrize("other", [{}, {"timeout_seconds": 7.0}, {"refresh_buffer_seconds": 100.0}])
def test_options_that_hold_at_once_leave_the_refresh_as_it_is(
    other: dict[str, Any], options: Options, provider: Clients, clock: ManualClock
) -> None:
    TokenManager.start_link(**options("old", name="m"))
    TokenManager.get_access_token("m")
    TokenManager.replace("m", **options("old", **other))
    clock.advance(245.0)
    eventually(lambda: provider.asked == ["old", "old"], "the refresh")


def test_a_login_that_rotates_goes_on_with_other_options(clock: ManualClock) -> None:
    numbers = iter(range(1, 100))
    spent: list[str] = []

    def transport(request: Request, /) -> Response:
        number = next(numbers)
        spent.append(form_of(request)["refresh_token"])
        return minted(f"t{number}", refresh_token=f"r{number}")

    options = {"oidc_config": CONFIG, "transport": transport, "clock": clock, "rng": Fixed(0), "name": "m"}
    TokenManager.start_link(auth=RefreshToken("r0", "id"), **options)
    TokenManager.get_access_token("m")
    clock.advance(2.0)
    TokenManager.replace("m", auth=RefreshToken("r0", "id", scopes=["more"]), **options)
    eventually(lambda: TokenManager.get_access_token("m") == "t2", "a token with the other scopes")
    assert spent == ["r0", "r1"]


@pytest.mark.parametrize("who", ["new", "refused"])
def test_a_crash_in_the_middle(who: str, options: Options, provider: Clients) -> None:
    provider.answers["refused"] = refused("invalid_client", 401)
    sup = Supervisor.start_link([TokenManager.child_spec(**options("old", name="m"))])
    TokenManager.get_access_token("m")
    ended: list[Any] = []

    def swap() -> None:
        try:
            ended.append(TokenManager.replace("m", **options(who)))
        except NoTokenError as error:
            ended.append(error.cause.error)

    with provider.holding(who):
        swapping = in_background(swap)
        provider.wait_for(who)
        first = whereis("m")
        kill(first)
        eventually(lambda: whereis("m") not in (None, first), "the restart")
        assert TokenManager.get_access_token("m") == "old-1"
    swapping.join(DEADLINE_S)
    assert ended == ([None] if who == "new" else ["invalid_client"])
    assert TokenManager.get_access_token("m") == ("new-1" if who == "new" else "old-1")
    assert provider.asked == ["old", who]
    Supervisor.stop(sup)


def test_of_several_the_last_counts_and_the_same_are_one(options: Options, provider: Clients) -> None:
    TokenManager.start_link(**options("old", name="m"))
    TokenManager.get_access_token("m")
    with provider.holding("first"):
        overtaken: list[BaseException] = []

        def first() -> None:
            with pytest.raises(NoTokenError) as error:
                TokenManager.replace("m", **options("first"))
            overtaken.append(error.value)

        swapping = in_background(first)
        provider.wait_for("first")
        with run(*[lambda: TokenManager.replace("m", **options("last"))] * 8):
            pass
        swapping.join(DEADLINE_S)
        assert len(overtaken) == 1
    assert TokenManager.get_access_token("m") == "last-1"
    assert sorted(provider.asked) == ["first", "last", "old"]


def test_back_to_the_options_in_force_while_others_are_tried(options: Options, provider: Clients) -> None:
    TokenManager.start_link(**options("old", name="m"))
    TokenManager.get_access_token("m")
    with provider.holding("new"):
        swapping = not_replaced(NoTokenError, "m", **options("new"))
        provider.wait_for("new")
        TokenManager.replace("m", **options("old"))
        swapping.join(DEADLINE_S)
    TokenManager.force_refresh("m", wait=False)
    assert TokenManager.get_access_token("m").startswith("old-")
    assert not TokenManager.health("m").blocked


def test_a_manager_that_is_blocked_and_has_no_token(options: Options, provider: Clients) -> None:
    provider.answers["old"] = refused("invalid_client", 401)
    TokenManager.start_link(**options("old", name="m"))
    with pytest.raises(NoTokenError):
        TokenManager.get_access_token("m")
    with provider.holding("new"):
        swapping = in_background(lambda: TokenManager.replace("m", **options("new")))
        provider.wait_for("new")
        got: list[str] = []
        reader = in_background(lambda: got.append(TokenManager.get_access_token("m")))
        eventually(lambda: locate("m").waiting, "the reader")
    swapping.join(DEADLINE_S)
    reader.join(DEADLINE_S)
    assert got == ["new-1"]
    assert not TokenManager.health("m").blocked


@pytest.mark.parametrize("by", ["stop", "crash"])
def test_the_manager_ends_meanwhile(by: str, options: Options, provider: Clients) -> None:
    ref = TokenManager.start_link(**options("old", name="m"))
    TokenManager.get_access_token("m")
    with provider.holding("new"):
        swapping = not_replaced(NoProcess, "m", **options("new"))
        provider.wait_for("new")
        (TokenManager.stop if by == "stop" else kill)(ref)
        swapping.join(DEADLINE_S)
        assert not swapping.is_alive()


def test_a_late_answer_to_the_old_options_is_not_taken_for_the_new_ones(
    options: Options, provider: Clients, clock: ManualClock
) -> None:
    TokenManager.start_link(**options("old", name="m"))
    TokenManager.get_access_token("m")
    with provider.holding("old"):
        clock.advance(241.0)
        provider.wait_for("old", 2)
        with provider.holding("new"):
            with pytest.raises(NoTokenError):
                TokenManager.replace("m", timeout=0.05, **options("new"))
            eventually(lambda: locate("m").options.auth == login("new"), "the deadline")
            provider.held["old"].set()
            TokenManager.health("m")
            assert TokenManager.get_access_token("m") == "old-1"
    eventually(lambda: TokenManager.get_access_token("m") == "new-1", "the new token")


def test_the_former_token_is_revoked_at_its_own_provider_once_listeners_have_the_new_one(clock: ManualClock) -> None:
    revoked: list[tuple[str, str]] = []
    told, done = threading.Event(), threading.Event()

    def transport(request: Request, /) -> Response:
        form = form_of(request)
        if request.url.endswith("/revoke"):
            assert told.is_set()
            revoked.append((form["client_id"], form["token"]))
            done.set()
            return Response(200, {}, "")
        return minted(f"{form['client_id']}-1")

    config = OIDCConfig(token_endpoint=f"{ISSUER}/token", revocation_endpoint=f"{ISSUER}/revoke")
    options = {"oidc_config": config, "transport": transport, "clock": clock, "revoke_on_stop": True}
    TokenManager.start_link(auth=login("old"), name="m", **options)
    TokenManager.get_access_token("m")
    TokenManager.subscribe("m", lambda _token: told.set())
    TokenManager.replace("m", auth=login("new"), **options)
    assert done.wait(DEADLINE_S)
    assert revoked == [("old", "old-1")]
    TokenManager.stop("m")
    assert revoked[1:] == [("new", "new-1")]


def test_a_former_token_is_not_shown_to_the_new_provider(
    options: Options, provider: Clients, clock: ManualClock
) -> None:
    provider.answers["new"] = UNREACHABLE
    config = replace(CONFIG, revocation_endpoint=f"{ISSUER}/revoke")
    TokenManager.start_link(**options("old", name="m"))
    TokenManager.get_access_token("m")
    with pytest.raises(NoTokenError):
        TokenManager.replace("m", timeout=0.05, **options("new", oidc_config=config, revoke_on_stop=True))
    eventually(lambda: locate("m").options.auth == login("new"), "the deadline")
    seen = len(provider.asked)
    TokenManager.stop("m")
    assert provider.asked[seen:] == []


def test_a_token_that_is_bound_to_a_key_keeps_it(options: Options, provider: Clients) -> None:
    for who in ("old", "new"):
        provider.answers[who] = minted(f"{who}-1", token_type="DPoP")
    auths = [ClientCredentials(who, "s", client_auth="client_secret_post", dpop=DPoPKey()) for who in ("old", "new")]
    TokenManager.start_link(**options("x", auth=auths[0], name="m"))
    token = TokenManager.get_token("m")
    key = key_of("m", token)
    TokenManager.replace("m", **options("x", auth=auths[1]))
    assert key_of("m", token) is key is not None
    assert key_of("m", TokenManager.get_token("m")) not in (key, None)


def test_another_login_is_another_record_of_the_store(options: Options, provider: Clients) -> None:
    store = MemoryStore()
    for name in ("m", "n"):
        TokenManager.start_link(**options("old", name=name, store=store))
        assert TokenManager.get_access_token(name) == "old-1"
    TokenManager.replace("m", **options("new", store=store))
    assert TokenManager.get_access_token("m") == "new-1"
    assert TokenManager.get_access_token("n") == "old-1"
    TokenManager.replace("n", **options("new", store=store))
    assert TokenManager.get_access_token("n") == "new-1"
    assert provider.asked == ["old", "new"]
    TokenManager.replace("m", **options("alone"))
    assert (TokenManager.health("m").sharing, TokenManager.health("n").sharing) == ("off", "shared")


def test_metadata_are_discovered_for_the_new_issuer(clock: ManualClock) -> None:
    other = "https://other.example.com"
    here, there = ScriptedTransport(), ScriptedTransport(issuer=other)
    TokenManager.start_link(auth=login("a"), issuer_url=ISSUER, transport=here, clock=clock, name="m")
    TokenManager.get_access_token("m")
    TokenManager.replace("m", auth=login("a"), issuer_url=other, transport=there)
    assert len(there.gets) == len(there.posts) == len(here.posts) == 1


def test_swaps_under_readers_refuse_none(options: Options, provider: Clients, clock: ManualClock) -> None:
    TokenManager.start_link(**options("c0", name="m"))
    TokenManager.get_access_token("m")
    heard: list[TokenResponse] = []
    TokenManager.subscribe("m", heard.append)
    over = threading.Event()
    reads = [0] * 8

    def read(number: int) -> None:
        chance = random.Random(number)
        source = TokenManager.source("m")
        while not over.wait(0.001):
            text = source() if chance.random() < 0.5 else TokenManager.get_access_token("m", timeout=0)
            assert text.startswith("c")
            reads[number] += 1

    with run(*[lambda number=number: read(number) for number in range(8)]):
        for number in range(1, 101):
            TokenManager.replace("m", **options(f"c{number % 3}-{number}"))
        over.set()
    assert all(reads)
    assert set(by_name) == {"m"}
    eventually(lambda: len(heard) == 100, "the listener's news")
    assert TokenManager.health("m").token_requests == 101  # asked first: a token serves before it is counted
    counts = locate("m").counts
    assert counts["manager_started"] == 1
    assert counts["token_obtained"] == 101


@NEEDS_FORK[0]
def test_a_forked_child_goes_on_with_the_options_in_force(
    options: Options, provider: Clients, clock: ManualClock
) -> None:
    TokenManager.start_link(**options("old", name="m"))
    TokenManager.replace("m", **options("new"))
    with provider.holding("third"):
        swapping = in_background(lambda: TokenManager.replace("m", **options("third")))
        provider.wait_for("third")

        def check() -> None:
            provider.held.clear()
            clock.advance(2.0)
            TokenManager.force_refresh("m", wait=True)
            assert TokenManager.get_access_token("m") == "new-2"
            TokenManager.replace("m", **options("fourth"))
            assert TokenManager.get_access_token("m") == "fourth-1"

        in_child(check)
    swapping.join(DEADLINE_S)
    assert TokenManager.get_access_token("m") == "third-1"

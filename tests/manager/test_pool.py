"""`TokenPool`: managers by key, started when they are asked for, bounded, and never one for the cost of another."""

import asyncio
import pickle
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from fakes import ISSUER, Fixed, form_of, minted, refused
from loops import Loop
from processes import NEEDS_FORK, in_child
from threads import DEADLINE_S, eventually, in_background, run

from oidc_actor import (
    ClientCredentials,
    ConfigError,
    ManagerNotRunning,
    NoTokenError,
    OIDCActorError,
    OIDCConfig,
    PoolFull,
    TokenExchange,
    TokenManager,
    TokenPool,
    UnknownKey,
)
from oidc_actor.metrics.readings import MOST_MEMBERS, read_managers
from oidc_actor.pool.members import FACTORY_WORKERS
from oidc_actor.reading.cell import by_name
from oidc_actor.testing import ManualClock
from oidc_actor.transport import Request, Response
from supervision import DynamicSupervisor, Supervisor, kill, whereis

CONFIG = OIDCConfig(token_endpoint=f"{ISSUER}/token")
RNG = Fixed(0)


def login(who: str) -> ClientCredentials:
    return ClientCredentials(who, f"secret-{who}", client_auth="client_secret_post")


class Tenants:
    """A provider that gives each client its own tokens, and a factory for them."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.made: list[Any] = []
        self.answers: dict[str, Response] = {}
        self.held: dict[str, threading.Event] = {}
        self.slow: dict[Any, threading.Event] = {}

    def __call__(self, request: Request, /) -> Response:
        who = form_of(request)["client_id"]
        self.asked.append(who)
        if who in self.held:
            assert self.held[who].wait(DEADLINE_S)
        return self.answers.get(who) or minted(f"{who}-{self.asked.count(who)}")

    def factory(self, key: Any) -> dict[str, Any] | None:
        self.made.append(key)
        if key in self.slow:
            assert self.slow[key].wait(DEADLINE_S)
        if key == "broken":
            raise ValueError(f"no tenant {key}")
        return None if key == "unknown" else {"auth": login(key if isinstance(key, str) else key[0])}

    @contextmanager
    def holding(self, where: dict[Any, threading.Event], who: Any) -> Iterator[None]:
        where[who] = threading.Event()
        try:
            yield
        finally:
            where.pop(who).set()


@pytest.fixture
def tenants() -> Tenants:
    return Tenants()


@pytest.fixture
def common(tenants: Tenants, clock: ManualClock) -> dict[str, Any]:
    return {"oidc_config": CONFIG, "transport": tenants, "clock": clock, "rng": RNG}


def read(pool: Any, key: Any, **options: Any) -> str:
    return TokenPool.get_access_token(pool, key, **options)


def test_an_unknown_key_starts_a_manager_and_a_known_one_does_not(tenants: Tenants, common: dict[str, Any]) -> None:
    ref = TokenPool.start_link(tenants.factory, name="pool", **common)
    assert read("pool", "a") == read(ref, "a") == TokenPool.get_token("pool", "a").access_token == "a-1"
    assert read("pool", ("b", 1)) == "b-1"
    assert tenants.made == ["a", ("b", 1)]
    assert TokenPool.keys("pool") == ["a", ("b", 1)]
    assert {key: health.ready for key, health in TokenPool.health("pool").items()} == {"a": True, ("b", 1): True}
    TokenPool.stop("pool")
    with pytest.raises(ManagerNotRunning):
        read("pool", "a")
    assert not by_name


def test_two_hundred_getters_of_an_unknown_key_make_one_request(tenants: Tenants, common: dict[str, Any]) -> None:
    TokenPool.start_link(tenants.factory, name="pool", **common)
    got: list[str] = []
    go = threading.Barrier(200)

    def get() -> None:
        go.wait(DEADLINE_S)
        got.append(read("pool", "a", timeout=DEADLINE_S))

    with run(*[get] * 200):
        pass
    assert got == ["a-1"] * 200
    assert tenants.made == tenants.asked == ["a"]


def test_put_adds_replaces_and_leaves_alone(tenants: Tenants, common: dict[str, Any]) -> None:
    TokenPool.start_link(name="pool", **common)
    with pytest.raises(UnknownKey):
        read("pool", "t")
    TokenPool.put("pool", "t", auth=login("a"))
    assert read("pool", "t") == "a-1"
    TokenPool.put("pool", "t", auth=login("a"))
    assert tenants.asked == ["a"]
    with tenants.holding(tenants.held, "b"):
        TokenPool.put("pool", "t", auth=login("b"))
        assert read("pool", "t") == "a-1"
    eventually(lambda: read("pool", "t") == "b-1", "the other token")
    tenants.answers["c"] = refused("invalid_client", 401)
    TokenPool.put("pool", "t", auth=login("c"))
    eventually(lambda: "invalid_client" in str(TokenPool.health("pool")["t"].last_error), "the refusal")
    assert read("pool", "t") == "b-1"
    with pytest.raises(ConfigError):
        TokenPool.put("pool", "t", auth=login("d"), name="mine")
    with pytest.raises(ConfigError):
        TokenPool.put("pool", "u", auth=login("d"), no_such=1)
    assert TokenPool.keys("pool") == ["t"]
    TokenPool.remove("pool", "t")
    for gone in (lambda: read("pool", "t"), lambda: TokenPool.remove("pool", "t")):
        with pytest.raises(UnknownKey):
            gone()
    assert not by_name
    TokenPool.put("pool", "t", auth=login("a"))
    assert read("pool", "t") == "a-2"


def test_a_slow_factory_delays_only_those_that_ask_for_its_key(tenants: Tenants, common: dict[str, Any]) -> None:
    TokenPool.start_link(tenants.factory, name="pool", **common)
    with tenants.holding(tenants.slow, "slow"):
        late: list[str] = []
        reader = in_background(lambda: late.append(read("pool", "slow", timeout=DEADLINE_S)))
        eventually(lambda: "slow" in tenants.made, "the factory")
        assert [read("pool", key) for key in "abc"] == ["a-1", "b-1", "c-1"]
        with pytest.raises(NoTokenError, match="being started"):
            read("pool", "slow", timeout=0)
        with pytest.raises(NoTokenError, match="being started"):
            read("pool", "slow", timeout=0.01)
        assert not late
    reader.join(DEADLINE_S)
    assert late == ["slow-1"]


def test_a_read_in_a_signal_handler_waits_for_no_lock_of_the_workers(tenants: Tenants, common: dict[str, Any]) -> None:
    TokenPool.start_link(tenants.factory, name="pool", **common)

    def interrupted() -> None:
        with FACTORY_WORKERS.value._lock, pytest.raises(NoTokenError, match="being started"):
            read("pool", "a", timeout=0.01)

    in_background(interrupted).join(DEADLINE_S)
    assert FACTORY_WORKERS.value._lock.acquire(timeout=DEADLINE_S)
    FACTORY_WORKERS.value._lock.release()
    assert read("pool", "a", timeout=DEADLINE_S) == "a-1"


def test_a_factory_that_fails(tenants: Tenants, common: dict[str, Any]) -> None:
    TokenPool.start_link(tenants.factory, name="pool", **common)
    with pytest.raises(NoTokenError) as told:
        read("pool", "broken")
    assert isinstance(told.value.cause, ValueError)
    assert "broken" not in str(told.value)
    with pytest.raises(UnknownKey) as unknown:
        read("pool", "unknown")
    assert isinstance(unknown.value, OIDCActorError | KeyError)
    assert "unknown" not in f"{unknown.value} {unknown.value!r} {unknown.value.args}"
    assert TokenPool.keys("pool") == []


def test_the_longest_unused_goes_or_the_pool_is_full(
    tenants: Tenants, common: dict[str, Any], clock: ManualClock
) -> None:
    TokenPool.start_link(tenants.factory, name="pool", max_size=2, **common)
    for key in ("a", "b"):
        read("pool", key)
        clock.advance(1.0)
    read("pool", "a")
    clock.advance(1.0)
    assert read("pool", "c") == "c-1"
    assert sorted(TokenPool.keys("pool")) == ["a", "c"]
    eventually(lambda: len(by_name) == 2, "the end of the longest unused")
    assert read("pool", "b") == "b-2"
    assert sorted(TokenPool.keys("pool")) == ["b", "c"]
    with tenants.holding(tenants.held, "x"), tenants.holding(tenants.held, "y"):
        readers = [in_background(lambda key=key: read("pool", key, timeout=DEADLINE_S)) for key in ("x", "y")]  # type: ignore[misc]
        eventually(lambda: [bool(cell.waiting) for cell in list(by_name.values())] == [True, True], "the readers")
        with pytest.raises(PoolFull):
            read("pool", "z")
    for reader in readers:
        reader.join(DEADLINE_S)
    assert read("pool", "z") == "z-1"


def test_options_that_were_refused_are_not_what_an_idle_one_comes_back_with(
    tenants: Tenants, common: dict[str, Any], clock: ManualClock
) -> None:
    TokenPool.start_link(name="pool", idle_seconds=60.0, **common)
    TokenPool.put("pool", "t", auth=login("good"))
    assert read("pool", "t") == "good-1"
    tenants.answers["bad"] = refused("invalid_client", 401)
    TokenPool.put("pool", "t", auth=login("bad"))
    eventually(lambda: "invalid_client" in str(TokenPool.health("pool")["t"].last_error), "the refusal")
    clock.advance(61.0)
    eventually(lambda: not by_name, "the end of the idle one")
    assert read("pool", "t") == "good-2"


def test_a_manager_that_was_stopped_by_its_name_is_listed_nowhere(tenants: Tenants, common: dict[str, Any]) -> None:
    TokenPool.start_link(tenants.factory, name="pool", **common)
    assert read("pool", "a") == "a-1"
    TokenManager.stop(TokenPool.source("pool", "a").server)
    assert TokenPool.keys("pool") == []
    assert TokenPool.health("pool") == {}
    assert read("pool", "a") == "a-2"


@dataclass(frozen=True)
class User:
    """A key that hides its secret, as pydantic's ``SecretStr`` does."""

    token: str = field(repr=False)


class Alike(User):
    """Keys that cannot be told apart without a look into them."""

    def __hash__(self) -> int:
        return 1


def test_keys_that_look_alike_are_different_ones(tenants: Tenants, common: dict[str, Any]) -> None:
    def factory(user: User) -> dict[str, Any]:
        return {"auth": login(user.token)}

    TokenPool.start_link(factory, name="pool", **common)
    assert [read("pool", User(who)) for who in ("a", "b", "a")] == ["a-1", "b-1", "a-1"]
    assert [read("pool", key) for key in (-1, -2) if TokenPool.put("pool", key, auth=login(f"n{key}")) is None] == [
        "n-1-1",
        "n-2-1",
    ]
    assert len({TokenPool.source("pool", User(who)).server for who in ("a", "b")}) == 2
    assert TokenPool.source("pool", -1.0).server == TokenPool.source("pool", -1).server
    assert read("pool", Alike("c")) == "c-1"
    with pytest.raises(ConfigError, match="differ"):
        read("pool", Alike("d"))
    assert read("pool", Alike("c")) == "c-1"


def test_what_was_put_starts_again_beside_slow_factories(
    tenants: Tenants, common: dict[str, Any], clock: ManualClock
) -> None:
    TokenPool.start_link(tenants.factory, name="pool", idle_seconds=60.0, **common)
    TokenPool.put("pool", "t", auth=login("t"))
    assert read("pool", "t") == "t-1"
    clock.advance(61.0)
    eventually(lambda: not by_name, "the end of the idle one")
    with ExitStack() as slow:
        for key in [f"slow-{number}" for number in range(40)]:
            slow.enter_context(tenants.holding(tenants.slow, key))
            with pytest.raises(NoTokenError):
                read("pool", key, timeout=0)
        eventually(lambda: len(tenants.made) == 32, "as many factories as may run")
        assert read("pool", "t", timeout=DEADLINE_S) == "t-2"


def test_idle_ones_end_and_what_was_put_comes_back(
    tenants: Tenants, common: dict[str, Any], clock: ManualClock
) -> None:
    TokenPool.start_link(name="pool", idle_seconds=60.0, **common)
    for key in ("a", "b"):
        TokenPool.put("pool", key, auth=login(key))
        read("pool", key)
    clock.advance(59.0)
    read("pool", "a")
    clock.advance(2.0)
    eventually(lambda: TokenPool.keys("pool") == ["a"], "the end of the idle one")
    clock.advance(60.0)
    eventually(lambda: not by_name, "the end of both")
    assert read("pool", "b") == "b-2"


def test_crashes_of_one_take_nobody_along(tenants: Tenants, common: dict[str, Any]) -> None:
    ref = TokenPool.start_link(tenants.factory, name="pool", **common)
    assert [read("pool", key) for key in "ab"] == ["a-1", "b-1"]
    name = TokenPool.source("pool", "a").server
    other = whereis(TokenPool.source("pool", "b").server)
    last = None
    for _ in range(4):
        eventually(lambda before=last: whereis(name) not in (None, before), "the restart")
        last = whereis(name)
        assert last is not None
        kill(last)
        assert read("pool", "a", timeout=0) == "a-1"
    assert ref.is_alive()
    assert whereis(TokenPool.source("pool", "b").server) == other
    TokenPool.remove("pool", "a")
    assert TokenPool.keys("pool") == ["b"]


def test_a_pool_that_its_supervisor_restarts_has_its_keys_again(tenants: Tenants, common: dict[str, Any]) -> None:
    Supervisor.start_link([TokenPool.child_spec(tenants.factory, name="pool", **common)])
    TokenPool.put("pool", "put", auth=login("old"))
    assert [read("pool", key) for key in ("put", "made")] == ["old-1", "made-1"]
    TokenPool.put("pool", "put", auth=login("new"))
    eventually(lambda: read("pool", "put") == "new-1", "the other options")
    first = whereis("pool")
    assert first is not None
    kill(first)
    assert [read("pool", key) for key in ("put", "made")] == ["new-1", "made-1"]
    eventually(lambda: whereis("pool") not in (None, first), "the restart")
    names = [TokenPool.source("pool", key).server for key in ("put", "made")]
    eventually(lambda: all(whereis(name) is not None for name in names), "the members")
    TokenPool.force_refresh("pool", "put", rejected="new-1")
    common["clock"].advance(2.0)
    eventually(lambda: read("pool", "put") == "new-2", "a refresh with the options in force")
    assert tenants.made == ["made"]
    assert DynamicSupervisor.count_children("pool").active == 2


def test_every_form_of_reading(tenants: Tenants, common: dict[str, Any]) -> None:
    TokenPool.start_link(tenants.factory, name="pool", **common)
    source = TokenPool.source("pool", "s")
    assert source() == source.access_token() == source.token().access_token == "s-1"

    async def main() -> list[str]:
        texts = await asyncio.gather(*[TokenPool.aget_access_token("pool", "t") for _ in range(50)])
        assert set(texts) == {"t-1"}
        await TokenPool.aforce_refresh("pool", "t", rejected="another")
        return [await source.aaccess_token(), (await source.atoken()).access_token, texts[0]]

    assert asyncio.run(main()) == ["s-1", "s-1", "t-1"]
    with pytest.raises(NoTokenError):
        TokenPool.get_token("pool", "s", min_validity=1000.0)
    TokenPool.force_refresh("pool", "nobody")
    assert tenants.made == ["s", "t"]


@pytest.mark.parametrize("name", ["asyncio", "trio"])
def test_tasks_of_either_loop_wait_for_a_slow_factory(name: str, tenants: Tenants, common: dict[str, Any]) -> None:
    loop, over = Loop(name), threading.Event()
    tenants.slow["a"] = over
    TokenPool.start_link(tenants.factory, name="pool", **common)

    async def impatient() -> object:
        return await TokenPool.aget_token("pool", "a", timeout=0.1)

    async def let_go() -> None:
        over.set()

    async def main() -> list[Any]:
        assert await loop.together(impatient) == [NoTokenError]
        found = await loop.together(
            lambda: TokenPool.aget_access_token("pool", "a", timeout=DEADLINE_S),
            lambda: TokenPool.source("pool", "a").aaccess_token(DEADLINE_S),
            let_go,
        )
        await TokenPool.aforce_refresh("pool", "a", timeout=DEADLINE_S, rejected="another")
        return found

    first, second, _ = loop.run(main)
    assert (first, second, tenants.made) == ("a-1", "a-1", ["a"])


def test_a_key_is_never_shown(tenants: Tenants, common: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    key = "a-token-of-a-user"
    caplog.set_level("DEBUG")

    def factory(_key: str) -> dict[str, Any]:
        return {"auth": login("a")}

    ref = TokenPool.start_link(factory, name="pool", **common)
    read("pool", key)
    source = TokenPool.source("pool", key)
    told = [caplog.text, repr(source), repr(ref), str(Supervisor.tree(ref)), repr(TokenPool.which_children(ref))]
    assert source.server in caplog.text
    assert not [text for text in told if key in text]
    member = whereis(source.server)
    assert member is not None
    kill(member)
    assert key not in caplog.text


@pytest.mark.parametrize(
    "wrong",
    [
        {"factory": 1},
        {"max_size": 0},
        {"idle_seconds": -1},
        {"name": ""},
        {"refresh_buffer_seconds": -1},
        {"no_such_option": 1},
    ],
    ids=str,
)
def test_a_wrong_argument_is_refused_before_anything_starts(wrong: dict[str, Any]) -> None:
    for start in (TokenPool.start_link, TokenPool.child_spec):
        with pytest.raises(ConfigError):
            start(**wrong)


async def _factory(key: str) -> dict[str, Any]:
    return {}


def test_what_is_no_pool(tenants: Tenants, common: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        TokenPool.start_link(_factory)  # type: ignore[arg-type]
    with pytest.raises(ManagerNotRunning):
        read("nobody", "a")
    manager = TokenManager.start_link(auth=login("a"), **common)
    for wrong in (1, manager):
        with pytest.raises(TypeError):
            read(wrong, "a")


def test_a_key_that_cannot_be_one_is_not_shown_either(tenants: Tenants, common: dict[str, Any]) -> None:
    TokenPool.start_link(tenants.factory, name="pool", **common)

    async def read_async(key: Any) -> None:
        await TokenPool.aget_token("pool", key)

    for get in (lambda key: read("pool", key), lambda key: asyncio.run(read_async(key))):
        with pytest.raises(TypeError) as told:
            get(["of-a-user"])
        frames = traceback.TracebackException.from_exception(told.value, capture_locals=True).stack
        ours = [frame for frame in frames if "oidc_actor/pool" in frame.filename]
        assert ours
        assert "of-a-user" not in str([frame.locals for frame in ours])


@NEEDS_FORK[0]
def test_in_a_forked_child(tenants: Tenants, common: dict[str, Any]) -> None:
    TokenPool.start_link(tenants.factory, name="pool", **common)
    assert read("pool", "a") == "a-1"

    def check() -> None:
        assert read("pool", "a") == "a-1"
        assert read("pool", "b") == "b-1"
        TokenPool.put("pool", "c", auth=login("c"))
        assert sorted(TokenPool.keys("pool")) == ["a", "b", "c"]
        TokenPool.remove("pool", "a")
        assert read("pool", "a") == "a-2"

    in_child(check)
    assert TokenPool.keys("pool") == ["a"]


def read_as(subject: str, *, in_task: bool) -> str | None:
    with suppress(PoolFull, NoTokenError, ManagerNotRunning):
        if in_task:
            return asyncio.run(TokenPool.aget_access_token("users", subject, timeout=1.0))
        return TokenPool.source("users", subject)(timeout=1.0)
    return None


def test_on_behalf_of_never_another_users_token(clock: ManualClock) -> None:
    """Users come, go and come back while their tokens are read, rejected and bounded; each gets its own, or none."""
    counts: dict[str, int] = {}
    lock = threading.Lock()

    def transport(request: Request, /) -> Response:
        form = form_of(request)
        assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:token-exchange"
        subject = form["subject_token"]
        with lock:
            counts[subject] = counts.get(subject, 0) + 1
        return minted(f"of-{subject}#{counts[subject]}", expires_in=2 + counts[subject] % 3)

    def factory(subject: str) -> dict[str, Any]:
        return {"auth": TokenExchange(subject, "gateway", "s", client_auth="client_secret_post")}

    TokenPool.start_link(
        factory, name="users", max_size=5, idle_seconds=3.0, oidc_config=CONFIG, transport=transport, clock=clock, rng=RNG,
        min_interval_seconds=0.0,
    )  # fmt: skip
    over = time.monotonic() + 1.5
    read_by: list[int] = [0] * 8

    def user(number: int) -> None:
        turn = number
        while time.monotonic() < over:
            turn = (turn * 7 + 3) % 12
            subject = f"user-{turn}"
            text = read_as(subject, in_task=turn % 2 == 0)
            if text is None:
                continue
            assert text.partition("#")[0] == f"of-{subject}"
            read_by[number] += 1
            if turn % 5 == 0:
                TokenPool.force_refresh("users", subject, rejected=text)
            elif turn % 5 == 1:
                with suppress(UnknownKey):
                    TokenPool.remove("users", subject)

    def tick() -> None:
        while time.monotonic() < over:
            clock.advance(0.5)
            threading.Event().wait(0.01)

    with run(tick, *[lambda number=number: user(number) for number in range(8)]):
        pass
    assert all(read_by)
    assert len(TokenPool.keys("users")) <= 5


def test_metrics_show_a_pool_as_one_and_its_oldest_members(tenants: Tenants, common: dict[str, Any]) -> None:
    TokenPool.start_link(tenants.factory, name="pool", **common)
    TokenManager.start_link(auth=login("alone"), name="alone", **common)
    TokenManager.get_token("alone")
    for number in range(MOST_MEMBERS + 5):
        read("pool", f"k{number}")

    def tokens_counted() -> int:
        return next(one for one in read_managers(1000) if one.manager == "pool").counts["token_obtained"]

    eventually(lambda: tokens_counted() == MOST_MEMBERS + 5)  # a token serves before it is counted
    readings = read_managers(1000)
    members = [one for one in readings if one.manager.startswith("pool/")]
    assert len(members) == MOST_MEMBERS
    assert len(readings) == MOST_MEMBERS + 2


def test_errors_of_a_pool_are_made_anew_from_their_args() -> None:
    for error in (UnknownKey(), PoolFull("all 2 managers are waited for")):
        again = type(error)(*error.args)
        assert (str(again), again.args) == (str(error), error.args)
        assert isinstance(pickle.loads(pickle.dumps(error)), OIDCActorError)
    assert issubclass(UnknownKey, KeyError)

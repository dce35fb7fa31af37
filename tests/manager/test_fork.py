"""A forked child serves the inherited token and makes its manager anew; the parent notices nothing."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from fakes import AUTH, ISSUER, ScriptedTransport, minted
from managers import Start
from processes import NEEDS_FORK, in_child, run_script
from threads import DEADLINE_S, eventually

import supervision
from oidc_actor import NoTokenError, Password, TokenManager, TokenResponse
from oidc_actor.reading.directory import locate
from supervision import Backoff, NoProcess, Supervisor

pytestmark = NEEDS_FORK


@pytest.mark.P11
@pytest.mark.parametrize("name", ["m", None])
def test_the_child_serves_the_live_token(name, start: Start, transport) -> None:
    ref = start(name=name)
    server = name or ref
    source = TokenManager.source(server)
    assert source() == "t1"

    def check() -> None:
        assert source(timeout=0) == "t1"
        assert TokenManager.get_access_token(ref, timeout=0) == "t1"
        assert TokenManager.get_access_token(server, timeout=0) == "t1"

    in_child(check)
    assert TokenManager.get_access_token(server) == "t1"
    assert len(transport.posts) == 1


@pytest.mark.P11
@pytest.mark.parametrize("name", ["m", None])
def test_the_child_refreshes_by_itself_from_its_first_use(name, start: Start, clock, transport) -> None:
    ref = start(name=name)
    server = name or ref
    assert TokenManager.get_access_token(server) == "t1"

    def check() -> None:
        assert TokenManager.get_access_token(server, timeout=0) == "t1"
        TokenManager.health(server)  # its tick is set: else the clock might be advanced before that
        clock.advance(240)
        eventually(lambda: TokenManager.get_access_token(server, timeout=0) == "t2")
        assert TokenManager.health(server).refreshes == 2
        TokenManager.stop(server)
        with pytest.raises(NoProcess):
            TokenManager.get_token(server)

    in_child(check)
    assert TokenManager.get_access_token(server) == "t1"
    assert TokenManager.health(server).token_requests == 1


@pytest.mark.P11
def test_the_child_gets_its_own_token_where_the_parent_had_none(start: Start, transport, clock) -> None:
    with transport.held_back():
        start(name="m")
        transport.wait_for_requests(1)

        def check() -> None:
            clock.advance(1)  # the minimum interval is the parent's too
            assert TokenManager.get_access_token("m", timeout=DEADLINE_S) == "t1"

        in_child(check)
        with pytest.raises(NoTokenError):
            TokenManager.get_token("m", timeout=0)
    assert TokenManager.get_access_token("m") == "t1"


def test_a_listener_that_is_being_told_in_the_parent_hears_in_the_child(start: Start, clock) -> None:
    told, gate = threading.Event(), threading.Event()
    here = os.getpid()

    def listener(_: TokenResponse) -> None:
        told.set()
        if os.getpid() == here:
            gate.wait(DEADLINE_S)

    start(name="m")
    TokenManager.get_token("m")
    TokenManager.subscribe("m", listener)
    clock.advance(240)
    assert told.wait(DEADLINE_S)
    told.clear()

    def check() -> None:
        TokenManager.get_token("m")
        TokenManager.health("m")  # as above
        clock.advance(240)
        assert told.wait(DEADLINE_S)

    try:
        in_child(check)
    finally:
        gate.set()


@pytest.mark.P8
def test_the_child_does_not_redeem_the_parents_refresh_token(start: Start, clock, transport) -> None:
    transport.then(minted("t", refresh_token="the-parents"))
    start(name="m", auth=Password("user", "pass", "id", "secret"))
    TokenManager.get_token("m")

    def check() -> None:
        assert TokenManager.get_access_token("m", timeout=0) == "t"
        TokenManager.health("m")  # as above
        clock.advance(240)
        eventually(lambda: TokenManager.get_access_token("m", timeout=0) == "t1")
        assert [form["grant_type"] for form in transport.forms] == ["password", "password"]

    in_child(check)
    clock.advance(240)
    eventually(lambda: TokenManager.get_access_token("m") == "t1")
    assert transport.forms[-1]["refresh_token"] == "the-parents"


def test_every_function_of_an_inherited_manager_works_in_the_child(start: Start, clock) -> None:
    ref = start(name="m")
    TokenManager.get_token("m")
    for use in (
        lambda: TokenManager.health("m"),
        lambda: TokenManager.health(ref),
        lambda: TokenManager.subscribe("m", print),
        lambda: TokenManager.force_refresh("m"),
        lambda: TokenManager.source("m")(),
        lambda: TokenManager.get_token("m", min_validity=10),
        lambda: TokenManager.stop("m"),
    ):
        in_child(use)


def test_what_was_stopped_or_crashed_stays_so_in_the_child(start: Start, clock) -> None:
    stopped, crashed = start(name="stopped"), start(name="crashed")
    TokenManager.get_token(stopped)
    text = TokenManager.get_access_token(crashed)
    TokenManager.stop(stopped)
    supervision.kill(crashed)

    def check() -> None:
        with pytest.raises(NoProcess):
            TokenManager.get_token("stopped")
        assert TokenManager.get_access_token("crashed") == text
        clock.advance(300)
        with pytest.raises(NoProcess):
            TokenManager.get_token("crashed")

    in_child(check)


def test_a_new_manager_starts_in_the_child_under_the_name_or_another(start: Start, transport) -> None:
    start(name="m")
    TokenManager.get_token("m")

    def check() -> None:
        start(name="n")
        assert TokenManager.get_access_token("n") == "t2"
        start(name="m")
        assert TokenManager.get_access_token("m", timeout=0) == "t1"

    in_child(check)


@pytest.mark.P11
def test_a_grandchild_is_a_child_too(start: Start, transport) -> None:
    start(name="m")
    TokenManager.get_token("m")

    def check() -> None:
        in_child(lambda: check_token())

    def check_token() -> None:
        assert TokenManager.get_access_token("m", timeout=0) == "t1"

    in_child(check)


@contextmanager
def load(names: list[str]) -> Iterator[None]:
    """Threads that read and refresh those managers all the while; none of them fails."""
    over, failed = threading.Event(), []

    def run(number: int) -> None:
        try:
            while not over.is_set():
                TokenManager.get_access_token(names[number], timeout=0)
                TokenManager.force_refresh(names[-1 - number], wait=True)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(4)]
    for thread in threads:
        thread.start()
    yield
    over.set()
    for thread in threads:
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
    assert not failed


@pytest.mark.P10
def test_forks_by_the_hundred_under_load_do_not_hang() -> None:
    transport = ScriptedTransport()
    names = [f"m{number}" for number in range(20)]
    for name in names:
        TokenManager.start_link(
            auth=AUTH,
            issuer_url=ISSUER,
            name=name,
            transport=lambda request: transport(request),
            min_interval_seconds=0,
        )
        TokenManager.get_token(name, timeout=DEADLINE_S)
    ends_at = time.monotonic() + 30  # on a starved machine fewer forks do: each child has a deadline of its own
    with load(names):
        for round_ in range(100):
            if time.monotonic() > ends_at and round_ > 20:
                break

            def check(name: str = names[round_ % 20], refreshes: bool = bool(round_ % 2)) -> None:
                assert TokenManager.get_access_token(name, timeout=5)
                if refreshes:
                    TokenManager.force_refresh(name, wait=True)

            TokenManager.force_refresh(names[round_ % 20])
            in_child(check)
    for name in names:
        assert TokenManager.get_access_token(name, timeout=5)


# A lock that a thread holds at a fork stays held in the child for ever. Made before anything else is imported that makes one.
EVERY_LOCK = """
made = []

def noting(make):
    def made_and_noted(*args):
        lock, frame, by = make(*args), sys._getframe(1), []
        while frame:
            by.append(f"{frame.f_globals['__name__']}.{frame.f_code.co_name}")
            frame = frame.f_back
        made.append((lock, " ".join(by)))
        return lock
    return staticmethod(made_and_noted)  # a class may have it as an attribute

threading.Lock, threading.RLock = noting(threading.Lock), noting(threading.RLock)
OF_FORKS = "logging.", "concurrent.futures.", "lazy_imports", "threading.__init__"  # they see to it; and a thread's own

def fork_with_every_lock_held():
    locks = [lock for lock, by in made if not any(name in by for name in OF_FORKS)]
    are_held, go_on, held = threading.Event(), threading.Event(), []
    def hold():
        held.extend(lock for lock in locks if lock.acquire(blocking=False))
        are_held.set()
        go_on.wait()
        [lock.release() for lock in held]
    holder = threading.Thread(target=hold)
    holder.start()
    are_held.wait()
    process = os.fork()
    if process:
        go_on.set()
        holder.join()
        assert len(held) > 10
    else:
        signal.alarm(40)
    return process
"""


@pytest.mark.P10
def test_whatever_a_thread_of_the_parent_held_a_child_serves_and_ends(tmp_path) -> None:
    """At its exit, too: urllib3 empties all pools of connections then, the parent's with them."""
    done = run_script(
        EVERY_LOCK
        + f"""
from oidc_actor import ClientCredentials, TokenManager
from oidc_actor.sharing import FileStore
from oidc_actor.testing import Provider

provider = Provider()
provider.start()
auth = ClientCredentials(provider.client_id, provider.client_secret)
store = FileStore({str(tmp_path / "tokens")!r}, namespace="prod")
TokenManager.start_link(name="m", issuer_url=provider.issuer_url, auth=auth, store=store)
TokenManager.get_token("m", timeout=30)
for serves in (True, False):
    process = fork_with_every_lock_held()
    if not process:
        if serves:
            TokenManager.get_token("m", timeout=30)
            TokenManager.force_refresh("m", wait=True, timeout=30)
        sys.exit()
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0, serves
print("ok")
"""
    )
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr


@pytest.mark.parametrize("name", ["m", None])
def test_one_that_is_about_to_be_restarted_in_the_parent_goes_on_in_the_child(name, clock, transport) -> None:
    options = {"name": name, "auth": AUTH, "issuer_url": ISSUER, "transport": transport, "clock": clock}
    spec = replace(TokenManager.child_spec(**options), backoff=Backoff(initial=30, jitter=0))
    supervisor = Supervisor.start_link([spec])
    ref = Supervisor.which_children(supervisor)[0].ref
    server = name or ref
    assert TokenManager.get_access_token(server) == "t1"
    cell = locate(server)
    supervision.kill(ref)
    eventually(lambda: cell.is_down, "the end of the manager")

    def check() -> None:
        assert TokenManager.get_access_token(server, timeout=0) == "t1"
        clock.advance(301)
        assert TokenManager.get_access_token(server) == "t2"

    in_child(check)
    Supervisor.terminate_child(supervisor, spec.id)

    def is_gone() -> None:
        with pytest.raises(NoProcess):
            TokenManager.get_access_token(server, timeout=0)

    in_child(is_gone)

"""Rows about members: they start, come late, die, stop, complain; their clocks differ."""

from __future__ import annotations

import contextlib
import random
import signal

from fleet.members import Fleet
from fleet.table import Row, fault
from oidc_actor.values.clock import default_clock


def refreshes(fleet: Fleet) -> int:
    """How many requests brought a refresh token."""
    return int(fleet.provider.token_requests_by_grant.get("refresh_token", 0))


def lives(fleet: Fleet) -> int:
    """How many more lives are seen, after the first: five in all with many processes."""
    return 4 if fleet.processes > 16 else 1


@fault(1, "the client's own grant: one request for each life, and all have its token")
def nothing_client_credentials(fleet: Fleet, row: Row) -> None:
    fleet.use_redis()
    fleet.start()
    fleet.ready()
    fleet.live(lives(fleet))


@fault(1, "a login that can be repeated, by refresh tokens: one request for each life")
def nothing_password_with_rotation(fleet: Fleet, row: Row) -> None:
    fleet.use_redis("valkey")
    fleet.use_password()
    fleet.start()
    fleet.ready()
    fleet.live(1)
    row.check("refreshes by refresh token", used := refreshes(fleet), used >= 1)


@fault(1, "one login, which is a refresh token that rotates, serves all", life_s=10.0)
def nothing_refresh_token(fleet: Fleet, row: Row) -> None:
    fleet.use_redis()
    fleet.use_login()
    fleet.start()
    fleet.ready()
    fleet.live(lives(fleet))


@fault(1, "the certified provider, whose tokens are opaque: none is refused, and each member's is taken", life_s=12.0)
def npm_password_with_rotation(fleet: Fleet, row: Row) -> None:
    fleet.use_npm()
    fleet.use_redis()
    fleet.use_password()
    fleet.start()
    fleet.ready()
    fleet.live(lives(fleet))
    row.check("refreshes by refresh token", used := refreshes(fleet), used >= 1)


@fault(1, "the same with one login for all", life_s=12.0)
def npm_refresh_token(fleet: Fleet, row: Row) -> None:
    fleet.use_npm()
    fleet.use_redis("valkey")
    fleet.use_login()
    fleet.start()
    fleet.ready()
    fleet.live(lives(fleet))
    row.check("refreshes by refresh token", used := refreshes(fleet), used >= 2)


@fault(
    4,
    "the same, and a holder of the login is killed before it sends: it is tried once more, and was not spent",
    life_s=20.0,
    long=True,
)
def npm_holder_of_the_login_killed(fleet: Fleet, row: Row) -> None:
    fleet.use_npm()
    fleet.use_redis()
    fleet.use_login()
    fleet.start()
    fleet.ready()
    lose_holders(fleet, row, 1)
    fleet.live(1)


@fault(1, "the same on a file", life_s=10.0)
def nothing_file_store(fleet: Fleet, row: Row) -> None:
    fleet.use_file()
    fleet.use_password()
    fleet.start()
    fleet.ready()
    fleet.live(1)


@fault(3, "all start at once: one request; one that comes late adopts, with none", life_s=60.0)
def starts_in_one_second_and_a_late_one(fleet: Fleet, row: Row) -> None:
    fleet.use_redis()
    fleet.start()
    fleet.ready()
    row.check("requests", fleet.provider.token_requests, fleet.provider.token_requests == 1)
    late = fleet.start_one(fleet.host())  # spawned
    fleet.until(lambda: fleet.members[late].has_token, "the late one has a token")
    said = fleet.members[late].said
    row.check("the late one's first token, s", round(said["first_s"], 3), said["first_s"] < 2.0)


@fault(
    11,
    "a process with a manager forks: each child goes on, with the parent's token and one of its own making",
    life_s=60.0,
)
def forked_after_the_start(fleet: Fleet, row: Row) -> None:
    fleet.use_redis()
    host = fleet.host(loads_first=True)
    fleet.start(0, hosts=1)
    for _ in range(fleet.processes):
        fleet.start_one(host)
    fleet.ready()
    row.check("requests", fleet.provider.token_requests, fleet.provider.token_requests == 1)
    fleet.signal(0, signal.SIGUSR2)
    row.asked = 1
    fleet.until(lambda: fleet.provider.token_requests == 2, "another request")
    fleet.alike()


def lose_holders(fleet: Fleet, row: Row, count: int, *, sent: bool = False) -> None:
    """Have holders end: before they send anything, or after the provider has got their request."""
    for _ in range(count):
        requests, grants = fleet.provider.token_requests, len(fleet.grants)
        number = fleet.start_one(stops_at_grant=not sent)
        fleet.until(lambda number=number: fleet.members[number].has_token, "the next has a token")  # type: ignore[misc]
        for _ in range(10):  # another member may be at it, and its token serves the wish
            fleet.signal(number, signal.SIGUSR2)
            with contextlib.suppress(AssertionError):
                fleet.until(lambda number=number, before=grants: number in fleet.grants[before:], "it is granted", 4.0)  # type: ignore[misc]
                break
        else:
            raise AssertionError("its wish was never granted")
        if sent:
            row.asked += 1
            fleet.until(lambda before=requests: fleet.provider.token_requests > before, "the request is sent")  # type: ignore[misc]
        fleet.kill(number)


def go_on(fleet: Fleet) -> None:
    """Have a member that is left ask for another token; all get that."""
    number = fleet.present[0].number
    before = fleet.tokens()
    fleet.signal(number, signal.SIGUSR2)
    fleet.until(lambda: not fleet.tokens() & before, "all have another token")
    fleet.alike()


@fault(4, "a holder is killed before it sends: the next goes on when its lease is over", life_s=30.0)
def holder_killed_before_it_sends(fleet: Fleet, row: Row) -> None:
    fleet.use_redis()
    fleet.use_password()
    fleet.start()
    fleet.ready()
    lose_holders(fleet, row, 1)
    go_on(fleet)
    row.asked += 1


@fault(4, "the same with one login for all: it is tried once more, and was not spent", life_s=16.0)
def holder_of_the_login_killed_before_it_sends(fleet: Fleet, row: Row) -> None:
    fleet.use_redis()
    fleet.use_login()
    fleet.start()
    fleet.ready()
    lose_holders(fleet, row, 1)
    fleet.live(1)


@fault(4, "a holder is killed when its request is at the provider: one request is lost", extra=1, life_s=30.0)
def holder_killed_after_it_sent(fleet: Fleet, row: Row) -> None:
    fleet.use_redis("valkey")
    fleet.use_password()
    fleet.start()
    fleet.ready()
    fleet.provider.delay_s = 0.2
    lose_holders(fleet, row, 1, sent=True)
    go_on(fleet)
    row.asked += 1


@fault(
    4,
    "a holder of the only login is killed when it has redeemed it: tried once more, and then it is said that it is lost",
    life_s=8.0,
    extra=1,
)
def holder_of_the_login_killed_after_it_sent(fleet: Fleet, row: Row) -> None:
    fleet.use_redis()
    fleet.use_login()
    fleet.start()
    fleet.ready()
    fleet.provider.delay_s = 0.2
    lose_holders(fleet, row, 1, sent=True)
    row.gaps, row.reuses, row.ends_alike = True, 1, False
    what = "each member says that the login is lost"
    fleet.until(
        lambda: all(
            "is lost" in (m.said.get("last") or "") or "invalid_grant" in (m.said.get("last") or "")
            for m in fleet.present
        ),
        what,
    )
    for member in fleet.present:
        member.said["has_lost"] = True
    row.check(
        "the provider saw it twice", fleet.provider.refresh_tokens_reused, fleet.provider.refresh_tokens_reused <= 1
    )


def times(processes: int) -> int:
    """How often a holder is lost."""
    return 20 if processes > 16 else 3


def next_holder(fleet: Fleet) -> int:
    """Have a member wish for another token; the one that is granted the request, when the last holder's lease is over."""
    for _ in range(10):  # an attempt that is under way serves the wish, and may only adopt what there is
        fleet.signal(random.choice(fleet.running).number, signal.SIGUSR2)
        with contextlib.suppress(AssertionError):
            return fleet.next_grant(5.0)
    raise AssertionError("no wish was granted")


def move_on(fleet: Fleet, row: Row) -> None:
    """Have a member that runs wish for another token; all that run get one."""
    row.asked += 1
    before = {member.said.get("token") for member in fleet.running}
    for _ in range(5):
        fleet.signal(random.choice(fleet.running).number, signal.SIGUSR2)
        with contextlib.suppress(AssertionError):
            return fleet.until(lambda: not {m.said.get("token") for m in fleet.running} & before, "they move on", 12.0)
    raise AssertionError("not all have another token")


@fault(4, "kill -9 of the holder at a random instant, again and again", extra=times, life_s=600.0, long=True)
def holders_killed_at_random(fleet: Fleet, row: Row) -> None:
    fleet.use_redis()
    kill_at_random(fleet, row)


@fault(12, "the same on a file: the kernel lets go of a dead one's lease", extra=times, life_s=600.0, long=True)
def holders_killed_at_random_on_a_file(fleet: Fleet, row: Row) -> None:
    fleet.use_file()
    kill_at_random(fleet, row)


def kill_at_random(fleet: Fleet, row: Row) -> None:
    """Each holder is killed: what it has asked for is one request, and the token that there is lives on."""
    fleet.use_password()
    fleet.provider.delay_s = 0.15
    fleet.start()
    fleet.ready()
    for _ in range(times(fleet.processes)):
        number = next_holder(fleet)
        fleet.pass_time(random.uniform(0.0, 0.4))
        fleet.kill(number)
        fleet.start_one()
    move_on(fleet, row)


@fault(
    4, "the holder of each life is killed as it refreshes: no read is without a token", extra=3, life_s=12.0, long=True
)
def holder_of_each_life_killed(fleet: Fleet, row: Row) -> None:
    fleet.use_redis("valkey")
    fleet.use_password()
    fleet.provider.delay_s = 0.15
    fleet.start()
    fleet.ready()
    for _ in range(3):
        number, before = fleet.next_grant(), fleet.lives()
        fleet.pass_time(random.uniform(0.0, 0.4))
        fleet.kill(number)
        fleet.until(lambda before=before: fleet.lives() > before, "the next life", 2 * fleet.life_s)  # type: ignore[misc]
    fleet.live(1)


@fault(12, "a holder on a file is killed: the next one is granted at once", life_s=30.0)
def holder_on_a_file_killed(fleet: Fleet, row: Row) -> None:
    fleet.use_file()
    fleet.use_password()
    fleet.start()
    fleet.ready()
    lose_holders(fleet, row, 1)
    grants, began = len(fleet.grants), default_clock()
    go_on(fleet)
    took_s = fleet.granted_at[grants] - began  # a file's clock is the host's
    row.asked += 1
    row.check("the next one was granted after, s", round(took_s, 2), took_s < 2.0)  # the lease would hold for 3 s


@fault(
    12, "one process with the only login on a file is killed and started again: it goes on with that login", life_s=8.0
)
def restart_of_a_single_process(fleet: Fleet, row: Row) -> None:
    row.processes = 1
    fleet.use_file()
    fleet.use_login()
    fleet.start(1, hosts=1)
    fleet.ready()
    fleet.live(1)
    # One that is killed between the provider's answer and the store's loses its login: no store helps there.
    fleet.until(lambda: fleet.members[0].said["shared"] >= 2, "its second token is stored")
    fleet.kill(0)
    again = fleet.start_one()
    fleet.until(lambda: fleet.members[again].has_token, "the new process has a token")
    first_s = fleet.members[again].said["first_s"]
    row.check("its first token after, s", round(first_s, 3), first_s < 2.0)
    fleet.live(1)


@fault(4, "a holder stops before it sends, for two leases: it finds its lease over, and adopts", life_s=30.0)
def holder_stopped_for_two_leases(fleet: Fleet, row: Row) -> None:
    fleet.use_redis()
    fleet.use_password()
    fleet.start()
    fleet.ready()
    number = fleet.start_one(stops_at_grant=True)
    fleet.until(lambda: fleet.members[number].has_token, "the next has a token")
    fleet.signal(number, signal.SIGUSR2)
    fleet.until(lambda: number in fleet.grants, "it is granted, and stops")
    before = fleet.tokens()
    fleet.signal(0, signal.SIGUSR2)
    row.asked = 1
    others = fleet.present[:-1]
    fleet.until(lambda: not {m.said["token"] for m in others} & before, "the others have another token")
    fleet.pass_time(3.0)  # more than a lease has passed before that
    fleet.signal(number, signal.SIGCONT)
    fleet.alike()


@fault(4, "SIGSTOP of the holder at a random instant, for two leases", extra=times, life_s=600.0, long=True)
def holders_stopped_at_random(fleet: Fleet, row: Row) -> None:
    fleet.use_redis()
    fleet.use_password()
    fleet.provider.delay_s = 0.15
    fleet.start()
    fleet.ready()
    for _ in range(times(fleet.processes)):
        number = next_holder(fleet)
        fleet.pass_time(random.uniform(0.0, 0.3))
        fleet.stop(number)
        fleet.let_go_on(6.5)
    fleet.pass_time(6.5)
    fleet.let_go_on()
    move_on(fleet, row)


@fault(8, "all complain of one token at once: one request, and none is handed it again", life_s=60.0)
def complaints_of_all_at_once(fleet: Fleet, row: Row) -> None:
    fleet.use_redis()
    fleet.start()
    fleet.ready()
    row.gaps, row.asked = True, 1
    before = fleet.tokens()
    for member in fleet.present:
        fleet.signal(member.number, signal.SIGUSR1)
    fleet.until(lambda: not fleet.tokens() & before, "all have another token")


@fault(9, "hosts' clocks differ by hours, and the store's by a day", life_s=8.0)
def clocks_that_differ(fleet: Fleet, row: Row) -> None:
    fleet.use_redis()
    fleet.use_password()
    fleet.settings |= {"ahead_s": [-3600, 0, 3600, 7200], "store_ahead_s": 86400}
    fleet.start()
    fleet.ready()
    fleet.live(1)


@fault(10, "members with other scopes and other users on one store: each gets its own", extra=3, life_s=60.0)
def many_keys_on_one_store(fleet: Fleet, row: Row) -> None:
    fleet.use_redis()
    fleet.use_password()
    fleet.provider.add_user("other", "word")
    variants = [{"scopes": ["read"]}, {"scopes": ["write"]}, {"scopes": ["read", "write"]}]
    fleet.settings["auth"]["variants"] = [*variants, {"username": "other", "password": "word", "scopes": ["read"]}]
    fleet.start()
    fleet.ready()
    row.ends_alike = False
    row.check("tokens", len(fleet.tokens()), len(fleet.tokens()) == 4)

"""Random programs are played by Pykka alone and by each kind of actor of ours: the answers and the hooks are the same.

A step is what a program does with a ref or a proxy. Left out is what differs by design (supervision/README.md): exceptions that
are no ``Exception``, and those of ``on_start`` and of the end hooks.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

import pykka
import pytest
from actors import Boom
from children import ref_of
from holding import Gate
from pykka import ActorDeadError, ActorRegistry
from threads import DEADLINE_S, eventually

from supervision import ChildSpec, Server, Supervisor
from supervision.exits import is_orderly

PROGRAMS = 60
STEPS = 25


class Wings:
    pykka_traversable = True

    def __init__(self) -> None:
        self.span = 3

    def flap(self, times: int) -> str:
        return "flap " * times


class Behaviour(pykka.Actor):
    """What the actors of all kinds do; what they have done is in ``log``."""

    kind = "a bird"

    def __init__(self, log: list[Any]) -> None:
        super().__init__()
        self.log = log
        self.wings = Wings()
        self.feathers = 0
        self._private = "private"

    @property
    def doubled(self) -> int:
        return 2 * self.feathers

    def on_start(self) -> None:
        self.log.append("on_start")

    def on_receive(self, message: Any) -> Any:
        self.log.append(type(message).__name__)
        if isinstance(message, Exception):
            raise message
        return message(self) if callable(message) else message

    def grow(self, by: int = 1) -> int:
        self.feathers += by
        return self.feathers

    def fail(self) -> None:
        raise Boom("fail")

    def stop_itself_and(self, message: Any) -> Any:
        self.stop()
        self.actor_ref.tell(message)
        return message


class Alone(Behaviour, pykka.ThreadingActor):
    use_daemon_thread = True

    def on_stop(self) -> None:
        self.log.append("on_stop")

    def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
        self.log.append(f"on_failure {exception_type.__name__} {exception_value} {traceback is not None}")


class Pooled(Behaviour, Server):
    crash_on_call_error = False

    def on_terminate(self, reason: Any) -> None:
        if is_orderly(reason):
            self.log.append("on_stop")
        else:
            error = reason.exception
            self.log.append(f"on_failure {type(error).__name__} {error} {error.__traceback__ is not None}")


class Threaded(Pooled):
    runtime = "thread"


def child(start: Any) -> Callable[[list[Any]], Any]:
    return lambda log: ref_of(Supervisor.start_link([ChildSpec("it", start, (log,), restart="temporary")]), "it")


OURS: dict[str, Callable[[list[Any]], Any]] = {
    "managed": child(Alone),
    "raw": child(lambda log: Alone.start(log)),
    "pooled": child(Pooled),
    "threaded": child(Threaded),
    "pooled, nobody's child": Pooled.start,
}


# --- a program --------------------------------------------------------------------------------------------------------


class Player:
    """Plays steps with one actor; ``log`` has what the actor did, ``answers`` what came back."""

    def __init__(self, start: Callable[[list[Any]], Any]) -> None:
        self.log: list[Any] = []
        self.answers: list[Any] = []
        self.ref = start(self.log)
        self.proxy = self.ref.proxy()

    def play(self, name: str, number: int) -> None:
        self.answers.append((name, outcome_of(lambda: getattr(self, f"do_{name}")(number))))
        self.answers.append((self.ref.is_alive(), ActorRegistry.get_by_urn(self.ref.actor_urn) is self.ref))

    def await_end(self) -> None:
        eventually(lambda: str(self.log[-1:]).startswith(("['on_stop", "['on_failure")), "the end hook")

    # Each step; a number makes it another one.

    def do_tell(self, number: int) -> Any:
        return self.ref.tell(number)

    def do_ask(self, number: int) -> Any:
        return self.ref.ask({"number": number}, timeout=DEADLINE_S)

    def do_ask_what_raises(self, number: int) -> Any:
        return self.ref.ask(Boom(number), timeout=DEADLINE_S)

    def do_ask_without_blocking(self, number: int) -> Any:
        future = self.ref.ask([number, number], block=False)
        mapped = future.map(len)
        joined = future.join(mapped)
        return future.get(timeout=DEADLINE_S), mapped.get(timeout=DEADLINE_S), joined.get(timeout=DEADLINE_S)

    def do_get(self, number: int) -> Any:
        name = ("feathers", "doubled", "kind", "wings.span", "_private", "nothing")[number % 6]
        found: Any = self.proxy
        for part in name.split("."):
            found = getattr(found, part)
        return found.get(timeout=DEADLINE_S)

    def do_set(self, number: int) -> Any:
        match number % 4:
            case 0:
                self.proxy.feathers = number
            case 1:
                self.proxy.wings.span = number
            case 2:
                self.proxy.doubled = number
            case _:
                self.proxy.novel = number
        return self.proxy.feathers.get(timeout=DEADLINE_S)

    def do_call(self, number: int) -> Any:
        asked = (
            lambda: self.proxy.grow(),
            lambda: self.proxy.grow(by=number),
            lambda: self.proxy.wings.flap(number % 4),
            lambda: self.proxy.fail(),
            lambda: self.proxy.grow(1, 2, 3),
            lambda: self.proxy.on_receive("by proxy"),
        )[number % 6]
        return asked().get(timeout=DEADLINE_S)

    def do_defer(self, number: int) -> Any:
        self.proxy.grow.defer(by=number)
        return self.proxy.feathers.get(timeout=DEADLINE_S)

    def do_new_proxy(self, number: int) -> Any:
        return self.ref.proxy() == self.proxy

    def do_backlog(self, number: int) -> Any:
        with Gate() as gate:
            gate.grip(self.ref)
            queued = [self.ref.ask(number, block=False), self.proxy.fail(), self.proxy.grow()]
            if number % 3 == 0:
                queued += [
                    self.ref.stop(block=False),
                    self.ref.ask("behind a stop", block=False),
                    self.ref.stop(block=False),
                ]
            elif number % 3 == 1:
                self.ref.tell(Boom("in the backlog"))
                queued += [self.ref.ask("behind a crash", block=False), self.ref.stop(block=False)]
            gate.go()
        answers = [outcome_of(lambda future=future: future.get(timeout=DEADLINE_S)) for future in queued]
        if number % 3 < 2:
            self.await_end()
        return answers

    def do_stop_itself(self, number: int) -> Any:
        answer = self.proxy.stop_itself_and(number).get(timeout=DEADLINE_S)
        self.await_end()
        return answer

    def do_crash(self, number: int) -> Any:
        (self.ref.tell, lambda _: self.proxy.fail.defer())[number % 2](Boom(number))
        self.await_end()

    def do_stop(self, number: int) -> Any:
        return self.ref.stop(timeout=DEADLINE_S)


ENDS = ("stop_itself", "crash", "stop")
LIVES = tuple(name[3:] for name in vars(Player) if name.startswith("do_") and name[3:] not in ENDS)


def outcome_of(work: Callable[[], Any]) -> Any:
    """What it returned, or what it raised; how Pykka says that an actor is dead is not looked at."""
    try:
        return work()
    except ActorDeadError:
        return "dead"
    except Exception as error:
        return type(error).__name__, re.sub(r"\(urn:uuid:[0-9a-f-]+\)|Alone|Pooled|Threaded", "", str(error))


def program(seed: int) -> list[tuple[str, int]]:
    """The steps; late in it the actor ends, and the rest is played with a dead one."""
    chosen = random.Random(seed)
    steps = [(chosen.choice(LIVES), chosen.randrange(100)) for _ in range(STEPS)]
    at = chosen.randrange(STEPS)
    return [*steps[:at], (chosen.choice(ENDS), chosen.randrange(100)), *steps[at:]]


@pytest.mark.parametrize("kind", OURS)
def test_a_random_program_has_the_answers_and_hooks_that_it_has_with_pykka_alone(kind: str) -> None:
    for seed in range(PROGRAMS):
        steps = program(seed)
        players = [Player(Alone.start), Player(OURS[kind])]
        for player in players:
            for name, number in steps:
                player.play(name, number)
        alone, ours = players
        assert list(zip(steps, ours.answers[::2], strict=True)) == list(zip(steps, alone.answers[::2], strict=True)), (
            seed
        )
        assert (ours.answers, ours.log) == (alone.answers, alone.log), seed


def test_the_programs_hold_each_step() -> None:
    assert {name for seed in range(PROGRAMS) for name, _ in program(seed)} == {*LIVES, *ENDS}
    assert len(LIVES) == 10

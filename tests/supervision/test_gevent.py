"""Under gevent's patches, each time in a process of its own: it works, or says why not; nothing waits for ever."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from threads import DEADLINE_S

import supervision

EARLY = "from gevent import monkey; monkey.patch_all()\n"
SETTING = """
import pykka
from supervision import (
    ChildSpec, DynamicSupervisor, Server, Supervisor, SupervisionError, call, monitor, send_after, whereis
)
import threading

class Plain(pykka.ThreadingActor):
    def __init__(self, *firsts):
        super().__init__()
        self.seen = []
        for first in firsts:
            self.actor_ref.tell(first)
    def on_receive(self, message):
        if message == "die":
            raise ValueError("die")
        self.seen.append(message)
        return list(self.seen)

class Ours(Server):
    def on_receive(self, message):
        if message == "die":
            raise ValueError("die")
        return [message]

def until(condition):
    for _ in range(1000):
        if condition():
            return True
        threading.Event().wait(0.01)
    return False
"""


def played(code: str) -> list[str]:
    """What it prints, line by line."""
    root = str(Path(supervision.__file__).parent.parent)
    paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S * 6,
        check=False,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("kind", ["Plain", "Ours"])
def test_children_restarts_and_monitors(kind: str) -> None:
    assert played(
        f"""{EARLY}{SETTING}
top = Supervisor.start_link([ChildSpec("a", {kind}, name="a")])
print(call("a", 1))
ended = []
first = whereis("a")
monitor(first, ended.append)
first.tell("die")
print(until(lambda: ended and whereis("a") not in (None, first)), ended[0].reason)
print(call("a", 2))
many = DynamicSupervisor.start_link()
refs = [DynamicSupervisor.start_child(many, ChildSpec(str(n), {kind})) for n in range(20)]
print([call(ref, n) for n, ref in enumerate(refs)] == [[n] for n in range(20)])
DynamicSupervisor.stop(many, timeout=5)
print([ref.is_alive() for ref in refs].count(True))
Supervisor.stop(top, timeout=5)
print(whereis("a"))
"""
    ) == ["[1]", "True Crash(ValueError)", "[2]", "True", "0", "None"]


def test_what_an_actor_sent_itself_before_it_started_comes_first() -> None:
    assert played(
        f"""{EARLY}{SETTING}
top = Supervisor.start_link([ChildSpec("a", Plain, (1, 2), name="a"), ChildSpec("b", lambda: Plain.start(1, 2), name="b")])
print(call("a", 3), call("b", 3))
Supervisor.stop(top, timeout=5)
"""
    ) == ["[1, 2, 3] [1, 2, 3]"]


def test_a_handler_that_runs_for_long_is_warned_of_without_its_stack() -> None:
    """Greenlets are no threads, and have no frames that could be asked for."""
    assert played(
        f"""{EARLY}{SETTING}
import logging
from supervision.process import watch
watch.LOOK_S = 0.01
events = []
class Kept(logging.Handler):
    def emit(self, record):
        events.append((record.event, record.fields.get("stack")))
logging.getLogger("supervision").addHandler(Kept())
logging.getLogger("supervision").setLevel(logging.INFO)
class Slow(Ours):
    handler_warning = 0.05
    def on_receive(self, message):
        threading.Event().wait(0.5)
ref = Slow.start_link()
ref.tell(1)
print(until(lambda: len(events) == 2), events)
ref.stop(timeout=5)
"""
    ) == ["True [('long_handler', []), ('long_handler_over', None)]"]


def test_an_actor_that_pykka_has_started_is_refused_and_goes_on() -> None:
    lines = played(
        f"""{EARLY}{SETTING}
ref = Plain.start()
try:
    monitor(ref, print)
except Exception as error:
    print(error)
print(ref.ask(1, timeout=5))
ref.stop(timeout=5)
"""
    )
    assert "was started by Pykka alone and cannot be monitored" in lines[0]
    assert lines[1:] == ["[1]"]


@pytest.mark.parametrize(
    ("before", "after", "got"),
    [
        ("", EARLY, "they came after that"),
        ("from gevent import monkey; monkey.patch_all(queue=False)\n", "", "only threading"),
        ("from gevent import monkey; monkey.patch_all(thread=False)\n", "", "only queue"),
        ("", "from gevent import monkey; monkey.patch_all(queue=False)\n", "only threading"),
        ("", "from gevent import monkey; monkey.patch_queue()\n", "only queue"),
    ],
)
@pytest.mark.parametrize("start", ["Ours.start()", "Supervisor.start_link([])", "manager()"])
def test_patches_that_are_late_or_not_all_of_them(before: str, after: str, got: str, start: str) -> None:
    code = f"""{before}{SETTING}
def manager():
    from oidc_actor import TokenManager
    auth = {{"type": "oidc_client_credentials", "client_id": "i", "client_secret": "s"}}
    TokenManager.start_link(auth=auth, issuer_url="https://a.example")
{after}
try:
    {start}
except SupervisionError as error:
    print(error)
print(len(pykka.ActorRegistry.get_all()))
"""
    refusal, living = played(code)
    assert refusal.endswith(
        "gevent's patches: expected those of threading and queue before supervision is imported, or none, got: "
        f"{got}; call gevent.monkey.patch_all() before everything else"
    )
    assert living == "0"


@pytest.mark.parametrize("base", ["pykka.ThreadingActor", "Server"])
def test_a_name_follows_restarts(base: str) -> None:
    assert played(
        f"""{EARLY}{SETTING}
import gevent
from supervision import Backoff, kill, named
@pykka.traversable
class Inner:
    field = "inner"
class Shop({base}):
    inner = Inner()
    def greet(self, name):
        return "hello " + name
kept = named("shop").proxy()
sup = Supervisor.start_link([ChildSpec("shop", Shop, name="shop", backoff=Backoff(0.05, 0.05))], max_restarts=100)
greet, inner = kept.greet, kept.inner
waits = named("shop", await_restart=True).proxy()
for _ in range(3):
    print(kept.greet("a").get(timeout=5), greet("b").get(timeout=5), inner.field.get(timeout=5))
    kill("shop")
    try:
        print(greet("c").get(timeout=5))
    except pykka.ActorDeadError:
        print("dead")
    print(waits.greet("d").get(timeout=5), call(named("shop"), "e"))
print([one.get() for one in [gevent.spawn(lambda: kept.greet("f").get(timeout=5)) for _ in range(3)]])
"""
    ) == [*["hello a hello b inner", "dead", "hello d None"] * 3, "['hello f', 'hello f', 'hello f']"]

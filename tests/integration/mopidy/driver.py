"""Runs Mopidy in its own environment, as it is or by a recipe's program, and makes its actors crash when it is told to.

``driver.py PROGRAM ARGUMENTS...``: PROGRAM is a file, or ``-`` for Mopidy's own. Each line on standard input is a command. Each
answer is a line on standard output that begins with ``@@``:

- ``crash CLASS``: the actors of that class are told to call a method that they do not have, which ends them.
- ``actors``: the actors that are alive, each as its class and its URN.
- ``tree``: the supervision tree.
"""

from __future__ import annotations

import json
import runpy
import sys
import threading

import pykka
from pykka.messages import ProxyCall

sys.setswitchinterval(1e-5)  # two threads meet in one second as often as in some hours of playing music


def crash(name: str) -> int:
    actors = [ref for ref in pykka.ActorRegistry.get_all() if name in {one.__name__ for one in ref.actor_class.__mro__}]
    for ref in actors:
        ref.tell(ProxyCall(attr_path=("method that is not there",), args=(), kwargs={}))
    return len(actors)


def actors() -> list[tuple[str, str]]:
    return [(ref.actor_class.__name__, ref.actor_urn) for ref in pykka.ActorRegistry.get_all() if ref.is_alive()]


def tree() -> object:
    from supervision import Supervisor

    return Supervisor.tree("mopidy").to_dict()


def obey() -> None:
    commands = {"crash": crash, "actors": actors, "tree": tree}
    for line in sys.stdin:
        name, *arguments = line.split()
        print("@@", json.dumps(commands[name](*arguments)), flush=True)


if __name__ == "__main__":
    _, program, *sys.argv[1:] = sys.argv
    threading.Thread(target=obey, daemon=True).start()
    if program == "-":
        runpy.run_module("mopidy", run_name="__main__", alter_sys=False)
    else:
        runpy.run_path(program, run_name="__main__")

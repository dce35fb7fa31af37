"""What one child costs does not grow with the number of its siblings: calls of functions are counted, not seconds.

The counts are of a process of its own, whose every thread is profiled, of functions in Python and in C. A loop that a function in
C runs over all siblings is one call; so the table of children counts by itself what is read out of it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, ItemsView, Iterator, Sequence, ValuesView
from pathlib import Path
from typing import Any

import pytest

from supervision import ChildSpec, DynamicSupervisor, Exit, Server, Supervisor, cast, demonitor, kill, monitor
from supervision.calls import stop_for_good

DEADLINE_S = 60.0
FEW, MANY = 100, 400
NOISE = 1.1
"""Where threads meet, a turn or a wait more or less is taken now and then. What is quadratic is four times as much."""

HERE = Path(__file__).parent


class _Gate:
    """Opens when so many have gone through."""

    def __init__(self, wanted: int) -> None:
        self._left = wanted
        self._lock = threading.Lock()
        self._open = threading.Event()

    def one(self, *_: object) -> None:
        with self._lock:
            self._left -= 1
            if self._left <= 0:
                self._open.set()

    def wait(self) -> None:
        assert self._open.wait(DEADLINE_S)


class _Child(Server):
    gate = _Gate(0)

    def on_start(self) -> None:
        _Child.gate.one()

    def on_receive(self, message: Any) -> Any:
        if message == "crash":
            raise ValueError(message)
        raise Exit


class _Values(ValuesView[Any]):
    def __reversed__(self) -> Iterator[Any]:
        return (self._mapping[key] for key in reversed(self._mapping))  # type: ignore[call-overload]


class _Table(dict[Any, Any]):
    """A table of children that counts what is read out of it one after the other."""

    read = 0

    def __iter__(self) -> Iterator[Any]:
        return self._counted(super().__iter__())

    def __reversed__(self) -> Iterator[Any]:
        return self._counted(super().__reversed__())

    def values(self) -> Any:
        return _Values(self)

    def items(self) -> Any:
        return ItemsView(self)

    @staticmethod
    def _counted(keys: Iterator[Any]) -> Iterator[Any]:
        for key in keys:
            _Table.read += 1
            yield key


class _Static(Supervisor):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._children = _Table(self._children)


class _Dynamic(DynamicSupervisor):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._children = _Table()


# --- counting, in a process of its own --------------------------------------------------------------------------------

_calls = [0]


def _count(_frame: object, event: str, _argument: object) -> None:
    if event in ("call", "c_call"):
        _calls[0] += 1


Work = tuple[Callable[[int], Any], Callable[[Any, int], None]]
"""What makes it ready, uncounted; and what is counted, until it is done."""


def _static(count: int, **options: Any) -> Any:
    spec = {key: options.pop(key) for key in ("restart", "significant", "named") if key in options}
    named = spec.pop("named", False)
    specs = [ChildSpec(n, _Child, name=f"child {n}" if named else None, **spec) for n in range(count)]
    return _Static.start_link(specs, max_restarts=10**6, max_seconds=10**6, **options)


def _dynamic(count: int) -> Any:
    sup = _Dynamic.start_link(max_restarts=10**6, max_seconds=10**6)
    for n in range(count):
        DynamicSupervisor.start_child(sup, ChildSpec(n, _Child, name=f"child {n}"))
    return sup


def _refs(sup: Any) -> list[Any]:
    return [info.ref for info in sup.actor_class.which_children(sup)]


def _send(message: str, crashing: slice = slice(None)) -> Callable[[Any, int], None]:
    """Have those crash, at once, and wait until all are up again."""

    def work(sup: Any, count: int) -> None:
        _Child.gate = _Gate(count)
        for ref in _refs(sup)[crashing]:
            cast(ref, message)
        _Child.gate.wait()
        sup.actor_class.count_children(sup)

    return work


def _end(sup: Any, count: int) -> None:
    """Have all end for good, which ends the supervisor."""
    gate, refs = _Gate(count + 1), _refs(sup)
    for ref in [*refs, sup]:
        monitor(ref, gate.one)
    for ref in refs:
        cast(ref, "end")
    gate.wait()


def _terminate_by_name(sup: Any, count: int) -> None:
    for n in range(count):
        DynamicSupervisor.terminate_child(sup, f"child {n}")


def _stop_each(sup: Any, count: int) -> None:
    for ref in _refs(sup):
        stop_for_good(ref, timeout=DEADLINE_S)


def _start_each(sup: Any, count: int) -> None:
    for n in range(count):
        sup.actor_class.start_child(sup, ChildSpec(n, _Child))


def _stop(sup: Any, _count: int) -> None:
    Supervisor.stop(sup, timeout=DEADLINE_S)


def _kill(sup: Any, count: int) -> None:
    gate = _Gate(count)
    for ref in _refs(sup):
        monitor(ref, gate.one)
    kill(sup)
    gate.wait()


def _demonitor(sup: Any, count: int) -> None:
    """Many watch one."""
    made = [monitor(sup, _ignored) for _ in range(count)]
    for one in reversed(made):
        demonitor(one)


def _ignored(_down: object) -> None:
    pass


WORKS: dict[str, Work] = {
    "start": (lambda _: _static(0), _start_each),
    "start, dynamic": (lambda _: _dynamic(0), _start_each),
    "one_for_one, all crash": (_static, _send("crash")),
    "one_for_one, all crash, named": (lambda n: _static(n, named=True), _send("crash")),
    "one_for_all, one crashes": (lambda n: _static(n, strategy="one_for_all"), _send("crash", slice(1))),
    "one_for_all, all crash": (lambda n: _static(n, strategy="one_for_all"), _send("crash")),
    "rest_for_one, the first crashes": (lambda n: _static(n, strategy="rest_for_one"), _send("crash", slice(1))),
    "dynamic, all crash": (_dynamic, _send("crash")),
    "all end for good": (
        lambda n: _static(n, restart="transient", significant=True, auto_shutdown="all_significant"),
        _end,
    ),
    "each is stopped at its supervisor": (_static, _stop_each),
    "each is terminated by name": (_dynamic, _terminate_by_name),
    "stop": (_static, _stop),
    "stop, dynamic": (_dynamic, _stop),
    "kill": (_static, _kill),
    "kill, dynamic": (_dynamic, _kill),
    "monitors": (lambda _: _static(0), _demonitor),
}


def _play() -> dict[str, list[tuple[int, int]]]:
    """For each work what it takes at either number: calls, and children read out of the table."""
    threading.setprofile(_count)
    found: dict[str, list[tuple[int, int]]] = {}
    for what, (make, work) in WORKS.items():
        found[what] = []
        for count in (1, FEW, MANY):  # the first time imports something, or makes a worker
            sup = make(count)
            before, read = _calls[0], _Table.read
            sys.setprofile(_count)
            work(sup, count)
            sys.setprofile(None)
            found[what].append((_calls[0] - before, _Table.read - read))
            if sup.is_alive():
                Supervisor.stop(sup, timeout=DEADLINE_S)
    return found


@pytest.fixture(scope="module")
def taken() -> dict[str, Sequence[tuple[int, int]]]:
    code = "import json, test_linear; print(json.dumps(test_linear._play()))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=HERE, capture_output=True, text=True, timeout=120, check=True
    )
    found: dict[str, Sequence[tuple[int, int]]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("what", WORKS)
def test_one_child_takes_as_much_among_many_as_among_few(
    what: str, taken: dict[str, Sequence[tuple[int, int]]]
) -> None:
    _, (few, few_read), (many, many_read) = taken[what]
    assert few > FEW
    assert many / MANY <= NOISE * few / FEW, f"calls: {few} for {FEW}, {many} for {MANY}"
    assert many_read <= few_read * MANY / FEW, f"children read: {few_read} for {FEW}, {many_read} for {MANY}"

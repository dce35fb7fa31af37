"""Random histories of real supervisors against OTP in plain Python: order, states, counts and answers after each step.

One step holds the supervisor, puts deaths and requests into its mailbox in a known order, and lets it run until nothing is
left to do. So the histories include what happens between two attempts of a restart, and children found dead."""

from __future__ import annotations

import collections
import logging
from typing import Any

import pytest
from children import Clock
from holding import held
from hypothesis import note
from hypothesis.stateful import (
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from otp_histories import DEATHS, IDS, SETTINGS, Draws, Machine, outcome, seeds
from otp_model import RUNNING, STOPPED, Child, Model, Spec

from supervision import DynamicSupervisor, StartError, Supervisor


class StaticMachine(Machine):
    """A ``Supervisor`` of every strategy."""

    @initialize(seed=seeds)
    def first_start(self, seed: int) -> None:
        self.start(seed)

    @precondition(lambda self: not self.model.running)
    @rule(seed=seeds)
    def start(self, seed: int) -> None:
        draw = Draws(seed)
        if draw.random() < 0.3:
            self.next_starts(draw.scripts())
        self.auto_shutdown = draw.choice(["never", "never", "any_significant", "all_significant"])
        flags: Any = {
            "strategy": draw.choice(["one_for_one", "one_for_all", "rest_for_one"]),
            "max_restarts": draw.choice([0, 1, 3, 5, 10, 20]),
            "auto_shutdown": self.auto_shutdown,
        }
        self.model = Model(**flags, max_seconds=5.0, now=self.clock.at, scripts=self.model.scripts)
        children = [self.draw_spec(draw, child_id) for child_id in draw.sample(IDS, draw.randint(0, len(IDS)))]
        note(f"{flags} {children}")
        specs = [self.real(spec) for spec in children]
        failed = self.model.start(children)
        if failed is not None:
            with pytest.raises(StartError) as caught:
                Supervisor.start_link(specs, max_seconds=5.0, **flags)
            assert caught.value.child_id == failed
            self.compare()
            return
        self.begin(Supervisor.start_link(specs, max_seconds=5.0, **flags))
        self.compare_states()

    def draw_spec(self, draw: Draws, child_id: str) -> Spec:
        return draw.spec(child_id, significant=self.auto_shutdown != "never")

    def step(self, draw: Draws) -> None:
        self.next_starts(draw.scripts())
        batch = draw.batch(self.model)
        note(str(batch))
        refs = {row.id: row.ref for row in Supervisor.which_children(self.sup) if row.ref is not None}
        answers: list[tuple[list[str], Any]] = []
        with held(self.sup) as post:
            for operation, child_id in batch:
                if operation == "die":
                    child = self.model.find(child_id)
                    if child is not None and child.alive:
                        self.kill_or_crash(child, refs[child_id], draw.choice(DEATHS))
                elif operation == "start_child":
                    spec = self.draw_spec(draw, child_id)
                    answers.append((self.model.post(operation, spec), post.send(operation, self.real(spec))))
                else:
                    answers.append((self.model.post(operation, child_id), post.send(operation, child_id)))
        self.await_and_compare(answers)
        if self.model.running:
            self.compare_states()

    def compare_states(self) -> None:
        self.compare()
        expected = [(child.spec.id, child.state) for child in self.model.children]
        assert [(row.id, row.state) for row in Supervisor.which_children(self.sup)] == expected
        assert all((row.ref is not None) is (row.state == RUNNING) for row in Supervisor.which_children(self.sup))
        counts = Supervisor.count_children(self.sup)
        active = sum(state == RUNNING for _, state in expected)
        assert (counts.specs, counts.active, counts.supervisors, counts.workers) == (
            len(expected),
            active,
            0,
            len(expected),
        )
        tree = Supervisor.tree(self.sup).children
        assert [branch.restarts for branch in tree] == [child.restarts for child in self.model.children]


class DynamicMachine(Machine):
    """A ``DynamicSupervisor``; its children are known by ref, so the model keeps who is who."""

    kind = DynamicSupervisor

    def __init__(self) -> None:
        super().__init__()
        self.refs: dict[Child, Any] = {}
        self.forgotten: list[Any] = []

    def significant(self, spec: Spec) -> bool:
        return False

    @initialize(seed=seeds)
    def first_start(self, seed: int) -> None:
        self.start(seed)

    @precondition(lambda self: not self.model.running)
    @rule(seed=seeds)
    def start(self, seed: int) -> None:
        draw = Draws(seed)
        self.refs, self.forgotten = {}, []
        flags: Any = {"max_restarts": draw.choice([0, 1, 3, 5, 10, 20]), "max_children": draw.choice([None, None, 3])}
        note(str(flags))
        self.model = Model(**flags, max_seconds=5.0, dynamic=True, now=self.clock.at, scripts=self.model.scripts)
        self.begin(DynamicSupervisor.start_link(**flags, max_seconds=5.0))

    def add(self, draw: Draws) -> None:
        """Several children, if they fit; ids are given once among the living, so that scripts can be told apart."""
        if draw.random() < 0.3:
            self.next_starts(draw.scripts())
        for child_id in draw.sample(IDS, 3):
            if self.model.find(child_id) is None:
                self.add_one(draw.spec(child_id, significant=False))
        self.compare_states()

    def add_one(self, spec: Spec) -> None:
        note(str(spec))
        expected = self.model.post("start_child", spec)
        before = len(self.model.children)
        self.model.run()
        made: list[Any] = []

        def start() -> Any:
            made.append(DynamicSupervisor.start_child(self.sup, self.real(spec)))
            return made[0]

        assert outcome(start) == expected[0]
        if len(self.model.children) > before:
            self.refs[self.model.children[-1]] = made[0]

    def step(self, draw: Draws) -> None:
        self.add(draw)
        if self.model.max_children == len(self.model.children):
            self.make_room(draw)
        self.next_starts(draw.scripts())
        batch = draw.batch(self.model)
        note(str(batch))
        answers: list[tuple[list[str], Any]] = []
        with held(self.sup) as post:
            for operation, child_id in batch:
                child = self.model.find(child_id)
                if child is not None and operation == "die":
                    if child.alive:
                        self.kill_or_crash(child, self.refs[child], draw.choice(DEATHS))
                elif child is not None and operation == "terminate_child":
                    newest = (child, child.incarnation)
                    answers.append((self.model.post(operation, newest), post.send(operation, self.refs[child])))
        self.await_and_compare(answers)
        if self.model.running:
            self.compare_states()

    def make_room(self, draw: Draws) -> None:
        """To be held, a supervisor must have room for one more."""
        child = draw.choice(self.model.children)
        expected = self.model.post("terminate_child", (child, child.incarnation))
        self.model.run()
        assert outcome(lambda: DynamicSupervisor.terminate_child(self.sup, self.refs[child])) == expected[0]
        self.compare_states()

    @precondition(lambda self: self.model.running)
    @rule()
    def refs_of_the_past_are_nobodys(self) -> None:
        for ref in self.forgotten[-5:]:
            assert outcome(lambda ref=ref: DynamicSupervisor.terminate_child(self.sup, ref)) == "ChildNotFound"

    def compare_states(self) -> None:
        self.compare()
        rows = DynamicSupervisor.which_children(self.sup)
        expected = collections.Counter((child.spec.id, child.state) for child in self.model.children)
        assert collections.Counter((row.id, row.state) for row in rows) == expected
        assert not any(child.state == STOPPED for child in self.model.children)
        counts = DynamicSupervisor.count_children(self.sup)
        active = sum(child.alive for child in self.model.children)
        assert (counts.specs, counts.active, counts.workers) == (len(rows), active, len(rows))
        now = {child: next(row.ref for row in rows if row.id == child.spec.id) for child in self.model.children}
        self.forgotten += [ref for child, ref in self.refs.items() if now.get(child) is not ref]
        self.refs = now

    def compare(self) -> None:
        """Siblings of a dynamic supervisor end at the same time: within the last lines the order is open."""
        real, model = self.world.log(), list(self.model.log)
        self.model.log.clear()
        if self.model.running:
            assert real == model
        else:
            last = len(model) - next(
                (n for n, line in enumerate(reversed(model)) if not line.startswith("stop")), len(model)
            )
            assert real[:last] == model[:last]
            assert sorted(real[last:]) == sorted(model[last:])
        assert self.world.live() == sorted(child.spec.id for child in self.model.children if child.alive)


@pytest.mark.parametrize("machine", [StaticMachine, DynamicMachine])
def test_a_supervisor_does_what_the_model_does(
    machine: type[Machine], clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for logger in ("supervision", "pykka"):  # thousands of crashes, each with its traceback
        caplog.set_level(logging.CRITICAL, logger)

    class Clocked(machine):  # type: ignore[misc, valid-type]
        pass

    Clocked.clock = clock
    Clocked.__name__ = machine.__name__
    run_state_machine_as_test(Clocked, settings=SETTINGS)

"""Random histories: what happens next, and what static and dynamic supervisors have in common."""

from __future__ import annotations

import random
from typing import Any

from children import KINDS, Clock, Scripted, Watch, World, die, quiet
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)
from otp_model import Child, Model, Spec
from pykka import ActorDeadError
from threads import DEADLINE_S

from supervision import SHUTDOWN, ChildSpec, Exit, Shutdown, SupervisionError, Supervisor

IDS = "abcd"
ENDS: dict[str, tuple[BaseException | None, bool]] = {
    "normal": (Exit(), True),
    "shutdown": (Exit(SHUTDOWN), True),
    "moved": (Exit(Shutdown("moved")), True),
    "crash": (Scripted("crash"), False),
    "kill": (None, False),
}
DEATHS = ["crash", "crash", *ENDS]
SETTINGS = settings(
    max_examples=100,
    stateful_step_count=12,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)

seeds = st.integers(0, 2**32 - 1)  # hypothesis likes small examples too much: what a step does is drawn by its seed


class Draws(random.Random):
    """What happens next, in proportions that make supervisors work."""

    def spec(self, child_id: str, *, significant: bool) -> Spec:
        restart = self.choice(["permanent", "permanent", "transient", "temporary"])
        significant = significant and restart != "permanent" and self.random() < 0.5
        return Spec(child_id, restart, significant, self.randrange(len(KINDS)))

    def scripts(self) -> dict[str, list[str]]:
        """For some ids, what their next starts do."""
        outcomes = [["fail"], ["fail", "fail"], ["ignore"], ["ok", "fail"]]
        return {child_id: self.choice(outcomes) for child_id in IDS if self.random() < 0.2}

    def batch(self, model: Model) -> list[tuple[str, Any]]:
        """Deaths and requests, mostly of and for children that there are."""
        operations = ["die"] * 6 + ["terminate_child", "restart_child", "restart_child", "delete_child", "start_child"]
        known = [child.spec.id for child in model.children] or [*IDS]
        chosen = [(self.choice(operations), self.choice(known * 4 + [*IDS])) for _ in range(self.randint(1, 4))]
        if self.random() < 0.2:  # a retry that is taken back
            child_id = self.choice(known)
            chosen += [(operation, child_id) for operation in ("die", "terminate_child", "restart_child")]
        missing = [child_id for child_id in IDS if child_id not in known]
        return chosen + [("start_child", child_id) for child_id in missing if self.random() < 0.7]


class Machine(RuleBasedStateMachine):
    """What both kinds of supervisor have in common: time, scripts, deaths, answers."""

    kind: Any = Supervisor
    clock: Clock

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.clock.at = 1_000.0
        self.sup: Any = None
        self.watch: Any = None
        self.model = Model(running=False)

    def begin(self, sup: Any) -> None:
        self.sup, self.watch = sup, Watch(sup)

    def real(self, spec: Spec) -> ChildSpec:
        return self.world.spec(spec.id, KINDS[spec.kind], restart=spec.restart, significant=self.significant(spec))

    def significant(self, spec: Spec) -> bool:
        return spec.significant

    def kill_or_crash(self, child: Child, ref: Any, how: str) -> None:
        exception, orderly = ENDS[how]
        self.model.die(child, orderly=orderly, silent=exception is None)
        if exception is None:
            self.world.gone(child.spec.id)
        die(ref, exception)

    def await_and_compare(self, answers: list[tuple[list[str], Any]]) -> None:
        alive = quiet(self.sup, self.kind)
        self.model.run()
        assert [outcome(real) for _, real in answers] == [expected[0] for expected, _ in answers]
        assert alive is self.model.running
        if not alive:
            assert self.watch.reason() == SHUTDOWN
        self.compare()

    def compare(self) -> None:
        assert self.world.log() == self.model.log
        self.model.log.clear()
        alive = sorted(child.spec.id for child in self.model.children if child.alive)
        assert self.world.live() == sorted(set(alive))

    def next_starts(self, scripts: dict[str, list[str]]) -> None:
        """What the coming starts will do."""
        for child_id, outcomes in scripts.items():
            self.world.script(child_id, *outcomes)
            self.model.scripts[child_id].extend(outcomes)

    def time_passes(self, seconds: float) -> None:
        self.clock.at += seconds
        self.model.now = self.clock.at

    @precondition(lambda self: self.model.running)
    @rule(seed=seeds)
    def live(self, seed: int) -> None:
        """Some time, and a few steps."""
        draw = Draws(seed)
        for _ in range(4):
            self.time_passes(draw.choice([0.0, 0.5, 4.999, 5.0, 5.001, 60.0]))
            if self.model.running:
                self.step(draw)

    def step(self, draw: Draws) -> None:
        raise NotImplementedError

    @invariant()
    def never_two_incarnations(self) -> None:
        if not self.model.dynamic:
            assert self.world.doubles == []

    def teardown(self) -> None:
        if self.model.running:
            self.kind.stop(self.sup, timeout=DEADLINE_S)
            self.model.stop()
            self.compare()


def outcome(answer: Any) -> str:
    """What a request came to, in one word."""
    try:
        value = answer()
    except ActorDeadError:
        return "dead"
    except SupervisionError as error:
        return type(error).__name__
    return "None" if value is None else "ref"

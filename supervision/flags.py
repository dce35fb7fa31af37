"""How a static supervisor behaves: its flags as one checked value. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, get_args

from supervision.child_spec import ChildSpec
from supervision.strategy import AutoShutdown, Intensity, Strategy

__all__ = ["SupervisorFlags", "require_children", "require_spec"]


def require_spec(spec: object, what: str = "spec") -> ChildSpec:
    """The specification, or a ``TypeError`` that names ``what``."""
    if not isinstance(spec, ChildSpec):
        raise TypeError(f"{what}: expected a ChildSpec, got {spec!r}")
    return spec


def require_children(children: object) -> list[ChildSpec]:
    """The specifications in start order; ``TypeError`` for anything else, ``ValueError`` for an id that is there twice."""
    if isinstance(children, str | bytes | ChildSpec) or not isinstance(children, Iterable):
        raise TypeError(f"children: expected an iterable of ChildSpec values, got {children!r}")
    specs = [require_spec(spec, "children") for spec in children]
    seen: set[Any] = set()
    for spec in specs:
        if spec.id in seen:
            raise ValueError(f"children: the id {spec.id!r} is there twice, and ids are unique under a supervisor")
        seen.add(spec.id)
    return specs


@dataclass(frozen=True, slots=True)
class SupervisorFlags:
    """The flags of a ``Supervisor``.

    Attributes:
        strategy: what a restart takes along.
        max_restarts: restart attempts allowed within ``max_seconds``.
        max_seconds: length of that window in seconds.
        auto_shutdown: whether the end of significant children ends the supervisor.
    """

    strategy: Strategy = "one_for_one"
    max_restarts: int = 3
    max_seconds: float = 5.0
    auto_shutdown: AutoShutdown = "never"

    def __post_init__(self) -> None:
        for what, value, allowed in (
            ("strategy", self.strategy, get_args(Strategy)),
            ("auto_shutdown", self.auto_shutdown, get_args(AutoShutdown)),
        ):
            if value not in allowed:
                raise ValueError(f"{what}: expected one of {', '.join(allowed)}, got {value!r}")
        self.intensity()

    def intensity(self) -> Intensity:
        """An empty window of that size."""
        return Intensity(self.max_restarts, self.max_seconds)

    def accept(self, spec: ChildSpec) -> None:
        """Raise ``ValueError`` for a specification that this supervisor cannot honour."""
        if spec.significant and self.auto_shutdown == "never":
            raise ValueError(
                f'ChildSpec.significant of {spec.id!r}: needs a supervisor with auto_shutdown, got "never"'
            )

    def may_loop(self, spec: ChildSpec) -> bool:
        """Whether stopping that child as a sibling can take longer than the window, so that restarts go on for ever."""
        return (
            self.strategy != "one_for_one"
            and self.max_restarts > 0
            and isinstance(spec.shutdown, int | float)
            and spec.shutdown > self.max_seconds
        )

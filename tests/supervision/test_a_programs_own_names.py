"""An unmodified Pykka actor may have anything under the names that this package gives to its own servers and supervisors."""

from __future__ import annotations

import json
from typing import Any

import pykka
import pytest
from threads import DEADLINE_S

from supervision import ChildSpec, Supervisor, call, kill, stop, whereis


class Delegates(pykka.ThreadingActor):
    """It answers to every name, as an actor does that hands all on to what it wraps."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_: name


class Refuses(pykka.ThreadingActor):
    """It fails at every name that it has not got, and not by an ``AttributeError``."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


def with_attributes(**attributes: Any) -> type[pykka.ThreadingActor]:
    return type("Program", (pykka.ThreadingActor,), attributes)


ACTORS = {
    "a catch-all": Delegates,
    "a refusal of all others": Refuses,
    "a method supervises": with_attributes(supervises=lambda self: "the staff"),
    "a flag supervises": with_attributes(supervises=True),
    "no looks": with_attributes(_looks=None),
    "five looks": with_attributes(_looks=[1, 2, 3, 4, 5]),
    "a method init": with_attributes(init=lambda self: None),
    "a flag crash_on_call_error": with_attributes(crash_on_call_error=True),
    "a method handler_warning": with_attributes(handler_warning=lambda self: None),
    "attributes as a supervisor's": with_attributes(_children=3, _waits=4, _link=5, runtime="x", child_spec=6),
}


@pytest.mark.parametrize("cls", ACTORS.values(), ids=list(ACTORS))
def test_it_is_a_worker_as_any_other(cls: type[pykka.ThreadingActor]) -> None:
    def fail(message: Any) -> Any:
        raise ValueError(message)

    cls.on_receive = lambda self, message: fail(message) if message == "fail" else message  # type: ignore[method-assign]
    sup = Supervisor.start_link([ChildSpec("a", cls, name="a")])
    first = whereis("a")
    with pytest.raises(ValueError, match="fail"):
        call("a", "fail")
    assert call("a", "lives on") == "lives on"
    assert whereis("a") is first
    shown = json.loads(json.dumps(Supervisor.tree(sup).to_dict()))["children"]
    assert [(one["state"], one["mailbox"], one["children"]) for one in shown] == [("running", 0, [])]
    assert "running" in str(Supervisor.tree(sup))
    for end in (kill, stop):
        end("a")
        assert call("a", "is back", await_restart=True) == "is back"
    Supervisor.terminate_child(sup, "a")
    Supervisor.stop(sup, timeout=DEADLINE_S)

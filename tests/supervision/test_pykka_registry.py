"""Pykka's registry, with the dictionary that stands in the place of its list."""

import time

import pykka
import pytest
from actors import Plain, Pooled, Threaded
from pykka import ActorRegistry

from supervision import (
    Server,
)

pytestmark = pytest.mark.P12


def test_stopping_many_pooled_actors_is_linear_and_the_registry_stays_truthful() -> None:
    def stop_all(count: int) -> float:
        refs = [Pooled.start() for _ in range(count)]
        for ref in refs:
            assert ref.actor_inbox.closed is False
        assert len(ActorRegistry.get_all()) == count
        victims = refs[::2]
        began = time.process_time()
        for ref in victims:
            ref.stop(block=True)
        middle = time.process_time()
        assert set(ActorRegistry.get_all()) == set(refs[1::2])
        again = time.process_time()
        ActorRegistry.stop_all()
        took_s = time.process_time() - again + middle - began
        assert ActorRegistry.get_all() == []
        return took_s

    stop_all(500)
    few, many = stop_all(2_000), stop_all(20_000)
    assert many < 25 * few, f"{few:.2f} s for 2,000 and {many:.2f} s for 20,000"


def test_the_registry_answers_as_pykkas_list_did() -> None:
    refs = [Pooled.start_link(), Plain.start(), Threaded.start_link()]
    assert ActorRegistry.get_all() == refs
    assert ActorRegistry.get_by_class(pykka.ThreadingActor) == [refs[1]]
    assert ActorRegistry.get_by_class(Server) == [refs[0], refs[2]]
    assert ActorRegistry.get_by_class_name("Threaded") == [refs[2]]
    assert ActorRegistry.get_by_urn(refs[0].actor_urn) is refs[0]
    assert ActorRegistry.get_by_urn("urn:nobody") is None
    handled: list[str] = []
    ActorRegistry.broadcast(lambda actor: handled.append(type(actor).__name__), target_class=Server)
    assert [ref.ask(1) for ref in refs] == [1, 1, 1]
    assert sorted(handled) == ["Pooled", "Threaded"]
    ActorRegistry.unregister(refs[0])
    ActorRegistry.unregister(refs[0])
    assert ActorRegistry.get_all() == refs[1:]
    ActorRegistry.register(refs[0])


def test_a_server_that_pykka_started_leaves_in_constant_time_too() -> None:
    ActorRegistry._actor_refs = []  # as Pykka has it
    ref = Pooled.start()
    assert not isinstance(ActorRegistry._actor_refs, list)
    assert ActorRegistry.get_all() == [ref]

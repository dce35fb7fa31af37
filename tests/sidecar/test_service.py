"""What the process does when its own supervisor is lost, and that a fault of a reload is not its last."""

from __future__ import annotations

import logging
import threading

from threads import DEADLINE_S, eventually

from oidc_actor.sidecar.config import load
from oidc_actor.sidecar.service import Service
from supervision import Supervisor, monitor


class ServerInPlace:
    def __init__(self) -> None:
        self.should_exit = False

    def leave(self) -> None:
        self.should_exit = True


def service(tmp_path) -> Service:
    path = tmp_path / "config.toml"
    path.write_text(
        '[server]\nunix_socket = "s"\n[managers.m]\nissuer_url = "https://auth.example.com"\nclient_id = "id"\n'
        'client_secret = { file = "missing" }\n'
    )
    made = Service(path, load(path, makes=True))
    made._server = ServerInPlace()
    return made


def test_a_lost_supervisor_ends_the_process_with_an_error(tmp_path, caplog) -> None:
    made = service(tmp_path)
    monitor(made._fleet.supervisor, made._supervisor_ended)
    with caplog.at_level(logging.ERROR, "oidc_actor.run"):
        Supervisor.stop(made._fleet.supervisor, timeout=DEADLINE_S)
        eventually(lambda: made._server.should_exit)
    assert made._lost
    assert [record.event for record in caplog.records] == ["run_lost"]


def test_an_orderly_end_is_no_loss(tmp_path) -> None:
    made = service(tmp_path)
    monitor(made._fleet.supervisor, made._supervisor_ended)
    made._server.leave()
    made._stop_managers()
    assert not made._lost


def test_a_fault_in_a_reload_is_logged_and_the_next_one_works(tmp_path, caplog) -> None:
    made = service(tmp_path)
    apply = made._fleet.apply
    faults = iter([RuntimeError("a secret")])

    def faulty(managers):
        for fault in faults:
            raise fault
        return apply(managers)

    made._fleet.apply = faulty
    threading.Thread(target=made._reload_when_told, daemon=True).start()

    def seen() -> list[str]:
        return [record.event for record in caplog.records if record.name == "oidc_actor.run"]

    with caplog.at_level(logging.INFO, "oidc_actor.run"):
        made._hups.put(None)
        eventually(lambda: seen() == ["config_refused"])
        made._hups.put(None)
        eventually(lambda: seen() == ["config_refused", "config_reloaded"])
    assert "a secret" not in caplog.text
    made._server.leave()
    made._stop_managers()

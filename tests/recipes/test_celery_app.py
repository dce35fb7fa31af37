"""The recipe for Celery, with real workers; the broker and the results are folders."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from serving import DEADLINE_S, Program, assert_no_secret, environment_for, program, reject_next

from oidc_actor.testing import Provider

WORKER = """
from celery_app import app
from celery_broker import configure

configure(app)
"""

BROKER = """
def configure(app):
    app.conf.update(
        broker_transport_options={{"data_folder_in": {folder!r}, "data_folder_out": {folder!r}, "polling_interval": 0.05,
                                  "control_folder": {control!r}}},
        broker_connection_retry_on_startup=True,
        worker_lost_wait=0.2,
    )
"""


class Queue:
    """What sends tasks: a process that has no manager, and does not import the recipe."""

    def __init__(self, app: Celery, worker: Program) -> None:
        self._app = app
        self.worker = worker

    def send(self) -> Any:
        return self._app.send_task("celery_app.fetch_items")

    def run(self) -> dict[str, int]:
        return self.result(self.send())

    def result(self, sent: Any) -> dict[str, int]:
        self.worker.eventually(sent.ready, "result")
        found: dict[str, int] = sent.get(timeout=DEADLINE_S)
        return found

    def pids(self, count: int) -> set[int]:
        found: set[int] = set()

        def asked() -> bool:
            sent = [self.send() for _ in range(count)]
            for one in sent:
                answer = self.result(one)
                assert answer["status"] == 200, self.worker.log
                found.add(answer["pid"])
            return len(found) >= count

        self.worker.eventually(asked, f"{count} processes that run tasks")
        return found


@contextlib.contextmanager
def worker(provider: Provider, directory: Path, *arguments: str) -> Iterator[Queue]:
    folder, control, results = directory / "queue", directory / "control", directory / "results"
    for one in (folder, control, results):
        one.mkdir()
    (directory / "celery_worker.py").write_text(WORKER)
    (directory / "celery_broker.py").write_text(BROKER.format(folder=str(folder), control=str(control)))
    urls = {"BROKER_URL": "filesystem://", "RESULT_URL": f"file://{results}"}
    environment = {**environment_for(provider), **urls, "PYTHONPATH": os.pathsep.join([str(directory), "."])}
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO"]
    command = ["-m", "celery", "-A", "celery_worker:app", "worker", *quiet, *arguments]
    settings: dict[str, Any] = {}
    exec((directory / "celery_broker.py").read_text(), settings)
    app = Celery("sender", broker=urls["BROKER_URL"], backend=urls["RESULT_URL"], set_as_current=False)
    settings["configure"](app)
    with program(command, directory / "log", environment) as running:
        yield Queue(app, running)
    app.close()


@pytest.mark.oidc_provider(token_lifetime_s=3600)
def test_processes_run_tasks_are_killed_in_an_outage_and_end(oidc_provider: Provider, tmp_path: Path) -> None:
    with worker(oidc_provider, tmp_path, "--pool", "prefork", "--concurrency", "2") as queue:
        both = queue.pids(2)
        assert oidc_provider.tokens_issued == 2, "one for each process that runs tasks, none for their parent"

        reject_next(oidc_provider)
        assert queue.run()["status"] == 200, "sent again with a new token"
        assert oidc_provider.tokens_issued == 3

        # Both are killed amid a task. One that waits for a task may hold the lock of the queue that they share with this kind of
        # broker, and Celery itself would then stand still.
        before = oidc_provider._script.arrived["resource"]
        oidc_provider.answer_next(2, delay_s=DEADLINE_S, endpoint="resource")
        queue.send(), queue.send()  # which are lost
        assert oidc_provider.wait_for_requests(before + 2, timeout_s=DEADLINE_S, endpoint="resource")
        oidc_provider.fail_next(None)  # every token request is answered 503
        for pid in both:
            os.kill(pid, signal.SIGKILL)
        queue.worker.eventually(lambda: queue.worker.log.count("(SIGKILL)") == 2, "end of both")
        sent = [queue.send(), queue.send()]
        queue.worker.eventually(lambda: "Retry in" in queue.worker.log, "task that is to come again")
        oidc_provider.heal()
        assert {queue.result(one)["status"] for one in sent} == {200}
        assert not both & queue.pids(2)

        assert queue.worker.terminate() == 0
        assert_no_secret(queue.worker, oidc_provider)


@pytest.mark.oidc_provider(token_lifetime_s=3600)
@pytest.mark.parametrize("pool", ["threads", "solo"])
def test_the_other_pools_have_one_manager(oidc_provider: Provider, tmp_path: Path, pool: str) -> None:
    with worker(oidc_provider, tmp_path, "--pool", pool, "--concurrency", "2") as queue:
        assert {queue.result(one)["pid"] for one in [queue.send() for _ in range(3)]} == {queue.worker.process.pid}
        assert oidc_provider.tokens_issued == 1
        assert queue.worker.terminate() == 0
        assert_no_secret(queue.worker, oidc_provider)

"""Celery's real workers for the recipes; the broker and the results are folders."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from celery import Celery
from serving import DEADLINE_S, Program, environment_for, program

from oidc_actor.testing import Provider

WORKER = """
from {recipe} import app
from celery_broker import configure

configure(app)
"""

BROKER = """
import time
import uuid
from pathlib import Path

from kombu.transport import filesystem
from kombu.utils.json import dumps


def put(self, queue, payload, **_):  # Kombu's own puts a file there and writes it then: a worker that reads in between ends
    unread = Path(self.data_folder_out, f"{{time.monotonic_ns():020}}_{{uuid.uuid4()}}")
    unread.write_text(dumps(payload))
    unread.rename(f"{{unread}}.{{queue}}.msg")


def configure(app):
    filesystem.Channel._put = put
    app.conf.update(
        broker_transport_options={{"data_folder_in": {folder!r}, "data_folder_out": {folder!r}, "polling_interval": 0.05,
                                  "control_folder": {control!r}}},
        broker_connection_retry_on_startup=True,
        worker_lost_wait=0.2,
    )
"""


class Queue:
    """What sends tasks: a process that has no manager, and does not import the recipe."""

    def __init__(self, app: Celery, worker: Program, recipe: str) -> None:
        self._app, self._task = app, f"{recipe}.fetch_items"
        self.worker = worker

    def send(self) -> Any:
        return self._app.send_task(self._task)

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
def worker(
    provider: Provider, directory: Path, *arguments: str, recipe: str = "celery_app", **more: str
) -> Iterator[Queue]:
    """Run a recipe's worker.

    Args:
        provider: Its provider.
        directory: An empty folder, for the broker and the results.
        *arguments: Celery's.
        recipe: Its module.
        **more: What else it reads from the environment.
    """
    folder, control, results = directory / "queue", directory / "control", directory / "results"
    for one in (folder, control, results):
        one.mkdir()
    (directory / "celery_worker.py").write_text(WORKER.format(recipe=recipe))
    (directory / "celery_broker.py").write_text(BROKER.format(folder=str(folder), control=str(control)))
    urls = {"BROKER_URL": "filesystem://", "RESULT_URL": f"file://{results}"}
    environment = {**environment_for(provider), **more, **urls, "PYTHONPATH": os.pathsep.join([str(directory), "."])}
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO"]
    command = ["-m", "celery", "-A", "celery_worker:app", "worker", *quiet, *arguments]
    settings: dict[str, Any] = {}
    exec((directory / "celery_broker.py").read_text(), settings)
    app = Celery("sender", broker=urls["BROKER_URL"], backend=urls["RESULT_URL"], set_as_current=False)
    settings["configure"](app)
    with program(command, directory / "log", environment) as running:
        yield Queue(app, running, recipe)
    app.close()

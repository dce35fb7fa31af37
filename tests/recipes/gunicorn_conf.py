"""gunicorn's configuration for ``flask_app``; set PROMETHEUS_MULTIPROC_DIR to an empty folder before it starts."""

from typing import Any

workers = 2


def post_fork(server: Any, worker: Any) -> None:
    from oidc_actor.metrics.prometheus import MultiProcessWriter

    worker.token_metrics = MultiProcessWriter()


def worker_exit(server: Any, worker: Any) -> None:
    worker.token_metrics.close()  # writes what was counted last


def child_exit(server: Any, worker: Any) -> None:
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.pid)

"""The recipe for Celery, with real workers."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from celery_workers import worker
from serving import DEADLINE_S, assert_no_secret, reject_next

from oidc_actor.testing import Provider


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

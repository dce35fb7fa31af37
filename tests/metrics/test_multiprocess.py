"""`MultiProcessWriter` in processes of their own: prometheus_client chooses its mode when it is imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from oidc_actor import ConfigError
from oidc_actor.metrics.prometheus import MultiProcessWriter

WORKER = """
import json, os, sys
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from oidc_actor import ClientCredentials, TokenManager
from oidc_actor.metrics.prometheus import MultiProcessWriter
from oidc_actor.testing import Provider

def shown():
    found = {}
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    for family in registry.collect():
        for sample in family.samples:
            if sample.labels.get("outcome", "success") == "success":
                found[sample.name] = found.get(sample.name, 0) + sample.value
    return found

def one_manager(provider):
    TokenManager.start_link(
        name="api", issuer_url=provider.issuer_url, auth=ClientCredentials(provider.client_id, provider.client_secret)
    )
    TokenManager.get_token("api")
    TokenManager.health("api")  # the manager has taken the answer
    writer.write()
    writer.write()
    TokenManager.stop("api")
    writer.write()

writer = MultiProcessWriter(interval_s=60)
with Provider(token_lifetime_s=3600) as provider:
    seen = []
    for _ in range(2):  # the second manager of that name counts from 0 again
        one_manager(provider)
        seen.append(shown())
writer.close()
writer.close()
mark_process_dead(os.getpid())
print(json.dumps([*seen, shown()]))
"""


def played(directory: Path) -> Any:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory)}
    done = subprocess.run(
        [sys.executable, "-c", WORKER], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_processes_are_summed_and_a_new_manager_counts_on(tmp_path: Path) -> None:
    first, second, _ = played(tmp_path)
    assert first["oidc_actor_token_requests_total"] == first["oidc_actor_token_refreshes_total"] == 1
    assert first["oidc_actor_token_request_duration_seconds_count"] == 1
    assert 3000 < first["oidc_actor_token_time_to_expiry_seconds"] <= 3600
    assert second["oidc_actor_token_requests_total"] == 2

    third, _, dead = played(tmp_path)
    assert third["oidc_actor_token_requests_total"] == 3, "that of the process that has ended, and this one's"
    assert dead["oidc_actor_token_requests_total"] == 4
    assert "oidc_actor_token_time_to_expiry_seconds" not in dead


def test_without_that_mode_it_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match="PROMETHEUS_MULTIPROC_DIR") as caught:
        MultiProcessWriter()
    assert caught.value.option == ("PROMETHEUS_MULTIPROC_DIR",)

"""The harness itself: without Node the tests skip and say so, and where providers are required that is a failure."""

from __future__ import annotations

import subprocess

import pytest
from integration import node_provider


@pytest.fixture
def no_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_provider.shutil, "which", lambda _name: None)


@pytest.mark.usefixtures("no_node")
def test_without_node_they_skip_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OIDC_ACTOR_REQUIRE_PROVIDERS", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"Node\.js with npm is not installed"):
        node_provider.installed()


@pytest.mark.usefixtures("no_node")
def test_where_providers_are_required_that_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OIDC_ACTOR_REQUIRE_PROVIDERS", "1")
    with pytest.raises(pytest.fail.Exception, match="forbids skipping"):
        node_provider.installed()


def test_an_old_node_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OIDC_ACTOR_REQUIRE_PROVIDERS", raising=False)
    monkeypatch.setattr(node_provider.shutil, "which", lambda name: name)
    old = subprocess.CompletedProcess([], 0, stdout="v16.20.2\n")
    monkeypatch.setattr(node_provider.subprocess, "run", lambda *_args, **_options: old)
    with pytest.raises(pytest.skip.Exception, match=r"found v16\.20\.2"):
        node_provider.installed()


def test_the_lock_names_no_registry() -> None:
    text = (node_provider.HERE / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in text
    assert '"integrity"' in text

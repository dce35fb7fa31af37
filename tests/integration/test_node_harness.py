"""The harness itself: without Node the tests skip and say so, and where providers are required that is a failure."""

from __future__ import annotations

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


def test_the_lock_names_no_registry() -> None:
    text = (node_provider.HERE / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in text
    assert '"integrity"' in text

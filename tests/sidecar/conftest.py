from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oidc_actor.sidecar.config import RunConfig, load
from oidc_actor.testing import Provider

SERVER = '[server]\nunix_socket = "tokens.sock"\n'


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider(token_lifetime_s=600) as running:
        yield running


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str | bytes], RunConfig]:
    """Loads a configuration from its text."""

    def read_text(text: str | bytes) -> RunConfig:
        path = tmp_path / "config.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load(path)

    return read_text


@pytest.fixture
def manager_table(provider: Provider, tmp_path: Path) -> Callable[..., str]:
    """The table of one manager for the provider; its secret is in a file beside the configuration."""
    (tmp_path / "secret").write_text(f"{provider.client_secret}\n")

    def table(name: str, *lines: str) -> str:
        own = [
            f"[managers.{name}]",
            f'issuer_url = "{provider.issuer_url}"',
            f'client_id = "{provider.client_id}"',
            'client_secret = { file = "secret" }',
        ]
        return "\n".join([*own, *lines, ""])

    return table

"""An adapter needs its library, and says which in one line; nothing else does."""

from __future__ import annotations

import subprocess
import sys

import pytest


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("module", "library", "extra"),
    [
        ("httpx", "httpx", "httpx"),
        ("httpx2", "httpx2", "httpx2"),
        ("aiohttp", "aiohttp", "aiohttp"),
        ("grpc", "grpc", "grpc"),
        ("grpc_retry", "grpc", "grpc"),
        ("weaviate", "weaviate", "weaviate"),
        ("mcp", "mcp", "mcp"),
        ("google_auth", "google.auth.credentials", "google"),
        ("azure_core", "azure.core.credentials", "azure"),
        ("redis", "redis.auth.token", "redis"),
    ],
)
def test_one_line_says_what_to_install(module: str, library: str, extra: str) -> None:
    done = run(f"import sys; sys.modules[{library!r}] = None; import oidc_actor.adapters.{module}")
    assert done.stderr.splitlines()[-1] == (
        f"ModuleNotFoundError: oidc_actor.adapters.{module} needs {library}, which is not installed: "
        f'pip install "oidc-actor[{extra}]"'
    )
    assert "During handling" not in done.stderr


def test_the_package_itself_and_the_plain_header_need_none() -> None:
    libraries = "httpx", "httpx2", "aiohttp", "grpc", "weaviate", "google", "azure", "redis", "mcp"
    code = f"import sys; sys.modules.update(dict.fromkeys({libraries!r})); import oidc_actor.adapters.headers"
    assert run(code).returncode == 0
    code = f"import sys, oidc_actor, oidc_actor.adapters.requests; print({set(libraries)!r} & set(sys.modules))"
    assert run(code).stdout.strip() == "set()"

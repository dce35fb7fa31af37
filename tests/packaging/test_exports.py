""".github/design/design.md 3: the public surface is what it was, sorted, typed and documented."""

from pathlib import Path

import pytest

import oidc_actor
import supervision

PINNED = {
    oidc_actor: """TokenManager TokenSource TokenResponse OIDCConfig Health RetryPolicy ClientCredentials Password RefreshToken
        SecretFile GetToken ForceRefresh OIDCActorError ConfigError NoTokenError DiscoveryError TokenRequestError""",
    supervision: """Server Exit Ignore ChildSpec Backoff Supervisor DynamicSupervisor call cast stop kill register unregister
        whereis monitor demonitor Down send_after Monitor Timer ChildInfo ChildCounts NORMAL SHUTDOWN KILLED NOPROC Shutdown Crash
        SupervisionError StartError AlreadyStarted AlreadyPresent ChildNotFound ChildRunning ChildRestarting MaxChildren NoProcess
        CallTimeout ServerDied""",
}


@pytest.mark.parametrize("package", PINNED, ids=lambda package: package.__name__)
def test_all_names_what_is_pinned_in_order(package) -> None:
    assert set(PINNED[package].split()) <= set(package.__all__)
    assert list(package.__all__) == sorted(package.__all__)
    assert all(hasattr(package, name) for name in package.__all__)


@pytest.mark.parametrize("package", PINNED, ids=lambda package: package.__name__)
def test_every_public_class_and_function_is_documented(package) -> None:
    undocumented = [
        name
        for name in package.__all__
        if (isinstance(value := getattr(package, name), type) or callable(value)) and not (value.__doc__ or "").strip()
    ]
    assert not undocumented


@pytest.mark.parametrize("package", PINNED, ids=lambda package: package.__name__)
def test_types_are_shipped(package) -> None:
    assert (Path(package.__file__).parent / "py.typed").exists()

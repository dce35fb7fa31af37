""".github/design/design.md 3: the public surface is what it was, sorted, typed and documented."""

import inspect
import re
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
        CallTimeout ServerDied ServerRestarting acall named""",
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


def functions_of_supervision():
    """What users call: the functions, and those of the classes that begin with a server or a supervisor."""
    for name in supervision.__all__:
        value = getattr(supervision, name)
        if inspect.isfunction(value):
            yield pytest.param(value, id=name)
    for kind in (supervision.Server, supervision.Supervisor, supervision.DynamicSupervisor):
        for name in [
            name for base in kind.__mro__ if base.__module__.startswith("supervision.") for name in vars(base)
        ]:
            if callable(getattr(kind, name)) and not name.startswith(("_", "on_")):
                yield pytest.param(getattr(kind, name), id=f"{kind.__name__}.{name}")


@pytest.mark.parametrize("function", list(functions_of_supervision()))
def test_every_argument_and_result_is_documented(function) -> None:
    text, signature = inspect.getdoc(function) or "", inspect.signature(function)
    if len(signature.parameters) > 1:
        assert [name for name in signature.parameters if not re.search(rf"^ +\**{name}: ", text, re.MULTILINE)] == []
        assert ("Returns:" in text) is (signature.return_annotation != "None")
        assert "Raises:" in text or function is supervision.cast

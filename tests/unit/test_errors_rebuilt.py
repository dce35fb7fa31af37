"""An exception that is made from its `args`, as task queues do, says what the first one said: every one of both packages."""

import asyncio
import copy
import json
import pickle

import pytest

import oidc_actor
import supervision
from oidc_actor import (
    ConfigError,
    DiscoveryError,
    ManagerNotRunning,
    NoTokenError,
    OIDCActorError,
    PoolFull,
    TokenManager,
    TokenRequestError,
    UnknownKey,
)
from oidc_actor.adapters.headers import aheaders, headers
from oidc_actor.streams import on_renewal
from oidc_actor.transport import TransportError
from oidc_actor.values.errors import (
    IdentityProviderError,
    ProviderError,
    SecretUnavailable,
    StoreError,
    UnusableMetadata,
)
from supervision import (
    AlreadyPresent,
    AlreadyStarted,
    CallTimeout,
    ChildNotFound,
    ChildRestarting,
    ChildRunning,
    Crash,
    Exit,
    Ignore,
    MaxChildren,
    NoProcess,
    Server,
    ServerDied,
    ServerRestarting,
    Shutdown,
    StartError,
    SupervisionError,
)
from supervision.exits import KILLED, ExceptionText


class Probe(Server):
    """Somebody whose ref is in an error."""


@pytest.fixture(scope="module")
def ref():
    ref = Probe.start_link()
    yield ref
    supervision.stop(ref)


def specimens(ref) -> list[Exception]:
    return [
        SupervisionError("plain"),
        StartError("a", ValueError("why")),
        StartError(("a", 1), StartError("b", OSError(2, "no file"))),
        AlreadyStarted("a", ref),
        AlreadyPresent("a"),
        ChildNotFound("a"),
        ChildNotFound(ref, "it has none"),
        ChildRunning(ref),
        ChildRestarting(("a", 1)),
        MaxChildren(3),
        NoProcess("it's a 'name'"),
        NoProcess(ref),
        ServerRestarting("a"),
        CallTimeout(ref, 1.5),
        CallTimeout("a", 1.5, stopping=True),
        ServerDied(ref, Crash(ValueError("why"))),
        ServerDied("a", KILLED),
        ServerDied("a", Shutdown("detail")),
        ExceptionText("ValueError", "why", "Traceback ..."),
        Exit(Shutdown("detail")),
        Exit(),
        Ignore(),
        OIDCActorError("plain"),
        ConfigError("expected, got"),
        NoTokenError("none", cause=TokenRequestError("down", status=503), retry_in_s=2.0),
        ProviderError("text", status=400),
        DiscoveryError("text", status=404),
        TokenRequestError("text", status=401, error="invalid_client", retryable=False),
        SecretUnavailable("no file"),
        IdentityProviderError("no statement", status=400),
        UnusableMetadata("text"),
        StoreError("no answer", sent=False),
        TransportError("timed out", sent=False),
        ManagerNotRunning("a"),
        ManagerNotRunning(ref),
        UnknownKey(),
        PoolFull("a pool of 3 managers, and each of them is waited for"),
    ]


@pytest.mark.parametrize("number", range(len(specimens(None))))
def test_it_says_the_same_from_its_args_copied_and_pickled(number: int, ref) -> None:
    error = specimens(ref)[number]
    for again in (type(error)(*error.args), copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert str(type(error)(*again.args)) == str(error)
    assert copy.copy(error).args == error.args
    assert vars(copy.copy(error)).keys() == vars(error).keys()


@pytest.mark.parametrize("error", [NoProcess, ManagerNotRunning, ChildNotFound, ChildRunning])
@pytest.mark.parametrize("server", ["name", None])
def test_it_does_when_its_args_went_as_json_too(error, server, ref) -> None:
    first = error(server or ref)
    again = error(*json.loads(json.dumps(first.args)))
    assert str(again) == str(first)
    assert str(server or ref) in str(first)


def test_every_exception_that_is_exported_is_among_them() -> None:
    exported = [getattr(package, name) for package in (oidc_actor, supervision) for name in package.__all__]
    errors = {one for one in exported if isinstance(one, type) and issubclass(one, Exception)}
    assert errors <= {type(one) for one in specimens(None)}
    below = {
        one for root in (OIDCActorError, SupervisionError) for one in root.__subclasses__() if one.__name__[0] != "_"
    }
    ours = {one for one in below if one.__module__.startswith(("oidc_actor.", "supervision."))}
    assert ours <= {type(one) for one in specimens(None)}


READS = {
    "get_token": TokenManager.get_token,
    "get_access_token": TokenManager.get_access_token,
    "at once": lambda server: TokenManager.get_token(server, timeout=0),
    "min_validity": lambda server: TokenManager.get_token(server, min_validity=1),
    "aget_token": lambda server: asyncio.run(TokenManager.aget_token(server)),
    "aget_access_token": lambda server: asyncio.run(TokenManager.aget_access_token(server)),
    "force_refresh": lambda server: TokenManager.force_refresh(server, wait=True),
    "health": TokenManager.health,
    "subscribe": lambda server: TokenManager.subscribe(server, print),
    "source": TokenManager.source,
    "stop": TokenManager.stop,
    "headers": headers,
    "aheaders": lambda server: asyncio.run(aheaders(server)),
    "on_renewal": lambda server: on_renewal(server, print),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_whoever_reads_tokens_catches_one_root(read) -> None:
    with pytest.raises(OIDCActorError, match="no TokenManager behind 'nobody'") as raised:
        read("nobody")
    assert isinstance(raised.value, ManagerNotRunning)
    assert isinstance(raised.value, NoProcess)
    assert raised.value.server == "nobody"

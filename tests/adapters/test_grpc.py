"""What is particular to gRPC."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from adapters.api import DEADLINE_S, Gatekeeper
from adapters.drivers import AsyncGrpc, Grpc, credentials, opened
from adapters.held_manager import Held
from adapters.rpc import SERVICE, Rpc

from oidc_actor import ConfigError, TokenManager
from oidc_actor.adapters.grpc import OIDCAuth
from oidc_actor.adapters.grpc_retry import interceptors
from oidc_actor.testing import Provider
from supervision import Server, stop

UNARY, STREAM, CHAT = (f"/{SERVICE}/{name}" for name in ("Unary", "Stream", "Chat"))


def test_the_plugin_never_blocks_the_thread_that_calls_it(cold: Held) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    plugin = OIDCAuth(cold.name)
    for _ in range(50):
        plugin(None, lambda metadata, error: answers.put((metadata, error)))  # type: ignore[arg-type]
        assert answers.empty()
    threads = [thread.name for thread in threading.enumerate()]
    assert threads.count("oidc-actor-grpc") == 1  # one waits for all
    cold.gate.release()
    for _ in range(50):
        metadata, error = answers.get(timeout=DEADLINE_S)
        assert error is None
        assert metadata == (("authorization", f"Bearer {cold.token}"),)


def test_a_plugin_that_does_not_wait_says_so_at_once(cold: Held) -> None:
    answers: list[tuple[Any, Any]] = []
    OIDCAuth(cold.name, timeout=0)(None, lambda metadata, error: answers.append((metadata, error)))  # type: ignore[arg-type]
    [(metadata, error)] = answers
    assert metadata == ()
    assert "a request is under way" in str(error)


@pytest.mark.parametrize("kind", [Grpc, AsyncGrpc])
def test_a_call_without_a_token_fails_with_the_reason(
    kind: type[Grpc | AsyncGrpc], cold: Held, provider: Provider, rpc: Rpc
) -> None:
    provider.fail_next(None, status=400, error="invalid_client", error_description="who is that?")
    cold.gate.release()
    with opened(kind, None, rpc, cold.name) as driver, pytest.raises(grpc.RpcError) as caught:  # type: ignore[arg-type]
        driver.call()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "who is that?" in caught.value.details()
    assert rpc.tokens == []


def test_a_call_for_a_manager_that_is_not_there_fails(rpc: Rpc) -> None:
    with opened(Grpc, None, rpc, "nobody") as driver, pytest.raises(grpc.RpcError) as caught:  # type: ignore[arg-type]
        driver.call()
    assert "no TokenManager behind" in caught.value.details()


def test_the_plugin_answers_for_the_name_of_another_actor_too() -> None:
    other = Server.start_link(name="other")
    try:
        answers: list[tuple[Any, Any]] = []
        OIDCAuth("other")(None, lambda metadata, error: answers.append((metadata, error)))  # type: ignore[arg-type]
    finally:
        stop(other)
    [(metadata, error)] = answers
    assert metadata == ()
    assert "expected the ref or the name of a TokenManager, got that of Server" in str(error)


def test_bad_arguments() -> None:
    with pytest.raises(TypeError, match="server: expected"):
        OIDCAuth(3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="timeout: expected"):
        OIDCAuth("name", timeout=-1)
    with pytest.raises(ConfigError, match="timeout: expected"):
        interceptors("name", timeout=-1)


def test_grpc_sends_no_token_over_an_insecure_channel(settled: Held, rpc: Rpc) -> None:
    call_credentials = grpc.metadata_call_credentials(OIDCAuth(settled.name))
    with grpc.insecure_channel(rpc.target) as channel, pytest.raises(grpc.RpcError):
        channel.unary_unary(UNARY)(b"", credentials=call_credentials, timeout=DEADLINE_S)
    assert rpc.tokens == []


def test_a_stream_that_is_refused_has_the_token_replaced_for_the_next(
    settled: Held, rpc: Rpc, gatekeeper: Gatekeeper, provider: Provider
) -> None:
    gatekeeper.revoke(settled.token)
    with opened(Grpc, None, rpc, settled.name) as driver:  # type: ignore[arg-type]
        with pytest.raises(grpc.RpcError):
            list(driver.channel.unary_stream(STREAM)(b"abc", timeout=DEADLINE_S))
        settled.wait_for_token()
        assert b"".join(driver.channel.unary_stream(STREAM)(b"abc", timeout=DEADLINE_S)) == b"abc"
        chat = driver.channel.stream_stream(CHAT)(iter([b"a", b"b"]), timeout=DEADLINE_S)
        assert list(chat) == [b"a", b"b"]
    assert provider.token_requests == 2


def test_a_stream_of_grpc_aio_that_is_refused_too(
    settled: Held, rpc: Rpc, gatekeeper: Gatekeeper, provider: Provider
) -> None:
    async def read(call: Any) -> list[bytes]:
        return [message async for message in call]

    async def said() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    gatekeeper.revoke(settled.token)
    with opened(AsyncGrpc, None, rpc, settled.name) as driver:  # type: ignore[arg-type]
        with pytest.raises(grpc.RpcError):
            driver.run(read(driver.channel.unary_stream(STREAM)(b"abc", timeout=DEADLINE_S)))
        driver.run(asyncio.to_thread(settled.wait_for_token))
        assert driver.run(read(driver.channel.unary_stream(STREAM)(b"abc", timeout=DEADLINE_S))) == [b"a", b"b", b"c"]
        assert driver.run(read(driver.channel.stream_stream(CHAT)(said(), timeout=DEADLINE_S))) == [b"a", b"b"]
    assert provider.token_requests == 2


def test_a_future_is_not_waited_for_and_has_the_token_replaced(settled: Held, rpc: Rpc, gatekeeper: Gatekeeper) -> None:
    gatekeeper.revoke(settled.token)
    with opened(Grpc, None, rpc, settled.name) as driver:  # type: ignore[arg-type]
        unary = driver.channel.unary_unary(UNARY)
        error = unary.future(b"", timeout=DEADLINE_S).exception(DEADLINE_S)
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        settled.wait_for_token()
        assert unary.future(b"x", timeout=DEADLINE_S).result(DEADLINE_S) == b"x"


@pytest.mark.parametrize("kind", [Grpc, AsyncGrpc])
@pytest.mark.parametrize(
    ("challenge", "mended"), [('Bearer error="invalid_token"', True), ('Bearer error="insufficient_scope"', False)]
)
def test_a_challenge_among_the_trailers_counts(
    kind: type[Grpc | AsyncGrpc], settled: Held, rpc: Rpc, gatekeeper: Gatekeeper, challenge: str, mended: bool
) -> None:
    rpc.trailers = (("www-authenticate", challenge),)
    gatekeeper.revoke(settled.token)
    with opened(kind, None, rpc, settled.name) as driver:  # type: ignore[arg-type]
        assert driver.call()[0] == (200 if mended else 401)
    assert len(rpc.tokens) == (2 if mended else 1)


@pytest.mark.parametrize("kind", [Grpc, AsyncGrpc])
def test_the_calls_own_timeout_bounds_the_wait_for_another_token(
    kind: type[Grpc | AsyncGrpc], settled: Held, rpc: Rpc, gatekeeper: Gatekeeper
) -> None:
    gatekeeper.revoke(settled.token)
    settled.gate.shut()
    with opened(kind, None, rpc, settled.name) as driver:  # type: ignore[arg-type]
        driver.timeout = 1
        began = time.monotonic()
        assert driver.call()[0] == 401
        assert time.monotonic() - began < 3  # the adapter's own is 5
    assert len(rpc.tokens) == 1


@pytest.mark.parametrize("again", [False, True], ids=["the first time", "the second time"])
def test_a_call_of_grpc_aio_that_is_cancelled_is_cancelled_at_the_server(
    settled: Held, gatekeeper: Gatekeeper, again: bool
) -> None:
    begun, ended = threading.Event(), threading.Event()

    def hang(request: bytes, context: grpc.ServicerContext) -> bytes:
        context.add_callback(ended.set)
        begun.set()
        ended.wait(DEADLINE_S)
        return b""

    def add(server: grpc.Server) -> None:
        handlers = {"Hang": grpc.unary_unary_rpc_method_handler(hang)}
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("Slow", handlers)])

    async def cancel_it(driver: AsyncGrpc) -> None:
        call = asyncio.ensure_future(driver.acancellable("/Slow/Hang"))
        assert await asyncio.to_thread(begun.wait, DEADLINE_S)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await asyncio.to_thread(ended.wait, DEADLINE_S / 2)

    if again:
        gatekeeper.revoke(settled.token)
    with Rpc(gatekeeper, add) as slow, opened(AsyncGrpc, None, slow, settled.name) as driver:  # type: ignore[arg-type]
        driver.run(cancel_it(driver))  # type: ignore[arg-type]


def test_without_interceptors_a_refusal_is_handed_on(settled: Held, rpc: Rpc, gatekeeper: Gatekeeper) -> None:
    gatekeeper.revoke(settled.token)
    with grpc.secure_channel(rpc.target, credentials(settled.name)) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(UNARY)(b"", timeout=DEADLINE_S)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        TokenManager.force_refresh(settled.name, rejected=settled.token)
        assert channel.unary_unary(UNARY)(b"x", timeout=DEADLINE_S) == b"x"

"""How connections end, on a loop in this process; its clock is not waited for: a look at a connection is told what time it is."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import resource
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from threads import DEADLINE_S
from uvicorn.server import ServerState

from oidc_actor.sidecar import connections
from oidc_actor.sidecar.connections import (
    ANSWER_S,
    HEAD_BYTES,
    MOST,
    REQUEST_S,
    HTTPConnection,
    Peers,
    accept,
    most_connections,
)
from oidc_actor.sidecar.listening import ServerConfig
from oidc_actor.sidecar.service import KEEP_ALIVE_S, _settings

KEPT = b"GET /kept HTTP/1.1\r\nHost: x\r\n\r\n"
GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
BIG = 8 << 20


class Scene:
    """A listener, an application that answers at once unless it is told to wait, and clients."""

    def __init__(self, path: Path, most: int = 100) -> None:
        self.asked: list[str] = []
        self.tried: list[bytes] = []
        self.clients: list[Client] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.peers = Peers(most)
        self.state = ServerState()
        self.path = path
        self.settings = _settings(self.application, ServerConfig())
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(64)
        self.accepting = asyncio.create_task(
            accept(
                self.listener, self.peers, lambda: HTTPConnection(self.settings, self.state, self.peers, self.at_once)
            )
        )

    async def application(self, scope: Any, _receive: object, send: Any) -> None:
        self.asked.append(scope["path"])
        await self.may_answer.wait()
        body = b"x" * BIG if scope["path"] == "/big" else b"ok"
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def at_once(self, target: bytes, headers: object, server: object) -> bytes | None:
        self.tried.append(target)
        return b"content-length: 4\r\n\r\nkept" if target == b"/kept" else None

    async def client(self) -> Client:
        made = Client(*await asyncio.open_unix_connection(self.path))
        self.clients.append(made)
        return made

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                await asyncio.sleep(0)

    async def connected(self, count: int = 1) -> list[HTTPConnection]:
        await self.until(lambda: len(self.peers.connections) == count)
        return list(self.peers.connections)

    def look(self, after_s: float) -> None:
        """A look of so many seconds from now."""
        now = time.monotonic() + after_s
        for connection in list(self.peers.connections):
            connection.look(now)


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> int:
        """One answer's status."""
        async with asyncio.timeout(DEADLINE_S):
            head = await self._reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split()[0])
            await self._reader.readexactly(length)
        return int(head.split()[1])

    async def rest(self) -> bytes:
        """What comes until the connection has ended."""
        async with asyncio.timeout(DEADLINE_S):
            try:
                return await self._reader.read()
            except ConnectionError:
                return b""

    @property
    def is_open(self) -> bool:
        return not self._reader.at_eof()


Story = Callable[[Scene], Coroutine[Any, Any, None]]


@pytest.fixture(params=["asyncio", "uvloop"])
def play(tmp_path, request) -> Callable[..., None]:
    uvloop = pytest.importorskip("uvloop")
    factory = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}[request.param]

    @contextlib.asynccontextmanager
    async def scene(most: int) -> AsyncIterator[Scene]:
        made = Scene(tmp_path / "s", most)
        try:
            yield made
        finally:
            made.may_answer.set()
            made.accepting.cancel()
            await asyncio.gather(made.accepting, return_exceptions=True)
            made.listener.close()
            for client in made.clients:
                client.writer.transport.abort()
                await asyncio.gather(client.writer.wait_closed(), return_exceptions=True)
            for connection in list(made.peers.connections):
                connection.give_up()
            await made.until(lambda: not made.state.connections)

    def run(story: Story, most: int = 100) -> None:
        async def played() -> None:
            async with scene(most) as made:
                await story(made)

        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(played())

    return run


def head(size: int, *, of: int = 1000) -> bytes:
    """A head whose lines have so many bytes together, in lines of so many each."""
    lines, left = [], size - len(b"/a") - len(b"hostx") - 4
    while left > 0:
        value = min(of, left) - len(b"x-y") - 4
        lines.append(b"x-y: " + b"v" * value + b"\r\n")
        left -= of
    return b"GET /a HTTP/1.1\r\nHost: x\r\n" + b"".join(lines) + b"\r\n"


# --- how long a head is -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "status"), [(HEAD_BYTES, 200), (HEAD_BYTES + 1, 431), (3 * HEAD_BYTES, 431)])
@pytest.mark.parametrize("of", [100, 1000, 3 * HEAD_BYTES])
@pytest.mark.parametrize("in_one_piece", [True, False])
@pytest.mark.parametrize("behind_another", [True, False])
def test_the_longest_head(play, size: int, status: int, of: int, in_one_piece: bool, behind_another: bool) -> None:
    async def story(scene: Scene) -> None:
        client = await scene.client()
        data = (GET if behind_another else b"") + head(size, of=of)
        for start in range(0, len(data), len(data) if in_one_piece else 1024):
            client.send(data[start : start + (len(data) if in_one_piece else 1024)])
            await asyncio.sleep(0)
        if behind_another:
            assert await client.answer() == 200
            if status == 431 and in_one_piece:  # the refusal would be taken for the first one's answer, were it sent
                assert await client.rest() == b""
                assert scene.asked == ["/a"]
                return
        assert await client.answer() == status
        assert len(scene.asked) == behind_another + (status == 200)

    play(story)


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"GET /", b"a" * 1000),
        (b"GET / HTTP/1.1\r\nHost: x\r\nx: ", b"a" * 1000),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", b"x: " + b"a" * 1000 + b"\r\n"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", b"a:b\r\n" * 200),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", b"a" * 1000),
    ],
)
def test_a_head_without_an_end_is_refused_early(play, start: bytes, more: bytes) -> None:
    async def story(scene: Scene) -> None:
        client = await scene.client()
        client.send(start)
        for _ in range(HEAD_BYTES // 1000 + 300):
            client.send(more)
            await asyncio.sleep(0)
        assert (await client.answer()) in (431, 400)  # the parser has bounds of its own for some
        (connection,) = await scene.connected()
        assert sum(len(name) + len(value) for name, value in connection.headers) < 8 * HEAD_BYTES
        assert scene.asked == []

    play(story)


def test_trailers_without_an_end(play) -> None:
    async def story(scene: Scene) -> None:
        client = await scene.client()
        client.send(b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
        assert await client.answer() == 200
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                client.send(b"x: " + b"a" * 1000 + b"\r\n")
                await asyncio.sleep(0)
        assert await client.rest() == b""

    play(story)


# --- how long a request takes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"", b""),
        (b"\r\n", b""),
        (b"G", b"HTTP/1.1 408 "),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", b"HTTP/1.1 408 "),
    ],
)
@pytest.mark.parametrize("after_an_answer", [True, False])
def test_a_request_that_does_not_come_to_its_end(play, sent: bytes, said: bytes, after_an_answer: bool) -> None:
    async def story(scene: Scene) -> None:
        client = await scene.client()
        (connection,) = await scene.connected()
        if after_an_answer:
            client.send(GET)
            assert await client.answer() == 200
        client.send(sent)
        if sent:
            await scene.until(lambda: connection._piece == len(sent))
        scene.look(REQUEST_S - 1)
        assert client.is_open
        client.send(b"\r" if sent == b"\r\n" else b"")  # a byte more gives it no more time
        scene.look(REQUEST_S)
        if not sent and after_an_answer:
            assert connection in scene.peers.connections  # idle: uvicorn's own time for that is longer
            client.send(GET)
            assert await client.answer() == 200
            return
        rest = await client.rest()
        assert rest.startswith(said) if said else rest == b""

    play(story)


def test_a_trickle_gains_no_time(play) -> None:
    async def story(scene: Scene) -> None:
        client = await scene.client()
        (connection,) = await scene.connected()
        began = connection._waits_since
        for byte in GET[:-1]:
            client.send(bytes([byte]))
            connection._piece = 0
            await scene.until(lambda: connection._piece)
        assert connection._waits_since == began
        scene.look(REQUEST_S)
        assert (await client.rest()).startswith(b"HTTP/1.1 408 ")

    play(story)


@pytest.mark.parametrize("body", [b"Content-Length: 1000000\r\n\r\nx", b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"])
def test_a_body_that_does_not_come_to_its_end(play, body: bytes) -> None:
    async def story(scene: Scene) -> None:
        client = await scene.client()
        client.send(b"POST /a HTTP/1.1\r\nHost: x\r\n" + body)
        assert await client.answer() == 200
        scene.look(REQUEST_S - 1)
        assert client.is_open
        scene.look(REQUEST_S)
        assert await client.rest() == b""

    play(story)


def test_a_body_is_thrown_away_and_the_connection_serves_on(play) -> None:
    async def story(scene: Scene) -> None:
        client = await scene.client()
        for size in (0, 1, 60_000):
            client.send(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
            assert await client.answer() == 200
            (connection,) = await scene.connected()
            assert not connection.cycle.body
        client.send(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n")
        assert await client.answer() == 200
        client.send(b"x")
        await scene.until(lambda: connection._part.name == "NONE")
        scene.look(REQUEST_S + 1)
        assert client.is_open
        scene.look(KEEP_ALIVE_S + 1)  # uvicorn has stopped its own time by now; without ours it would never end
        assert await client.rest() == b""

    play(story)


def test_a_long_body_gets_its_answer(play) -> None:
    async def story(scene: Scene) -> None:
        client = await scene.client()
        client.send(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 10_000_000)
        assert await client.answer() == 200
        assert await client.rest() == b""

    play(story)


def test_while_it_is_answered_a_request_has_no_end(play) -> None:
    async def story(scene: Scene) -> None:
        scene.may_answer.clear()
        client = await scene.client()
        client.send(GET + b"GET")  # the next one has begun, too
        await scene.until(lambda: scene.asked)
        scene.look(REQUEST_S * 10)
        scene.may_answer.set()
        assert await client.answer() == 200

    play(story)


@pytest.mark.parametrize("path", [b"/a", b"/big"])
def test_answers_that_nobody_reads(play, path: bytes) -> None:
    async def story(scene: Scene) -> None:
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, str(scene.path))
        (connection,) = await scene.connected()
        request = b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n"
        for _ in range(20_000):
            with contextlib.suppress(BlockingIOError):
                client.send(request)
            await asyncio.sleep(0)
            if connection.transport.get_write_buffer_size():
                break
        scene.look(0)
        scene.look(ANSWER_S - 1)
        assert connection in scene.peers.connections
        scene.look(ANSWER_S + 1)
        assert connection not in scene.peers.connections
        await scene.until(lambda: not scene.state.connections)
        client.close()

    play(story)


def test_answers_that_are_read_slowly_and_then_quickly(play) -> None:
    async def story(scene: Scene) -> None:
        client = await scene.client()
        client.send(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        await scene.connected()
        scene.look(0)
        assert await client.answer() == 200
        (connection,) = await scene.connected()
        await scene.until(lambda: not connection.transport.get_write_buffer_size())
        scene.look(ANSWER_S)
        scene.look(ANSWER_S * 3)
        assert connection in scene.peers.connections

    play(story)


# --- what is no request -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent", [b"\0" * 10, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET / HTTP/1.1\r\n: x\r\n\r\n"]
)
def test_what_is_no_request(play, sent: bytes) -> None:
    async def story(scene: Scene) -> None:
        client = await scene.client()
        client.send(sent)
        assert await client.answer() == 400
        for _ in range(100):
            client.send(sent)  # thrown away
        assert await client.rest() == b""
        scene.look(REQUEST_S)
        await scene.until(lambda: not scene.state.connections)

    play(story)


def test_a_refusal_is_never_taken_for_the_answer_of_an_earlier_request(play) -> None:
    async def story(scene: Scene) -> None:
        scene.may_answer.clear()
        client = await scene.client()
        client.send(GET + b"\0\0\0")
        await scene.until(lambda: scene.asked)
        scene.may_answer.set()
        assert await client.answer() == 200
        assert await client.rest() == b""

    play(story)


def test_a_client_that_offers_another_protocol_is_served(play, caplog) -> None:
    """Java's sends this at the first request of each connection."""

    async def story(scene: Scene) -> None:
        for _ in range(2):
            client = await scene.client()
            offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n"
            client.send(b"GET /a HTTP/1.1\r\nHost: x\r\n" + offer + b"\r\n")
            assert await client.answer() == 200
            assert await client.rest() == b""  # and does not hang at the second one

    play(story)
    assert caplog.records == []


# --- how many there are -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("descriptors", "most"),
    [(64, 16), (256, 64), (1024, 256), (20_000, MOST), (1, 1), (resource.RLIM_INFINITY, MOST)],
)
def test_a_quarter_of_the_descriptors(descriptors: int, most: int) -> None:
    assert most_connections(descriptors) == most


def test_silent_ones_make_room_first_the_oldest_first_then_the_longest_idle(play, monkeypatch) -> None:
    async def story(scene: Scene) -> None:
        kept, older, silent, younger = [await scene.client() for _ in range(4)]
        for client in (kept, older, younger, kept):  # `older` has been idle longest by now
            client.send(GET)
            assert await client.answer() == 200
        await scene.connected(4)
        for gone in (silent, older, younger):
            one = await scene.client()
            one.send(GET)
            assert await one.answer() == 200
            assert await gone.rest() == b""
        kept.send(GET)
        assert await kept.answer() == 200
        assert len(scene.peers.connections) == 4

    monkeypatch.setattr(connections, "GRACE_S", 0.0)
    play(story, most=4)


def test_a_flood_of_silent_peers_costs_no_reader_its_answer(play) -> None:
    async def story(scene: Scene) -> None:
        reader = await scene.client()
        reader.send(GET)
        assert await reader.answer() == 200
        flood = []
        for number in range(80):
            flood.append(await scene.client())
            if number % 10 == 0:
                reader.send(GET)
                assert await reader.answer() == 200
                other = await scene.client()
                other.send(GET)
                assert await other.answer() == 200
                other.writer.close()
            assert len(scene.peers.connections) <= 8
            assert len(scene.state.connections) <= 9
        for one in flood:
            one.writer.close()

    play(story, most=8)


def test_who_does_not_take_the_answers_makes_room_before_who_is_kept(play) -> None:
    async def story(scene: Scene) -> None:
        kept, deaf = await scene.client(), await scene.client()
        kept.send(GET)
        assert await kept.answer() == 200
        deaf.writer.transport.pause_reading()
        deaf.send(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n" * 2)  # the second one waits for room to write
        await scene.until(lambda: len(scene.asked) == 3)
        scene.look(-1.0)
        one = await scene.client()
        one.send(GET)
        assert await one.answer() == 200
        kept.send(GET)
        assert await kept.answer() == 200
        await scene.until(lambda: len(scene.state.connections) == 2)

    play(story, most=2)


def test_who_does_not_take_a_last_answer_makes_room_too(play) -> None:
    async def story(scene: Scene) -> None:
        deaf = [await scene.client() for _ in range(2)]
        for client in deaf:
            client.writer.transport.pause_reading()
            client.send(b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        both = await scene.connected(2)
        await scene.until(lambda: all(one.transport.is_closing() for one in both))
        scene.look(-1.0)
        one = await scene.client()
        one.send(GET)
        assert await one.answer() == 200
        await scene.until(lambda: len(scene.peers.connections) == 2)

    play(story, most=2)


def test_a_flood_takes_nobody_the_connection_that_is_kept(play, monkeypatch) -> None:
    """One that has asked stays; new ones have a moment to ask, and wait for each other's."""
    monkeypatch.setattr(connections, "GRACE_S", 1000.0)

    async def story(scene: Scene) -> None:
        reader = await scene.client()
        reader.send(GET)
        assert await reader.answer() == 200
        for _ in range(20):
            await scene.client()
        await scene.connected(4)
        for _ in range(3):
            reader.send(GET)
            assert await reader.answer() == 200
        assert not scene.peers.make_room()

    play(story, most=4)


def test_who_is_kept_is_not_given_up_while_others_are_just_ending(play) -> None:
    """After a pause a look ends many at once, and whoever comes next is there before their ends are counted."""

    async def story(scene: Scene) -> None:
        reader, silent = await scene.client(), await scene.client()
        reader.send(GET)
        assert await reader.answer() == 200
        await scene.connected(2)
        scene.look(REQUEST_S)
        assert not scene.peers.make_room()
        assert await silent.rest() == b""
        await scene.connected(1)
        assert scene.peers.make_room()
        reader.send(GET)
        assert await reader.answer() == 200

    play(story, most=2)


def test_where_all_are_being_answered_new_ones_wait(play) -> None:
    async def story(scene: Scene) -> None:
        scene.may_answer.clear()
        clients = []
        for _ in range(4):
            clients.append(await scene.client())
            clients[-1].send(GET)
        await scene.until(lambda: len(scene.asked) == 2)
        assert len(scene.peers.connections) == 2
        scene.may_answer.set()
        for client in clients:
            assert await client.answer() == 200

    play(story, most=2)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ECONNABORTED])
def test_an_accept_that_fails_is_tried_again(play, monkeypatch, caplog, number: int) -> None:
    async def story(scene: Scene) -> None:
        loop = asyncio.get_running_loop()
        scene.accepting.cancel()
        await asyncio.gather(scene.accepting, return_exceptions=True)
        faults = [OSError(number, "a fault") for _ in range(3)]
        pauses = 0

        class Faulty:
            async def sock_accept(self, listener: socket.socket) -> Any:
                if faults:
                    raise faults.pop()
                return await loop.sock_accept(listener)

            def __getattr__(self, name: str) -> Any:
                return getattr(loop, name)

        sleep = asyncio.sleep

        async def counted(delay: float) -> None:
            nonlocal pauses
            pauses += delay > 0
            await sleep(0)

        monkeypatch.setattr("oidc_actor.sidecar.connections.asyncio.get_running_loop", Faulty)
        monkeypatch.setattr("oidc_actor.sidecar.connections.asyncio.sleep", counted)
        making = accept(
            scene.listener, scene.peers, lambda: HTTPConnection(scene.settings, scene.state, scene.peers, scene.at_once)
        )
        scene.accepting = loop.create_task(making)
        await sleep(0)
        monkeypatch.undo() if not faults else None
        client = await scene.client()
        client.send(GET)
        assert await client.answer() == 200
        assert pauses == (0 if number == errno.ECONNABORTED else 3)

    with caplog.at_level(logging.WARNING, "oidc_actor.run"):
        play(story)
    assert [record.event for record in caplog.records] == ([] if number == errno.ECONNABORTED else ["accept_failed"])


@pytest.mark.parametrize("request_text", [GET, KEPT, GET + KEPT, KEPT + GET])
def test_idle_connections_have_an_age(play, request_text) -> None:
    async def story(scene: Scene) -> None:
        client = await scene.client()
        for _ in range(request_text.count(b"GET")):
            client.send(request_text)
            assert await client.answer() == 200
        (connection,) = await scene.connected()
        await scene.until(lambda: not connection.is_answering)
        assert (connection.timeout_keep_alive_task, connection.is_waited_for) == (None, False)
        scene.look(KEEP_ALIVE_S - 1)
        assert not connection.transport.is_closing()
        scene.look(KEEP_ALIVE_S + 1)
        assert connection.transport.is_closing()

    play(story)


def test_an_answer_at_once_needs_no_task(play) -> None:
    async def story(scene: Scene) -> None:
        client = await scene.client()
        client.send(KEPT * 3)
        for _ in range(3):
            assert await client.answer() == 200
        assert (scene.asked, scene.state.total_requests) == ([], 3)
        (connection,) = await scene.connected()
        assert connection.cycle is None

    play(story)


def test_an_answer_at_once_waits_for_that_of_an_earlier_request(play) -> None:
    async def story(scene: Scene) -> None:
        scene.may_answer.clear()
        client = await scene.client()
        client.send(GET + KEPT + KEPT)
        await scene.until(lambda: scene.asked)
        assert (scene.tried, scene.asked) == ([b"/a"], ["/a"])
        scene.may_answer.set()
        for _ in range(3):
            assert await client.answer() == 200
        assert scene.asked == ["/a", "/kept", "/kept"]

    play(story)


def test_a_peer_that_reads_no_answers_gets_no_more_at_once(play) -> None:
    async def story(scene: Scene) -> None:
        client = await scene.client()
        (connection,) = await scene.connected()
        client.send(KEPT)
        assert await client.answer() == 200
        connection.flow.pause_writing()
        client.send(KEPT)
        await scene.until(lambda: scene.asked)
        assert connection.is_answering
        connection.flow.resume_writing()
        assert await client.answer() == 200

    play(story)


@pytest.mark.parametrize(
    ("text", "is_kept_open"),
    [
        (KEPT.replace(b"GET", b"HEAD"), True),
        (KEPT.replace(b"GET", b"POST"), True),
        (KEPT.replace(b"1.1", b"1.0"), False),
        (KEPT.replace(b"Host", b"Connection: close\r\nHost"), False),
        (KEPT.replace(b"Host", b"Connection: upgrade\r\nUpgrade: h2c\r\nHost"), False),
        (KEPT.replace(b"/kept", b"/kept?a=b"), True),
        (KEPT.replace(b"/kept", b"/%6bept"), True),
    ],
)
def test_what_is_no_plain_get_is_left_to_the_application(play, text, is_kept_open) -> None:
    async def story(scene: Scene) -> None:
        client = await scene.client()
        client.send(text)
        await scene.until(lambda: scene.asked)
        (connection,) = await scene.connected()
        assert connection.cycle.keep_alive is is_kept_open

    play(story)


def test_the_body_of_a_request_that_was_answered_at_once_is_waited_for(play) -> None:
    async def story(scene: Scene) -> None:
        client = await scene.client()
        client.send(KEPT.replace(b"Host", b"Content-Length: 5\r\nHost"))
        assert await client.answer() == 200
        (connection,) = await scene.connected()
        assert connection.is_waited_for
        client.send(b"12345")
        await scene.until(lambda: not connection.is_waited_for)
        client.send(KEPT.replace(b"Host", b"Content-Length: 5\r\nHost"))
        assert await client.answer() == 200
        scene.look(REQUEST_S + 1)
        assert await client.rest() == b""

    play(story)

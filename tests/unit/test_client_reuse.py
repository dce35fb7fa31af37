"""HTTP by requests: no answer reaches a request that it was not the answer to, whatever else comes over its connection."""

import json
import random
import socket
import struct
import threading
from contextlib import closing

import pytest
from raw_server import DEADLINE_S, SECRET, a_request, answers, reply
from urllib3.util import wait_for_read

from oidc_actor import ClientCredentials, oidc
from oidc_actor.endpoints.other_endpoints import request_device_authorization
from oidc_actor.http import sockets
from oidc_actor.http.client import RequestsTransport
from oidc_actor.http.sockets import tls_context
from oidc_actor.transport import Request, TransportError

TENANTS = 20
ROUNDS = 25
GHOST = b'{"access_token": "ghost"}'
INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"


@pytest.fixture(params=["plain", "TLS"])
def tls(request, certificate):
    return certificate.context if request.param == "TLS" else None


@pytest.fixture
def trusting(serve, certificate, monkeypatch):  # closed before the servers are
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with closing(RequestsTransport(certificate.path)) as made:
        yield made


def chunked(body):
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


def filling_a_buffer(body):
    """A response that ends where a read buffer of 8 KiB does."""
    short = reply(body, fields=("X-Pad: ",))
    return reply(body, fields=("X-Pad: " + "x" * (8192 - len(short)),))


def idle_sockets(transport):
    """Those of the connections that are kept, by their port."""
    known = [*transport._adapters.values(), *transport._plain.values()]
    pools = [pool for adapter in known for pool in adapter._direct.pools._container.values()]
    kept = [
        conn.sock for pool in pools for conn in pool.pool._connections if conn is not None and conn.sock is not None
    ]
    return {sock.getsockname()[1]: sock for sock in kept}


def send_late(transport, stream, data):
    """Send where no request is under way, and wait until it has arrived; whether the client has kept that connection."""
    try:
        port = stream.getpeername()[1]
        stream.sendall(data)
    except OSError:
        return False  # the client has closed it
    idle = idle_sockets(transport).get(port)
    assert idle is None or wait_for_read(idle, DEADLINE_S)
    return idle is not None


@pytest.mark.parametrize("status", [100, 102, 103, 104, 199])
@pytest.mark.parametrize("how", ["together", "several", "in pieces"])
def test_interim_responses_are_skipped_and_cost_no_connection(serve, trusting, tls, status, how):
    head = b"HTTP/1.1 %d Interim\r\nX: y\r\n\r\n" % status * (3 if how == "several" else 1)

    def answer(stream, _):
        if how == "in pieces":
            for position in range(len(head)):
                stream.sendall(head[position : position + 1])
            stream.sendall(reply(b'{"own": 1}'))
        else:
            stream.sendall(head + reply(b'{"own": 1}'))

    server = serve(answer, tls)
    for _ in range(3):
        response = trusting(a_request(server.url))
        assert (response.status, response.body) == (200, b'{"own": 1}')
    assert server.connections == 1


@pytest.mark.parametrize("make", [reply, chunked, filling_a_buffer, lambda _: b"HTTP/1.1 204 None\r\n\r\n"])
@pytest.mark.parametrize("behind", [reply(GHOST), b"\r\n", INTERIM, reply(b"x" * 9000)])
def test_what_lies_behind_a_response_answers_nobody(serve, trusting, tls, make, behind):
    asked = []

    def answer(stream, _):
        asked.append(stream)
        stream.sendall(make(b'{"own": 1}') + behind)

    server = serve(answer, tls)
    for _ in range(3):
        assert trusting(a_request(server.url)).body in {b'{"own": 1}', b""}
    assert len(asked) == len(set(asked)) == 3  # connections; others on this machine may knock at the port by mistake


@pytest.mark.parametrize("behind", [reply(GHOST), b"\r\n"])
def test_what_comes_late_answers_nobody(serve, trusting, tls, behind):
    streams = []

    def answer(stream, _):
        streams.append(stream)
        stream.sendall(reply(b'{"own": 1}'))

    server = serve(answer, tls)
    for expected in (1, 1, 2, 3):
        assert trusting(a_request(server.url)).body == b'{"own": 1}'
        assert server.connections == expected
        if len(streams) > 1:
            assert send_late(trusting, streams[-1], behind)


def test_bytes_that_only_openssl_holds_are_seen(serve, certificate):
    server = serve(answers(reply(b"{}")), certificate.context)
    plain = socket.create_connection(("127.0.0.1", server.port), DEADLINE_S)
    with tls_context(str(certificate.path)).wrap_socket(plain, server_hostname="127.0.0.1") as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
        assert sock.recv(1) == b"H"
        assert sock.pending()
        assert not wait_for_read(sock, 0.0)
        assert not sockets._is_silent(sock)


def test_a_socket_whose_buffers_cannot_be_seen_is_not_used_again():
    one, other = socket.socketpair()
    with one, other:
        assert not sockets._is_silent(one)
        assert not sockets._is_silent(None)


def test_connections_of_other_kinds_follow_the_same_rule():
    made = sockets.clean_pool_class(sockets.HTTPConnectionPool)
    assert issubclass(made.ConnectionCls, sockets._CleanConnection)
    assert sockets.clean_pool_class(sockets.HTTPConnectionPool) is made


def test_a_request_that_failed_leaves_no_connection(serve, trusting, tls):
    left = [reply(b"x" * 50)[:-10], reply(b'{"own": 1}')]
    server = serve(lambda stream, _: stream.sendall(left.pop(0)), tls)
    with pytest.raises(TransportError, match="no complete answer"):
        trusting(a_request(server.url, timeout_s=0.3))
    assert trusting(a_request(server.url)).body == b'{"own": 1}'
    assert server.connections == 2


def test_every_kind_of_request_skips_interim_responses(serve, trusting):
    def answer(stream, request):
        root = f"http://127.0.0.1:{server.port}"
        path = request[0].split()[1].decode()
        bodies = {
            "/.well-known/openid-configuration": {
                "issuer": root,
                "token_endpoint": f"{root}/token",
                "device_authorization_endpoint": f"{root}/device",
                "revocation_endpoint": f"{root}/revoke",
            },
            "/token": {"access_token": "own", "token_type": "Bearer", "expires_in": 300},
            "/device": {
                "device_code": "d",
                "user_code": "u",
                "verification_uri": f"{root}/verify",
                "expires_in": 300,
            },
            "/revoke": {},
        }
        stream.sendall(INTERIM * 2)
        stream.sendall(reply(json.dumps(bodies[path]).encode()))

    server = serve(answer)
    auth = ClientCredentials("id", SECRET)
    config = oidc.discover(f"http://127.0.0.1:{server.port}", transport=trusting)
    assert oidc.get_token(config, auth, transport=trusting).access_token == "own"
    assert oidc.refresh_token(config, "a-refresh-token", auth, transport=trusting).access_token == "own"
    oidc.revoke_token(config, "a-token", auth, transport=trusting)
    assert request_device_authorization(trusting, config, auth, timeout_s=DEADLINE_S).user_code == "u"
    assert server.connections == 1
    assert len(server.requests) == 5


# The proof: random servers


def odd(rng, own):
    """One way to answer: the bytes, and what becomes of the connection."""
    ghosts = reply(GHOST) * rng.randint(1, 3)
    interim = INTERIM * rng.randint(1, 4)
    made = rng.choice([reply, chunked, filling_a_buffer])(own)
    return rng.choice(
        [
            (made, "keep"),
            (made, "keep"),
            (made, "late ghosts"),
            (interim + made, "keep"),
            (interim + made, "late ghosts"),
            (interim + made + ghosts, "keep"),
            (made + ghosts, "keep"),
            (made + INTERIM, "keep"),
            (made[: rng.randrange(len(made))], "reset"),
            (interim, "reset"),
            (interim + made[: rng.randrange(len(made))], "close"),
            (b"HTTP/1.1 204 None\r\nContent-Length: 9\r\n\r\n" + ghosts, "keep"),
            (b"HTTP/1.1 101 Switching\r\n\r\n" + ghosts, "keep"),
            (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n" + made, "keep"),
            (reply(own, fields=("Transfer-Encoding: chunked",)) + ghosts, "close"),
            (reply(own, fields=("Content-Length: 3",)) + ghosts, "keep"),
            (reply(own, fields=("no colon here", f"Content-Length: {len(own)}")) + ghosts, "keep"),
            (chunked(own)[:-2] + b"X: y\r\n\r\n" + ghosts, "keep"),
        ]
    )


class OddServer:
    """Answers with whom it was asked by, oddly."""

    def __init__(self, seed):
        self.rng, self.lock, self.to_be_haunted = random.Random(seed), threading.Lock(), []
        self.slowness = threading.Event()

    def __call__(self, stream, request):
        with self.lock:
            data, then = odd(self.rng, own_answer(request[1].decode()))
            if then == "late ghosts":
                self.to_be_haunted.append(stream)
            cut = self._cut(data, then)
        if then == "reset":
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if cut:
            stream.sendall(data[:cut])
            self.slowness.wait(0.01)  # nothing sets it: time in which others ask
        stream.sendall(data[cut:])
        return None if then in {"keep", "late ghosts"} else False

    def _cut(self, data, then):
        """Where it comes in two pieces, if so: never within ghosts, which then could be no one's but the next request's."""
        if self.rng.random() < 0.5 or then == "reset":
            return 0
        if data.startswith(INTERIM):
            return len(INTERIM)
        return self.rng.randrange(1, len(data)) if then == "late ghosts" else 0


class Tenants:
    """What each of them got, round by round."""

    def __init__(self, transport, url):
        self.transport, self.url = transport, url
        self.own, self.empty, self.strange = [], [], []

    def ask_all(self, turn):
        threads = [threading.Thread(target=self.ask, args=(f"tenant-{number}-{turn}",)) for number in range(TENANTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE_S)
            assert not thread.is_alive()

    def ask(self, who):
        try:
            body = self.transport(Request("POST", self.url + "/token", {}, who.encode(), DEADLINE_S)).body
        except TransportError:
            return
        heard = self.own if body == own_answer(who) else self.empty if not body else self.strange
        heard.append((who, body))


def own_answer(who):
    return json.dumps({"token_of": who}).encode()


@pytest.mark.parametrize("seed", range(3))
def test_no_answer_reaches_a_request_that_it_was_not_the_answer_to(serve, trusting, tls, seed):
    provider = OddServer(seed)
    server = serve(provider, tls)
    tenants = Tenants(trusting, server.url)
    for turn in range(ROUNDS):
        tenants.ask_all(turn)
        while provider.to_be_haunted:  # no request is under way: what comes now answers none
            send_late(trusting, provider.to_be_haunted.pop(), reply(GHOST))
    assert tenants.strange == []
    assert len(tenants.own) > TENANTS * ROUNDS / 3
    assert server.connections < len(server.requests)  # some were used again

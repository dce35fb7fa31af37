"""A server on a bare socket that sends what a test says, and how the transport is asked and fails."""

import socket
import ssl
import threading
from functools import cached_property
from pathlib import Path

import pytest
from pki import Authority
from urllib3.util import wait_for_read

from oidc_actor.transport import Request, TransportError

SECRET = "hunter2-the-secret"
DEADLINE_S = 20.0


class Server:
    """Answers each request of each connection with what ``answer(connection, request)`` sends; counts both."""

    def __init__(self, answer, tls=None):
        self.answer, self.tls = answer, tls
        self.connections, self.requests = 0, []
        self.over = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.threads = [threading.Thread(target=self._accept, daemon=True)]
        self.threads[0].start()

    def close(self):
        self.over.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self.threads:
            thread.join(DEADLINE_S)
            assert not thread.is_alive()

    def _accept(self):
        while not self.over.is_set():
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            self.threads.append(threading.Thread(target=self._serve, args=(connection,), daemon=True))
            self.threads[-1].start()

    def _serve(self, connection):
        connection.settimeout(DEADLINE_S)
        try:
            with connection if self.tls is None else self.tls.wrap_socket(connection, server_side=True) as stream:
                while (request := read_request(stream)) is not None:
                    self.requests.append(request)
                    if self.answer(stream, request) is False:
                        return
        except (OSError, ssl.SSLError):
            connection.close()


def read_request(stream):
    data = b""
    while b"\r\n\r\n" not in data:
        more = stream.recv(65536)
        if not more:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    while len(body) < int(fields.get(b"content-length", 0)):
        body += stream.recv(65536)
    return head, body


def reply(body=b"{}", *, status="200 OK", fields=()):
    head = "".join(f"{field}\r\n" for field in (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields))
    return head.encode("latin-1") + b"\r\n" + body


def answers(*replies):
    """Send the replies one after another; the last one for ever."""
    left = list(replies)
    return lambda stream, _: stream.sendall(left.pop(0) if len(left) > 1 else left[0])


def a_request(url, *, timeout_s=DEADLINE_S, path="/token"):
    headers = {"Authorization": f"Basic {SECRET}", "Content-Type": "application/x-www-form-urlencoded"}
    return Request("POST", url + path, headers, f"client_secret={SECRET}".encode(), timeout_s)


def failure(transport, request):
    with pytest.raises(TransportError) as caught:
        transport(request)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return caught.value


def and_close(data):
    def answer(stream, _):
        stream.sendall(data)
        return False

    return answer


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def silence(stream, _):
    stream.recv(1)  # until the client goes
    return False


class _SharedTLSSocket(ssl.SSLSocket):
    """One that a test may send to while its server reads: OpenSSL takes one call at a time, and nothing else sees to that."""

    @cached_property
    def _one_call(self):
        return threading.Lock()

    def do_handshake(self, *args):
        assert self._one_call  # made before there is a second thread
        super().do_handshake(*args)

    def send(self, *args):
        with self._one_call:
            return super().send(*args)

    def recv(self, *args):
        if not self.pending() and not wait_for_read(self, self.gettimeout()):
            raise TimeoutError
        with self._one_call:
            return super().recv(*args)


class Certificate:
    """What a server on that address shows; ``path`` is the file of the authority that signed it."""

    def __init__(self, directory, address="127.0.0.1"):
        files = Authority(directory).server(address)
        self.path = Path(files["ca"])
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(files["cert"], files["key"])
        self.context.sslsocket_class = _SharedTLSSocket

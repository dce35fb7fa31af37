"""Mopidy 3.4.2, a music player, as a real program: installed once into a cache, run with deadlines, and the clients that it has.

Mopidy is the largest public Pykka program. It needs GStreamer by PyGObject, which a distribution's Python brings. So it runs in a
virtual environment of ``/usr/bin/python3``, with the ``supervision`` that this test has imported.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import requests
from integration.node_provider import REPOSITORY, unavailable
from serving import free_port

import supervision

HERE = Path(__file__).parent / "mopidy"
PYKKA = metadata.version("pykka")
SYSTEM_PYTHON = "/usr/bin/python3"
DEBIAN = "python3-venv python3-gi python3-gst-1.0 gir1.2-gst-plugins-base-1.0 gstreamer1.0-plugins-{base,good}"
SUITES = ("mopidy==3.4.2", "mopidy-mpd==3.3.0")
INSTALL_TIMEOUT_S = 300.0
DEADLINE_S = 30.0
GREETING_S = 3.0  # what is in the backlog of a port that is closed is never answered
LOOK_S = 0.02
NEVER = threading.Event()
PROBE = """\
import ensurepip, sys, gi
gi.require_version("Gst", "1.0")
gi.require_version("GstPbutils", "1.0")
from gi.repository import Gst, GstPbutils
assert sys.version_info >= (3, 11)
print(sys.version)
"""


@dataclass(frozen=True, slots=True)
class Installed:
    """A folder with Mopidy's environment, and the source distributions that hold its tests."""

    folder: Path

    @property
    def python(self) -> str:
        return str(self.folder / "venv" / "bin" / "python")

    def source(self, suite: str) -> Path:
        """The unpacked source distribution of one of `SUITES`."""
        return self.folder / suite.replace("==", "-")

    def environment(self, work: Path) -> dict[str, str]:
        """For a process of it: it finds our package, and nothing else of this test's environment."""
        packages = work / "packages"
        packages.mkdir(exist_ok=True)
        with suppress(FileExistsError):
            (packages / "supervision").symlink_to(Path(supervision.__file__).parent)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "PIP_"))}
        path = os.pathsep.join((str(packages), str(HERE)))
        return {**kept, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(work)}


def installed() -> Installed:
    """Make the environment the first time, and find it again after that; skips, saying why, where that cannot be."""
    if not Path(SYSTEM_PYTHON).exists():
        unavailable(f"{SYSTEM_PYTHON} is not there: Mopidy needs the Python that a distribution's PyGObject is for")
    probe = _run([SYSTEM_PYTHON, "-c", PROBE], 60.0)
    if probe.returncode != 0:
        said = probe.stderr.strip().rpartition("\n")[2]
        unavailable(
            f"{SYSTEM_PYTHON} is older than 3.11 or has no GStreamer ({said}); on Debian 12: apt-get install {DEBIAN}"
        )
    wanted = (HERE / "requirements.txt").read_bytes() + f"pykka=={PYKKA} {probe.stdout}".encode()
    cache = Path(os.environ.get("OIDC_ACTOR_MOPIDY_CACHE") or REPOSITORY / ".cache" / "mopidy")
    folder = cache / hashlib.sha256(wanted).hexdigest()[:16]
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as fresh:
            _install(Path(fresh) / "new")
            with suppress(FileExistsError):  # another process was faster; a folder that exists is whole
                (Path(fresh) / "new").rename(folder)
    return Installed(folder)


def _install(folder: Path) -> None:
    def step(*command: str) -> None:
        done = _run(list(command), INSTALL_TIMEOUT_S)
        if done.returncode != 0:
            unavailable(f"Mopidy cannot be installed: {' '.join(command[1:4])}: {done.stderr.strip()[-400:]}")

    python = str(folder / "venv" / "bin" / "python")
    step(SYSTEM_PYTHON, "-m", "venv", "--system-site-packages", str(folder / "venv"))
    step(python, "-m", "pip", "install", "-q", "-r", str(HERE / "requirements.txt"), f"pykka=={PYKKA}")
    step(python, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "-d", str(folder), *SUITES)
    for archive in folder.glob("*.tar.gz"):
        shutil.unpack_archive(archive, folder, filter="data")
        name, _, version = archive.name.removesuffix(".tar.gz").rpartition("-")
        (folder / f"{name}-{version}").rename(folder / f"{name.lower().replace('_', '-')}-{version}")


def _run(command: list[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"it did not end within {timeout_s:.0f} s")


# --- the player -------------------------------------------------------------------------------------------------------


class RpcError(Exception):
    """Core has raised; ``kind`` is the exception's class.

    Args:
        kind: its name.
        text: what it says.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


class Player:
    """A running Mopidy, its folders below ``work``; it plays into nothing, at the speed of music.

    Args:
        work: a folder of its own.
        program: a recipe's program that starts it, or ``None`` for Mopidy's own.
    """

    def __init__(self, work: Path, program: Path | None = None) -> None:
        self._log = work / "log"
        self.mpd_port, self.http_port = free_port(), free_port()
        self.songs = [_song(work / "music" / f"{number}.wav") for number in (1, 2, 3)]
        config = work / "mopidy.conf"
        config.write_text(_CONFIG.format(work=work, mpd_port=self.mpd_port, http_port=self.http_port))
        (work / "playlists").mkdir(exist_ok=True)
        there = installed()
        self._command = [there.python, str(HERE / "driver.py"), str(program or "-"), "--config", str(config)]
        self._environment = there.environment(work)
        self._work = work
        self.start()

    def start(self) -> None:
        """Start it, again where it has ended."""
        with self._log.open("ab") as output:
            self.process = subprocess.Popen(
                self._command,
                cwd=self._work,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
            )
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()

    def await_start(self) -> None:
        """Wait until both its frontends serve."""
        self.eventually(self._serves, "start")

    def _serves(self) -> bool:
        with suppress(OSError), self.mpd():
            return self.rpc("get_version") == "3.4.2"
        return False

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with self._log.open("a") as output:
            for line in process.stdout:
                if line.startswith("@@ "):
                    self._answers.put(line[3:])
                else:
                    output.write(line)
                    output.flush()

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def eventually(self, condition: Callable[[], Any], what: str) -> Any:
        """Look until it holds; returns what it said, and fails at the deadline or when the player has ended."""
        ends_at = time.monotonic() + DEADLINE_S
        while not (found := condition()):
            assert self.process.poll() is None, f"it has ended with {self.process.returncode}:\n{self.log}"
            if time.monotonic() > ends_at:
                raise AssertionError(f"no {what} within {DEADLINE_S} s:\n{self._stacks()}")
            NEVER.wait(LOOK_S)
        return found

    def _stacks(self) -> str:
        """What it wrote, and then what each of its threads is doing."""
        self.process.send_signal(signal.SIGUSR1)  # Pykka's `log_thread_tracebacks`, which Mopidy has put there
        NEVER.wait(1.0)
        return self.log

    def tell(self, command: str) -> Any:
        """One of the driver's commands; returns its answer."""
        self.send(command)
        return json.loads(self._answers.get(timeout=DEADLINE_S))

    def send(self, command: str) -> None:
        """One of the driver's commands, for a player that may end of it."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()

    def ends_within(self, seconds: float) -> bool:
        """Wait so long for its end."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def actor(self, name: str) -> str | None:
        """The URN of the actor of a class, which is another one for each incarnation; ``None`` while there is none."""
        return next((urn for kind, urn in self.tell("actors") if kind == name), None)

    def child(self, name: str) -> dict[str, Any]:
        """The child of that name in the supervision tree."""

        def below(branch: dict[str, Any]) -> Iterator[dict[str, Any]]:
            yield branch
            for child in branch["children"]:
                yield from below(child)

        return next((one for one in below(self.tell("tree")) if one["name"] == name), {"state": None, "urn": None})

    def crash(self, name: str) -> None:
        """Have the actor of a class crash."""
        assert self.tell(f"crash {name}") == 1

    def rpc(self, method: str, **parameters: Any) -> Any:
        """Ask Mopidy's core by HTTP; raises `RpcError` where it answers so."""
        question = {"jsonrpc": "2.0", "id": 1, "method": f"core.{method}", "params": parameters}
        answer = requests.post(f"http://127.0.0.1:{self.http_port}/mopidy/rpc", json=question, timeout=DEADLINE_S)
        assert answer.status_code == 200, answer.text
        said = answer.json()
        if "error" in said:
            raise RpcError(said["error"]["data"]["type"], said["error"]["data"]["message"])
        return said["result"]

    def mpd(self) -> MpdClient:
        """A new client."""
        return MpdClient(self.mpd_port)

    def websocket(self) -> socket.socket:
        """A connection that Mopidy sends its events to."""
        connection = socket.create_connection(("127.0.0.1", self.http_port), timeout=DEADLINE_S)
        lines = (
            "GET /mopidy/ws HTTP/1.1",
            f"Host: 127.0.0.1:{self.http_port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version: 13",
        )
        connection.sendall("\r\n".join((*lines, "", "")).encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
        assert head.startswith(b"HTTP/1.1 101"), head
        self.rpc("get_version")  # its event loop has come round: it tells this connection what happens from now on
        return connection

    def terminate(self) -> int:
        """SIGTERM; returns the exit status."""
        self.process.terminate()
        try:
            return self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end:\n{self.log}") from None
        finally:
            self.close()

    def close(self) -> None:
        """End it by force, and all that reads from it."""
        self.process.kill()
        self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(BrokenPipeError):  # of a command that was never read
                if pipe is not None:
                    pipe.close()


@contextmanager
def playing(work: Path, program: Path | None = None) -> Iterator[Player]:
    """A player that has started; it is killed at the end, and what it wrote is shown where a test has failed."""
    player = Player(work, program)
    try:
        player.await_start()
        yield player
    finally:
        player.close()
        sys.stderr.write(player.log[-20_000:])


_CONFIG = """\
[core]
cache_dir = {work}/cache
config_dir = {work}/config
data_dir = {work}/data
restore_state = true
[audio]
output = fakesink sync=true
mixer_volume = 40
[mpd]
hostname = 127.0.0.1
port = {mpd_port}
max_connections = 100
[http]
hostname = 127.0.0.1
port = {http_port}
zeroconf =
[file]
media_dirs = {work}/music
[m3u]
playlists_dir = {work}/playlists
"""


def _song(path: Path, seconds: int = 60) -> str:
    """A minute of silence; returns its URI."""
    path.parent.mkdir(exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(8000)
        file.writeframes(b"\x80" * 8000 * seconds)
    return path.as_uri()


# --- its clients ------------------------------------------------------------------------------------------------------


class MpdClient:
    """A client of the MPD protocol, as ncmpcpp and mpc are; each wait has a deadline."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=GREETING_S)
        self._read = (
            b""  # what has come, to the last line that was handed out; a file would not be of use after a timeout
        )
        try:
            greeting = self._line()
            assert greeting.startswith("OK MPD"), greeting
        except BaseException:
            self.close()
            raise
        self._socket.settimeout(DEADLINE_S)

    def _line(self) -> str:
        while b"\n" not in self._read:
            more = self._socket.recv(4096)
            assert more, "the player has closed the connection"
            self._read += more
        line, _, self._read = self._read.partition(b"\n")
        return line.decode()

    def ask(self, command: str) -> list[str]:
        """Send a command, and return its answer without the last line."""
        self.send(command)
        return self.answer()

    def send(self, command: str) -> None:
        self._socket.sendall(command.encode() + b"\n")

    def answer(self) -> list[str]:
        lines: list[str] = []
        while (line := self._line()) != "OK":
            assert not line.startswith("ACK"), line
            lines.append(line)
        return lines

    def told_within(self, seconds: float) -> list[str] | None:
        """What an ``idle`` is answered; ``None`` where it is not answered in that time."""
        self._socket.settimeout(seconds)
        try:
            return self.answer()
        except TimeoutError:
            return None
        finally:
            self._socket.settimeout(DEADLINE_S)

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> MpdClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def clients_come_and_go(player: Player) -> Iterator[None]:
    """Three clients connect and leave all the time, while two turn ``random`` on and off, of which all are told.

    Thirty more only stay: while they are told, one after the other, those who were told to be there may have left.
    """
    over = threading.Event()
    staying = [player.mpd() for _ in range(30)]

    def come_and_go() -> None:
        while not over.is_set():
            with suppress(OSError), socket.create_connection(("127.0.0.1", player.mpd_port), timeout=DEADLINE_S) as one:
                one.sendall(b"close\n")

    def turn() -> None:
        number = 0
        while not over.is_set():
            with suppress(OSError, AssertionError), player.mpd() as one:
                while not over.is_set():
                    number += 1
                    one.ask(f"random {number % 2}")

    threads = [threading.Thread(target=one) for one in (*[come_and_go] * 3, turn, turn)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(DEADLINE_S)
        for client in staying:
            client.close()

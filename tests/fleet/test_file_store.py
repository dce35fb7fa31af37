"""`FileStore` on a real disk with real processes: locks that end with their process; files that are torn, or in the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from threads import eventually

from fleet.servers import unavailable
from oidc_actor.sharing import file_store
from oidc_actor.sharing.file_store import FileStore
from oidc_actor.sharing.sealing import new_key
from oidc_actor.sharing.store import Claim, Granted, Newer, Occupied, Overtaken, Renewal, Share, Shared
from oidc_actor.values.errors import ConfigError, StoreError
from oidc_actor.values.secrets import Secret

FAR_MS = 10**9
LEASE_MS = 60_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FileStore]:
    yield FileStore(tmp_path / "tokens", namespace="files")
    for (path, fence), _ in [*file_store._held.items()]:
        FileStore(Path(path).parent, namespace="files")._release(Path(path).name.split(".")[1], fence)


def claim(store: FileStore, claimant: str = "me", **given: Any) -> Any:
    now_ms, known_gen = store.look(()).now_ms, store.look(["k"]).gens[0]
    asked = {"known_gen": known_gen, "lease_ms": LEASE_MS, **given}
    return store.claim("k", Claim(claimant, now_ms + FAR_MS, **asked))


def share(store: FileStore, granted: Granted, claimant: str = "me", login: str | None = None) -> Any:
    far = store.look(()).now_ms + FAR_MS
    following = None if login is None else Secret(login)
    return store.share("k", Share(claimant, granted.fence, far, Secret("token"), far, f"f{granted.fence}", following))


class Child:
    """A forked process that does something, says so, and then waits for a line, or to be killed."""

    def __init__(self, work: Callable[[], object]) -> None:
        from_child, says = os.pipe()
        waits, to_child = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            status = 1
            try:
                os.close(to_child)
                os.write(says, f"{work()}\n".encode())
                os.read(waits, 1)
                status = 0
            finally:
                os._exit(status)
        os.close(says)
        os.close(waits)
        self._to_child = to_child
        with os.fdopen(from_child) as read:
            self.said = read.readline().strip()

    def end(self, number: int | None = None) -> None:
        if number is not None:
            os.kill(self.pid, number)
        os.close(self._to_child)
        os.waitpid(self.pid, 0)


def left(store: FileStore) -> list[str]:
    return sorted(os.listdir(store.host))


# --- leases -----------------------------------------------------------------------------------------------------------


def test_a_killed_holder_is_not_waited_for(store: FileStore) -> None:
    child = Child(lambda: type(claim(store, "child")).__name__)
    assert child.said == "Granted"
    assert isinstance(claim(store), Occupied)
    child.end(signal.SIGKILL)
    assert isinstance(claim(store), Granted)
    assert [name for name in left(store) if name.endswith(".lease")] == [lease_of(store)]


def lease_of(store: FileStore) -> str:
    fence = json.loads((Path(store.host) / "files.k.json").read_text())["fence"]
    return f"files.k.{fence}.lease"


def test_a_childs_end_ends_no_lease_of_its_parents(store: FileStore) -> None:
    granted = claim(store)
    child = Child(lambda: type(claim(store, "child")).__name__)
    assert child.said == "Occupied"
    child.end(signal.SIGKILL)
    assert isinstance(claim(store, "other"), Occupied)
    assert isinstance(share(store, granted), Shared)
    assert not [name for name in left(store) if name.endswith(".lease")]


def test_a_child_keeps_no_lease_of_a_killed_parent(store: FileStore) -> None:
    def have_grandchild() -> int:
        assert isinstance(claim(store, "parent"), Granted)
        return Child(lambda: "there").pid

    parent = Child(have_grandchild)
    grandchild = int(parent.said)
    parent.end(signal.SIGKILL)
    try:
        assert isinstance(claim(store), Granted)
    finally:
        os.kill(grandchild, signal.SIGKILL)


def test_a_step_under_way_locks_no_child(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that is forked while another thread has the lock has a copy of the open file."""
    in_step, go_on = threading.Event(), threading.Event()
    write = FileStore._write

    def slow(self: FileStore, *args: Any) -> None:
        in_step.set()
        go_on.wait(10)
        write(self, *args)

    monkeypatch.setattr(FileStore, "_write", slow)
    step = threading.Thread(target=lambda: claim(store))
    step.start()
    assert in_step.wait(10)
    child = Child(lambda: len(os.listdir("/proc/self/fd")))
    go_on.set()
    step.join(10)
    assert isinstance(claim(store, "other"), Occupied)
    child.end()


def test_a_holder_that_was_stopped_is_refused_when_it_wakes(store: FileStore) -> None:
    def hold() -> int:
        granted = claim(store, "child", lease_ms=50)
        assert isinstance(granted, Granted)
        os.kill(os.getpid(), signal.SIGSTOP)
        assert isinstance(share(store, granted, "child", "stale"), Overtaken)
        renewal = Renewal("child", granted.fence, granted.now_ms + FAR_MS)
        assert store.renew("k", renewal) is False
        return granted.fence

    pids: list[int] = []
    fork = os.fork

    def noted() -> int:
        pids.append(fork())
        return pids[-1]

    os.fork = noted
    try:
        made: list[Child] = []
        thread = threading.Thread(target=lambda: made.append(Child(hold)))
        thread.start()
        eventually(lambda: pids and Path(f"/proc/{pids[0]}/stat").read_text().split()[2] == "T", "the stop")
        granted: list[Any] = []

        def is_granted() -> bool:
            granted.append(claim(store, "next"))
            return isinstance(granted[-1], Granted)

        eventually(is_granted, "the end of the lease")
        os.kill(pids[0], signal.SIGCONT)
        thread.join(10)
        assert int(made[0].said) < granted[-1].fence
        made[0].end()
        assert isinstance(share(store, granted[-1], "next"), Shared)
    finally:
        os.fork = fork
    assert left(store) == ["files.k.json", "files.k.lock"]


def test_a_claim_that_was_never_heard_leaves_no_open_file(store: FileStore) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number in range(20):
        claim(store, f"c{number}", unheard=f"c{number - 1}")
    assert len(os.listdir("/proc/self/fd")) <= before + 1
    assert len([name for name in left(store) if name.endswith(".lease")]) == 1


def test_eight_processes_claim_at_a_time(store: FileStore) -> None:
    code = f"""
import sys, time
from oidc_actor.sharing.file_store import FileStore
from oidc_actor.sharing.store import Claim, Granted
store = FileStore({store.host!r}, namespace="files")
print("ready", flush=True)
sys.stdin.readline()
for number in range(30):
    key = f"r{{number}}"
    answer = store.claim(key, Claim(sys.argv[1], 2**53, lease_ms=60_000))
    print(key, type(answer).__name__, flush=True)
sys.stdin.readline()
"""
    players = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for number in range(8)
    ]
    try:
        for player in players:
            assert player.stdout is not None
            assert player.stdout.readline() == "ready\n"
        for player in players:
            assert player.stdin is not None
            player.stdin.write("go\n")
            player.stdin.flush()
        answers: dict[str, list[str]] = {}
        for player in players:
            for _ in range(30):
                assert player.stdout is not None
                key, answer = player.stdout.readline().split()
                answers.setdefault(key, []).append(answer)
        for key, given in answers.items():
            assert sorted(given) == ["Granted", *["Occupied"] * 7], key
    finally:
        for player in players:
            player.communicate("end\n", timeout=10)


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"v": 1}',
        b'{"v": 2, "boot": "x"}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"v": 1, "boot": "b", "gen": "1", "fence": 1}',
        b" " * 2_000_000,
    ],
    ids=["empty", "torn", "a list", "null", "short", "newer", "binary", "deep", "wrong kinds", "large"],
)
def test_a_file_that_is_no_record_counts_as_absent(store: FileStore, content: bytes) -> None:
    (Path(store.host) / "files.k.json").write_bytes(content)
    assert store.look(["k"]).gens == (0,)
    assert isinstance(share(store, claim(store)), Shared)
    assert store.look(["k"]).gens[0] > 0


def test_any_part_of_a_record_is_a_record_or_absent(store: FileStore) -> None:
    share(store, claim(store), login="next")
    path = Path(store.host) / "files.k.json"
    whole = path.read_bytes()
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        assert store.look(["k"]).gens == (0,)


def test_another_boot_leaves_the_login(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    share(store, claim(store), login="next")
    found = claim(store, known_gen=0)
    assert isinstance(found, Newer)
    monkeypatch.setattr(file_store, "_boot", lambda: "another")
    monkeypatch.setattr(file_store, "_now_ms", lambda: 1000)
    granted = store.claim("k", Claim("me", 2000, login=Secret("first")))
    assert isinstance(granted, Granted)
    assert granted.refresh_token == Secret("next")
    assert granted.fence > 10**6 or granted.fence > 1000
    assert not granted.doubtful


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as filler:
        while True:
            filler.write(b"x" * 4096)


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir(mode=0o700)
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", str(folder)], check=False
    ).returncode:
        unavailable("no small file system can be mounted here")
    try:
        store = FileStore(folder, namespace="files")
        share(store, claim(store), login="next")
        gen, held = store.look(["k"]).gens[0], dict(file_store._held)
        with pytest.raises(OSError, match="No space left on device"):
            fill(folder / "filler")
        with pytest.raises(StoreError, match="No space left on device"):
            claim(store, login=Secret("first"))
        assert store.look(["k"]).gens == (gen,)
        assert left(store) == ["files.k.json", "files.k.known", "files.k.lock", "filler"]
        assert file_store._held == held
        (folder / "filler").unlink()
        granted = claim(store, login=Secret("first"))
        assert isinstance(granted, Granted)
        assert granted.refresh_token == Secret("next")
        share(store, granted)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_write_that_takes_a_part_is_gone_on_with(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: write(descriptor, content[:10]))
    assert isinstance(share(store, claim(store)), Shared)
    assert store.look(["k"]).gens[0] > 0


def test_what_killed_processes_have_left_is_cleared_away(store: FileStore) -> None:
    folder = Path(store.host)
    held = claim(store)
    assert isinstance(held, Granted)
    for name in ("files.k.new", "files.k.7.lease", "files.gone.lock", "files.gone.new", "files.gone.9.lease"):
        (folder / name).touch()
    strangers = ["files.k.txt", "other.k.new", "readme"]
    for name in strangers:
        (folder / name).touch()
    share(FileStore(folder, namespace="old"), FileStore(folder, namespace="old").claim("k", Claim("c", 2**53)))
    past = json.loads((folder / "old.k.json").read_text())
    (folder / "files.past.json").write_text(json.dumps({**past, "keep_until_ms": 1}))
    (folder / "files.boot.json").write_text(json.dumps({**past, "keep_until_ms": 1, "boot": "another"}))
    assert isinstance(claim(FileStore(folder, namespace="files"), "other"), Occupied)
    kept = [name for name in left(store) if not name.startswith("old.")]
    assert kept == sorted(
        ["files.boot.json", "files.boot.lock", lease_of(store), "files.k.json", "files.k.lock", *strangers]
    )


def test_a_lock_that_is_cleared_away_while_it_is_waited_for(store: FileStore) -> None:
    """Else two would hold a lock each, one of a file that none finds any more, and their steps would not be one after another."""
    path = store._file("k")
    got: list[bool] = []

    def second() -> None:
        with store._lock(path, patience_s=5.0):
            got.append(path.with_suffix(".lock").exists())

    with store._lock(path):
        waiting = threading.Thread(target=second)
        waiting.start()
        eventually(lambda: len(file_store._locked) == 2, "the other one to wait")
        path.with_suffix(".lock").unlink()
    waiting.join(10)
    assert got == [True]


def test_a_lock_that_is_never_let_go_of_is_an_error_in_time(store: FileStore) -> None:
    with store._lock(store._file("k")), pytest.raises(StoreError, match=r"has held the lock for 0.5 s") as caught:
        claim(store)
    assert caught.value.sent is False


# --- who may --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o701, 0o777, 0o770])
def test_a_directory_that_others_may_open_is_refused(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(ConfigError, match=rf"only its owner may open, got .* with mode {mode:04o}; chmod 0700 it"):
        FileStore(folder, namespace="files")
    if mode & 0o007:
        with pytest.raises(ConfigError, match="only its owner and group may open"):
            FileStore(folder, namespace="files", keys=[new_key()])


def test_files_are_for_their_owner_whatever_the_mask(store: FileStore) -> None:
    before = os.umask(0)
    try:
        claim(store)
    finally:
        os.umask(before)
    assert {(Path(store.host) / name).stat().st_mode & 0o777 for name in left(store)} == {0o600}


def test_two_users_of_a_group_share_with_keys(tmp_path: Path) -> None:
    if os.geteuid():
        unavailable("only root can be two users")
    group, users, key = 65_001, (65_002, 65_003), new_key()
    for folder in (tmp_path, *tmp_path.parents[:-1]):
        folder.chmod(folder.stat().st_mode | 0o011)
    shared = tmp_path / "shared"
    shared.mkdir()
    os.chown(shared, users[0], group)
    shared.chmod(0o770)

    def as_user(user: int, claimant: str, work: Callable[[FileStore], object]) -> Child:
        def play() -> object:
            os.setgroups([group])
            os.setgid(user)
            os.setuid(user)
            os.umask(0o077)
            try:
                return work(FileStore(shared, namespace="files", keys=[key]))
            except (StoreError, ConfigError, OSError) as error:
                return f"{claimant}: {error}"

        return Child(play)

    def claims(store: FileStore) -> str:
        return type(claim(store, "one")).__name__

    def claims_and_shares(store: FileStore) -> str:
        granted = claim(store, "other")
        return type(share(store, granted, "other") if isinstance(granted, Granted) else granted).__name__

    first = as_user(users[0], "first", claims)
    assert first.said == "Granted"
    second = as_user(users[1], "second", claims)
    assert second.said == "Occupied"
    second.end()
    first.end(signal.SIGKILL)
    third = as_user(users[1], "third", claims_and_shares)
    assert third.said == "Shared"
    third.end()
    fourth = as_user(users[0], "fourth", claims_and_shares)
    assert fourth.said == "Shared"
    fourth.end()
    assert {(shared / name).stat().st_mode & 0o777 for name in os.listdir(shared)} == {0o660}
    assert {(shared / name).stat().st_gid for name in os.listdir(shared)} == {group}


def test_a_look_reads_what_has_changed_and_nothing_else(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    reads = FileStore._read
    monkeypatch.setattr(
        FileStore, "_read", lambda self, path, now_ms: (read.append(path), reads(self, path, now_ms))[1]
    )
    assert isinstance(share(store, claim(store)), Shared)
    path = Path(store.host) / "files.k.json"
    gens, ago = [], time.time() - 60
    for at in (None, ago, ago, ago + 1):  # just written; an older file, twice; and another one
        if at is not None:
            os.utime(path, (at, at))
        read.clear()
        gens.append((store.look(["k"]).gens[0] > 0, len(read)))
    assert gens == [(True, 1), (True, 1), (True, 0), (True, 1)]
    path.unlink()
    assert store.look(["k"]).gens == (0,)


# --- who knows a login ------------------------------------------------------------------------------------------------

LOGIN = Secret("login")


def test_a_login_is_known_while_a_process_lives_that_has_claimed_it(store: FileStore) -> None:
    assert not store.is_known("k")

    def knows() -> int:
        assert isinstance(claim(store, "child", login=LOGIN), Granted)
        pid = os.fork()  # and a child of its has its knowledge
        if not pid:
            signal.alarm(60)
            signal.pause()
        return pid

    child = Child(knows)
    try:
        assert store.is_known("k")
        child.end(signal.SIGKILL)
        assert store.is_known("k")
    finally:
        os.kill(int(child.said), signal.SIGKILL)
    eventually(lambda: not store.is_known("k"), "the end of the grandchild")
    assert "files.k.known" not in left(store)


def test_one_that_adopts_a_login_knows_it_too(store: FileStore) -> None:
    other = Child(lambda: share(store, claim(store, "other", login=LOGIN), "other", "next"))
    adopts = Child(lambda: type(claim(store, known_gen=0, login=LOGIN)).__name__)
    assert adopts.said == "Newer"
    other.end(signal.SIGKILL)
    assert store.is_known("k")
    adopts.end(signal.SIGKILL)
    assert not store.is_known("k")


def test_what_needs_no_login_keeps_no_file_open(store: FileStore) -> None:
    share(store, claim(store))
    assert not store.is_known("k")
    assert isinstance(claim(store, known_gen=0), Newer)
    assert not store.is_known("k")


def test_the_logins_of_many_are_known_without_a_file_for_each(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_store, "MOST_KNOWN", len(file_store._knows))
    open_before = len(os.listdir("/proc/self/fd"))
    granted = claim(store, login=LOGIN)
    assert store.is_known("k")
    store._release("k", granted.fence)
    assert len(os.listdir("/proc/self/fd")) == open_before
    assert store.is_known("k")

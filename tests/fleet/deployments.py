"""Redis with sentinels, and as a cluster, for tests: real servers on free ports."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from threads import eventually

from fleet.servers import Server, redis_server

NAME = "tokens"


class Sentinels:
    """A master, a replica, and three sentinels that watch them."""

    def __init__(self, servers: list[Server], watchers: list[Server]) -> None:
        self.servers, self.watchers = servers, watchers

    @property
    def hosts(self) -> list[tuple[str, int]]:
        return [("127.0.0.1", one.port) for one in self.watchers]

    def master(self) -> Server:
        """Which one the sentinels name."""
        said = self.watchers[0].say("SENTINEL", "get-master-addr-by-name", NAME)
        return next(one for one in self.servers if f"\r\n{one.port}\r\n" in said)

    def replica(self) -> Server:
        return next(one for one in self.servers if one is not self.master())

    def is_in_step(self) -> bool:
        """Whether the master has a replica that has all, which each sentinel knows."""
        master, replica = self.master(), self.replica()
        if not master.process or not replica.process:
            return False
        told = master.say("INFO", "replication")
        known = [one.say("SENTINEL", "replicas", NAME) for one in self.watchers]
        up = all(
            "s_down" not in text and f"{replica.port}" in text and "master-link-status\r\n$2\r\nok" in text
            for text in known
        )
        sure = all("\r\nflags\r\n$6\r\nmaster\r\n" in one.say("SENTINEL", "master", NAME) for one in self.watchers)
        return "state=online" in told and up and sure

    def fail_over(self) -> None:
        """Kill the master, and wait until the sentinels name the other one."""
        old = self.master()
        old.kill()
        eventually(lambda: self.master() is not old, "another master", deadline_s=30)
        new = self.master()
        eventually(
            lambda: "role:master" in new.say("INFO", "replication"), "the other one to be the master", deadline_s=30
        )


@contextmanager
def sentinels() -> Iterator[Sentinels]:
    with ExitStack() as stack:
        master = stack.enter_context(redis_server("--repl-diskless-sync-delay", "0"))
        replica = stack.enter_context(
            redis_server("--replicaof", f"127.0.0.1 {master.port}", "--repl-diskless-sync-delay", "0")
        )
        watchers = []
        for _ in range(3):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            watcher = Server(master.binary, folder)
            (folder / "sentinel.conf").write_text(
                f"port {watcher.port}\nbind 127.0.0.1\nsentinel monitor {NAME} 127.0.0.1 {master.port} 2\n"
                f"sentinel down-after-milliseconds {NAME} 1000\nsentinel failover-timeout {NAME} 1000\n"
            )
            stack.callback(watcher.kill)
            watchers.append(watcher.start_as(str(folder / "sentinel.conf"), "--sentinel"))
        made = Sentinels([master, replica], watchers)
        eventually(
            lambda: all("num-other-sentinels\r\n$1\r\n2" in one.say("SENTINEL", "master", NAME) for one in watchers),
            "the sentinels to know each other",
            deadline_s=30,
        )
        eventually(made.is_in_step, "the replica", deadline_s=30)
        yield made


@contextmanager
def cluster(start: Callable[..., AbstractContextManager[Server]]) -> Iterator[list[Server]]:
    """Three masters, each with a third of the slots."""
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(start("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")) for _ in range(3)
        ]
        bounds = [0, 5461, 10923, 16384]
        for node, first, after in zip(nodes, bounds, bounds[1:], strict=False):
            assert node.say("CLUSTER", "ADDSLOTSRANGE", str(first), str(after - 1)).startswith("+OK")
        for node in nodes[1:]:
            node.say("CLUSTER", "MEET", "127.0.0.1", str(nodes[0].port), str(nodes[0].bus))
        eventually(
            lambda: all(
                "cluster_state:ok" in one.say("CLUSTER", "INFO")
                and "cluster_known_nodes:3" in one.say("CLUSTER", "INFO")
                for one in nodes
            ),
            "the cluster",
            deadline_s=30,
        )
        yield nodes

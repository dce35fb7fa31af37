"""The sidecar's managers, a `TokenPool` with the names of the configuration as its keys, and the files that have their tokens.

A configuration becomes `TokenPool.put` and `TokenPool.remove`. A manager whose table has changed has the name that it had: it
serves its token until there is one of the new table, and a refusal leaves the former table in force, as `TokenManager.replace`
does. The pool tells a manager that trades another's token of each new one.

A manager bears the very name that it has in the configuration, in logs and in metrics, because that is no secret. Requests read
from the pool on the event loop, without a lock. The main thread applies the first configuration and the reload thread each later
one, one after the other (`Fleet.apply`). A manager tells of each new token on a thread for subscribers, which waits until the
file has it: what was replaced is revoked after that, so that no program reads a revoked token from the file.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Coroutine, Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pykka

from oidc_actor.manager.token_manager import TokenManager
from oidc_actor.metrics.readings import Reading, bounded, ready, sharing_of
from oidc_actor.pool.members import UnknownKey, member_at
from oidc_actor.pool.token_pool import TokenPool
from oidc_actor.reading.directory import cell_of
from oidc_actor.reading.waiters import Subscription
from oidc_actor.sidecar.log import log
from oidc_actor.sidecar.manager_tables import ManagerConfig
from oidc_actor.sidecar.token_files import TokenFile, Write
from oidc_actor.values.errors import NoTokenError, OIDCActorError
from oidc_actor.values.tokens import TokenResponse
from supervision import ChildNotFound, ChildSpec, NoProcess, SupervisionError, Supervisor, call
from supervision.frozen import dataclass

POOL = "sidecar/managers"
"""What the pool is registered under; the name of no manager has a slash."""

MAX_RESTARTS = 10
MAX_SECONDS = 60.0

WRITE_S = 5.0
"""Seconds that the revocation of a replaced token waits, at most, until the token file has the new one."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What a configuration changed: how many managers were kept, started, replaced and stopped."""

    kept: int = 0
    started: int = 0
    replaced: int = 0
    stopped: int = 0


class Fleet:
    """All managers, by the names that readers use."""

    def __init__(self) -> None:
        """Start the supervisor and the pool, without managers."""
        self.supervisor: pykka.ActorRef[Any] = Supervisor.start_link(
            [TokenPool.child_spec(name=POOL, _name_of=str)], max_restarts=MAX_RESTARTS, max_seconds=MAX_SECONDS
        )
        # Guards that one configuration is applied after the other. Any thread reads the keys of the first meanwhile.
        self._applying = threading.Lock()
        self._options: dict[str, Mapping[str, Any]] = {}
        self._files: dict[str, tuple[tuple[Path, int], Subscription]] = {}

    @property
    def names(self) -> list[str]:
        """The names that can be read."""
        return list(self._options)

    def token(self, name: str, timeout_s: float, min_validity_s: float) -> Coroutine[Any, Any, TokenResponse]:
        """Get a token in a task; raises what `TokenPool.aget_token` does."""
        return TokenPool.aget_token(POOL, name, timeout=timeout_s, min_validity=min_validity_s)

    def live_token(self, name: str) -> TokenResponse | None:
        """The token, while it lives; ``None`` where a task has to look further."""
        member = member_at(POOL, name)
        if member is None:
            return None
        cell = member.cell
        snapshot, now = cell.snapshot, cell.clock()
        if now >= snapshot.deadline:
            return None
        member.used_at = now
        return snapshot.token

    def not_ready(self) -> list[str]:
        """The names that have no valid token."""
        return [name for name in self.names if not ready(name)]

    def refused(self) -> list[str]:
        """The names whose last table the provider has refused, so that the one before is in force."""
        cells = [cell_of(name) for name in self.names]
        return [cell.name or "" for cell in cells if cell and cell.state and cell.state.not_replaced]

    def sharing(self) -> dict[str, str]:
        """How the names share their tokens that do: ``"shared"``, or ``"alone"`` while the store cannot be asked."""
        found = {name: sharing_of(name) for name in self.names}
        return {name: how for name, how in found.items() if how != "off"}

    def readings(self, most: int) -> list[Reading]:
        """The metrics of all managers.

        Args:
            most: How many series are told apart.
        """
        cells = [cell_of(name) for name in self.names]
        return bounded([cell for cell in cells if cell is not None], most)

    def apply(self, configs: Mapping[str, ManagerConfig]) -> Changes:
        """Bring the managers in line with a configuration; waits for no provider. Any thread, one at a time."""
        with self._applying:
            gone = [name for name in self.names if name not in configs]
            for name in gone:
                self._remove(name)
            kept = started = replaced = 0
            for name in _used_first(configs):
                before, options = self._options.get(name), configs[name].options
                if self._put(name, options):
                    kept += before == options
                    started += before is None
                    replaced += before not in (None, options)
            self._move_files(configs)
            return Changes(kept, started, replaced, len(gone))

    def stop(self, timeout_s: float) -> None:
        """Stop everything.

        Raises:
            CallTimeout: Something has not ended in time; it is abandoned with the process.
        """
        with contextlib.suppress(NoProcess):
            Supervisor.stop(self.supervisor, timeout=timeout_s)

    # --- managers -----------------------------------------------------------------------------------------------------

    def _put(self, name: str, options: Mapping[str, Any]) -> bool:
        """Also where the table is unchanged: one that the provider has refused is tried again."""
        try:
            TokenPool.put(POOL, name, **options)
        except (OIDCActorError, SupervisionError) as error:
            log("manager_failed", manager=name, error=type(error).__name__)
            return False
        self._options[name] = options
        return True

    def _remove(self, name: str) -> None:
        del self._options[name]
        with contextlib.suppress(
            UnknownKey, SupervisionError
        ):  # the pool is going down, or the end of this one goes on
            TokenPool.remove(POOL, name)
        self._remove_file(name)

    # --- files --------------------------------------------------------------------------------------------------------

    def _move_files(self, configs: Mapping[str, ManagerConfig]) -> None:
        moved = [name for name in self.names if self._file_of(name) != _file_in(configs[name])]
        for name in moved:  # all of them first: one may get the path of another
            self._remove_file(name, keep=configs[name].token_file)
        for name in moved:
            self._start_file(name, _file_in(configs[name]))

    def _start_file(self, name: str, file: tuple[Path, int] | None) -> None:
        if file is None:
            return
        child = _child_of(name)
        spec = ChildSpec(child, TokenFile, (*file, functools.partial(_current, name)), name=child)
        try:
            subscription = TokenManager.subscribe(name, functools.partial(_write, child))
            Supervisor.start_child(self.supervisor, spec)  # it writes the token that came before
        except SupervisionError as error:
            log("manager_failed", manager=child, error=type(error).__name__)
            return
        self._files[name] = file, subscription

    def _remove_file(self, name: str, keep: Path | None = None) -> None:
        """End the actor that writes the file, and remove the file, unless it is ``keep``: only its mode is another then."""
        file, subscription = self._files.pop(name, (None, None))
        if file is None or subscription is None:
            return
        subscription.cancel()
        with contextlib.suppress(ChildNotFound, NoProcess):  # the supervisor is going down with it
            Supervisor.terminate_child(self.supervisor, _child_of(name))
            Supervisor.delete_child(self.supervisor, _child_of(name))
        if file[0] != keep:
            with contextlib.suppress(OSError):  # it may never have been written
                file[0].unlink()

    def _file_of(self, name: str) -> tuple[Path, int] | None:
        return self._files[name][0] if name in self._files else None


def _current(name: str) -> TokenResponse | None:
    try:
        return TokenManager.get_token(name, timeout=0)
    except (NoTokenError, NoProcess):
        return None


def _write(child: str, _token: TokenResponse) -> None:
    with contextlib.suppress(SupervisionError):  # it is not there yet, or any more, or the disk is slow
        call(child, Write(), WRITE_S)


def _used_first(configs: Mapping[str, ManagerConfig]) -> list[str]:
    """The names, each after those whose tokens it trades: a manager that starts finds the other one there."""
    order = TopologicalSorter({name: sorted(config.uses) for name, config in configs.items()}).static_order()
    return [name for name in order if name in configs]


def _child_of(name: str) -> str:
    return f"{name}@file"


def _file_in(config: ManagerConfig) -> tuple[Path, int] | None:
    return None if config.token_file is None else (config.token_file, config.token_file_mode)

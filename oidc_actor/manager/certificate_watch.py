"""Looks at the files of clients' certificates: one look for all managers of the process that show the same one (RFC 8705).

A renewed certificate makes the tokens that are bound to the former one ones of the past. A manager that looked by itself would
cost two messages and two changes of threads at each look, and so would each of a thousand others, though nothing has changed.

Three kinds of threads meet in a `_Watch`:

- A manager joins, and leaves when its options are of no use any more. Each is one operation on a dictionary.
- The timer thread hands the look to a worker: a file of a network may keep whoever looks at it waiting.
- The worker notes what each manager knows, *then* looks at the files, and tells those managers that know something else and
  have not asked for a token meanwhile. It compares with what each knows, not with its own last look, so that a manager that could
  not make use of it, because a request was under way, is told of it at the next look. Then it sets the next timer.

A watch whose look finds no manager ends. It says so first and then looks for managers once more, as `_ClockWatch` does: one that
joins in between finds that the watch has ended and begins it again, or is found.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Hashable
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from oidc_actor.credentials.keys import ClientCertificate
from oidc_actor.machine.events import CertificateRenewed
from oidc_actor.manager.workers import HTTP_WORKERS
from oidc_actor.values.clock import Clock, real_delay_s
from supervision.runtime.per_process import PerProcess
from supervision.runtime.timer_thread import call_later

if TYPE_CHECKING:
    from oidc_actor.manager.provider_requests import Incarnation

LOOK_S = 5.0
"""Seconds between two looks at a client's certificate."""


class CertificateWatch:
    """Looks at one certificate's files, by one clock, for as long as managers show it.

    Attributes:
        looked_at: Reading of the clock at the last look that has ended; before the first, when it began to watch.
        is_running: Whether a timer of its own is set, or a look under way.
    """

    def __init__(self, certificate: ClientCertificate, clock: Clock) -> None:
        self._files, self._clock = certificate.sources, clock
        self._managers: dict[Incarnation, None] = {}
        self.is_running, self.looked_at = False, clock()
        self._lock = threading.Lock()  # guards that alone: of two managers that join at once one begins

    def join(self, manager: Incarnation) -> None:
        """Tell a manager when the files are not what they were when it asked for its token; on its thread."""
        self._managers[manager] = None
        self._begin()

    def leave(self, manager: Incarnation) -> None:
        """Tell it no longer; on its thread."""
        self._managers.pop(manager, None)

    def _begin(self) -> None:
        at = self._clock()
        with self._lock:
            if self.is_running:
                return
            self.is_running, self.looked_at = True, at
        self._look_later(LOOK_S)

    def _look_later(self, delay_s: float) -> None:
        try:
            call_later(real_delay_s(self._clock, max(0.0, delay_s)), self._due)
        except RuntimeError:  # no thread for timers can be had: the next manager that joins tries again
            self.is_running = False

    def _due(self) -> None:
        """On the timer thread."""
        left_s = self.looked_at + LOOK_S - self._clock()
        if left_s > 0:  # by a clock that does not go as real time does
            self._go_on(left_s)
            return
        try:
            HTTP_WORKERS.value.submit(self, self._look)
        except RuntimeError:  # without a thread the next timer tries again
            self._look_later(LOOK_S)

    def _look(self) -> None:
        """On a worker's thread."""
        at = self._clock()
        known = [(one, one.cell.versions) for one in list(self._managers) if self._concerns(one)]
        found = tuple(file.version() for file in self._files)
        for manager, versions in known if None not in found else ():  # one may just be replaced
            if versions is not None and versions[1] != found and manager.cell.versions is versions:
                # A mailbox that cannot get a thread has the message all the same.
                with contextlib.suppress(RuntimeError):
                    manager.cell.tell(CertificateRenewed())
        self.looked_at = at
        self._go_on(LOOK_S)

    def _go_on(self, delay_s: float) -> None:
        if any(self._concerns(one) for one in list(self._managers)):
            self._look_later(delay_s)
            return
        self.is_running = False
        if self._managers:
            self._begin()

    def _concerns(self, manager: Incarnation) -> bool:
        """Whether that incarnation is the one that has its cell; one that was killed never leaves by itself."""
        if manager.cell.is_served and manager.cell.is_owned_by(manager.ref):
            return True
        self._managers.pop(manager, None)
        return False


# Held by those that have joined, and by its timer. Two managers that join at once may get one each, which does no harm.
_watches: PerProcess[WeakValueDictionary[Hashable, CertificateWatch]] = PerProcess(WeakValueDictionary)


def watch_of(certificate: ClientCertificate, clock: Clock) -> CertificateWatch:
    """Give the watch over a certificate's files that all managers of this process share.

    Args:
        certificate: What they show; of two with the same files and other passwords the files are the same.
        clock: What they go by.
    """
    # By the clock's identity, because a user's may not be hashable. The watch keeps the clock, and with it the number.
    key = certificate.cert_file, certificate.key_file, id(clock)
    found = _watches.value.get(key)
    return found or _watches.value.setdefault(key, CertificateWatch(certificate, clock))

"""What members tell each other of through Redis or Valkey: that a key has a new token. `Notices`.

A message is the generation of the token and nothing else. It proves nothing, and may be lost: who hears it looks at the store
a little earlier than it would have.

One thread and one connection, while there are keys to hear of. In a cluster the channels are sharded: a message goes to the
servers of its key's slot alone. The thread asks again for a channel every `RENEWAL_S`, so that a connection that has died without
a word is found, and in a cluster for all: a slot may have moved.
"""

from __future__ import annotations

import contextlib
import random
import re
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from oidc_actor.sharing.redis_connection import close, is_cluster, opened

POLL_S = 0.25
"""Seconds after which the thread sees that other keys are wanted, or none."""

SHARDED_POLL_S = 0.05
"""Seconds that it waits for a message of one server of a cluster before it turns to the next."""

RENEWAL_S = 15.0
CONFIRMED_S = 5.0
"""Seconds that the server has to confirm."""

SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 4.0
"""Seconds until it connects again, at first and at most."""

_GENERATION = re.compile(r"[0-9]{1,16}")


class Notices:
    """Hears of new tokens. It begins with the first key; a forked child needs one of its own."""

    def __init__(
        self, make: Callable[[], Any], channel: Callable[[str], str], heard: Callable[[str, int], None]
    ) -> None:
        """Connect to nothing yet.

        Args:
            make: Makes a client. Called on the thread.
            channel: What a key's channel is called.
            heard: Called on the thread with a key and a generation; it must not block.
        """
        self._make, self._channel, self._heard = make, channel, heard
        self._keys: dict[str, str] = {}  # by their channels; replaced as a whole
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()  # guards the thread's beginning

    def hear_of(self, keys: Iterable[str]) -> None:
        """Hear of these keys, and of no others, from now on or within `POLL_S`."""
        self._keys = {self._channel(key): key for key in keys}
        with self._lock:
            if self._thread is None and not self._closed.is_set():
                thread = threading.Thread(target=self._run, name="oidc-actor-notices", daemon=True)
                with contextlib.suppress(RuntimeError):  # the system has no thread left: the next time
                    thread.start()
                    self._thread = thread

    def close(self) -> None:
        """Hear of nothing more; the thread ends within `POLL_S`, or with the wait for a server that does not answer."""
        self._closed.set()

    def _run(self) -> None:
        failures = 0
        while not self._closed.is_set():
            client, began = None, time.monotonic()
            try:
                client = opened(self._make)
                self._hear(client)
            except Exception:  # noqa: BLE001 - whatever a client raises; the looks go on, and say what is wrong with the store
                failures = 0 if time.monotonic() - began > RENEWAL_S else failures + 1
            finally:
                if client is not None:
                    close(client)
            pause_s = min(LONGEST_PAUSE_S, SHORTEST_PAUSE_S * 2.0 ** min(failures, 10))
            self._closed.wait(pause_s * random.uniform(0.5, 1.0))

    def _hear(self, client: Any) -> None:
        link = _Link(client)
        try:
            asked: set[str] = set()
            renew_at = confirmed_by = time.monotonic() + RENEWAL_S
            while not self._closed.is_set():
                keys, now = self._keys, time.monotonic()
                new = set(keys) - asked
                if now >= renew_at:
                    renew_at = now + RENEWAL_S
                    new |= link.doubted(set(keys))
                if new:
                    if not link.unconfirmed:
                        confirmed_by = now + CONFIRMED_S
                    link.subscribe(new)
                if old := asked - set(keys):
                    link.unsubscribe(old)
                asked = set(keys)
                if link.unconfirmed and now > confirmed_by:
                    raise TimeoutError
                if not asked:
                    self._closed.wait(POLL_S)
                elif (message := link.next()) is not None and message[0] in keys:
                    self._heard(keys[message[0]], message[1])
        finally:
            link.close()


class _Link:
    """One connection that is subscribed."""

    def __init__(self, client: Any) -> None:
        self._pubsub = client.pubsub()
        self._is_sharded = is_cluster(client)
        self._has_more = False  # whether a message was just there, after which more may be
        self.unconfirmed: set[str] = set()

    def doubted(self, channels: set[str]) -> set[str]:
        """Those that are to be asked for again."""
        return channels if self._is_sharded else set(sorted(channels)[:1])

    def subscribe(self, channels: set[str]) -> None:
        self.unconfirmed |= channels
        (self._pubsub.ssubscribe if self._is_sharded else self._pubsub.subscribe)(*sorted(channels))

    def unsubscribe(self, channels: set[str]) -> None:
        self.unconfirmed -= channels
        (self._pubsub.sunsubscribe if self._is_sharded else self._pubsub.unsubscribe)(*sorted(channels))

    def next(self) -> tuple[str, int] | None:
        """The next message, within `POLL_S`: its channel and the generation; what is none is left out."""
        if self._is_sharded:
            message = self._pubsub.get_sharded_message(timeout=0.0 if self._has_more else SHARDED_POLL_S)
        else:
            message = self._pubsub.get_message(timeout=POLL_S)
        self._has_more = message is not None
        if message is None:
            return None
        channel, said = _text(message["channel"]), _text(message["data"])
        if message["type"] in {"subscribe", "ssubscribe"}:
            self.unconfirmed.discard(channel)
        is_one = message["type"] in {"message", "smessage"} and _GENERATION.fullmatch(said)
        return (channel, int(said)) if is_one else None

    def close(self) -> None:
        with contextlib.suppress(Exception):  # it is being given up
            self._pubsub.close()


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)

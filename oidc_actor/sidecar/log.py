"""What the sidecar logs, through the standard library's logger ``oidc_actor.run``; no secret and no token is ever a field."""

from __future__ import annotations

import logging
from typing import Any

from supervision.runtime.reports import report

EVENTS: dict[str, tuple[str, str, str]] = {
    "run_started": ("info", "addresses, managers", "the sidecar serves requests"),
    "run_stopping": ("info", "drain_s", "it was told to stop; requests under way are answered first"),
    "run_cut_short": ("warning", "error", "something had not ended when the time to drain was over"),
    "run_lost": ("error", "", "the supervisor has given up; the sidecar ends with status 1"),
    "config_reloaded": ("info", "kept, started, replaced, stopped", "how many managers a reload left alone, or not"),
    "config_refused": ("error", "error", "the new configuration is wrong; everything goes on as it was"),
    "config_needs_restart": ("warning", "key", "a change in [server] takes effect at the next start only"),
    "manager_failed": ("error", "manager, error", "a manager of the new configuration could not be started"),
    "token_file_failed": ("error", "path, error", "a token file could not be written; it is tried again"),
    "accept_failed": ("warning", "error", "no connection can be accepted for now; it is tried again, and said once"),
    "request_broken": ("error", "error", "a request could not be answered, by a fault of the sidecar"),
    "notify_failed": ("warning", "error", "systemd could not be told"),
}
"""Each event's name with its level, its fields, and what it means."""

_logger = logging.getLogger("oidc_actor.run")


def log(event: str, **fields: Any) -> None:
    """Log an event of the table."""
    report(EVENTS[event][0], event, logger=_logger, **fields)

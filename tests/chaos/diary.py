"""All that is said while a scenario is played, at DEBUG and in every dress, and a search for secrets in it."""

from __future__ import annotations

import base64
import http.client
import io
import logging
import traceback
from collections.abc import Iterable
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from types import TracebackType
from unittest import mock
from urllib.parse import quote, quote_plus

import structlog

RENDERERS = (
    structlog.processors.JSONRenderer(),
    structlog.processors.KeyValueRenderer(),
    structlog.processors.LogfmtRenderer(),
    structlog.dev.ConsoleRenderer(colors=False),
)


class Diary(logging.Handler):
    """Hears every logger of the process, what http.client prints for its debug level, and whatever else is printed.

    Our own events are written down as each of structlog's renderers shows them too, tracebacks with local variables.
    """

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._lines: list[str] = []
        self._printed = io.StringIO()
        self._stack = ExitStack()

    def __enter__(self) -> Diary:
        root = logging.getLogger()
        self._stack.callback(root.setLevel, root.level)
        self._stack.callback(root.removeHandler, self)
        self._stack.enter_context(mock.patch.object(http.client.HTTPConnection, "debuglevel", 5))
        self._stack.enter_context(redirect_stdout(self._printed))
        self._stack.enter_context(redirect_stderr(self._printed))
        root.addHandler(self)
        root.setLevel(logging.DEBUG)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record down; runs on the thread that made it."""
        self.hear(f"{record.name} {self.format(record)}")
        event = {"event": record.getMessage(), **getattr(record, "fields", {})}
        for renderer in RENDERERS:
            self.hear(str(renderer(None, record.levelname.lower(), dict(event))))
        if record.exc_info and record.exc_info[1] is not None:
            self.hear(_with_locals(record.exc_info[1], record.exc_info[2]))

    def hear(self, text: str) -> None:
        """Write down what was said elsewhere."""
        self._lines.append(text)

    def text(self) -> str:
        """Everything so far."""
        return "\n".join([*self._lines, self._printed.getvalue()])

    def told(self, secrets: Iterable[str]) -> list[str]:
        """Those secrets that can be read in it, as they are or as a request writes them."""
        text = self.text()
        return [secret for secret in secrets if any(form in text for form in _forms(secret))]


def basic(client_id: str, client_secret: str) -> set[str]:
    """What HTTP's Basic authentication makes of a client (RFC 6749 section 2.3.1), in the ways that clients write it."""
    pairs = {f"{write(client_id)}:{write(client_secret)}" for write in (quote_plus, _percent, str)}
    return {base64.b64encode(pair.encode()).decode() for pair in pairs}


def _percent(text: str) -> str:
    return quote(text, safe="")


def _forms(secret: str) -> set[str]:
    return {secret, _percent(secret), quote_plus(secret), base64.b64encode(secret.encode()).decode()}


def _with_locals(error: BaseException, place: TracebackType | None) -> str:
    told = traceback.TracebackException(type(error), error, place, capture_locals=True)
    return "".join(told.format())

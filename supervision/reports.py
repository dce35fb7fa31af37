"""Structured reports through the standard library's logging: one event each, fixed fields, never a message's content.

With structlog configured by the application its processors render the event; without, the record's text is
``event key=value ...`` and its fields are attributes of the record. Silent by default, as a library should be.
This module never imports structlog itself: who has configured it has imported it, and ``supervision`` alone needs only Pykka.
"""

from __future__ import annotations

import logging
import sys
import traceback
from typing import Any

__all__ = ["report"]

_logger = logging.getLogger("supervision")
_logger.addHandler(logging.NullHandler())


def report(level: str, event: str, *, exc_info: Any = None, logger: logging.Logger = _logger, **fields: Any) -> None:
    """Log one event; what the application's own logging raises goes to ``sys.stderr``, as with logging's own handlers.

    A report is made in the midst of an actor's end; an exception there would keep the rest of it from happening.

    Args:
        level: ``"debug"``, ``"info"``, ``"warning"`` or ``"error"``.
        event: the event's fixed name.
        exc_info: an exception whose traceback belongs to the report, ``True`` for the one being handled, or ``None``.
        logger: the standard library's logger that the event goes through.
        fields: the event's fields.
    """
    try:
        _emit(logging.getLevelNamesMapping()[level.upper()], event, exc_info, logger, fields)
    except Exception:  # noqa: BLE001 - see above
        if logging.raiseExceptions and sys.stderr is not None:
            traceback.print_exc()


def _emit(number: int, event: str, exc_info: Any, logger: logging.Logger, fields: dict[str, Any]) -> None:
    if isinstance(exc_info, BaseException):
        exc_info = (type(exc_info), exc_info, exc_info.__traceback__)
    structlog = _configured_structlog()
    if structlog is not None:
        bound = structlog.wrap_logger(logger, wrapper_class=structlog.stdlib.BoundLogger)
        bound.log(number, event, **({"exc_info": exc_info} if exc_info else {}), **fields)
    elif logger.isEnabledFor(number):
        text = " ".join([event, *(f"{key}={value!r}" for key, value in fields.items())])
        logger.log(number, "%s", text, exc_info=exc_info, extra={"event": event, "fields": fields})


def _configured_structlog() -> Any:
    """The structlog module if the application has configured it, else ``None``."""
    structlog = sys.modules.get("structlog")
    return structlog if structlog is not None and structlog.is_configured() else None

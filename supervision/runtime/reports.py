"""Structured reports through the standard library's logging: one event each, fixed fields, never a message's content.

Each is a structlog event. Where the application has configured structlog its processors render it; where not, the record's
text is ``event key=value ...``, with structlog's context variables, and the fields are attributes of the record. Silent by
default, as a library should be. structlog is never imported here: a program that configures it, or binds its context
variables, has imported it.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import AbstractContextManager
from opcode import opmap
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from supervision.exits import ExceptionText

Hearer: TypeAlias = Callable[[str, str, str, Mapping[str, Any]], object]
"""Is told of an event: the logger's name, the level, the event, its fields."""

_pykka = logging.getLogger("pykka")
_logger = logging.getLogger("supervision")
_logger.addHandler(logging.NullHandler())

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


_hearers: dict[object, Hearer] = {}  # each change is one operation, so that no lock is needed


def hear(hearer: Hearer) -> Callable[[], None]:
    """Have a function told of every event of this process, whatever becomes of it in the log.

    Args:
        hearer: called on the thread that reports, in the midst of an actor's turn or end, and perhaps in a signal handler: it
            takes no lock, keeps nothing of the fields' values but texts and numbers, and is quick. What it raises goes where
            logging's own errors go.

    Returns:
        A function that ends it. Idempotent.
    """
    key = object()
    _hearers[key] = hearer
    return lambda: _hearers.pop(key, None) and None


def is_told() -> bool:
    """Whether anyone hears."""
    return bool(_hearers)


def tell(event: str, **fields: Any) -> None:
    """An event that is not logged, for those who hear; to be asked for `is_told` before its fields are made."""
    for hearer in list(_hearers.values()):
        with harmless:
            hearer(_logger.name, "info", event, fields)


def report(
    level: str,
    event: str,
    *,
    exc_info: Any = None,
    failure: ExceptionText | None = None,
    logger: logging.Logger = _logger,
    **fields: Any,
) -> None:
    """Log one event; nothing that the application's own logging raises comes out of it (see ``harmless``).

    Args:
        level: ``"debug"``, ``"info"``, ``"warning"`` or ``"error"``.
        event: the event's fixed name.
        exc_info: an exception whose traceback belongs to the report, ``True`` for the one being handled, or ``None``.
        failure: an exception that the report is to keep as text only: fields ``error`` and ``exception``, structlog's name
            for a traceback that has been rendered.
        logger: the standard library's logger that the event goes through.
        fields: the event's fields.
    """
    with harmless:
        if failure is not None:
            fields |= {"error": f"{failure.kind}: {failure}", "exception": failure.traceback}
        for hearer in list(_hearers.values()) if _hearers else ():
            with harmless:
                hearer(logger.name, level, event, fields)
        _emit(_LEVELS[level], event, exc_info, logger, fields)


def is_heard(level: str, logger: logging.Logger = _logger) -> bool:
    """Whether an event of that level would go anywhere: its fields may cost more than what they tell of."""
    with harmless:
        return bool(_hearers) or _is_configured(_imported_structlog()) or logger.isEnabledFor(_LEVELS[level])
    return False


class _Harmless(AbstractContextManager[None]):
    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> bool:
        if error is None or is_interrupt(error, strictly=True):
            return False
        if logging.raiseExceptions and sys.stderr is not None:
            try:
                traceback.print_exception(error)
            except BaseException as second:  # the user's, too, where another object stands for sys.stderr
                if is_interrupt(second, strictly=True):
                    raise
        return True


harmless = _Harmless()
"""What logging raises in this block goes to ``sys.stderr``, as with logging's own handlers; every ``BaseException`` does.

A report is made in the midst of an actor's turn or end, on the thread of that: a handler's ``SystemExit`` would keep the
rest of the turn or end from happening. What a signal handler raises on the main thread passes.
"""


def returned_to_caller(actor: Any, error: BaseException) -> None:
    """Log an exception that a Pykka future carries to its asker, which may never look at it: Pykka's own record, word for word.

    Args:
        actor: the actor that raised it.
        error: what it raised.
    """
    with harmless:
        raised = (type(error), error, error.__traceback__)
        _pykka.info("Exception returned from %s to caller:", actor, exc_info=raised)


def _emit(number: int, event: str, exc_info: Any, logger: logging.Logger, fields: dict[str, Any]) -> None:
    structlog = _imported_structlog()
    configured = _is_configured(structlog)
    if not configured and not logger.isEnabledFor(number):
        return
    if isinstance(exc_info, BaseException):
        exc_info = (type(exc_info), exc_info, exc_info.__traceback__)
    if exc_info:
        fields = {**fields, "exc_info": exc_info}
    if structlog is None:
        args, kwargs = _as_record(logger, "", {"event": event, **fields})
        logger.log(number, *args, **kwargs)
        return
    own = None if configured else [structlog.contextvars.merge_contextvars, _as_record]
    structlog.wrap_logger(logger, own, structlog.stdlib.BoundLogger).log(number, event, **fields)


def _is_configured(structlog: Any) -> bool:
    return structlog is not None and structlog.is_configured()


def _imported_structlog() -> Any:
    """Structlog where the program has it, all of it; ``None`` while another thread is in the midst of its import.

    A report may be made on the thread of an actor that is ending. An import there could outlast the actor's time to end, and in
    a child that was forked amid another thread's import it would wait for ever.
    """
    module = sys.modules.get("structlog")
    unfinished = getattr(getattr(module, "__spec__", None), "_initializing", False)
    return None if unfinished else module


def _as_record(
    _logger: Any, _method: str, event_dict: MutableMapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The last processor where the application has chosen none: ``event key=value ...``, and the fields on the record."""
    fields = dict(event_dict)
    event, exc_info = fields.pop("event"), fields.pop("exc_info", None)
    text = " ".join([event, *(f"{key}={value!r}" for key, value in fields.items() if key != "exception")])
    if fields.get("exception"):
        text += f"\n{fields['exception']}"  # where the standard library's formatters have it
    return ("%s", text), {"exc_info": exc_info, "extra": {"event": event, "fields": fields}}


def is_interrupt(error: BaseException, *, strictly: bool = False) -> bool:
    """Whether a signal handler has raised an exception: it is meant for the program, and passes through everything of ours.

    Python runs signal handlers on the main thread alone, between any two instructions, and hands each the frame that it
    interrupts; so the handler's own frame is known by having the frame before it as an argument. Python's own handler of
    Ctrl-C is written in C and leaves no frame; a ``KeyboardInterrupt`` on the main thread counts as its.

    Args:
        error: what was caught, in the frame that called what raised it or further out.
        strictly: whether a ``KeyboardInterrupt`` that a ``raise`` statement has raised counts as the program's own, no interrupt.
    """
    if threading.get_ident() != threading.main_thread().ident:
        return False
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        interrupted, step = step.tb_frame, step.tb_next
        if _was_handed(interrupted, step.tb_frame):
            return True
    if not strictly or step is None:
        return isinstance(error, KeyboardInterrupt)
    raised = step.tb_frame.f_code.co_code[step.tb_lasti] == opmap["RAISE_VARARGS"]
    return isinstance(error, KeyboardInterrupt) and not raised


def interrupt_behind(error: BaseException) -> BaseException | None:
    """What a signal handler has raised: the exception itself, or one that it has taken the place of; ``None`` for none.

    Where it comes amid the wait of ``threading.Thread.start``, that may end with a ``RuntimeError`` about a lock in its place.

    Args:
        error: what was caught, as for ``is_interrupt``.
    """
    seen: BaseException | None = error
    while seen is not None and not is_interrupt(seen):
        seen = seen.__context__
    return seen


def _was_handed(interrupted: FrameType, frame: FrameType) -> bool:
    values = frame.f_locals.values()
    return any(value is interrupted or (type(value) is tuple and interrupted in value[1:2]) for value in values)

"""Reads files that others name, without ever waiting for one: a pipe, a device or a file without an end is refused instead."""

from __future__ import annotations

import os
import stat
from pathlib import Path

NOT_REGULAR = "expected a regular file"


def read_file(path: Path, most: int) -> bytes | str:
    """Read a regular file as a whole, or say in a phrase why that cannot be had; raises nothing and never waits for a writer.

    Args:
        path: The file; a link is followed.
        most: The most bytes that it may have.
    """
    problem = no_file(path, most)  # before it is opened: to open a device may do something
    if problem is not None:
        return problem
    try:
        # Where a pipe has taken its place meanwhile, an open without O_NONBLOCK would wait for the pipe's writer.
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(number, "rb", closefd=True) as file:
            if not stat.S_ISREG(os.fstat(number).st_mode):
                return NOT_REGULAR
            content = file.read(most + 1)
    except OSError as error:
        return error.strerror or type(error).__name__
    return content if len(content) <= most else _too_long(most)


def no_file(path: Path, most: int) -> str | None:
    """Say why a file cannot be read, as far as can be told without opening it; ``None`` where nothing is known against it.

    Args:
        path: The file; a link is followed.
        most: The most bytes that it may have.
    """
    try:
        found = path.stat()
    except OSError as error:
        return error.strerror or type(error).__name__
    except ValueError as error:  # a name with a null character
        return type(error).__name__
    if not stat.S_ISREG(found.st_mode):
        return NOT_REGULAR
    return _too_long(most) if found.st_size > most else None


def _too_long(most: int) -> str:
    return f"longer than {most} bytes"

"""How a command prints what it found: for a person at a terminal, or line by line."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

from rich.console import Console

_ONE_LINE = 100_000  # columns


def printed(show: Callable[[Console], None]) -> None:
    """Print to standard output. Lines are broken for a terminal only: what is piped is searched and compared line by line.

    Args:
        show: Prints to a console.
    """
    if sys.stdout.isatty():
        show(Console())
        return
    whole = io.StringIO()
    show(Console(file=whole, width=_ONE_LINE, force_terminal=False, no_color=True))
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in whole.getvalue().splitlines()))
